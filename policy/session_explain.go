package policy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Explanation tells how a decision came about.
type Explanation struct {
	Decision Decision
	Roles    []RoleMatch // all roles of the policy, in the order in which they are tried
	Acting   []string    // the roles that the caller acts in, first to last
	Rules    []RuleCheck // the rules for the caller's roles: first the deny rules, then the allow rules, each by name
	Nearest  string      // where no role allows: the allow rule that lacks the fewest conditions, of several the first that comes farthest; empty when there is none
}

// RoleMatch tells whether a caller has a role and, when it has not, what was missing.
type RoleMatch struct {
	Role string
	Held bool
	Ways []WayMatch // one for each way to have the role, those of other issuers too
}

// WayMatch tells whether one way to have a role is open to a caller.
type WayMatch struct {
	Issuer string
	Open   bool
	Failed Check // the issuer, or the first claim that did not match; zero when Open
}

// RuleCheck tells whether a rule applies to a call.
type RuleCheck struct {
	Rule    string
	At      Position
	Effect  Effect
	Roles   []string // those of the caller's roles that the rule is for
	Shadow  bool     // it is reported and does not count
	Outcome Outcome
	Held    int   // how many conditions hold before Failed
	Missing int   // how many keys of the rule do not hold, that of Failed among them
	Failed  Check // the first condition that decides the outcome; zero when all hold
}

// Check is one condition and what was found in its place.
type Check struct {
	Condition string // except, methods, locations, projects, models, publishers, endpoints, headers, rewrite, body, body.NAME, when, active; issuer, or the name of a claim
	Want      string // as the policy says it
	Got       string // as the call, the caller or the request has it; bounded
}

// Outcome says whether a rule applies.
type Outcome uint8

// The outcomes.
const (
	NotApplying Outcome = iota // a condition does not hold
	Unknown                    // that depends on the body, which was not seen
	Failing                    // its condition could not be decided: an allow rule does not apply, a deny rule denies
	Applying
)

// String returns not_applying, unknown, failing or applying.
func (o Outcome) String() string {
	switch o {
	case Unknown:
		return "unknown"
	case Failing:
		return "failing"
	case Applying:
		return "applying"
	}
	return "not_applying"
}

// Roles tells for each role of the policy whether the caller has it, in the order in which roles are tried.
func (p *Policy) Roles(c Caller) []RoleMatch {
	if p == nil {
		return nil
	}
	var list []RoleMatch
	for i := range p.roles {
		m := RoleMatch{Role: p.roles[i].Name}
		for _, w := range p.roles[i].Who {
			way := wayMatch(newWay(i, w), w, c)
			m.Held = m.Held || way.Open
			m.Ways = append(m.Ways, way)
		}
		list = append(list, m)
	}
	return list
}

func wayMatch(w way, written Way, c Caller) WayMatch {
	m := WayMatch{Issuer: written.Issuer}
	if written.Issuer != c.Issuer {
		m.Failed = Check{"issuer", written.Issuer, c.Issuer}
		return m
	}
	for i := range w.claims {
		if !w.claims[i].match(c.Claims) {
			m.Failed = Check{w.claims[i].name, listText(written.Claims[i].Patterns), claimShown(c.Claims[w.claims[i].name])}
			return m
		}
	}
	m.Open = true
	return m
}

// claimShown returns a claim in a form for people.
func claimShown(v any) string {
	const most = 8
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var texts []string
	for i, v := range list {
		text, ok := claimText(v)
		switch {
		case i == most:
			texts = append(texts, "…")
		case i > most:
		case ok:
			texts = append(texts, quote(text))
		case v == nil:
			texts = append(texts, "nothing")
		default:
			texts = append(texts, "no text")
		}
	}
	return strings.Join(texts, ", ")
}

// Explain answers as Decide does, and tells why. It is made for people: it takes its time and its memory.
func (s *Session) Explain(call Call, r Request) Explanation {
	x := Explanation{Decision: s.Decide(call, r)}
	if s == nil || s.policy == nil || s.policy.digest == "" {
		return x
	}
	x.Roles = s.policy.Roles(s.caller)
	e := evaluation{s: s, p: s.policy, r: &r, d: &Decision{Call: call}}
	acting := e.begin()
	for _, at := range acting {
		x.Acting = append(x.Acting, s.policy.roles[s.group.held[at]].Name)
	}
	if len(acting) == 0 {
		return x
	}
	for _, rule := range s.policy.rules {
		if roles := e.concerned(rule); len(roles) > 0 {
			x.Rules = append(x.Rules, e.explain(rule, roles))
		}
	}
	if x.Decision.Reason == NoRule || x.Decision.Reason == NotActive {
		x.Nearest = nearest(x.Rules, x.Acting)
	}
	return x
}

// concerned returns those of the caller's roles that the rule is for.
func (e *evaluation) concerned(r *rule) []string {
	var names []string
	for _, role := range e.s.group.held {
		if r.roles == nil || slices.Contains(r.roles, role) {
			names = append(names, e.p.roles[role].Name)
		}
	}
	return names
}

// nearest returns the allow rule that lacks the fewest conditions.
func nearest(rules []RuleCheck, acting []string) string {
	var best *RuleCheck
	for i := range rules {
		r := &rules[i]
		mine := slices.ContainsFunc(r.Roles, func(role string) bool { return slices.Contains(acting, role) })
		if r.Effect == Allow && mine && !r.Shadow && (best == nil || cmp.Or(best.Missing-r.Missing, r.Held-best.Held) > 0) {
			best = r
		}
	}
	if best == nil {
		return ""
	}
	return best.Rule
}

// explain checks a rule for the roles it is for, and tells about the one for which it comes farthest.
func (e *evaluation) explain(r *rule, roles []string) RuleCheck {
	c := RuleCheck{Rule: r.ID, At: r.At, Effect: r.Effect, Roles: roles, Shadow: e.inShadow(r)}
	for i, role := range roles {
		w := e.walk(r, role)
		if i == 0 || cmp.Or(int(w.Outcome)-int(c.Outcome), c.Missing-w.Missing, w.Held-c.Held) > 0 {
			c.Outcome, c.Held, c.Missing, c.Failed = w.Outcome, w.Held, w.Missing, w.Failed
		}
	}
	return c
}

// walk checks one condition after the other.
func (e *evaluation) walk(r *rule, role string) RuleCheck {
	checks := e.checks(r, role)
	w, least, missing := RuleCheck{Outcome: Applying, Held: len(checks)}, yes, ""
	for i, c := range checks {
		if c.verdict < least {
			least = c.verdict
			w.Outcome, w.Held, w.Failed = map[verdict]Outcome{no: NotApplying, unknown: Unknown, failed: Failing}[least], i, c.Check
		}
		if key, _, _ := strings.Cut(c.Condition, "."); key != missing && (c.verdict == no || c.verdict == failed) {
			w.Missing, missing = w.Missing+1, key
		}
	}
	return w
}

// judged is a condition with its verdict.
type judged struct {
	Check
	verdict verdict
}

// checks returns all conditions of a rule, in the order in which they are told.
func (e *evaluation) checks(r *rule, role string) []judged {
	t := &e.target
	var list []judged
	add := func(v verdict, condition, want, got string) {
		list = append(list, judged{Check{condition, want, got}, v})
	}
	if len(r.Except) > 0 {
		add(verdictOf(r.concerns(e.s.group.held)), "except", "none of "+listText(r.Except), "a caller who is one")
	}
	add(verdictOf(r.matchMethod(t)), "methods", shown(r.Methods), t.method+" ("+string(t.group)+")")
	add(verdictOf(r.locations&t.place != 0), "locations", shown(r.Locations), t.location)
	add(verdictOf(r.matchProject(t)), "projects", shown(r.Projects), t.project)
	e.subjectCheck(r, add)
	if !r.deny {
		add(verdictOf(r.allowsTier(e.r.Tier)), "headers", shownTier(r.Duties.TierMay), strings.TrimSpace(e.r.Tier.RequestType+" "+e.r.Tier.SharedRequestType))
		add(verdictOf(r.Duties.Rewrite == "" || !e.d.Call.ModelInBody), "rewrite", "a model in the path", "a model in the body")
	}
	if len(r.Active) > 0 {
		e.activeCheck(r, add)
	}
	if r.body != nil {
		e.bodyChecks(r, add)
	}
	if r.when != nil {
		e.whenChecks(r, role, add)
	}
	return list
}

func shown(patterns []string) string {
	if patterns == nil {
		return "any"
	}
	return listText(patterns)
}

func shownTier(c TierChoice) string {
	return "one of " + listText(slices.Concat(c.RequestType, c.SharedRequestType))
}

// subjectCheck checks what a rule says about models, publishers and endpoints.
func (e *evaluation) subjectCheck(r *rule, add func(v verdict, condition, want, got string)) {
	t, v := &e.target, r.matchSubject(&e.target)
	switch {
	case t.subject == anEndpoint && !r.everything:
		want := "none: the rule is about models"
		if r.endpoints != nil {
			want = listText(r.Endpoints)
		}
		add(v, "endpoints", want, t.endpoint)
	case r.everything:
		add(v, "models", "any", t.model)
	case r.models == nil && r.publishers == nil:
		add(v, "models", "none: the rule is about endpoints", t.publisher+"/"+t.model)
	case t.publisher != "" && r.publishers != nil && !r.publishers.match(t.publisher):
		add(v, "publishers", listText(r.Publishers), t.publisher)
		if t.subject == aModel {
			add(verdictOf(r.matchModel(t)), "models", shown(r.Models), t.model)
		}
	case t.subject == someModel:
		add(v, "models", shown(r.Models), "a model in the body, which was not seen")
	default:
		add(v, "models", shown(r.Models), t.model)
	}
}

func (e *evaluation) activeCheck(r *rule, add func(v verdict, condition, want, got string)) {
	var windows []string
	got := "no time"
	for _, w := range r.Active {
		windows = append(windows, w.Written)
	}
	if zone := r.Active[0].Zone; !e.r.Now.IsZero() {
		now := e.r.Now.UTC()
		if zone != nil {
			now = e.r.Now.In(zone)
		}
		got = now.Format("Mon 2006-01-02 15:04 MST")
	}
	add(verdictOf(anyOpen(r.Active, e.r.Now)), "active", strings.Join(windows, "; or "), got)
}

func (e *evaluation) bodyChecks(r *rule, add func(v verdict, condition, want, got string)) {
	if !e.seen {
		add(unknown, "body", "a body that is as the rule says", "it was not seen")
		return
	}
	if v := r.body.verdict(e.r.Body, r.deny); v == yes {
		add(yes, "body", "", "")
		return
	}
	r.body.each(e.r.Body, func(p *bodyPart) bool {
		want, got := r.body.describe(p, e.r.Body)
		add(p.verdict(e.r.Body, r.deny), "body."+p.name, want, got)
		return true
	})
}

func (e *evaluation) whenChecks(r *rule, role string, add func(v verdict, condition, want, got string)) {
	for _, p := range r.when.parts {
		if p.need&needBody != 0 && !e.seen || p.need&needModel != 0 && e.subject == someModel {
			add(unknown, "when", p.text, "the body was not seen")
			continue
		}
		v, err := p.program.run(e.variables(role))
		got := strconv.FormatBool(v == yes)
		if err != nil {
			got = "failed: " + quoteLong(err.Error())
		}
		add(v, "when", p.text, got)
	}
}

// quoteLong returns s, printable and cut to a bounded length.
func quoteLong(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "..."
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}
