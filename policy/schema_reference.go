package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Reference returns the reference of the language's keys as Markdown: a table for each mapping, in the order of a policy.
func Reference() string {
	var b strings.Builder
	root := documentTable.valueShape()
	reference(&b, "", &root)
	return strings.TrimPrefix(b.String(), "\n")
}

// reference writes the table of a mapping, and then those of the mappings in it.
func reference(b *strings.Builder, path string, s *valueShape) {
	title := "A file"
	if path != "" {
		title = "`" + path + "`"
	}
	fmt.Fprintf(b, "\n#### %s\n\n| key | value | meaning |\n|---|---|---|\n", title)
	for i := range s.keys {
		k := &s.keys[i]
		doc := k.doc
		switch {
		case k.unenforced:
			doc += " **Not enforced by this version: a policy with it does not load.**"
		case k.required:
			doc += " Required."
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", k.name, cell(k.shape.describe()), cell(doc))
	}
	for i := range s.keys {
		inner(b, join(path, s.keys[i].name), &s.keys[i].shape)
	}
}

// inner writes the tables of the mappings that values of s hold.
func inner(b *strings.Builder, path string, s *valueShape) {
	switch s.kind {
	case mappingShape:
		reference(b, path, s)
	case dictionaryShape:
		inner(b, join(path, "X"), s.element)
	case listShape:
		inner(b, path, s.element)
	case eitherShape:
		for i := range s.either {
			if s.either[i].kind != listShape { // of severalOf, whose other half says the same
				inner(b, path, &s.either[i])
			}
		}
	default:
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// cell makes a text fit for a cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// describe says in a few words which values s takes.
func (s *valueShape) describe() string {
	if s.hint != "" && s.kind == dictionaryShape {
		return s.hint
	}
	switch s.kind {
	case integerShape:
		if s.most >= 1<<30 {
			return "a whole number from " + strconv.Itoa(s.least)
		}
		return fmt.Sprintf("a whole number from %d to %d", s.least, s.most)
	case numberShape:
		return "a number"
	case boolShape:
		return "`true` or `false`"
	case versionShape:
		return "`1`"
	case listShape:
		return "a list: " + s.element.describe()
	case mappingShape:
		return "see below"
	case dictionaryShape:
		return "by name: " + s.element.describe()
	case eitherShape:
		return s.describeEither()
	}
	return s.describeText()
}

func (s *valueShape) describeText() string {
	if s.words != nil {
		return "`" + strings.Join(s.words, "`, `") + "`"
	}
	text := s.hint
	if text == "" {
		text = "a text"
	}
	if s.examples != nil {
		text += ": `" + strings.Join(s.examples, "`, `") + "`"
	}
	return text
}

func (s *valueShape) describeEither() string {
	first := s.either[0].describe()
	if len(s.either) == 2 && s.either[1].kind == listShape && s.either[1].element.describe() == first {
		return first + "; one or a list"
	}
	var parts []string
	for i := range s.either {
		parts = append(parts, s.either[i].describe())
	}
	return strings.Join(parts, ", or ")
}
