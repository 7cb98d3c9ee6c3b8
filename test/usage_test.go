package test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

const (
	jsonHead  = "Content-Type: application/json; charset=UTF-8"
	eventHead = "Content-Type: text/event-stream"
)

// usageAnswer is an answer of Google's and what is to be known of its use.
type usageAnswer struct {
	name string
	head string
	path string // end of the path that is asked for
	body string
	want string
}

// Answers and streams as Google gives them.
var usageAnswers = []usageAnswer{
	{name: "Gemini", head: jsonHead, want: "input=11 output=5 thoughts=30 cached=4 total=46", body: `{
  "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi {\"there\"}, \\"}]}, "finishReason": "STOP"}],
  "usageMetadata": {
    "promptTokenCount": 11,
    "candidatesTokenCount": 5,
    "totalTokenCount": 46,
    "trafficType": "ON_DEMAND",
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 11}],
    "thoughtsTokenCount": 30,
    "cachedContentTokenCount": 4
  },
  "modelVersion": "gemini-2.5-flash"
}
`},
	{name: "Gemini, blocked: nothing was answered", head: jsonHead, want: "input=11 total=11",
		body: `{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":11,"totalTokenCount":11}}`},
	{name: "Gemini as events", head: eventHead, want: "input=11 output=5 total=16", body: "" +
		`data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"trafficType":"ON_DEMAND"}}` + "\r\n\r\n" +
		`data: {"candidates":[{"content":{"parts":[{"text":"b"}]}}],"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":2,"totalTokenCount":13}}` + "\r\n\r\n" +
		`data: {"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":5,"totalTokenCount":16},"modelVersion":"m"}` + "\r\n\r\n"},
	{name: "Gemini as an array", head: jsonHead, want: "input=11 output=5 total=16", body: `[{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"trafficType":"ON_DEMAND"}}` + ",\r\n" +
		`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":5,"totalTokenCount":16},"modelVersion":"m"}` + "\r\n]\r\n"},
	{name: "Anthropic", head: jsonHead, want: "input=1111 output=9 cached=1000", body: `{"id":"msg_1","type":"message","role":"assistant","model":"claude",` +
		`"content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":11,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":9}}`},
	{name: "Anthropic as events", head: eventHead, want: "input=1111 output=9 cached=1000", body: anthropicStart + anthropicText + anthropicEnd},
	{name: "Anthropic as events that count again at the end", head: eventHead, want: "input=24 output=9 cached=2", body: anthropicStart + anthropicText +
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"input_tokens\":21,\"cache_creation_input_tokens\":1,\"cache_read_input_tokens\":2,\"output_tokens\":9}}\n\n"},
	{name: "Anthropic counts tokens: that is no use", head: jsonHead, body: `{"input_tokens":11}`},
	{name: "OpenAI", head: jsonHead, want: "input=11 output=5 cached=3 total=16", body: `{"choices":[{"finish_reason":"stop","index":0,"message":{"content":"x","role":"assistant"}}],` +
		`"created":1,"id":"i","model":"google/gemini","object":"chat.completion","usage":{"completion_tokens":5,"prompt_tokens":11,"prompt_tokens_details":{"cached_tokens":3},"total_tokens":16}}`},
	{name: "OpenAI, thoughts counted with the answer", head: jsonHead, want: "input=11 output=5 thoughts=30 total=46",
		body: `{"choices":[],"usage":{"completion_tokens":35,"completion_tokens_details":{"reasoning_tokens":30},"prompt_tokens":11,"total_tokens":46}}`},
	{name: "OpenAI, thoughts counted beside the answer", head: jsonHead, want: "input=11 output=5 thoughts=30 total=46",
		body: `{"choices":[],"usage":{"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":30},"prompt_tokens":11,"total_tokens":46}}`},
	{name: "OpenAI as events", head: eventHead, want: "input=11 output=5 total=16", body: "" +
		`data: {"choices":[{"delta":{"content":"a"},"index":0}],"usage":null}` + "\n\n" +
		`data: {"choices":[],"usage":{"completion_tokens":5,"prompt_tokens":11,"total_tokens":16}}` + "\n\n" + "data: [DONE]\n\n"},
	{name: "OpenAI as events, usage not asked for", head: eventHead, body: "" +
		`data: {"choices":[{"delta":{"content":"\"usage\":{\"prompt_tokens\":1}"},"index":0}]}` + "\n\n" + "data: [DONE]\n\n"},
	{name: "OpenAI embeddings", head: jsonHead, want: "input=11 total=11",
		body: `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.6,0,-0.8]}],"model":"m","usage":{"prompt_tokens":11,"total_tokens":11}}`},
	{name: "embeddings by predict", head: jsonHead, path: ":predict", want: "input=13", body: `{"predictions":[` +
		`{"embeddings":{"statistics":{"truncated":false,"token_count":6},"values":[0.1,-2e-3]}},` +
		`{"embeddings":{"values":[0.1,-2e-3],"statistics":{"token_count":7}}}],"metadata":{"billableCharacterCount":40}}`},
	{name: "embeddings by predict, one of them not counted", head: jsonHead, path: ":predict",
		body: `{"predictions":[{"embeddings":{"statistics":{"token_count":6},"values":[]}},{"embeddings":{"values":[]}}]}`},
	{name: "a picture by predict", head: jsonHead, path: ":predict", body: `{"predictions":[{"bytesBase64Encoded":"AAAA"}]}`},
	{name: "embedContent", head: jsonHead, want: "input=11 total=11", body: `{"embedding":{"values":[0.6,0]},"usageMetadata":{"promptTokenCount":11,"totalTokenCount":11}}`},
	{name: "countTokens: that is no use", head: jsonHead, body: `{"totalTokens":11,"totalBillableCharacters":44,"promptTokensDetails":[{"tokenCount":11}]}`},
	{name: "an error as an event", head: eventHead, want: "input=1111 cached=1000", body: anthropicStart + "event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n"},
}

const (
	anthropicStart = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":11," +
		"\"cache_creation_input_tokens\":100,\"cache_read_input_tokens\":1000,\"output_tokens\":1}}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n"
	anthropicText = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi \\\"usage\\\"\"}}\n\n"
	anthropicEnd  = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
)

// What models and callers can bring into an answer, and what only looks like one.
var hostileAnswers = []usageAnswer{
	{name: "usage in the text of the model", head: jsonHead, want: "input=1",
		body: `{"candidates":[{"text":"},\"usageMetadata\":{\"promptTokenCount\":999}}"}],"usageMetadata":{"promptTokenCount":1}}`},
	{name: "usage in the text alone", head: jsonHead, body: `{"candidates":[{"text":"\"usageMetadata\":{\"promptTokenCount\":999}"}]}`},
	{name: "usage in the arguments of a tool", head: jsonHead, want: "input=1 output=2",
		body: `{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":999,"output_tokens":999}}}],"usage":{"input_tokens":1,"output_tokens":2}}`},
	{name: "usage in the arguments of a tool alone", head: jsonHead, body: `{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":999}}}]}`},
	{name: "usage behind the last member, in a text", head: jsonHead, want: "input=1",
		body: `{"usageMetadata":{"promptTokenCount":1},"modelVersion":"\\\\\",\"usageMetadata\":{\"promptTokenCount\":999}"}`},
	{name: "usage in an event of another member", head: eventHead, body: "data: {\"delta\":{\"usage\":{\"output_tokens\":999}},\"x\":\"\\\"usage\\\":{}\"}\n\n"},
	{name: "a text that looks like events", head: eventHead, want: "input=1",
		body: "data: {\"usageMetadata\":{\"promptTokenCount\":1}}\n\ndata: {\"text\":\"\\n\\ndata: {\\\"usageMetadata\\\":{\\\"promptTokenCount\\\":999}}\\n\\n\"}\n\n"},
	{name: "message_start in the middle of a stream's text", head: eventHead, want: "output=9",
		body: "data: {\"delta\":{\"message\":{\"usage\":{\"input_tokens\":999}}}}\n\n" + anthropicEnd},
	{name: "two usages, the last counts", head: jsonHead, want: "input=2", body: `{"usageMetadata":{"promptTokenCount":1},"usageMetadata":{"promptTokenCount":2}}`},
	{name: "two usages, the last is none", head: jsonHead, body: `{"usageMetadata":{"promptTokenCount":1},"usageMetadata":null}`},
	{name: "a name that is spelled otherwise", head: jsonHead, body: `{"usage\u004detadata":{"promptTokenCount":1}}`},
	{name: "a huge number", head: jsonHead, want: "output=2", body: `{"usageMetadata":{"promptTokenCount":99999999999999999999,"candidatesTokenCount":2}}`},
	{name: "the largest number that is believed", head: jsonHead, want: "input=999999999999999", body: `{"usageMetadata":{"promptTokenCount":999999999999999}}`},
	{name: "a number of a digit more", head: jsonHead, body: `{"usageMetadata":{"promptTokenCount":9999999999999999}}`},
	{name: "more thoughts than answer", head: jsonHead, want: "input=11 output=5 thoughts=30 total=16",
		body: `{"usage":{"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":30},"prompt_tokens":11,"total_tokens":16}}`},
	{name: "an event with quotes in its text", head: eventHead, want: "input=1", body: "data: {\"text\":\"He said \\\"Hi\\\", and \\\\\",\"usageMetadata\":{\"promptTokenCount\":1}}\n\n"},
	{name: "a negative number", head: jsonHead, want: "output=2", body: `{"usageMetadata":{"promptTokenCount":-1,"candidatesTokenCount":2}}`},
	{name: "numbers as strings", head: jsonHead, body: `{"usage":{"input_tokens":"12","output_tokens":"0x10"}}`},
	{name: "fractions, exponents and words", head: jsonHead, body: `{"usageMetadata":{"promptTokenCount":1.5,"candidatesTokenCount":1e3,"totalTokenCount":true,"thoughtsTokenCount":null}}`},
	{name: "numbers in arrays", head: jsonHead, body: `{"usageMetadata":{"promptTokenCount":[1],"candidatesTokenCount":{"x":1}}}`},
	{name: "zero is known", head: jsonHead, want: "input=1 output=0", body: `{"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":0}}`},
	{name: "usage nested deeper", head: jsonHead, body: `{"response":{"usageMetadata":{"promptTokenCount":1}}}`},
	{name: "usage as an array", head: jsonHead, body: `{"usageMetadata":[{"promptTokenCount":1}],"usage":[]}`},
	{name: "predictions as an object", head: jsonHead, path: ":predict", body: `{"predictions":{"embeddings":{"statistics":{"token_count":1}}}}`},
	{name: "predictions that are none", head: jsonHead, path: ":predict", body: `{"predictions":[1,"x",null,[]]}`},
	{name: "no predictions", head: jsonHead, path: ":predict", body: `{"predictions":[]}`},
	{name: "no JSON", head: jsonHead, body: `usage "usage": {"input_tokens": 1}`},
	{name: "JSON that is cut", head: jsonHead, body: `{"usageMetadata":{"promptTokenCount":1}`},
	{name: "JSON and more", head: jsonHead, body: `{"usageMetadata":{"promptTokenCount":1}} x`},
	{name: "empty", head: jsonHead, body: ``},
	{name: "white space", head: jsonHead, body: " \n "},
	{name: "a quote", head: jsonHead, body: `"`},
	{name: "many backslashes", head: jsonHead, want: "input=1", body: `{"a":"` + strings.Repeat(`\\`, 2000) + `","usageMetadata":{"promptTokenCount":1}}`},
	{name: "deep", head: jsonHead, want: "input=1", body: `{"a":` + strings.Repeat(`[`, 4000) + strings.Repeat(`]`, 4000) + `,"usageMetadata":{"promptTokenCount":1}}`},
	{name: "deep where a number should be", head: jsonHead, body: `{"usageMetadata":{"promptTokenCount":` + strings.Repeat(`{"a":`, 2000) + `1` + strings.Repeat(`}`, 2000) + `}}`},
	{name: "not UTF-8", head: jsonHead, want: "input=1", body: "{\"a\":\"\xff\x00\xc0\",\"usageMetadata\":{\"promptTokenCount\":1}}"},
	{name: "another type", head: "Content-Type: text/plain", body: `{"usageMetadata":{"promptTokenCount":1}}`},
	{name: "no type", head: "X-Nothing: 1", body: `{"usageMetadata":{"promptTokenCount":1}}`},
	{name: "encoded, or so it says", head: jsonHead + "\r\nContent-Encoding: gzip", body: `{"usageMetadata":{"promptTokenCount":1}}`},
	{name: "not encoded, and it says so", head: jsonHead + "\r\nContent-Encoding: identity", want: "input=1", body: `{"usageMetadata":{"promptTokenCount":1}}`},
	{name: "events without a space behind the colon", head: eventHead, want: "input=1", body: "data:{\"usageMetadata\":{\"promptTokenCount\":1}}\n\n"},
	{name: "events that end in CR", head: eventHead, want: "input=1", body: "data: {\"usageMetadata\":{\"promptTokenCount\":1}}\r\rdata: {}\r\r"},
	{name: "an event in several lines", head: eventHead, want: "input=1", body: "data: {\"usageMetadata\":\ndata: {\"promptTokenCount\"\ndata: :1}}\n\n"},
	{name: "comments and other fields", head: eventHead, want: "input=1",
		body: ": {\"usageMetadata\":{\"promptTokenCount\":999}}\n\nid: 1\nretry: 5\ndata: {\"usageMetadata\":{\"promptTokenCount\":1}}\n: x\n\n: \"usage\"\n\nid: \"usage\"\n\n"},
	{name: "an event that does not end", head: eventHead, want: "input=1", body: "data: {\"usageMetadata\":{\"promptTokenCount\":1}}"},
	{name: "an event of two documents", head: eventHead, body: "data: {\"usageMetadata\":{\"promptTokenCount\":1}}\ndata: {\"usageMetadata\":{\"promptTokenCount\":2}}\n\n"},
	{name: "newlines alone", head: eventHead, body: strings.Repeat("\n", 5000)},
	{name: "quotes alone", head: jsonHead, body: strings.Repeat(`"`, 5001)},
	{name: "brackets alone", head: jsonHead, body: `{"usage` + strings.Repeat(`}`, 40000)},
	{name: "backslashes and quotes behind a long answer", head: jsonHead, body: strings.Repeat(`\"`, 20000) + `"usage"}`},
}

// long is text as a model writes it, of n bytes in a string of JSON, with everything in it that could confuse a reader.
func long(n int) string {
	const odd = `He said: \"usageMetadata\":{\"promptTokenCount\":999}}, {[ \\\\ \\\" \u0022 }] data: \n\n "`
	return strings.Repeat(odd[:len(odd)-1], n/len(odd)+1)
}

// Answers that are longer than what is kept of them.
func longAnswers() []usageAnswer {
	event := func(s string) string { return "data: " + s + "\r\n\r\n" }
	const usage = `"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":5,"totalTokenCount":16}`
	const want = "input=11 output=5 total=16"
	values := strings.Repeat("-0.012345678901234,\n      ", 3072) + "0"
	all := []usageAnswer{
		{name: "one answer", head: jsonHead, want: want, body: `{"candidates":[{"text":"` + long(100_000) + `"}],` + usage + `,"modelVersion":"m","responseId":"r"}`},
		{name: "usage before a long text", head: jsonHead, body: `{` + usage + `,"candidates":[{"text":"` + long(100_000) + `"}]}`},
		{name: "usage at the beginning of as much as is kept", head: jsonHead, want: want, body: `{` + usage + `,"a":"` + strings.Repeat("x", 16384-len(usage)-8) + `"}`},
		{name: "usage at the beginning of a byte more", head: jsonHead, body: `{` + usage + `,"a":"` + strings.Repeat("x", 16384-len(usage)-7) + `"}`},
		{name: "usage in the text of a long answer alone", head: jsonHead, body: `{"candidates":[{"text":"` + long(100_000) + `"}]}`},
		{name: "usage in a tool's arguments of a long answer", head: jsonHead, body: `{"candidates":[{"text":"` + long(100_000) + `","args":{` + usage + `}}]}`},
		{name: "usage in a text behind it", head: jsonHead, want: want, body: `{"candidates":[{"text":"` + long(100_000) + `"}],` + usage + `,"a":"\",\"usageMetadata\":{\"promptTokenCount\":999},\"b\":\"\\"}`},
		{name: "two usages, the last counts", head: jsonHead, want: want, body: `{"candidates":[{"text":"` + long(100_000) + `"}],"usageMetadata":{"promptTokenCount":1},` + usage + `}`},
		{name: "an array", head: jsonHead, want: want, body: `[` + strings.Repeat(`{"candidates":[{"text":"`+long(500)+`"}]}`+",\n", 100) + `{"candidates":[],` + usage + `}]`},
		{name: "an array with one long element", head: jsonHead, want: want, body: `[{},{"candidates":[{"text":"` + long(100_000) + `"}],` + usage + `}` + "\n]\n"},
		{name: "events", head: eventHead, want: want, body: strings.Repeat(event(`{"candidates":[{"text":"`+long(500)+`"}]}`), 100) + event(`{"candidates":[],`+usage+`}`)},
		{name: "events, the last of them long", head: eventHead, want: want, body: event(`{}`) + event(`{"candidates":[{"data":"`+long(100_000)+`"}],`+usage+`,"responseId":"r"}`)},
		{name: "a long event, and one that says nothing", head: eventHead, want: want, body: event(`{"candidates":[{"data":"`+long(100_000)+`"}],`+usage+`}`) + "data: [DONE]\n\n"},
		{name: "Anthropic", head: eventHead, want: "input=1111 output=9 cached=1000", body: anthropicStart + strings.Repeat(anthropicText, 2000) + anthropicEnd},
		{name: "one embedding", head: jsonHead, path: ":predict", want: "input=6", body: `{"predictions":[{"embeddings":{"statistics":{"token_count":6},"values":[` + values + `]}}]}`},
		{name: "three embeddings", head: jsonHead, path: ":predict", want: "input=18",
			body: `{"predictions":[` + strings.Repeat(`{"embeddings":{"values":[`+values+`],"statistics":{"token_count":6}}},`, 3)[:3*(len(values)+len(`{"embeddings":{"values":[],"statistics":{"token_count":6}}},`))-1] + `]}`},
		{name: "more embeddings than are kept", head: jsonHead, path: ":predict",
			body: `{"predictions":[` + strings.Repeat(`{"embeddings":{"values":[`+values+`],"statistics":{"token_count":6}}},`, 5) + `{"embeddings":{"statistics":{"token_count":6}}}]}`},
		{name: "an embedding by another method", head: jsonHead, body: `{"predictions":[{"embeddings":{"statistics":{"token_count":6},"values":[` + values + `]}}]}`},
	}
	// The end that is kept begins at each place of what repeats.
	for n := range 2 * len(long(0)) {
		body := `{"candidates":[{"text":"` + long(17_000) + strings.Repeat("x", n) + `"}],"args":{"usage":{"input_tokens":999}},` + usage + `}`
		all = append(all, usageAnswer{name: fmt.Sprintf("cut at byte %d", n), head: jsonHead, want: want, body: body})
	}
	return all
}

// The numbers are right for every shape, however the answer comes, and it goes on as it comes: each piece is with the client before the
// next one leaves the upstream.
func TestUsageIsReadFromEveryShape(t *testing.T) {
	onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
		r := startUsageRig(t, haproxy, nil)
		for _, group := range [][]usageAnswer{usageAnswers, hostileAnswers, longAnswers()} {
			for _, a := range group {
				for how, s := range map[string]upstreamScript{
					"with a length": {length: true, pieces: []string{a.body}},
					"in chunks":     {pieces: pieces(a.body, 1+len(a.body)/3)},
				} {
					s.head = a.head
					if got := r.get(a.path, s); got != a.want {
						t.Errorf("%s, %s: got %q, want %q", a.name, how, got, a.want)
					}
				}
			}
		}
	})
}

// pieces cuts s into pieces of n bytes.
func pieces(s string, n int) []string {
	var all []string
	for ; len(s) > n; s = s[n:] {
		all = append(all, s[:n])
	}
	return append(all, s)
}

// Where an answer is cut into chunks makes no difference.
func TestUsageDoesNotDependOnTheChunks(t *testing.T) {
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		r := startUsageRig(t, haproxy, nil)
		for _, a := range usageAnswers {
			if got := r.get(a.path, upstreamScript{head: a.head, pieces: pieces(a.body, 1)}); got != a.want {
				t.Errorf("%s, byte by byte: got %q, want %q", a.name, got, a.want)
			}
			for cut := range len(a.body) {
				if got := r.get(a.path, upstreamScript{head: a.head, pieces: []string{a.body[:cut], a.body[cut:]}}); got != a.want {
					t.Fatalf("%s, cut at byte %d: got %q, want %q", a.name, cut, got, a.want)
				}
			}
		}
		for _, a := range longAnswers()[:18] {
			for range 5 {
				var parts []string
				rest := a.body
				for most := 1 << rand.IntN(15); rest != ""; {
					n := min(len(rest), 1+rand.IntN(most))
					if len(parts) > 500 {
						n = len(rest)
					}
					parts, rest = append(parts, rest[:n]), rest[n:]
				}
				if got := r.get(a.path, upstreamScript{head: a.head, pieces: parts}); got != a.want {
					t.Errorf("%s, in %d pieces: got %q, want %q", a.name, len(parts), got, a.want)
				}
			}
		}
	})
}

// A stream that ends before its end tells what it had told; an answer that does is unknown.
func TestUsageOfWhatIsCut(t *testing.T) {
	onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
		r := startUsageRig(t, haproxy, nil)
		for _, a := range []usageAnswer{
			{name: "Anthropic, before the count of the answer", head: eventHead, body: anthropicStart + anthropicText, want: "input=1111 cached=1000"},
			{name: "Anthropic, behind it", head: eventHead, body: anthropicStart + anthropicText + anthropicEnd[:len(anthropicEnd)-20], want: "input=1111 output=9 cached=1000"},
			{name: "Gemini, which counts as it goes", head: eventHead, want: "input=1 output=2",
				body: "data: {\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTokenCount\":2}}\r\n\r\ndata: {\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTok"},
			{name: "inside the only event", head: eventHead, body: "data: {\"usageMetadata\":{\"promptTokenCount\":1}"},
			{name: "an answer", head: jsonHead, body: `{"candidates":[{"args":{"usageMetadata":{"promptTokenCount":1}}`},
			{name: "an answer, where the rest looks like an end", head: jsonHead, body: `{"c":[{"text":"` + long(40_000) + `","args":{"usageMetadata":{"promptTokenCount":1}}`},
			{name: "an event, where the rest looks like an end", head: eventHead, body: `data: {"c":[{"text":"` + long(40_000) + `","args":{"usageMetadata":{"promptTokenCount":1}}`},
			{name: "an array", head: jsonHead, body: `[{"usageMetadata":{"promptTokenCount":1}}`},
		} {
			if got := r.get("", upstreamScript{head: a.head, pieces: []string{a.body}, cut: true}); got != a.want {
				t.Errorf("%s: got %q, want %q", a.name, got, a.want)
			}
		}
	})
}

// An error in the filter costs the numbers and not the answer.
func TestAFilterThatFailsLeavesTheAnswerAlone(t *testing.T) {
	onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
		for _, where := range []string{"local function begin(self, txn, msg)", "local function take(self, msg)", "local function finish(self, txn)"} {
			r := startUsageRig(t, haproxy, strings.NewReplacer(where, where+" error('broken on purpose')"))
			for _, a := range usageAnswers[:4] {
				for range 2 {
					if got := r.get(a.path, upstreamScript{head: a.head, pieces: pieces(a.body, 100)}); got != "" {
						t.Errorf("%s: got %q of a filter that is broken", where, got)
					}
				}
			}
		}
	})
}

// However long an answer is, little of it is kept.
func TestALongAnswerTakesLittleMemory(t *testing.T) {
	const streams, length = 64, 4 << 20
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		r := startUsageRig(t, haproxy, nil)
		r.get("", upstreamScript{head: eventHead, pieces: pieces(strings.Repeat(anthropicText, 8000), 1<<16)})
		before := r.memory()
		var calls sync.WaitGroup
		held, release := make(chan struct{}, streams), make(chan struct{})
		for range streams {
			calls.Go(func() { r.hold(strings.Repeat(anthropicText, length/len(anthropicText)), held, release) })
		}
		for range streams {
			<-held
		}
		grown := r.memory() - before
		close(release)
		calls.Wait()
		// What every thread of HAProxy's keeps for itself, and what Lua has not yet let go, differs from run to run.
		t.Logf("%d kB for each stream, with HAProxy's own buffers", grown/streams>>10)
		if most := streams * 1000 << 10; grown > most {
			t.Errorf("%d streams of %d MB take %d kB, want at most %d", streams, length>>20, grown>>10, most>>10)
		}
	})
}
