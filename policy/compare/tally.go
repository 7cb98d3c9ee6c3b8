package compare

import (
	"cmp"
	"slices"
)

// maxGroups is how many groups a tally keeps apart. What comes after them is counted together.
const maxGroups = 4096

// sample is a line of a log.
type sample struct {
	line int // of all that were read
	name string
}

// group is lines that have something in common.
type group struct {
	count   int
	samples []sample // the first ones, in order
}

func (g *group) add(s sample, most int) {
	g.count++
	g.keep(s, most)
}

func (g *group) keep(s sample, most int) {
	if len(g.samples) == most && s.line > g.samples[most-1].line {
		return
	}
	at, _ := slices.BinarySearchFunc(g.samples, s, func(a, b sample) int { return a.line - b.line })
	g.samples = slices.Insert(g.samples, at, s)
	if len(g.samples) > most {
		g.samples = g.samples[:most]
	}
}

func (g *group) names() []string {
	list := []string{}
	for _, s := range g.samples {
		list = append(list, s.name)
	}
	return list
}

// groups counts lines by a key. Those for which there is no room are counted under the zero key.
type groups[K comparable] struct {
	most  int // samples of each
	byKey map[K]*group
}

func newGroups[K comparable](most int) groups[K] {
	return groups[K]{most, map[K]*group{}}
}

func (g *groups[K]) of(key K) *group {
	if found := g.byKey[key]; found != nil {
		return found
	}
	if len(g.byKey) >= maxGroups {
		var none K
		if key = none; g.byKey[key] != nil {
			return g.byKey[key]
		}
	}
	g.byKey[key] = &group{}
	return g.byKey[key]
}

func (g *groups[K]) merge(other groups[K]) {
	for key, from := range other.byKey {
		to := g.of(key)
		to.count += from.count
		for _, s := range from.samples {
			to.keep(s, g.most)
		}
	}
}

// sorted returns the keys, those of large groups first, and of equal ones those that came first.
func (g *groups[K]) sorted() []K {
	var keys []K
	for key := range g.byKey {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b K) int {
		x, y := g.byKey[a], g.byKey[b]
		return cmp.Or(y.count-x.count, x.samples[0].line-y.samples[0].line)
	})
	return keys
}

// change is what came out otherwise.
type change struct{ before, after Outcome }

// tally is what came of lines.
type tally struct {
	lines, decided, changed int

	changes, renamed   groups[change]
	unknown, elsewhere groups[string]
}

func newTally(samples int) *tally {
	return &tally{
		changes: newGroups[change](samples), renamed: newGroups[change](samples),
		unknown: newGroups[string](samples), elsewhere: newGroups[string](samples),
	}
}

func (t *tally) merge(other *tally) {
	t.lines += other.lines
	t.decided += other.decided
	t.changed += other.changed
	t.changes.merge(other.changes)
	t.renamed.merge(other.renamed)
	t.unknown.merge(other.unknown)
	t.elsewhere.merge(other.elsewhere)
}

func changesOf(g *groups[change]) []Change {
	list := []Change{}
	for _, key := range g.sorted() {
		list = append(list, Change{g.byKey[key].count, key.before, key.after, g.byKey[key].names()})
	}
	return list
}

func countsOf(g *groups[string]) []Count {
	list := []Count{}
	for _, key := range g.sorted() {
		list = append(list, Count{key, g.byKey[key].count, g.byKey[key].names()})
	}
	return list
}
