package identity

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonLimits bounds what a document may make us build. An object or array at the top has depth 1.
type jsonLimits struct {
	depth  int // nested objects and arrays
	values int // values of any kind, at any depth
}

// Causes of a refused document. The reader adds the offset and never the text: the text may be a credential.
var (
	errJSONSyntax    = errors.New("invalid syntax")
	errJSONUTF8      = errors.New("invalid UTF-8")
	errJSONObject    = errors.New("not an object")
	errJSONDuplicate = errors.New("duplicate member name")
	errJSONSurrogate = errors.New("lone surrogate")
	errJSONNumber    = errors.New("number cannot be represented")
	errJSONDepth     = errors.New("nested too deep")
	errJSONValues    = errors.New("too many values")
	errJSONTrailing  = errors.New("data after the document")
)

// parseObject reads data as exactly one JSON object (RFC 8259), more strictly than encoding/json: member names are unique at any depth
// after unescaping, text is valid UTF-8 without lone surrogates, nothing follows the object, names keep their case, and the result
// stays within l. Two readers of one document can then not come to different conclusions (RFC 7515 section 4, RFC 7519 section 4, RFC 8725
// section 3.7).
//
// Values are string, bool, nil, []any, map[string]any, and for numbers int64 (an integer literal that fits) or float64. A number is
// refused when it is an integer literal that neither type holds exactly: comparing what is left of it could confuse two identifiers. So is
// one of more than 64 bytes, with an exponent of more than two digits, or beyond 1e100 or 1e-99. No claim needs such numbers, and 3e-324
// takes a thousand times as long to convert as 1. The result shares no memory with data; on error it is nil.
func parseObject(data []byte, l jsonLimits) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("json: %w", errJSONUTF8)
	}
	r := jsonReader{data: data, limits: l}
	r.space()
	if r.peek() != '{' { // a byte order mark ends here, too
		return nil, r.fail(errJSONObject)
	}
	v, err := r.value(1)
	if err != nil {
		return nil, err
	}
	if r.space(); r.at != len(data) {
		return nil, r.fail(errJSONTrailing)
	}
	return v.(map[string]any), nil // value returns a map for what begins with a brace
}

// Limits of one number that is no int64.
const (
	maxNumber   = 64 // bytes
	maxExponent = 2  // digits
)

// jsonReader is a recursive descent parser. Its methods leave at behind what they read.
type jsonReader struct {
	data   []byte
	at     int
	values int
	limits jsonLimits
}

func (r *jsonReader) fail(cause error) error { return fmt.Errorf("json: byte %d: %w", r.at, cause) }

// peek returns the next byte, or 0 at the end: no token of JSON begins with it.
func (r *jsonReader) peek() byte {
	if r.at < len(r.data) {
		return r.data[r.at]
	}
	return 0
}

func (r *jsonReader) space() {
	for r.at < len(r.data) {
		switch r.data[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// take consumes b after white space, if it comes next.
func (r *jsonReader) take(b byte) bool {
	r.space()
	if r.peek() != b {
		return false
	}
	r.at++
	return true
}

func (r *jsonReader) value(depth int) (any, error) {
	if r.values++; r.values > r.limits.values {
		return nil, r.fail(errJSONValues)
	}
	r.space()
	switch c := r.peek(); {
	case c == '{' || c == '[':
		if depth > r.limits.depth {
			return nil, r.fail(errJSONDepth)
		}
		if c == '{' {
			return r.object(depth)
		}
		return r.array(depth)
	case c == '"':
		return r.text()
	case c == '-' || '0' <= c && c <= '9':
		return r.number()
	default:
		return r.literal()
	}
}

func (r *jsonReader) object(depth int) (any, error) {
	r.at++
	m := map[string]any{}
	if r.take('}') {
		return m, nil
	}
	for {
		if r.space(); r.peek() != '"' {
			return nil, r.fail(errJSONSyntax)
		}
		name, err := r.text()
		if err != nil {
			return nil, err
		}
		if _, twice := m[name]; twice {
			return nil, r.fail(errJSONDuplicate)
		}
		if !r.take(':') {
			return nil, r.fail(errJSONSyntax)
		}
		if m[name], err = r.value(depth + 1); err != nil {
			return nil, err
		}
		if r.take('}') {
			return m, nil
		}
		if !r.take(',') {
			return nil, r.fail(errJSONSyntax)
		}
	}
}

func (r *jsonReader) array(depth int) (any, error) {
	r.at++
	a := []any{}
	if r.take(']') {
		return a, nil
	}
	for {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
		if r.take(']') {
			return a, nil
		}
		if !r.take(',') {
			return nil, r.fail(errJSONSyntax)
		}
	}
}

func (r *jsonReader) literal() (any, error) {
	for _, l := range []struct {
		text  string
		value any
	}{{"true", true}, {"false", false}, {"null", nil}} {
		if bytes.HasPrefix(r.data[r.at:], []byte(l.text)) {
			r.at += len(l.text)
			return l.value, nil
		}
	}
	return nil, r.fail(errJSONSyntax)
}

// number reads the grammar of RFC 8259 section 6.
func (r *jsonReader) number() (any, error) {
	start := r.at
	if r.peek() == '-' {
		r.at++
	}
	if r.peek() == '0' {
		r.at++
	} else if !r.digits() {
		return nil, r.fail(errJSONSyntax)
	}
	integer := true
	if r.peek() == '.' {
		integer = false
		r.at++
		if !r.digits() {
			return nil, r.fail(errJSONSyntax)
		}
	}
	if c := r.peek(); c == 'e' || c == 'E' {
		integer = false
		r.at++
		if c := r.peek(); c == '+' || c == '-' {
			r.at++
		}
		exponent := r.at
		if !r.digits() {
			return nil, r.fail(errJSONSyntax)
		}
		if r.at-exponent > maxExponent {
			return nil, r.fail(errJSONNumber)
		}
	}
	return r.numeral(string(r.data[start:r.at]), integer)
}

// digits consumes at least one digit.
func (r *jsonReader) digits() bool {
	start := r.at
	for '0' <= r.peek() && r.peek() <= '9' {
		r.at++
	}
	return r.at > start
}

func (r *jsonReader) numeral(s string, integer bool) (any, error) {
	if integer {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n, nil
		}
	}
	if len(s) > maxNumber {
		return nil, r.fail(errJSONNumber)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || integer && strconv.FormatFloat(f, 'f', 0, 64) != s {
		return nil, r.fail(errJSONNumber)
	}
	if size := math.Abs(f); size != 0 && (size < 1e-99 || size >= 1e100) { // could not be written within the limits
		return nil, r.fail(errJSONNumber)
	}
	return f, nil
}

// text reads a string, whose opening quote is next.
func (r *jsonReader) text() (string, error) {
	r.at++
	start := r.at
	for r.at < len(r.data) {
		switch c := r.data[r.at]; {
		case c == '"':
			r.at++
			return string(r.data[start : r.at-1]), nil
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return "", r.fail(errJSONSyntax)
		}
		r.at++
	}
	return "", r.fail(errJSONSyntax)
}

// escaped goes on with a string that began at start and has its first escape next.
func (r *jsonReader) escaped(start int) (string, error) {
	out := append([]byte(nil), r.data[start:r.at]...)
	for r.at < len(r.data) {
		c := r.data[r.at]
		r.at++
		switch {
		case c == '"':
			return string(out), nil
		case c < ' ':
			return "", r.fail(errJSONSyntax)
		case c != '\\':
			out = append(out, c)
			continue
		}
		char, err := r.escape()
		if err != nil {
			return "", err
		}
		out = utf8.AppendRune(out, char)
	}
	return "", r.fail(errJSONSyntax)
}

// escape reads what follows a backslash.
func (r *jsonReader) escape() (rune, error) {
	c := r.peek()
	r.at++
	if c == 'u' {
		return r.unicode()
	}
	const names, values = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	i := strings.IndexByte(names, c)
	if i < 0 {
		return 0, r.fail(errJSONSyntax)
	}
	return rune(values[i]), nil
}

// unicode reads the four digits after \u and, where they are the first half of a surrogate pair, its other half.
func (r *jsonReader) unicode() (rune, error) {
	first, err := r.hex4()
	if err != nil || !utf16.IsSurrogate(first) {
		return first, err
	}
	if !bytes.HasPrefix(r.data[r.at:], []byte(`\u`)) {
		return 0, r.fail(errJSONSurrogate)
	}
	r.at += 2
	second, err := r.hex4()
	if err != nil {
		return 0, err
	}
	char := utf16.DecodeRune(first, second)
	if char == utf8.RuneError { // no pair of surrogates encodes U+FFFD
		return 0, r.fail(errJSONSurrogate)
	}
	return char, nil
}

func (r *jsonReader) hex4() (rune, error) {
	if len(r.data)-r.at < 4 {
		return 0, r.fail(errJSONSyntax)
	}
	var v rune
	for _, c := range r.data[r.at : r.at+4] {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			v = v<<4 | rune(c-'A'+10)
		default:
			return 0, r.fail(errJSONSyntax)
		}
	}
	r.at += 4
	return v, nil
}
