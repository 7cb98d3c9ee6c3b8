package trail

import (
	"bytes"
	"errors"
	"fmt"

	"vertex-spoa/agent/internal/audit"
)

// errVersion is why a line of another version is not taken.
var errVersion = errors.New("a line of another version")

// kind is what a line tells of.
type kind uint8

const (
	other kind = iota // an event that this version does not know
	decision
	undelivered
	closing
	missing // a closing that never came
)

// number is a number that may be absent.
type number struct {
	n     int64
	known bool
}

// amount is a number that is known only if it is not negative: HAProxy writes -1 for what it does not know.
func (n number) amount() int64 {
	if !n.known || n.n < 0 {
		return unknown
	}
	return n.n
}

// unknown stands for an amount that nobody has told.
const unknown = -1

// usage is what a call has used, in tokens.
type usage struct {
	input, output, thoughts, cached, total number
}

// in is the tokens of the prompt.
func (u *usage) in() int64 { return u.input.amount() }

// out is the tokens of the answer; thoughts are paid for like it, and belong to it.
func (u *usage) out() int64 {
	n := u.output.amount()
	if n == unknown {
		return unknown
	}
	return plus(n, max(u.thoughts.amount(), 0))
}

// line is one line of an audit file: those of its members that questions are asked about. Its texts are parts of what was parsed, or of
// the scanner's scratch.
type line struct {
	kind     kind
	time     int64 // µs since 1970
	decided  int64 // of a closing: the time of its decision, 0 if it does not say
	id       []byte
	attempt  int64
	allow    bool
	unjoined bool
	stream   bool

	decision, reason, detail, issuer, subject, source         []byte
	project, location, publisher, model, bodyModel            []byte
	endpoint, method, role, rule, account, uri, asked         []byte
	termination, flags                                        []byte // flags as JSON
	status, response, active, bytesIn, bytesOut, mint, verify number
	usage                                                     usage
}

// parser parses lines. It is for one goroutine.
type parser struct {
	scan    scanner
	line    line
	version number
	event   []byte
	at      []byte // time
	decided []byte
	member  func(name []byte) error // bound once
	use     func(name []byte) error
	facts   func(name []byte) error
	tries   number
}

func newParser() *parser {
	p := &parser{}
	p.member, p.use, p.facts = p.readMember, p.readUsage, p.readBody
	return p
}

// parse parses one line. What it returns is good until the next call. On error there is no line.
func (p *parser) parse(b []byte) (*line, error) {
	p.scan.reset(b)
	p.line = line{}
	p.version, p.tries = number{}, number{}
	p.event, p.at, p.decided = nil, nil, nil
	if err := p.scan.object(p.member); err != nil {
		return nil, err
	}
	if p.scan.peek(); p.scan.i < len(b) {
		return nil, errSyntax
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	return &p.line, nil
}

// finish checks what every line has.
func (p *parser) finish() error {
	l := &p.line
	if !p.version.known {
		return errors.New(`it has no version "v"`)
	}
	if p.version.n != audit.Version {
		return errVersion
	}
	var ok bool
	if l.time, ok = parseTime(p.at); !ok {
		return fmt.Errorf("time: want RFC 3339, got %.40q", p.at)
	}
	if p.decided != nil {
		if l.decided, ok = parseTime(p.decided); !ok {
			return fmt.Errorf("decided: want RFC 3339, got %.40q", p.decided)
		}
	}
	l.attempt = p.tries.n
	switch string(p.event) {
	case audit.EventDecision, "": // lines without an event are older than other events are
		l.kind = decision
	case audit.EventUndelivered:
		l.kind = undelivered
	case audit.EventClosing:
		l.kind = closing
	case audit.EventMissing:
		l.kind = missing
	}
	if l.kind == decision {
		switch string(l.decision) {
		case "allow":
			l.allow = true
		case "deny":
		default:
			return fmt.Errorf("decision: want allow or deny, got %.40q", l.decision)
		}
	}
	return nil
}

// readMember reads the value of a member.
func (p *parser) readMember(name []byte) error {
	l := &p.line
	if to := p.textMember(name); to != nil {
		return p.readText(to)
	}
	if to := p.numberMember(name); to != nil {
		return p.readNumber(to)
	}
	switch string(name) {
	case "unjoined":
		return p.readBool(&l.unjoined)
	case "stream":
		return p.readBool(&l.stream)
	case "usage":
		l.usage = usage{}
		return p.readObject(p.use)
	case "body":
		l.bodyModel = nil
		return p.readObject(p.facts)
	case "flags":
		p.scan.peek()
		from := p.scan.i
		err := p.scan.skip()
		l.flags = p.scan.b[from:p.scan.i]
		return err
	}
	return p.scan.skip()
}

func (p *parser) textMember(name []byte) *[]byte {
	l := &p.line
	switch string(name) {
	case "event":
		return &p.event
	case "time":
		return &p.at
	case "decided":
		return &p.decided
	case "id":
		return &l.id
	case "decision":
		return &l.decision
	case "reason":
		return &l.reason
	case "detail":
		return &l.detail
	case "issuer":
		return &l.issuer
	case "subject":
		return &l.subject
	case "src":
		return &l.source
	case "uri":
		return &l.uri
	case "uri_asked":
		return &l.asked
	case "term":
		return &l.termination
	}
	return p.callMember(name)
}

func (p *parser) callMember(name []byte) *[]byte {
	l := &p.line
	switch string(name) {
	case "project":
		return &l.project
	case "location":
		return &l.location
	case "publisher":
		return &l.publisher
	case "model":
		return &l.model
	case "endpoint":
		return &l.endpoint
	case "method":
		return &l.method
	case "role":
		return &l.role
	case "rule":
		return &l.rule
	case "account":
		return &l.account
	}
	return nil
}

func (p *parser) numberMember(name []byte) *number {
	l := &p.line
	switch string(name) {
	case "v":
		return &p.version
	case "attempt":
		return &p.tries
	case "status", "st":
		return &l.status
	case "t_verify":
		return &l.verify
	case "t_mint":
		return &l.mint
	case "t_response":
		return &l.response
	case "t_active":
		return &l.active
	case "bytes_in":
		return &l.bytesIn
	case "bytes_out":
		return &l.bytesOut
	}
	return nil
}

func (p *parser) readUsage(name []byte) error {
	u := &p.line.usage
	switch string(name) {
	case "input":
		return p.readNumber(&u.input)
	case "output":
		return p.readNumber(&u.output)
	case "thoughts":
		return p.readNumber(&u.thoughts)
	case "cached":
		return p.readNumber(&u.cached)
	case "total":
		return p.readNumber(&u.total)
	}
	return p.scan.skip()
}

func (p *parser) readBody(name []byte) error {
	if string(name) == "model" {
		return p.readText(&p.line.bodyModel)
	}
	return p.scan.skip()
}

// The readers of values take null for a member that is absent, and of two members of one name the last, like encoding/json.

func (p *parser) readText(to *[]byte) (err error) {
	switch p.scan.peek() {
	case '"':
		*to, err = p.scan.text()
		return err
	case 'n':
		*to = nil
		return p.scan.literal("null")
	}
	return p.mistyped()
}

func (p *parser) readNumber(to *number) error {
	switch c := p.scan.peek(); {
	case c == '-' || c >= '0' && c <= '9':
		n, whole, err := p.scan.number()
		if err == nil && !whole {
			err = errType
		}
		*to = number{n, true}
		return err
	case c == 'n':
		*to = number{}
		return p.scan.literal("null")
	}
	return p.mistyped()
}

func (p *parser) readBool(to *bool) error {
	c := p.scan.peek()
	if c != 't' && c != 'f' && c != 'n' {
		return p.mistyped()
	}
	*to = c == 't'
	return p.scan.skip()
}

// readObject reads an object, or a word in its place.
func (p *parser) readObject(member func(name []byte) error) error {
	switch p.scan.peek() {
	case '{':
		return p.scan.object(member)
	case '"', 'n':
		return p.scan.skip()
	}
	return p.mistyped()
}

// mistyped reads a value of the wrong type.
func (p *parser) mistyped() error {
	if err := p.scan.skip(); err != nil {
		return err
	}
	return errType
}

// trimLine returns a line without the white space around it.
func trimLine(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }
