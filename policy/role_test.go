package policy

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
)

func TestClaimsCompareByTheirJSONText(t *testing.T) {
	for _, v := range []any{
		true, false, int64(0), int64(-7), int64(math.MaxInt64), int(42), 1.5, -0.25, 3.0, 1e20, 1e21, 1.5e300, 1e-6, 1e-7, 2.5e-10, 0.1, math.MaxFloat64,
		math.SmallestNonzeroFloat64, json.Number("1.10"),
	} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := claimText(v); !ok || got != string(data) {
			t.Errorf("claimText(%v): got %q, %v, want %q", v, got, ok, data)
		}
	}
	for _, v := range []any{nil, math.NaN(), math.Inf(1), []any{"a"}, map[string]any{"a": 1}, json.Number(""), struct{}{}} {
		if got, ok := claimText(v); ok {
			t.Errorf("claimText(%v): got %q, want no text", v, got)
		}
	}
}

func TestClaimMatch(t *testing.T) {
	tests := []struct {
		name   string
		values globs
		claim  any
		want   bool
	}{
		{"a text is compared as a whole", globs{newGlob("eng")}, "engineering", false},
		{"one of several values is enough", globs{newGlob("a"), newGlob("b")}, "b", true},
		{"a list contains", globs{newGlob("b")}, []any{"a", "b"}, true},
		{"a list without it does not", globs{newGlob("c")}, []any{"a", "b"}, false},
		{"an empty list matches nothing", globs{newGlob("*")}, []any{}, false},
		{"a list of lists is not searched", globs{newGlob("a")}, []any{[]any{"a"}}, false},
		{"null matches nothing", globs{newGlob("*")}, nil, false},
		{"an object matches nothing", globs{newGlob("*")}, map[string]any{"a": "b"}, false},
		{"an object in a list matches nothing", globs{newGlob("*")}, []any{map[string]any{}}, false},
		{"an empty text is a text", globs{newGlob("*")}, "", true},
		{"a number by its text", globs{newGlob("5")}, int64(5), true},
		{"a boolean by its text", globs{newGlob("true")}, true, true},
		{"a star crosses every character", globs{newGlob("acme/*")}, "acme/a/b\n:c", true},
		{"the case of letters counts", globs{newGlob("Admins")}, "admins", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := claim{name: "groups", values: tt.values}
			if got := c.match(map[string]any{"groups": tt.claim}); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if c.match(map[string]any{"Groups": tt.claim}) || c.match(nil) {
				t.Error("a claim that is missing matched")
			}
		})
	}
}

func TestRolesAreFoundInDeclaredOrderAndOnce(t *testing.T) {
	group := func(names ...string) claim {
		c := claim{name: "groups"}
		for _, n := range names {
			c.values = append(c.values, newGlob(n))
		}
		return c
	}
	var c callers
	c.add(way{role: 3, claims: []claim{group("a*")}})
	c.add(way{role: 1, claims: []claim{group("ab", "ac")}})
	c.add(way{role: 1, claims: []claim{{name: "sub", values: globs{newGlob("me")}}}})
	c.add(way{role: 2, claims: []claim{group("ab"), {name: "amr", values: globs{newGlob("hwk")}}}})
	c.add(way{role: 0, claims: []claim{{name: "level", values: globs{newGlob("5")}}}})
	claims := map[string]any{"groups": []any{"ac", "ab", "ab", nil}, "sub": "me", "level": int64(5)}
	if got, want := c.roles(claims, nil), []int{0, 1, 3}; !slices.Equal(got, want) {
		t.Errorf("roles: got %v, want %v", got, want)
	}
	claims["amr"] = "hwk"
	if got, want := c.roles(claims, nil), []int{0, 1, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("roles with amr: got %v, want %v", got, want)
	}
	if got := c.roles(nil, nil); len(got) != 0 {
		t.Errorf("roles without claims: got %v, want none", got)
	}
}
