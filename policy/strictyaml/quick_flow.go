package strictyaml

import "strings"

// flowOrText reads a value that is not a block. In a flow collection a plain text ends at its marks.
func (q *quick) flowOrText(p place, indent, depth int, flow bool) (*Node, bool) {
	if depth >= maxDepth {
		return nil, false
	}
	switch c := q.text[q.pos]; c {
	case '[':
		return q.flowList(p, indent, depth)
	case '{':
		return q.flowMapping(p, indent, depth)
	case '"', '\'':
		n := q.node(Scalar, p)
		text, ok := q.quoted(c)
		n.text, n.style = text, quotedStyle
		return n, ok
	}
	return q.plain(p, flow)
}

// plain reads a text without quotes, to the end of its line at most.
func (q *quick) plain(p place, flow bool) (*Node, bool) {
	n := q.node(Scalar, p)
	at := q.pos
	if c := q.text[at]; strings.IndexByte("?:,[]{}#&*!|>'\"%@`", c) >= 0 || c == '-' && !q.wordAt(at+1) {
		return nil, false
	}
	end := at
scan:
	for ; q.pos < len(q.text); q.pos++ {
		switch c := q.text[q.pos]; c {
		case '\n':
			break scan
		case ' ':
			if q.pos+1 < len(q.text) && q.text[q.pos+1] == '#' {
				break scan
			}
			continue
		case ':':
			if !q.wordAt(q.pos+1) && (flow || q.pos+1 == len(q.text) || q.text[q.pos+1] == ' ' || q.text[q.pos+1] == '\n') {
				return nil, false
			}
		case ',', '[', ']', '{', '}':
			if flow {
				break scan
			}
		}
		end = q.pos + 1
	}
	n.text = q.text[at:end]
	n.null = isNull(n.text)
	return n, n.text != "" && n.text != "<<" && n.text != "="
}

// wordAt reports whether there is a byte at pos that neither ends a text nor marks anything in any context.
func (q *quick) wordAt(pos int) bool {
	return pos < len(q.text) && (isWordByte(q.text[pos]) || q.text[pos] == '/')
}

// skipFlow goes over spaces, comments and ends of lines within a flow collection. What goes on on another line has to be indented
// deeper than the block around it.
func (q *quick) skipFlow(indent int) bool {
	for q.pos < len(q.text) {
		switch q.text[q.pos] {
		case ' ':
			q.pos++
		case '\n':
			q.newline()
			next, ok := q.nextLine()
			if !ok || q.pos == len(q.text) || next <= indent {
				return false
			}
		case '#':
			if q.text[q.pos-1] != ' ' {
				return false
			}
			q.skipLine()
		default:
			return true
		}
	}
	return false
}

func (q *quick) flowList(p place, indent, depth int) (*Node, bool) {
	n := q.node(List, p)
	q.pos++
	if !q.skipFlow(indent) {
		return nil, false
	}
	if q.text[q.pos] == ']' {
		q.pos++
		return n, true
	}
	n.items = make([]*Node, 0, 2)
	for {
		item, ok := q.flowOrText(place{parent: n, index: len(n.items)}, indent, depth+1, true)
		if !ok || !q.skipFlow(indent) {
			return nil, false
		}
		n.items = append(n.items, item)
		if done, ok := q.separator(']', indent); !ok || done {
			return n, ok
		}
	}
}

func (q *quick) flowMapping(p place, indent, depth int) (*Node, bool) {
	n := q.node(Mapping, p)
	q.pos++
	if !q.skipFlow(indent) {
		return nil, false
	}
	if q.text[q.pos] == '}' {
		q.pos++
		return n, true
	}
	n.entries = make([]Entry, 0, 4)
	var many map[string]bool
	for {
		k, ok := q.key(n)
		if !ok || !q.skipFlow(indent) {
			return nil, false
		}
		value, ok := q.flowOrText(place{n, k.text, 0}, indent, depth+1, true)
		if !ok || !n.enter(k, value, &many) || !q.skipFlow(indent) {
			return nil, false
		}
		if done, ok := q.separator('}', indent); !ok || done {
			return n, ok
		}
	}
}

// separator reads a comma or the end of a flow collection.
func (q *quick) separator(end byte, indent int) (done, ok bool) {
	c := q.text[q.pos]
	q.pos++
	switch c {
	case end:
		return true, true
	case ',':
		return false, q.skipFlow(indent) && q.text[q.pos] != end
	}
	return false, false
}
