package closing

// maxDepth is how deep the objects and lists of members that are not used may nest.
const maxDepth = 16

// scanner walks once through a JSON text (RFC 8259), and takes nothing that is not one. Beyond that it is strict about what is used: names
// need no decoding, and come once.
type scanner struct {
	text []byte
	at   int
}

// object reads the whole text, which is one object, into l.
func (p *scanner) object(l *line) error {
	if err := p.container(l, 1); err != nil {
		return err
	}
	if p.at != len(p.text) {
		return errJSON
	}
	return nil
}

// container reads an object or a list. Members go to l, if there is one.
func (p *scanner) container(l *line, depth int) error {
	open := p.next()
	if depth > maxDepth || open != '{' && open != '[' {
		return errJSON
	}
	end := open + 2 // of the two brackets in ASCII
	if p.space(); p.peek() == end {
		p.at++
		return nil
	}
	for {
		var name []byte
		if open == '{' {
			var err error
			if name, err = p.name(); err != nil {
				return err
			}
		}
		start := p.at
		if err := p.value(depth); err != nil {
			return err
		}
		if l != nil {
			if err := l.set(name, p.text[start:p.at]); err != nil {
				return err
			}
		}
		p.space()
		switch p.next() {
		case end:
			return nil
		case ',':
			p.space()
		default:
			return errJSON
		}
	}
}

// name reads the name of a member and the colon.
func (p *scanner) name() ([]byte, error) {
	start := p.at
	escaped, err := p.string()
	if err != nil {
		return nil, err
	}
	name := p.text[start+1 : p.at-1]
	p.space()
	if p.next() != ':' || escaped {
		return nil, errJSON
	}
	p.space()
	return name, nil
}

// value reads a value of any kind.
func (p *scanner) value(depth int) error {
	switch c := p.peek(); {
	case c == '"':
		_, err := p.string()
		return err
	case c == '{' || c == '[':
		return p.container(nil, depth+1)
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if end := p.at + len(word); end <= len(p.text) && string(p.text[p.at:end]) == word {
			p.at = end
			return nil
		}
	}
	return errJSON
}

// string reads a string with its quotes, and reports whether there are escapes in it.
func (p *scanner) string() (escaped bool, err error) {
	if p.next() != '"' {
		return false, errJSON
	}
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return escaped, nil
		case c == '\\':
			escaped = true
			p.at++
			if !p.escape() {
				return false, errJSON
			}
		case c < ' ':
			return false, errJSON
		default:
			p.at++
		}
	}
	return false, errJSON
}

// escape reads what follows a backslash.
func (p *scanner) escape() bool {
	switch p.next() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			c := p.next()
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
		return true
	}
	return false
}

// number reads a number: no zero leads, and digits stand on both sides of the point.
func (p *scanner) number() error {
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++
	} else if !p.digits() {
		return errJSON
	}
	if p.peek() == '.' {
		p.at++
		if !p.digits() {
			return errJSON
		}
	}
	if p.peek()|0x20 == 'e' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if !p.digits() {
			return errJSON
		}
	}
	return nil
}

func (p *scanner) digits() bool {
	start := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at > start
}

func (p *scanner) space() {
	for c := p.peek(); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = p.peek() {
		p.at++
	}
}

// peek returns the next byte, 0 at the end; no JSON text holds one.
func (p *scanner) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// next returns the next byte and goes past it.
func (p *scanner) next() byte {
	c := p.peek()
	p.at++
	return c
}
