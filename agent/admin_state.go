package agent

import (
	"fmt"
	"path/filepath"
	"time"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	console "vertex-spoa/agent/internal/status"
	"vertex-spoa/policy"
)

// state is what the status page shows.
func (a *Agent) state(c *Console) console.State {
	r := a.readiness()
	s := console.State{
		Now: r.Time, Started: c.Started.UTC(), Version: c.Version,
		Ready: r.Ready, Listening: r.Listening, WarmedUp: r.WarmedUp, WarmingUp: r.WarmingUp,
		Policy: r.Policy, Own: shownAccount(&r.Identity),
	}
	if s.Own.Name == "" {
		s.Own.Name = "own identity"
	}
	for _, reload := range r.Reload.history() {
		s.Reloads = append(s.Reloads, console.Reload{Time: reload.Time.UTC(), Digest: reload.Digest, Error: cut(reload.Error, maxReloadError)})
	}
	for i := range r.Issuers {
		s.Issuers = append(s.Issuers, shownIssuer(&r.Issuers[i]))
	}
	for i := range r.Accounts {
		s.Accounts = append(s.Accounts, shownAccount(&r.Accounts[i]))
	}
	if c.Warnings != nil {
		s.Warnings = c.Warnings()
	}
	series, err := readSeries(a.cfg.Metrics.Registry)
	if err != nil {
		s.Warnings = append(s.Warnings, "some metrics cannot be read: "+err.Error())
	}
	s.Rules = shownRules(a.current.Load().policy, series)
	s.Denials = denials(series)
	s.Counters = figures(series)
	s.Tiles = a.tiles(series)
	return s
}

func shownIssuer(i *identity.IssuerStatus) console.Issuer {
	return console.Issuer{
		Name: i.Name, Usable: i.Usable, Keys: i.Keys, Dropped: i.Dropped, Age: i.Age.Truncate(time.Second), NextRefresh: i.NextRefresh,
		Failures: i.Failures, UnknownKeys: i.UnknownKeys, Error: i.Error,
	}
}

func shownAccount(s *google.AccountStatus) console.Account {
	return console.Account{Name: s.Account, Expiry: s.Expiry, Minted: s.Minted, Kept: s.Kept, Reason: string(s.Reason), Error: s.Error, Fix: s.Fix}
}

// shownRules are the rules of the policy with their hits, and the rules of policies before that have been hit.
func shownRules(p *policy.Policy, all []series) []console.Rule {
	hits := map[string]*console.Rule{}
	var names []string // of hits, in the order in which they come
	for i := range all {
		x := &all[i]
		name := x.labels["rule"]
		if x.name != "decisions_total" || name == "" {
			continue
		}
		if hits[name] == nil {
			hits[name] = &console.Rule{Name: name}
			names = append(names, name)
		}
		switch x.labels["decision"] {
		case policy.Allow.String():
			hits[name].Allowed += uint64(x.value)
		case policy.Deny.String():
			hits[name].Denied += uint64(x.value)
		}
	}
	var rules []console.Rule
	for i := range p.Model().Rules {
		r := shownRule(&p.Model().Rules[i])
		if h := hits[r.Name]; h != nil {
			r.Allowed, r.Denied = h.Allowed, h.Denied
			delete(hits, r.Name)
		}
		rules = append(rules, r)
	}
	for _, name := range names {
		if h := hits[name]; h != nil && h.Hits() > 0 {
			rules = append(rules, *h)
		}
	}
	return rules
}

func shownRule(r *policy.Rule) console.Rule {
	to := console.Rule{Name: r.ID, Effect: r.Effect.String(), Roles: r.Roles, At: fmt.Sprintf("%s:%d", filepath.Base(r.At.File), r.At.Line)}
	if r.Roles == nil {
		to.Roles = []string{"every role"}
	}
	if r.Mode == policy.Shadow {
		to.Mode = "in shadow"
	}
	return to
}

// denials counts the denials by reason.
func denials(all []series) []console.Denial {
	counts := map[string]uint64{}
	var found []console.Denial
	for i := range all {
		if x := &all[i]; x.name == "decisions_total" && x.labels["decision"] == policy.Deny.String() && x.value > 0 {
			counts[x.labels["reason"]] += uint64(x.value)
		}
	}
	for reason, n := range counts {
		found = append(found, console.Denial{Reason: reason, Count: n})
	}
	return found
}
