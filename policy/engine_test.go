package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy/body"
	"vertex-spoa/policy/strictyaml"
)

// dice makes choices of bytes, so that a fuzzer can lead them. When the bytes are used up every choice is the first.
type dice struct{ data []byte }

func (d *dice) n(most int) int {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return int(b) % most
}

func (d *dice) one(from ...string) string { return from[d.n(len(from))] }

func (d *dice) some(from ...string) []string {
	var list []string
	for range 1 + d.n(2) {
		list = append(list, d.one(from...))
	}
	return list
}

func (d *dice) maybe(from ...string) []string {
	if d.n(2) == 0 {
		return nil
	}
	return d.some(from...)
}

// model returns a policy of some roles and rules.
func (d *dice) model() *Model {
	m := &Model{
		Project: "acme-ai", Location: "europe-west1", RefuseRouting: d.n(4) == 1,
		Issuers: []Issuer{
			{Name: "corp", URL: "https://corp.example", Claims: map[string]string{"env": "string", "level": "int", "groups": "list", "sub": "string"}},
			{Name: "k8s", URL: "https://k8s.example"},
		},
		Projects:  map[string]string{"acme-ai": "424242"},
		Aliases:   map[string]string{"flash": "gemini-2.5-flash", "preview": "gemini-3-preview"},
		Endpoints: map[string]Endpoint{"123": {"123.europe-west1-1.prediction.vertexai.goog", "acme-ml", "europe-west1"}},
	}
	names := []string{"role0", "role1", "role2", "role3"}[:1+d.n(4)]
	for _, name := range names {
		r := Role{Name: name, Account: name + "@acme-ai.iam.gserviceaccount.com", Scopes: []string{cloudPlatformScope}, Lifetime: time.Hour}
		for range 1 + d.n(2) {
			w := Way{Issuer: d.one("corp", "k8s"), Claims: []ClaimCondition{{"groups", d.some("g0", "g1", "g2", "g*", "*", "7", "true")}}}
			if d.n(3) == 0 {
				w.Claims = append(w.Claims, ClaimCondition{"level", d.some("5", "6", "*")})
			}
			r.Who = append(r.Who, w)
		}
		m.Roles = append(m.Roles, r)
	}
	rules := 1 + d.n(8)
	if d.n(16) == 1 {
		rules += 150
	}
	for i := range rules {
		m.Rules = append(m.Rules, d.rule(fmt.Sprintf("rule%03d", rules-1-i), names))
	}
	d.emergency(m)
	return m
}

// emergency lets rules for emergencies override deny rules there are.
func (d *dice) emergency(m *Model) {
	var denies []string
	for _, r := range m.Rules {
		if r.Effect == Deny {
			denies = append(denies, r.ID)
		}
	}
	for i := range m.Rules {
		b := m.Rules[i].Duties.Breakglass
		switch {
		case b == nil || len(denies) == 0:
		case d.n(2) == 0:
			b.Overrides = denies
		default:
			b.Overrides = d.some(denies...)
		}
	}
}

const cloudPlatformScope = "https://www.googleapis.com/auth/cloud-platform"

func (d *dice) rule(id string, roles []string) Rule {
	r := Rule{
		ID: id, Effect: []Effect{Allow, Allow, Deny}[d.n(3)], Percent: 100,
		Publishers: d.maybe("google", "anthropic", "*", "g*"), Endpoints: d.maybe("123", "mg-*", "*"),
		Models:  d.some("gemini-*", "gemini-2.5-flash", "claude-*@2025*", "*", "text-embedding-*", "*-preview", "claude-opus-4", "veo-*"),
		Methods: d.some("generate", "stream", "embed", "predict", "count", "list", "*", "generateContent", "rawPredict", "admin", "cachedContents.create", "reasoningEngines.query"),
	}
	if d.n(3) > 0 {
		r.Roles = d.some(roles...)
	}
	if d.n(6) == 0 {
		r.Except = []string{d.one(roles...)}
	}
	r.Projects = []string{d.one("acme-ai", "acme-*", "*", "424242")}
	r.Locations = d.some("europe-*", "us-central1", "*", "global")
	switch {
	case r.Effect == Deny:
		d.lift(&r)
	case d.n(4) == 0:
		all := []string{"*"}
		r.Models, r.Publishers, r.Endpoints, r.Projects, r.Locations = all, nil, all, all, all
	}
	if d.n(3) == 1 {
		d.condition(&r)
	}
	if d.n(8) == 1 {
		r.Mode = Shadow
	} else if d.n(8) == 1 {
		r.Percent = 50
	}
	if r.Effect == Allow && d.n(4) == 1 {
		d.duty(&r)
	}
	return r
}

// lift takes conditions from a deny rule.
func (d *dice) lift(r *Rule) {
	for _, list := range []*[]string{&r.Models, &r.Methods, &r.Projects, &r.Locations} {
		if d.n(2) == 0 {
			*list = nil
		}
	}
	if slices.Contains(r.Projects, "424242") {
		r.Projects = nil
	}
}

func (d *dice) condition(r *Rule) {
	if d.n(2) == 1 {
		w := naiveWhens[d.n(len(naiveWhens))]
		if r.Effect == Allow || w.deny {
			r.When = &Expression{Text: w.text}
		}
	}
	if d.n(3) == 0 {
		bound := float64(d.n(3) * 100)
		r.Body = &BodyRule{MaxBytes: d.n(2) * 500, NoTools: d.n(3) == 0}
		switch d.n(3) {
		case 0:
			r.Body.MaxOutputTokens = &Range{Max: &bound}
		case 1:
			r.Body.MaxOutputTokens = &Range{Min: &bound}
		}
	}
	if d.n(3) == 0 {
		w := Window{Days: uint8(d.n(128)), Zone: time.UTC, Hours: d.n(2) == 0, Start: d.n(24) * 60, End: (1 + d.n(24)) * 60}
		if d.n(4) == 0 {
			w.Until = baseTime.Add(time.Duration(d.n(48)) * time.Hour)
		}
		r.Active = append(r.Active, w)
	}
}

func (d *dice) duty(r *Rule) {
	switch d.n(4) {
	case 0:
		r.Duties.Rewrite = d.one("gemini-2.5-pro", "gemini-3-preview", "claude-opus-4@20250514")
	case 1:
		r.Duties.Tier = Tier{RequestType: d.one("", "shared"), SharedRequestType: d.one("priority", "flex")}
	case 2:
		r.Duties.TierMay = TierChoice{RequestType: d.some("shared", "dedicated"), SharedRequestType: d.maybe("flex", "priority")}
	case 3:
		r.Duties.Breakglass = &Breakglass{Overrides: d.some("rule000", "rule001", "rule002", "rule003", "rule004")}
	}
}

func (d *dice) caller() Caller {
	groups := []any{nil, "g0", []any{"g1"}, []any{"g0", "g2"}, []any{"g3", "g1", "x"}, []any{int64(7), true}}
	c := Caller{Issuer: d.one("corp", "k8s", "none"), Subject: d.one("me", "you", ""), Claims: map[string]any{"groups": groups[d.n(len(groups))]}}
	if d.n(2) == 0 {
		c.Claims["level"] = int64(d.n(3) * 3)
	}
	if d.n(2) == 0 {
		c.Claims["env"] = d.one("prod", "test")
	}
	return c
}

func (d *dice) call(t testing.TB) Call {
	if d.n(16) == 0 {
		return parsedAny(t, "GET", "/v1/publishers/google/models"+d.one("", "/gemini-2.5-flash"))
	}
	parent := "/v1/projects/" + d.one("acme-ai", "acme-ml", "424242", "Acme-ai") + "/locations/" + d.one("europe-west1", "us-central1", "global")
	switch d.n(6) {
	case 0:
		return parsedAny(t, "POST", parent+"/endpoints/"+d.one("123:predict", "mg-1:generateContent", "123:countTokens", "openapi/chat/completions", "openapi/embeddings"))
	case 1:
		return parsedAny(t, "POST", parent+d.one("/cachedContents", "/reasoningEngines/1:query"))
	}
	return parsedAny(t, "POST", parent+"/publishers/"+d.one("google/models/gemini-2.5-flash", "google/models/gemini-2.5-flash@001", "google/models/text-embedding-005",
		"anthropic/models/claude-opus-4@20250514", "anthropic/models/count-tokens", "anthropic/models/claude-opus-4", "google/models/claude-opus-4@default", "google/models/gemini-3-preview", "google/models/flash", "google/models/veo-3",
		"google/models/preview")+":"+d.one("generateContent", "streamGenerateContent", "predict", "rawPredict", "countTokens", "fetchPredictOperation"))
}

func parsedAny(t testing.TB, method, target string) Call {
	t.Helper()
	c, err := ParseAny(method, target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (d *dice) request(c Call) Request {
	r := Request{
		Now: baseTime.Add(time.Duration(d.n(200)) * time.Hour), ID: d.one("1", "2", "3"), Reason: d.one("", " ", "INC-7"),
		IP: []netip.Addr{{}, mustAddr("10.1.2.3"), mustAddr("192.0.2.1")}[d.n(3)], BodyState: BodyState(d.n(5)),
	}
	if d.n(3) == 0 {
		r.Role = d.one("role0", "role1", "role2", "role9")
	}
	if d.n(4) == 0 {
		r.Tier = Tier{RequestType: d.one("", "shared", "dedicated"), SharedRequestType: d.one("", "flex", "priority")}
	}
	if r.BodyState == BodyWhole {
		r.Body = d.facts(c)
	}
	return r
}

func (d *dice) facts(c Call) *body.Facts {
	f := &body.Facts{Shape: c.BodyShape(), Bytes: d.n(3) * 400, Stream: body.Opt[bool]{Value: d.n(2) == 0, Set: d.n(2) == 0}}
	if d.n(2) == 0 {
		f.MaxOutputTokens = body.Opt[int64]{Value: int64(d.n(4) * 75), Set: true}
	}
	if d.n(3) == 0 {
		f.Tools = []string{"googleSearch"}
	}
	if d.n(4) == 0 {
		f.CachedContent = body.Opt[string]{Value: "cachedContents/1", Set: true}
	}
	if c.ModelInBody || d.n(6) == 0 {
		f.Model = body.Opt[string]{Value: d.one("google/gemini-2.5-flash", "gemini-2.5-flash", "claude-opus-4", "google/gemini-3-preview", "anthropic/claude-opus-4@20250514", "x y"), Set: true}
	}
	return f
}

// indexed makes a model ready for deciding.
func indexed(t testing.TB, m *Model) *Policy {
	t.Helper()
	var problems strictyaml.Problems
	p := newPolicy(m, &problems)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	p.digest = "test"
	return p
}

// compare holds the index equal to the naive evaluator, and the first phase to the second.
func compare(t *testing.T, p *Policy, m *Model, s *Session, c Caller, call Call, r Request) answer {
	t.Helper()
	d := s.Decide(call, r)
	got := answerOf(d)
	want := (&naive{m: m, c: c, call: call, r: r}).decide()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%+v\n%s %+v, body %+v (-naive +indexed):\n%s\ndetail %q\n%s", c, call.URI(), r, r.Body, diff, d.Detail, dump(m))
	}
	if again := answerOf(p.Decide(c, call, r)); !cmp.Equal(got, again) {
		t.Fatalf("a session bound anew decides otherwise: %s", cmp.Diff(got, again))
	}
	if r.BodyState == BodyNotSeen {
		return got
	}
	r.BodyState, r.Body = BodyNotSeen, nil
	switch first := s.Decide(call, r); {
	case first.Effect == NeedBody, first.Effect == got.Effect && first.Role == got.Role:
	case first.Effect == Deny && got.Effect == Deny, got.Reason == BadBody && d.Detail != "":
	default:
		t.Fatalf("without the body %v %s by %q as %q, with it %+v\n%+v %s %+v\n%s", first.Effect, first.Reason, first.Rule, first.Role, got, c, call.URI(), r, dump(m))
	}
	return got
}

func dump(m *Model) string {
	var b strings.Builder
	for _, r := range m.Roles {
		fmt.Fprintf(&b, "%s %+v\n", r.Name, r.Who)
	}
	for _, r := range m.Rules {
		fmt.Fprintf(&b, "%+v\n", r)
		if r.When != nil {
			fmt.Fprintf(&b, "    when %s\n", r.When.Text)
		}
		if r.Body != nil {
			fmt.Fprintf(&b, "    body %+v\n", *r.Body)
		}
		if r.Duties.Breakglass != nil {
			fmt.Fprintf(&b, "    breakglass %+v\n", *r.Duties.Breakglass)
		}
	}
	return b.String()
}

// FuzzEngine holds the indexed engine equal to a naive reading of the rules, over policies and requests made of the fuzzer's bytes. Which
// code runs depends on random seeds of hashes too, so that the fuzzer had better not minimize its inputs: -fuzzminimizetime 1x.
func FuzzEngine(f *testing.F) {
	for seed := range uint64(4) {
		r := rand.NewChaCha8([32]byte{byte(seed)})
		data := make([]byte, 600)
		_, _ = r.Read(data)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &dice{data}
		m := d.model()
		p := indexed(t, m)
		for range 6 {
			c := d.caller()
			s := p.Bind(c)
			for range 3 {
				call := d.call(t)
				compare(t, p, m, s, c, call, d.request(call))
			}
		}
	})
}

// TestDecideMeansWhatANaiveReadingMeans compares decisions under random policies with an evaluator that follows the meaning word by
// word.
func TestDecideMeansWhatANaiveReadingMeans(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	seen := map[Reason]int{}
	var overridden, shadows, tiers, hosts int
	missing := func() []string {
		var list []string
		for _, reason := range []Reason{"", NoRole, NoRule, Denied, BodyRequired, TruncatedBody, BadBody, ReasonRequired, NotActive, SurfaceOff, PolicyError} {
			if seen[reason] == 0 {
				list = append(list, "the reason "+string(reason))
			}
		}
		for what, n := range map[string]int{"overridden deny rules": overridden, "shadow rules": shadows, "a tier": tiers, "a dedicated host": hosts} {
			if n == 0 {
				list = append(list, what)
			}
		}
		return list
	}
	for i := 0; i < 100 || len(missing()) > 0 && i < 2000; i++ {
		data := make([]byte, 12000)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		d := &dice{data}
		m := d.model()
		p := indexed(t, m)
		for range 40 {
			c := d.caller()
			s := p.Bind(c)
			for range 5 {
				call := d.call(t)
				a := compare(t, p, m, s, c, call, d.request(call))
				seen[a.Reason]++
				overridden += len(a.Overridden)
				shadows += len(a.Shadow)
				if a.Effect == Allow && a.Tier.RequestType != "" {
					tiers++
				}
				if strings.HasSuffix(a.Host, dedicated) {
					hosts++
				}
			}
		}
	}
	for _, what := range missing() {
		t.Errorf("no decision had %s", what)
	}
}

// Explain tells of each rule what Decide found.
func TestExplainAgreesWithDecide(t *testing.T) {
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	outcomes := map[Outcome]int{}
	for round := 0; round < 60 || len(outcomes) < 4 && round < 3000; round++ { // one of them is rare
		data := make([]byte, 8000)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		d := &dice{data}
		m := d.model()
		p := indexed(t, m)
		for range 40 {
			c := d.caller()
			call := d.call(t)
			req := d.request(call)
			s := p.Bind(c)
			x := s.Explain(call, req)
			if diff := cmp.Diff(s.Decide(call, req), x.Decision); diff != "" {
				t.Fatal(diff)
			}
			checkExplanation(t, m, &x, req)
			for _, rule := range x.Rules {
				outcomes[rule.Outcome]++
			}
		}
	}
	if len(outcomes) != 4 {
		t.Errorf("outcomes: got %v, want all four", outcomes)
	}
}

func checkExplanation(t *testing.T, m *Model, x *Explanation, r Request) {
	t.Helper()
	applying := map[Effect][]string{}
	for _, rule := range x.Rules {
		if (rule.Outcome == Applying) != (rule.Failed == Check{}) {
			t.Fatalf("rule %+v", rule)
		}
		if rule.Outcome == Applying && !rule.Shadow || rule.Outcome == Failing && rule.Effect == Deny && !rule.Shadow {
			applying[rule.Effect] = append(applying[rule.Effect], rule.Rule)
		}
	}
	d := x.Decision
	wrong := false
	switch d.Reason {
	case "":
		wrong = !slices.Contains(applying[Allow], d.Rule)
	case Denied:
		wrong = !slices.Contains(applying[Deny], d.Rule) && !hasRewrite(m)
	case NoRule:
		wrong = len(applying[Deny]) > 0 || r.Role == "" && len(applying[Allow]) > 0
	case NoRole:
		wrong = r.Role == "" && slices.ContainsFunc(x.Roles, func(m RoleMatch) bool { return m.Held })
	}
	if wrong {
		t.Fatalf("decision %+v does not follow from %+v\n%s", d, x.Rules, dump(m))
	}
}

func hasRewrite(m *Model) bool {
	return slices.ContainsFunc(m.Rules, func(r Rule) bool { return r.Duties.Rewrite != "" })
}
