package policy

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestGlob(t *testing.T) {
	tests := []struct {
		pattern, text string
		want          bool
	}{
		{"gemini-2.5-flash", "gemini-2.5-flash", true},
		{"gemini-2.5-flash", "gemini-2.5-flash@001", false},
		{"gemini-2.5-flash", "gemini-2x5-flash", false},
		{"gemini-2.5-flash*", "gemini-2.5-flash@001", true},
		{"*", "", true},
		{"*", "a/b:c\nd", true},
		{"", "", true},
		{"", "a", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"ab*ba", "aba", false},
		{"*-preview*", "gemini-3-preview", true},
		{"*-preview*", "gemini-3", false},
		{"claude-*@2025*", "claude-opus-4@20250514", true},
		{"claude-*@2025*", "claude-opus-4@20240514", false},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"a**c", "ac", true},
		{"*a*", "bab", true},
		{"[a-z]?", "[a-z]?", true},
		{"[a-z]?", "b1", false},
		{"acme/*", "acme/a/b", true},
	}
	for _, tt := range tests {
		g := newGlob(tt.pattern)
		if got := g.match(tt.text); got != tt.want {
			t.Errorf("glob %q on %q: got %v, want %v", tt.pattern, tt.text, got, tt.want)
		}
	}
}

// naiveGlob is the meaning of a pattern, said with a regular expression.
func naiveGlob(pattern, text string) bool {
	return regexp.MustCompile(`(?s)^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `$`).MatchString(text)
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b*c", "abbc")
	f.Add("*ab*ab*", "abab")
	f.Add("**", "x\ny")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 100 || len(text) > 1000 || !utf8.ValidString(pattern) || !utf8.ValidString(text) {
			return // a regular expression reads characters, a glob bytes
		}
		g := newGlob(pattern)
		if got, want := g.match(text), naiveGlob(pattern, text); got != want {
			t.Errorf("glob %q on %q: got %v, want %v", pattern, text, got, want)
		}
	})
}

func BenchmarkGlobThatIsHardToMatch(b *testing.B) {
	g, text := newGlob("*"+strings.Repeat("a*", 100)+"b*"), strings.Repeat("a", 12<<10)
	b.ReportAllocs()
	for b.Loop() {
		if g.match(text) {
			b.Fatal("matched")
		}
	}
}
