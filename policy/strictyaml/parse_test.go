package strictyaml

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// problemsOf returns the messages of a Problems with their places.
func problemsOf(t testing.TB, p *Problems) []string {
	t.Helper()
	err := p.Err()
	if err == nil {
		return nil
	}
	var all *Error
	if !errors.As(err, &all) {
		t.Fatalf("Err: got %T, want *Error", err)
	}
	var list []string
	for _, problem := range all.Problems {
		first, _, _ := strings.Cut(problem.String(), "\n")
		place := strings.Split(problem.String(), "\n")[1]
		list = append(list, strings.TrimPrefix(place, "  --> ")+": "+strings.TrimPrefix(first, "error: "))
	}
	return list
}

// tree writes a node and what is below it on one line.
func tree(n *Node) string {
	switch n.Kind {
	case List:
		var parts []string
		for _, item := range n.items {
			parts = append(parts, tree(item))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case Mapping:
		var parts []string
		for _, e := range n.entries {
			if e.Value == nil {
				parts = append(parts, e.Name()+":-")
				continue
			}
			parts = append(parts, e.Name()+":"+tree(e.Value))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case Scalar:
	}
	if n.null {
		return "null"
	}
	return "<" + n.text + ">"
}

func TestParseKeepsScalarsAsTheyAreWritten(t *testing.T) {
	const text = `
bool: [yes, no, true, off]
number: [1.10, 012, 0x1F, 1e3, 1_000, +5, .inf]
date: 2026-11-04
quoted: ["null", '~', "", "tab\tand é"]
nothing: [~, null]
empty:
block: |
  two
  lines
folded: >-
  one
  line
{a: b}: x
`
	var p Problems
	root := Parse("a.yaml", []byte(strings.Replace(text, "{a: b}: x\n", "", 1)), &p)
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	want := "{bool:[<yes> <no> <true> <off>] number:[<1.10> <012> <0x1F> <1e3> <1_000> <+5> <.inf>] date:<2026-11-04>" +
		" quoted:[<null> <~> <> <tab\tand é>] nothing:[null null] empty:null block:<two\nlines\n> folded:<one line>}"
	if diff := cmp.Diff(want, tree(root)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if Parse("a.yaml", []byte(text), &p); p.Len() != 1 {
		t.Errorf("a mapping as a key: got %v, want one problem", p.Err())
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
		tree       string // what is left, empty for nothing
	}{
		{"nothing", "", []string{"f.yaml: the file is empty"}, ""},
		{"only a comment", "# x\n", []string{"f.yaml: the file is empty"}, ""},
		{"only a marker", "---\n", []string{"f.yaml: the file is empty"}, ""},
		{"null", "null\n", []string{"f.yaml: the file is empty"}, ""},
		{"two documents", "a: 1\n---\nb: 2\n", []string{"f.yaml: the file holds more than one document: one file, one document"}, ""},
		{"text after the end of the document", "a: 1\n...\nb: 2\n", []string{"f.yaml: the file holds more than one document: one file, one document"}, ""},
		{"an alias", "a: x\nb: *a\n", []string{"f.yaml:2:4: not YAML: unknown anchor 'a' referenced"}, ""},
		{"an anchor and its alias", "a: &x 1\nb: *x\n", []string{
			"f.yaml:1:4 (a): anchors (&x) are not allowed",
			"f.yaml:2:4 (b): aliases (*x) are not allowed: write the value out",
		}, "{a:- b:-}"},
		{"an anchor on a key", "&x a: 1\n", []string{"f.yaml:1:1: anchors (&x) are not allowed"}, "{}"},
		{"an alias as a key", "a: 1\n*x : 2\n", []string{"f.yaml:2:1: not YAML: unknown anchor 'x' referenced"}, ""},
		{"a merge key", "<<: { a: 1 }\nb: 2\n", []string{"f.yaml:1:1: merge keys (<<) are not allowed: write the keys out"}, "{b:<2>}"},
		{"a quoted merge key is a key", "\"<<\": 1\n", nil, "{<<:<1>}"},
		{"tags", "a: !!str 1\nb: ! 2\nc: !!binary aGk=\nd: !!map {}\n", []string{
			"f.yaml:1:4 (a): tags (!!str) are not allowed: values are plain text",
			"f.yaml:2:4 (b): tags (!) are not allowed: values are plain text",
			"f.yaml:3:4 (c): tags (!!binary) are not allowed: values are plain text",
			"f.yaml:4:4 (d): tags (!!map) are not allowed: values are plain text",
		}, "{a:- b:- c:- d:-}"},
		{"a duplicate key", "a: 1\nb: { c: 1, c: 2 }\na: 2\n", []string{
			`f.yaml:2:12 (b.c): duplicate key "c": it stands at line 2 already`,
			`f.yaml:3:1 (a): duplicate key "a": it stands at line 1 already`,
		}, "{a:<1> b:{c:<1>}}"},
		{"a duplicate key in quotes", "a: 1\n\"a\": 2\n", []string{`f.yaml:2:1 (a): duplicate key "a": it stands at line 1 already`}, "{a:<1>}"},
		{"a duplicate key by escapes", "a: 1\n\"\\x61\": 2\n", []string{`f.yaml:2:1 (a): duplicate key "a": it stands at line 1 already`}, "{a:<1>}"},
		{"an empty key", "\"\": 1\n", []string{"f.yaml:1:1: a key is a single, non-empty text"}, "{}"},
		{"a null key", "~: 1\n", []string{"f.yaml:1:1: a key is a single, non-empty text"}, "{}"},
		{"a list as a key", "? [a]\n: 1\n", []string{"f.yaml:1:3: a key is a single, non-empty text"}, "{}"},
		{"a value with a colon", "a: b: c\n", []string{"f.yaml:1:5: not YAML: mapping values are not allowed in this context: a value that holds a colon and a space needs quotes, or a block that begins with >- on the line before it"}, ""},
		{"a tab as indentation", "a:\n\tb: 1\n", []string{"f.yaml:2:1: not YAML: found character that cannot start any token (while scanning for the next token): indent with spaces, not with tabs"}, ""},
		{"bytes that are not UTF-8", "a: 1\nb: \xff\n", []string{"f.yaml:2:4: the file is not UTF-8 here"}, ""},
		{"UTF-16", "\xff\xfea\x00:\x00", []string{"f.yaml:1:1: the file is not UTF-8 here"}, ""},
		{"a byte order mark", "\ufeffa: 1\n", []string{"f.yaml:1:1: character U+FEFF is not allowed in the file"}, ""},
		{"a NUL", "a: \x00\n", []string{"f.yaml:1:4: character U+0000 is not allowed in the file"}, ""},
		{"a lone carriage return", "a: 1\r# b\n", []string{"f.yaml:1:5: character U+000D is not allowed in the file"}, ""},
		{"a carriage return at the end", "a: 1\r", []string{"f.yaml:1:5: character U+000D is not allowed in the file"}, ""},
		{"lines that end as on Windows", "a: 1\r\nb: 2\r\n", nil, "{a:<1> b:<2>}"},
		{"a line separator", "a: b\u2028c\n", []string{"f.yaml:1:5: character U+2028 is not allowed in the file"}, ""},
		{"a turned direction", "é: \u202e\n", []string{"f.yaml:1:4: character U+202E is not allowed in the file"}, ""},
		{"deep nesting", strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), []string{"f.yaml:1:21 (" + strings.Repeat("[0]", maxDepth) + "): nested more than 20 levels deep"}, strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)},
		{"absurd nesting", strings.Repeat("[", 200_000), []string{"f.yaml: x"}, ""},
		{"a key that needs quotes in a path", "a b: { c.d: *x }\n", []string{"f.yaml:1:13: not YAML: unknown anchor 'x' referenced"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Problems
			root := Parse("f.yaml", []byte(tt.text), &p)
			got := problemsOf(t, &p)
			if tt.name == "absurd nesting" {
				if len(got) != 1 || root != nil {
					t.Errorf("got %v, want one problem", got)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			left := ""
			if root != nil {
				left = tree(root)
			}
			if left != tt.tree {
				t.Errorf("left: got %q, want %q", left, tt.tree)
			}
		})
	}
}

func TestParseRefusesLargeFiles(t *testing.T) {
	var p Problems
	if Parse("f.yaml", []byte(strings.Repeat("#", MaxSize+1)), &p) != nil || p.Len() != 1 {
		t.Errorf("got %v, want one problem", p.Err())
	}
	p = Problems{}
	if Parse("f.yaml", []byte("a: 1\n"+strings.Repeat("#", MaxSize-5)), &p) == nil || p.Len() != 0 {
		t.Errorf("a file of the largest size: got %v, want no problem", p.Err())
	}
}

// target is what TestReaders reads into.
type target struct {
	Text    string
	Texts   []string
	Bool    bool
	Int     int
	Time    time.Duration
	Enum    string
	Entries []string
	Items   int
}

func read(text string) (target, *Problems) {
	var p Problems
	var v target
	root := Parse("f.yaml", []byte(text), &p)
	if root == nil {
		return v, &p
	}
	root.Object(&p, []Field{
		{Name: "text", Read: func(n *Node) { v.Text, _ = n.Text(&p) }},
		{Name: "texts", Read: func(n *Node) { v.Texts, _ = n.Texts(&p) }},
		{Name: "bool", Read: func(n *Node) { v.Bool, _ = n.Bool(&p) }},
		{Name: "int", Read: func(n *Node) { v.Int, _ = n.Int(&p, -5, 100) }},
		{Name: "time", Read: func(n *Node) { v.Time, _ = n.Duration(&p, time.Second, 90*time.Minute) }},
		{Name: "enum", Read: func(n *Node) { v.Enum, _ = n.Enum(&p, "left", "right") }},
		{Name: "entries", Read: func(n *Node) {
			for _, e := range n.Entries(&p) {
				v.Entries = append(v.Entries, e.Name())
			}
		}},
		{Name: "items", Read: func(n *Node) { v.Items = len(n.Items(&p)) }},
		{Name: "later", Refused: "is for later"},
	})
	return v, &p
}

func TestReaders(t *testing.T) {
	tests := []struct {
		text string
		want target
	}{
		{"text: 012", target{Text: "012"}},
		{"text: 'null'", target{Text: "null"}},
		{"texts: one", target{Texts: []string{"one"}}},
		{"texts: [one, two]", target{Texts: []string{"one", "two"}}},
		{"texts:\n- one", target{Texts: []string{"one"}}},
		{"bool: true", target{Bool: true}},
		{"bool: false", target{}},
		{"int: 100", target{Int: 100}},
		{"int: -5", target{Int: -5}},
		{"time: 1h30m", target{Time: 90 * time.Minute}},
		{"enum: left", target{Enum: "left"}},
		{"entries: { b: 1, a: 2 }", target{Entries: []string{"b", "a"}}},
		{"entries: {}", target{}},
		{"items: { a: 1 }", target{Items: 1}},
		{"items: [{ a: 1 }, x]", target{Items: 2}},
	}
	for _, tt := range tests {
		got, p := read(tt.text)
		if p.Len() != 0 {
			t.Errorf("%s: %v", tt.text, p.Err())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestReadersRefuse(t *testing.T) {
	tests := []struct{ text, want string }{
		{"text:", "f.yaml:1:6 (text): the value is missing"},
		{"text: ~", "f.yaml:1:7 (text): the value is missing"},
		{"text: null", "f.yaml:1:7 (text): the value is missing"},
		{"text: ''", "f.yaml:1:7 (text): the value is missing"},
		{"text: [a]", "f.yaml:1:7 (text): want a single value, not a list"},
		{"text: { a: b }", "f.yaml:1:7 (text): want a single value, not a mapping"},
		{"texts: []", "f.yaml:1:8 (texts): the list is empty"},
		{"texts:", "f.yaml:1:7 (texts): the value is missing"},
		{"texts: [a, '']", "f.yaml:1:12 (texts[1]): the value is missing"},
		{"texts: [[a]]", "f.yaml:1:9 (texts[0]): want a single value, not a list"},
		{"bool: yes", `f.yaml:1:7 (bool): "yes" is none of true, false`},
		{"bool: True", `f.yaml:1:7 (bool): "True" is none of true, false (did you mean "true"?)`},
		{"int: 101", `f.yaml:1:6 (int): "101" is not a whole number from -5 to 100`},
		{"int: -6", `f.yaml:1:6 (int): "-6" is not a whole number from -5 to 100`},
		{"int: 010", `f.yaml:1:6 (int): "010" is not a whole number from -5 to 100`},
		{"int: 1.0", `f.yaml:1:6 (int): "1.0" is not a whole number from -5 to 100`},
		{"int: 99999999999999999999", `f.yaml:1:6 (int): "99999999999999999999" is not a whole number from -5 to 100`},
		{"time: 5", `f.yaml:1:7 (time): "5" is not a length of time from 1s to 1h30m, such as 90s, 15m or 1h`},
		{"time: 2h", `f.yaml:1:7 (time): "2h" is not a length of time from 1s to 1h30m, such as 90s, 15m or 1h`},
		{"time: -1m", `f.yaml:1:7 (time): "-1m" is not a length of time from 1s to 1h30m, such as 90s, 15m or 1h`},
		{"enum: rihgt", `f.yaml:1:7 (enum): "rihgt" is none of left, right (did you mean "right"?)`},
		{"entries: a", "f.yaml:1:10 (entries): want a mapping, not a single value"},
		{"entries:", "f.yaml:1:9 (entries): the value is missing: want a mapping"},
		{"items: []", "f.yaml:1:8 (items): the list is empty"},
		{"later: 1", `f.yaml:1:1 (later): "later" is for later`},
		{"lter: 1", `f.yaml:1:1 (lter): unknown key "lter"`},
		{"tme: 1", `f.yaml:1:1 (tme): unknown key "tme" (did you mean "time"?)`},
		{"[text]", "f.yaml:1:1: want a mapping, not a list"},
	}
	for _, tt := range tests {
		got, p := read(tt.text)
		if diff := cmp.Diff([]string{tt.want}, problemsOf(t, p)); diff != "" {
			t.Errorf("%s: problems (-want +got):\n%s", tt.text, diff)
		}
		got.Texts, got.Items = nil, 0
		if diff := cmp.Diff(target{}, got); diff != "" {
			t.Errorf("%s: read in spite of the problem:\n%s", tt.text, diff)
		}
	}
}

func TestObjectTellsMissingFromRefusedKeys(t *testing.T) {
	var p Problems
	root := Parse("f.yaml", []byte("a: !!str x\n"), &p)
	root.Object(&p, []Field{
		{Name: "a", Required: true, Read: func(*Node) { t.Error("a refused value was read") }},
		{Name: "b", Required: true, Read: func(*Node) { t.Error("a missing value was read") }},
	})
	want := []string{
		`f.yaml:1:1: missing key "b"`,
		"f.yaml:1:4 (a): tags (!!str) are not allowed: values are plain text",
	}
	if diff := cmp.Diff(want, problemsOf(t, &p)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"a: 1\nb: [x, {c: d}]\n", "a: &x 1\nb: *x\n", "? [a]\n: b\n", "a: |\n  x\n", "%YAML 1.1\n---\na: 1\n", "<<: {a: 1}\n",
		"a: !!str 1\n", "\"\\u0041\": x\n", "a: 1\n---\nb: 2\n", "é: \"\u200b\"\n", strings.Repeat("[", 50), "a:\n- b\n-  - c\n", "{a: b, ? c}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Problems
		root := Parse("f.yaml", data, &p)
		if root == nil && p.Len() == 0 {
			t.Fatal("neither a node nor a problem")
		}
		if root != nil {
			checkTree(t, root, strings.Count(string(data), "\n")+1, 1)
		}
		if err := p.Err(); err != nil {
			for _, r := range err.Error() {
				if r != '\n' && (r < ' ' || r == 0x7f) {
					t.Fatalf("control character %U in the message %q", r, err)
				}
			}
		}
	})
}

// checkTree checks what is true of every node that Parse returns.
func checkTree(t *testing.T, n *Node, lines, depth int) {
	if n.Line < 1 || n.Line > lines+1 || n.Column < 1 || depth > maxDepth || n.file == nil || n.Kind < Scalar || n.Kind > Mapping {
		t.Fatalf("node %+v at depth %d of %d lines", n, depth, lines)
	}
	names := map[string]bool{}
	for _, e := range n.entries {
		if names[e.Name()] || e.Name() == "" {
			t.Fatalf("key %q is empty or there twice", e.Name())
		}
		names[e.Name()] = true
		if e.Value != nil {
			checkTree(t, e.Value, lines, depth+1)
		}
	}
	for _, item := range n.items {
		checkTree(t, item, lines, depth+1)
	}
}
