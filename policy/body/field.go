package body

import (
	"iter"
	"math"
	"strconv"
	"strings"
)

// value is a value of a document: the place of its node, or absent.
type value int32

// absent is a field that is not there, or null.
const absent value = -1

// root is the body itself.
const root value = 0

// fail keeps the first error.
func (d *document) fail(cause Cause, field string, at value) {
	if d.err == nil {
		d.err = &Error{Cause: cause, Field: field, Offset: int(d.nodes[at].start)}
	}
}

// name returns the text of a node; it holds until the next call.
func (d *document) name(n *node) []byte {
	b := d.data[n.start:n.end]
	if n.escaped {
		d.scratch = unescape(d.scratch[:0], b)
		return d.scratch
	}
	return b
}

// members yields the places of an object's names; the value follows its name. It yields nothing for what is absent.
func (d *document) members(v value) iter.Seq[value] {
	return func(yield func(value) bool) {
		if v == absent {
			return
		}
		for at, end := v+1, value(d.nodes[v].next); at < end; at = value(d.nodes[at+1].next) {
			if !yield(at) {
				return
			}
		}
	}
}

// elements yields the elements of a list, and of an object that stands for a list the object itself. It yields nothing for what is absent.
func (d *document) elements(v value) iter.Seq[value] {
	return func(yield func(value) bool) {
		if v == absent {
			return
		}
		at, end := v, value(d.nodes[v].next)
		if d.nodes[v].kind == list {
			at++
		}
		for ; at < end; at = value(d.nodes[at].next) {
			if !yield(at) {
				return
			}
		}
	}
}

// spelling says how the name of a field is written.
type spelling uint8

const (
	asWritten spelling = iota // as it stands
	proto                     // lowerCamelCase as it stands, or with underscores: the JSON form of protocol buffers takes both
)

// field returns a field of an object. A name that differs from it in case or underscores alone is an error: some reader may take it for
// the field, and another may not.
func (d *document) field(v value, name string, s spelling) value {
	found := absent
	for at := range d.members(v) {
		key := d.name(&d.nodes[at])
		if !folds(key, name) {
			continue
		}
		if string(key) != name && (s != proto || !isSnake(key, name)) {
			d.fail(Misspelled, name, at)
			return absent
		}
		if d.nodes[at+1].kind != null {
			found = at + 1
		}
	}
	return found
}

// folds reports whether two names are the same but for case and underscores.
func folds(key []byte, name string) bool {
	i := 0
	for _, c := range key {
		if c == '_' {
			continue
		}
		for i < len(name) && name[i] == '_' {
			i++
		}
		if i == len(name) || lower(c) != lower(name[i]) {
			return false
		}
		i++
	}
	return i == len(name)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// isSnake reports whether key is the name in lowerCamelCase written with underscores.
func isSnake(key []byte, name string) bool {
	i := 0
	for _, c := range []byte(name) {
		if 'A' <= c && c <= 'Z' {
			if i == len(key) || key[i] != '_' {
				return false
			}
			i, c = i+1, lower(c)
		}
		if i == len(key) || key[i] != c {
			return false
		}
		i++
	}
	return i == len(key)
}

// is checks that a value is of a kind, and returns absent when it is not or is absent.
func (d *document) is(v value, k kind, name string) value {
	if v != absent && d.nodes[v].kind != k {
		d.fail(WrongType, name, v)
		return absent
	}
	return v
}

func (d *document) object(v value, name string, s spelling) value {
	return d.is(d.field(v, name, s), object, name)
}

func (d *document) list(v value, name string, s spelling) value {
	return d.is(d.field(v, name, s), list, name)
}

// objects returns a list of objects, whose elements are checked. Google's reader of the JSON form of protocol buffers takes an object in
// place of a list that has it alone, and much is written so; then it is that object.
func (d *document) objects(v value, name string, s spelling) value {
	l := d.field(v, name, s)
	if s == proto && l != absent && d.nodes[l].kind == object {
		return l
	}
	l = d.is(l, list, name)
	for e := range d.elements(l) {
		if d.is(e, object, name) == absent {
			return absent
		}
	}
	return l
}

func (d *document) text(v value, name string, s spelling) Opt[string] {
	return d.textOf(d.is(d.field(v, name, s), text, name), name)
}

// textOf returns a short text.
func (d *document) textOf(v value, name string) Opt[string] {
	if v == absent {
		return Opt[string]{}
	}
	n := &d.nodes[v]
	if n.end-n.start > MaxName {
		d.fail(TooLong, name, v)
		return Opt[string]{}
	}
	return Opt[string]{string(d.name(n)), true}
}

// texts appends the texts of a list to those of a fact.
func (d *document) texts(to *[]string, v value, name string, s spelling) {
	for e := range d.elements(d.list(v, name, s)) {
		if t := d.textOf(d.is(e, text, name), name); t.Set {
			d.add(to, t.Value, e)
		}
	}
}

// add appends to a list of a fact.
func (d *document) add(to *[]string, s string, at value) {
	if len(*to) == MaxNames {
		d.fail(TooMany, "", at)
		return
	}
	*to = append(*to, s)
}

func (d *document) boolean(v value, name string, s spelling) Opt[bool] {
	at := d.is(d.field(v, name, s), boolean, name)
	if at == absent {
		return Opt[bool]{}
	}
	return Opt[bool]{d.data[d.nodes[at].start] == 't', true}
}

// count reads an integer from 1 on that fits into 32 bits, as those of the API do. Zero is refused: it is no count that the API takes, and
// a server that read it as absent would not be bound by it.
func (d *document) count(v value, name string, s spelling) Opt[int64] {
	at := d.is(d.field(v, name, s), number, name)
	if at == absent {
		return Opt[int64]{}
	}
	n, err := strconv.ParseUint(string(d.data[d.nodes[at].start:d.nodes[at].end]), 10, 31)
	if err != nil || n == 0 {
		d.fail(OutOfRange, name, at)
		return Opt[int64]{}
	}
	return Opt[int64]{int64(n), true}
}

// number reads a number that float64 can hold.
func (d *document) number(v value, name string, s spelling) Opt[float64] {
	at := d.is(d.field(v, name, s), number, name)
	if at == absent {
		return Opt[float64]{}
	}
	f, err := strconv.ParseFloat(string(d.data[d.nodes[at].start:d.nodes[at].end]), 64)
	if err != nil || math.IsInf(f, 0) {
		d.fail(OutOfRange, name, at)
		return Opt[float64]{}
	}
	return Opt[float64]{f, true}
}

// hasPrefix reports whether a text begins with the prefix, which has no characters that need escapes.
func (d *document) hasPrefix(v value, prefix string) bool {
	n := &d.nodes[v]
	b := d.data[n.start:min(n.end, n.start+6*uint32(len(prefix)))]
	if n.escaped {
		b = d.data[n.start:n.end]
		d.scratch = unescape(d.scratch[:0], b)
		b = d.scratch
	}
	return strings.HasPrefix(string(b), prefix)
}
