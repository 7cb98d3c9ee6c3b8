package body

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// number reads the grammar of RFC 8259 section 6.
func (p *parser) number() bool {
	at, ok := p.add(number)
	if !ok {
		return false
	}
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++
	} else if !p.digits() {
		return p.fail(Syntax)
	}
	if p.peek() == '.' {
		p.at++
		if !p.digits() {
			return p.fail(Syntax)
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if !p.digits() {
			return p.fail(Syntax)
		}
	}
	p.nodes[at].end = uint32(p.at)
	return true
}

// digits consumes at least one digit.
func (p *parser) digits() bool {
	start := p.at
	for '0' <= p.peek() && p.peek() <= '9' {
		p.at++
	}
	return p.at > start
}

// text reads a string, whose opening quote is next, and returns the place of its node.
func (p *parser) text() (int, bool) {
	p.at++
	at, ok := p.add(text)
	if !ok {
		return 0, false
	}
	for {
		p.at = plainText(p.data, p.at)
		switch p.peek() {
		case '"':
			p.nodes[at].end = uint32(p.at)
			p.at++
			return at, true
		case '\\':
			p.nodes[at].escaped = true
			size, cause := escape(p.data[p.at:])
			if size == 0 {
				return 0, p.fail(cause)
			}
			p.at += size
		default: // a control character, or the end
			return 0, p.fail(Syntax)
		}
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plainText returns the place of the first byte from i on that may not stand for itself in a string: a quote, a backslash or a control
// character; len(b) when there is none. It looks at eight bytes at once.
func plainText(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, backslash := w^(ones*'"'), w^(ones*'\\')
		// The high bit of each byte that is zero, or less than a blank; higher bytes may be wrong because of a borrow, the lowest is not.
		special := ((quote-ones)&^quote | (backslash-ones)&^backslash | (w-ones*' ')&^w) & highs
		if special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < ' ' {
			return i
		}
	}
	return i
}

// The letters that may follow a backslash, and what they stand for.
const escapes, escaped = `"\/bfnrt`, "\"\\/\b\f\n\r\t"

// escape returns the length of the escape that b begins with, both halves of a surrogate pair together; 0 and the cause when it is bad.
func escape(b []byte) (int, Cause) {
	switch {
	case len(b) < 2:
		return 0, Syntax
	case b[1] != 'u':
		if strings.IndexByte(escapes, b[1]) < 0 {
			return 0, Syntax
		}
		return 2, ""
	}
	_, size, cause := unicode(b)
	return size, cause
}

// unicode reads \u and four digits and, where they are the first half of a surrogate pair, its other half.
func unicode(b []byte) (rune, int, Cause) {
	first, ok := hex4(b)
	if !ok {
		return 0, 0, Syntax
	}
	if !utf16.IsSurrogate(first) {
		return first, 6, ""
	}
	second, ok := hex4(b[6:])
	if char := utf16.DecodeRune(first, second); ok && char != utf8.RuneError { // no pair of surrogates encodes U+FFFD
		return char, 12, ""
	}
	return 0, 0, NotUTF8
}

// hex4 reads \u and four digits.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var v rune
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			v = v<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// unescape appends what the inside of a good string stands for.
func unescape(to, b []byte) []byte {
	for i := 0; i < len(b); {
		switch {
		case b[i] != '\\':
			to = append(to, b[i])
			i++
		case b[i+1] == 'u':
			char, size, _ := unicode(b[i:])
			to = utf8.AppendRune(to, char)
			i += size
		default:
			to = append(to, escaped[strings.IndexByte(escapes, b[i+1])])
			i += 2
		}
	}
	return to
}
