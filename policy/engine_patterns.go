package policy

import "slices"

// patterns finds the rules with a pattern that matches a name, without trying the patterns that cannot: those without a star are found by
// the name, those that begin with a text by the name's beginning. The zero patterns are empty.
type patterns struct {
	literals map[string]*posting
	prefixed map[string][]*posting // by the text before the first star
	lengths  []int                 // of those texts, rising
	distinct map[string]*posting
}

// posting is the rules that have one pattern: a list of a few, or a set.
type posting struct {
	glob  glob
	rules []int32
	set   *ruleSet
}

func (p *posting) addTo(set *ruleSet) {
	set.addAll(p.set)
	for _, rule := range p.rules {
		set.add(int(rule))
	}
}

func (p *patterns) add(rule int, gs globs) {
	if p.distinct == nil {
		p.literals, p.prefixed, p.distinct = map[string]*posting{}, map[string][]*posting{}, map[string]*posting{}
	}
	for _, g := range gs {
		to := p.distinct[g.text]
		if to == nil {
			to = &posting{glob: g}
			p.distinct[g.text] = to
			p.enter(to)
		}
		to.rules = append(to.rules, int32(rule))
	}
}

// enter puts the posting of a new pattern where it will be looked for.
func (p *patterns) enter(to *posting) {
	if to.glob.literal {
		p.literals[to.glob.text] = to
		return
	}
	prefix := to.glob.prefix
	if at, found := slices.BinarySearch(p.lengths, len(prefix)); !found {
		p.lengths = slices.Insert(p.lengths, at, len(prefix))
	}
	p.prefixed[prefix] = append(p.prefixed[prefix], to)
}

// seal ends the adding. Long lists become sets.
func (p *patterns) seal(rules int) {
	for _, to := range p.distinct {
		if len(to.rules) <= 16+rules/64 {
			continue
		}
		to.set = newRuleSet(rules)
		for _, rule := range to.rules {
			to.set.add(int(rule))
		}
		to.rules = nil
	}
	p.distinct = nil
}

// match adds the rules with a pattern that matches name to set.
func (p *patterns) match(name string, set *ruleSet) {
	if to := p.literals[name]; to != nil {
		to.addTo(set)
	}
	for _, length := range p.lengths {
		if length > len(name) {
			return
		}
		for _, to := range p.prefixed[name[:length]] {
			if to.glob.match(name) {
				to.addTo(set)
			}
		}
	}
}
