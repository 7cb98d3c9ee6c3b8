package compare

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"vertex-spoa/policy"
)

// Difference is what two policies do otherwise. All lists are in a fixed order.
type Difference struct {
	Before string `json:"before"` // digests
	After  string `json:"after"`

	Issuers  []Edit          `json:"issuers"`  // who vouches for callers
	Roles    []RoleChange    `json:"roles"`    // who has which role
	Accounts []AccountChange `json:"accounts"` // as whom calls are made
	Denies   []Edit          `json:"denies"`   // deny rules
	Access   []AccessChange  `json:"access"`   // which calls can be made
	Partial  []string        `json:"partial"`  // roles whose rules have too many patterns for all samples of Access to be looked at
}

// What a Kind says of a part of a policy, or of the calls of a role.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"

	Gains   = "gains"   // calls that could not be made, or with fewer conditions
	Loses   = "loses"   // the other way round
	Differs = "differs" // neither
)

// Edit is a part of the policy that comes, goes or is another.
type Edit struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"`
	Fields []string `json:"fields,omitempty"` // what changed
}

// RoleChange is who gains or loses a role.
type RoleChange struct {
	Role  string   `json:"role"`
	Kind  string   `json:"kind"`
	Gains []string `json:"gains,omitempty"` // ways to have it that are new
	Loses []string `json:"loses,omitempty"`
}

// AccountChange is a role that gives another token.
type AccountChange struct {
	Role   string `json:"role"`
	What   string `json:"what"` // account, scopes, lifetime, delegates, quota project, exchange, priority
	Before string `json:"before"`
	After  string `json:"after"`
}

// AccessChange is calls that callers with a role may make under one policy and not, or under other conditions, under the other.
type AccessChange struct {
	Role string `json:"role"`
	Kind string `json:"kind"`
	Calls
	Before Access `json:"before"`
	After  Access `json:"after"`
}

// Empty reports whether there is no difference.
func (d *Difference) Empty() bool {
	return len(d.Issuers)+len(d.Roles)+len(d.Accounts)+len(d.Denies)+len(d.Access) == 0
}

// Diff returns what the policy after does otherwise than the policy before.
func Diff(before, after *policy.Policy) *Difference {
	a, b := before.Model(), after.Model()
	d := &Difference{
		Before: before.Digest(), After: after.Digest(),
		Issuers: edits(a.Issuers, b.Issuers, func(i policy.Issuer) string { return i.Name }),
		Denies:  edits(denyRules(a), denyRules(b), func(r policy.Rule) string { return r.ID }),
		Roles:   []RoleChange{}, Accounts: []AccountChange{}, Access: []AccessChange{}, Partial: []string{},
	}
	for _, name := range roleNames(a, b) {
		d.role(roleOf(a, name), roleOf(b, name))
		access, whole := accessChanges(before, after, name)
		d.Access = append(d.Access, access...)
		if !whole {
			d.Partial = append(d.Partial, name)
		}
	}
	return d
}

// edits compares the parts of two lists that have the same name.
func edits[T any](a, b []T, name func(T) string) []Edit {
	list := []Edit{}
	find := func(list []T, wanted string) int {
		return slices.IndexFunc(list, func(v T) bool { return name(v) == wanted })
	}
	for _, v := range a {
		at := find(b, name(v))
		if at < 0 {
			list = append(list, Edit{Name: name(v), Kind: Removed})
		} else if fields := fieldsThatDiffer(v, b[at]); fields != nil {
			list = append(list, Edit{name(v), Changed, fields})
		}
	}
	for _, v := range b {
		if find(a, name(v)) < 0 {
			list = append(list, Edit{Name: name(v), Kind: Added})
		}
	}
	slices.SortFunc(list, func(a, b Edit) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// fieldsThatDiffer returns the names of the exported fields, in lower case, in which two structures differ.
func fieldsThatDiffer(a, b any) []string {
	var names []string
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		f := x.Type().Field(i)
		if f.IsExported() && !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			names = append(names, keyOf(f.Name))
		}
	}
	return names
}

// keyOf returns the name of a field as it is written in the language, or nearly so: caFile for CAFile.
func keyOf(field string) string {
	capitals := strings.IndexFunc(field, func(r rune) bool { return r < 'A' || r > 'Z' })
	switch {
	case capitals < 0:
		return strings.ToLower(field)
	case capitals > 1:
		capitals-- // the last one begins a word
	}
	return strings.ToLower(field[:capitals]) + field[capitals:]
}

// bare returns a rule without the places where it stands.
func bare(r policy.Rule) policy.Rule {
	r.At = policy.Position{}
	if r.When != nil {
		r.When = &policy.Expression{Text: r.When.Text}
	}
	var windows []policy.Window
	for _, w := range r.Active {
		w.Zone = nil // it is part of what is written
		windows = append(windows, w)
	}
	r.Active = windows
	return r
}

func denyRules(m *policy.Model) []policy.Rule {
	var list []policy.Rule
	for i := range m.Rules {
		if m.Rules[i].Effect == policy.Deny {
			list = append(list, bare(m.Rules[i]))
		}
	}
	return list
}

// roleNames returns the names of all roles, in declared order.
func roleNames(models ...*policy.Model) []string {
	var names []string
	for _, m := range models {
		for i := range m.Roles {
			if !slices.Contains(names, m.Roles[i].Name) {
				names = append(names, m.Roles[i].Name)
			}
		}
	}
	return names
}

func roleOf(m *policy.Model, name string) *policy.Role {
	for i := range m.Roles {
		if m.Roles[i].Name == name {
			return &m.Roles[i]
		}
	}
	return nil
}

// role compares a role of the same name; one of them may be nil.
func (d *Difference) role(a, b *policy.Role) {
	switch {
	case a == nil:
		d.Roles = append(d.Roles, RoleChange{Role: b.Name, Kind: Added, Gains: texts(waysOf(b))})
		return
	case b == nil:
		d.Roles = append(d.Roles, RoleChange{Role: a.Name, Kind: Removed, Loses: texts(waysOf(a))})
		return
	}
	gains, loses := uncovered(waysOf(b), waysOf(a)), uncovered(waysOf(a), waysOf(b))
	if len(gains)+len(loses) > 0 {
		d.Roles = append(d.Roles, RoleChange{a.Name, Changed, gains, loses})
	}
	x, y := tokenOf(a), tokenOf(b)
	for i := range x {
		if x[i][1] != y[i][1] {
			d.Accounts = append(d.Accounts, AccountChange{a.Name, x[i][0], x[i][1], y[i][1]})
		}
	}
}

func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
}

// tokenOf returns what is said about the token of a role.
func tokenOf(r *policy.Role) [][2]string {
	exchange := ""
	if x := r.Exchange; x != nil {
		exchange = strings.TrimSpace(fmt.Sprintf("%s %s as %s %s", x.Mode, x.Audience, x.Type, x.UserProject))
	}
	lifetime := ""
	if r.Lifetime > 0 {
		lifetime = r.Lifetime.Round(time.Second).String()
	}
	return [][2]string{
		{"account", r.Account}, {"delegates", listed(r.Delegates)}, {"scopes", listed(r.Scopes)}, {"lifetime", lifetime},
		{"quota project", r.Project}, {"exchange", exchange}, {"priority", fmt.Sprint(r.Priority)},
	}
}
