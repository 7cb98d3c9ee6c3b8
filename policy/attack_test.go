package policy

import (
	"strings"
	"testing"
	"time"

	"vertex-spoa/policy/body"
)

// attackedPolicy returns a policy with the given rules for the role eng, and what else stands in the file.
func attackedPolicy(t testing.TB, rules, rest string) *Session {
	t.Helper()
	return loadText(t, `version: 1
defaults: { project: acme-ai, locations: [europe-west1, global], methods: [generate, stream, count, embed, predict, list]`+rest+`
issuers: { corp: { url: https://login.acme.com, audience: vertex, claims: { groups: list } } }
roles: { eng: { as: vx-eng, who: { corp: { groups: eng } } } }
rules:
`+rules).Bind(engineer("me"))
}

const (
	attackedPlace  = "/v1/projects/acme-ai/locations/europe-west1"
	attackedModels = attackedPlace + "/publishers/google/models/"
)

// asked decides as HAProxy has it decided: without the body, and again with it if it is needed.
func asked(t *testing.T, s *Session, target, text string) (d Decision, withBody bool) {
	t.Helper()
	call, err := ParseAny("POST", target)
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Now: baseTime}
	if d = s.Decide(call, r); d.Effect != NeedBody {
		return d, false
	}
	facts, err := body.Read(call.BodyShape(), []byte(text))
	if r.BodyState = BodyWhole; err != nil {
		r.BodyState = BodyInvalid
	}
	r.Body = facts
	return s.Decide(call, r), true
}

func TestABodyDoesNotReachAnotherModelThanItsPath(t *testing.T) {
	const flash = "  r: { allow: eng, models: gemini-2.5-flash, endpoints: \"7\" }\n"
	const operations = attackedPlace + "/publishers/google/models/veo-3/operations/1"
	for _, tt := range []struct {
		name, rules, rest, target, body string
		withBody                        bool
		want                            Reason
	}{
		{"counting for a model beside the path", flash, " }", attackedModels + "gemini-2.5-flash:countTokens", `{"model":"publishers/google/models/gemini-2.5-pro"}`, true, BadBody},
		{"counting for a model beside an endpoint", flash, " }", attackedPlace + "/endpoints/7:countTokens", `{"model":"publishers/google/models/gemini-2.5-pro"}`, true, BadBody},
		{"counting on an endpoint", flash, " }", attackedPlace + "/endpoints/7:countTokens", `{}`, true, ""},
		{"counting where nothing is about single models", "  r: { allow: eng, models: \"*\", endpoints: \"*\" }\n", " }", attackedPlace + "/endpoints/7:countTokens", "", false, ""},
		{"counting where all endpoints, and only these, are allowed", "  r: { allow: eng, endpoints: \"*\" }\n", " }", attackedPlace + "/endpoints/7:countTokens",
			`{"model":"publishers/google/models/gemini-2.5-pro"}`, true, BadBody},
		{"the result of another model's operation", "  r: { allow: eng, models: veo-2 }\n", " }", attackedModels + "veo-2:fetchPredictOperation", `{"operationName":"` + operations[4:] + `"}`, true, BadBody},
		{"the same by an endpoint", flash, " }", attackedPlace + "/endpoints/7:fetchPredictOperation", `{"operationName":"` + operations[4:] + `"}`, true, BadBody},
		{"the same by another publisher", "  r: { allow: eng, models: veo-2 }\n", " }", attackedPlace + "/publishers/acme/models/veo-2:fetchPredictOperation", `{"operationName":"` + operations[4:] + `"}`, true, BadBody},
		{"the result of an endpoint's own operation", flash, " }", attackedPlace + "/endpoints/7:fetchPredictOperation",
			`{"operationName":"projects/acme-ai/locations/europe-west1/endpoints/7/operations/1"}`, true, ""},
		{"an endpoint in place of a publisher's model", "  r: { allow: eng, models: \"*\" }\n", " }", attackedPlace + "/endpoints/openapi/chat/completions", `{"model":"endpoints/1234","messages":[]}`, true, BadBody},
		{"the same by its full name", "  r: { allow: eng, models: \"*\" }\n", " }", attackedPlace + "/endpoints/openapi/chat/completions",
			`{"model":"projects/acme-ai/locations/europe-west1/endpoints/1234","messages":[]}`, true, BadBody},
		{"a model of the project in place of a publisher's", "  r: { allow: eng, models: \"*\" }\n", " }", attackedPlace + "/endpoints/openapi/chat/completions", `{"model":"models/1234","messages":[]}`, true, BadBody},
		{"counting beside a rewrite", "  r: { allow: eng, models: \"*\", rewrite: { model: gemini-2.5-flash } }\n", " }", attackedModels + "gemini-2.5-pro:countTokens",
			`{"model":"publishers/google/models/gemini-2.5-pro"}`, true, BadBody},

		{"routing where it is not looked for", flash, " }", attackedModels + "gemini-2.5-flash:generateContent", "", false, ""},
		{"routing where bodies are read anyway", "  r: { allow: eng, models: gemini-2.5-flash, body: { maxBytes: 1000 } }\n", " }", attackedModels + "gemini-2.5-flash:generateContent",
			`{"generationConfig":{"routingConfig":{"manualMode":{"modelName":"gemini-2.5-pro"}}}}`, true, BadBody},
		{"routing to a model, refused", flash, ", routing: refused }", attackedModels + "gemini-2.5-flash:generateContent",
			`{"generationConfig":{"routingConfig":{"manualMode":{"modelName":"gemini-2.5-pro"}}}}`, true, BadBody},
		{"routing in the other spelling, refused", flash, ", routing: refused }", attackedModels + "gemini-2.5-flash:streamGenerateContent",
			`{"generation_config":{"routing_config":{"auto_mode":{}}}}`, true, BadBody},
		{"routing on an endpoint, refused", flash, ", routing: refused }", attackedPlace + "/endpoints/7:generateContent", `{"generationConfig":{"routingConfig":{"autoMode":{}}}}`, true, BadBody},
		{"no routing, where it is refused", flash, ", routing: refused }", attackedModels + "gemini-2.5-flash:generateContent", `{"contents":[]}`, true, ""},
		{"routing to the model itself", flash, ", routing: refused }", attackedModels + "gemini-2.5-flash:generateContent",
			`{"generationConfig":{"routingConfig":{"manualMode":{"modelName":"gemini-2.5-flash"}}}}`, true, ""},
		{"routing refused, where any model is allowed", "  r: { allow: eng, models: \"*\" }\n", ", routing: refused }", attackedModels + "gemini-2.5-flash:generateContent", "", false, ""},
		{"routing refused, and some models denied", "  r: { allow: eng, models: \"*\" }\n  d: { deny: eng, models: \"*-preview\" }\n", ", routing: refused }", attackedModels + "gemini-2.5-flash:generateContent",
			`{"generationConfig":{"routingConfig":{"autoMode":{}}}}`, true, BadBody},
		{"routing ignored by name", flash, ", routing: ignored }", attackedModels + "gemini-2.5-flash:generateContent", "", false, ""},
	} {
		d, withBody := asked(t, attackedPolicy(t, tt.rules, tt.rest), tt.target, tt.body)
		if d.Reason != tt.want || withBody != tt.withBody || (d.Effect == Allow) != (tt.want == "") {
			t.Errorf("%s: got %v %q %q with the body %v, want %q with the body %v", tt.name, d.Effect, d.Reason, d.Detail, withBody, tt.want, tt.withBody)
		}
	}
}

// A body that cannot be seen whole is refused where routing is.
func TestRoutingIsNotHiddenBehindALongBody(t *testing.T) {
	s := attackedPolicy(t, "  r: { allow: eng, models: gemini-2.5-flash }\n", ", routing: refused }")
	for state, want := range map[BodyState]Reason{BodyTruncated: TruncatedBody, BodyInvalid: BadBody, BodyAbsent: BodyRequired} {
		if d := s.Decide(geminiCall(t, "gemini-2.5-flash", "generateContent"), Request{Now: baseTime, BodyState: state}); d.Effect != Deny || d.Reason != want {
			t.Errorf("state %d: got %v %q, want %q", state, d.Effect, d.Reason, want)
		}
	}
}

// Cached content has tools, an instruction and media that its name does not tell.
func TestCachedContentHidesWhatItHolds(t *testing.T) {
	const generate = attackedModels + "gemini-2.5-flash:generateContent"
	const cached = `{"cachedContent":"projects/acme-ai/locations/europe-west1/cachedContents/1","generationConfig":{"maxOutputTokens":5}}`
	const plain = `{"contents":[],"generationConfig":{"maxOutputTokens":5}}`
	allow := func(condition string) string { return "  r: { allow: eng, models: \"*\", " + condition + " }\n" }
	deny := func(condition string) string {
		return allow("mode: enforce") + "  d: { deny: eng, " + condition + " }\n"
	}
	for _, tt := range []struct {
		rules        string
		plain, cache Reason
	}{
		{allow("body: { tools: none }"), "", NoRule},
		{allow("body: { tools: [\"fn:*\"] }"), "", NoRule},
		{allow("body: { systemInstruction: forbidden }"), "", NoRule},
		{allow("body: { mediaTypes: image/* }"), "", NoRule},
		{allow("body: { maxOutputTokens: 10 }"), "", ""},
		{allow("when: body.tools.size() == 0"), "", NoRule},
		{allow("when: '!body.systemInstruction'"), "", NoRule},
		{allow("when: 'body.files.all(f, f == \"gs://ours\")'"), "", NoRule},
		{allow("when: '!has(body.cachedContent)'"), "", NoRule},
		{deny("when: '\"googleSearch\" in body.tools'"), "", PolicyError},
		{deny("body: { systemInstruction: required }"), "", Denied},
	} {
		s := attackedPolicy(t, tt.rules, " }")
		for text, want := range map[string]Reason{plain: tt.plain, cached: tt.cache} {
			if d, _ := asked(t, s, generate, text); d.Reason != want {
				t.Errorf("%s with %s: got %q (%s), want %q", tt.rules, text, d.Reason, d.Detail, want)
			}
		}
	}
}

// What a deny rule says about a version is not walked around by leaving the version to Google.
func TestADeniedVersionIsNotReachedByItsBareName(t *testing.T) {
	s := attackedPolicy(t, "  r: { allow: eng, models: \"*\" }\n  old: { deny: eng, models: [claude-*@2025*, gemini-1.0-pro@001] }\n", " }")
	for model, want := range map[string]Reason{
		"claude-opus-4@20250514": Denied, "claude-opus-4": Denied, "claude-opus-4@default": Denied, "claude-opus-4@latest": Denied, "claude-opus-4@20260101": "",
		"gemini-1.0-pro": Denied, "gemini-1.0-pro@002": "", "gemini-1.0-pro-001": "", "gemini-2.5-flash": "",
	} {
		if d := s.Decide(geminiCall(t, model, "generateContent"), Request{Now: baseTime}); d.Reason != want {
			t.Errorf("%s: got %q, want %q", model, d.Reason, want)
		}
	}
}

func TestADenyRuleWithHoursDeniesWithoutATime(t *testing.T) {
	s := attackedPolicy(t, "  r: { allow: eng, models: \"*\" }\n  night: { deny: eng, active: { hours: \"22:00-06:00\" } }\n", " }")
	call := geminiCall(t, "gemini-2.5-flash", "generateContent")
	if d := s.Decide(call, Request{}); d.Effect != Deny || d.Reason != PolicyError || d.Rule != "night" {
		t.Errorf("without a time: got %v %q by %q", d.Effect, d.Reason, d.Rule)
	}
	if d := s.Decide(call, Request{Now: baseTime}); d.Effect != Allow {
		t.Errorf("by day: got %v %q", d.Effect, d.Reason)
	}
}

// A day begins when its date does, also where clocks are put forward at midnight and there is none.
func TestDaysBeginWithTheirDate(t *testing.T) {
	for _, tt := range []struct{ zone, day, from, after string }{
		{"UTC", "2026-12-31", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"America/Havana", "2026-03-07", "2026-03-07T05:00:00Z", "2026-03-08T05:00:00Z"},
		{"America/Havana", "2026-03-08", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"},
		{"America/Havana", "2026-11-01", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"America/Santiago", "2026-09-06", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"},
		{"Atlantic/Azores", "2026-03-29", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"},
		{"Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"},
	} {
		zone, err := time.LoadLocation(tt.zone)
		if err != nil {
			t.Fatal(err)
		}
		day, err := time.Parse(time.DateOnly, tt.day)
		if err != nil {
			t.Fatal(err)
		}
		for n, want := range []string{tt.from, tt.after} {
			if got := beginning(day.AddDate(0, 0, n), zone).UTC().Format(time.RFC3339); got != want {
				t.Errorf("%s in %s, and %d days: got %s, want %s", tt.day, tt.zone, n, got, want)
			}
		}
	}
}

// Every day of every zone begins with its date, and the instant before belongs to another.
func TestEveryDayBeginsOnce(t *testing.T) {
	for _, name := range []string{"Africa/Cairo", "America/Santiago", "America/Havana", "Asia/Beirut", "Atlantic/Azores", "Australia/Lord_Howe", "America/Nuuk"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 5 * 366 {
			day := time.Date(2024, 1, 1+n, 0, 0, 0, 0, time.UTC)
			at := beginning(day, zone)
			if at.Day() != day.Day() || at.Add(-time.Nanosecond).Day() == day.Day() {
				t.Errorf("%s in %s begins at %v", day.Format(time.DateOnly), name, at)
			}
		}
	}
}

// What fails whenever it is decided does not load.
func TestLiteralsThatAlwaysFailDoNotLoad(t *testing.T) {
	for text, want := range map[string]string{
		`claims.env.matches("a{1000}{1000}")`:  "invalid nested repetition operator",
		`claims.env.matches("(")`:              "missing closing )",
		`matches(claims.env, "(?<=x)y")`:       "invalid named capture",
		`now < timestamp("tomorrow")`:          `"tomorrow" is not a moment`,
		`now - now < duration("a day or two")`: `"a day or two" is not a length of time`,
		`now < timestamp("2026-12-01T00:00:00Z") && claims.env.matches("^p") && now - now < duration("90s")`: "",
	} {
		_, problems := compileText(t, text, "open", false)
		if got := strings.Join(problems, "\n"); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", text, got, want)
		}
	}
}

// A pattern of several stars is a lone star, also where that stands for more than a pattern.
func TestSeveralStarsAreOne(t *testing.T) {
	for _, stars := range []string{"*", "**", "***"} {
		s := attackedPolicy(t, "  r: { allow: eng, models: \"*\", endpoints: \"*\", methods: [predict, reasoningEngines.query] }\n  none: { deny: eng, models: \""+stars+"\" }\n", " }")
		for _, target := range []string{attackedModels + "gemini-2.5-flash:predict", attackedPlace + "/endpoints/7:predict", attackedPlace + "/reasoningEngines/1:query"} {
			if d, _ := asked(t, s, target, "{}"); d.Reason != Denied {
				t.Errorf("%s with %s: got %v %q, want it denied", stars, target, d.Effect, d.Reason)
			}
		}
	}
}

// What the policy uses of an issuer's claims is looked for once, since it is asked for with every new caller.
func TestClaimsUsedAreReadOnce(t *testing.T) {
	p := loadText(t, string(writtenRules(100))+"  last: { allow: team-0, models: \"*\", when: claims.env == \"prod\" }\n")
	if got := strings.Join(p.ClaimsUsed("corp"), " "); got != "env groups" {
		t.Fatalf("got %q", got)
	}
	if n := testing.AllocsPerRun(100, func() { p.ClaimsUsed("corp") }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
