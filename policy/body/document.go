package body

import (
	"hash/maphash"
	"slices"
	"unicode/utf8"
)

// kind is the kind of a JSON value.
type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	list
	object
)

// node is one value of a document, or the name of a member of an object; the nodes of a document stand in the order of their first bytes.
type node struct {
	kind    kind
	escaped bool   // of text: it has escapes
	start   uint32 // of text: behind the quote
	end     uint32 // of text: of the quote; not set for lists and objects
	next    uint32 // the node behind this one and all that is in it
}

// document is a body that was found to be good JSON. Reading its fields stops at the first error, which err keeps.
type document struct {
	data    []byte
	nodes   []node
	scratch []byte // for names with escapes
	err     *Error
}

// parser is a recursive descent parser. Its methods leave at behind what they read, and report false when they have set err.
type parser struct {
	data  []byte
	at    int
	nodes []node
	names []uint64 // of the objects that are open: the hashes of their names, in one spelling
	plain []byte   // for names in another spelling
	err   *Error
}

// seed makes the hashes of names unforeseeable.
var seed = maphash.MakeSeed()

// parse checks a whole body and finds its values.
func parse(data []byte) (*document, *Error) {
	if !utf8.Valid(data) {
		return nil, &Error{Cause: NotUTF8, Offset: validUTF8(data)}
	}
	p := parser{data: data, nodes: make([]node, 0, 32+len(data)/64)}
	p.space()
	if p.peek() != '{' {
		return nil, &Error{Cause: NotObject, Offset: p.at}
	}
	if !p.value(1) {
		return nil, p.err
	}
	if p.space(); p.at != len(data) {
		return nil, &Error{Cause: Trailing, Offset: p.at}
	}
	return &document{data: data, nodes: p.nodes}, nil
}

// validUTF8 returns how many of the first bytes are UTF-8.
func validUTF8(data []byte) int {
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return len(data)
}

func (p *parser) fail(cause Cause) bool {
	p.err = &Error{Cause: cause, Offset: p.at}
	return false
}

// peek returns the next byte, or 0 at the end: no token of JSON begins with it.
func (p *parser) peek() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// take consumes b after white space, if it comes next.
func (p *parser) take(b byte) bool {
	p.space()
	if p.peek() != b {
		return false
	}
	p.at++
	return true
}

// add begins a node and returns its place.
func (p *parser) add(k kind) (int, bool) {
	if len(p.nodes) >= MaxValues {
		return 0, p.fail(TooMany)
	}
	at := len(p.nodes)
	p.nodes = append(p.nodes, node{kind: k, start: uint32(p.at), next: uint32(at + 1)})
	return at, true
}

func (p *parser) value(depth int) bool {
	p.space()
	switch c := p.peek(); {
	case (c == '{' || c == '[') && depth > MaxDepth:
		return p.fail(TooDeep)
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.list(depth)
	case c == '"':
		_, ok := p.text()
		return ok
	case c == '-' || '0' <= c && c <= '9':
		return p.number()
	case c == 't':
		return p.literal(boolean, "true")
	case c == 'f':
		return p.literal(boolean, "false")
	case c == 'n':
		return p.literal(null, "null")
	}
	return p.fail(Syntax)
}

func (p *parser) literal(k kind, word string) bool {
	at, ok := p.add(k)
	if !ok {
		return false
	}
	if end := p.at + len(word); end > len(p.data) || string(p.data[p.at:end]) != word {
		return p.fail(Syntax)
	}
	p.at += len(word)
	p.nodes[at].end = uint32(p.at)
	return true
}

func (p *parser) list(depth int) bool {
	at, ok := p.add(list)
	if !ok {
		return false
	}
	p.at++
	if !p.take(']') {
		for {
			if !p.value(depth + 1) {
				return false
			}
			if p.take(']') {
				break
			}
			if !p.take(',') {
				return p.fail(Syntax)
			}
		}
	}
	p.nodes[at].next = uint32(len(p.nodes))
	return true
}

func (p *parser) object(depth int) bool {
	at, ok := p.add(object)
	if !ok {
		return false
	}
	p.at++
	names := len(p.names)
	if !p.take('}') {
		for {
			if !p.member(depth) {
				return false
			}
			if p.take('}') {
				break
			}
			if !p.take(',') {
				return p.fail(Syntax)
			}
		}
	}
	if twice(p.names[names:]) {
		return p.fail(Duplicate)
	}
	p.names = p.names[:names]
	p.nodes[at].next = uint32(len(p.nodes))
	return true
}

func (p *parser) member(depth int) bool {
	if p.space(); p.peek() != '"' {
		return p.fail(Syntax)
	}
	at, ok := p.text()
	if !ok {
		return false
	}
	p.names = append(p.names, p.spelling(&p.nodes[at]))
	if !p.take(':') {
		return p.fail(Syntax)
	}
	return p.value(depth + 1)
}

// spelling returns a hash of a name that is the same for both its spellings, maxOutputTokens and max_output_tokens.
func (p *parser) spelling(n *node) uint64 {
	name := p.data[n.start:n.end]
	if n.escaped {
		p.plain = unescape(p.plain[:0], name)
		name = p.plain
	}
	if slices.Contains(name, '_') {
		p.plain = camel(p.plain[:0], name)
		name = p.plain
	}
	return maphash.Bytes(seed, name)
}

// camel appends a name without its underscores; a letter that follows one becomes a capital. To may be the beginning of the name itself,
// because what is written never overtakes what is read.
func camel(to, name []byte) []byte {
	raise := false
	for _, c := range name {
		if c == '_' {
			raise = true
			continue
		}
		if raise && 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		to, raise = append(to, c), false
	}
	return to
}

// twice reports whether two of the names are the same. It may sort them.
func twice(names []uint64) bool {
	if len(names) > 12 {
		slices.Sort(names)
		return len(slices.Compact(names)) != len(names)
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return true
		}
	}
	return false
}
