package policy

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const companyPolicy = `
version: 1
defaults:
  project: acme-ai
  locations: [europe-west1, europe-west4]
  methods: [generate, count, embed, list]
issuers:
  corp:   { url: https://login.acme.com, audience: vertex }
  github: { url: https://token.actions.githubusercontent.com, audience: vertex }
  k8s:    { url: https://oidc.k8s.acme.com, audience: vertex }
roles:
  search:   { as: vx-search,     who: { corp: { groups: search-eng } } }
  support:  { as: vx-support,    who: { corp: { groups: support } } }
  research: { as: vx-research,   who: { corp: { groups: research } } }
  ci:       { as: vx-ci,         who: { github: { repository: acme/*, ref: refs/heads/main } } }
  indexer:  { as: vx-indexer,    who: { k8s: { sub: "system:serviceaccount:rag:indexer" } } }
  oncall:   { as: vx-breakglass, who: { corp: { groups: oncall, amr: hwk } }, token: 15m }
  serving:  { as: serving@acme-ml.iam.gserviceaccount.com, who: [ { corp: { groups: serving } }, { k8s: { sub: [a, b] }, github: { repository: acme/serving } } ],
              scopes: [cloud-platform, https://www.googleapis.com/auth/devstorage.read_only], delegates: vx-hop, project: acme-billing }
  intern:   { as: vx-intern,     who: { corp: { groups: intern } } }
rules:
  search-gemini:
    allow: search
    models: [gemini-2.5-*, text-embedding-*]
  support-assistant:
    allow: support
    models: gemini-2.5-flash
  research-anything:
    allow: research
    models: "*"
    locations: "*"
    methods: "*"
  ci-evals:
    allow: ci
    models: gemini-2.5-flash*
  rag-embeddings:
    allow: indexer
    models: text-embedding-*
    methods: embed
  oncall-claude:
    allow: oncall
    models: claude-*
    publishers: anthropic
    locations: [europe-west1, us-east5, global]
    methods: [generate, stream, count]
  serving-endpoints:
    allow: serving
    endpoints: ["123", mg-*]
    projects: [acme-ml, "424242"]
    methods: [predict, generateContent]
  everyone-counts:
    allow: "*"
    except: intern
    models: gemini-2.0-flash
    methods: countTokens
  preview-models:
    deny: "*"
    except: research
    models: "*-preview*"
    because: preview models are for research only
  no-old-claude:
    deny: [oncall, research]
    models: claude-2
  no-asia:
    deny: "*"
    locations: asia-*
  frozen-project:
    deny: research
    projects: acme-frozen
`

// loadText compiles policies that stand in the tests.
func loadText(t testing.TB, texts ...string) *Policy {
	t.Helper()
	var files []file
	for i, text := range texts {
		files = append(files, file{string(rune('a'+i)) + ".yaml", []byte(text)})
	}
	p, err := compile("policy.d", files)
	if err != nil {
		t.Fatalf("the policy does not load:\n%v", err)
	}
	return p
}

func parsed(t testing.TB, target string) Call {
	t.Helper()
	method := "POST"
	if strings.Contains(target, "/publishers/google/models") && !strings.Contains(target, ":") {
		method = "GET"
	}
	c, err := ParseCall(method, target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func corp(groups ...any) Caller {
	return Caller{Issuer: "corp", Subject: "someone", Claims: map[string]any{"groups": groups}}
}

// model and endpoint return targets in project acme-ai.
func model(location, publisher, model, verb string) string {
	return "/v1/projects/acme-ai/locations/" + location + "/publishers/" + publisher + "/models/" + model + ":" + verb
}

func TestDecide(t *testing.T) {
	p := loadText(t, companyPolicy)
	flash := model("europe-west1", "google", "gemini-2.5-flash", "generateContent")
	claude := func(location, verb string) string {
		return model(location, "anthropic", "claude-opus-4@20250514", verb)
	}
	ml := func(project, endpoint, verb string) string {
		return "/v1/projects/" + project + "/locations/europe-west4/endpoints/" + endpoint + ":" + verb
	}
	chat := "/v1/projects/acme-ai/locations/europe-west1/endpoints/openapi/chat/completions"
	countClaude := model("europe-west1", "anthropic", "count-tokens", "rawPredict")
	oncall := Caller{Issuer: "corp", Claims: map[string]any{"groups": []any{"oncall"}, "amr": []any{"pwd", "hwk"}}}
	ci := func(repository, ref string) Caller {
		return Caller{Issuer: "github", Claims: map[string]any{"repository": repository, "ref": ref}}
	}
	k8s := func(sub string) Caller { return Caller{Issuer: "k8s", Claims: map[string]any{"sub": sub}} }
	tests := []struct {
		name   string
		caller Caller
		target string
		ask    string
		reason Reason // empty: allowed
		role   string
		rule   string
	}{
		{name: "a role's rule allows", caller: corp("search-eng"), target: flash, role: "search", rule: "search-gemini"},
		{name: "another pattern of the rule allows", caller: corp("search-eng"), target: model("europe-west4", "google", "text-embedding-005", "predict"), role: "search", rule: "search-gemini"},
		{name: "a caller without groups has no role", caller: corp(), target: flash, reason: NoRole},
		{name: "a caller without claims has no role", caller: Caller{Issuer: "corp"}, target: flash, reason: NoRole},
		{name: "groups of another issuer do not count", caller: Caller{Issuer: "github", Claims: map[string]any{"groups": "search-eng"}}, target: flash, reason: NoRole},
		{name: "an unknown issuer has no role", caller: Caller{Issuer: "evil", Claims: map[string]any{"groups": "search-eng"}}, target: flash, reason: NoRole},
		{name: "no issuer has no role", caller: Caller{Claims: map[string]any{"groups": "search-eng"}}, target: flash, reason: NoRole},
		{name: "a model outside the rule", caller: corp("support"), target: model("europe-west1", "google", "gemini-2.5-pro", "generateContent"), reason: NoRule, role: "support"},
		{name: "a version that the rule does not name", caller: corp("support"), target: model("europe-west1", "google", "gemini-2.5-flash@001", "generateContent"), reason: NoRule, role: "support"},
		{name: "a version that the pattern covers", caller: ci("acme/x", "refs/heads/main"), target: model("europe-west1", "google", "gemini-2.5-flash@001", "generateContent"), role: "ci", rule: "ci-evals"},
		{name: "a location outside the defaults", caller: corp("search-eng"), target: model("us-central1", "google", "gemini-2.5-flash", "generateContent"), reason: NoRule, role: "search"},
		{name: "global is no European location", caller: corp("search-eng"), target: model("global", "google", "gemini-2.5-flash", "generateContent"), reason: NoRule, role: "search"},
		{name: "a rule's own locations replace the defaults", caller: corp("research"), target: model("us-central1", "google", "gemini-2.5-flash", "generateContent"), role: "research", rule: "research-anything"},
		{name: "a method outside the defaults", caller: corp("search-eng"), target: model("europe-west1", "google", "gemini-2.5-flash", "streamGenerateContent"), reason: NoRule, role: "search"},
		{name: "a rule's own methods replace the defaults", caller: corp("research"), target: model("europe-west1", "google", "gemini-2.5-flash", "streamGenerateContent"), role: "research", rule: "research-anything"},
		{name: "embed is embedding by predict", caller: k8s("system:serviceaccount:rag:indexer"), target: model("europe-west1", "google", "text-embedding-005", "predict"), role: "indexer", rule: "rag-embeddings"},
		{name: "embed is not generating", caller: k8s("system:serviceaccount:rag:indexer"), target: model("europe-west1", "google", "text-embedding-005", "generateContent"), reason: NoRule, role: "indexer"},
		{name: "all claims of an issuer have to hold", caller: ci("acme/x", "refs/pull/7/merge"), target: flash, reason: NoRole},
		{name: "the other claim alone", caller: ci("evil/x", "refs/heads/main"), target: flash, reason: NoRole},
		{name: "a missing second claim", caller: corp("oncall"), target: claude("europe-west1", "rawPredict"), reason: NoRole},
		{name: "the publisher counts", caller: oncall, target: claude("us-east5", "rawPredict"), role: "oncall", rule: "oncall-claude"},
		{name: "the same model of another publisher", caller: oncall, target: model("us-east5", "evil", "claude-opus-4", "rawPredict"), reason: NoRule, role: "oncall"},
		{name: "streaming is a group of its own", caller: oncall, target: claude("global", "streamRawPredict"), role: "oncall", rule: "oncall-claude"},
		{name: "the second way to a role", caller: k8s("b"), target: ml("acme-ml", "123", "predict"), role: "serving", rule: "serving-endpoints"},
		{name: "the second issuer of a way", caller: ci("acme/serving", "x"), target: ml("acme-ml", "mg-endpoint-1", "generateContent"), role: "serving", rule: "serving-endpoints"},
		{name: "claims of two issuers do not mix", caller: Caller{Issuer: "k8s", Claims: map[string]any{"repository": "acme/serving"}}, target: ml("acme-ml", "123", "predict"), reason: NoRole},
		{name: "a project by its number where the rule names it", caller: k8s("a"), target: ml("424242", "123", "predict"), role: "serving", rule: "serving-endpoints"},
		{name: "an endpoint outside the rule", caller: k8s("a"), target: ml("acme-ml", "124", "predict"), reason: NoRule, role: "serving"},
		{name: "an endpoint of the default project", caller: k8s("a"), target: ml("acme-ai", "123", "predict"), reason: NoRule, role: "serving"},
		{name: "the predict group covers rawPredict", caller: k8s("a"), target: ml("acme-ml", "123", "rawPredict"), role: "serving", rule: "serving-endpoints"},
		{name: "an exact method is not its group", caller: k8s("a"), target: ml("acme-ml", "123", "countTokens"), reason: NoRule, role: "serving"},
		{name: "any model is no endpoint", caller: corp("research"), target: ml("acme-ai", "123", "predict"), reason: NoRule, role: "research"},
		{name: "an endpoint rule is for no model", caller: k8s("a"), target: flash, reason: NoRule, role: "serving"},

		{name: "a deny rule wins over an allow rule", caller: corp("search-eng"), target: model("europe-west1", "google", "gemini-2.5-flash-preview-09", "generateContent"), reason: Denied, role: "search", rule: "preview-models"},
		{name: "its exception is not denied", caller: corp("research"), target: model("europe-west1", "google", "gemini-3-preview", "generateContent"), role: "research", rule: "research-anything"},
		{name: "whoever holds the exception is not denied", caller: corp("search-eng", "research"), target: model("europe-west1", "google", "gemini-3-preview", "generateContent"), role: "research", rule: "research-anything"},
		{name: "denied where nothing would allow", caller: corp("support"), target: model("europe-west1", "google", "gemini-3-preview", "generateContent"), reason: Denied, role: "support", rule: "preview-models"},
		{name: "a deny rule without a version covers versions", caller: corp("research"), target: model("us-east5", "anthropic", "claude-2@001", "rawPredict"), reason: Denied, role: "research", rule: "no-old-claude"},
		{name: "and not longer names", caller: corp("research"), target: model("us-east5", "anthropic", "claude-2-1@001", "rawPredict"), role: "research", rule: "research-anything"},
		{name: "denied by location alone", caller: corp("research"), target: model("asia-east1", "google", "gemini-2.5-flash", "generateContent"), reason: Denied, role: "research", rule: "no-asia"},
		{name: "denied by location for endpoints too", caller: k8s("a"), target: "/v1/projects/acme-ml/locations/asia-east1/endpoints/123:predict", reason: Denied, role: "serving", rule: "no-asia"},
		{name: "a denied project", caller: corp("research"), target: "/v1/projects/acme-frozen/locations/us-central1/publishers/google/models/gemini-2.5-flash:predict", reason: Denied, role: "research", rule: "frozen-project"},
		{name: "a number may be the denied project", caller: corp("research"), target: "/v1/projects/424242/locations/us-central1/publishers/google/models/gemini-2.5-flash:predict", reason: Denied, role: "research", rule: "frozen-project"},
		{name: "so may capitals", caller: corp("research"), target: "/v1/projects/ACME-frozen/locations/us-central1/publishers/google/models/gemini-2.5-flash:predict", reason: Denied, role: "research", rule: "frozen-project"},

		{name: "the first declared role acts", caller: corp("research", "search-eng"), target: flash, role: "search", rule: "search-gemini"},
		{name: "a later role acts where the first may not", caller: corp("research", "search-eng"), target: claude("us-east5", "rawPredict"), role: "research", rule: "research-anything"},
		{name: "the caller chooses a role it has", caller: corp("research", "search-eng"), target: flash, ask: "research", role: "research", rule: "research-anything"},
		{name: "the chosen role stands alone", caller: corp("research", "search-eng"), target: claude("us-east5", "rawPredict"), ask: "search", reason: NoRule, role: "search"},
		{name: "the caller chooses a role it has not", caller: corp("search-eng"), target: flash, ask: "research", reason: NoRole},
		{name: "the caller chooses a role that is not", caller: corp("search-eng"), target: flash, ask: "Search", reason: NoRole},
		{name: "a role not chosen still denies", caller: corp("oncall", "research", "search-eng"), target: model("us-east5", "anthropic", "claude-2", "rawPredict"), ask: "search", reason: Denied, role: "search", rule: "no-old-claude"},
		{name: "a rule for one model, of a call whose body may name another", caller: corp("support"), target: model("europe-west1", "google", "gemini-2.0-flash", "countTokens"), reason: BodyRequired, role: "support", rule: "everyone-counts"},
		{name: "but for the exception", caller: corp("intern"), target: model("europe-west1", "google", "gemini-2.0-flash", "countTokens"), reason: NoRule, role: "intern"},
		{name: "whoever holds the exception is not allowed by it", caller: corp("intern", "support"), target: model("europe-west1", "google", "gemini-2.0-flash", "countTokens"), reason: NoRule, role: "support"},
		{name: "a rule for the role comes before one for all", caller: corp("research"), target: model("europe-west1", "google", "gemini-2.0-flash", "countTokens"), reason: BodyRequired, role: "research", rule: "research-anything"},

		{name: "a model in the body that might be allowed", caller: corp("search-eng"), target: chat, reason: BodyRequired, role: "search", rule: "search-gemini"},
		{name: "a model in the body, even where all are allowed", caller: corp("research"), target: chat, reason: BodyRequired, role: "research", rule: "research-anything"},
		{name: "a model in the body in a wrong location", caller: corp("search-eng"), target: strings.Replace(chat, "europe-west1", "us-central1", 1), reason: NoRule, role: "search"},
		{name: "a model in the body is not for endpoint rules", caller: k8s("a"), target: strings.Replace(chat, "acme-ai", "acme-ml", 1), reason: NoRule, role: "serving"},
		{name: "a model in the body in a denied location", caller: corp("research"), target: strings.Replace(chat, "europe-west1", "asia-east1", 1), reason: Denied, role: "research", rule: "no-asia"},
		{name: "Anthropic's count-tokens", caller: oncall, target: countClaude, reason: BodyRequired, role: "oncall", rule: "oncall-claude"},
		{name: "Anthropic's count-tokens by a rule that might allow it", caller: corp("support"), target: countClaude, reason: BodyRequired, role: "support", rule: "support-assistant"},

		{name: "a list for a role with models", caller: corp("search-eng"), target: "/v1beta1/publishers/google/models", role: "search", rule: "search-gemini"},
		{name: "a model of the list", caller: corp("support"), target: "/v1/publishers/google/models/gemini-2.5-flash", role: "support", rule: "support-assistant"},
		{name: "another model of the list", caller: corp("support"), target: "/v1/publishers/google/models/gemini-2.5-pro", reason: NoRule, role: "support"},
		{name: "a preview model of the list", caller: corp("search-eng"), target: "/v1/publishers/google/models/gemini-2.5-preview", reason: Denied, role: "search", rule: "preview-models"},
		{name: "a list for a role that may not list", caller: k8s("system:serviceaccount:rag:indexer"), target: "/v1beta1/publishers/google/models", reason: NoRule, role: "indexer"},
		{name: "a list of a publisher that the rule is not about", caller: oncall, target: "/v1beta1/publishers/google/models", reason: NoRule, role: "oncall"},
	}
	accounts := map[string]string{}
	for _, g := range p.Grants() {
		accounts[g.Role] = g.Account
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := p.Decide(tt.caller, parsed(t, tt.target), Request{Role: tt.ask, Now: time.Unix(1_800_000_000, 0)})
			wantEffect, wantAccount := Deny, ""
			switch tt.reason {
			case "":
				wantEffect, wantAccount = Allow, accounts[tt.role]
			case BodyRequired:
				wantEffect = NeedBody
			}
			type row struct {
				Effect             Effect
				Reason             Reason
				Role, Rule, Accout string
			}
			if diff := cmp.Diff(row{wantEffect, tt.reason, tt.role, tt.rule, wantAccount}, row{got.Effect, got.Reason, got.Role, got.Rule, got.Account}); diff != "" {
				t.Errorf("decision (-want +got):\n%s\ndetail: %s", diff, got.Detail)
			}
			checkDecision(t, got)
		})
	}
}

// checkDecision checks what holds for every decision.
func checkDecision(t *testing.T, d Decision) {
	t.Helper()
	if d.Effect == Allow {
		if d.Reason != "" || d.Account == "" || len(d.Scopes) == 0 || d.Lifetime <= 0 || d.Role == "" || d.Rule == "" || d.Call.Host() == "" || d.Call.URI() == "" || d.Call.ModelInBody {
			t.Errorf("an allow that is not whole: %+v", d)
		}
		return
	}
	if d.Effect != Deny && (d.Effect != NeedBody || d.Reason != BodyRequired) || !knownReason(d.Reason) || d.Account != "" || d.Scopes != nil || d.Delegates != nil || d.Lifetime != 0 || d.UserProject != "" {
		t.Errorf("a denial that gives something: %+v", d)
	}
}

func TestDecideAnswersWithAllOfTheRole(t *testing.T) {
	p := loadText(t, companyPolicy)
	call := parsed(t, "/v1/projects/acme-ml/locations/europe-west4/endpoints/123:predict")
	want := Decision{
		Effect: Allow, Role: "serving", Rule: "serving-endpoints",
		Account:     "serving@acme-ml.iam.gserviceaccount.com",
		Delegates:   []string{"vx-hop@acme-ai.iam.gserviceaccount.com"},
		Scopes:      []string{"https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/devstorage.read_only"},
		Lifetime:    time.Hour,
		UserProject: "acme-billing",
		Call:        call,
	}
	if diff := cmp.Diff(want, p.Decide(corp("serving"), call, Request{})); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
}

func TestDecideCompletesListings(t *testing.T) {
	p := loadText(t, companyPolicy)
	call := parsed(t, "/v1beta1/publishers/google/models?pageSize=5")
	d := p.Decide(corp("search-eng"), call, Request{})
	want := call
	want.Project, want.Location = "acme-ai", "europe-west1"
	if diff := cmp.Diff(want, d.Call); diff != "" {
		t.Errorf("call (-want +got):\n%s", diff)
	}
	if got, want := d.Call.Host()+d.Call.URI(), "europe-west1-aiplatform.googleapis.com/v1beta1/publishers/google/models?pageSize=5"; got != want {
		t.Errorf("forwarded to %q, want %q", got, want)
	}
	for _, drop := range []string{"  project: acme-ai\n", "  locations: [europe-west1, europe-west4]\n"} {
		text := strings.Replace(companyPolicy, drop, "", 1)
		text = text[:strings.Index(text, "roles:")] + `roles:
  search: { as: vx@acme-ai.iam.gserviceaccount.com, who: { corp: { groups: search-eng } } }
rules:
  all: { allow: search, models: "*", locations: "*", projects: "*", methods: "*" }
`
		d := loadText(t, text).Decide(corp("search-eng"), call, Request{})
		if d.Effect != Deny || d.Reason != SurfaceOff {
			t.Errorf("without %q: got %v %v, want deny SURFACE_OFF", drop, d.Effect, d.Reason)
		}
		checkDecision(t, d)
	}
}

func TestDecideRefusesOtherProjects(t *testing.T) {
	p := loadText(t, `
version: 1
defaults: { project: p1, locations: us-central1, methods: [generate, stream, count, embed, predict], publishers: [google, anthropic, meta] }
issuers: { corp: { url: https://login.acme.com, audience: vertex } }
roles: { r: { as: vx, who: { corp: { groups: "*" } } } }
rules: { all: { allow: r, models: "*" } }
`)
	for project, want := range map[string]Reason{"p1": "", "p2": NoRule, "P1": NoRule, "OTHER": NoRule, "11": NoRule, "p1-x": NoRule} {
		c := parsed(t, "/v1/projects/"+project+"/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent")
		if got := p.Decide(corp("x"), c, Request{}); got.Reason != want || (got.Effect == Allow) != (want == "") {
			t.Errorf("project %q: got %v %q, want reason %q", project, got.Effect, got.Reason, want)
		}
	}
}

func TestRulesTakeTheDefaultsThatTheyDoNotReplace(t *testing.T) {
	p := loadText(t, `
version: 1
defaults: { project: acme-ai, locations: us-central1, methods: [generate, predict], publishers: google }
issuers: { corp: { url: https://login.acme.com, audience: vertex } }
roles:
  some: { as: vx-some, who: { corp: { groups: some } } }
  all: { as: vx-all, who: { corp: { groups: all } } }
rules:
  some: { allow: some, models: "*", endpoints: "7" }
  all: { allow: all, models: "*", publishers: "*", projects: "*", locations: "*", methods: "*" }
`)
	for _, tt := range []struct {
		target    string
		some, all Reason
	}{
		{"/v1/projects/acme-ai/locations/us-central1/publishers/google/models/x:generateContent", "", ""},
		{"/v1/projects/acme-ai/locations/us-central1/endpoints/7:predict", "", NoRule},
		{"/v1/projects/acme-ai/locations/us-central1/publishers/meta/models/x:generateContent", NoRule, ""},
		{"/v1/projects/acme-ml/locations/us-central1/publishers/google/models/x:generateContent", NoRule, ""},
		{"/v1/projects/acme-ai/locations/us-east1/publishers/google/models/x:generateContent", NoRule, ""},
		{"/v1/projects/acme-ai/locations/us-central1/publishers/google/models/x:streamGenerateContent", NoRule, ""},
	} {
		for group, want := range map[string]Reason{"some": tt.some, "all": tt.all} {
			if got := p.Decide(corp(group), parsed(t, tt.target), Request{}).Reason; got != want {
				t.Errorf("role %s, %s: got reason %q, want %q", group, tt.target, got, want)
			}
		}
	}
}

func TestTheRuleThatIsReportedIsTheFirstByName(t *testing.T) {
	const head = `
version: 1
defaults: { project: acme-ai, locations: us-central1, methods: [generate] }
issuers: { corp: { url: https://login.acme.com, audience: vertex } }
roles: { r: { as: vx, who: { corp: { groups: "*" } } } }
rules:
`
	rules := []string{
		"  b-allow: { allow: r, models: \"*\" }\n", "  a-allow: { allow: r, models: \"*\" }\n", "  a-all: { allow: \"*\", models: \"*\" }\n",
		"  b-deny: { deny: r, models: no }\n", "  a-deny: { deny: r, models: no }\n", "  d-none: { deny: \"*\", models: none }\n", "  c-none: { deny: \"*\", models: none }\n",
	}
	for range 2 {
		p := loadText(t, head+strings.Join(rules, ""))
		for name, want := range map[string]string{"yes": "a-allow", "no": "a-deny", "none": "c-none"} {
			d := p.Decide(corp("x"), parsed(t, model("us-central1", "google", name, "generateContent")), Request{})
			if d.Rule != want {
				t.Errorf("model %q: got %v by rule %q, want %q", name, d.Effect, d.Rule, want)
			}
		}
		slices.Reverse(rules)
	}
}

func TestDecideFailsClosed(t *testing.T) {
	p := loadText(t, companyPolicy)
	good := parsed(t, model("europe-west1", "google", "gemini-2.5-flash", "generateContent"))
	var none *Policy
	for name, d := range map[string]Decision{
		"no policy":        none.Decide(corp("search-eng"), good, Request{}),
		"the zero policy":  new(Policy).Decide(corp("search-eng"), good, Request{}),
		"the zero call":    p.Decide(corp("search-eng"), Call{}, Request{}),
		"a made-up method": p.Decide(corp("research"), change(good, func(c *Call) { c.Method = "deployModel" }), Request{}),
		"a made-up group":  p.Decide(corp("research"), change(good, func(c *Call) { c.Group = "all" }), Request{}),
		"a made-up place":  p.Decide(corp("research"), change(good, func(c *Call) { c.Location = "evil" }), Request{}),
		"no project":       p.Decide(corp("research"), change(good, func(c *Call) { c.Project = "" }), Request{}),
	} {
		if d.Effect != Deny || d.Reason != PolicyError {
			t.Errorf("%s: got %v %v, want deny POLICY_ERROR", name, d.Effect, d.Reason)
		}
		checkDecision(t, d)
	}
	if (Decision{}).Effect != Deny || Effect(0).String() != "deny" {
		t.Error("the zero decision does not deny")
	}
	if none.Digest() != "" || none.Issuers() != nil || none.Grants() != nil {
		t.Error("no policy has content")
	}
	if _, err := none.Complete(parsed(t, "/v1/publishers/google/models")); err == nil {
		t.Error("no policy completes a listing")
	}
}

func change(c Call, f func(*Call)) Call {
	f(&c)
	return c
}

func TestTheDetailOfADenialIsTheReasonOfTheRule(t *testing.T) {
	d := loadText(t, companyPolicy).Decide(corp("search-eng"), parsed(t, model("europe-west1", "google", "x-preview", "predict")), Request{})
	if want := "preview models are for research only"; d.Reason != Denied || d.Detail != want {
		t.Errorf("got %s, detail %q, want %q", d.Reason, d.Detail, want)
	}
}

func TestDetailsAreBoundedAndPrintable(t *testing.T) {
	p := loadText(t, companyPolicy)
	call := parsed(t, model("europe-west1", "google", "gemini-2.5-flash", "generateContent"))
	wild := strings.Repeat("\x00\xffé\n", 1000)
	for _, d := range []Decision{
		p.Decide(corp("search-eng"), call, Request{Role: wild}),
		p.Decide(Caller{Issuer: wild}, call, Request{}),
		p.Decide(corp(wild), call, Request{}),
	} {
		if d.Reason != NoRole || len(d.Detail) > 300 || strings.ContainsFunc(d.Detail, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("got %s, detail %q of %d bytes", d.Reason, d.Detail, len(d.Detail))
		}
	}
}

func TestEffectString(t *testing.T) {
	for e, want := range map[Effect]string{Deny: "deny", Allow: "allow", NeedBody: "need_body", 7: "effect(7)"} {
		if got := e.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The sample calls and callers of tests about policies as a whole.
func sampleCalls(t testing.TB) []Call {
	var calls []Call
	add := func(target string) { calls = append(calls, parsed(t, target)) }
	for _, project := range []string{"acme-ai", "acme-ml", "424242", "Acme-ai"} {
		for _, location := range []string{"europe-west1", "us-central1", "global"} {
			parent := "/v1/projects/" + project + "/locations/" + location
			for _, m := range []string{"google/models/gemini-2.5-flash", "google/models/gemini-2.5-flash@001", "google/models/text-embedding-005", "anthropic/models/claude-opus-4@20250514", "anthropic/models/count-tokens", "google/models/gemini-3-preview"} {
				for _, verb := range []string{"generateContent", "streamGenerateContent", "predict", "rawPredict"} {
					add(parent + "/publishers/" + m + ":" + verb)
				}
			}
			for _, e := range []string{"123:predict", "mg-1:generateContent", "openapi/chat/completions", "openapi/embeddings"} {
				add(parent + "/endpoints/" + e)
			}
		}
	}
	add("/v1/publishers/google/models")
	add("/v1/publishers/google/models/gemini-2.5-flash")
	return calls
}

func sampleCallers() []Caller {
	var callers []Caller
	for _, issuer := range []string{"corp", "k8s", "none"} {
		for _, groups := range []any{nil, "g0", []any{"g1"}, []any{"g0", "g2"}, []any{"g3", "g1", "x"}, []any{int64(7), true}} {
			callers = append(callers, Caller{Issuer: issuer, Claims: map[string]any{"groups": groups, "level": int64(5), "sub": "me"}})
		}
	}
	return callers
}

// A policy is shared by all requests.
func TestDecideIsSafeForConcurrentUse(t *testing.T) {
	p := loadText(t, companyPolicy)
	calls, callers := sampleCalls(t), append(sampleCallers(), corp("research"), corp("serving", "search-eng"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, call := range calls {
				for _, caller := range callers {
					first := p.Decide(caller, call, Request{})
					if diff := cmp.Diff(first, p.Decide(caller, call, Request{})); diff != "" {
						t.Errorf("two decisions on one call differ:\n%s", diff)
					}
				}
			}
		})
	}
	wg.Wait()
}
