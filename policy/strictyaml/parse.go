package strictyaml

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

const (
	// MaxSize is the size up to which a file is read, in bytes.
	MaxSize = 4 << 20
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
	f := &file{name: name, text: text}
	if !f.checkText(text, p) {
		return nil
	}
	if root := quickParse(f); root != nil {
		return root
	}
	return f.parse(data, p)
}

// parse reads a document with the YAML library, which knows all of the language.
func (f *file) parse(data []byte, p *Problems) *Node {
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		f.addSyntax(err, p)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Tag == "!!null" {
		p.AddFile(f.name, "the file is empty")
		return nil
	}
	r := reader{f, p}
	root, ok := r.node(doc.Content[0], place{}, 1)
	if !ok {
		return nil
	}
	return root
}

// ParseAll parses several files as Parse does, at the same time. The result holds what Parse returns for each; problems are added in the
// order of the files.
func ParseAll(names []string, data [][]byte, p *Problems) []*Node {
	roots := make([]*Node, len(names))
	problems := make([]Problems, len(names))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(len(names), runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := range next {
				roots[i] = Parse(names[i], data[i], &problems[i])
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	workers.Wait()
	for i := range problems {
		p.join(&problems[i])
	}
	return roots
}

// checkText refuses text that editors and the YAML reader show or count differently: what is not UTF-8, control characters, line
// breaks other than LF and CRLF, and characters that turn the direction of writing.
func (f *file) checkText(text string, p *Problems) bool {
	if isASCIIText(text) || utf8.ValidString(text) && strings.IndexFunc(strings.ReplaceAll(text, "\r\n", "\n"), treacherous) < 0 {
		return true
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if i < len(lines)-1 {
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

// isASCIIText reports whether a text is printable ASCII and ends its lines with LF, as most files are.
func isASCIIText(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < ' ' || c > '~') && c != '\n' {
			return false
		}
	}
	return true
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
	return r == 0xfeff || r == 0xfffe || r == 0xffff // byte order mark; and two that are no characters of YAML
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
		message += ": a value that holds a colon and a space needs quotes, or a block that begins with >- on the line before it"
	case f.indentedByTab(syntax.Mark.Line):
		message += ": indent with spaces, not with tabs"
	}
	p.Addf(&Node{file: f, Line: syntax.Mark.Line, Column: max(1, syntax.Mark.Column)}, "%s", message)
}

func (f *file) indentedByTab(number int) bool {
	lines := strings.Split(f.text, "\n")
	return number <= len(lines) && strings.HasPrefix(strings.TrimLeft(lines[number-1], " "), "\t")
}

// reader turns the library's nodes into ours.
type reader struct {
	file     *file
	problems *Problems
}

// node reads raw, which stands at a place. It returns false when raw was refused.
func (r reader) node(raw *yaml.Node, at place, depth int) (*Node, bool) {
	n := &Node{Line: max(1, raw.Line), Column: max(1, raw.Column), file: r.file, parent: at.parent, key: at.key, index: int32(at.index)}
	if refusal := refuse(raw, depth); refusal != "" {
		r.problems.Addf(n, "%s", refusal)
		return nil, false
	}
	switch raw.Kind {
	case yaml.ScalarNode:
		n.Kind, n.text, n.null, n.style = Scalar, raw.Value, raw.Tag == "!!null", styleOf(raw)
	case yaml.SequenceNode:
		n.Kind = List
		for i, item := range raw.Content {
			if child, ok := r.node(item, place{parent: n, index: i}, depth+1); ok {
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

// styleOf returns how a scalar is written.
func styleOf(raw *yaml.Node) style {
	switch {
	case raw.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return quotedStyle
	case raw.Style&yaml.LiteralStyle != 0:
		return literalStyle
	case raw.Style&yaml.FoldedStyle != 0:
		return foldedStyle
	}
	return plainStyle
}

// entries reads the keys and values of a mapping into n.
func (r reader) entries(raw *yaml.Node, n *Node, depth int) {
	seen := map[string]*Node{}
	for i := 0; i+1 < len(raw.Content); i += 2 {
		key, ok := r.key(raw.Content[i], n, depth)
		if !ok {
			continue
		}
		value, ok := r.node(raw.Content[i+1], place{parent: n, key: key.text}, depth+1)
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
	key, ok := r.node(raw, place{parent: n}, depth+1)
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
	key.key = key.text
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
