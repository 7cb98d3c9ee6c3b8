package policy

import (
	"math/bits"
	"slices"
)

// ruleSet is a set of rules by their numbers. Beside its words it has a summary with one bit for each word that is not zero, so that what
// two sets have in common is found without looking at all of their words. The nil *ruleSet is empty.
type ruleSet struct {
	words   []uint64
	summary []uint64
}

func newRuleSet(rules int) *ruleSet {
	words := (rules + 63) / 64
	memory := make([]uint64, words+(words+63)/64)
	return &ruleSet{memory[:words:words], memory[words:]}
}

func (s *ruleSet) add(rule int) {
	s.words[rule/64] |= 1 << (rule % 64)
	s.summary[rule/4096] |= 1 << (rule / 64 % 64)
}

// addAll adds the rules of t, which may be nil.
func (s *ruleSet) addAll(t *ruleSet) {
	if t == nil {
		return
	}
	for i, summary := range t.summary {
		s.summary[i] |= summary
		for m := summary; m != 0; m &= m - 1 {
			at := i*64 + bits.TrailingZeros64(m)
			s.words[at] |= t.words[at]
		}
	}
}

// keep takes away the rules that are not in t. The summary says where to look.
func (s *ruleSet) keep(t *ruleSet) { s.filter(t, 0) }

// remove takes away the rules of t.
func (s *ruleSet) remove(t *ruleSet) {
	if t != nil {
		s.filter(t, ^uint64(0))
	}
}

func (s *ruleSet) filter(t *ruleSet, invert uint64) {
	for i, summary := range s.summary {
		for m := summary; m != 0; m &= m - 1 {
			at := i*64 + bits.TrailingZeros64(m)
			var w uint64
			if t != nil {
				w = t.words[at]
			}
			if s.words[at] &= w ^ invert; s.words[at] == 0 {
				s.summary[i] &^= m & -m
			}
		}
	}
}

func (s *ruleSet) has(rule int) bool { return s.words[rule/64]>>(rule%64)&1 != 0 }

// clear empties the set.
func (s *ruleSet) clear() {
	for i, summary := range s.summary {
		for m := summary; m != 0; m &= m - 1 {
			s.words[i*64+bits.TrailingZeros64(m)] = 0
		}
		s.summary[i] = 0
	}
}

// packed is a set that is not changed any more: a rising list of a few rules, or a set of many. The zero packed is empty.
type packed struct {
	few  []int32
	many *ruleSet // nil: they are few
}

const fewRules = 32

// pack returns what is in the set, which may then be changed.
func (s *ruleSet) pack() packed {
	var few [fewRules]int32
	n := 0
	for c := newCommon(s, s); ; n++ {
		rule := c.next()
		switch {
		case rule < 0:
			return packed{few: append([]int32(nil), few[:n]...)}
		case n == fewRules:
			many := &ruleSet{slices.Clone(s.words), slices.Clone(s.summary)}
			return packed{many: many}
		}
		few[n] = int32(rule)
	}
}

func (p *packed) has(rule int32) bool {
	if p.many != nil {
		return p.many.has(int(rule))
	}
	_, found := slices.BinarySearch(p.few, rule)
	return found
}

// common returns what two sets have in common.
func (p *packed) common(q *packed) common {
	switch {
	case p.many == nil:
		return common{few: p.few, of: q}
	case q.many == nil:
		return common{few: q.few, of: p}
	}
	return newCommon(p.many, q.many)
}

// common walks over what two sets have in common, in rising order.
type common struct {
	few []int32 // what is left of one of them, and the other
	of  *packed

	a, b    *ruleSet // nil where there are few
	block   int      // of the summary, the next one
	summary uint64   // what is left of the block before
	at      int      // the word of left
	left    uint64
}

func newCommon(a, b *ruleSet) common {
	if a == nil || b == nil {
		a, b = &ruleSet{}, &ruleSet{}
	}
	return common{a: a, b: b}
}

// next returns the next rule, or -1.
func (c *common) next() int {
	for len(c.few) > 0 {
		rule := c.few[0]
		if c.few = c.few[1:]; c.of.has(rule) {
			return int(rule)
		}
	}
	if c.a == nil {
		return -1
	}
	for c.left == 0 {
		for c.summary == 0 {
			if c.block >= len(c.a.summary) {
				return -1
			}
			c.summary = c.a.summary[c.block] & c.b.summary[c.block]
			c.block++
		}
		c.at = (c.block-1)*64 + bits.TrailingZeros64(c.summary)
		c.summary &= c.summary - 1
		c.left = c.a.words[c.at] & c.b.words[c.at]
	}
	rule := c.at*64 + bits.TrailingZeros64(c.left)
	c.left &= c.left - 1
	return rule
}
