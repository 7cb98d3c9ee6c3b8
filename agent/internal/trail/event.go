package trail

import (
	"encoding/json"
	"time"
)

// Event is one line of an audit file, as Tail shows it. Texts are as they stand in the file, up to 512 bytes: Clean makes them fit for a terminal.
type Event struct {
	Kind    Kind
	Time    time.Time
	ID      string
	Attempt int64
	// Unjoined: the line is a closing whose writer did not know the decision. Tail fills in what it has seen of that itself.
	Unjoined bool

	Allow                    bool // of a decision
	Status                   int64
	Reason, Detail           string
	Issuer, Subject          string
	Role, Rule, Account      string
	Project, Location, Model string
	Method, Source           string
	Flags                    []string

	Termination string
	TokensIn    int64 // like all amounts here negative if unknown
	TokensOut   int64
	Bytes       int64
	Duration    time.Duration
	Mint        time.Duration
}

// Kind is what a line tells of.
type Kind string

// The kinds, as screens show them.
const (
	Allowed     Kind = "allow"
	Denied      Kind = "deny"
	Undelivered Kind = "undelivered"
	Closed      Kind = "closed"
	Missing     Kind = "missing"
	Other       Kind = "other"
)

// What an event keeps of a line: many events are kept, and a line may be long.
const (
	maxEventText = 512
	maxFlags     = 4096 // of JSON; longer ones are not shown
)

// bounded returns the beginning of a text that a screen may show.
func bounded(b []byte) string { return string(b[:min(len(b), maxEventText)]) }

// eventOf copies a line.
func eventOf(l *line) *Event {
	e := &Event{
		Time: timeOf(l.time), ID: bounded(l.id), Attempt: l.attempt, Unjoined: l.unjoined, Allow: l.allow,
		Reason: bounded(l.reason), Detail: bounded(l.detail), Issuer: bounded(l.issuer), Subject: bounded(l.subject),
		Role: bounded(l.role), Rule: bounded(l.rule), Account: bounded(l.account), Project: bounded(l.project), Location: bounded(l.location),
		Model: bounded(appendModel(nil, l)), Method: bounded(l.method), Source: bounded(l.source), Termination: bounded(l.termination),
		Status: l.status.amount(), TokensIn: l.usage.in(), TokensOut: l.usage.out(), Bytes: l.bytesOut.amount(), Duration: unknown, Mint: unknown,
	}
	if l.flags != nil && len(l.flags) <= maxFlags {
		_ = json.Unmarshal(l.flags, &e.Flags) // flags of another type are none
	}
	if ms := l.active.amount(); ms != unknown {
		e.Duration = time.Duration(min(ms, 1<<40)) * time.Millisecond
	}
	if us := l.mint.amount(); us != unknown {
		e.Mint = time.Duration(min(us, 1<<50)) * time.Microsecond
	}
	e.Kind = kindOf(l)
	return e
}

func kindOf(l *line) Kind {
	switch l.kind {
	case decision:
		if l.allow {
			return Allowed
		}
		return Denied
	case undelivered:
		return Undelivered
	case closing:
		return Closed
	case missing:
		return Missing
	case other:
	}
	return Other
}
