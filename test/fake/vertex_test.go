package fake

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genai"
)

// models is Google's own client, under the production address of a location.
func models(t *testing.T, w *World, location string) *genai.Client {
	t.Helper()
	c, err := genai.NewClient(t.Context(), &genai.ClientConfig{
		Backend: genai.BackendVertexAI, Project: "acme-ai", Location: location, HTTPClient: client(t, w),
		HTTPOptions: genai.HTTPOptions{Headers: http.Header{"Authorization": {"Bearer " + chatToken(t, w)}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGooglesClientGeneratesAtEveryKindOfHost(t *testing.T) {
	w := startWorld(t)
	for _, location := range []string{"us-central1", "europe-west4", "global", "us", "eu"} {
		t.Run(location, func(t *testing.T) {
			got, err := models(t, w, location).Models.GenerateContent(t.Context(), "gemini-2.5-flash", genai.Text("hi"), nil)
			if err != nil {
				t.Fatal(err)
			}
			usage := got.UsageMetadata
			if got.Text() != "This is the sandbox: no model has been asked." || got.ModelVersion != "gemini-2.5-flash" ||
				got.Candidates[0].FinishReason != genai.FinishReasonStop || got.ResponseID == "" {
				t.Errorf("got %+v", got)
			}
			if usage.CandidatesTokenCount != 4 || usage.PromptTokenCount == 0 ||
				usage.TotalTokenCount != usage.PromptTokenCount+usage.CandidatesTokenCount {
				t.Errorf("got usage %+v", usage)
			}
			record, err := w.Vertex.Next(t.Context())
			if err != nil || record.Account != chat || record.Status != http.StatusOK || record.SNI != record.Host {
				t.Errorf("got record %+v, %v", record, err)
			}
		})
	}
}

func TestGooglesClientStreamsChunkByChunk(t *testing.T) {
	w := startWorld(t)
	gate := make(chan struct{})
	w.Vertex.Play(Script{Chunks: []string{"one", "two", "three"}, Gate: gate})
	var got []string
	open := func() { gate <- struct{}{} } // succeeds only when a chunk waits for it
	go open()
	m := models(t, w, "us-central1").Models
	for piece, err := range m.GenerateContentStream(t.Context(), "gemini-2.5-flash", genai.Text("hi"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, piece.Text())
		if last := len(got) == 3; last != (piece.Candidates[0].FinishReason == genai.FinishReasonStop) ||
			last != (piece.UsageMetadata.TotalTokenCount > 0) {
			t.Errorf("chunk %d: got %+v", len(got), piece)
		} else if !last {
			// The chunk before has arrived while this one was still shut in.
			open()
		}
	}
	if diff := cmp.Diff([]string{"one", "two", "three"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestGooglesClientCountsAndEmbedsAndLists(t *testing.T) {
	w := startWorld(t)
	m := models(t, w, "us-central1").Models
	count, err := m.CountTokens(t.Context(), "gemini-2.5-flash", genai.Text("hi"), nil)
	if err != nil || count.TotalTokens == 0 {
		t.Errorf("count: got %+v, %v", count, err)
	}
	compute, err := m.ComputeTokens(t.Context(), "gemini-2.5-flash", genai.Text("hi"), nil)
	if err != nil || len(compute.TokensInfo) != 1 {
		t.Errorf("compute: got %+v, %v", compute, err)
	}
	two := []*genai.Content{genai.NewContentFromText("a", "user"), genai.NewContentFromText("b", "user")}
	embed, err := m.EmbedContent(t.Context(), "text-embedding-005", two, nil)
	if err != nil || len(embed.Embeddings) != 2 || len(embed.Embeddings[0].Values) != 3 || embed.Embeddings[0].Statistics.TokenCount == 0 {
		t.Errorf("embed by predict: got %+v, %v", embed, err)
	}
	embed, err = m.EmbedContent(t.Context(), "gemini-embedding-2-preview", genai.Text("a"), nil)
	if err != nil || len(embed.Embeddings) != 1 || len(embed.Embeddings[0].Values) != 3 {
		t.Errorf("embed by embedContent: got %+v, %v", embed, err)
	}
	page, err := m.List(t.Context(), &genai.ListModelsConfig{QueryBase: genai.Ptr(true)})
	if err != nil || len(page.Items) != 3 || page.Items[0].Name != "publishers/google/models/gemini-2.5-flash" {
		t.Errorf("list: got %+v, %v", page, err)
	}
	model, err := m.Get(t.Context(), "gemini-2.5-pro", nil)
	if err != nil || model.Name != "publishers/google/models/gemini-2.5-pro" {
		t.Errorf("get: got %+v, %v", model, err)
	}
	for _, r := range w.Vertex.Take() {
		if r.Reason != "" {
			t.Errorf("%s: got %s", r.Target, r.Reason)
		}
	}
}

func TestGooglesClientSeesErrors(t *testing.T) {
	w := startWorld(t)
	m := models(t, w, "us-central1").Models
	for status, code := range map[int]string{
		401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
	} {
		w.Vertex.Fail(Fault{Status: status})
		_, err := m.GenerateContent(t.Context(), "gemini-2.5-flash", genai.Text("hi"), nil)
		var got genai.APIError
		if !errors.As(err, &got) || got.Code != status || got.Status != code {
			t.Errorf("%d: got %v", status, err)
		}
		if r := w.Vertex.Take(); len(r) != 1 || r[0].Status != status || r[0].Reason != Injected {
			t.Errorf("%d: got records %+v", status, r)
		}
	}
	w.Vertex.Fail(Fault{Down: true})
	if _, err := m.GenerateContent(t.Context(), "gemini-2.5-flash", genai.Text("hi"), nil); err == nil {
		t.Error("an answer from a party that is down")
	}
	if r := w.Vertex.Take(); len(r) == 0 || r[0].Status != 0 {
		t.Errorf("got records %+v, want one without status", r)
	}
}

// speak returns a client of Vertex at its own address for one server name, over HTTP/1.1 or HTTP/2.
func speak(t testing.TB, w *World, name string, http2 bool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.CA.Pool(), ServerName: name},
		Protocols:       &protocols,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, w.Vertex.Addr())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestRequestIsRecordedAsReceived(t *testing.T) {
	w := startWorld(t)
	host := strings.TrimPrefix(central, "https://")
	for _, http2 := range []bool{false, true} {
		proto := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]
		t.Run(proto, func(t *testing.T) {
			token := chatToken(t, w)
			target := flash + ":streamGenerateContent?alt=sse"
			a := ask{url: central + target, token: token, body: prompt,
				header: [][2]string{{"X-Goog-Request-Reason", "r1"}, {"X-Goog-Request-Reason", "r2"}}}
			if got := a.send(t, speak(t, w, host, http2)); got.Status != http.StatusOK {
				t.Fatalf("got %+v", got)
			}
			got, err := w.Vertex.Next(t.Context())
			if err != nil || time.Since(got.Time) > time.Minute {
				t.Fatalf("got a record of %v, %v", got.Time, err)
			}
			got.Time = time.Time{}
			want := Request{
				Proto: proto, Method: "POST", Target: target, Host: host, SNI: host,
				Header: http.Header{
					"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "X-Goog-Request-Reason": {"r1", "r2"},
					"User-Agent":      {map[bool]string{false: "Go-http-client/1.1", true: "Go-http-client/2.0"}[http2]},
					"Accept-Encoding": {"gzip"}, "Content-Length": {fmt.Sprint(len(prompt))},
				},
				ContentLength: int64(len(prompt)), Body: []byte(prompt), Account: chat, Status: http.StatusOK,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusedRequestIsRecordedWithItsReason(t *testing.T) {
	w := startWorld(t)
	ask{url: central + flash + ":generateContent", token: chatToken(t, w), body: "[]"}.send(t, client(t, w))
	all := w.Vertex.Requests()
	if len(all) != 1 || all[0].Reason != BodyInvalid || all[0].Status != 400 || all[0].Account != chat || string(all[0].Body) != "[]" {
		t.Errorf("got %+v", all)
	}
	if n := len(w.Vertex.Take()); n != 1 {
		t.Errorf("Requests took what Take was to take: got %d, want 1", n)
	}
	if n := len(w.Vertex.Take()); n != 0 {
		t.Errorf("got %d after Take, want 0", n)
	}
}

// streamed opens a stream over a protocol and checks that each piece that ends in end arrives before the next may go.
func streamed(t *testing.T, w *World, http2 bool, target, body, end string, framing int) string {
	t.Helper()
	gate := make(chan struct{})
	w.Vertex.Play(Script{Chunks: []string{"one", "two"}, Gate: gate})
	c := speak(t, w, strings.TrimPrefix(central, "https://"), http2)
	res, err := c.Do(ask{url: central + target, token: chatToken(t, w), body: body}.request(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	r := bufio.NewReader(res.Body)
	var all strings.Builder
	until := func() {
		t.Helper()
		for piece := ""; !strings.HasSuffix(piece, end); {
			b, err := r.ReadByte()
			if err != nil {
				t.Fatalf("after %q: %v", all.String()+piece, err)
			}
			piece += string(b)
			if strings.HasSuffix(piece, end) {
				all.WriteString(piece)
			}
		}
	}
	for range framing {
		until()
	}
	gate <- struct{}{}
	until()
	if strings.Contains(all.String(), "two") {
		t.Error("the second chunk came through a shut gate")
	}
	gate <- struct{}{}
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return res.Header.Get("Content-Type") + "\n" + all.String() + string(rest)
}

func TestEveryStreamIsFlushedChunkByChunk(t *testing.T) {
	w := startWorld(t)
	chatBody := `{"model":"google/gemini-2.5-flash","messages":[{"role":"user","content":"hi"}],"stream":true,` +
		`"stream_options":{"include_usage":true}}`
	streaming := strings.Replace(messages, "{", `{"stream":true,`, 1)
	tests := []struct {
		name, target, body string
		end                string
		framing            int // pieces before the first chunk
		want               []string
	}{
		{"events of Gemini", flash + ":streamGenerateContent?alt=sse", prompt, "\r\n\r\n", 0,
			[]string{"text/event-stream\ndata: {", `"text":"one"`, `"text":"two"`, `"finishReason":"STOP"`, "}\r\n\r\n"}},
		{"array of Gemini", flash + ":streamGenerateContent", prompt, ",\r\n", 0,
			[]string{"application/json; charset=UTF-8\n[{", `"text":"one"`, "},\r\n{", `"text":"two"`, `"finishReason":"STOP"`, "}]"}},
		{"events of Anthropic", claude + ":streamRawPredict", streaming, "\n\n", 3,
			[]string{"event: message_start\ndata: {", `"input_tokens"`, "event: content_block_start\n", "event: ping\n",
				"event: content_block_delta\n", `"text":"one"`, "event: content_block_delta\n", `"text":"two"`,
				"event: content_block_stop\n", "event: message_delta\n", `"output_tokens":2`,
				"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"}},
		{"events of OpenAI", "/v1/projects/acme-ai/locations/us-central1/endpoints/openapi/chat/completions", chatBody, "\n\n", 0,
			[]string{"text/event-stream\ndata: {", `"content":"one"`, `"content":"two"`, `"finish_reason":"stop"`, `"completion_tokens":2`,
				"data: [DONE]\n\n"}},
	}
	for _, test := range tests {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", test.name, http2), func(t *testing.T) {
				got := streamed(t, w, http2, test.target, test.body, test.end, test.framing)
				inOrder(t, got, test.want)
			})
		}
	}
}

// inOrder checks that text holds each of the parts after the one before.
func inOrder(t *testing.T, text string, parts []string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			t.Fatalf("got %q, in which %q is missing or out of order", text, part)
		}
		rest = after
	}
}

func TestArrayOfGeminiIsOneJSONDocument(t *testing.T) {
	w := startWorld(t)
	got := ask{url: central + flash + ":streamGenerateContent", token: chatToken(t, w), body: prompt}.send(t, client(t, w))
	var all []genai.GenerateContentResponse
	if err := json.Unmarshal([]byte(got.Body), &all); err != nil || len(all) != 4 {
		t.Errorf("got %d responses, %v: %s", len(all), err, got.Body)
	}
}

func TestStreamEndsWhenItsClientLeaves(t *testing.T) {
	w := startWorld(t)
	w.Vertex.Play(Script{Gate: make(chan struct{})})
	ctx, cancel := context.WithCancel(t.Context())
	req := ask{url: central + flash + ":streamGenerateContent?alt=sse", token: chatToken(t, w), body: prompt}.request(t)
	res, err := client(t, w).Do(req.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	cancel()
	w.Vertex.handlers.Wait() // hangs when the stream goes on waiting for its gate
}

func TestIntervalPacesAStream(t *testing.T) {
	w := startWorld(t)
	w.Vertex.Play(Script{Chunks: []string{"a", "b", "c"}, Interval: 10 * time.Millisecond})
	begin := time.Now()
	ask{url: central + flash + ":streamGenerateContent?alt=sse", token: chatToken(t, w), body: prompt}.send(t, client(t, w))
	if d := time.Since(begin); d < 30*time.Millisecond {
		t.Errorf("three chunks took %v, want 30ms or more", d)
	}
}

func TestEveryVerbAnswersInItsShape(t *testing.T) {
	w := startWorld(t)
	c := client(t, w)
	const parent = "/v1/projects/acme-ai/locations/us-central1"
	message := []string{"content", "id", "model", "role", "stop_reason", "stop_sequence", "type", "usage"}
	tests := []struct {
		target, body string
		want         []string // members of the answer
	}{
		{flash + ":generateContent", prompt, []string{"candidates", "createTime", "modelVersion", "responseId", "usageMetadata"}},
		{parent + "/endpoints/123:generateContent", prompt,
			[]string{"candidates", "createTime", "modelVersion", "responseId", "usageMetadata"}},
		{flash + ":predictLongRunning", `{"instances":[{}]}`, []string{"name"}},
		{flash + ":fetchPredictOperation", `{"operationName":"x"}`, []string{"done", "name", "response"}},
		{parent + "/endpoints/123:explain", `{"instances":[{}]}`, []string{"metadata", "predictions"}},
		{parent + "/endpoints/123:directPredict", `{"inputs":[{}]}`, []string{"metadata", "predictions"}},
		{parent + "/endpoints/123:rawPredict", `{}`, []string{"predictions"}},
		{parent + "/publishers/mistralai/models/mistral-small:rawPredict", `{"messages":[{}]}`,
			[]string{"choices", "created", "id", "model", "object", "system_fingerprint", "usage"}},
		{claude + ":rawPredict", messages, message},
		{claude + ":streamRawPredict", messages, message},
		{parent + "/publishers/anthropic/models/count-tokens:rawPredict", `{"model":"claude-sonnet-4","messages":[{}]}`, []string{"input_tokens"}},
		{parent + "/endpoints/openapi/chat/completions", `{"model":"google/x","messages":[{}]}`,
			[]string{"choices", "created", "id", "model", "object", "system_fingerprint", "usage"}},
		{parent + "/endpoints/openapi/embeddings", `{"model":"google/x","input":"x"}`, []string{"data", "model", "object", "usage"}},
	}
	for _, test := range tests {
		t.Run(test.target, func(t *testing.T) {
			got := ask{url: central + test.target, token: chatToken(t, w), body: test.body}.send(t, c)
			if got.Status != http.StatusOK {
				t.Fatalf("got %+v", got)
			}
			var names []string
			for name := range decode(t, got.Body) {
				names = append(names, name)
			}
			if diff := cmp.Diff(test.want, names, sorted); diff != "" {
				t.Error(diff)
			}
			if got.Header.Get("Content-Encoding") != "" {
				t.Errorf("got content encoding %q", got.Header.Get("Content-Encoding"))
			}
		})
	}
}

func TestFurtherHostsServeTheirLocation(t *testing.T) {
	const host = "1234.us-central1-99.prediction.vertexai.goog"
	w := startWorld(t, func(o *Options) { o.Hosts = map[string]string{host: "us-central1"} })
	got := ask{url: "https://" + host + "/v1/projects/acme-ai/locations/us-central1/endpoints/1234:predict", token: chatToken(t, w),
		body: `{"instances":[{}]}`}.send(t, client(t, w))
	if got.Status != http.StatusOK {
		t.Errorf("got %+v", got)
	}
}

func TestOtherScopesThatGoogleListsAreEnough(t *testing.T) {
	w := startWorld(t)
	c := client(t, w)
	narrow := Grant{Source: FromIAM, Account: chat, Projects: []string{"acme-ai"}, Scopes: []string{ScopeAIPlatform}}
	reader := Grant{Source: FromIAM, Account: chat, Scopes: []string{ScopeReadOnly}}
	tests := []ask{
		{url: central + flash + ":generateContent", token: grant(t, w, narrow), body: prompt},
		{method: "GET", url: central + "/v1beta1/publishers/google/models?pageSize=5&pageToken=abc", token: grant(t, w, reader)},
	}
	for _, test := range tests {
		if got := test.send(t, c); got.Status != http.StatusOK {
			t.Errorf("%s: got %+v", test.url, got)
		}
	}
}
