package trail

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"vertex-spoa/policy"
)

// Grant is something a policy gives that was used or not.
type Grant struct {
	Kind string          `json:"kind"` // rule, role, account, or a part of a rule: role in rule, model, endpoint or location
	Name string          `json:"name"`
	Rule string          `json:"rule,omitempty"` // whose part it is
	At   policy.Position `json:"-"`
	Last time.Time       `json:"-"` // when it was used last, as far as the files reach; zero if never
}

// Usage is what the grants of a policy were used for.
type Usage struct {
	Since, Until time.Time // the period
	Unused       []Grant   // that nobody used in the period, in the order of the policy; parts only of rules that were used
	Rules        int       // allow rules that are enforced
	Roles        int
	Accounts     int

	*Answer // of the files
}

// Reaches reports whether the files begin before the period does.
func (u *Usage) Reaches() bool { return !u.First.IsZero() && !u.First.After(u.Since) }

// Ended reports whether the files end before the period begins.
func (u *Usage) Ended() bool { return !u.Last.IsZero() && u.Last.Before(u.Since) }

// Silent returns the days of the period without any line, but for those at its ends that belong to it in part.
func (u *Usage) Silent() []time.Time {
	const day = 24 * time.Hour
	var list []time.Time
	first := u.Since.Truncate(day)
	if first.Before(u.Since) {
		first = first.Add(day)
	}
	for t := first; !t.Add(day).After(u.Until) && len(list) < maxDays; t = t.Add(day) {
		if _, ok := slices.BinarySearchFunc(u.Days, t, time.Time.Compare); !ok {
			list = append(list, t)
		}
	}
	return list
}

// Unused asks the files which grants of a policy nobody has used in a period. A use is a call that was let through. Deny rules and rules
// in shadow mode grant nothing. Where a rule has another model called, both the one that was asked for and the one that was called count
// as used. A policy that was changed during the period is judged as it is now.
func Unused(ctx context.Context, files *Files, p *policy.Policy, since, until time.Time, q Question) (*Usage, error) {
	q.By = []Dimension{Rule, Role, Account, Model, Location, asked}
	q.Filter = Filter{Until: until, Decision: "allow"}
	answer, err := Ask(ctx, files, q)
	if err != nil {
		return nil, err
	}
	u := &Usage{Since: since, Until: until, Answer: answer}
	u.judge(p.Model(), usesOf(answer))
	return u, nil
}

// use is one row: what was used together, and when last.
type use struct {
	rule, role, account, location string
	models                        []string
	last                          time.Time
}

func usesOf(a *Answer) []use {
	var list []use
	for i := range a.Rows {
		r := &a.Rows[i]
		if r.Calls == 0 {
			continue
		}
		u := use{rule: r.Names[0], role: r.Names[1], account: r.Names[2], models: []string{r.Names[3]}, location: r.Names[4], last: r.Last()}
		if r.Names[5] != "" {
			if call, err := policy.ParseAny("POST", r.Names[5]); err == nil {
				u.models = append(u.models, call.Model)
			}
		}
		list = append(list, u)
	}
	return list
}

// lastUse returns the last time of those uses that match.
func lastUse(uses []use, match func(*use) bool) (last time.Time) {
	for i := range uses {
		if match(&uses[i]) && uses[i].last.After(last) {
			last = uses[i].last
		}
	}
	return last
}

func (u *Usage) judge(m *policy.Model, uses []use) {
	byRule := map[string][]use{}
	for _, x := range uses {
		byRule[x.rule] = append(byRule[x.rule], x)
	}
	for i := range m.Rules {
		r := &m.Rules[i]
		if r.Effect != policy.Allow || r.Mode != policy.Enforce {
			continue
		}
		u.Rules++
		if !u.check(Grant{Kind: "rule", Name: r.ID, At: r.At}, byRule[r.ID], func(*use) bool { return true }) {
			u.parts(r, byRule[r.ID])
		}
	}
	var accounts []string
	for i := range m.Roles {
		r := &m.Roles[i]
		u.Roles++
		u.check(Grant{Kind: "role", Name: r.Name, At: r.At}, uses, func(x *use) bool { return x.role == r.Name })
		if r.Account == "" || slices.Contains(accounts, r.Account) {
			continue
		}
		accounts = append(accounts, r.Account)
		u.check(Grant{Kind: "account", Name: r.Account, At: r.At}, uses, func(x *use) bool { return x.account == r.Account })
	}
	u.Accounts = len(accounts)
}

// check notes a grant that was not used in the period, and reports whether that is so.
func (u *Usage) check(g Grant, uses []use, match func(*use) bool) (unused bool) {
	g.Last = lastUse(uses, match)
	if !g.Last.Before(u.Since) && !g.Last.IsZero() {
		return false
	}
	u.Unused = append(u.Unused, g)
	return true
}

// parts notes what a rule that was used gives in vain.
func (u *Usage) parts(r *policy.Rule, uses []use) {
	if len(r.Roles) > 1 {
		for _, role := range r.Roles {
			u.check(Grant{Kind: "role", Name: role, Rule: r.ID, At: r.At}, uses, func(x *use) bool { return x.role == role })
		}
	}
	targets := len(r.Models) + len(r.Endpoints)
	for _, of := range []struct {
		kind     string
		patterns []string
		among    int
		names    func(*use) []string
	}{
		{"model", r.Models, targets, func(x *use) []string { return x.models }},
		{"endpoint", r.Endpoints, targets, func(x *use) []string { return endpoints(x.models) }},
		{"location", r.Locations, len(r.Locations), func(x *use) []string { return []string{x.location} }},
	} {
		if of.among < 2 {
			continue // it was used, as the rule was
		}
		for _, text := range of.patterns {
			p := newPattern(text)
			u.check(Grant{Kind: of.kind, Name: text, Rule: r.ID, At: r.At}, uses, func(x *use) bool {
				return slices.ContainsFunc(of.names(x), func(name string) bool { return p.match([]byte(name)) })
			})
		}
	}
}

// endpoints returns the ids of endpoints among models.
func endpoints(models []string) (ids []string) {
	for _, m := range models {
		if id, ok := strings.CutPrefix(m, endpointPrefix); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// WriteText writes what is unused, and how far that can be known.
func (u *Usage) WriteText(w io.Writer) error {
	count := func(kind string) (n int) {
		for _, g := range u.Unused {
			if g.Kind == kind && g.Rule == "" {
				n++
			}
		}
		return n
	}
	var b strings.Builder
	fmt.Fprintf(&b, "unused from %s to %s: %d of %d allow rules, %d of %d roles, %d of %d accounts\n", clock(u.Since), clock(u.Until),
		count("rule"), u.Rules, count("role"), u.Roles, count("account"), u.Accounts)
	fmt.Fprintf(&b, "the files reach from %s to %s\n", clock(u.First), clock(u.Last))
	if silent := u.Silent(); len(silent) > 0 {
		fmt.Fprintf(&b, "%s without any line, the first one %s: are all files here?\n", numbered(len(silent), "day is", "days are"), silent[0].Format(time.DateOnly))
	}
	if len(u.Unused) > 0 {
		b.WriteByte('\n')
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(t, "UNUSED\tNAME\tOF RULE\tAT\tLAST USED")
		for _, g := range u.Unused {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", g.Kind, cell(g.Name), cell(g.Rule), cell(g.At.String()), lastText(g.Last))
		}
		_ = t.Flush() // all of it into memory
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func lastText(t time.Time) string {
	if t.IsZero() {
		return "never in these files"
	}
	return clock(t)
}

// WriteJSON writes the same for programs.
func (u *Usage) WriteJSON(w io.Writer) error {
	type grant struct {
		Grant
		At   string     `json:"at"`
		Last *time.Time `json:"last_used"`
	}
	grants := make([]grant, 0, len(u.Unused))
	for _, g := range u.Unused {
		grants = append(grants, grant{g, g.At.String(), instant(g.Last)})
	}
	silent := make([]string, 0, 8)
	for _, day := range u.Silent() {
		silent = append(silent, day.Format(time.DateOnly))
	}
	return WriteJSON(w, struct {
		Since   time.Time  `json:"since"`
		Until   time.Time  `json:"until"`
		First   *time.Time `json:"files_from"`
		Last    *time.Time `json:"files_to"`
		Reaches bool       `json:"covered"`
		Silent  []string   `json:"days_without_lines"`
		Unused  []grant    `json:"unused"`
		Notes   notesJSON  `json:"notes"`
	}{u.Since, u.Until, instant(u.First), instant(u.Last), u.Reaches(), silent, grants, u.Notes.json()})
}
