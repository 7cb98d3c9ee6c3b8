// Package format writes the files of a policy in one form, as gofmt does for Go: keys in a fixed order, two spaces a level, one space
// inside braces, short entries in columns below each other. It keeps comments, blank lines between entries, the order of what is named
// freely (roles are tried in that order), and whether something is written on one line in braces or as a block, as long as it fits.
//
// Its promise is kept by checking: the new text is read again, and has to hold the same values and the same comments as the old one, and
// to be formatted into itself, or it is not returned.
package format

import (
	"bytes"
	"fmt"
)

// rounds bounds how often a text is formatted until it stays as it is. Comments in odd places may move twice.
const rounds = 5

// Source returns the text of a file in its one form; what it returns it leaves as it is. The name is for messages, and tells files of
// tests, *_test.yaml, from files of a policy. A text that is not a document of strictyaml is a *strictyaml.Error. Keys that the language
// does not have are not Source's concern, and stand last. It is safe for concurrent use.
func Source(name string, data []byte) ([]byte, error) {
	original, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	doc, text := original, data
	for range rounds {
		next := doc.format(name)
		if bytes.Equal(next, text) {
			return text, nil
		}
		if doc, err = parse(name, next); err != nil {
			return nil, fmt.Errorf("%s: cannot be formatted, since its new text would not be read: %w", name, err)
		}
		if what := original.differs(doc); what != "" {
			return nil, fmt.Errorf("%s: cannot be formatted, since its new text would say something else: %s", name, what)
		}
		text = next
	}
	return nil, fmt.Errorf("%s: cannot be formatted, since no form of it stays as it is", name)
}

// format returns the document in its form. The document is used up.
func (d *document) format(name string) []byte {
	d.root.sort(orderOf(name), "")
	d.root.hoist()
	if isTest(name) {
		return d.print(printer{testWidth})
	}
	return d.print(printer{policyWidth})
}
