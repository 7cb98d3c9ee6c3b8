package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

const (
	// MaxSize is the size up to which a file is read, in bytes.
	MaxSize = 1 << 20
	// maxDepth bounds how deep mappings and lists nest.
	maxDepth = 20
)

// Parse reads the one document of a file. The name is for messages only. What is wrong is added to p, and Parse returns nil when it is
// nothing that could be read on; otherwise the node is complete but for the parts that were refused. The data is not kept.
func Parse(name string, data []byte, p *Problems) *Node {
	if len(data) > MaxSize {
		p.AddFile(name, "the file has %d bytes, more than %d: split it", len(data), MaxSize)
		return nil
	}
	text := string(data)
	f := &file{name: name, lines: strings.Split(text, "\n")}
	if !f.checkText(text, p) {
		return nil
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		f.addSyntax(err, p)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Tag == "!!null" {
		p.AddFile(name, "the file is empty")
		return nil
	}
	r := reader{f, p}
	root, ok := r.node(doc.Content[0], &Node{file: f}, "", 1)
	if !ok {
		return nil
	}
	return root
}

// checkText refuses text that editors and the YAML reader show or count differently: what is not UTF-8, control characters, line
// breaks other than LF and CRLF, and characters that turn the direction of writing.
func (f *file) checkText(text string, p *Problems) bool {
	if utf8.ValidString(text) && strings.IndexFunc(strings.ReplaceAll(text, "\r\n", "\n"), treacherous) < 0 {
		return true
	}
	for i, line := range f.lines {
		if i < len(f.lines)-1 {
			line = strings.TrimSuffix(line, "\r")
		}
		column := 0
		for j, r := range line {
			column++
			_, size := utf8.DecodeRuneInString(line[j:])
			if r == utf8.RuneError && size == 1 {
				p.Addf(&Node{file: f, Line: i + 1, Column: column}, "the file is not UTF-8 here")
				return false
			}
			if treacherous(r) {
				p.Addf(&Node{file: f, Line: i + 1, Column: column}, "character %U is not allowed in the file", r)
				return false
			}
		}
	}
	p.AddFile(f.name, "the file is not UTF-8")
	return false
}

func treacherous(r rune) bool {
	switch {
	case r == '\t' || r == '\n':
		return false
	case r < ' ' || 0x7f <= r && r < 0xa0: // control characters, among them NEL
		return true
	case r == 0x2028 || r == 0x2029: // line and paragraph separator
		return true
	case 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069: // directions of writing
		return true
	}
	return r == 0xfeff // byte order mark
}

// addSyntax adds an error of the YAML library as a problem.
func (f *file) addSyntax(err error, p *Problems) {
	var syntax *yaml.LoadError
	if !errors.As(err, &syntax) || syntax.Mark.Line < 1 {
		switch {
		case strings.Contains(err.Error(), "no documents"):
			p.AddFile(f.name, "the file is empty")
		case strings.Contains(err.Error(), "found multiple"):
			p.AddFile(f.name, "the file holds more than one document: one file, one document")
		default:
			p.AddFile(f.name, "the file is not YAML: %s", printable(err.Error()))
		}
		return
	}
	message := "not YAML: " + printable(syntax.Message)
	if syntax.ContextMsg != "" {
		message += " (" + printable(syntax.ContextMsg) + ")"
	}
	switch {
	case strings.Contains(syntax.Message, "mapping values are not allowed"):
		message += ": a value that holds a colon and a space needs quotes"
	case syntax.Mark.Line <= len(f.lines) && strings.HasPrefix(strings.TrimLeft(f.lines[syntax.Mark.Line-1], " "), "\t"):
		message += ": indent with spaces, not with tabs"
	}
	p.Addf(&Node{file: f, Line: syntax.Mark.Line, Column: max(1, syntax.Mark.Column)}, "%s", message)
}

// reader turns the library's nodes into ours.
type reader struct {
	file     *file
	problems *Problems
}

// node reads raw, which stands in parent at path. It returns false when raw was refused.
func (r reader) node(raw *yaml.Node, parent *Node, path string, depth int) (*Node, bool) {
	n := &Node{Line: max(1, raw.Line), Column: max(1, raw.Column), Path: path, file: parent.file}
	if refusal := refuse(raw, depth); refusal != "" {
		r.problems.Addf(n, "%s", refusal)
		return nil, false
	}
	switch raw.Kind {
	case yaml.ScalarNode:
		n.Kind, n.text, n.null = Scalar, raw.Value, raw.Tag == "!!null"
	case yaml.SequenceNode:
		n.Kind = List
		for i, item := range raw.Content {
			if child, ok := r.node(item, n, fmt.Sprintf("%s[%d]", path, i), depth+1); ok {
				n.items = append(n.items, child)
			}
		}
	case yaml.MappingNode:
		n.Kind = Mapping
		r.entries(raw, n, depth)
	default: // refused above
	}
	return n, true
}

// entries reads the keys and values of a mapping into n.
func (r reader) entries(raw *yaml.Node, n *Node, depth int) {
	seen := map[string]*Node{}
	for i := 0; i+1 < len(raw.Content); i += 2 {
		key, ok := r.key(raw.Content[i], n, depth)
		if !ok {
			continue
		}
		value, ok := r.node(raw.Content[i+1], n, key.Path, depth+1)
		if first := seen[key.text]; first != nil {
			r.problems.Addf(key, "duplicate key %s: it stands at line %d already", Quote(key.text), first.Line)
			continue
		}
		seen[key.text] = key
		if !ok {
			value = nil
		}
		n.entries = append(n.entries, Entry{key, value})
	}
}

func (r reader) key(raw *yaml.Node, n *Node, depth int) (*Node, bool) {
	key, ok := r.node(raw, n, n.Path, depth+1)
	switch {
	case !ok:
		return nil, false
	case key.Kind != Scalar || key.null || key.text == "":
		r.problems.Addf(key, "a key is a single, non-empty text")
		return nil, false
	case raw.Tag == "!!merge":
		r.problems.Addf(key, "merge keys (<<) are not allowed: write the keys out")
		return nil, false
	}
	key.Path = n.child(key.text)
	return key, true
}

// refuse returns why a node is not allowed, or "".
func refuse(raw *yaml.Node, depth int) string {
	switch {
	case raw.Kind == yaml.AliasNode:
		return "aliases (*" + printable(raw.Value) + ") are not allowed: write the value out"
	case raw.Anchor != "":
		return "anchors (&" + printable(raw.Anchor) + ") are not allowed"
	case raw.Style&yaml.TaggedStyle != 0 || raw.Tag == "!":
		return "tags (" + printable(raw.Tag) + ") are not allowed: values are plain text"
	case depth > maxDepth:
		return fmt.Sprintf("nested more than %d levels deep", maxDepth)
	case raw.Kind != yaml.ScalarNode && raw.Kind != yaml.SequenceNode && raw.Kind != yaml.MappingNode:
		return "not a value"
	}
	return ""
}
