package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy/body"
	"vertex-spoa/policy/strictyaml"
)

// allowing returns a policy with one role for everybody of the issuer corp and the given rules.
func allowing(t testing.TB, rules ...Rule) *Policy {
	t.Helper()
	m := &Model{
		Project: "acme-ai", Location: "europe-west1", Issuers: []Issuer{{Name: "corp", URL: "https://corp.example"}},
		Roles: []Role{
			{Name: "eng", Account: "eng@acme-ai.iam.gserviceaccount.com", Scopes: []string{cloudPlatformScope}, Lifetime: 1, Who: []Way{{"corp", []ClaimCondition{{"groups", []string{"eng"}}}}}},
			{Name: "ops", Account: "ops@acme-ai.iam.gserviceaccount.com", Scopes: []string{cloudPlatformScope}, Lifetime: 1, Who: []Way{{"corp", []ClaimCondition{{"groups", []string{"ops"}}}}}},
		},
	}
	for _, r := range rules {
		r.Percent = max(r.Percent, 1)
		if r.Percent == 1 {
			r.Percent = 100
		}
		if r.Effect == Allow {
			r.Projects, r.Locations = []string{"acme-ai"}, []string{"*"}
			if r.Methods == nil {
				r.Methods = []string{"*"}
			}
		}
		m.Rules = append(m.Rules, r)
	}
	return indexed(t, m)
}

func engineer(subject string, groups ...any) Caller {
	return Caller{Issuer: "corp", Subject: subject, Claims: map[string]any{"groups": append(groups, "eng"), "env": "prod"}}
}

func geminiCall(t testing.TB, model, verb string) Call {
	return parsedAny(t, "POST", "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/"+model+":"+verb)
}

func bound(max float64) *BodyRule { return &BodyRule{MaxOutputTokens: &Range{Max: &max}} }

func TestAnAbsentBoundIsNotASmallOne(t *testing.T) {
	s := allowing(t,
		Rule{ID: "allow", Effect: Allow, Models: []string{"*"}, Body: bound(1024)},
	).Bind(engineer("me"))
	call := geminiCall(t, "gemini-2.5-flash", "generateContent")
	for name, tt := range map[string]struct {
		state  BodyState
		facts  *body.Facts
		effect Effect
		reason Reason
	}{
		"not seen":                  {BodyNotSeen, nil, NeedBody, BodyRequired},
		"small":                     {BodyWhole, &body.Facts{Shape: body.Gemini, MaxOutputTokens: body.Opt[int64]{Value: 1024, Set: true}}, Allow, ""},
		"large":                     {BodyWhole, &body.Facts{Shape: body.Gemini, MaxOutputTokens: body.Opt[int64]{Value: 1025, Set: true}}, Deny, NoRule},
		"absent":                    {BodyWhole, &body.Facts{Shape: body.Gemini}, Deny, NoRule},
		"of a body not understood":  {BodyWhole, &body.Facts{Shape: body.Custom}, Deny, NoRule},
		"truncated":                 {BodyTruncated, nil, Deny, TruncatedBody},
		"no body":                   {BodyAbsent, nil, Deny, BodyRequired},
		"not JSON":                  {BodyInvalid, nil, Deny, BadBody},
		"said to be whole, and not": {BodyWhole, nil, Deny, BadBody},
	} {
		d := s.Decide(call, Request{BodyState: tt.state, Body: tt.facts})
		if d.Effect != tt.effect || d.Reason != tt.reason {
			t.Errorf("%s: got %v %q (%s), want %v %q", name, d.Effect, d.Reason, d.Detail, tt.effect, tt.reason)
		}
	}
}

func TestADenyRuleThatNeedsTheBodyAsksForIt(t *testing.T) {
	s := allowing(t,
		Rule{ID: "allow", Effect: Allow, Models: []string{"gemini-*"}},
		Rule{ID: "deny", Effect: Deny, When: &Expression{Text: `"codeExecution" in body.tools`}},
	).Bind(engineer("me"))
	call := geminiCall(t, "gemini-2.5-flash", "generateContent")
	with := func(tools ...string) Request {
		return Request{BodyState: BodyWhole, Body: &body.Facts{Shape: body.Gemini, Tools: tools}}
	}
	for name, tt := range map[string]struct {
		r      Request
		effect Effect
		rule   string
	}{
		"first":        {Request{}, NeedBody, "allow"},
		"without":      {with("googleSearch"), Allow, "allow"},
		"with":         {with("codeExecution"), Deny, "deny"},
		"not seen yet": {Request{BodyState: BodyTruncated}, Deny, "allow"},
	} {
		if d := s.Decide(call, tt.r); d.Effect != tt.effect || d.Rule != tt.rule {
			t.Errorf("%s: got %v by %q: %s", name, d.Effect, d.Rule, d.Detail)
		}
	}
	if d := s.Decide(geminiCall(t, "claude", "generateContent"), Request{}); d.Reason != NoRule {
		t.Errorf("a call that nothing can allow asks for its body: %v %v", d.Effect, d.Reason)
	}
}

func TestTheModelInTheBodyIsJudged(t *testing.T) {
	s := allowing(t,
		Rule{ID: "allow", Effect: Allow, Models: []string{"gemini-*"}, Publishers: []string{"google"}},
		Rule{ID: "deny", Effect: Deny, Models: []string{"*-preview"}},
	).Bind(engineer("me"))
	chat := parsedAny(t, "POST", "/v1/projects/acme-ai/locations/europe-west1/endpoints/openapi/chat/completions")
	count := geminiCall(t, "gemini-2.5-flash", "countTokens")
	for _, tt := range []struct {
		call  Call
		model string
		want  Reason
	}{
		{chat, "google/gemini-2.5-flash", ""},
		{chat, "google/gemini-3-preview", Denied},
		{chat, "meta/gemini-2.5-flash", NoRule},
		{chat, "google/llama", NoRule},
		{chat, "gemini-2.5-flash", BadBody},
		{chat, "", BadBody},
		{count, "", ""},
		{count, "gemini-2.5-flash", ""},
		{count, "gemini-2.5-pro", BadBody},
	} {
		f := &body.Facts{Shape: tt.call.BodyShape(), Model: body.Opt[string]{Value: tt.model, Set: tt.model != ""}}
		if d := s.Decide(tt.call, Request{}); d.Effect != NeedBody {
			t.Errorf("%s without its body: got %v %v", tt.call.Method, d.Effect, d.Reason)
		}
		if d := s.Decide(tt.call, Request{BodyState: BodyWhole, Body: f}); d.Reason != tt.want || (d.Effect == Allow) != (tt.want == "") {
			t.Errorf("%s with %q: got %v %q (%s), want %q", tt.call.Method, tt.model, d.Effect, d.Reason, d.Detail, tt.want)
		}
	}
}

func TestAFailingConditionNeverAllows(t *testing.T) {
	call := geminiCall(t, "gemini-2.5-flash", "generateContent")
	allow := Rule{ID: "allow", Effect: Allow, Models: []string{"*"}}
	failing := &Expression{Text: `1 / size(subject) > 5`}
	empty := Caller{Issuer: "corp", Claims: map[string]any{"groups": "eng"}}
	with := allow
	with.ID, with.When = "with", failing
	if d := allowing(t, with).Bind(empty).Decide(call, Request{}); d.Effect != Deny || d.Reason != NoRule || d.Failed != "with" {
		t.Errorf("an allow rule whose condition fails: got %v %v, failed %q", d.Effect, d.Reason, d.Failed)
	}
	if d := allowing(t, with, allow).Bind(empty).Decide(call, Request{}); d.Effect != Allow || d.Rule != "allow" {
		t.Errorf("with another rule: got %v %v by %q", d.Effect, d.Reason, d.Rule)
	}
	deny := Rule{ID: "deny", Effect: Deny, When: failing}
	if d := allowing(t, allow, deny).Bind(empty).Decide(call, Request{}); d.Effect != Deny || d.Reason != PolicyError || d.Rule != "deny" {
		t.Errorf("a deny rule whose condition fails: got %v %v by %q", d.Effect, d.Reason, d.Rule)
	}
	deny.When = &Expression{Text: `1 / size(subject) > 5 && location == "global"`}
	if d := allowing(t, allow, deny).Bind(empty).Decide(call, Request{}); d.Effect != Allow {
		t.Errorf("a deny rule of which another part does not hold: got %v %v", d.Effect, d.Reason)
	}
}

func TestBreakglass(t *testing.T) {
	p := allowing(t,
		Rule{ID: "emergency", Effect: Allow, Roles: []string{"ops"}, Models: []string{"*"}, Duties: Duties{Breakglass: &Breakglass{Overrides: []string{"previews"}}}},
		Rule{ID: "normal", Effect: Allow, Roles: []string{"eng"}, Models: []string{"*"}},
		Rule{ID: "previews", Effect: Deny, Models: []string{"*-preview"}},
		Rule{ID: "frozen", Effect: Deny, Models: []string{"*-frozen-preview"}},
	)
	ops := Caller{Issuer: "corp", Claims: map[string]any{"groups": []any{"ops"}}}
	both := engineer("me", "ops")
	for _, tt := range []struct {
		name, model, reason, ask string
		caller                   Caller
		want                     Reason
		rule                     string
		overridden               []string
	}{
		{"without a reason", "gemini-3", "", "", ops, ReasonRequired, "emergency", nil},
		{"with blanks for a reason", "gemini-3", " \t", "", ops, ReasonRequired, "emergency", nil},
		{"with a reason", "gemini-3", "INC-7", "", ops, "", "emergency", nil},
		{"against a deny rule", "gemini-3-preview", "INC-7", "", ops, "", "emergency", []string{"previews"}},
		{"against a deny rule, without a reason", "gemini-3-preview", "", "", ops, ReasonRequired, "emergency", nil},
		{"against another deny rule", "gemini-3-frozen-preview", "INC-7", "", ops, Denied, "frozen", nil},
		{"another role does not need it", "gemini-3", "", "", both, "", "normal", nil},
		{"a later role overrides what is denied to the first", "gemini-3-preview", "INC-7", "", both, "", "emergency", []string{"previews"}},
		{"but not when the first was asked for", "gemini-3-preview", "INC-7", "eng", both, Denied, "previews", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(tt.caller, geminiCall(t, tt.model, "generateContent"), Request{Reason: tt.reason, Role: tt.ask})
			if d.Reason != tt.want || d.Rule != tt.rule || !slices.Equal(d.Overridden, tt.overridden) || d.Breakglass != (tt.want == "" && tt.rule == "emergency") {
				t.Errorf("got %v %q by %q, overridden %v, breakglass %v: %s", d.Effect, d.Reason, d.Rule, d.Overridden, d.Breakglass, d.Detail)
			}
		})
	}
}

func TestRewritesAreJudged(t *testing.T) {
	p := allowing(t,
		Rule{ID: "a-any", Effect: Allow, Models: []string{"gemini-*"}, Duties: Duties{Rewrite: "gemini-3-preview"}},
		Rule{ID: "old", Effect: Allow, Models: []string{"gemini-1.5-*"}, Duties: Duties{Rewrite: "gemini-2.5-flash"}},
		Rule{ID: "previews", Effect: Deny, Models: []string{"*-preview"}},
	)
	s := p.Bind(engineer("me"))
	d := s.Decide(geminiCall(t, "gemini-1.5-pro", "generateContent"), Request{})
	if d.Effect != Allow || d.Call.Model != "gemini-2.5-flash" || !strings.Contains(d.Call.URI(), "/models/gemini-2.5-flash:") || len(d.Duties) != 2 {
		t.Errorf("the rule that spells out most rewrites: got %v %v, model %q, %d duties", d.Effect, d.Reason, d.Call.Model, len(d.Duties))
	}
	if d := s.Decide(geminiCall(t, "gemini-2.0", "generateContent"), Request{}); d.Effect != Deny || d.Reason != Denied || d.Rule != "previews" {
		t.Errorf("rewritten to what is denied: got %v %v by %q", d.Effect, d.Reason, d.Rule)
	}
	chat := parsedAny(t, "POST", "/v1/projects/acme-ai/locations/europe-west1/endpoints/openapi/chat/completions")
	f := &body.Facts{Shape: body.OpenAI, Model: body.Opt[string]{Value: "google/gemini-1.5-pro", Set: true}}
	if d := s.Decide(chat, Request{BodyState: BodyWhole, Body: f}); d.Effect != Deny || d.Reason != NoRule {
		t.Errorf("a model in the body cannot be rewritten: got %v %v", d.Effect, d.Reason)
	}
}

func TestTiers(t *testing.T) {
	p := allowing(t,
		Rule{ID: "plain", Effect: Allow, Roles: []string{"eng"}, Models: []string{"gemini-*"}},
		Rule{ID: "flex", Effect: Allow, Roles: []string{"eng"}, Models: []string{"gemini-2.5-*"}, Duties: Duties{TierMay: TierChoice{SharedRequestType: []string{"flex"}}}},
		Rule{ID: "shared", Effect: Allow, Roles: []string{"ops"}, Models: []string{"*"}, Duties: Duties{Tier: Tier{RequestType: "shared"}}},
	)
	flex, priority := Tier{SharedRequestType: "flex"}, Tier{SharedRequestType: "priority"}
	for _, tt := range []struct {
		name, model string
		group       string
		asked       Tier
		want        Tier
		reason      Reason
		rule        string
	}{
		{"nothing asked", "gemini-2.5-flash", "eng", Tier{}, Tier{}, "", "flex"},
		{"what a rule lets ask for", "gemini-2.5-flash", "eng", flex, flex, "", "flex"},
		{"what no rule lets ask for", "gemini-2.5-flash", "eng", priority, Tier{}, NoRule, ""},
		{"what a rule for another model lets ask for", "gemini-3", "eng", flex, Tier{}, NoRule, ""},
		{"a rule sets it", "gemini-3", "ops", Tier{}, Tier{RequestType: "shared"}, "", "shared"},
		{"a rule sets another", "gemini-3", "ops", Tier{RequestType: "dedicated"}, Tier{RequestType: "shared"}, "", "shared"},
		{"a rule sets the other header", "gemini-3", "ops", priority, Tier{}, NoRule, ""},
	} {
		d := p.Decide(Caller{Issuer: "corp", Claims: map[string]any{"groups": tt.group}}, geminiCall(t, tt.model, "generateContent"), Request{Tier: tt.asked})
		if d.Reason != tt.reason || d.Tier != tt.want || d.Rule != tt.rule {
			t.Errorf("%s: got %v %q by %q with %+v", tt.name, d.Effect, d.Reason, d.Rule, d.Tier)
		}
	}
}

func TestSurfacesAreSwitchedOnByName(t *testing.T) {
	cache := parsedAny(t, "GET", "/v1/projects/acme-ai/locations/europe-west1/cachedContents/1")
	all := Rule{ID: "all", Effect: Allow, Roles: []string{"eng"}, Models: []string{"*"}, Methods: []string{"*", "admin"}}
	exact := Rule{ID: "exact", Effect: Allow, Roles: []string{"ops"}, Models: []string{"*"}, Methods: []string{"cachedContents.get"}}
	if d := allowing(t, all).Decide(engineer("me"), cache, Request{}); d.Reason != SurfaceOff {
		t.Errorf("no rule names it: got %v %v", d.Effect, d.Reason)
	}
	p := allowing(t, all, exact)
	if d := p.Decide(engineer("me"), cache, Request{}); d.Reason != NoRule {
		t.Errorf("a rule for another role names it: got %v %v", d.Effect, d.Reason)
	}
	if d := p.Decide(engineer("me", "ops"), cache, Request{}); d.Effect != Allow || d.Role != "ops" || d.Rule != "exact" {
		t.Errorf("a rule names it: got %v %v", d.Effect, d.Reason)
	}
	if d := allowing(t, exact, Rule{ID: "deny", Effect: Deny, Methods: []string{"admin"}}).Decide(engineer("me", "ops"), cache, Request{}); d.Reason != Denied {
		t.Errorf("a deny rule names its group: got %v %v", d.Effect, d.Reason)
	}
}

func TestAPercentageIsAShareOfTheCallers(t *testing.T) {
	p := allowing(t,
		Rule{ID: "allow", Effect: Allow, Models: []string{"*"}},
		Rule{ID: "canary", Effect: Deny, Percent: 20, Models: []string{"gemini-*"}},
	)
	call := geminiCall(t, "gemini-2.5-flash", "generateContent")
	denied := 0
	const callers = 2000
	for i := range callers {
		c := engineer(fmt.Sprint("user-", i))
		first := p.Decide(c, call, Request{ID: "1"})
		if again := p.Decide(c, call, Request{ID: "2"}); !cmp.Equal(first, again) {
			t.Fatalf("caller %d: the answer changes from request to request", i)
		}
		want := []ShadowRule{{"canary", Deny}}
		if first.Effect == Deny {
			denied, want = denied+1, nil
		}
		if diff := cmp.Diff(want, first.Shadow); diff != "" {
			t.Fatal(diff)
		}
	}
	if share := float64(denied) / callers; share < 0.16 || share > 0.24 {
		t.Errorf("got %.2f of the callers, want 0.20", share)
	}
	effects := map[Effect]int{}
	for i := range 200 {
		effects[p.Decide(engineer(""), call, Request{ID: fmt.Sprint(i)}).Effect]++
	}
	if effects[Deny] < 20 || effects[Allow] < 120 {
		t.Errorf("of a caller without a subject: got %v", effects)
	}
}

func TestNotActive(t *testing.T) {
	p := allowing(t, Rule{ID: "later", Effect: Allow, Models: []string{"gemini-*"}, Active: []Window{{From: baseTime}}})
	s := p.Bind(engineer("me"))
	flash := geminiCall(t, "gemini-2.5-flash", "generateContent")
	if d := s.Decide(flash, Request{Now: baseTime.Add(-1)}); d.Reason != NotActive || d.Rule != "later" {
		t.Errorf("before: got %v %v", d.Effect, d.Reason)
	}
	if d := s.Decide(flash, Request{Now: baseTime}); d.Effect != Allow {
		t.Errorf("then: got %v %v", d.Effect, d.Reason)
	}
	if d := s.Decide(geminiCall(t, "claude", "generateContent"), Request{Now: baseTime.Add(-1)}); d.Reason != NoRule {
		t.Errorf("what it does not allow at any time: got %v", d.Reason)
	}
}

// What depends on the caller alone is decided once for a session.
func TestPartsAboutTheCallerAreDecidedOnce(t *testing.T) {
	var rules []Rule
	for i := range 40 {
		rules = append(rules, Rule{ID: fmt.Sprintf("rule%02d", i), Effect: Allow, Models: []string{"*"}, When: &Expression{Text: fmt.Sprintf(`claims.env == "prod-%d" && location == "europe-west1"`, i)}})
	}
	p := allowing(t, rules...)
	counts := make([]int, len(p.rules))
	for i, r := range p.rules {
		r.when.parts[0].program = counting{r.when.parts[0].program, &counts[i]}
	}
	c := engineer("me")
	c.Claims["env"] = "prod-39"
	s := p.Bind(c)
	for range 5 {
		if d := s.Decide(geminiCall(t, "gemini-2.5-flash", "generateContent"), Request{}); d.Rule != "rule39" {
			t.Fatalf("got %v by %q", d.Effect, d.Rule)
		}
	}
	for i, n := range counts {
		if n != 1 {
			t.Errorf("rule %d: its part was decided %d times", i, n)
		}
	}
}

type counting struct {
	program
	n *int
}

func (c counting) run(v *variables) (verdict, error) {
	*c.n++
	return c.program.run(v)
}

func TestSessionsAreSafeForConcurrentUse(t *testing.T) {
	m, c := manyRules(300, true, true)
	s := indexed(t, m).Bind(c)
	var calls []Call
	for i := range 100 {
		calls = append(calls, geminiCall(t, fmt.Sprintf("gemini-%d-x", i), "generateContent"))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, call := range calls {
				if d := s.Decide(call, Request{Now: baseTime}); d.Rule != fmt.Sprintf("rule%05d", i) {
					t.Errorf("call %d: got %v by %q", i, d.Effect, d.Rule)
				}
			}
		})
	}
	wg.Wait()
}

func TestNoSessionDenies(t *testing.T) {
	var none *Session
	call := geminiCall(t, "gemini-2.5-flash", "generateContent")
	for _, s := range []*Session{none, {}, (&Policy{}).Bind(engineer("me")), (*Policy)(nil).Bind(engineer("me"))} {
		if d := s.Decide(call, Request{}); d.Effect != Deny || d.Reason != PolicyError {
			t.Errorf("got %v %v", d.Effect, d.Reason)
		}
		if x := s.Explain(call, Request{}); x.Decision.Effect != Deny || x.Rules != nil {
			t.Errorf("got %+v", x)
		}
	}
	if none.Policy() != nil {
		t.Error("no session has a policy")
	}
}

func TestProblemsOfConditionsNameTheirPlace(t *testing.T) {
	var problems strictyaml.Problems
	root := strictyaml.Parse("p.yaml", []byte("when: claim.env == \"x\"\n"), &problems)
	node := root.Get("when")
	m, _ := manyRules(1, true, false)
	m.Rules[1].When = &Expression{Text: `claim.env == "x"`, node: node}
	newPolicy(m, &problems)
	err := problems.Err()
	if err == nil || !strings.Contains(err.Error(), "p.yaml:1:7") || !strings.Contains(err.Error(), `did you mean "claims"?`) {
		t.Errorf("got %v", err)
	}
}

func TestExplain(t *testing.T) {
	p := allowing(t,
		Rule{ID: "search", Effect: Allow, Roles: []string{"eng"}, Models: []string{"gemini-2.5-*"}, When: &Expression{Text: `claims.env == "test" && location == "global"`}},
		Rule{ID: "embed", Effect: Allow, Roles: []string{"eng"}, Models: []string{"text-*"}},
		Rule{ID: "ops", Effect: Allow, Roles: []string{"ops"}, Models: []string{"*"}},
		Rule{ID: "previews", Effect: Deny, Except: []string{"eng"}, Models: []string{"*-preview"}},
	)
	x := p.Bind(engineer("me")).Explain(geminiCall(t, "gemini-2.5-flash", "generateContent"), Request{Now: baseTime})
	if x.Decision.Reason != NoRule || x.Nearest != "search" || !slices.Equal(x.Acting, []string{"eng"}) {
		t.Errorf("got %v, nearest %q, acting %v", x.Decision.Reason, x.Nearest, x.Acting)
	}
	wantRoles := []RoleMatch{
		{"eng", true, []WayMatch{{Issuer: "corp", Open: true}}},
		{"ops", false, []WayMatch{{"corp", false, Check{"groups", "[ops]", `"eng"`}}}},
	}
	if diff := cmp.Diff(wantRoles, x.Roles); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	wantRules := []RuleCheck{
		{Rule: "previews", Effect: Deny, Roles: []string{"eng"}, Missing: 2, Failed: Check{"except", "none of [eng]", "a caller who is one"}},
		{Rule: "embed", Effect: Allow, Roles: []string{"eng"}, Held: 3, Missing: 1, Failed: Check{"models", "[text-*]", "gemini-2.5-flash"}},
		{Rule: "search", Effect: Allow, Roles: []string{"eng"}, Held: 6, Missing: 1, Failed: Check{"when", `claims.env == "test"`, "false"}},
	}
	if diff := cmp.Diff(wantRules, x.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// A rule that may apply once the body is seen, and would then impose something, is waited for.
func TestWhatMayBeImposedIsWaitedFor(t *testing.T) {
	p := allowing(t,
		Rule{ID: "plain", Effect: Allow, Models: []string{"*"}},
		Rule{ID: "small", Effect: Allow, Models: []string{"*"}, Body: bound(10), Duties: Duties{Tier: Tier{RequestType: "shared"}}},
		Rule{ID: "other", Effect: Allow, Models: []string{"*"}, Body: bound(20)},
	)
	call := geminiCall(t, "gemini-2.5-flash", "generateContent")
	if d := p.Decide(engineer("me"), call, Request{}); d.Effect != NeedBody || d.Rule != "plain" {
		t.Errorf("first: got %v by %q", d.Effect, d.Rule)
	}
	f := &body.Facts{Shape: body.Gemini, MaxOutputTokens: body.Opt[int64]{Value: 5, Set: true}}
	if d := p.Decide(engineer("me"), call, Request{BodyState: BodyWhole, Body: f}); d.Effect != Allow || d.Tier.RequestType != "shared" {
		t.Errorf("with the body: got %v, tier %+v", d.Effect, d.Tier)
	}
	p = allowing(t,
		Rule{ID: "plain", Effect: Allow, Models: []string{"*"}},
		Rule{ID: "other", Effect: Allow, Models: []string{"*"}, Body: bound(20)},
	)
	if d := p.Decide(engineer("me"), call, Request{}); d.Effect != Allow {
		t.Errorf("where nothing may be imposed: got %v", d.Effect)
	}
}

func TestCallsThatCountAskForTheirBodyWhereModelsMatter(t *testing.T) {
	call := geminiCall(t, "gemini-2.5-flash", "countTokens")
	any := Rule{ID: "any", Effect: Allow, Models: []string{"*"}}
	google, gemini := any, any
	google.Publishers, gemini.Models = []string{"google"}, []string{"gemini-*"}
	for name, tt := range map[string]struct {
		p    *Policy
		want Effect
	}{
		"any model":                         {allowing(t, any), Allow},
		"any model of a publisher":          {allowing(t, google), NeedBody},
		"some models":                       {allowing(t, gemini), NeedBody},
		"any model, and some denied":        {allowing(t, any, Rule{ID: "deny", Effect: Deny, Models: []string{"*-preview"}}), NeedBody},
		"any model, and all denied to ops":  {allowing(t, any, Rule{ID: "deny", Effect: Deny, Roles: []string{"ops"}, Models: []string{"*-preview"}}), Allow},
		"any model, and a location denied":  {allowing(t, any, Rule{ID: "deny", Effect: Deny, Locations: []string{"us-*"}}), Allow},
		"any model, and a publisher denied": {allowing(t, any, Rule{ID: "deny", Effect: Deny, Publishers: []string{"meta"}}), NeedBody},
	} {
		if d := tt.p.Decide(engineer("me"), call, Request{}); d.Effect != tt.want {
			t.Errorf("%s: got %v, want %v", name, d.Effect, tt.want)
		}
	}
}
