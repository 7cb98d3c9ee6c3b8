package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// modelOf reads one file without making it ready for deciding.
func modelOf(t *testing.T, text string) *Model {
	t.Helper()
	l := newLoader("policy.d")
	m := l.load([]file{{"a.yaml", []byte(text)}})
	if err := l.problems.Err(); err != nil {
		t.Fatal(err)
	}
	return m
}

func number(v float64) *float64 { return &v }

func TestModelHoldsAllThatARuleSays(t *testing.T) {
	m := modelOf(t, `version: 1
defaults: { project: "424242", locations: [europe-*, europe-west4], methods: [generate], publishers: google }
projects: { acme-ai: 424242 }
aliases: { fast: flash, flash: gemini-2.5-flash }
issuers:
  corp: { url: https://login.acme.com, audience: vertex }
roles:
  low: { as: vx-low, who: { corp: { groups: [a, b*], level: 5 } } }
  high: { as: vx-high, who: [ { corp: { sub: x } }, { corp: { sub: y } } ], priority: 10 }
rules:
  everything:
    allow: [low, high]
    except: high
    models: [fast, "claude-*@2025*"]
    publishers: [google, anthropic]
    endpoints: 1234
    projects: ["424242", acme-ml]
    locations: us-central1
    methods: [embed, cachedContents.create]
    when: >-
      claims.env == "prod" &&
      model != "x"
    body:
      maxOutputTokens: 1024
      temperature: { min: 0.5, max: 1 }
      candidateCount: { max: 2 }
      tools: [googleSearch, fn:get_*]
      systemInstruction: required
      safetySettings: { min: BLOCK_ONLY_HIGH }
      mediaTypes: image/*
      maxBytes: 4096
    active:
      - { days: [mon-fri, sun], hours: 22:00-06:00, tz: Europe/Berlin, from: 2026-12-01, until: 2026-12-24 }
      - { from: "2026-12-01T08:00:00+01:00" }
    percent: 25
    because: it is so
    rewrite: { model: fast }
    headers: { set: { X-Vertex-AI-LLM-Request-Type: shared }, may: { X-Vertex-AI-LLM-Shared-Request-Type: [priority, flex] } }
    audit: metadata
    breakglass: { reason: required, overrides: nothing }
  nothing:
    deny: "*"
    mode: shadow
    body: { tools: none }
  preset:
    allow: "*"
    models: "*"
`)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{
		{
			ID: "everything", At: Position{"policy.d/a.yaml", 11, 3}, Effect: Allow, Roles: []string{"low", "high"}, Except: []string{"high"},
			Models: []string{"gemini-2.5-flash", "claude-*@2025*"}, Publishers: []string{"google", "anthropic"}, Endpoints: []string{"1234"},
			Projects: []string{"acme-ai", "acme-ml"}, Locations: []string{"us-central1"}, Methods: []string{"embed", "cachedContents.create"},
			When: &Expression{Text: `claims.env == "prod" && model != "x"`, At: Position{"policy.d/a.yaml", 21, 7}},
			Body: &BodyRule{
				MaxOutputTokens: &Range{Max: number(1024)}, Temperature: &Range{Min: number(0.5), Max: number(1)}, CandidateCount: &Range{Max: number(2)},
				Tools: []string{"googleSearch", "fn:get_*"}, SystemInstruction: Required, SafetyMin: "BLOCK_ONLY_HIGH", MediaTypes: []string{"image/*"}, MaxBytes: 4096,
			},
			Active: []Window{
				{
					Days: 0b0111111, Start: 22 * 60, End: 6 * 60, Hours: true, Zone: berlin,
					From: time.Date(2026, 12, 1, 0, 0, 0, 0, berlin), Until: time.Date(2026, 12, 25, 0, 0, 0, 0, berlin),
					Written: "tz: Europe/Berlin, days: [mon-fri, sun], hours: 22:00-06:00, from: 2026-12-01, until: 2026-12-24",
				},
				{Zone: time.UTC, From: time.Date(2026, 12, 1, 7, 0, 0, 0, time.UTC), Written: "from: 2026-12-01T08:00:00+01:00"},
			},
			Percent: 25, Because: "it is so",
			Duties: Duties{
				Rewrite: "gemini-2.5-flash", Tier: Tier{RequestType: "shared"}, TierMay: TierChoice{SharedRequestType: []string{"priority", "flex"}},
				Breakglass: &Breakglass{Overrides: []string{"nothing"}},
			},
		},
		{ID: "nothing", At: Position{"policy.d/a.yaml", 41, 3}, Mode: Shadow, Percent: 100, Body: &BodyRule{NoTools: true}},
		{
			ID: "preset", At: Position{"policy.d/a.yaml", 45, 3}, Effect: Allow, Models: []string{"*"}, Publishers: []string{"google"}, Projects: []string{"acme-ai"},
			Locations: []string{"europe-*", "europe-west4"}, Methods: []string{"generate"}, Percent: 100,
		},
	}
	zones := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
	if diff := cmp.Diff(want, m.Rules, cmpopts.IgnoreUnexported(Rule{}, Expression{}), zones); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if m.Project != "acme-ai" || m.Location != "europe-west4" {
		t.Errorf("defaults for listings: got %q, %q, want acme-ai, europe-west4", m.Project, m.Location)
	}
	wantWho := []Way{{"corp", []ClaimCondition{{"sub", []string{"x"}}}}, {"corp", []ClaimCondition{{"sub", []string{"y"}}}}}
	if diff := cmp.Diff(wantWho, m.Roles[0].Who); diff != "" || m.Roles[0].Name != "high" || m.Roles[1].Account != "vx-low@acme-ai.iam.gserviceaccount.com" {
		t.Errorf("roles: got %+v, want high before low; who (-want +got):\n%s", m.Roles, diff)
	}
}

func TestModelHoldsAllThatAnIssuerSays(t *testing.T) {
	m := modelOf(t, `version: 1
issuers:
  full:
    url: https://login.acme.com
    profile: okta
    audience: [a, b]
    singleAudience: true
    algorithms: [ES256, EdDSA]
    jwks: { inline: '{"keys": [{"kty": "OKP"}]}' }
    header: cf-access-jwt-assertion
    leeway: 1m
    maxAge: 12h
    maxLifetime: 24h
    maxStale: 2h
    require: [email, groups]
    map: { subject: oid, groups: realm.roles, email: upn }
    claims: { env: string, level: int, roles: list }
    tenants: t1
    clients: [c1, c2]
    introspect: { url: https://login.acme.com/ask, clientID: agent, clientSecretFile: /run/secret, ca: ca.pem, cacheFor: 30s, opaque: true }
    ca: tls/ca.pem
    proxy: http://proxy.acme.com:3128
    tokenFile: /run/token
    certificate: { dns: "*.acme.com", subject: "CN=*,O=Acme", ca: ca.pem }
  robots:
    certificate: { trustDomains: [prod.acme.com] }
roles:
  r: { as: a@p.iam.gserviceaccount.com, who: { robots: { sub: "*" } } }
rules:
  r: { deny: "*" }
`)
	want := []Issuer{
		{
			Name: "full", URL: "https://login.acme.com", Profile: "okta", Audiences: []string{"a", "b"}, SingleAudience: true, Algorithms: []string{"ES256", "EdDSA"},
			JWKS: []byte(`{"keys": [{"kty": "OKP"}]}`), Header: "cf-access-jwt-assertion", Leeway: time.Minute, MaxAge: 12 * time.Hour, MaxLifetime: 24 * time.Hour, MaxStale: 2 * time.Hour,
			Require: []string{"email", "groups"}, Subject: "oid", Groups: "realm.roles", Email: "upn", Claims: map[string]string{"env": "string", "level": "int", "roles": "list"},
			Tenants: []string{"t1"}, Clients: []string{"c1", "c2"},
			Introspection: &Introspection{URL: "https://login.acme.com/ask", ClientID: "agent", ClientSecretFile: "/run/secret", CAFile: "policy.d/ca.pem", CacheFor: 30 * time.Second, Opaque: true},
			CAFile:        "policy.d/tls/ca.pem", ProxyURL: "http://proxy.acme.com:3128", TokenFile: "/run/token",
			Certificate: &CertificateRule{DNS: []string{"*.acme.com"}, Subject: []string{"CN=*,O=Acme"}, CAFile: "policy.d/ca.pem"},
		},
		{Name: "robots", Certificate: &CertificateRule{TrustDomains: []string{"prod.acme.com"}}},
	}
	if diff := cmp.Diff(want, m.Issuers); diff != "" {
		t.Errorf("issuers (-want +got):\n%s", diff)
	}
	clone := m.Issuers[0].clone()
	clone.Claims["env"], clone.Introspection.URL, clone.Certificate.DNS[0], clone.JWKS[0], clone.Clients[0] = "int", "changed", "changed", 'x', "changed"
	if diff := cmp.Diff(want, m.Issuers); diff != "" {
		t.Errorf("a clone shares memory (-want +got):\n%s", diff)
	}
}

func TestPlacesAreReadInto(t *testing.T) {
	m := modelOf(t, `version: 1
projects: { acme-ai: 424242 }
endpoints: { "1234": { host: 1234.europe-west4-5678.prediction.vertexai.goog, project: 424242, location: europe-west4 } }
aliases: { a: b, b: c@1 }
issuers: { corp: { url: https://login.acme.com, audience: vertex } }
roles: { r: { as: a@p.iam.gserviceaccount.com, who: { corp: { sub: "*" } } } }
rules: { r: { deny: "*" } }
`)
	want := &Model{
		Projects: map[string]string{"acme-ai": "424242"}, Aliases: map[string]string{"a": "c@1", "b": "c@1"},
		Endpoints: map[string]Endpoint{"1234": {"1234.europe-west4-5678.prediction.vertexai.goog", "acme-ai", "europe-west4"}},
	}
	if diff := cmp.Diff(want, m, cmpopts.IgnoreFields(Model{}, "Issuers", "Roles", "Rules")); diff != "" {
		t.Errorf("model (-want +got):\n%s", diff)
	}
}

func TestWarningsNameWhatIsNotMeant(t *testing.T) {
	m := modelOf(t, `version: 1
defaults: { project: acme-ai, locations: [europe-west1], methods: [generate] }
endpoints: { "1234": { host: us-central1-aiplatform.googleapis.com, project: acme-ai, location: us-central1 } }
issuers:
  corp: { url: https://login.acme.com, audience: vertex, singleAudience: true, claims: { level: int, admin: bool, tree: map } }
  github: { url: https://token.actions.githubusercontent.com, audience: vertex }
roles:
  fine: { as: a, who: { corp: { sub: "*", level: 5, aud: vertex } } }
  idle: { as: a, who: { corp: { sub: idle } } }
  level: { as: a, who: { corp: { level: high } } }
  admin: { as: a, who: { corp: { admin: [yes, no] } } }
  tree: { as: a, who: { corp: { tree: "*" } } }
  aud: { as: a, who: { corp: { aud: other } } }
  iss: { as: a, who: { github: { iss: https://login.acme.com, repository_id: "1" } } }
  ci: { as: a, who: { github: { repository: acme/* } } }
  ci2: { as: a, who: { github: { repository: acme/*, repository_owner_id: "77" } } }
rules:
  used: { allow: [fine, level, admin, tree, aud, iss, ci, ci2], models: gemini-2.5-flash }
  twin: { allow: [ci2, ci, fine, level, admin, tree, aud, iss], models: gemini-2.5-flash }
  other-when: { allow: fine, models: gemini-2.5-flash, when: subject == "x" }
  excepted: { allow: fine, except: [fine, ci], models: "*" }
  far: { allow: fine, endpoints: 1234 }
  unlike: { allow: fine, endpoints: 77, methods: models.list }
  unlike2: { allow: fine, models: x, methods: explain }
  overruled: { allow: fine, models: gemini-3-pro-preview }
  partly: { allow: fine, models: [gemini-3-pro-preview, gemini-3-pro] }
  glass: { allow: fine, models: gemini-3-flash-preview, breakglass: { reason: required, overrides: no-previews } }
  no-previews: { deny: [fine, ci], models: "*-preview" }
  no-previews-at-night: { deny: "*", models: "*", active: { hours: 22:00-06:00 } }
`)
	var got []string
	for _, w := range m.Warnings() {
		got = append(got, w.Message)
	}
	want := []string{
		`no rule allows anything to role "idle"`,
		`nobody can have role "level": no token has such claims`,
		`nobody can have role "admin": no token has such claims`,
		`nobody can have role "tree": no token has such claims`,
		`nobody can have role "aud": no token has such claims`,
		`nobody can have role "iss": no token has such claims`,
		`role "ci" trusts a name on GitHub, which others can take once it is given up: add repository_owner_id or repository_id`,
		`rule "twin" says the same as rule "used" at policy.d/a.yaml:18:3`,
		`rule "excepted" can never apply: all its roles are excepted`,
		`rule "far" can never apply: endpoint 1234 is in us-central1`,
		`rule "unlike" can never apply: its methods are not methods of endpoints`,
		`rule "unlike2" can never apply: its methods are not methods of models`,
		`rule "overruled" allows nothing: deny rule "no-previews" at policy.d/a.yaml:28:3 denies all of it`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
