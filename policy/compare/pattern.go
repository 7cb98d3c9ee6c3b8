package compare

import "strings"

// pattern is a pattern of the language: * stands for any text.
type pattern string

// literal reports whether the pattern stands for one name.
func (p pattern) literal() bool { return !strings.Contains(string(p), "*") }

// match reports whether the whole of s matches.
func (p pattern) match(s string) bool {
	parts := strings.Split(string(p), "*")
	if len(parts) == 1 {
		return s == parts[0]
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, found := strings.Cut(s, part)
		if !found {
			return false
		}
		s = rest
	}
	return true
}

// covers reports whether p matches whatever q matches: then it matches q itself, whose stars only its own stars can take.
func (p pattern) covers(q pattern) bool { return p == q || !p.literal() && p.match(string(q)) }

// sample returns a name that matches.
func (p pattern) sample() string { return strings.ReplaceAll(string(p), "*", "x") }

// meet returns a pattern of names that match both, and false when there is none, or none was found: patterns can have names in common in
// more than one way.
func (p pattern) meet(q pattern) (pattern, bool) {
	switch {
	case p.literal():
		return p, q.match(string(p))
	case q.literal():
		return q, p.match(string(q))
	}
	a, b := strings.Split(string(p), "*"), strings.Split(string(q), "*")
	first, ok := longer(a[0], b[0], strings.HasPrefix)
	last, ok2 := longer(a[len(a)-1], b[len(b)-1], strings.HasSuffix)
	if !ok || !ok2 {
		return "", false
	}
	parts := append([]string{first}, a[1:len(a)-1]...)
	parts = append(append(parts, b[1:len(b)-1]...), last)
	both := pattern(strings.Join(parts, "*"))
	return both, p.match(both.sample()) && q.match(both.sample())
}

// longer returns the longer of two texts, and whether it begins or ends with the other.
func longer(a, b string, has func(long, short string) bool) (string, bool) {
	if len(a) < len(b) {
		a, b = b, a
	}
	return a, has(a, b)
}

// patterns is an ordered set of patterns.
type patterns struct {
	list []pattern
	has  map[pattern]bool
}

func (ps *patterns) add(names ...string) {
	for _, name := range names {
		if ps.has == nil {
			ps.has = map[pattern]bool{}
		}
		if p := pattern(name); !ps.has[p] {
			ps.has[p] = true
			ps.list = append(ps.list, p)
		}
	}
}

// meet adds what the patterns have in common with each of others, until there are most of them, and reports whether that is all.
func (ps *patterns) meet(others []pattern, most int) bool {
	if len(ps.list) > most {
		ps.list = ps.list[:most]
		return false
	}
	for _, p := range ps.list {
		if p.literal() {
			continue // it has nothing in common with others but itself
		}
		for _, q := range others {
			both, ok := p.meet(q)
			if !ok {
				continue
			}
			if len(ps.list) >= most && !ps.has[both] {
				return false
			}
			ps.add(string(both))
		}
	}
	return true
}
