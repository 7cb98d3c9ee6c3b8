package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The mark stands below the x of each text, wherever that is written.
func TestWithinFindsACharacterOfAText(t *testing.T) {
	tests := []struct{ name, text string }{
		{"without quotes", "a: 123 x 456\n"},
		{"in quotes", "a: \"123 x 456\"\n"},
		{"in single quotes", "a: '123 x 456'\n"},
		{"with characters of several bytes before it", "a: ü23 x 456\n"},
		{"in quotes with escapes after it", "a: \"123 x \\n\"\n"},
		{"as a block", "a: |\n  123 x 456\n"},
		{"as a block, on its second line", "a: |\n    123\n    45 x\n"},
		{"as a folded block", "a: >-\n  123 x\n  456\n"},
		{"as a folded block, on its second line", "a: >-\n  123 &&\n  45 x 6\n"},
		{"as a folded block, on its third line", "a: >\n   123 &&\n   45 &&\n   6 x\n"},
		{"without quotes on two lines", "a: 123 &&\n  45 x 6\n"},
		{"in a flow mapping", "a: { b: 123 x 45 }\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Problems
			root := Parse("f.yaml", []byte(tt.text), &p)
			if root == nil {
				t.Fatal(p.Err())
			}
			n := root.Get("a")
			if n.Has("b") {
				n = n.Get("b")
			}
			text, ok := n.Text(&p)
			if !ok {
				t.Fatal(p.Err())
			}
			before, _, _ := strings.Cut(text, "x")
			line := 1 + strings.Count(before, "\n")
			before = before[strings.LastIndexByte(before, '\n')+1:]
			at := n.Within(line, len([]rune(before)))
			lines := strings.Split(tt.text, "\n")
			if at.Line > len(lines) || at.Column > len([]rune(lines[at.Line-1])) || []rune(lines[at.Line-1])[at.Column-1] != 'x' {
				t.Errorf("got %d:%d in:\n%s", at.Line, at.Column, tt.text)
			}
		})
	}
}

func TestWithinStaysInTheFile(t *testing.T) {
	var p Problems
	root := Parse("f.yaml", []byte("a: >-\n  b\n\n\n  c\nd: |\n  e\nf: [g]\n"), &p)
	if root == nil {
		t.Fatal(p.Err())
	}
	for _, name := range []string{"a", "d", "f"} {
		for _, column := range []int{0, 1, 5, 1000} {
			p.Addf(root.Get(name).Within(7, column), "here")
		}
	}
	if err := p.Err(); err == nil || strings.Count(err.Error(), "here") != 12 {
		t.Errorf("got %v, want 12 problems", err)
	}
}

func TestMatchFindsEntriesByName(t *testing.T) {
	var p Problems
	root := Parse("f.yaml", []byte("a: 1\nc: [2, 3]\ncolour: 4\nrefused: &x 5\n"), &p)
	if root == nil {
		t.Fatal(p.Err())
	}
	p = Problems{}
	found := make([]Entry, 4)
	if !root.Match(&p, []string{"a", "b", "color", "refused"}, found) {
		t.Error("a mapping was not matched")
	}
	if found[0].Value.String() != "1" || found[1].Key != nil || found[2].Key != nil || found[3].Key == nil || found[3].Value != nil {
		t.Errorf("got %v, want the entries of a and refused, the latter without a value", found)
	}
	want := `[f.yaml:2:1: unknown key "c" f.yaml:3:1: unknown key "colour" (did you mean "color"?)]`
	if got := fmt.Sprint(placed(p.Err())); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	p = Problems{}
	if root.Get("a").Match(&p, nil, nil) || p.Len() != 1 {
		t.Error("a text was matched as a mapping")
	}
	if got := root.Get("c").String(); got != "[2, 3]" || root.Get("c").Len() != 2 || root.Len() != 4 || root.Get("b") != nil || root.Has("b") || !root.Has("refused") {
		t.Errorf("got %s", got)
	}
}

// placed returns the places and messages of problems.
func placed(err error) []string {
	var list []string
	var all *Error
	if errors.As(err, &all) {
		for _, p := range all.Problems {
			list = append(list, fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message))
		}
	}
	return list
}

func TestParseAllKeepsTheOrderOfFiles(t *testing.T) {
	var names []string
	var data [][]byte
	for i := range 40 {
		names = append(names, fmt.Sprintf("%02d.yaml", i))
		text := fmt.Sprintf("n: v%d\n", i)
		if i%3 == 0 {
			text += "n: again\n"
		}
		data = append(data, []byte(text))
	}
	var p Problems
	roots := ParseAll(names, data, &p)
	for i, root := range roots {
		if root == nil || root.Get("n").String() != fmt.Sprintf("v%d", i) || root.File() != names[i] {
			t.Errorf("file %d: got %v", i, root)
		}
	}
	if p.Len() != 14 {
		t.Errorf("got %d problems, want 14", p.Len())
	}
	if ParseAll(nil, nil, &p) == nil || p.Len() != 14 {
		t.Error("no files: got nil or more problems")
	}
}
