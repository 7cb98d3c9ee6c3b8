package policy

import (
	"slices"
	"strconv"
	"time"

	"vertex-spoa/policy/strictyaml"
)

// key is what there is to say about one key of a mapping, for the schema and the reference.
type key struct {
	name       string
	doc        string // one or two sentences, in Markdown
	required   bool
	unenforced bool   // its value is read like any other, and then the key is refused
	refused    string // not empty: the key is no part of the language, and this says why, after its name
	shape      valueShape
}

// field is a key with its reader. The tables of fields are the one place that knows the language's keys: they decode it, and Schema and
// Reference are made from them.
type field[T any] struct {
	key
	read func(l *loader, n *strictyaml.Node, to *T)
}

// must returns the field as one that has to be there.
func (f field[T]) must() field[T] {
	f.required = true
	return f
}

// later returns the field as one that does not load yet. Reading on without it would leave a caller with more than the policy says.
func (f field[T]) later() field[T] {
	f.unenforced = true
	return f
}

// table is the keys of one mapping.
type table[T any] struct {
	fields []field[T]
	names  []string
}

func newTable[T any](fields ...field[T]) *table[T] {
	t := &table[T]{fields: fields}
	for _, f := range fields {
		t.names = append(t.names, f.name)
	}
	return t
}

// valueShape is that of the mapping.
func (t *table[T]) valueShape() valueShape {
	s := valueShape{kind: mappingShape}
	for _, f := range t.fields {
		if f.refused == "" {
			s.keys = append(s.keys, f.key)
		}
	}
	return s
}

// maxFields bounds how many fields a table has, so that reading one allocates nothing.
const maxFields = 32

// read reads a mapping into to, field by field in the order of the table. It returns false when n is no mapping.
func (t *table[T]) read(l *loader, n *strictyaml.Node, to *T) bool {
	var few [maxFields]strictyaml.Entry
	entries := few[:len(t.fields)]
	if !n.Match(&l.problems, t.names, entries) {
		return false
	}
	for i := range t.fields {
		f := &t.fields[i]
		before := l.problems.Len()
		switch e := entries[i]; {
		case e.Key == nil && f.required:
			l.problems.Addf(n, "missing key %s", strictyaml.Quote(f.name))
		case e.Key != nil && f.refused != "":
			l.problems.Addf(e.Key, "%s %s", strictyaml.Quote(f.name), f.refused)
		case e.Value != nil:
			f.read(l, e.Value, to)
			if f.unenforced && l.problems.Len() == before {
				l.problems.Addf(e.Key, "%q %s", f.name, notEnforced)
			}
		}
	}
	return true
}

// custom is a field with a reader of its own.
func custom[T any](name, doc string, s valueShape, read func(l *loader, n *strictyaml.Node, to *T)) field[T] {
	return field[T]{key{name: name, doc: doc, shape: s}, read}
}

// misplaced is a field for a key that people look for here, and that is not there for the reason given.
func misplaced[T any](name, reason string) field[T] {
	return field[T]{key: key{name: name, refused: reason}}
}

// text is a field that holds one text that is judged by check, which adds problems; nil takes any.
func text[T any](name, doc string, s valueShape, at func(*T) *string, check func(l *loader, n *strictyaml.Node, text string)) field[T] {
	return custom(name, doc, s, func(l *loader, n *strictyaml.Node, to *T) {
		if t, ok := n.Text(&l.problems); ok {
			*at(to) = t
			if check != nil {
				check(l, n, t)
			}
		}
	})
}

// texts is a field that holds one text or a list of them, each judged by check.
func texts[T any](name, doc string, s valueShape, at func(*T) *[]string, check func(l *loader, n *strictyaml.Node, text string)) field[T] {
	return custom(name, doc, severalOf(s), func(l *loader, n *strictyaml.Node, to *T) {
		*at(to) = l.readTexts(n, check)
	})
}

// readTexts reads one text or a list of them. A text that check finds wrong is returned as well, lest the condition seem to be missing
// on top.
func (l *loader) readTexts(n *strictyaml.Node, check func(l *loader, n *strictyaml.Node, text string)) []string {
	items := n.Elements(&l.problems)
	if len(items) == 0 {
		return nil
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		t, ok := item.Text(&l.problems)
		if ok && check != nil {
			check(l, item, t)
		}
		list = append(list, t)
	}
	return list
}

// word is a field that holds one of a few words.
func word[T any](name, doc string, words []string, at func(*T) *string) field[T] {
	return custom(name, doc, valueShape{kind: textShape, words: words}, func(l *loader, n *strictyaml.Node, to *T) {
		*at(to), _ = n.Enum(&l.problems, words...)
	})
}

// words is a field that holds one or more of a few words.
func words[T any](name, doc string, words []string, at func(*T) *[]string) field[T] {
	return custom(name, doc, severalOf(valueShape{kind: textShape, words: words}), func(l *loader, n *strictyaml.Node, to *T) {
		for _, item := range n.Elements(&l.problems) {
			if t, ok := item.Enum(&l.problems, words...); ok && !slices.Contains(*at(to), t) {
				*at(to) = append(*at(to), t)
			}
		}
	})
}

// duration is a field that holds a length of time.
func duration[T any](name, doc string, least, most time.Duration, at func(*T) *time.Duration) field[T] {
	s := valueShape{kind: textShape, pattern: durationPattern, hint: "a length of time from " + short(least) + " to " + short(most),
		examples: []string{"90s", "15m", "1h30m"}}
	return custom(name, doc, s, func(l *loader, n *strictyaml.Node, to *T) {
		*at(to), _ = n.Duration(&l.problems, least, most)
	})
}

// flag is a field that holds true or false.
func flag[T any](name, doc string, at func(*T) *bool) field[T] {
	return custom(name, doc, valueShape{kind: boolShape}, func(l *loader, n *strictyaml.Node, to *T) {
		*at(to), _ = n.Bool(&l.problems)
	})
}

// mapping is a field that holds a mapping with the keys of a table, at least one, whose target begin returns.
func mapping[T, U any](name, doc string, t *table[U], begin func(*T) *U) field[T] {
	s := t.valueShape()
	s.minKeys = 1
	return custom(name, doc, s, func(l *loader, n *strictyaml.Node, to *T) {
		if before := l.problems.Len(); t.read(l, n, begin(to)) && n.Len() == 0 && l.problems.Len() == before {
			l.problems.Addf(n, "the mapping is empty: write what it is to say, or leave it out")
		}
	})
}

// short writes a duration without zero units.
func short(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	case d%time.Minute == 0:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	}
	return d.String()
}
