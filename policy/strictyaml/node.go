package strictyaml

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is the shape of a node.
type Kind uint8

// The kinds.
const (
	Scalar Kind = iota + 1 // a text
	List
	Mapping
)

func (k Kind) String() string {
	switch k {
	case Scalar:
		return "a single value"
	case List:
		return "a list"
	case Mapping:
		return "a mapping"
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Node is one value of a document with its place. Nodes come from Parse and are not changed afterwards.
type Node struct {
	Kind   Kind
	Line   int    // from 1
	Column int    // from 1, in characters
	Path   string // the keys that lead here, joined by dots; list elements as [0]; empty for the document itself

	text    string // of a scalar, as written, without its quotes
	null    bool   // a scalar that is empty, ~ or null, without quotes
	items   []*Node
	entries []Entry // the Value is nil where it was refused
	file    *file
}

// Entry is one key of a mapping with its value.
type Entry struct{ Key, Value *Node }

// Name returns the text of the key.
func (e Entry) Name() string { return e.Key.text }

// Position returns file:line:column, to name the place in the message of another problem.
func (n *Node) Position() string { return fmt.Sprintf("%s:%d:%d", n.file.name, n.Line, n.Column) }

// file is the text that nodes were read from.
type file struct {
	name  string
	lines []string
}

func (f *file) line(number int) string {
	if number < 1 || number > len(f.lines) {
		return ""
	}
	return printable(strings.TrimSuffix(f.lines[number-1], "\r"))
}

// child returns the path of a key below this node.
func (n *Node) child(key string) string {
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == '.' || r == '"' || r > '~' }) || len(key) > 64 {
		key = Quote(key)
	}
	if n.Path == "" {
		return key
	}
	return n.Path + "." + key
}
