package compare

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy"
	"vertex-spoa/policy/body"
)

// plain has rules of all kinds, without conditions beyond what they say about calls.
const plain = `
version: 1
defaults: { project: acme-ai, locations: [europe-west1, "us-*"], methods: [generate, stream, count, embed, list] }
issuers: { corp: { url: "https://login.example.com", audience: vertex } }
projects: { acme-ai: "424242", acme-ml: "434343" }
endpoints: { "123": { host: 123.europe-west1-1.prediction.vertexai.goog, project: acme-ml, location: europe-west1 } }
aliases: { best: gemini-2.5-pro }
roles:
  one:   { as: vx-one, who: { corp: { groups: one } } }
  two:   { as: vx-two, who: { corp: { groups: two } } }
  three: { as: vx-three, who: { corp: { groups: three } } }
rules:
  a: { allow: one, models: [gemini-*, best], methods: [generate, predict, rawPredict, chat.completions] }
  b: { allow: [one, two], models: "claude-*", publishers: anthropic, projects: [acme-ai, acme-ml], locations: "*" }
  c: { allow: two, endpoints: ["1*", "77"], methods: [predict, rawPredict] , projects: acme-ml }
  d: { allow: two, models: gemini-2.5-flash, methods: [cachedContents.create, cachedContents.list, batchPredictionJobs.create] }
  e: { allow: "*", models: text-*, methods: [embed] }
  l: { allow: [one, three], models: gemma-*, methods: list }
  x: { deny: "*", except: two, models: "*-preview" }
  y: { deny: one, models: claude-3, locations: us-east5 }
  u: { deny: "*", models: "claude-sonnet-4@2025*" }
  z: { deny: two, endpoints: "12*", methods: rawPredict }
  w: { deny: three, methods: list }
  v: { deny: "*", projects: acme-frozen }
  s: { deny: "*", models: gemini-*, mode: shadow }
`

// For callers with one role, the static reading finds an open way exactly where a decision allows.
func TestPermitsAgreeWithDecisions(t *testing.T) {
	p := load(t, plain)
	m := p.Model()
	allowed, denied, methods := 0, 0, map[string]bool{}
	for i := range m.Roles {
		role := m.Roles[i].Name
		session := p.Bind(policy.Caller{Issuer: "corp", Subject: "s", Claims: map[string]any{"groups": []any{role}}})
		rules := rulesFor(m, role)
		s := newSpace(rules, rules, []*policy.Model{m}, &Query{})
		if !s.whole {
			t.Fatal("not all samples are looked at")
		}
		s.each(func(c *sampleCall) {
			request := policy.Request{}
			if shape := c.BodyShape(); shape != body.None {
				request.BodyState, request.Body = policy.BodyWhole, &body.Facts{Shape: shape}
			}
			switch {
			case c.ModelInBody && c.Endpoint == "openapi":
				request.Body.Model = body.Opt[string]{Value: c.publisher + "/" + c.model, Set: true}
			case c.ModelInBody:
				request.Body.Model = body.Opt[string]{Value: "publishers/" + c.publisher + "/models/" + c.model, Set: true}
			}
			d := session.Decide(c.Call, request)
			open, _ := permits(p, role, c)
			if got, want := len(open) > 0, d.Effect == policy.Allow; got != want {
				t.Errorf("%s %s %s with %s/%s: a way is open: %t, and the decision is %v %s", role, c.HTTPMethod, c.URI(), c.publisher, c.model, got, d.Effect, d.Detail)
			}
			if len(open) > 0 {
				allowed++
				methods[c.Method] = true
				if !slices.ContainsFunc(open, func(p Permit) bool { return p.Rule == d.Rule }) {
					t.Errorf("%s %s: the decision is by %q, which is none of %v", role, c.URI(), d.Rule, open)
				}
			} else {
				denied++
			}
		})
	}
	if allowed < 100 || denied < 500 {
		t.Errorf("%d samples allowed and %d denied: too few to show anything", allowed, denied)
	}
	for _, method := range []string{
		"generateContent", "predict", "rawPredict", "cachedContents.create", "cachedContents.list", "batchPredictionJobs.create", "models.list",
		"models.get", "chat.completions", "embedContent",
	} {
		if !methods[method] {
			t.Errorf("no sample of %s is allowed", method)
		}
	}
}

// All calls of inference there are have a form.
func TestFormsAreAllCallsOfInference(t *testing.T) {
	known, all := map[string]bool{}, map[string]bool{"chat.completions": true, "embeddings": true}
	for _, verb := range verbs {
		all[verb] = true
	}
	for _, f := range inference(all) {
		if c, err := f.call([]string{"us-central1"}, names{"google", "x", "1", "p1"}); err == nil {
			known[c.Method] = true
		}
	}
	groups := map[policy.Group]bool{}
	for _, method := range strings.Fields(`generateContent streamGenerateContent countTokens computeTokens embedContent predict predictLongRunning
		fetchPredictOperation rawPredict streamRawPredict serverStreamingPredict explain directPredict directRawPredict chat.completions embeddings
		models.list models.get`) {
		if !known[method] {
			t.Errorf("%s has no form", method)
		}
	}
	for _, f := range inference(all) {
		if c, err := f.call([]string{"us-central1"}, names{"google", "x", "1", "p1"}); err == nil {
			groups[c.Group] = true
		}
	}
	for _, f := range inference(nil) { // what stands for a group is in it, whatever the model
		for _, publisher := range []pattern{"google", "x"} {
			for _, model := range []pattern{"gemini-2.5-flash", "text-embedding-005", "claude-3"} {
				c, err := f.call([]string{"us-central1"}, names{publisher, model, "1", "p1"})
				want := map[string]policy.Group{
					"generateContent": policy.GroupGenerate, "streamGenerateContent": policy.GroupStream, "countTokens": policy.GroupCount,
					"embedContent": policy.GroupEmbed, "predictLongRunning": policy.GroupPredict, "models.list": policy.GroupList, "models.get": policy.GroupList,
				}[c.Method]
				if err != nil || c.Group != want {
					t.Errorf("%s on %s/%s: got group %q, %v, want %q", f.target, publisher, model, c.Group, err, want)
				}
			}
		}
	}
	if len(groups) != 6 || groups[policy.GroupAdmin] {
		t.Errorf("groups %v, want the six of inference", groups)
	}
}

func TestWhoCan(t *testing.T) {
	p := load(t, example(t))
	for _, tt := range []struct {
		name  string
		query Query
		want  []string // role, rule, calls, conditions
	}{
		{"models of another family", Query{Model: "claude-*"}, []string{
			"research research-anything | count, embed, generate on claude-* everywhere of acme-ai | ",
			"oncall oncall-break-glass | count, embed, generate on claude-* in europe-west1, europe-west4 of acme-ai | " +
				"with break-glass with a reason, but for what preview-models denies",
		}},
		{"an exact model, at a place", Query{Model: "gemini-2.5-flash", Location: "europe-west4", Method: "generate"}, []string{
			"search search-gemini | generate on gemini-2.5-flash in europe-west4 of acme-ai | ",
			"support support-assistant | generate on gemini-2.5-flash in europe-west4 of acme-ai | if body.maxOutputTokens at most 1024 and body.tools none",
			"research research-anything | generate on gemini-2.5-flash in europe-west4 of acme-ai | ",
			`ci ci-evals | generate on gemini-2.5-flash in europe-west4 of acme-ai | if when claims.environment == "evals" || claims.workflow.startsWith("nightly-")`,
			"oncall oncall-break-glass | generate on gemini-2.5-flash in europe-west4 of acme-ai | with break-glass with a reason",
		}},
		{"models of which some are denied", Query{Model: "text-embedding-*", Method: "embedContent"}, []string{
			"search search-gemini | embedContent on text-embedding-* in europe-west1, europe-west4 of acme-ai | but for what preview-models denies",
			"research research-anything | embedContent on text-embedding-* everywhere of acme-ai | ",
			"indexer rag-embeddings | embedContent on text-embedding-* in europe-west1, europe-west4 of acme-ai | but for what preview-models denies",
			"oncall oncall-break-glass | embedContent on text-embedding-* in europe-west1, europe-west4 of acme-ai | with break-glass with a reason, but for what preview-models denies",
		}},
		{"models that are denied", Query{Model: "x-preview", Location: "europe-*"}, []string{
			"research research-anything | count, embed, generate on x-preview in europe-central2, europe-north1, europe-north2, europe-southwest1, europe-west1, " +
				"europe-west10, europe-west12, europe-west15, europe-west2, europe-west3, europe-west4, europe-west6, europe-west8, europe-west9 of acme-ai | ",
		}},
		{"one caller", Query{Model: "gemini-2.5-flash", Location: "europe-west1", Caller: &policy.Caller{
			Issuer: "corp", Claims: map[string]any{"groups": []any{"support", "ci"}},
		}}, []string{
			"support support-assistant | count, embed, generate on gemini-2.5-flash in europe-west1 of acme-ai | if body.maxOutputTokens at most 1024 and body.tools none",
		}},
		{"a caller without a role", Query{Model: "*", Caller: &policy.Caller{Issuer: "corp"}}, nil},
		{"a place that no rule names", Query{Project: "other", Model: "*"}, nil},
		{"endpoints", Query{Endpoint: "*"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, whole := WhoCan(p, tt.query)
			var got []string
			for i := range list {
				var calls []string
				for j := range list[i].Calls {
					calls = append(calls, list[i].Calls[j].String())
				}
				got = append(got, list[i].Role+" "+list[i].Rule+" | "+strings.Join(calls, " + ")+" | "+list[i].conditions())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || !whole {
				t.Errorf("whole %t, -want +got\n%s", whole, diff)
			}
		})
	}
}

func TestPermissionsAreATable(t *testing.T) {
	list, _ := WhoCan(load(t, plain), Query{Model: "anthropic/claude-3", Location: "us-*", Project: "acme-ai"})
	var b strings.Builder
	if err := WritePermissions(&b, list); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(b.String(), "\n")
	if diff := cmp.Diff([]string{"ROLE", "WHO", "ACCOUNT", "RULE", "CALLS", "CONDITIONS"}, strings.Fields(first)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if !strings.Contains(b.String(), "but for what y denies") || !strings.Contains(b.String(), "corp: groups=two") {
		t.Errorf("got\n%s", b.String())
	}
}
