package policy

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const claimsPolicy = `
version: 1
defaults: { project: acme-ai, locations: europe-west1, methods: generate }
issuers:
  corp:   { url: "https://corp.example", audience: vertex, map: { groups: teams }, require: [tenant] }
  github: { url: "https://github.example", audience: vertex }
  idle:   { url: "https://idle.example", audience: vertex }
roles:
  eng: { as: vx-eng, who: { corp: { groups: eng, amr: hwk } } }
  ci:  { as: vx-ci, who: [ { github: { repository: acme/* } }, { github: { ref: refs/heads/main } } ] }
rules:
  eng-only: { allow: eng, models: gemini-*, when: "WHEN" }
  ci-only:  { allow: ci, models: gemini-*, when: 'claims.environment == "evals"' }
`

func claimsUsed(t *testing.T, when, issuer string) []string {
	t.Helper()
	return loadText(t, claimsPolicyWith(when)).ClaimsUsed(issuer)
}

// claimsPolicyWith returns the policy with another condition; YAML takes the texts of JSON.
func claimsPolicyWith(when string) string {
	return strings.Replace(claimsPolicy, `"WHEN"`, strconv.Quote(when), 1)
}

func TestClaimsUsed(t *testing.T) {
	for _, tt := range []struct {
		name, when, issuer string
		want               []string
	}{
		{"who alone", `model == "x"`, "corp", []string{"amr", "groups"}},
		{"ways of one issuer and its rules", `true`, "github", []string{"environment", "ref", "repository"}},
		{"an issuer without roles", `true`, "idle", []string{}},
		{"an issuer that there is not", `true`, "corq", []string{}},
		{"a claim", `claims.level == 3`, "corp", []string{"amr", "groups", "level"}},
		{"a claim by its text", `claims["https://acme/level"] == 3`, "corp", []string{"amr", "groups", "https://acme/level"}},
		{"one that may be absent", `claims.?level.orValue(0) == 3 || claims[?"tier"].hasValue()`, "corp", []string{"amr", "groups", "level", "tier"}},
		{"one that is only asked for", `has(claims.level)`, "corp", []string{"amr", "groups", "level"}},
		{"members of claims", `claims.act[claims.inner] == "x" && claims.list.exists(x, x == "y")`, "corp", []string{"act", "amr", "groups", "inner", "list"}},
		{"a claim that is named by another", `claims[claims.which] == "x"`, "corp", []string{AllClaims}},
		{"fields of other variables", `body.maxOutputTokens < 5 && subject == "x"`, "corp", []string{"amr", "groups"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, claimsUsed(t, tt.when, tt.issuer)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	if got := (*Policy)(nil).ClaimsUsed("corp"); got != nil {
		t.Errorf("the nil policy uses %v", got)
	}
}

// A decision is made again from the recorded claims alone, whatever else the token held.
func TestRecordedClaimsDecideAlike(t *testing.T) {
	p := loadText(t, claimsPolicyWith(`claims.level / 2 == 1 && claims.?extra.orValue("none") == "none"`))
	call := parsed(t, "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent")
	for name, claims := range map[string]map[string]any{
		"allowed":            {"groups": []any{"eng", "x"}, "amr": "hwk", "level": int64(3), "name": "Alice"},
		"a number of halves": {"groups": []any{"eng"}, "amr": "hwk", "level": 3.0, "name": "Alice"},
		"no such role":       {"groups": "ops", "amr": "hwk"},
		"one more claim":     {"groups": "eng", "amr": "hwk", "level": int64(3), "extra": "some"},
	} {
		t.Run(name, func(t *testing.T) {
			text := AppendClaims(nil, claims, p.ClaimsUsed("corp"))
			var raw map[string]any
			if err := json.Unmarshal(text, &raw); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if _, ok := raw["name"]; ok {
				t.Errorf("%s has a claim that the policy does not use", text)
			}
			if level, ok := claims["level"].(int64); ok {
				raw["level"] = level
			}
			want := p.Decide(Caller{Issuer: "corp", Subject: "a", Claims: claims}, call, Request{})
			got := p.Decide(Caller{Issuer: "corp", Subject: "a", Claims: raw}, call, Request{})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: -want +got\n%s", text, diff)
			}
		})
	}
}

func TestAppendClaims(t *testing.T) {
	claims := map[string]any{
		"s": "a\"\n\u2028ü", "b": true, "i": int64(math.MaxInt64), "n": 7, "f": 3.0, "e": 1e300, "h": 0.5, "inf": math.Inf(1), "nil": nil,
		"l": []any{"x", int64(1), []any{}, nil}, "m": map[string]any{"b": 1.5, "a": "x"}, "zz": "not asked for",
	}
	used := []string{"absent", "b", "e", "f", "h", "i", "inf", "l", "m", "n", "nil", "s"}
	const want = `{"absent":null,"b":true,"e":1e+300,"f":3.0,"h":0.5,"i":9223372036854775807,"inf":null,"l":["x",1,[],null],` +
		`"m":{"a":"x","b":1.5},"n":7,"nil":null,"s":"a\"\n\u2028ü"}`
	if got := string(AppendClaims(nil, claims, used)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(AppendClaims([]byte("x"), nil, nil)); got != "x{}" {
		t.Errorf("got %s, want x{}", got)
	}
	if got, want := string(AppendClaims(nil, map[string]any{"b": "2", "a": "1"}, []string{AllClaims})), `{"a":"1","b":"2"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
