package policy

import "strings"

// Reach is how far rules go for callers who have one role and no other, by what the rules say about calls alone. Whether a rule applies
// then depends on its other conditions: the tier, the time, the body, `when`, and the percentage.
type Reach struct {
	Call   Call    // as it would be forwarded without a rewrite: aliases and projects are canonical
	Denies []*Rule // by name; those in shadow too
	Allows []*Rule // by name; those in shadow too
}

// Reach returns the rules that concern callers of the role and the call. Where the call names its model in the body alone (Call.ModelInBody)
// publisher and model are what the body says; otherwise they are not looked at. Nothing is reached by a role that the policy does not have,
// by a call that the parser did not make, by one that cannot be completed, and by a call beyond inference that no rule names. The rules are
// only to be read.
func (p *Policy) Reach(role string, call Call, publisher, model string) Reach {
	reach := Reach{Call: call}
	if p == nil || p.index == nil || p.canonical(&reach.Call) != nil {
		return reach
	}
	c := &reach.Call
	subject := subjectOf(c)
	if subject == someModel {
		subject = aModel
	} else {
		publisher, model = c.Publisher, c.Model
	}
	t, ok := newTarget(shape{subject, c.Surface != "", c.Group, c.Method, c.Location, c.Project, publisher, model, c.Endpoint})
	number := p.roleNumber(role)
	if !ok || number < 0 || t.surface && !p.surfaces[t.method] {
		return reach
	}
	meets, group := p.index.search(&t), p.group([]int{number}) // what is remembered of shapes is for requests
	for _, side := range []struct {
		rules *packed
		to    *[]*Rule
	}{{&group.denies, &reach.Denies}, {&group.allows[0], &reach.Allows}} {
		found := meets.common(side.rules)
		for n := found.next(); n >= 0; n = found.next() {
			if r := p.rules[n]; r.Duties.Rewrite == "" || !c.ModelInBody {
				*side.to = append(*side.to, r.Rule)
			}
		}
	}
	return reach
}

func (p *Policy) roleNumber(name string) int {
	for i := range p.roles {
		if p.roles[i].Name == name {
			return i
		}
	}
	return -1
}

// SurfaceTarget is how a call beyond inference is written.
type SurfaceTarget struct {
	HTTPMethod string
	Version    string // v1 or v1beta1
	Path       string // below the location, with * for each name: cachedContents/*, publishers/*/models/*:predict, or :evaluateInstances
}

// SurfaceTargets returns how a call of SurfaceMethods is written, in the order of the table. The list is the caller's own.
func SurfaceTargets(method string) []SurfaceTarget {
	var list []SurfaceTarget
	for line := range strings.Lines(surfaceText) {
		column := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(column) != 4 || column[2] != method {
			continue
		}
		version, _, _ := strings.Cut(column[3], "+")
		list = append(list, SurfaceTarget{column[0], version, column[1]})
	}
	return list
}
