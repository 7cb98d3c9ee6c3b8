package compare

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"vertex-spoa/policy"
)

// accessChanges compares which calls a role may make, and reports whether all samples were looked at.
func accessChanges(before, after *policy.Policy, role string) (list []AccessChange, whole bool) {
	a, b := before.Model(), after.Model()
	x, y := rulesFor(a, role), rulesFor(b, role)
	about := slices.Concat(x, y)
	if sameNames(a, b) && (roleOf(a, role) == nil) == (roleOf(b, role) == nil) {
		about = thoseThatDiffer(x, y)
	}
	if len(about) == 0 {
		return nil, true
	}
	s := newSpace(about, slices.Concat(x, y), []*policy.Model{a, b}, &Query{})
	type key struct{ before, after string }
	found := map[key]int{}
	var calls [][]Calls
	s.each(func(c *sampleCall) {
		was, _ := permits(before, role, c)
		is, _ := permits(after, role, c)
		k := key{strings.Join(keysOf(was), "\x02"), strings.Join(keysOf(is), "\x02")}
		if k.before == k.after && (was == nil) == (is == nil) {
			return
		}
		at, ok := found[k]
		if !ok {
			at = len(list)
			found[k] = at
			list = append(list, AccessChange{Role: role, Kind: kindOf(was, is), Before: Access{was}, After: Access{is}})
			calls = append(calls, nil)
		}
		calls[at] = append(calls[at], c.at)
	})
	var all []AccessChange
	for i, change := range list {
		for _, change.Calls = range merge(calls[i], every()) {
			all = append(all, change)
		}
	}
	order := map[string]int{Loses: 0, Gains: 1, Differs: 2}
	slices.SortStableFunc(all, func(a, b AccessChange) int { return order[a.Kind] - order[b.Kind] })
	return all, s.whole
}

// rulesFor returns the rules that concern callers with one role.
func rulesFor(m *policy.Model, role string) []*policy.Rule {
	var list []*policy.Rule
	if roleOf(m, role) == nil {
		return nil
	}
	for i := range m.Rules {
		r := &m.Rules[i]
		if (r.Roles == nil || slices.Contains(r.Roles, role)) && !slices.Contains(r.Except, role) {
			list = append(list, r)
		}
	}
	return list
}

// sameNames reports whether two policies give names the same meaning.
func sameNames(a, b *policy.Model) bool {
	return a.Project == b.Project && a.Location == b.Location && maps.Equal(a.Aliases, b.Aliases) && maps.Equal(a.Projects, b.Projects) &&
		maps.Equal(a.Endpoints, b.Endpoints)
}

// thoseThatDiffer returns the rules of each side that the other has not, or not word for word. A call that none of them concerns is decided
// alike.
func thoseThatDiffer(x, y []*policy.Rule) []*policy.Rule {
	word := func(r *policy.Rule) policy.Rule {
		one := bare(*r)
		one.Roles, one.Except, one.Because = nil, nil, "" // that it is for the role is known
		return one
	}
	var list []*policy.Rule
	for _, sides := range [][2][]*policy.Rule{{x, y}, {y, x}} {
		others := map[string]*policy.Rule{}
		for _, r := range sides[1] {
			others[r.ID] = r
		}
		for _, r := range sides[0] {
			if other := others[r.ID]; other == nil || !reflect.DeepEqual(word(r), word(other)) {
				list = append(list, r)
			}
		}
	}
	return list
}

// kindOf says whether access is gained or lost.
func kindOf(before, after []Permit) string {
	unconditional := func(p Permit) bool { return len(p.If)+len(p.Unless) == 0 }
	was, is := slices.ContainsFunc(before, unconditional), slices.ContainsFunc(after, unconditional)
	a, b := keysOf(before), keysOf(after)
	switch {
	case len(before) == 0, is && !was:
		return Gains
	case len(after) == 0, was && !is:
		return Loses
	case was && is:
		return Differs // what comes with it
	case len(without(a, b)) == 0:
		return Gains
	case len(without(b, a)) == 0:
		return Loses
	}
	return Differs
}
