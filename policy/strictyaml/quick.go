package strictyaml

import "strings"

// quick reads the plain part of YAML in which policies are mostly written, several times as fast as the library does: block mappings and
// lists, flow mappings and lists, and texts on one line, plain or in quotes without escapes. It gives up at whatever else it meets, also
// at every mistake, and the file is then read by the library, which decides what it means. So it need not know all of YAML, but must
// never read otherwise what it does read; a fuzz test holds it to that.
type quick struct {
	file *file
	text string
	slab []Node

	pos   int  // in text, at the next byte
	line  int  // that it stands in, from 1
	start int  // where the line begins
	wide  bool // the text holds characters of several bytes
}

// quickParse returns the root of a document, or nil when it gave up. It has added no problem.
func quickParse(f *file) *Node {
	q := &quick{file: f, text: f.text, line: 1}
	for i := range len(q.text) {
		switch c := q.text[i]; {
		case c == '\t' || c == '\r':
			return nil
		case c >= 0x80:
			q.wide = true
		}
	}
	indent, ok := q.nextLine()
	if !ok || indent != 0 || q.pos == len(q.text) {
		return nil
	}
	root, ok := q.mapping(place{}, 0, 1)
	if !ok || q.pos != len(q.text) {
		return nil
	}
	return root
}

// place is where a value stands in the document: below a key of a mapping, or in a list.
type place struct {
	parent *Node
	key    string
	index  int
}

// node returns a new node at the current position.
func (q *quick) node(kind Kind, p place) *Node {
	if len(q.slab) == 0 {
		q.slab = make([]Node, 256)
	}
	n := &q.slab[0]
	q.slab = q.slab[1:]
	*n = Node{Kind: kind, Line: q.line, Column: q.column(q.pos), file: q.file, parent: p.parent, key: p.key, index: int32(p.index)}
	return n
}

func (q *quick) column(pos int) int {
	if !q.wide {
		return pos - q.start + 1
	}
	return len([]rune(q.text[q.start:pos])) + 1
}

// nextLine goes to the first byte of the next line that holds anything, from the start of a line, and returns its indentation. At the
// end of the text that is 0.
func (q *quick) nextLine() (indent int, ok bool) {
	for q.pos < len(q.text) {
		q.start = q.pos
		for q.pos < len(q.text) && q.text[q.pos] == ' ' {
			q.pos++
		}
		switch {
		case q.pos == len(q.text):
			return 0, true
		case q.text[q.pos] == '#':
			q.skipLine()
		case q.text[q.pos] == '\n':
		default:
			return q.pos - q.start, true
		}
		q.newline()
	}
	return 0, true
}

// skipLine goes to the end of the line.
func (q *quick) skipLine() {
	if i := strings.IndexByte(q.text[q.pos:], '\n'); i >= 0 {
		q.pos += i
		return
	}
	q.pos = len(q.text)
}

// newline goes over the end of a line, if there is one.
func (q *quick) newline() {
	if q.pos < len(q.text) {
		q.pos++
		q.line++
		q.start = q.pos
	}
}

// endLine goes over spaces and a comment to the next line that holds anything. It returns false when there is anything else.
func (q *quick) endLine() (indent int, ok bool) {
	at := q.pos
	for q.pos < len(q.text) && q.text[q.pos] == ' ' {
		q.pos++
	}
	if q.pos < len(q.text) && q.text[q.pos] == '#' && q.pos > at {
		q.skipLine()
	}
	if q.pos < len(q.text) && q.text[q.pos] != '\n' {
		return 0, false
	}
	q.newline()
	return q.nextLine()
}

// mapping reads a block mapping whose keys are indented so far, from its first key on.
func (q *quick) mapping(p place, indent, depth int) (*Node, bool) {
	n := q.node(Mapping, p)
	n.entries = make([]Entry, 0, 4)
	var many map[string]bool
	for {
		k, ok := q.key(n)
		if !ok || depth >= maxDepth-1 {
			return nil, false
		}
		value, next, ok := q.value(place{n, k.text, 0}, indent, depth+1)
		if !ok {
			return nil, false
		}
		switch {
		case !n.enter(k, value, &many):
			return nil, false
		case next < indent || q.pos == len(q.text):
			return n, true
		case next > indent:
			return nil, false
		}
	}
}

// value reads what follows the colon of a key, and goes to the next line, whose indentation it returns.
func (q *quick) value(p place, indent, depth int) (*Node, int, bool) {
	colon := q.pos
	for q.pos < len(q.text) && q.text[q.pos] == ' ' {
		q.pos++
	}
	if q.pos < len(q.text) && q.text[q.pos] != '\n' && q.text[q.pos] != '#' {
		return q.inline(p, indent, depth)
	}
	q.pos = colon
	next, ok := q.endLine()
	if !ok || q.pos == len(q.text) {
		return nil, 0, false
	}
	dash := q.atDash()
	var v *Node
	switch {
	case dash && next >= indent:
		v, ok = q.list(p, next, depth)
	case !dash && next > indent:
		if !q.atKey() {
			return nil, 0, false
		}
		v, ok = q.mapping(p, next, depth)
	default:
		return nil, 0, false
	}
	return v, q.pos - q.start, ok
}

// inline reads a value that begins on the line of its key or dash, and goes to the next line.
func (q *quick) inline(p place, indent, depth int) (*Node, int, bool) {
	v, ok := q.flowOrText(p, indent, depth, false)
	if !ok {
		return nil, 0, false
	}
	next, ok := q.endLine()
	if !ok || next > indent {
		return nil, 0, false // the text goes on there
	}
	return v, next, true
}

func (q *quick) atDash() bool {
	return q.text[q.pos] == '-' && q.pos+1 < len(q.text) && q.text[q.pos+1] == ' '
}

// atKey reports whether the line holds a key, and is not the text of a value.
func (q *quick) atKey() bool {
	at := *q
	_, ok := at.key(nil)
	return ok
}

// list reads a block list whose dashes are indented so far, from its first dash on.
func (q *quick) list(p place, indent, depth int) (*Node, bool) {
	n := q.node(List, p)
	if depth >= maxDepth-1 {
		return nil, false
	}
	for {
		q.pos++ // the dash
		for q.pos < len(q.text) && q.text[q.pos] == ' ' {
			q.pos++
		}
		if q.pos == len(q.text) || q.text[q.pos] == '\n' || q.text[q.pos] == '#' {
			return nil, false
		}
		item, next, ok := q.item(n, indent, depth+1)
		if !ok {
			return nil, false
		}
		n.items = append(n.items, item)
		switch {
		case q.pos == len(q.text) || next < indent:
			return n, true
		case next > indent:
			return nil, false
		case !q.atDash():
			return n, true // a key of the mapping in which the list stands at the same indentation
		}
	}
}

// item reads an element of a block list, and goes to the next line.
func (q *quick) item(n *Node, indent, depth int) (*Node, int, bool) {
	if c := q.text[q.pos]; c != '{' && c != '[' && q.atKey() {
		item, ok := q.mapping(place{parent: n, index: len(n.items)}, q.pos-q.start, depth)
		return item, q.pos - q.start, ok
	}
	return q.inline(place{parent: n, index: len(n.items)}, indent, depth)
}

// key reads a key of the mapping n, and its colon.
func (q *quick) key(n *Node) (*Node, bool) {
	k := q.node(Scalar, place{parent: n})
	text, ok := q.keyText()
	if !ok || q.pos >= len(q.text) || q.text[q.pos] != ':' || len(text) > 128 {
		return nil, false
	}
	q.pos++
	if q.pos < len(q.text) && q.text[q.pos] != ' ' && q.text[q.pos] != '\n' {
		return nil, false
	}
	k.text, k.key = text, text
	return k, true
}

func (q *quick) keyText() (string, bool) {
	c := q.text[q.pos]
	if c == '"' || c == '\'' {
		text, ok := q.quoted(c)
		return text, ok && text != ""
	}
	at := q.pos
	for q.pos < len(q.text) && isKeyByte(q.text[q.pos]) {
		q.pos++
	}
	text := q.text[at:q.pos]
	return text, text != "" && isWordByte(text[0]) && !isNull(text)
}

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

func isKeyByte(c byte) bool { return isWordByte(c) || strings.IndexByte("-./@*", c) >= 0 }

func isNull(s string) bool { return s == "null" || s == "Null" || s == "NULL" || s == "~" }

// quoted reads a text in quotes that stands on one line and holds no escapes.
func (q *quick) quoted(quote byte) (string, bool) {
	rest := q.text[q.pos+1:]
	end := strings.IndexByte(rest, quote)
	if end < 0 {
		return "", false
	}
	text := rest[:end]
	if strings.ContainsAny(text, "\n\\") || end+1 < len(rest) && rest[end+1] == quote {
		return "", false
	}
	q.pos += end + 2
	return text, true
}

// enter adds an entry to a mapping. It returns false when the key is there already. Of a large mapping the keys are kept in many.
func (n *Node) enter(k, value *Node, many *map[string]bool) bool {
	const few = 16
	if *many == nil {
		for _, e := range n.entries {
			if e.Key.text == k.text {
				return false
			}
		}
	} else if (*many)[k.text] {
		return false
	}
	n.entries = append(n.entries, Entry{k, value})
	switch {
	case *many != nil:
		(*many)[k.text] = true
	case len(n.entries) > few:
		*many = make(map[string]bool, 4*few)
		for _, e := range n.entries {
			(*many)[e.Key.text] = true
		}
	}
	return true
}
