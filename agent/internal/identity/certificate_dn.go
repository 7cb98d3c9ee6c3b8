package identity

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// distinguishedName is the name of a subject or issuer: relative names, the most specific first, as RFC 4514 writes them, each of which
// is usually one attribute.
type distinguishedName [][]attribute

type attribute struct{ kind, value string }

// attributeKinds has the short names of RFC 4514 section 3 and two that are common besides. Other attributes are named by their number.
var attributeKinds = map[string]string{
	"2.5.4.3": "CN", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.6": "C", "2.5.4.9": "STREET",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
	"2.5.4.5": "SERIALNUMBER", "1.2.840.113549.1.9.1": "EMAILADDRESS",
}

// parseDER reads a name as it is encoded in a certificate. The text that tools print of it does not do: CN "a,O=b" and CN "a" below O
// "b" may look the same there.
func parseDER(der []byte) (distinguishedName, error) {
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &sequence); err != nil || len(rest) > 0 {
		return nil, errors.New("not a distinguished name")
	}
	var name distinguishedName
	for i := len(sequence) - 1; i >= 0; i-- {
		var relative []attribute
		for _, a := range sequence[i] {
			value, ok := a.Value.(string)
			if !ok || value == "" || !utf8.ValidString(value) {
				return nil, fmt.Errorf("attribute %v is not text", a.Type)
			}
			kind := a.Type.String()
			if short, known := attributeKinds[kind]; known {
				kind = short
			}
			relative = append(relative, attribute{kind, value})
		}
		if len(relative) == 0 {
			return nil, errors.New("a relative name without attributes")
		}
		name = append(name, relative)
	}
	return name, nil
}

// String writes the name as RFC 4514 does. The result is printable, and different names have different texts.
func (n distinguishedName) String() string {
	var b strings.Builder
	for i, relative := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, a := range relative {
			if j > 0 {
				b.WriteByte('+')
			}
			b.WriteString(a.kind + "=")
			writeEscaped(&b, a.value)
		}
	}
	return b.String()
}

// writeEscaped writes a value for a text that parseName reads as the same value.
func writeEscaped(b *strings.Builder, value string) {
	for i, r := range value {
		switch {
		case r == '*' || unprintable(r): // in a pattern, * is not itself
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(b, `\%02X`, c)
			}
			continue
		case strings.ContainsRune(`,+"\<>;`, r), r == '#' && i == 0, r == ' ' && (i == 0 || i == len(value)-1):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
}

// namePattern is a distinguishedName in whose values * stands for any text.
type namePattern [][]attributePattern

type attributePattern struct {
	kind  string
	parts []string // of the value, between the asterisks
}

// parseName reads a name or a pattern in the form of RFC 4514. Space around the separators does not count, nor does the case of the kinds.
func parseName(text string) (namePattern, error) {
	r := nameReader{rest: text}
	var name namePattern
	var relative []attributePattern
	for {
		a, err := r.attribute()
		if err != nil {
			return nil, fmt.Errorf("distinguished name at character %d: %w", len(text)-len(r.rest)+1, err)
		}
		relative = append(relative, a)
		if r.take('+') {
			continue
		}
		name, relative = append(name, relative), nil
		if !r.take(',') {
			return name, nil // a value ends at + and , only
		}
	}
}

// exact returns the name that a pattern without asterisks is.
func (p namePattern) exact() (distinguishedName, error) {
	var name distinguishedName
	for _, relative := range p {
		var attributes []attribute
		for _, a := range relative {
			if len(a.parts) != 1 {
				return nil, errors.New(`distinguished name with *, which stands for itself when it is written \2A`)
			}
			attributes = append(attributes, attribute{a.kind, a.parts[0]})
		}
		name = append(name, attributes)
	}
	return name, nil
}

// match compares attribute by attribute. A relative name of several attributes matches nothing: their order would be up to the holder.
func (p namePattern) match(n distinguishedName) bool {
	if len(p) != len(n) {
		return false
	}
	for i, relative := range n {
		if len(relative) != 1 || len(p[i]) != 1 || p[i][0].kind != relative[0].kind || !glob(p[i][0].parts, relative[0].value) {
			return false
		}
	}
	return true
}

// glob reports whether s is the parts in their order with any text between them.
func glob(parts []string, s string) bool {
	last := len(parts) - 1
	if last == 0 {
		return s == parts[0]
	}
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1:last] {
		_, after, found := strings.Cut(s, part)
		if !found {
			return false
		}
		s = after
	}
	return strings.HasSuffix(s, parts[last])
}

type nameReader struct{ rest string }

// take consumes c, if it comes next after space.
func (r *nameReader) take(c byte) bool {
	trimmed := strings.TrimLeft(r.rest, " ")
	if trimmed == "" || trimmed[0] != c {
		return false
	}
	r.rest = trimmed[1:]
	return true
}

func (r *nameReader) attribute() (attributePattern, error) {
	kind, value, found := strings.Cut(r.rest, "=")
	kind = strings.TrimSpace(kind)
	if !found || kind == "" {
		return attributePattern{}, errors.New("want a name such as CN, then =")
	}
	var err error
	if kind, err = attributeKind(kind); err != nil {
		return attributePattern{}, err
	}
	r.rest = strings.TrimLeft(value, " ")
	parts, err := r.value()
	return attributePattern{kind, parts}, err
}

func attributeKind(text string) (string, error) {
	upper := strings.ToUpper(text)
	if upper == "E" {
		return "EMAILADDRESS", nil
	}
	for number, short := range attributeKinds {
		if upper == short || text == number {
			return short, nil
		}
	}
	if strings.Trim(text, "0123456789.") != "" || !strings.Contains(text, ".") {
		return "", fmt.Errorf("attribute %q is not known: write its number, such as 2.5.4.12", text)
	}
	return text, nil
}

// value reads up to a separator that is not escaped.
func (r *nameReader) value() ([]string, error) {
	if strings.HasPrefix(r.rest, "#") {
		return nil, errors.New("values in hex are not read")
	}
	parts := []string{""}
	spaces := 0 // at the end of the last part, not escaped
	for r.rest != "" && r.rest[0] != ',' && r.rest[0] != '+' {
		c := r.rest[0]
		switch {
		case strings.IndexByte(`"<>;`, c) >= 0:
			return nil, fmt.Errorf("%q must be escaped with a backslash", c)
		case c == '*':
			parts, spaces = append(parts, ""), 0
			r.rest = r.rest[1:]
			continue
		case c == '\\':
			escaped, err := r.escape()
			if err != nil {
				return nil, err
			}
			parts[len(parts)-1] += escaped
			spaces = 0
			continue
		case c == ' ':
			spaces++
		default:
			spaces = 0
		}
		parts[len(parts)-1] += r.rest[:1]
		r.rest = r.rest[1:]
	}
	last := &parts[len(parts)-1]
	*last = (*last)[:len(*last)-spaces]
	if len(parts) == 1 && *last == "" {
		return nil, errors.New("the value is empty")
	}
	if !utf8.ValidString(strings.Join(parts, "")) {
		return nil, errors.New("the value is not UTF-8")
	}
	return parts, nil
}

// escape reads a backslash and what follows it: a special character, or one byte in hex.
func (r *nameReader) escape() (string, error) {
	if len(r.rest) > 1 && strings.IndexByte(` "#+,;<=>\`, r.rest[1]) >= 0 {
		c := r.rest[1:2]
		r.rest = r.rest[2:]
		return c, nil
	}
	if len(r.rest) > 2 {
		if b, err := hex.DecodeString(r.rest[1:3]); err == nil {
			r.rest = r.rest[3:]
			return string(b), nil
		}
	}
	return "", errors.New("a backslash is followed by a special character or by two hex digits")
}
