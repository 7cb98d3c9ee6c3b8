package trail

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// Dimension is something that calls can be counted by and chosen by. The zero Dimension is none.
type Dimension uint8

// The dimensions. A call to an endpoint has the model "endpoints/ID", unless its body names the model that answers.
const (
	_ Dimension = iota
	Subject
	Issuer
	Model
	Location
	Project
	Role
	Rule
	Account
	Reason
	Method
	asked // the canonical path of the call that another one was forwarded for
)

var dimensionNames = [...]string{
	Subject: "subject", Issuer: "issuer", Model: "model", Location: "location", Project: "project", Role: "role", Rule: "rule",
	Account: "account", Reason: "reason", Method: "method", asked: "uri_asked",
}

// String returns the name of the dimension, which is also that of its field in a line.
func (d Dimension) String() string {
	if int(d) < len(dimensionNames) {
		return dimensionNames[d]
	}
	return ""
}

// Dimensions returns all dimensions.
func Dimensions() []Dimension {
	return []Dimension{Subject, Issuer, Model, Location, Project, Role, Rule, Account, Reason, Method}
}

// ParseDimension returns the dimension with a name.
func ParseDimension(name string) (Dimension, bool) {
	all := Dimensions()
	i := slices.IndexFunc(all, func(d Dimension) bool { return d.String() == name })
	if i < 0 {
		return 0, false
	}
	return all[i], true
}

// Filter chooses lines. The zero Filter chooses all.
type Filter struct {
	Since, Until time.Time // of the decision: Since is included, Until is not; zero for no bound
	Decision     string    // allow, deny, or empty for both

	// Match holds patterns, all of which have to match. A star stands for any text. The pattern of a model may have publisher/ before it.
	Match map[Dimension]string
}

// filter is a Filter made ready.
type filter struct {
	since, until int64
	allow, deny  bool // what is chosen
	match        []matcher
	texts        []byte // scratch
}

type matcher struct {
	of      Dimension
	pattern pattern
	full    bool // the pattern has publisher/ before it
}

func newFilter(f *Filter) *filter {
	c := &filter{since: -1 << 63, until: 1<<63 - 1, allow: f.Decision != "deny", deny: f.Decision != "allow"}
	if !f.Since.IsZero() {
		c.since = micros(f.Since)
	}
	if !f.Until.IsZero() {
		c.until = micros(f.Until)
	}
	for _, d := range append(Dimensions(), asked) {
		if text, ok := f.Match[d]; ok {
			full := d == Model && strings.Contains(text, "/") && !strings.HasPrefix(text, endpointPrefix)
			c.match = append(c.match, matcher{d, newPattern(text), full})
		}
	}
	return c
}

// takes reports whether a decision or a closing is chosen. A closing is that of a call that was let through.
func (f *filter) takes(l *line) bool {
	at := l.time
	if l.kind != decision && l.decided != 0 {
		at = l.decided
	}
	if at < f.since || at >= f.until {
		return false
	}
	if l.kind == decision && !l.allow {
		if !f.deny {
			return false
		}
	} else if !f.allow {
		return false
	}
	for i := range f.match {
		if !f.matches(&f.match[i], l) {
			return false
		}
	}
	return true
}

func (f *filter) matches(m *matcher, l *line) bool {
	f.texts = f.texts[:0]
	if m.full {
		f.texts = appendFullModel(f.texts, l)
	} else {
		f.texts = appendDimension(f.texts, l, m.of)
	}
	return m.pattern.match(f.texts)
}

const endpointPrefix = "endpoints/"

// appendDimension appends what a line says of a dimension.
func appendDimension(b []byte, l *line, d Dimension) []byte {
	switch d {
	case Subject:
		return append(b, l.subject...)
	case Issuer:
		return append(b, l.issuer...)
	case Model:
		return appendModel(b, l)
	case Location:
		return append(b, l.location...)
	case Project:
		return append(b, l.project...)
	case Role:
		return append(b, l.role...)
	case Rule:
		return append(b, l.rule...)
	case Account:
		return append(b, l.account...)
	case Reason:
		return append(b, l.reason...)
	case Method:
		return append(b, l.method...)
	case asked:
		return append(b, l.asked...)
	}
	return b
}

// modelInBody reports whether the body alone names the model that answers: it is so for the OpenAI-compatible calls, and where Anthropic's
// tokens are counted.
func modelInBody(l *line) bool {
	return len(l.bodyModel) > 0 && (len(l.model) == 0 || string(l.model) == "count-tokens")
}

func appendModel(b []byte, l *line) []byte {
	switch {
	case modelInBody(l):
		return append(b, l.bodyModel[bytes.LastIndexByte(l.bodyModel, '/')+1:]...)
	case len(l.model) > 0:
		return append(b, l.model...)
	case len(l.endpoint) > 0:
		return append(append(b, endpointPrefix...), l.endpoint...)
	}
	return b
}

// appendFullModel appends the model with publisher/ before it.
func appendFullModel(b []byte, l *line) []byte {
	if modelInBody(l) && bytes.IndexByte(l.bodyModel, '/') > 0 {
		return append(b, l.bodyModel...)
	}
	if len(l.publisher) > 0 {
		b = append(append(b, l.publisher...), '/')
	}
	return appendModel(b, l)
}

// pattern is text in which a star stands for any text, also for none.
type pattern struct {
	text    string
	literal bool
	parts   []string // between the stars
}

func newPattern(text string) pattern {
	parts := strings.Split(text, "*")
	return pattern{text, len(parts) == 1, parts}
}

// match reports whether the whole of s matches, in time proportional to its length times the number of stars.
func (p *pattern) match(s []byte) bool {
	if p.literal {
		return string(s) == p.text
	}
	first, last := p.parts[0], p.parts[len(p.parts)-1]
	if len(s) < len(first)+len(last) || string(s[:len(first)]) != first || string(s[len(s)-len(last):]) != last {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range p.parts[1 : len(p.parts)-1] {
		i := bytes.Index(s, []byte(part))
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}
