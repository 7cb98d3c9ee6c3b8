package policy

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
)

// Session is one caller under one policy: what depends on who calls alone is decided once, when it is bound or when it is first asked
// for. It is safe for concurrent use, and it keeps its policy alive; whoever holds sessions drops those whose Policy is no longer the one
// in force. A nil Session denies every call.
type Session struct {
	policy *Policy
	caller Caller
	group  *group          // the caller's roles; nil: none
	parts  []atomic.Uint32 // what is known of the parts of conditions that depend on the caller alone, two bits each
}

// group is the callers that have the same roles.
type group struct {
	held   []int    // in the order in which they are tried
	denies packed   // the deny rules that concern them
	allows []packed // the allow rules for each of held
	places []int    // 0, 1, … for each of held

	imposing   []bool // whether an allow rule for each of held imposes something
	denyModels bool   // a deny rule is about models
}

// groupsKept is how many groups are remembered.
const groupsKept = 1024

// Bind returns the session of a caller. The caller's claims are kept and must not be changed afterwards. It costs little beside
// verifying a signature, and it can be kept for as long as the verified caller is.
func (p *Policy) Bind(c Caller) *Session {
	s := &Session{policy: p, caller: c}
	if p == nil || p.digest == "" {
		return s
	}
	if s.caller.Claims == nil {
		s.caller.Claims = map[string]any{}
	}
	var few [8]int
	if held := p.held(c, few[:0]); len(held) > 0 {
		s.group = p.group(held)
	}
	if p.parts > 0 && s.group != nil {
		s.parts = make([]atomic.Uint32, (p.parts+15)/16)
	}
	return s
}

// held returns the roles of a caller in the order in which they are tried, in buf when they fit.
func (p *Policy) held(c Caller, buf []int) []int {
	callers := p.callers[c.Issuer]
	if callers == nil {
		return nil
	}
	return callers.roles(c.Claims, buf)
}

// group returns the group of the callers with these roles.
func (p *Policy) group(held []int) *group {
	var few [32]byte
	text := few[:0]
	for _, role := range held {
		text = binary.AppendUvarint(text, uint64(role))
	}
	key := string(text)
	if g, ok := p.groups.get(key); ok {
		return g
	}
	g := p.newGroup(held)
	p.groups.put(key, g)
	return g
}

func (p *Policy) newGroup(held []int) *group {
	g, denies := &group{held: slices.Clone(held)}, newRuleSet(len(p.rules))
	var excepted *ruleSet
	for _, role := range held {
		if except := p.roles[role].excepted; except != nil {
			if excepted == nil {
				excepted = newRuleSet(len(p.rules))
			}
			excepted.addAll(except)
		}
	}
	rules := newRuleSet(len(p.rules))
	for _, role := range held {
		rules.clear()
		rules.addAll(p.every)
		rules.addAll(p.roles[role].rules)
		rules.remove(excepted)
		denies.addAll(rules)
		rules.remove(p.index.denies)
		g.places = append(g.places, len(g.allows))
		g.allows = append(g.allows, rules.pack())
		c := newCommon(rules, p.imposing)
		g.imposing = append(g.imposing, c.next() >= 0)
	}
	denies.keep(p.index.denies)
	c := newCommon(denies, p.index.aboutModel)
	g.denies, g.denyModels = denies.pack(), c.next() >= 0
	return g
}

// Policy returns the policy that the session was bound to.
func (s *Session) Policy() *Policy {
	if s == nil {
		return nil
	}
	return s.policy
}

// What is known of a part.
const (
	partUnknown = iota
	partFalse
	partTrue
	partFailed
)

// part decides a part that depends on the caller alone, once.
func (s *Session) part(p *part) verdict {
	word, shift := &s.parts[p.number/16], p.number%16*2
	switch word.Load() >> shift & 3 {
	case partFalse:
		return no
	case partTrue:
		return yes
	case partFailed:
		return failed
	}
	v := p.eval(&variables{caller: &s.caller})
	known := map[verdict]uint32{no: partFalse, yes: partTrue, failed: partFailed}[v]
	word.Or(known << shift)
	return v
}
