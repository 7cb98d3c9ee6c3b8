package strictyaml

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// places writes a node and what is below it, each with its place, its path and whether it is null.
func places(b *strings.Builder, n *Node) {
	fmt.Fprintf(b, "%d:%d %s %d %q %v\n", n.Line, n.Column, n.path(), n.Kind, n.text, n.null)
	for _, item := range n.items {
		places(b, item)
	}
	for _, e := range n.entries {
		places(b, e.Key)
		if e.Value == nil {
			b.WriteString("refused\n")
			continue
		}
		places(b, e.Value)
	}
}

// compareReaders fails when the quick reader reads a text that the library refuses or reads otherwise. It reports whether it read it.
func compareReaders(t testing.TB, text string) bool {
	t.Helper()
	f := &file{name: "f.yaml", text: text}
	var ignored Problems
	if len(text) > MaxSize || !f.checkText(text, &ignored) {
		return false
	}
	got := quickParse(f)
	if got == nil {
		return false
	}
	var p Problems
	want := f.parse([]byte(text), &p)
	if want == nil || p.Len() > 0 {
		t.Fatalf("%q was read, and is refused: %v", text, p.Err())
	}
	var a, b strings.Builder
	places(&a, want)
	places(&b, got)
	if diff := cmp.Diff(a.String(), b.String()); diff != "" {
		t.Fatalf("%q (-library +quick):\n%s", text, diff)
	}
	return true
}

// quickTexts are what the quick reader is there for.
var quickTexts = []string{
	"a: 1\n",
	"a: 1",
	"# c\n\na: b c # d\nb: x#y\n# end",
	"a:\n  b: 1\n  c:\n    d: x\ne: f\n",
	"a: # c\n  b: 1\n\n  # c\n  c: 2\n",
	"a:\n- x\n- y z\nb: 1\n",
	"a:\n  - x\n  - k: v\n    l: w\n  - { a: b }\nb: 1\n",
	"a: [x, \"y z\", 'w', 1.5, null, ~]\n",
	"a: { b: [c, d], e: { f: g } } # c\n",
	"a: {}\nb: []\n",
	"a: { b: c,   # first\n     d: e }\nf: [\n  x,\n  y\n  ]\n",
	"\"quoted key\": v\n'k2': w\n",
	"url: https://login.acme.com/x?y=1&z=2\n",
	"when: claims.environment == \"evals\" || claims.workflow.startsWith(\"nightly-\")\n",
	"name: Zoë # ü\nb: {o: ä, c: d}\nc: \"ß\" \n",
	"sub: \"system:serviceaccount:rag:indexer\"\nref: refs/heads/main\nneg: -1\n",
	"a:\n  gemini-2.5-*: x\n  claude-*@2025: y\n",
	"who: [ { corp: { groups: serving } }, { k8s: { sub: [a, b] }, github: { repository: acme/serving } } ]\n",
}

func TestQuickReaderReadsWhatPoliciesAreMadeOf(t *testing.T) {
	for _, text := range quickTexts {
		if !compareReaders(t, text) {
			t.Errorf("%q was left to the library", text)
		}
	}
}

func TestQuickReaderLeavesTheRestToTheLibrary(t *testing.T) {
	for _, text := range []string{
		"", "# c\n", "x\n", "- a\n", "---\na: b\n", "a: b\n...\n", "a: b\n---\nc: d\n", "%YAML 1.2\n---\na: b\n",
		"a: b: c\n", "a: b:\n", "a: &x b\n", "a: *x\n", "a: !t b\n", "<<: b\n", "a: |\n  x\n", "a: >-\n  x\n", "a: x\n  y\n", "a: \"x\n  y\"\n",
		"a: \"\\n\"\n", "a: 'it''s'\n", "a:\n", "a:\nb: c\n", "a: 1\na: 2\n", "a: {b: 1, b: 2}\n", "a: [x,]\n", "a: {b}\n", "a: {b: }\n", "a: [b: c]\n",
		"a: [x\n]\n", "a: [x y\n  z]\n", "a: b\n c: d\n", "a:\n   b: c\n  d: e\n", "a: \tb\n", "a: b\r\n", "~: x\n", "null: x\n", "? a\n: b\n", "a: @x\n", "a: `x`\n",
		"a: [\"b\"c]\n", "a: \"b\"c\n", "a: {\"b\":c}\n", "a: [a#b, c]#d\n", "a:  - b\n", "a: - b\n", "a:b\n", "{a: b}\n", "a: =\n", " a: b\n",
		"a: " + strings.Repeat("[", 30) + strings.Repeat("]", 30) + "\n",
	} {
		if compareReaders(t, text) {
			t.Errorf("%q was not left to the library", text)
		}
	}
}

func TestQuickReaderIsQuickInLargeMappings(t *testing.T) {
	var b strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&b, "k%d: v\n", i)
	}
	f := &file{name: "f.yaml", text: b.String()}
	if root := quickParse(f); root == nil || root.Len() != 50_000 {
		t.Error("a large mapping was left to the library")
	}
	b.WriteString("k7: again\n")
	f.text = b.String()
	if quickParse(f) != nil {
		t.Error("a key that stands twice was not left to the library")
	}
}

func FuzzQuickReader(f *testing.F) {
	for _, text := range quickTexts {
		f.Add(text)
	}
	for _, text := range []string{"a: [x\n]\n", "a: b\n c: d\n", "a:\n- - b\n", "a: {b:\n  c}\n", "a: [b ,c]\n", "a: b  \n  # c\nd: e\n", "a: -b\n", "a: [-, b]\n", "a: 'b' \n", "a: b\uffffc\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { compareReaders(t, text) })
}

func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	text.WriteString("version: 1\nrules:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  rule-%d:\n    allow: team-%d\n    models: [gemini-2.5-*, \"text-embedding-%d*\"]\n    locations: europe-west1\n", i, i, i)
	}
	data := []byte(text.String())
	b.Run("quick", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			quickParse(&file{name: "f.yaml", text: string(data)})
		}
	})
	b.Run("library", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			var p Problems
			(&file{name: "f.yaml", text: string(data)}).parse(data, &p)
		}
	})
}
