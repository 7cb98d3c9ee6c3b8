package body

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func some[T any](v T) Opt[T] { return Opt[T]{v, true} }

func TestReadFindsTheFacts(t *testing.T) {
	tests := []struct {
		name  string
		shape Shape
		body  string
		want  Facts
	}{
		{"an empty Gemini request", Gemini, `{}`, Facts{}},
		{
			"a generation config in lowerCamelCase", Gemini,
			`{"generationConfig":{"maxOutputTokens":1024,"temperature":0.5,"candidateCount":2,"topP":0.9,"topK":40}}`,
			Facts{MaxOutputTokens: some[int64](1024), Temperature: some(0.5), Candidates: some[int64](2), TopP: some(0.9), TopK: some(40.0)},
		},
		{
			"a generation config with underscores", Gemini,
			`{"generation_config":{"max_output_tokens":1024,"candidate_count":2,"top_p":1e-1,"top_k":4.5}}`,
			Facts{MaxOutputTokens: some[int64](1024), Candidates: some[int64](2), TopP: some(0.1), TopK: some(4.5)},
		},
		{"zero is not absent", Gemini, `{"generationConfig":{"temperature":0},"instances":[]}`, Facts{Temperature: some(0.0), Instances: some[int64](0)}},
		{"null is absent", Gemini, `{"generationConfig":{"maxOutputTokens":null},"tools":null,"systemInstruction":null,"model":null}`, Facts{}},
		{
			"every kind of Gemini tool", Gemini,
			`{"tools":[{"googleSearch":{}},{"url_context":{}},{"codeExecution":{},"computerUse":{}},{"retrieval":{"vertexAiSearch":{},"disableAttribution":true}},` +
				`{"functionDeclarations":[{"name":"get_a"},{"name":"get_b"},{"name":"get_a"}]},{"brandNew":{}},{"googleMaps":null},{"retrieval":{"x":1}},{"retrieval":{}}]}`,
			Facts{Tools: []string{"brandNew", "codeExecution", "computerUse", "fn:get_a", "fn:get_b", "googleSearch", "retrieval", "retrieval.vertexAiSearch", "retrieval.x", "urlContext"}},
		},
		{"one object in place of a list", Gemini, `{"contents":{"parts":{"fileData":{"fileUri":"gs://b/x","mimeType":"a/b"}}},"tools":{"googleSearch":{}}}`, Facts{
			Tools: []string{"googleSearch"}, Files: []string{"gs://b"}, MediaTypes: []string{"a/b"},
		}},
		{
			"media and files", Gemini,
			`{"contents":[{"parts":[{"text":"gs://not/a/file"},{"inlineData":{"mimeType":"Image/PNG; x=y","data":"eA=="}},{"fileData":{"fileUri":"https://Host:8/x?y"}},` +
				`{"file_data":{"file_uri":"gs://bucket/x","mime_type":"video/mp4"}},{"functionResponse":{"parts":[{"inlineData":{"mimeType":"a/c"}}]}}]}],` +
				`"systemInstruction":{"parts":[{"inlineData":{"mimeType":"s/i"}}]}}`,
			Facts{
				SystemInstruction: true, Files: []string{"gs://bucket", "https://host:8"},
				MediaTypes: []string{"a/c", "image/png", "s/i", "unknown", "video/mp4"},
			},
		},
		{"a file without a place", Gemini, `{"contents":[{"parts":[{"fileData":{}},{"fileData":{"fileUri":"x"}},{"fileData":{"fileUri":"FILE:x"}}]}]}`, Facts{
			MediaTypes: []string{"unknown"}, Files: []string{"file:", "unknown:"},
		}},
		{"an empty system instruction", Gemini, `{"systemInstruction":{"parts":[]}}`, Facts{}},
		{
			"what acts with the minted identity", Gemini,
			`{"cachedContent":"projects/p/locations/l/cachedContents/1","modelArmorConfig":{"promptTemplateName":"t1","responseTemplateName":"t2"},"labels":{"team":"secret","env":"x"}}`,
			Facts{CachedContent: some("projects/p/locations/l/cachedContents/1"), ModelArmor: true, ArmorTemplates: []string{"t1", "t2"}, Labels: []string{"env", "team"}},
		},
		{
			"safety settings in their order", Gemini,
			`{"safetySettings":[{"category":"B","threshold":"OFF"},{"category":"A"}]}`,
			Facts{Safety: []Safety{{"B", "OFF"}, {"A", ""}}},
		},
		{
			"a model that answers in place of another", Gemini,
			`{"model":"m","generationConfig":{"routingConfig":{"manualMode":{"modelName":"other"},"autoMode":{}}}}`,
			Facts{Model: some("m"), RoutingModel: some("other"), RoutingAuto: true},
		},
		{"instances of countTokens", Gemini, `{"instances":[{},1,"x"]}`, Facts{Instances: some[int64](3)}},
		{"names with escapes", Gemini, `{"generation\u0043onfig":{"\u006daxOutputTokens":7}}`, Facts{MaxOutputTokens: some[int64](7)}},
		{"values with escapes", Gemini, `{"model":"\u0067\ud83d\ude00\/\n"}`, Facts{Model: some("g😀/\n")}},
		{
			"Anthropic", Anthropic,
			`{"model":"claude","max_tokens":5,"stream":true,"temperature":1,"top_k":3,"system":"s","anthropic_beta":["b2","b1"],"messages":[{"role":"user","content":"x"},` +
				`{"content":[{"type":"text","text":"x"},{"type":"image","source":{"type":"base64","media_type":"image/png"}},{"type":"document","source":{"type":"url","url":"https://h/x"}},` +
				`{"type":"tool_result","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]},{"type":"container_upload","file_id":"f"}]}],` +
				`"tools":[{"name":"f1"},{"type":"custom","name":"f2"},{"type":"web_search_20250305","name":"web_search"}],"mcp_servers":[{"type":"url","name":"srv"}]}`,
			Facts{
				Model: some("claude"), MaxOutputTokens: some[int64](5), Stream: some(true), Temperature: some(1.0), TopK: some(3.0), SystemInstruction: true,
				Betas: []string{"b1", "b2"}, MediaTypes: []string{"image/png", "unknown"}, Files: []string{"https://h", "unknown:"},
				Tools: []string{"fn:f1", "fn:f2", "mcp:srv", "web_search_20250305"},
			},
		},
		{"Anthropic's system as a list", Anthropic, `{"system":[{"type":"text","text":"x"}]}`, Facts{SystemInstruction: true}},
		{"Anthropic's empty system", Anthropic, `{"system":"","stream":false}`, Facts{Stream: some(false)}},
		{
			"OpenAI chat", OpenAI,
			`{"model":"google/gemini-2.5-flash","n":1,"max_tokens":5,"max_completion_tokens":9,"top_p":0.5,"messages":[{"role":"system","content":"s"},{"role":"user","content":[` +
				`{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:image/webp;base64,eA=="}},{"type":"image_url","image_url":"gs://b/x"},` +
				`{"type":"input_audio","input_audio":{"format":"wav"}},{"type":"file","file":{"file_id":"x"}},{"type":"new"}]}],` +
				`"tools":[{"type":"function","function":{"name":"f"}},{"type":"google_search"}],"functions":[{"name":"old"}],"web_search_options":{}}`,
			Facts{
				Model: some("google/gemini-2.5-flash"), Candidates: some[int64](1), MaxOutputTokens: some[int64](9), TopP: some(0.5), SystemInstruction: true,
				MediaTypes: []string{"audio/wav", "image/*", "image/webp", "unknown"}, Files: []string{"gs://b", "unknown:"},
				Tools: []string{"fn:f", "fn:old", "googleSearch", "type:google_search"},
			},
		},
		{
			"what Vertex adds to OpenAI", OpenAI,
			`{"extra_body":{"google":{"cached_content":"c","safety_settings":[{"category":"A","threshold":"OFF"}],"tools":[{"urlContext":{}}]}}}`,
			Facts{CachedContent: some("c"), Safety: []Safety{{"A", "OFF"}}, Tools: []string{"urlContext"}},
		},
		{"one input of embeddings", OpenAI, `{"input":"x"}`, Facts{Instances: some[int64](1)}},
		{"inputs of embeddings", OpenAI, `{"input":["x","y"]}`, Facts{Instances: some[int64](2)}},
		{"an input of tokens", OpenAI, `{"input":[1,2,3]}`, Facts{Instances: some[int64](1)}},
		{"inputs of tokens", OpenAI, `{"input":[[1,2],[3]]}`, Facts{Instances: some[int64](2)}},
		{
			"predict", Predict,
			`{"instances":[{"prompt":"x","image":{"gcsUri":"gs://b/1","mimeType":"image/png"}}],"parameters":{"sampleCount":4,"maxOutputTokens":3,"storageUri":"gs://out/"},"labels":{"a":"b"}}`,
			Facts{
				Instances: some[int64](1), Candidates: some[int64](4), MaxOutputTokens: some[int64](3), Files: []string{"gs://b", "gs://out"},
				MediaTypes: []string{"image/png"}, Labels: []string{"a"},
			},
		},
		{"the operation of a prediction", Predict, `{"operationName":"projects/p/x"}`, Facts{Operation: some("projects/p/x")}},
		{
			"a batch job", Job,
			`{"model":"publishers/google/models/m","inputConfig":{"gcsSource":{"uris":["gs://in/x"]}},"outputConfig":{"bigqueryDestination":{"outputUri":"bq://p.d.t"}}}`,
			Facts{Model: some("publishers/google/models/m"), Files: []string{"bq://p.d.t", "gs://in"}},
		},
		{"a tuning job", Job, `{"baseModel":"gemini-2.5-flash"}`, Facts{Model: some("gemini-2.5-flash")}},
		{"what nothing is known of", Custom, `{"model":7,"tools":"x"}`, Facts{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Read(tt.shape, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Shape, tt.want.Bytes = tt.shape, len(tt.body)
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	tests := []struct {
		name  string
		shape Shape
		body  string
		want  Cause
	}{
		{"nothing", Gemini, "", NotObject},
		{"a list", Gemini, "[]", NotObject},
		{"a text", Gemini, `"x"`, NotObject},
		{"a byte order mark", Gemini, "\ufeff{}", NotObject},
		{"no shape", None, "{}", WrongShape},
		{"a shape that is none", Shape(200), "{}", WrongShape},
		{"two documents", Gemini, "{}{}", Trailing},
		{"a NUL behind", Gemini, "{}\x00", Trailing},
		{"bytes that are not UTF-8", Gemini, "{\"a\":\"\xff\"}", NotUTF8},
		{"an overlong form", Gemini, "{\"a\":\"\xc0\xaf\"}", NotUTF8},
		{"half a surrogate pair", Gemini, `{"a":"\ud800"}`, NotUTF8},
		{"the other half", Gemini, `{"a":"\udc00x"}`, NotUTF8},
		{"a pair in the wrong order", Gemini, `{"a":"\udc00\ud800"}`, NotUTF8},
		{"a trailing comma", Gemini, `{"a":1,}`, Syntax},
		{"a comment", Gemini, `{/**/}`, Syntax},
		{"single quotes", Gemini, `{'a':1}`, Syntax},
		{"a name without quotes", Gemini, `{a:1}`, Syntax},
		{"a control character", Gemini, "{\"a\":\"\n\"}", Syntax},
		{"a control character after eight good ones", Gemini, "{\"a\":\"12345678\x1f\"}", Syntax},
		{"an unknown escape", Gemini, `{"a":"\x41"}`, Syntax},
		{"an escape that ends early", Gemini, `{"a":"\u00"}`, Syntax},
		{"a string that does not end", Gemini, `{"a":"x`, Syntax},
		{"an object that does not end", Gemini, `{"a":1`, Syntax},
		{"a number with a leading zero", Gemini, `{"a":01}`, Syntax},
		{"a number with a plus sign", Gemini, `{"a":+1}`, Syntax},
		{"a number without digits", Gemini, `{"a":-}`, Syntax},
		{"a number that ends with a dot", Gemini, `{"a":1.}`, Syntax},
		{"NaN", Gemini, `{"a":NaN}`, Syntax},
		{"half a literal", Gemini, `{"a":tru}`, Syntax},
		{"a name twice", Gemini, `{"a":1,"a":1}`, Duplicate},
		{"a name twice far below", Gemini, `{"x":[{"y":{"a":1,"b":2,"a":3}}]}`, Duplicate},
		{"a name twice, once with escapes", Gemini, `{"model":"a","\u006dodel":"b"}`, Duplicate},
		{"both spellings of a name", Gemini, `{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}`, Duplicate},
		{"both spellings of an unknown name", OpenAI, `{"x":{"someThing":1,"some_thing":2}}`, Duplicate},
		{"both spellings, one null", Gemini, `{"systemInstruction":null,"system_instruction":{}}`, Duplicate},
		{"a name twice among many", Gemini, `{` + manyNames(50) + `,"n7":0}`, Duplicate},
		{"a name in capitals", OpenAI, `{"Model":"x"}`, Misspelled},
		{"a name in capitals beside the good one", OpenAI, `{"model":"x","MODEL":"y"}`, Misspelled},
		{"a name with half its underscores", Gemini, `{"generationConfig":{"max_outputTokens":1}}`, Misspelled},
		{"a name of OpenAI in lowerCamelCase", OpenAI, `{"maxTokens":1}`, Misspelled},
		{"a name of Anthropic with an underscore too many", Anthropic, `{"max__tokens":1}`, Misspelled},
		{"a number as a text", Gemini, `{"generationConfig":{"maxOutputTokens":"1024"}}`, WrongType},
		{"a number as a list", Gemini, `{"generationConfig":{"temperature":[1]}}`, WrongType},
		{"a model as a list", OpenAI, `{"model":["google/gemini-2.5-flash"]}`, WrongType},
		{"a flag as a text", OpenAI, `{"stream":"true"}`, WrongType},
		{"a flag as a number", Anthropic, `{"stream":1}`, WrongType},
		{"tools as a text", Gemini, `{"tools":"googleSearch"}`, WrongType},
		{"a tool that is null", Gemini, `{"tools":[null]}`, WrongType},
		{"one tool of OpenAI in place of a list", OpenAI, `{"tools":{"type":"x"}}`, WrongType},
		{"contents as a text", Gemini, `{"contents":"hi"}`, WrongType},
		{"a system instruction as a text", Gemini, `{"systemInstruction":"hi"}`, WrongType},
		{"a threshold by its number", Gemini, `{"safetySettings":[{"threshold":4}]}`, WrongType},
		{"Anthropic's system as a number", Anthropic, `{"system":1}`, WrongType},
		{"instances that are no list", Predict, `{"instances":{}}`, WrongType},
		{"a negative number of tokens", Gemini, `{"generationConfig":{"maxOutputTokens":-1}}`, OutOfRange},
		{"no tokens", Gemini, `{"generationConfig":{"maxOutputTokens":0}}`, OutOfRange},
		{"no tokens, with a sign", Gemini, `{"generationConfig":{"maxOutputTokens":-0}}`, OutOfRange},
		{"no candidates", OpenAI, `{"n":0}`, OutOfRange},
		{"half a token", Gemini, `{"generationConfig":{"maxOutputTokens":1.5}}`, OutOfRange},
		{"a number of tokens with an exponent", Gemini, `{"generationConfig":{"maxOutputTokens":1e3}}`, OutOfRange},
		{"more tokens than 32 bits hold", Gemini, `{"generationConfig":{"maxOutputTokens":2147483648}}`, OutOfRange},
		{"a temperature that no number holds", Gemini, `{"generationConfig":{"temperature":1e999}}`, OutOfRange},
		{"both models of a job", Job, `{"model":"a","baseModel":"b"}`, Duplicate},
		{"a model of 513 bytes", Gemini, `{"model":"` + strings.Repeat("a", MaxName+1) + `"}`, TooLong},
		{"too deep", Gemini, strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1), TooDeep},
		{"very deep", Gemini, `{"a":` + strings.Repeat("[", 1<<19), TooDeep},
		{"too many values", Gemini, `{"a":[` + strings.Repeat("0,", MaxValues) + "0]}", TooMany},
		{"too many tools", Gemini, `{"tools":[` + strings.Repeat(`{"a":1},`, MaxNames) + `{}, {"a":1}]}`, TooMany},
		{"too many safety settings", Gemini, `{"safetySettings":[` + strings.Repeat(`{},`, MaxNames) + `{}]}`, TooMany},
		{"too large", Gemini, `{"a":"` + strings.Repeat("a", MaxBytes) + `"}`, TooLarge},
	}
	seen := map[Cause]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Read(tt.shape, []byte(tt.body))
			var e *Error
			if !errors.As(err, &e) || got != nil {
				t.Fatalf("got %+v, %v, want an *Error", got, err)
			}
			if e.Cause != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if !slices.Contains(Causes(), e.Cause) {
				t.Errorf("cause %s is not in Causes", e.Cause)
			}
			if len(err.Error()) > 120 || e.Offset < 0 || e.Offset > len(tt.body) {
				t.Errorf("error %q is long, or its offset is not in the body", err)
			}
			seen[e.Cause] = true
		})
	}
	for _, c := range Causes() {
		if !seen[c] {
			t.Errorf("no test for %s", c)
		}
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"n` + string(rune('0'+i/10)) + string(rune('0'+i%10)) + `":0`)
	}
	return strings.ReplaceAll(b.String(), `"n07"`, `"n7"`)
}

func TestReadAtItsBounds(t *testing.T) {
	for name, b := range map[string]string{
		"the deepest":                strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth),
		"the longest name":           `{"model":"` + strings.Repeat("a", MaxName) + `"}`,
		"the most values":            `{"a":[` + strings.Repeat("0,", MaxValues-4) + "0]}",
		"many names":                 `{` + manyNames(50) + `}`,
		"the largest":                `{"a":"` + strings.Repeat("a", MaxBytes-8) + `"}`,
		"names that only look alike": `{"a_b":1,"ab":2,"a-b":3,"A_b":4}`,
	} {
		if f, err := Read(Gemini, []byte(b)); err != nil || f.Bytes != len(b) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Nothing of a prompt may be in the facts or in an error.
func TestReadKeepsNoPrompt(t *testing.T) {
	const marker = "MARKER"
	bodies := map[Shape]string{
		Gemini:    `{"contents":[{"parts":[{"text":"MARKER"},{"fileData":{"fileUri":"gs://b/MARKER"}},{"functionCall":{"name":"x","args":{"a":"MARKER"}}}]}],"labels":{"a":"MARKER"}}`,
		Anthropic: `{"system":"MARKER","messages":[{"content":"MARKER"},{"content":[{"type":"text","text":"MARKER"}]}]}`,
		OpenAI:    `{"messages":[{"content":"MARKER"}],"input":"MARKER"}`,
		Predict:   `{"instances":[{"prompt":"MARKER","x":"gs://b/MARKER"}]}`,
	}
	for shape, b := range bodies {
		f, err := Read(shape, []byte(b))
		if err != nil {
			t.Fatal(err)
		}
		if s := cmp.Diff(&Facts{}, f); strings.Contains(s, marker) {
			t.Errorf("%v: the facts hold the prompt: %s", shape, s)
		}
		if _, err := Read(shape, []byte(b+"MARKER")); err == nil || strings.Contains(err.Error(), marker) {
			t.Errorf("%v: got error %v, want one without the text", shape, err)
		}
	}
}

func TestFactsShareNoMemoryWithTheBody(t *testing.T) {
	b := []byte(`{"model":"abc","tools":[{"googleSearch":{}}],"labels":{"team":"x"}}`)
	f, err := Read(Gemini, b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 'x'
	}
	if f.Model.Value != "abc" || f.Tools[0] != "googleSearch" || f.Labels[0] != "team" {
		t.Errorf("the facts changed with the body: %+v", f)
	}
}

func TestOpaqueFactsSayNothing(t *testing.T) {
	custom, err := Read(Custom, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	gemini, err := Read(Gemini, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for f, want := range map[*Facts]bool{nil: true, {}: true, {Shape: Job}: true, {Shape: Custom + 1}: true, custom: true, gemini: false} {
		if got := f.Opaque(); got != want {
			t.Errorf("Opaque of %+v: got %v, want %v", f, got, want)
		}
	}
}

func TestShapesHaveNames(t *testing.T) {
	for s := None; s <= Custom; s++ {
		if s.String() == "" || strings.HasPrefix(s.String(), "shape(") {
			t.Errorf("shape %d has no name", uint8(s))
		}
	}
	if got := Shape(99).String(); got != "shape(99)" {
		t.Errorf("got %q", got)
	}
}
