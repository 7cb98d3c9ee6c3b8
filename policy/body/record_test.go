package body_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy/body"
)

func TestRecordHoldsAllFacts(t *testing.T) {
	full := &body.Facts{
		Shape: body.Gemini, Bytes: 1234, Model: opt("google/gemini-2.5-flash"), RoutingModel: opt("m"), RoutingAuto: true,
		Operation: opt("operations/1"), Stream: opt(false), MaxOutputTokens: opt(int64(1024)), Candidates: opt(int64(2)),
		Temperature: opt(0.1), TopP: opt(0.0), TopK: opt(40.0), Instances: opt(int64(3)), Tools: []string{"fn:get", "googleSearch"},
		SystemInstruction: true, Safety: []body.Safety{{Category: "HARM_CATEGORY_HARASSMENT", Threshold: "OFF"}, {Category: "B"}},
		MediaTypes: []string{"image/png"}, Files: []string{"gs://bucket", "https://h\"ö\n"}, CachedContent: opt("cachedContents/1"),
		ModelArmor: true, ArmorTemplates: []string{"t"}, Labels: []string{"team"}, Betas: []string{"b"},
	}
	const want = `{"shape":"gemini","bytes":1234,"model":"google/gemini-2.5-flash","routing_model":"m","routing_auto":true,` +
		`"operation":"operations/1","stream":false,"max_output_tokens":1024,"candidates":2,"temperature":0.1,"top_p":0,"top_k":40,"instances":3,` +
		`"tools":["fn:get","googleSearch"],"system_instruction":true,"safety":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"OFF"},` +
		`{"category":"B","threshold":""}],"media_types":["image/png"],"files":["gs://bucket","https://h\"ö\n"],` +
		`"cached_content":"cachedContents/1","model_armor":true,"armor_templates":["t"],"labels":["team"],"betas":["b"]}`
	got := string(full.AppendJSON([]byte("x")))
	if got != "x"+want {
		t.Errorf("got  %s\nwant x%s", got, want)
	}
	read, err := body.ParseFacts([]byte(want))
	if diff := cmp.Diff(full, read); err != nil || diff != "" {
		t.Errorf("read back: %v\n%s", err, diff)
	}
	// A field that AppendJSON forgets would be one that a decision cannot be made again with.
	if got := strings.Count(want, `":`) - 4; got != 23 {
		t.Errorf("%d fields, want 23", got)
	}
}

func opt[T any](v T) body.Opt[T] { return body.Opt[T]{Value: v, Set: true} }

func TestParseFactsRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                         ``,
		"null":                            `null`,
		"a list":                          `[]`,
		"no shape":                        `{"bytes":1}`,
		"the shape none":                  `{"shape":"none","bytes":1}`,
		"an unknown shape":                `{"shape":"gemma","bytes":1}`,
		"a negative size":                 `{"shape":"gemini","bytes":-1}`,
		"a field of a later version":      `{"shape":"gemini","bytes":1,"thinking":true}`,
		"a field of another type":         `{"shape":"gemini","bytes":1,"stream":"yes"}`,
		"a number that is too large":      `{"shape":"gemini","bytes":1,"temperature":1e999}`,
		"an unknown field of the safety":  `{"shape":"gemini","bytes":1,"safety":[{"category":"x","method":"y"}]}`,
		"something behind it":             `{"shape":"gemini","bytes":1}{}`,
		"a bracket too many":              `{"shape":"gemini","bytes":1}}`,
		"a count that is not an integer":  `{"shape":"gemini","bytes":1,"candidates":1.5}`,
		"a count beyond all integers":     `{"shape":"gemini","bytes":1,"candidates":99999999999999999999}`,
		"half of it, as of a torn record": `{"shape":"gemini","byt`,
	} {
		t.Run(name, func(t *testing.T) {
			if f, err := body.ParseFacts([]byte(text)); err == nil || f != nil {
				t.Errorf("got %+v, %v, want an error and no facts", f, err)
			}
		})
	}
}

func TestNilFactsAreNull(t *testing.T) {
	var f *body.Facts
	if got := string(f.AppendJSON(nil)); got != "null" {
		t.Errorf("got %s, want null", got)
	}
}

// What is read of a body is what its record says, whatever the body.
func FuzzRecordOfABody(f *testing.F) {
	for _, text := range []string{
		`{"contents":[{"parts":[{"fileData":{"fileUri":"gs://b/o","mimeType":"image/png"}}]}],"generationConfig":{"maxOutputTokens":5,"temperature":0.7}}`,
		`{"model":"google/gemini-2.5-flash","stream":true,"max_tokens":7,"tools":[{"type":"function","function":{"name":"f"}}]}`,
		`{"safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"OFF"}],"labels":{"a\u2028":"b"}}`,
		`{"instances":[{"prompt":"x"}],"parameters":{"sampleCount":2,"storageUri":"gs://ü/x"}}`,
	} {
		for shape := body.Gemini; shape <= body.Custom; shape++ {
			f.Add(uint8(shape), []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, shape uint8, data []byte) {
		facts, err := body.Read(body.Shape(shape), data)
		if err != nil {
			return
		}
		text := facts.AppendJSON(nil)
		got, err := body.ParseFacts(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		valid := cmp.Transformer("valid", func(s string) string { return string([]rune(s)) })
		if diff := cmp.Diff(facts, got, valid); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		for _, r := range string(text) {
			if r == '\n' || r == '\u2028' || r == '\u2029' {
				t.Errorf("%q breaks a line", text)
			}
		}
	})
}

// What is accepted is written again as what it says, and says the same.
func FuzzParseFacts(f *testing.F) {
	f.Add([]byte(`{"shape":"openai","bytes":3,"temperature":1e-7,"tools":["a","a"],"stream":true}`))
	f.Add([]byte(`{"shape":"custom","bytes":0,"model":"","Bytes":4}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		facts, err := body.ParseFacts(data)
		if err != nil {
			if facts != nil {
				t.Errorf("facts beside the error %v", err)
			}
			return
		}
		text := facts.AppendJSON(nil)
		if !utf8.Valid(text) {
			t.Errorf("%q is not UTF-8", text)
		}
		again, err := body.ParseFacts(text)
		if diff := cmp.Diff(facts, again); err != nil || diff != "" {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	})
}
