package body

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// slow is a second reading of what Read accepts, by encoding/json and maps.
type slow struct{ f Facts }

type tree = map[string]any

// get returns a field in either spelling.
func get(v any, name string) any {
	m, _ := v.(tree)
	snake := ""
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			snake += "_"
		}
		snake += strings.ToLower(string(c))
	}
	if v := m[name]; v != nil {
		return v
	}
	return m[snake]
}

func in(v any, path ...string) any {
	for _, name := range path {
		v = get(v, name)
	}
	return v
}

func each(v any) []any {
	if m, ok := v.(tree); ok {
		return []any{m}
	}
	l, _ := v.([]any)
	return l
}

func opt[T any](v any) Opt[T] {
	t, ok := v.(T)
	return Opt[T]{t, ok}
}

func integer(v any) Opt[int64] {
	n, ok := v.(json.Number)
	if !ok {
		return Opt[int64]{}
	}
	i, err := n.Int64()
	return Opt[int64]{i, err == nil}
}

func float(v any) Opt[float64] {
	n, ok := v.(json.Number)
	if !ok {
		return Opt[float64]{}
	}
	x, err := n.Float64()
	return Opt[float64]{x, err == nil}
}

func (s *slow) gemini(b any) {
	f := &s.f
	f.Model, f.CachedContent = opt[string](get(b, "model")), opt[string](get(b, "cachedContent"))
	config := get(b, "generationConfig")
	f.MaxOutputTokens, f.Candidates = integer(get(config, "maxOutputTokens")), integer(get(config, "candidateCount"))
	f.Temperature, f.TopP, f.TopK = float(get(config, "temperature")), float(get(config, "topP")), float(get(config, "topK"))
	f.RoutingModel = opt[string](in(config, "routingConfig", "manualMode", "modelName"))
	f.RoutingAuto = in(config, "routingConfig", "autoMode") != nil
	if l, ok := get(b, "instances").([]any); ok {
		f.Instances = Opt[int64]{int64(len(l)), true}
	}
	f.ModelArmor = get(b, "modelArmorConfig") != nil
	for _, name := range []string{"promptTemplateName", "responseTemplateName"} {
		if t, ok := in(b, "modelArmorConfig", name).(string); ok {
			f.ArmorTemplates = append(f.ArmorTemplates, t)
		}
	}
	labels, _ := get(b, "labels").(tree)
	for k := range labels {
		f.Labels = append(f.Labels, k)
	}
	s.settings(get(b, "safetySettings"))
	s.parts(get(b, "systemInstruction"))
	f.SystemInstruction = len(each(in(b, "systemInstruction", "parts"))) > 0
	s.parts(get(b, "content"))
	for _, c := range each(get(b, "contents")) {
		s.parts(c)
	}
	s.tools(get(b, "tools"))
}

func (s *slow) settings(v any) {
	for _, x := range each(v) {
		s.f.Safety = append(s.f.Safety, Safety{opt[string](get(x, "category")).Value, opt[string](get(x, "threshold")).Value})
	}
}

func (s *slow) tools(v any) {
	for _, tool := range each(v) {
		for k, v := range tool.(tree) {
			name := bigAfterUnderscore(k)
			kinds, _ := v.(tree)
			count := 0
			for kind, v := range kinds {
				if kind = bigAfterUnderscore(kind); name == "retrieval" && kind != "disableAttribution" && v != nil {
					s.f.Tools = append(s.f.Tools, "retrieval."+kind)
					count++
				}
			}
			if v != nil && count == 0 && name != "functionDeclarations" {
				s.f.Tools = append(s.f.Tools, name)
			}
		}
		for _, d := range each(get(tool, "functionDeclarations")) {
			s.f.Tools = append(s.f.Tools, "fn:"+opt[string](get(d, "name")).Value)
		}
	}
}

func bigAfterUnderscore(s string) string {
	parts := strings.Split(s, "_")
	for i := range parts {
		if i > 0 && parts[i] != "" && 'a' <= parts[i][0] && parts[i][0] <= 'z' {
			parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
		}
	}
	return strings.Join(parts, "")
}

func (s *slow) parts(content any) {
	for _, part := range each(get(content, "parts")) {
		for _, name := range []string{"inlineData", "fileData"} {
			data := get(part, name)
			if data == nil {
				continue
			}
			kind, _, _ := strings.Cut(opt[string](get(data, "mimeType")).Value, ";")
			if kind = strings.TrimSpace(strings.ToLower(kind)); kind == "" {
				kind = "unknown"
			}
			s.f.MediaTypes = append(s.f.MediaTypes, kind)
			if name == "fileData" {
				s.f.Files = append(s.f.Files, "")
			}
		}
		s.parts(get(part, "functionResponse"))
	}
}

func (s *slow) openAI(b any) {
	f := &s.f
	m, _ := b.(tree)
	f.Model, f.Stream = opt[string](m["model"]), opt[bool](m["stream"])
	f.Candidates, f.Temperature, f.TopP, f.TopK = integer(m["n"]), float(m["temperature"]), float(m["top_p"]), float(m["top_k"])
	for _, name := range []string{"max_tokens", "max_completion_tokens"} {
		if n := integer(m[name]); n.Set && n.Value >= f.MaxOutputTokens.Value {
			f.MaxOutputTokens = n
		}
	}
}

func (s *slow) anthropic(b any) {
	f := &s.f
	m, _ := b.(tree)
	f.Model, f.Stream, f.MaxOutputTokens = opt[string](m["model"]), opt[bool](m["stream"]), integer(m["max_tokens"])
	f.Temperature, f.TopP, f.TopK = float(m["temperature"]), float(m["top_p"]), float(m["top_k"])
	for _, x := range each(m["anthropic_beta"]) {
		f.Betas = append(f.Betas, x.(string))
	}
	switch v := m["system"].(type) {
	case string:
		f.SystemInstruction = v != ""
	case []any:
		f.SystemInstruction = len(v) > 0
	}
}

// numbers are the facts that every shape has a second reading of.
func (f Facts) numbers() Facts {
	f.Tools, f.MediaTypes, f.Files, f.Safety, f.CachedContent, f.Instances, f.Bytes, f.Shape = nil, nil, nil, nil, Opt[string]{}, Opt[int64]{}, 0, None
	return f
}

// checkNames checks that no object has a name twice, and the depth.
func checkNames(t *testing.T, d *json.Decoder, depth int) {
	t.Helper()
	token, err := d.Token()
	if err != nil {
		t.Fatalf("encoding/json does not read what was accepted: %v", err)
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return
	}
	if depth > MaxDepth {
		t.Errorf("depth %d was accepted", depth)
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			name, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			if s := bigAfterUnderscore(name.(string)); seen[s] {
				t.Errorf("name %q is there twice", name)
			} else {
				seen[s] = true
			}
		}
		checkNames(t, d, depth+1)
	}
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
}

func checkAgainstSlow(t *testing.T, shape Shape, data []byte, got *Facts) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	checkNames(t, decoder, 1)
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		t.Errorf("something follows the document: %v", err)
	}
	decoder = json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var b any
	if err := decoder.Decode(&b); err != nil {
		t.Fatalf("encoding/json does not read what was accepted: %v", err)
	}
	s := slow{}
	g := *got
	switch shape {
	case Gemini:
		s.gemini(b)
		if len(g.Files) > 0 != (len(s.f.Files) > 0) {
			t.Errorf("files: got %q, want some: %v", g.Files, len(s.f.Files) > 0)
		}
		g.Files, s.f.Files = nil, nil
		s.f.finish()
		g.Shape, g.Bytes = None, 0
	case OpenAI:
		s.openAI(b)
		s.f.SystemInstruction = g.SystemInstruction
		g = g.numbers()
	case Anthropic:
		s.anthropic(b)
		s.f.finish()
		g = g.numbers()
	default:
		return
	}
	if diff := cmp.Diff(s.f, g); diff != "" {
		t.Errorf("facts (-slow +got):\n%s", diff)
	}
}

func FuzzRead(f *testing.F) {
	for _, b := range []string{
		`{"contents":[{"role":"user","parts":[{"text":"hi"},{"inlineData":{"mimeType":"image/png","data":"eA=="}},{"fileData":{"fileUri":"gs://b/x"}}]}],` +
			`"systemInstruction":{"parts":[{"text":"x"}]},"generationConfig":{"temperature":0.5,"max_output_tokens":12,"routingConfig":{"manualMode":{"modelName":"m"}}},` +
			`"tools":[{"googleSearch":{}},{"functionDeclarations":[{"name":"f"}]},{"retrieval":{"vertexAiSearch":{}}}],"safetySettings":[{"category":"a","threshold":"b"}],"labels":{"k":"v"}}`,
		`{"model":"google/x","messages":[{"role":"system","content":"x"}],"max_tokens":4,"max_completion_tokens":9,"stream":true,"n":2,"top_p":1e-2,"stream_options":{"include_usage":true}}`,
		`{"anthropic_version":"vertex-2023-10-16","messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"base64","media_type":"image/png"}}]}]}],"max_tokens":1,"system":[{"type":"text"}]}`,
		`{"instances":[{"prompt":"x","image":{"gcsUri":"gs://b/x","mimeType":"a/b"}}],"parameters":{"sampleCount":1}}`,
		`{"\u006dodel":"\ud83d\ude00","model_":1}`, `{"model":"a","Model":"b"}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{}x`, "\ufeff{}", `{"a":[[[[1,-0.0e+5,true,false,null]]]]}`,
	} {
		for shape := Gemini; shape <= Custom; shape++ {
			f.Add(uint8(shape), []byte(b))
		}
	}
	f.Fuzz(func(t *testing.T, shape uint8, data []byte) {
		got, err := Read(Shape(shape), data)
		if err != nil {
			var e *Error
			if got != nil || !errors.As(err, &e) || !slices.Contains(Causes(), e.Cause) || e.Offset < 0 || e.Offset > len(data) {
				t.Errorf("got facts %+v and error %v", got, err)
			}
			return
		}
		if !utf8.Valid(data) || !json.Valid(data) {
			t.Errorf("accepted, and is not JSON in UTF-8: %q", data)
		}
		if got.Shape != Shape(shape) || got.Bytes != len(data) {
			t.Errorf("got shape %v of %d bytes", got.Shape, got.Bytes)
		}
		for _, list := range [][]string{got.Tools, got.MediaTypes, got.Files, got.ArmorTemplates, got.Labels, got.Betas} {
			if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) || len(list) > MaxNames {
				t.Errorf("a list is not sorted, or has equal entries: %q", list)
			}
		}
		checkAgainstSlow(t, Shape(shape), data, got)
	})
}

// placeOf is checked against net/url for what both understand.
func FuzzPlaceOf(f *testing.F) {
	for _, s := range []string{"gs://b/x", "https://Host:8/x?y#z", "data:image/png;base64,x", "x", "://", "gs:/b", "https://a@b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := placeOf([]byte(s))
		scheme, _, ok := strings.Cut(got, ":")
		if !ok || scheme == "" {
			t.Errorf("place %q of %q has no scheme", got, s)
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Opaque != "" || strings.ContainsAny(s, "\\?#") {
			return
		}
		want := u.Scheme + "://" + u.Host
		if len(u.Scheme) > 32 { // no scheme that anybody uses
			want = unknown + ":"
		}
		if got, want := strings.ToLower(got), strings.ToLower(want); got != want && !strings.Contains(u.Host, "%") && !strings.Contains(s, "%") {
			t.Errorf("place of %q: got %q, want %q", s, got, want)
		}
	})
}

// prompts makes a Gemini body of about n bytes: a system instruction, some tools and as much text as it takes.
func prompts(n int) []byte {
	const head = `{"systemInstruction":{"parts":[{"text":"Answer briefly."}]},"generationConfig":{"temperature":0.2,"maxOutputTokens":1024,"topP":0.95},` +
		`"tools":[{"functionDeclarations":[{"name":"get_weather","description":"x","parameters":{"type":"OBJECT","properties":{"city":{"type":"STRING"}}}}]}],` +
		`"labels":{"team":"search"},"contents":[`
	const tail = `]}`
	line := "The quick brown fox jumps over the lazy dog.\\n"
	var b strings.Builder
	b.WriteString(head)
	for first := true; first || b.Len() < n-400; first = false {
		if !first {
			b.WriteByte(',')
		}
		b.WriteString(`{"role":"user","parts":[{"text":"` + strings.Repeat(line, min(80, max(1, (n-400-b.Len())/len(line)))) + `"}]}`)
	}
	b.WriteString(tail)
	return []byte(b.String())
}

func BenchmarkRead(b *testing.B) {
	for _, n := range []int{1 << 10, 10 << 10, 64 << 10} {
		data := prompts(n)
		b.Run(strconv.Itoa(n>>10)+"kB", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := Read(Gemini, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	hostile := map[string]string{
		"numbers": `{"a":[` + strings.Repeat("1,", 32000) + `1]}`,
		"objects": `{"contents":[` + strings.Repeat(`{"parts":[{}]},`, 4300) + `{}]}`,
		"names":   `{"contents":[{` + strings.TrimSuffix(names(7000), ",") + `}]}`,
		"escapes": `{"a":"` + strings.Repeat(`\u00e9`, 10600) + `"}`,
	}
	for name, s := range hostile {
		b.Run("hostile/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				if _, err := Read(Gemini, []byte(s)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func names(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"` + strconv.FormatInt(int64(i)+46656, 36) + `":1,`)
	}
	return b.String()
}

func BenchmarkEncodingJSON(b *testing.B) {
	data := prompts(64 << 10)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			b.Fatal(err)
		}
	}
}
