package policy

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vertex-spoa/policy/body"
)

// naive decides as the meaning of the language is told: rule by rule, with plain texts, and without an index or a table.
type naive struct {
	m      *Model
	c      Caller
	call   Call
	r      Request
	held   []string
	model  string // the model that answers, and its publisher
	pub    string
	hidden bool // they stand in a body that was not seen
	seen   bool
}

// answer is what two evaluators have to agree on.
type answer struct {
	Effect     Effect
	Reason     Reason
	Role, Rule string
	URI, Host  string
	Tier       Tier
	Breakglass bool
	Overridden []string
	Shadow     []ShadowRule
	Imposing   []string
}

func answerOf(d Decision) answer {
	a := answer{d.Effect, d.Reason, d.Role, d.Rule, "", "", d.Tier, d.Breakglass, d.Overridden, d.Shadow, nil}
	if d.Effect == Allow {
		a.URI, a.Host = d.Call.URI(), d.Call.Host()
	}
	for _, duty := range d.Duties {
		a.Imposing = append(a.Imposing, duty.Rule)
	}
	return a
}

// naiveWhen are the conditions of random rules: their text, and their parts in Go.
type naiveWhen struct {
	text  string
	deny  bool // they may stand in deny rules
	parts []naivePart
}

type naivePart struct {
	body, model bool // it reads them
	holds       func(n *naive, role string) (bool, error)
}

var errNaive = errors.New("absent")

func claimIs(name string, test func(v any) bool) func(*naive, string) (bool, error) {
	return func(n *naive, _ string) (bool, error) {
		v, ok := n.c.Claims[name]
		if !ok || v == nil {
			return false, errNaive
		}
		return test(v), nil
	}
}

var naiveWhens = []naiveWhen{
	{text: `claims.env == "prod"`, parts: []naivePart{{holds: claimIs("env", func(v any) bool { return v == "prod" })}}},
	{text: `has(claims.env) && claims.env != "prod"`, deny: true, parts: []naivePart{
		{holds: func(n *naive, _ string) (bool, error) { return n.c.Claims["env"] != nil, nil }},
		{holds: claimIs("env", func(v any) bool { return v != "prod" })},
	}},
	{text: `role == "role1"`, deny: true, parts: []naivePart{{holds: func(_ *naive, role string) (bool, error) { return role == "role1", nil }}}},
	{text: `model.startsWith("gemini")`, deny: true, parts: []naivePart{{model: true, holds: func(n *naive, _ string) (bool, error) {
		return strings.HasPrefix(n.model, "gemini"), nil
	}}}},
	{text: `body.maxOutputTokens <= 100 && role != "role0"`, parts: []naivePart{
		{holds: func(_ *naive, role string) (bool, error) { return role != "role0", nil }},
		{body: true, holds: func(n *naive, _ string) (bool, error) {
			if n.r.Body.Opaque() || !n.r.Body.MaxOutputTokens.Set {
				return false, errNaive
			}
			return n.r.Body.MaxOutputTokens.Value <= 100, nil
		}},
	}},
	{text: `subject == "me" || body.stream`, deny: true, parts: []naivePart{{body: true, holds: func(n *naive, _ string) (bool, error) {
		if n.c.Subject == "me" {
			return true, nil
		}
		if n.r.Body.Opaque() {
			return false, errNaive
		}
		return n.r.Body.Stream.Value, nil
	}}}},
	{text: `inNetwork(ip, ["10.0.0.0/8", "2001:db8::/32"])`, deny: true, parts: []naivePart{{holds: func(n *naive, _ string) (bool, error) {
		return strings.HasPrefix(n.r.IP.String(), "10."), map[bool]error{false: errNaive}[n.r.IP.IsValid()]
	}}}},
	{text: `location == "global" && claims.?level.orValue(0) > 3`, deny: true, parts: []naivePart{
		{holds: func(n *naive, _ string) (bool, error) { return n.call.Location == "global", nil }},
		{holds: func(n *naive, _ string) (bool, error) { level, _ := n.c.Claims["level"].(int64); return level > 3, nil }},
	}},
	{text: `now.getHours("UTC") < 12`, deny: true, parts: []naivePart{{holds: func(n *naive, _ string) (bool, error) { return n.r.Now.UTC().Hour() < 12, nil }}}},
	{text: `glob(model, "*-preview*") && method != "predict"`, deny: true, parts: []naivePart{
		{model: true, holds: func(n *naive, _ string) (bool, error) { return strings.Contains(n.model, "-preview"), nil }},
		{holds: func(n *naive, _ string) (bool, error) { return n.call.Method != "predict", nil }},
	}},
}

// plainGlob is the meaning of a pattern, letter by letter.
func plainGlob(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		return plainGlob(pattern[1:], text) || text != "" && plainGlob(pattern, text[1:])
	}
	return text != "" && text[0] == pattern[0] && plainGlob(pattern[1:], text[1:])
}

func anyGlob(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return plainGlob(p, text) })
}

// has tells whether the caller has a role.
func (n *naive) has(r *Role) bool {
	for _, w := range r.Who {
		holds := w.Issuer == n.c.Issuer
		for _, c := range w.Claims {
			list, ok := n.c.Claims[c.Name].([]any)
			if !ok {
				list = []any{n.c.Claims[c.Name]}
			}
			holds = holds && slices.ContainsFunc(list, func(v any) bool {
				s, ok := claimText(v)
				return ok && anyGlob(c.Patterns, s)
			})
		}
		if holds {
			return true
		}
	}
	return false
}

// decide tells the meaning of a policy.
func (n *naive) decide() answer {
	if n.call.listing() {
		n.call.Project, n.call.Location = n.m.Project, n.m.Location
	}
	for id, number := range n.m.Projects {
		if n.call.Project == number {
			n.call, _ = n.call.WithProject(id)
		}
	}
	if model, ok := n.m.Aliases[n.call.Model]; ok {
		if c, err := n.call.WithModel(model); err == nil {
			n.call = c
		}
	}
	if e, ok := n.m.Endpoints[n.call.Endpoint]; ok && e.Project == n.call.Project && e.Location == n.call.Location {
		n.call, _ = n.call.WithEndpoint(e)
	}
	for _, r := range n.m.Roles {
		if n.has(&r) {
			n.held = append(n.held, r.Name)
		}
	}
	if len(n.held) == 0 || n.r.Role != "" && !slices.Contains(n.held, n.r.Role) {
		return answer{Reason: NoRole}
	}
	acting := n.held
	if n.r.Role != "" {
		acting = []string{n.r.Role}
	}
	a := answer{Role: acting[0]}
	switchedOn := slices.ContainsFunc(n.m.Rules, func(r Rule) bool {
		return r.Effect == Allow && r.Mode == Enforce && slices.Contains(r.Methods, n.call.Method)
	})
	if n.call.Surface != "" && !switchedOn {
		a.Reason = SurfaceOff
		return a
	}
	if !n.readModel() {
		a.Reason = BadBody
		return a
	}
	return n.rules(a, acting)
}

func (n *naive) readModel() bool {
	n.pub, n.model, n.hidden = n.call.Publisher, n.call.Model, n.call.ModelInBody
	if n.call.ModelInBody {
		n.model = ""
	}
	if n.r.BodyState != BodyWhole {
		return true
	}
	var err error
	n.pub, n.model, err = n.call.Asked(n.r.Body, n.m.Projects[n.call.Project])
	n.hidden, n.seen = false, true
	return err == nil
}

// sorted returns the rules of an effect by name, of allow rules those for certain roles first.
func (n *naive) sorted(effect Effect) []Rule {
	var list []Rule
	for _, r := range n.m.Rules {
		if r.Effect == effect {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) })
	if effect == Allow {
		slices.SortStableFunc(list, func(a, b Rule) int { return min(1, len(b.Roles)) - min(1, len(a.Roles)) })
	}
	return list
}

// concerned returns the caller's roles that a rule is for.
func (n *naive) concerned(r *Rule) []string {
	if slices.ContainsFunc(r.Except, func(role string) bool { return slices.Contains(n.held, role) }) {
		return nil
	}
	if r.Roles == nil {
		return n.held
	}
	return slices.DeleteFunc(slices.Clone(n.held), func(role string) bool { return !slices.Contains(r.Roles, role) })
}

// denials returns the deny rules that apply or fail, and those that depend on the body.
func (n *naive) denials(a *answer) (certain []Rule, fails map[string]bool, doubts []Rule) {
	fails = map[string]bool{}
	for _, r := range n.sorted(Deny) {
		applies, fail, doubt := false, false, false
		for _, role := range n.concerned(&r) {
			switch n.verdict(&r, role) {
			case "yes":
				applies = true
			case "failed":
				fail = true
			case "unknown":
				doubt = true
			}
		}
		switch {
		case n.shadowed(&r):
			if applies || fail {
				a.Shadow = append(a.Shadow, ShadowRule{r.ID, Deny})
			}
		case applies || fail:
			certain = append(certain, r)
			fails[r.ID] = !applies
		case doubt:
			doubts = append(doubts, r)
		}
	}
	return certain, fails, doubts
}

func (n *naive) shadowed(r *Rule) bool {
	return r.Mode == Shadow || r.Percent < 100 && !enforcedFor(r.ID, r.Percent, &n.c, n.r.ID)
}

func overrides(r *Rule, denies ...[]Rule) bool {
	for _, d := range slices.Concat(denies...) {
		if r.Duties.Breakglass == nil || !slices.Contains(r.Duties.Breakglass.Overrides, d.ID) {
			return false
		}
	}
	return true
}

func imposing(r *Rule) bool {
	return r.Duties.Breakglass != nil || r.Duties.Rewrite != "" || r.Duties.Tier != Tier{}
}

func (n *naive) denied(a answer, r *Rule, failed bool) answer {
	a.Rule, a.Reason = r.ID, Denied
	if failed {
		a.Reason = PolicyError
	}
	return a
}

func (n *naive) needBody(a answer, r *Rule) answer {
	a.Rule = r.ID
	a.Reason = map[BodyState]Reason{BodyNotSeen: BodyRequired, BodyTruncated: TruncatedBody, BodyInvalid: BadBody, BodyAbsent: BodyRequired}[n.r.BodyState]
	if n.r.BodyState == BodyNotSeen {
		a.Effect = NeedBody
	}
	return a
}

func (n *naive) rules(a answer, acting []string) answer {
	denials, fails, doubts := n.denials(&a)
	first := a.Role
	var closed string
	for _, role := range acting {
		var certain, possible *Rule
		var applied []Rule
		doubtful := false
		for _, r := range n.sorted(Allow) {
			if !slices.Contains(n.concerned(&r), role) {
				continue
			}
			v := n.verdict(&r, role)
			if n.shadowed(&r) {
				if v == "yes" {
					a.Shadow = append(a.Shadow, ShadowRule{r.ID, Allow})
				}
				continue
			}
			switch v {
			case "closed":
				if closed == "" {
					closed = r.ID
				}
			case "unknown":
				doubtful = doubtful || imposing(&r)
				if possible == nil && overrides(&r, denials) {
					possible = &r
				}
			case "yes":
				if imposing(&r) {
					applied = append(applied, r)
				}
				switch {
				case certain == nil && overrides(&r, denials, doubts):
					certain = &r
				case possible == nil && overrides(&r, denials):
					possible = &r
				}
			}
		}
		a.Role = role
		switch {
		case certain != nil && !doubtful:
			return n.allow(a, role, certain, applied, denials)
		case certain != nil:
			return n.needBody(a, certain)
		case possible != nil:
			return n.needBody(a, possible)
		}
	}
	a.Role = first
	switch {
	case len(denials) > 0:
		return n.denied(a, &denials[0], fails[denials[0].ID])
	case closed != "":
		a.Rule, a.Reason = closed, NotActive
	default:
		a.Reason = NoRule
	}
	return a
}

func (n *naive) allow(a answer, role string, rule *Rule, applied, denials []Rule) answer {
	a.Rule = rule.ID
	var rewrite *Rule
	most := -1
	for _, r := range applied {
		if r.Duties.Breakglass != nil && strings.TrimSpace(n.r.Reason) == "" {
			a.Rule, a.Reason = r.ID, ReasonRequired
			return a
		}
		for _, p := range r.Models {
			if spelled := len(strings.ReplaceAll(p, "*", "")); r.Duties.Rewrite != "" && plainGlob(p, n.model) && spelled > most {
				rewrite, most = &r, spelled
			}
		}
	}
	twice := slices.Contains([]string{"countTokens", "computeTokens", "fetchPredictOperation"}, n.call.Method) ||
		n.m.RefuseRouting && slices.Contains([]string{"generateContent", "streamGenerateContent"}, n.call.Method)
	twice = twice && !n.seen && !n.call.ModelInBody && n.call.Surface == "" && n.call.Model+n.call.Endpoint != ""
	free := slices.Contains(rule.Models, "*") && (rule.Publishers == nil || slices.Contains(rule.Publishers, "*")) &&
		(n.call.Endpoint == "" || slices.Contains(rule.Endpoints, "*")) && rewrite == nil
	for _, d := range n.sorted(Deny) {
		everything := d.Endpoints == nil && (d.Models == nil || slices.Contains(d.Models, "*")) && (d.Publishers == nil || slices.Contains(d.Publishers, "*"))
		if !everything && (d.Models != nil || d.Publishers != nil) && len(n.concerned(&d)) > 0 {
			free = false
		}
	}
	if twice && !free {
		return n.needBody(a, rule)
	}
	overridden := denials
	if rewrite != nil && n.call.Model != "" && n.call.Surface == "" && !n.call.listing() && rewrite.Duties.Rewrite != n.call.Model {
		other := *n
		var err error
		if other.call, err = n.call.WithModel(rewrite.Duties.Rewrite); err != nil {
			a.Rule, a.Reason = rewrite.ID, PolicyError
			return a
		}
		if !other.readModel() {
			a.Reason = BadBody
			return a
		}
		var ignored answer
		denials, fails, doubts := other.denials(&ignored)
		for _, d := range denials {
			if !overrides(rule, []Rule{d}) {
				return n.denied(a, &d, fails[d.ID])
			}
			if !slices.ContainsFunc(overridden, func(o Rule) bool { return o.ID == d.ID }) {
				overridden = append(overridden, d)
			}
		}
		if !overrides(rule, doubts) {
			return n.needBody(a, &doubts[0])
		}
		n = &other
	}
	a.Effect, a.Role, a.Tier = Allow, role, n.r.Tier
	var set Tier
	for _, r := range applied {
		a.Imposing = append(a.Imposing, r.ID)
		a.Breakglass = a.Breakglass || r.Duties.Breakglass != nil
		if set.RequestType == "" {
			set.RequestType = r.Duties.Tier.RequestType
		}
		if set.SharedRequestType == "" {
			set.SharedRequestType = r.Duties.Tier.SharedRequestType
		}
	}
	if set.RequestType != "" {
		a.Tier.RequestType = set.RequestType
	}
	if set.SharedRequestType != "" {
		a.Tier.SharedRequestType = set.SharedRequestType
	}
	for _, d := range overridden {
		a.Overridden = append(a.Overridden, d.ID)
	}
	a.URI, a.Host = n.call.URI(), n.call.Host()
	return a
}

// verdict tells whether a rule applies to a caller in a role.
func (n *naive) verdict(r *Rule, role string) string {
	deny := r.Effect == Deny
	verdicts := []string{n.onCall(r)}
	if !deny {
		t := r.Duties
		verdicts = append(verdicts, yesNo(n.r.Tier.RequestType == "" || t.Tier.RequestType != "" || slices.Contains(t.TierMay.RequestType, n.r.Tier.RequestType)),
			yesNo(n.r.Tier.SharedRequestType == "" || t.Tier.SharedRequestType != "" || slices.Contains(t.TierMay.SharedRequestType, n.r.Tier.SharedRequestType)),
			yesNo(t.Rewrite == "" || !n.call.ModelInBody))
	}
	if r.Body != nil && !n.seen {
		verdicts = append(verdicts, "unknown")
	} else if r.Body != nil {
		verdicts = append(verdicts, naiveBody(r.Body, n.r.Body, deny)...)
	}
	if r.When != nil {
		w := naiveWhens[slices.IndexFunc(naiveWhens, func(w naiveWhen) bool { return w.text == r.When.Text })]
		for _, p := range w.parts {
			if p.body && !n.seen || p.model && n.hidden {
				verdicts = append(verdicts, "unknown")
				continue
			}
			holds, err := p.holds(n, role)
			if err != nil {
				verdicts = append(verdicts, "failed")
			} else {
				verdicts = append(verdicts, yesNo(holds))
			}
		}
	}
	open := len(r.Active) == 0
	for _, w := range r.Active {
		open = open || naiveOpen(w, n.r.Now)
	}
	result := "yes"
	for _, v := range []string{"failed", "unknown", "no"} {
		if slices.Contains(verdicts, v) {
			result = v
		}
	}
	switch {
	case open:
		return result
	case !deny && result == "yes":
		return "closed"
	}
	return "no"
}

func naiveBody(b *BodyRule, f *body.Facts, deny bool) []string {
	list := []string{yesNo(b.MaxBytes == 0 || f.Bytes <= b.MaxBytes)}
	if m := b.MaxOutputTokens; m != nil {
		switch {
		case f.Opaque():
			list = append(list, "failed")
		case !f.MaxOutputTokens.Set:
			list = append(list, yesNo(deny))
		default:
			v := float64(f.MaxOutputTokens.Value)
			list = append(list, yesNo((m.Min == nil || v >= *m.Min) && (m.Max == nil || v <= *m.Max)))
		}
	}
	if b.NoTools {
		switch {
		case f.Opaque():
			list = append(list, "failed")
		case f.CachedContent.Set:
			list = append(list, yesNo(deny))
		default:
			list = append(list, yesNo(len(f.Tools) == 0))
		}
	}
	return list
}

// naiveOpen walks through the minutes of a day before a moment, and asks whether the window opened in one of them and is still open.
func naiveOpen(w Window, now time.Time) bool {
	if !w.From.IsZero() && now.Before(w.From) || !w.Until.IsZero() && !now.Before(w.Until) {
		return false
	}
	local := now.In(w.Zone)
	opens := func(day time.Weekday) bool { return w.Days == 0 || w.Days>>day&1 == 1 }
	if !w.Hours {
		return opens(local.Weekday())
	}
	at := local.Hour()*60 + local.Minute()
	end := w.End
	if end <= w.Start {
		end += 24 * 60
	}
	return opens(local.Weekday()) && w.Start <= at && at < end || opens((local.Weekday()+6)%7) && w.Start <= at+24*60 && at+24*60 < end
}

// onCall tells whether the conditions on the call hold: no, yes, or unknown where that depends on the body.
func (n *naive) onCall(r *Rule) string {
	deny, c := r.Effect == Deny, &n.call
	written := !strings.ContainsFunc(c.Project, func(r rune) bool { return 'A' <= r && r <= 'Z' }) && c.Project[0] > '9'
	method := r.Methods == nil || slices.ContainsFunc(r.Methods, func(m string) bool { return m == "*" || m == c.Method || m == string(c.Group) })
	if c.Surface != "" && !deny {
		method = slices.Contains(r.Methods, c.Method)
	}
	projects := slices.Clone(r.Projects)
	for i, p := range projects {
		for id, number := range n.m.Projects {
			if p == number {
				projects[i] = id
			}
		}
	}
	if !method || r.Locations != nil && !anyGlob(r.Locations, c.Location) || r.Projects != nil && !anyGlob(projects, c.Project) && (!deny || written) {
		return "no"
	}
	return n.onSubject(r)
}

func (n *naive) onSubject(r *Rule) string {
	deny, c := r.Effect == Deny, &n.call
	any := func(list []string) bool { return list == nil || slices.Contains(list, "*") }
	switch {
	case deny && r.Endpoints == nil && any(r.Models) && any(r.Publishers):
		return "yes"
	case c.Endpoint != "" && !c.ModelInBody:
		return yesNo(anyGlob(r.Endpoints, c.Endpoint))
	case c.Surface != "" && c.Model == "" && !c.ModelInBody:
		return yesNo(!deny)
	case r.Models == nil && r.Publishers == nil:
		return "no"
	case n.pub != "" && r.Publishers != nil && !anyGlob(r.Publishers, n.pub):
		return "no"
	case n.hidden:
		return "unknown"
	case r.Models == nil || deny && r.Endpoints == nil && slices.Contains(r.Models, "*"):
		return "yes"
	case c.Method == "models.list":
		return yesNo(!deny)
	}
	base := strings.Split(n.model, "@")[0]
	return yesNo(slices.ContainsFunc(r.Models, func(p string) bool {
		name, _, versioned := strings.Cut(p, "@")
		open := !strings.Contains(n.model, "@") || strings.HasSuffix(n.model, "@default") || strings.HasSuffix(n.model, "@latest")
		return plainGlob(p, n.model) || deny && (!versioned || open) && plainGlob(name, base)
	}))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }
