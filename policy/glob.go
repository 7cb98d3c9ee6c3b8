package policy

import "strings"

// glob is a pattern in which * stands for any text, also the empty one; every other byte stands for itself.
type glob struct {
	text           string
	literal        bool // without a star
	prefix, suffix string
	middle         []string
}

func newGlob(text string) glob {
	parts := strings.Split(text, "*")
	last := len(parts) - 1
	if last == 0 {
		return glob{text: text, literal: true}
	}
	return glob{text: text, prefix: parts[0], suffix: parts[last], middle: parts[1:last]}
}

// match reports whether the whole of s matches. It takes time proportional to len(s) times the number of stars.
func (g *glob) match(s string) bool {
	if g.literal {
		return s == g.text
	}
	if len(s) < len(g.prefix)+len(g.suffix) || !strings.HasPrefix(s, g.prefix) || !strings.HasSuffix(s, g.suffix) {
		return false
	}
	s = s[len(g.prefix) : len(s)-len(g.suffix)]
	for _, part := range g.middle {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// globs is a list of patterns of which one has to match. A nil list stands for no condition; its users ask for it first.
type globs []glob

func (gs globs) match(s string) bool {
	for i := range gs {
		if gs[i].match(s) {
			return true
		}
	}
	return false
}

// any reports whether one of the patterns is made of stars alone, so that every text matches.
func (gs globs) any() bool {
	for i := range gs {
		if gs[i].text != "" && strings.Trim(gs[i].text, "*") == "" {
			return true
		}
	}
	return false
}

// literal reports whether none of the patterns has a star.
func (gs globs) literal() bool {
	for i := range gs {
		if !gs[i].literal {
			return false
		}
	}
	return true
}

// newGlobs returns the patterns; none are nil.
func newGlobs(texts []string) globs {
	if len(texts) == 0 {
		return nil
	}
	gs := make(globs, len(texts))
	for i, text := range texts {
		gs[i] = newGlob(text)
	}
	return gs
}

// stars returns how many stars the pattern has.
func (g *glob) stars() int { return strings.Count(g.text, "*") }
