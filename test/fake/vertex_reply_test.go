package fake

import (
	"fmt"
	"strings"
	"testing"
)

// What an answer says of its use depends on the prompt, and on what the body asks for, in every shape.
func TestEveryShapeTellsItsUse(t *testing.T) {
	w := startWorld(t)
	c := client(t, w)
	const (
		chat     = "/v1/projects/acme-ai/locations/us-central1/endpoints/openapi/chat/completions"
		contents = `"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`
		hello    = `"messages":[{"role":"user","content":"hi"}]}`
		toClaude = `{"anthropic_version":"vertex-2023-10-16","max_tokens":16,`
		cached   = `"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}],`
	)
	tests := []struct {
		name, target, body string
		want               func(prompt int) string
	}{
		{"Gemini", flash + ":generateContent", "{" + contents,
			func(n int) string {
				return fmt.Sprintf(`{"candidatesTokenCount":4,"promptTokenCount":%d,"totalTokenCount":%d,"trafficType":"ON_DEMAND"}`, n, n+4)
			}},
		{"Gemini that thinks, with a cache", flash + ":generateContent", `{"cachedContent":"x","generationConfig":{"thinkingConfig":{}},` + contents,
			func(n int) string {
				return fmt.Sprintf(`{"cachedContentTokenCount":%d,"candidatesTokenCount":4,"promptTokenCount":%d,"thoughtsTokenCount":28,"totalTokenCount":%d,`, n/2, n, n+32)
			}},
		{"Claude", claude + ":rawPredict", toClaude + hello,
			func(n int) string {
				return fmt.Sprintf(`{"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"input_tokens":%d,"output_tokens":4}`, n)
			}},
		{"Claude as events, with a cache", claude + ":streamRawPredict", toClaude + `"stream":true,` + cached + hello,
			func(n int) string {
				return fmt.Sprintf(`{"cache_creation_input_tokens":0,"cache_read_input_tokens":%d,"input_tokens":%d,"output_tokens":1}`, n/2, n-n/2)
			}},
		{"chat", chat, `{"model":"google/gemini-2.5-flash",` + hello,
			func(n int) string {
				return fmt.Sprintf(`{"completion_tokens":4,"prompt_tokens":%d,"total_tokens":%d}`, n, n+4)
			}},
		{"chat that thinks", chat, `{"model":"google/gemini-2.5-flash","reasoning_effort":"low",` + hello,
			func(n int) string {
				return fmt.Sprintf(`{"completion_tokens":4,"completion_tokens_details":{"reasoning_tokens":28},"prompt_tokens":%d,"total_tokens":%d}`, n, n+32)
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ask{url: central + tt.target, token: chatToken(t, w), body: tt.body}.send(t, c)
			if want := tt.want(len(tt.body)/4 + 1); !strings.Contains(strings.Join(strings.Fields(got.Body), ""), want) {
				t.Errorf("got %s\nwant in it %s", got.Body, want)
			}
		})
	}
}
