package compare

import (
	"slices"
	"strings"

	"vertex-spoa/policy"
)

// way is one way to have a role: one pattern for each of some claims of an issuer.
type way struct {
	issuer string
	claims []claim // by name
}

type claim struct {
	name  string
	value pattern
}

// maxWays is how many ways a role is taken apart into. Where it has more, values of one claim stay together.
const maxWays = 1024

// waysOf returns the ways to have a role, with one value for each claim.
func waysOf(r *policy.Role) []way {
	var list []way
	for _, w := range r.Who {
		open := []way{{issuer: w.Issuer}}
		for _, c := range w.Claims {
			values := c.Patterns
			if len(list)+len(open)*len(values) > maxWays {
				values = []string{strings.Join(values, "|")}
			}
			var next []way
			for _, o := range open {
				for _, value := range values {
					next = append(next, way{w.Issuer, append(slices.Clone(o.claims), claim{c.Name, pattern(value)})})
				}
			}
			open = next
		}
		list = append(list, open...)
	}
	for _, w := range list {
		slices.SortFunc(w.claims, func(a, b claim) int { return strings.Compare(a.name, b.name) })
	}
	return list
}

// covers reports whether everybody who has a role in the way of other has it in the way of w.
func (w way) covers(other way) bool {
	if w.issuer != other.issuer {
		return false
	}
	for _, c := range w.claims {
		if !slices.ContainsFunc(other.claims, func(o claim) bool { return o.name == c.name && c.value.covers(o.value) }) {
			return false
		}
	}
	return true
}

// uncovered returns the ways that none of others covers, as text.
func uncovered(list, others []way) []string {
	return texts(slices.DeleteFunc(slices.Clone(list), func(w way) bool {
		return slices.ContainsFunc(others, func(o way) bool { return o.covers(w) })
	}))
}

// texts returns ways as text, sorted: corp: amr=hwk and groups=oncall.
func texts(list []way) []string {
	var to []string
	for _, w := range list {
		var claims []string
		for _, c := range w.claims {
			claims = append(claims, c.name+"="+string(c.value))
		}
		to = append(to, w.issuer+": "+strings.Join(claims, " and "))
	}
	slices.Sort(to)
	return slices.Compact(to)
}
