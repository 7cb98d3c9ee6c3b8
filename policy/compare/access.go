package compare

import (
	"slices"
	"strconv"
	"strings"

	"vertex-spoa/policy"
)

// Access is whether a call is allowed: without Ways it is not.
type Access struct {
	Ways []Permit `json:"ways,omitempty"`
}

// Permit is one rule that allows a call.
type Permit struct {
	Rule    string   `json:"rule"`
	If      []string `json:"if,omitempty"`      // conditions that have to hold
	Unless  []string `json:"unless,omitempty"`  // deny rules that have conditions, with these
	Imposes []string `json:"imposes,omitempty"` // what comes with it
}

// refusal is a deny rule that stands in the way of an allow rule, whatever else holds.
type refusal struct{ allow, deny string }

// permits returns what allows a call to callers with a role, and what would if it were not refused.
func permits(p *policy.Policy, role string, c *sampleCall) (list []Permit, shut []refusal) {
	reach := p.Reach(role, c.Call, c.publisher, c.model)
	for _, r := range reach.Allows {
		if r.Mode == policy.Shadow {
			continue
		}
		denies := reach.Denies
		if r.Duties.Rewrite != "" { // they are asked about the call that is made of it as well
			to, err := reach.Call.WithModel(r.Duties.Rewrite)
			if err != nil {
				continue // such a model answers in the body alone
			}
			denies = slices.Concat(denies, p.Reach(role, to, "", "").Denies)
		}
		unless, by := denials(r, denies)
		if by != "" {
			shut = append(shut, refusal{r.ID, by})
			continue
		}
		list = append(list, Permit{Rule: r.ID, If: conditions(r), Unless: unless, Imposes: duties(r)})
	}
	return list, shut
}

// denials returns the deny rules that may stand in the way of an allow rule, and the first that does whatever else holds.
func denials(allow *policy.Rule, denies []*policy.Rule) (unless []string, shut string) {
	var overridden []string
	if allow.Duties.Breakglass != nil {
		overridden = allow.Duties.Breakglass.Overrides
	}
	for _, r := range denies {
		if r.Mode == policy.Shadow || slices.Contains(overridden, r.ID) {
			continue
		}
		conditions := conditions(r)
		if len(conditions) == 0 {
			return nil, r.ID
		}
		unless = append(unless, r.ID+": "+strings.Join(conditions, " and "))
	}
	return unless, ""
}

// conditions returns what a rule asks for besides what it says about calls.
func conditions(r *policy.Rule) []string {
	var list []string
	if r.When != nil {
		list = append(list, "when "+r.When.Text)
	}
	if r.Body != nil {
		list = append(list, bodyConditions(r.Body)...)
	}
	if len(r.Active) > 0 {
		var windows []string
		for _, w := range r.Active {
			windows = append(windows, w.Written)
		}
		list = append(list, "active "+strings.Join(windows, " or "))
	}
	if r.Percent < 100 {
		list = append(list, "for "+strconv.Itoa(r.Percent)+" of 100 callers")
	}
	return list
}

func bodyConditions(b *policy.BodyRule) []string {
	var list []string
	add := func(holds bool, text string) {
		if holds {
			list = append(list, "body."+text)
		}
	}
	for _, r := range []struct {
		name string
		r    *policy.Range
	}{{"maxOutputTokens", b.MaxOutputTokens}, {"temperature", b.Temperature}, {"candidateCount", b.CandidateCount}} {
		if r.r != nil {
			add(true, r.name+" "+r.r.String())
		}
	}
	add(b.NoTools, "tools none")
	add(!b.NoTools && b.Tools != nil, "tools only "+listed(b.Tools))
	add(b.SystemInstruction == policy.Required, "systemInstruction required")
	add(b.SystemInstruction == policy.Forbidden, "systemInstruction forbidden")
	add(b.SafetyMin != "", "safetySettings at least "+b.SafetyMin)
	add(b.MediaTypes != nil, "mediaTypes only "+listed(b.MediaTypes))
	add(b.MaxBytes > 0, "maxBytes "+strconv.Itoa(b.MaxBytes))
	return list
}

// duties returns what a rule imposes.
func duties(r *policy.Rule) []string {
	var list []string
	add := func(holds bool, text string) {
		if holds {
			list = append(list, text)
		}
	}
	d := &r.Duties
	add(d.Rewrite != "", "rewrite to "+d.Rewrite)
	add(d.Tier.RequestType != "", "tier "+d.Tier.RequestType)
	add(d.Tier.SharedRequestType != "", "shared tier "+d.Tier.SharedRequestType)
	add(len(d.TierMay.RequestType) > 0, "may ask for tier "+listed(d.TierMay.RequestType))
	add(len(d.TierMay.SharedRequestType) > 0, "may ask for shared tier "+listed(d.TierMay.SharedRequestType))
	if b := d.Breakglass; b != nil {
		add(true, "break-glass with a reason")
		add(b.Alert != "", "alert "+b.Alert)
		add(len(b.Overrides) > 0, "overrides "+listed(b.Overrides))
	}
	if l := d.Limit; l != nil {
		add(l.Requests.Count > 0, "limit requests "+strconv.FormatInt(l.Requests.Count, 10)+" per "+l.Requests.Per.String())
		add(l.Tokens.Count > 0, "limit tokens "+strconv.FormatInt(l.Tokens.Count, 10)+" per "+l.Tokens.Per.String())
		add(l.Concurrent > 0, "limit concurrent "+strconv.FormatInt(l.Concurrent, 10))
		add(len(l.Per) > 0, "limit per "+listed(l.Per))
	}
	add(len(d.Guard) > 0, "guard "+listed(d.Guard))
	if d.Route != nil {
		add(true, "route to "+listed(append([]string{d.Route.Location}, d.Route.Fallback...)))
	}
	add(d.AuditFull, "audit full")
	return list
}

func listed(names []string) string { return strings.Join(names, ", ") }

// key is a permit without the names of rules: rules with the same words are the same.
func (p *Permit) key() string {
	var unless []string
	for _, text := range p.Unless {
		_, conditions, _ := strings.Cut(text, ": ")
		unless = append(unless, conditions)
	}
	slices.Sort(unless)
	return strings.Join(p.If, "\x01") + "\x00" + strings.Join(unless, "\x01") + "\x00" + strings.Join(p.Imposes, "\x01")
}

// always reports whether the permit needs nothing more and imposes nothing.
func (p *Permit) always() bool { return len(p.If)+len(p.Unless)+len(p.Imposes) == 0 }

// keysOf returns the permits as a set. What only allows again what is allowed anyway is left out.
func keysOf(list []Permit) []string {
	always := slices.ContainsFunc(list, func(p Permit) bool { return p.always() })
	var keys []string
	for i := range list {
		if p := &list[i]; !always || p.always() || len(p.Imposes) > 0 {
			keys = append(keys, p.key())
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
