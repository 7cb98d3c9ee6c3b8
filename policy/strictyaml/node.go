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
	style  style
	null   bool  // a scalar that is empty, ~ or null, without quotes
	index  int32 // the place in the list that it stands in
	Line   int   // from 1
	Column int   // from 1, in characters

	text    string // of a scalar, as written, without its quotes
	items   []*Node
	entries []Entry // the Value is nil where it was refused
	file    *file
	parent  *Node  // nil for the document itself
	key     string // the key it stands under, if that is in a mapping; a key stands under itself
}

// style is how a scalar is written.
type style uint8

const (
	plainStyle   style = iota
	quotedStyle        // in quotes
	literalStyle       // as a block whose lines are kept
	foldedStyle        // as a block whose lines are joined
)

// Entry is one key of a mapping with its value.
type Entry struct{ Key, Value *Node }

// Name returns the text of the key.
func (e Entry) Name() string { return e.Key.text }

// Position returns file:line:column, to name the place in the message of another problem.
func (n *Node) Position() string { return fmt.Sprintf("%s:%d:%d", n.file.name, n.Line, n.Column) }

// String returns the value on one line, for messages.
func (n *Node) String() string {
	var parts []string
	for _, item := range n.items {
		parts = append(parts, item.String())
	}
	for _, e := range n.entries {
		if e.Value != nil {
			parts = append(parts, e.Name()+": "+e.Value.String())
		}
	}
	switch n.Kind {
	case List:
		return "[" + strings.Join(parts, ", ") + "]"
	case Mapping:
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return printable(n.text)
}

// Within returns the place of a character of the text of n, for problems: line from 1, column from 0, in characters, as the text of the
// node counts them. In a text that holds escapes or blank lines that were folded it is a place nearby.
func (n *Node) Within(line, column int) *Node {
	at := *n
	switch {
	case n.Kind != Scalar:
	case n.style == quotedStyle:
		at.Column += 1 + column
	case n.style == literalStyle:
		at.Line, at.Column = n.Line+line, n.file.indent(n.Line+line)+column+1
	case n.style == foldedStyle, !strings.Contains(n.file.line(n.Line), printable(n.text)): // or without quotes on several lines
		at.Line, at.Column = n.file.unfold(n, column)
	default:
		at.Column += column
	}
	return &at
}

// indent returns how far a line is indented.
func (f *file) indent(number int) int {
	text := f.line(number)
	return len(text) - len(strings.TrimLeft(text, " "))
}

// unfold returns the place of a character of a text whose lines were joined by spaces.
func (f *file) unfold(n *Node, column int) (line, at int) {
	line, at = n.Line, n.Column
	if text := []rune(f.line(line)); at <= len(text) && text[at-1] == '>' {
		line++ // the text begins on the line after its mark
		at = f.indent(line) + 1
	}
	for rest := len([]rune(n.text)); column >= 0 && column < rest; {
		length := len([]rune(strings.TrimRight(f.line(line), " "))) - at + 1
		if column <= length {
			return line, at + column
		}
		column, rest = column-length-1, rest-length-1
		line++
		at = f.indent(line) + 1
	}
	return line, at
}

// path returns the keys that lead to n, joined by dots, with elements of lists as [0]. It is empty for the document itself.
func (n *Node) path() string {
	switch {
	case n.parent == nil:
		return ""
	case n.parent.Kind == List:
		return fmt.Sprintf("%s[%d]", n.parent.path(), n.index)
	case n.key == "":
		return n.parent.path()
	}
	return n.parent.child(n.key)
}

// File returns the name of the file, as in messages.
func (n *Node) File() string { return n.file.name }

// file is the text that nodes were read from.
type file struct {
	name string
	text string
}

// line returns a line, made printable. It is there for messages: it looks for the line from the start of the file.
func (f *file) line(number int) string {
	rest := f.text
	for range number - 1 {
		i := strings.IndexByte(rest, '\n')
		if i < 0 {
			return ""
		}
		rest = rest[i+1:]
	}
	line, _, _ := strings.Cut(rest, "\n")
	return printable(strings.TrimSuffix(line, "\r"))
}

// child returns the path of a key below this node.
func (n *Node) child(key string) string {
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == '.' || r == '"' || r > '~' }) || len(key) > 64 {
		key = Quote(key)
	}
	if path := n.path(); path != "" {
		return path + "." + key
	}
	return key
}
