package trail

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// Why a line is not taken.
var (
	errSyntax = errors.New("not a JSON object")
	errDepth  = errors.New("nested too deeply")
	errType   = errors.New("a member has another type than the schema says")
)

// maxDepth is how deeply values may be nested, the same as for encoding/json.
const maxDepth = 10000

// scanner reads one JSON text (RFC 8259) from front to back. It takes what encoding/json takes and nothing else, without allocating: a
// string is a part of the text unless it has to be decoded, which happens in scratch. What it returned is good until the text changes
// and scratch is used again.
type scanner struct {
	b       []byte
	i       int
	depth   int
	scratch []byte
}

// reset begins with another text.
func (s *scanner) reset(b []byte) { s.b, s.i, s.depth, s.scratch = b, 0, 0, s.scratch[:0] }

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// next skips white space and, if c follows, c.
func (s *scanner) next(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

// object calls member with the name of each member; member reads the value.
func (s *scanner) object(member func(name []byte) error) error {
	if !s.next('{') {
		return errSyntax
	}
	if s.depth++; s.depth > maxDepth {
		return errDepth
	}
	defer func() { s.depth-- }()
	if s.next('}') {
		return nil
	}
	for {
		name, err := s.text()
		if err != nil {
			return err
		}
		if !s.next(':') {
			return errSyntax
		}
		if err := member(name); err != nil {
			return err
		}
		if s.next('}') {
			return nil
		}
		if !s.next(',') {
			return errSyntax
		}
	}
}

// skip reads a value of any type.
func (s *scanner) skip() error {
	switch c := s.peek(); {
	case c == '"':
		s.i++
		_, err := s.quoted()
		return err
	case c == '{':
		return s.object(func([]byte) error { return s.skip() })
	case c == '[':
		return s.array()
	case c == '-' || c >= '0' && c <= '9':
		_, _, err := s.number()
		return err
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return errSyntax
}

func (s *scanner) array() error {
	s.i++
	if s.depth++; s.depth > maxDepth {
		return errDepth
	}
	defer func() { s.depth-- }()
	if s.next(']') {
		return nil
	}
	for {
		if err := s.skip(); err != nil {
			return err
		}
		if s.next(']') {
			return nil
		}
		if !s.next(',') {
			return errSyntax
		}
	}
}

func (s *scanner) literal(word string) error {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return errSyntax
	}
	s.i += len(word)
	return nil
}

// number reads a number. It is whole and n its value if it is written without a fraction and an exponent and an int64 can hold it.
func (s *scanner) number() (n int64, whole bool, err error) {
	negative := s.b[s.i] == '-'
	if negative {
		s.i++
	}
	from := s.i
	n, whole = s.digits()
	if s.i == from || s.b[from] == '0' && s.i > from+1 {
		return 0, false, errSyntax
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		whole = false
		if from = s.i; s.skipDigits() == from {
			return 0, false, errSyntax
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		whole = false
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if from = s.i; s.skipDigits() == from {
			return 0, false, errSyntax
		}
	}
	// n is kept below zero, whose side reaches one further.
	if !negative {
		if n == -1<<63 {
			whole = false
		}
		n = -n
	}
	if !whole {
		n = 0
	}
	return n, whole, nil
}

// digits reads digits as a negative number, and reports whether an int64 holds it.
func (s *scanner) digits() (n int64, fits bool) {
	fits = true
	for ; s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9'; s.i++ {
		d := int64(s.b[s.i] - '0')
		if !fits || n < (-1<<63+d)/10 {
			fits = false
			continue
		}
		n = n*10 - d
	}
	return n, fits
}

func (s *scanner) skipDigits() (end int) {
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i
}

// text reads a string and returns what it stands for.
func (s *scanner) text() ([]byte, error) {
	if !s.next('"') {
		return nil, errSyntax
	}
	from := s.i
	plain, err := s.quoted()
	if err != nil {
		return nil, err
	}
	raw := s.b[from : s.i-1]
	if plain {
		return raw, nil
	}
	at := len(s.scratch)
	s.scratch = appendUnquoted(s.scratch, raw)
	return s.scratch[at:len(s.scratch):len(s.scratch)], nil
}

// quoted reads on to the end of a string, closing quote included. The string is plain when its bytes are what it stands for.
func (s *scanner) quoted() (plain bool, err error) {
	plain = true
	for {
		s.i += ordinary(s.b[s.i:])
		if s.i == len(s.b) {
			return false, errSyntax
		}
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return plain, nil
		case c == '\\':
			plain = false
			if err := s.escape(); err != nil {
				return false, err
			}
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRune(s.b[s.i:])
			plain = plain && (r != utf8.RuneError || size > 1)
			s.i += size
		default:
			return false, errSyntax // a control character
		}
	}
}

// escape reads a backslash and what belongs to it.
func (s *scanner) escape() error {
	s.i++
	if s.i == len(s.b) {
		return errSyntax
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		if hex4(s.b[s.i:]) < 0 {
			return errSyntax
		}
		s.i += 4
		return nil
	}
	return errSyntax
}

// ordinary returns how many bytes at the beginning of b are ASCII and neither a quote, nor a backslash, nor a control character. It looks
// at eight bytes at once: of each test, the lowest bit that is set belongs to a byte that is meant.
func ordinary(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		quote, backslash := w^(ones*'"'), w^(ones*'\\')
		if found := (w | (quote-ones)&^quote | (backslash-ones)&^backslash | (w-ones*' ')&^w) & highs; found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] < utf8.RuneSelf && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// hex4 returns the number that four hexadecimal digits at the beginning of b stand for, or -1.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var n rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | rune(c-'A'+10)
		default:
			return -1
		}
	}
	return n
}

// appendUnquoted appends what the inside of a string stands for, which quoted has accepted. Half a surrogate pair and bytes that are not
// UTF-8 become U+FFFD.
func appendUnquoted(b, raw []byte) []byte {
	for len(raw) > 0 {
		n := ordinary(raw)
		b, raw = append(b, raw[:n]...), raw[n:]
		switch {
		case len(raw) == 0:
		case raw[0] != '\\':
			r, size := utf8.DecodeRune(raw)
			b, raw = utf8.AppendRune(b, r), raw[size:]
		case raw[1] == 'u':
			r := hex4(raw[2:])
			raw = raw[6:]
			if utf16.IsSurrogate(r) {
				r, raw = pair(r, raw)
			}
			b = utf8.AppendRune(b, r)
		default:
			b, raw = append(b, unescaped(raw[1])), raw[2:]
		}
	}
	return b
}

// pair completes a surrogate with the one that follows it in raw, and returns what comes after.
func pair(first rune, raw []byte) (rune, []byte) {
	if len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
		if r := utf16.DecodeRune(first, hex4(raw[2:])); r != utf8.RuneError {
			return r, raw[6:]
		}
	}
	return utf8.RuneError, raw
}

func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c // a quote, a slash or a backslash
}
