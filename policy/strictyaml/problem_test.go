package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProblemIsShownInItsPlace(t *testing.T) {
	var p Problems
	root := Parse("policy.d/a.yaml", []byte(strings.Repeat("\n", 11)+"é: { alow: search,\tb: c }\n"), &p)
	if root == nil {
		t.Fatal(p.Err())
	}
	for _, e := range root.Entries(&p) {
		e.Value.Object(&p, []Field{{Name: "allow", Read: func(*Node) {}}, {Name: "b", Read: func(*Node) {}}})
	}
	want := `error: unknown key "alow" (did you mean "allow"?)
  --> policy.d/a.yaml:12:6 ("é".alow)
   12 | é: { alow: search, b: c }
      |      ^
1 error`
	if diff := cmp.Diff(want, p.Err().Error()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

func TestProblemOnALongLineShowsWhatIsAroundIt(t *testing.T) {
	for _, before := range []int{0, 10, 59, 60, 61, 500, 5000} {
		var p Problems
		line := strings.Repeat("ü", before) + ": x"
		if before == 0 {
			line = "k: x" + strings.Repeat(" ", 500) + "# end"
		}
		root := Parse("f.yaml", []byte(line), &p)
		if root == nil {
			t.Fatal(p.Err())
		}
		for _, e := range root.Entries(&p) {
			p.Addf(e.Value, "here")
		}
		lines := strings.Split(p.Err().Error(), "\n")
		excerpt, mark := []rune(lines[2]), []rune(lines[3])
		if len(excerpt) > 140 || excerpt[len(mark)-1] != 'x' {
			t.Errorf("%d characters before: the mark is not below x:\n%s\n%s", before, lines[2], lines[3])
		}
	}
}

func TestProblemsAreSortedAndBounded(t *testing.T) {
	var p Problems
	for i := range 3 * maxProblems {
		p.Addf(&Node{file: &file{name: "b"}, Line: 1000 - i, Column: 1}, "x")
	}
	p.AddFile("a", "y")
	if p.Len() != 3*maxProblems+1 {
		t.Errorf("Len: got %d, want %d", p.Len(), 3*maxProblems+1)
	}
	var err *Error
	if !errors.As(p.Err(), &err) || len(err.Problems) != maxProblems || err.Omitted != 2*maxProblems+1 {
		t.Fatalf("got %v", p.Err())
	}
	for i := 1; i < len(err.Problems); i++ {
		if err.Problems[i-1].Line > err.Problems[i].Line {
			t.Fatalf("line %d stands before line %d", err.Problems[i-1].Line, err.Problems[i].Line)
		}
	}
	if want := "and 201 more that are not shown\n301 errors"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %q, want %q at its end", err.Error(), want)
	}
}

func TestManyUnknownKeysAreReadQuickly(t *testing.T) {
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "unknown%d: x\n", i)
	}
	var p Problems
	root := Parse("f.yaml", []byte(text.String()), &p)
	if root == nil {
		t.Fatal(p.Err())
	}
	var fields []Field
	for i := range 30 {
		fields = append(fields, Field{Name: fmt.Sprintf("some-known-name-%d", i), Read: func(*Node) {}})
	}
	root.Object(&p, fields)
	if p.Len() != 20_000 {
		t.Errorf("got %d problems, want 20000", p.Len())
	}
}

func TestNoProblemsIsNoError(t *testing.T) {
	if err := new(Problems).Err(); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestSuggest(t *testing.T) {
	candidates := []string{"allow", "deny", "models", "methods", "locations"}
	tests := []struct{ word, want string }{
		{"alow", ` (did you mean "allow"?)`},
		{"Allow", ` (did you mean "allow"?)`},
		{"laolw", ""},
		{"modles", ` (did you mean "models"?)`},
		{"method", ` (did you mean "methods"?)`},
		{"location", ` (did you mean "locations"?)`},
		{"dny", ` (did you mean "deny"?)`},
		{"colour", ""},
		{"", ""},
		{"x", ""},
		{strings.Repeat("a", 1000), ""},
	}
	for _, tt := range tests {
		if got := Suggest(tt.word, candidates); got != tt.want {
			t.Errorf("Suggest(%q): got %q, want %q", tt.word, got, tt.want)
		}
	}
	if got := Suggest("b", []string{"a"}); got != "" {
		t.Errorf("a word of one letter: got %q, want nothing", got)
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"ab", "ba", 1}, {"abc", "axc", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q): got %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if distance(tt.a, tt.b) != distance(tt.b, tt.a) {
			t.Errorf("distance(%q, %q) depends on the order", tt.a, tt.b)
		}
	}
}

func TestQuote(t *testing.T) {
	if got := Quote("a\x00\n\u202e\"" + strings.Repeat("x", 100)); len(got) > 100 || strings.ContainsAny(got, "\x00\n\u202e") {
		t.Errorf("got %q", got)
	}
}
