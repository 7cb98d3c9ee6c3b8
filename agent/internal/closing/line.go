package closing

import (
	"bytes"
	"errors"
	"unicode/utf8"
)

// MaxLine is the size of the longest message that is read, in bytes.
const MaxLine = 64 << 10

// maxText is the longest text of a line that is kept, in bytes. HAProxy's names are far shorter.
const maxText = 256

// The ways in which a message is no line of HAProxy's. None of them quotes it: it holds personal data.
var (
	errHeader = errors.New("not a syslog message")
	errNotice = errors.New("a syslog message without a JSON object")
	errJSON   = errors.New("not the JSON object of a log line")
	errType   = errors.New("a member of the wrong type or out of range")
	errTwice  = errors.New("a member that is there twice")
	errSize   = errors.New("longer than a message may be")
)

// The members that are used. Texts come first; numbers follow from attempt on.
const (
	fieldID = iota
	fieldDecision
	fieldTerm
	fieldBackend
	fieldServer
	textFields // how many texts there are

	fieldAttempt = iota - 1
	fieldStatus
	fieldBytesIn
	fieldBytesOut
	fieldQueue
	fieldConnect
	fieldHeaders
	fieldActive
	fieldSPOEError // why HAProxy has no answer of the agent's; 0 if it has one
	fieldInput
	fieldOutput
	fieldThoughts
	fieldCached
	fieldTotal
	fields // how many members there are

	noField = -1
)

// line is one line of HAProxy's log. Its texts are parts of the message.
type line struct {
	text   [textFields][]byte
	number [fields]int64 // -1 where the line does not say
	seen   uint32        // one bit for each member
}

// parse reads one message. On error the line is empty.
func parse(message []byte) (line, error) {
	object, err := body(message)
	if err != nil {
		return line{}, err
	}
	var l line
	for i := range l.number {
		l.number[i] = -1
	}
	p := scanner{text: object}
	if err := p.object(&l); err != nil {
		return line{}, err
	}
	return l, nil
}

// body returns the JSON object of a syslog message: what follows the header of RFC 5424 section 6, or in any other format, that of RFC 3164
// and the bare ones of HAProxy among them, what begins with the first brace. Blanks, line ends and NULs may follow it.
func body(m []byte) ([]byte, error) {
	m = bytes.TrimRight(m, " \t\r\n\x00")
	rest, ok := cutPriority(m)
	if ok && bytes.HasPrefix(rest, []byte("1 ")) {
		return body5424(rest[2:])
	}
	start := bytes.IndexByte(m, '{')
	if start < 0 {
		return nil, noObject(ok)
	}
	return m[start:], nil
}

// noObject is the error of a message without an object: HAProxy also says there that a server is up or down.
func noObject(syslog bool) error {
	if syslog {
		return errNotice
	}
	return errHeader
}

// cutPriority cuts "<0>" to "<191>" off the beginning.
func cutPriority(m []byte) ([]byte, bool) {
	if len(m) == 0 || m[0] != '<' {
		return nil, false
	}
	end := bytes.IndexByte(m[:min(len(m), 5)], '>')
	if end < 2 {
		return nil, false
	}
	for _, c := range m[1:end] {
		if c < '0' || c > '9' {
			return nil, false
		}
	}
	return m[end+1:], true
}

// body5424 skips what follows the version: time, host, application, process, message id and the structured data.
func body5424(m []byte) ([]byte, error) {
	for range 5 {
		blank := bytes.IndexByte(m, ' ')
		if blank < 1 {
			return nil, errHeader
		}
		m = m[blank+1:]
	}
	m, ok := cutStructuredData(m)
	if !ok {
		return nil, errHeader
	}
	m = bytes.TrimPrefix(m, []byte("\ufeff"))
	if len(m) == 0 || m[0] != '{' {
		return nil, errNotice
	}
	return m, nil
}

// cutStructuredData cuts "-" or elements in brackets, and the blank after them (RFC 5424 section 6.3). A bracket within quotes is part of
// a value, and so is a quote behind a backslash.
func cutStructuredData(m []byte) ([]byte, bool) {
	if rest, ok := bytes.CutPrefix(m, []byte("- ")); ok {
		return rest, true
	}
	inside, quoted := false, false
	for i := 0; i < len(m); i++ {
		switch c := m[i]; {
		case quoted && c == '\\':
			i++
		case c == '"' && inside:
			quoted = !quoted
		case quoted:
		case c == '[' && !inside, c == ']' && inside:
			inside = c == '['
		case inside:
		default:
			return m[i+1:], c == ' ' && i > 0
		}
	}
	return nil, false
}

// field is which member the name means.
func field(name []byte) int {
	switch string(name) {
	case "id":
		return fieldID
	case "decision":
		return fieldDecision
	case "term":
		return fieldTerm
	case "backend":
		return fieldBackend
	case "server":
		return fieldServer
	case "attempt":
		return fieldAttempt
	case "st":
		return fieldStatus
	case "bytes_in":
		return fieldBytesIn
	case "bytes_out":
		return fieldBytesOut
	case "t_queue":
		return fieldQueue
	case "t_connect":
		return fieldConnect
	case "t_response":
		return fieldHeaders
	case "t_active":
		return fieldActive
	case "spoe_error":
		return fieldSPOEError
	}
	if rest, ok := bytes.CutPrefix(name, []byte("usage_")); ok {
		return usage(rest)
	}
	return noField
}

func usage(name []byte) int {
	switch string(name) {
	case "input":
		return fieldInput
	case "output":
		return fieldOutput
	case "thoughts":
		return fieldThoughts
	case "cached":
		return fieldCached
	case "total":
		return fieldTotal
	}
	return noField
}

// set gives a member its value, which is still as it is written.
func (l *line) set(name, value []byte) error {
	f := field(name)
	if f == noField {
		return nil
	}
	if l.seen&(1<<f) != 0 {
		return errTwice
	}
	l.seen |= 1 << f
	var err error
	if f < textFields {
		l.text[f], err = plainText(value)
	} else {
		l.number[f], err = integer(value)
	}
	if f == fieldStatus && l.number[fieldStatus] > 999 {
		return errType
	}
	return err
}

// plainText is a string that needs no decoding: none of HAProxy's names does.
func plainText(value []byte) ([]byte, error) {
	if value[0] != '"' {
		return nil, errType
	}
	text := value[1 : len(value)-1]
	if len(text) > maxText || bytes.IndexByte(text, '\\') >= 0 || !utf8.Valid(text) {
		return nil, errType
	}
	return text, nil
}

// integer is a number without fraction and exponent, from -1 to 18 digits.
func integer(value []byte) (int64, error) {
	if string(value) == "-1" {
		return -1, nil
	}
	if len(value) > 18 {
		return 0, errType
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, errType
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}
