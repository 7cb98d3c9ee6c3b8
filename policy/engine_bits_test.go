package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

func members(a, b *ruleSet) []int {
	var list []int
	for c := newCommon(a, b); ; {
		n := c.next()
		if n < 0 {
			return list
		}
		list = append(list, n)
	}
}

// A set of rules is what a map of them would be.
func TestRuleSet(t *testing.T) {
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for _, rules := range []int{1, 63, 64, 65, 4096, 4097, 20_000} {
		random := func() (*ruleSet, map[int]bool) {
			s, m := newRuleSet(rules), map[int]bool{}
			for range r.IntN(rules) + 1 {
				n := r.IntN(rules)
				s.add(n)
				m[n] = true
			}
			return s, m
		}
		a, inA := random()
		b, inB := random()
		checkMembers(t, "common", members(a, b), rules, func(n int) bool { return inA[n] && inB[n] })
		union, kept, removed := newRuleSet(rules), newRuleSet(rules), newRuleSet(rules)
		for _, s := range []*ruleSet{union, kept, removed} {
			s.addAll(a)
			s.addAll(nil)
		}
		union.addAll(b)
		kept.keep(b)
		removed.remove(b)
		removed.remove(nil)
		checkMembers(t, "union", members(union, union), rules, func(n int) bool { return inA[n] || inB[n] })
		checkMembers(t, "kept", members(kept, kept), rules, func(n int) bool { return inA[n] && inB[n] })
		checkMembers(t, "removed", members(removed, removed), rules, func(n int) bool { return inA[n] && !inB[n] })
		kept.keep(nil)
		if members(kept, kept) != nil || !slices.Equal(kept.summary, make([]uint64, len(kept.summary))) {
			t.Errorf("%d rules: something is left", rules)
		}
	}
	if members(nil, newRuleSet(5)) != nil || members(newRuleSet(0), newRuleSet(0)) != nil {
		t.Error("the empty set has members")
	}
}

func checkMembers(t *testing.T, what string, got []int, rules int, want func(int) bool) {
	t.Helper()
	var list []int
	for n := range rules {
		if want(n) {
			list = append(list, n)
		}
	}
	if !slices.Equal(got, list) {
		t.Errorf("%s of %d rules: got %v, want %v", what, rules, got, list)
	}
}

// The index of patterns finds what trying each of them finds.
func TestPatterns(t *testing.T) {
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	word := func() string {
		b := make([]byte, r.IntN(5))
		for i := range b {
			b[i] = "ab*"[r.IntN(3)]
		}
		return string(b)
	}
	for range 200 {
		const rules = 100
		var p patterns
		var all []globs
		for n := range rules {
			gs := newGlobs([]string{word(), word(), "ab*"}[:r.IntN(4)])
			all = append(all, gs)
			p.add(n, gs)
		}
		p.seal(rules)
		for range 20 {
			name := word()
			got := newRuleSet(rules)
			p.match(name, got)
			checkMembers(t, "rules for "+name, members(got, got), rules, func(n int) bool { return all[n].match(name) })
		}
	}
	var none patterns
	none.seal(1)
	none.match("a", newRuleSet(1))
}

// A memory of results gives back what was put there, whoever puts what beside it, and has no more entries than slots.
func TestSlots(t *testing.T) {
	s := newSlots[string, int](64)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				key := fmt.Sprint(i % (100 * (g + 1)))
				if v, ok := s.get(key); ok && fmt.Sprint(v) != key {
					t.Errorf("key %q: got %d", key, v)
				}
				s.put(key, i%(100*(g+1)))
			}
		})
	}
	wg.Wait()
	s.put("last", 7)
	if v, ok := s.get("last"); !ok || v != 7 {
		t.Errorf("got %d, %v, want 7", v, ok)
	}
	if _, ok := s.get("never"); ok {
		t.Error("it has what was not put there")
	}
}

// A packed set is the set it was made of, whether it holds a few rules or many, and has the same in common with others.
func TestPackedSetsAreTheirSets(t *testing.T) {
	const rules = 5000
	random := rand.New(rand.NewPCG(1, 2))
	for _, sizes := range [][2]int{{0, 0}, {0, 5}, {1, 1}, {fewRules, fewRules}, {fewRules, fewRules + 1}, {fewRules + 1, 3000}, {3000, 3000}, {3000, 7}} {
		a, b := newRuleSet(rules), newRuleSet(rules)
		for i, set := range []*ruleSet{a, b} {
			for _, rule := range random.Perm(rules)[:sizes[i]] {
				set.add(rule)
			}
		}
		p, q := a.pack(), b.pack()
		if (p.many == nil) != (sizes[0] <= fewRules) {
			t.Errorf("%d rules are a list: %v", sizes[0], p.many == nil)
		}
		want := members(a, b)
		a.clear()
		b.clear()
		if all := newCommon(a, a); all.next() >= 0 {
			t.Error("a set that was cleared is not empty")
		}
		for _, c := range []common{p.common(&q), q.common(&p)} {
			var got []int
			for rule := c.next(); rule >= 0; rule = c.next() {
				got = append(got, rule)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v: got %v, want %v", sizes, got, want)
			}
		}
	}
}
