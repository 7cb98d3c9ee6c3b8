package compare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy"
)

func load(t testing.TB, text string) *policy.Policy {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func example(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("testdata/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// edit replaces each text of the pairs by the next.
func edit(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("no %q to replace", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func TestDiff(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pairs []string
		want  string
	}{
		{"comments and order", []string{
			"# stay in the EU unless a rule says otherwise", "# another comment", "groups: oncall, amr: hwk", "amr: hwk, groups: oncall",
		}, ""},
		{"the name of a rule", []string{"search-gemini:", "searching:"}, ""},
		{"a pattern that covers what it stands beside", []string{"[gemini-2.5-*, text", "[gemini-2.5-*, gemini-2.5-flash, text"}, ""},
		{"a model more, and others less", []string{"[gemini-2.5-*, text-embedding-*]", "gemini-*"}, `access:
  - search: count, embed, generate on text-embedding-* in europe-west1, europe-west4 of acme-ai
      was search-gemini
  + search: count, embed, generate on gemini-* in europe-west1, europe-west4 of acme-ai
      is  search-gemini
`},
		{"a place less, by the defaults", []string{"[europe-west1, europe-west4] ", "[europe-west1] "}, `access:
  - search: count, embed, generate on gemini-2.5-*, text-embedding-* in europe-west4 of acme-ai
      was search-gemini
  - support: count, embed, generate on gemini-2.5-flash in europe-west4 of acme-ai
      was support-assistant if body.maxOutputTokens at most 1024 and body.tools none
  - ci: count, embed, generate on gemini-2.5-flash* in europe-west4 of acme-ai
      was ci-evals if when claims.environment == "evals" || claims.workflow.startsWith("nightly-")
  - indexer: embed on text-embedding-* in europe-west4 of acme-ai
      was rag-embeddings
  - oncall: count, embed, generate on * in europe-west4 of acme-ai
      was oncall-break-glass with break-glass with a reason
`},
		{"a bound that is wider", []string{"maxOutputTokens: 1024", "maxOutputTokens: 2048"}, `access:
  ~ support: count, embed, generate on gemini-2.5-flash in europe-west1, europe-west4 of acme-ai
      was support-assistant if body.maxOutputTokens at most 1024 and body.tools none
      is  support-assistant if body.maxOutputTokens at most 2048 and body.tools none
`},
		{"a condition less", []string{"    when: claims.environment", "    # when: claims.environment"}, `access:
  + ci: count, embed, generate on gemini-2.5-flash* in europe-west1, europe-west4 of acme-ai
      was ci-evals if when claims.environment == "evals" || claims.workflow.startsWith("nightly-")
      is  ci-evals
`},
		{"a rule in shadow", []string{"    allow: indexer", "    allow: indexer\n    mode: shadow"}, `access:
  - indexer: embed on text-embedding-* in europe-west1, europe-west4 of acme-ai
      was rag-embeddings
`},
		{"one more who is excepted", []string{"except: research", "except: [research, search]"}, `deny rules:
  ~ preview-models: other except
access:
  + search: count, embed, generate on gemini-2.5-*-preview*, text-embedding-*-preview* in europe-west1, europe-west4 of acme-ai
      is  search-gemini
`},
		{"a deny rule less", []string{"    deny: \"*\"", "    mode: shadow\n    deny: \"*\""}, `deny rules:
  ~ preview-models: other mode
access:
  + search: count, embed, generate on gemini-2.5-*-preview*, text-embedding-*-preview* in europe-west1, europe-west4 of acme-ai
      is  search-gemini
  + ci: count, embed, generate on gemini-2.5-flash*-preview* in europe-west1, europe-west4 of acme-ai
      is  ci-evals if when claims.environment == "evals" || claims.workflow.startsWith("nightly-")
  + indexer: embed on text-embedding-*-preview* in europe-west1, europe-west4 of acme-ai
      is  rag-embeddings
  + oncall: count, embed, generate on *-preview* in europe-west1, europe-west4 of acme-ai
      is  oncall-break-glass with break-glass with a reason
`},
		{"an emergency that overrides a deny rule", []string{"breakglass: { reason: required }", "breakglass: { reason: required, overrides: [preview-models] }"}, `access:
  + oncall: count, embed, generate on *-preview* in europe-west1, europe-west4 of acme-ai
      is  oncall-break-glass with break-glass with a reason, overrides preview-models
  ~ oncall: count, embed, generate on * in europe-west1, europe-west4 of acme-ai
      was oncall-break-glass with break-glass with a reason
      is  oncall-break-glass with break-glass with a reason, overrides preview-models
`},
		{"a call beyond inference", []string{"methods: embed", "methods: [embed, cachedContents.create]"}, `access:
  + indexer: cachedContents.create on text-embedding-* in europe-west1, europe-west4 of acme-ai
      is  rag-embeddings
`},
		{"who", []string{"groups: support", "groups: [support, helpdesk]", "ref: refs/heads/main", "ref: refs/heads/release"}, `who:
  ~ support
      + corp: groups=helpdesk
  ~ ci
      - github: ref=refs/heads/main and repository=acme/*
      + github: ref=refs/heads/release and repository=acme/*
`},
		{"as whom, and for how long", []string{"as: vx-search", "as: vx-find", "token: 15m", "token: 20m"}, `accounts:
  ~ search: account vx-search@acme-ai.iam.gserviceaccount.com => vx-find@acme-ai.iam.gserviceaccount.com
  ~ oncall: lifetime 15m0s => 20m0s
`},
		{"an issuer", []string{"https://oidc.k8s.acme.com", "https://oidc.k9s.acme.com"}, `issuers:
  ~ k8s: other url
`},
		{"a role that goes", []string{"  indexer:  {", "  reader:   {", "allow: indexer", "allow: reader"}, `who:
  - indexer
      - k8s: sub=system:serviceaccount:rag:indexer
  + reader
      + k8s: sub=system:serviceaccount:rag:indexer
access:
  - indexer: embed on text-embedding-* in europe-west1, europe-west4 of acme-ai
      was rag-embeddings
  + reader: embed on text-embedding-* in europe-west1, europe-west4 of acme-ai
      is  rag-embeddings
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := example(t)
			d := Diff(load(t, before), load(t, edit(t, before, tt.pairs...)))
			var got strings.Builder
			if err := d.WriteText(&got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if d.Empty() != (tt.want == "") {
				t.Errorf("Empty() is %t", d.Empty())
			}
		})
	}
}

// What one side gains the other loses.
func TestDiffTheOtherWayRound(t *testing.T) {
	a, b := load(t, example(t)), load(t, edit(t, example(t), "models: [gemini-2.5-*, text-embedding-*]", "models: gemini-*", "groups: support", "groups: help"))
	there, back := Diff(a, b), Diff(b, a)
	opposite := map[string]string{Gains: Loses, Loses: Gains, Differs: Differs}
	if len(there.Access) != 2 || len(back.Access) != 2 {
		t.Fatalf("got %d and %d changes of access, want 2 and 2", len(there.Access), len(back.Access))
	}
	for _, c := range there.Access {
		found := false
		for _, other := range back.Access {
			found = found || cmp.Equal(c.Calls, other.Calls) && other.Kind == opposite[c.Kind] && cmp.Equal(c.Before, other.After)
		}
		if !found {
			t.Errorf("%s %s has no counterpart", c.Kind, &c.Calls)
		}
	}
	if diff := cmp.Diff(there.Roles[0].Gains, back.Roles[0].Loses); diff != "" {
		t.Errorf("-gains +loses\n%s", diff)
	}
}

// A policy with more patterns than can be looked at says so.
func TestDiffSaysThatItIsPartial(t *testing.T) {
	var models []string
	for i := range 80 {
		models = append(models, "a*"+strings.Repeat("b", i)+"*")
	}
	text := edit(t, example(t), "[gemini-2.5-*, text-embedding-*]", "["+strings.Join(models, ", ")+"]")
	d := Diff(load(t, example(t)), load(t, text))
	if diff := cmp.Diff([]string{"search"}, d.Partial); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
