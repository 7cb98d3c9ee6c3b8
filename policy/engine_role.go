package policy

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// role is one entry of `roles`, made ready for deciding.
type role struct {
	*Role
	rules    *ruleSet // that name the role; nil: none
	excepted *ruleSet // that do not concern its holders; nil: none
}

// way is one way to have a role: claims of one issuer that hold together.
type way struct {
	role   int
	claims []claim
}

type claim struct {
	name   string
	values globs // one has to match
}

func (w *way) open(claims map[string]any) bool {
	for i := range w.claims {
		if !w.claims[i].match(claims) {
			return false
		}
	}
	return true
}

// match reports whether the claim is there and has a matching value. A list matches when one of its elements does.
func (c *claim) match(claims map[string]any) bool {
	v := claims[c.name] // nil when it is missing
	if list, ok := v.([]any); ok {
		return slices.ContainsFunc(list, c.matchOne)
	}
	return c.matchOne(v)
}

func (c *claim) matchOne(v any) bool {
	s, ok := claimText(v)
	return ok && c.values.match(s)
}

// claimText returns a string as it is and a number or boolean as its JSON text. Null, objects and lists have no text.
func claimText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case int:
		return strconv.Itoa(v), true
	case float64:
		return floatText(v)
	case json.Number:
		return v.String(), v != ""
	}
	return "", false
}

// floatText writes a number as encoding/json does: without an exponent but for the very large and the very small.
func floatText(v float64) (string, bool) {
	size := math.Abs(v)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "", false
	case size != 0 && (size < 1e-6 || size >= 1e21):
		return strings.Replace(strconv.FormatFloat(v, 'e', -1, 64), "e-0", "e-", 1), true
	}
	return strconv.FormatFloat(v, 'f', -1, 64), true
}

// callers finds the roles of the callers of one issuer. A way that wants a claim to have one of some literal values is found by the
// caller's own values of that claim; only ways that have nothing but patterns are tried one after the other.
type callers struct {
	ways   []way
	byName []claimIndex
	rest   []int // ways that are in no index
}

type claimIndex struct {
	name string
	ways map[string][]int // by value
}

func (c *callers) add(w way) {
	c.ways = append(c.ways, w)
	n := len(c.ways) - 1
	i := slices.IndexFunc(w.claims, func(c claim) bool { return c.values.literal() })
	if i < 0 {
		c.rest = append(c.rest, n)
		return
	}
	index := c.index(w.claims[i].name)
	for _, g := range w.claims[i].values {
		index[g.text] = append(index[g.text], n)
	}
}

func (c *callers) index(name string) map[string][]int {
	for _, x := range c.byName {
		if x.name == name {
			return x.ways
		}
	}
	ways := map[string][]int{}
	c.byName = append(c.byName, claimIndex{name, ways})
	return ways
}

// roles appends the roles that a caller with the claims has to held, which is empty, in the order in which they are tried and each once.
func (c *callers) roles(claims map[string]any, held []int) []int {
	for i := range c.byName {
		x := &c.byName[i]
		v := claims[x.name]
		list, ok := v.([]any)
		if !ok {
			held = c.try(x.at(v), claims, held)
		}
		for _, v := range list {
			held = c.try(x.at(v), claims, held)
		}
	}
	held = c.try(c.rest, claims, held)
	slices.Sort(held)
	return slices.Compact(held)
}

func (x *claimIndex) at(v any) []int {
	s, ok := claimText(v)
	if !ok {
		return nil
	}
	return x.ways[s]
}

func (c *callers) try(ways []int, claims map[string]any, held []int) []int {
	for _, n := range ways {
		if w := &c.ways[n]; w.open(claims) {
			held = append(held, w.role)
		}
	}
	return held
}
