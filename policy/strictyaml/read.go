package strictyaml

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Field says how one key of a mapping is read.
type Field struct {
	Name     string
	Required bool
	Refused  string      // when not empty, the key is known but its use is a problem with this text after the key's name
	Read     func(*Node) // called with the value; may be nil only with Refused
}

// Object reads a mapping with a fixed set of keys. It calls Read for each key that is there, in the order of fields, and adds problems
// for keys that are unknown, refused or missing. It returns false when n is no mapping.
func (n *Node) Object(p *Problems, fields []Field) bool {
	if !n.is(p, Mapping) {
		return false
	}
	for _, e := range n.entries {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == e.Name() })
		switch {
		case i < 0 && p.full():
			p.Addf(e.Key, "unknown key")
		case i < 0:
			p.Addf(e.Key, "unknown key %s%s", Quote(e.Name()), Suggest(e.Name(), readable(fields)))
		case fields[i].Refused != "":
			p.Addf(e.Key, "%s %s", Quote(e.Name()), fields[i].Refused)
		}
	}
	for _, f := range fields {
		value, found := n.get(f.Name)
		switch {
		case value != nil && f.Refused == "":
			f.Read(value)
		case !found && f.Required:
			p.Addf(n, "missing key %s", Quote(f.Name))
		}
	}
	return true
}

func readable(fields []Field) []string {
	var names []string
	for _, f := range fields {
		if f.Refused == "" {
			names = append(names, f.Name)
		}
	}
	return names
}

// Match finds the keys of a mapping with a fixed set of keys: into found[i] goes the entry of names[i], whose Value is nil where Parse
// refused it; where there is none, found[i] stays as it is. It adds problems for keys that are unknown, and returns false when n is no
// mapping.
func (n *Node) Match(p *Problems, names []string, found []Entry) bool {
	if !n.is(p, Mapping) {
		return false
	}
	for _, e := range n.entries {
		i := slices.Index(names, e.Name())
		switch {
		case i >= 0:
			found[i] = e
		case p.full():
			p.Addf(e.Key, "unknown key")
		default:
			p.Addf(e.Key, "unknown key %s%s", Quote(e.Name()), Suggest(e.Name(), names))
		}
	}
	return true
}

// Get returns the value of a key of a mapping, or nil where there is none or Parse refused it.
func (n *Node) Get(key string) *Node {
	value, _ := n.get(key)
	return value
}

// Has reports whether a mapping has a key, also one whose value Parse refused.
func (n *Node) Has(key string) bool {
	_, found := n.get(key)
	return found
}

// Len returns the number of keys of a mapping or of elements of a list.
func (n *Node) Len() int { return max(len(n.entries), len(n.items)) }

// get returns the value of a key. The value is nil, though found, where Parse refused it.
func (n *Node) get(key string) (value *Node, found bool) {
	for _, e := range n.entries {
		if e.Name() == key {
			return e.Value, true
		}
	}
	return nil, false
}

// Entries returns the keys and values of a mapping whose keys are free names, in the file's order. Anything but a mapping is a problem
// and has none.
func (n *Node) Entries(p *Problems) []Entry {
	if !n.is(p, Mapping) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(n.entries), func(e Entry) bool { return e.Value == nil })
}

// Items returns the elements of a list, or n itself when it is no list: where several values may stand, one may stand alone. An empty
// list or value is a problem.
func (n *Node) Items(p *Problems) []*Node {
	switch {
	case n.Kind == List && len(n.items) == 0:
		p.Addf(n, "the list is empty")
		return nil
	case n.Kind == List:
		return slices.Clone(n.items)
	case n.null:
		p.Addf(n, "the value is missing")
		return nil
	}
	return []*Node{n}
}

// Elements is Items without a copy: the result is only read.
func (n *Node) Elements(p *Problems) []*Node {
	if n.Kind == List {
		if len(n.items) == 0 {
			p.Addf(n, "the list is empty")
		}
		return n.items
	}
	return n.Items(p)
}

// Text returns a text as it is written. Anything but a text, and an empty one, is a problem.
func (n *Node) Text(p *Problems) (string, bool) {
	switch {
	case !n.is(p, Scalar):
		return "", false
	case n.text == "" || n.null:
		p.Addf(n, "the value is missing")
		return "", false
	}
	return n.text, true
}

// Texts returns one or several texts, as a list or alone. It returns false after a problem.
func (n *Node) Texts(p *Problems) ([]string, bool) {
	items := n.Items(p)
	texts := make([]string, 0, len(items))
	for _, item := range items {
		if text, ok := item.Text(p); ok {
			texts = append(texts, text)
		}
	}
	return texts, len(texts) > 0 && len(texts) == len(items)
}

// Bool returns true or false.
func (n *Node) Bool(p *Problems) (value, ok bool) {
	text, ok := n.Enum(p, "true", "false")
	return text == "true", ok
}

// Int returns a whole decimal number between least and most.
func (n *Node) Int(p *Problems, least, most int) (int, bool) {
	text, ok := n.Text(p)
	if !ok {
		return 0, false
	}
	v, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(v) != text || v < least || v > most {
		p.Addf(n, "%s is not a whole number from %d to %d", Quote(text), least, most)
		return 0, false
	}
	return v, true
}

// Duration returns a length of time between least and most, written with units as in 90s, 15m or 1h30m.
func (n *Node) Duration(p *Problems, least, most time.Duration) (time.Duration, bool) {
	text, ok := n.Text(p)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		p.Addf(n, "%s is not a length of time from %s to %s, such as 90s, 15m or 1h", Quote(text), short(least), short(most))
		return 0, false
	}
	return d, true
}

// short writes a duration without the zero units at its end.
func short(d time.Duration) string {
	s := d.String()
	if rest, ok := strings.CutSuffix(s, "m0s"); ok {
		s = rest + "m"
	}
	if rest, ok := strings.CutSuffix(s, "h0m"); ok {
		s = rest + "h"
	}
	return s
}

// Enum returns a text that is one of those allowed.
func (n *Node) Enum(p *Problems, allowed ...string) (string, bool) {
	text, ok := n.Text(p)
	if !ok {
		return "", false
	}
	if !slices.Contains(allowed, text) {
		p.Addf(n, "%s is none of %s%s", Quote(text), strings.Join(allowed, ", "), Suggest(text, allowed))
		return "", false
	}
	return text, true
}

// is adds a problem when n is not of the kind.
func (n *Node) is(p *Problems, kind Kind) bool {
	switch {
	case n.Kind == kind:
		return true
	case n.null:
		p.Addf(n, "the value is missing: want %s", kind)
	default:
		p.Addf(n, "want %s, not %s", kind, n.Kind)
	}
	return false
}
