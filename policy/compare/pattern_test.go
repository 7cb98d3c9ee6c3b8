package compare

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy"
)

func TestMeet(t *testing.T) {
	for _, tt := range []struct{ p, q, want pattern }{
		{"gemini-*", "gemini-2.5-*", "gemini-2.5-*"},
		{"gemini-*", "*-preview*", "gemini-*-preview*"},
		{"gemini-*", "claude-*", ""},
		{"*-flash", "*-pro", ""},
		{"gemini-2.5-pro", "gemini-*", "gemini-2.5-pro"},
		{"gemini-*", "gemini-2.5-pro", "gemini-2.5-pro"},
		{"gemini-2.5-pro", "gemini-2.5-flash", ""},
		{"*", "*", "*"},
		{"a*b*c", "a*x*c", "a*b*x*c"},
		{"*@2025*", "claude-*", "claude-*@2025*"},
	} {
		got, ok := tt.p.meet(tt.q)
		if ok != (tt.want != "") || ok && strings.ReplaceAll(string(got), "**", "*") != string(tt.want) {
			t.Errorf("%s and %s: got %q, %t, want %q", tt.p, tt.q, got, ok, tt.want)
		}
	}
}

// What two patterns are said to have in common they have, and a pattern that covers another matches whatever that one matches.
func FuzzPatterns(f *testing.F) {
	for _, seed := range []string{"gemini-*|*-preview*", "a*b|ab", "*a*|*a", "*|x", "a**|a*"} {
		p, q, _ := strings.Cut(seed, "|")
		f.Add(p, q)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		p, q := pattern(a), pattern(b)
		if both, ok := p.meet(q); ok {
			for _, fill := range []string{"x", "yy-z"} {
				name := strings.ReplaceAll(string(both), "*", fill)
				if fill == "x" && (!p.match(name) || !q.match(name)) {
					t.Errorf("%q and %q do not both match %q", p, q, name)
				}
			}
		}
		if !p.covers(q) {
			return
		}
		for _, fill := range []string{"", "x", "yy-z", a, b} {
			if name := strings.ReplaceAll(b, "*", fill); !p.match(name) {
				t.Errorf("%q covers %q and does not match %q", p, q, name)
			}
		}
	})
}

func TestWhoGainsAndWhoLoses(t *testing.T) {
	way := func(issuer string, claims ...string) policy.Way {
		w := policy.Way{Issuer: issuer}
		for _, c := range claims {
			name, values, _ := strings.Cut(c, "=")
			w.Claims = append(w.Claims, policy.ClaimCondition{Name: name, Patterns: strings.Split(values, "|")})
		}
		return w
	}
	for _, tt := range []struct {
		name          string
		before, after []policy.Way
		gains, loses  []string
	}{
		{"the same in another order", []policy.Way{way("corp", "a=1", "b=2|3")}, []policy.Way{way("corp", "b=3|2", "a=1")}, nil, nil},
		{"one more value", []policy.Way{way("corp", "a=1")}, []policy.Way{way("corp", "a=1|2")}, []string{"corp: a=2"}, nil},
		{"a pattern in place of a value", []policy.Way{way("corp", "a=x1")}, []policy.Way{way("corp", "a=x*")}, []string{"corp: a=x*"}, nil},
		{"a value in place of a pattern", []policy.Way{way("corp", "a=x*")}, []policy.Way{way("corp", "a=x1")}, nil, []string{"corp: a=x*"}},
		{"one more claim", []policy.Way{way("corp", "a=1")}, []policy.Way{way("corp", "a=1", "b=2")}, nil, []string{"corp: a=1"}},
		{"one claim less", []policy.Way{way("corp", "a=1", "b=2")}, []policy.Way{way("corp", "a=1")}, []string{"corp: a=1"}, nil},
		{"another issuer", []policy.Way{way("corp", "a=1")}, []policy.Way{way("k8s", "a=1")}, []string{"k8s: a=1"}, []string{"corp: a=1"}},
		{"two ways made one", []policy.Way{way("corp", "a=1"), way("corp", "a=2")}, []policy.Way{way("corp", "a=1|2")}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := waysOf(&policy.Role{Who: tt.before}), waysOf(&policy.Role{Who: tt.after})
			if diff := cmp.Diff([][]string{tt.gains, tt.loses}, [][]string{uncovered(b, a), uncovered(a, b)}); diff != "" {
				t.Errorf("gains and loses, -want +got\n%s", diff)
			}
		})
	}
}

func TestARoleWithManyValuesStaysSmall(t *testing.T) {
	many := strings.Split(strings.Repeat("v,", 100)+"w", ",")
	w := policy.Way{Issuer: "corp", Claims: []policy.ClaimCondition{{Name: "a", Patterns: many}, {Name: "b", Patterns: many}, {Name: "c", Patterns: many}}}
	if got := len(waysOf(&policy.Role{Who: []policy.Way{w}})); got > maxWays {
		t.Errorf("got %d ways, want at most %d", got, maxWays)
	}
}
