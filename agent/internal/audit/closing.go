package audit

import (
	"strconv"
	"time"
)

// Closing is the end of a call that was let through: what HAProxy's last log line says of it, joined with the decision by id.
type Closing struct {
	Time time.Time // when the line of HAProxy came, or the wait for it ended; UTC, microseconds

	ID      string // HAProxy's unique-id
	Attempt int64  // of the decision that let the call through

	// Missing means that HAProxy's line has not come within the time. Everything HAProxy knows is unknown then, but for Status and HeadersMS
	// where it has told of the answer's headers; otherwise Status is 0.
	Missing bool
	// Unjoined means that the line came for a decision that this process does not remember: one of the agent it has replaced, or one that
	// had to make room. Everything the decision knows is empty then; the decision's own line has it.
	Unjoined bool

	// Of the decision.
	DecisionTime                                                  time.Time
	Issuer, Subject, Role, Rule, Account                          string
	Project, Location, Publisher, Model, Endpoint, Method, Policy string
	Stream                                                        bool
	TokenFingerprint, TraceParent                                 string

	// Of HAProxy's line. Times are in ms, negative where HAProxy did not come that far.
	Status      int    // HTTP status the caller got; negative if none
	Termination string // termination state, as %ts of HAProxy's log
	Backend     string
	Server      string
	BytesIn     int64
	BytesOut    int64
	QueueMS     int64 // waiting for a connection
	ConnectMS   int64 // to connect to Google
	HeadersMS   int64 // from then until the headers of the answer
	ActiveMS    int64 // the whole request
	Usage       *Usage

	Flags []string // signs of misuse
}

// Usage is what Google says a call has used, in tokens. Those that it does not name are negative: unknown is not zero.
type Usage struct {
	Input    int64 // of the prompt, cached ones included
	Output   int64 // of the answer, without thoughts
	Thoughts int64
	Cached   int64 // of the prompt, read from a cache
	Total    int64
}

// Undelivered tells that the answer of a decision came too late, or that its connection was gone: HAProxy has not had it.
type Undelivered struct {
	Time    time.Time
	ID      string
	Attempt int64
}

// Line is one line of the log: a *Record, a *Closing or an *Undelivered.
type Line interface {
	appendTo(b []byte) []byte
}

// The values of "event".
const (
	EventDecision    = "decision"
	EventUndelivered = "undelivered"
	EventClosing     = "closing"
	EventMissing     = "closing_missing"
)

// appendHead appends what every line begins with.
func appendHead(b []byte, event string, t time.Time, id string, attempt int64) []byte {
	b = append(b, `{"v":`...)
	b = strconv.AppendInt(b, Version, 10)
	b = append(b, `,"event":"`...)
	b = append(b, event...)
	b = append(b, `","time":"`...)
	b = t.UTC().AppendFormat(b, timeFormat)
	b = append(b, '"')
	b = appendField(b, "id", id)
	return appendNumber(b, "attempt", attempt)
}

func (u *Undelivered) appendTo(b []byte) []byte {
	return append(appendHead(b, EventUndelivered, u.Time, u.ID, u.Attempt), '}', '\n')
}

func (c *Closing) appendTo(b []byte) []byte {
	event := EventClosing
	if c.Missing {
		event = EventMissing
	}
	b = appendHead(b, event, c.Time, c.ID, c.Attempt)
	if c.Unjoined {
		b = append(b, `,"unjoined":true`...)
	}
	if !c.DecisionTime.IsZero() {
		b = append(b, `,"decided":"`...)
		b = c.DecisionTime.UTC().AppendFormat(b, timeFormat)
		b = append(b, '"')
	}
	for _, f := range [...]struct{ name, value string }{
		{"issuer", c.Issuer}, {"subject", c.Subject}, {"project", c.Project}, {"location", c.Location}, {"publisher", c.Publisher},
		{"model", c.Model}, {"endpoint", c.Endpoint}, {"method", c.Method},
	} {
		b = appendUnlessEmpty(b, f.name, f.value)
	}
	if c.Stream {
		b = append(b, `,"stream":true`...)
	}
	for _, f := range [...]struct{ name, value string }{
		{"role", c.Role}, {"rule", c.Rule}, {"account", c.Account}, {"policy", c.Policy}, {"token_fingerprint", c.TokenFingerprint},
	} {
		b = appendUnlessEmpty(b, f.name, f.value)
	}
	switch {
	case !c.Missing:
		b = c.appendHAProxy(b)
	case c.Status > 0:
		b = appendNumber(appendNumber(b, "st", int64(c.Status)), "t_response", c.HeadersMS)
	}
	b = appendList(b, "flags", c.Flags)
	b = appendUnlessEmpty(b, "traceparent", c.TraceParent)
	return append(b, '}', '\n')
}

// appendHAProxy appends what HAProxy's line says, in the names of the example's log-format.
func (c *Closing) appendHAProxy(b []byte) []byte {
	b = appendNumber(b, "st", int64(c.Status))
	b = appendField(b, "term", c.Termination)
	b = appendUnlessEmpty(b, "backend", c.Backend)
	b = appendUnlessEmpty(b, "server", c.Server)
	for _, f := range [...]struct {
		name  string
		value int64
	}{
		{"bytes_in", c.BytesIn}, {"bytes_out", c.BytesOut}, {"t_queue", c.QueueMS}, {"t_connect", c.ConnectMS},
		{"t_response", c.HeadersMS}, {"t_active", c.ActiveMS},
	} {
		b = appendNumber(b, f.name, f.value)
	}
	if c.Usage == nil {
		return append(b, `,"usage":"unknown"`...)
	}
	return c.Usage.appendTo(append(b, `,"usage":`...))
}

// appendTo appends the object of those numbers that are known.
func (u *Usage) appendTo(b []byte) []byte {
	b = append(b, '{')
	empty := len(b)
	for _, f := range [...]struct {
		name  string
		value int64
	}{
		{"input", u.Input}, {"output", u.Output}, {"thoughts", u.Thoughts}, {"cached", u.Cached}, {"total", u.Total},
	} {
		if f.value < 0 {
			continue
		}
		if len(b) > empty {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), f.name...), '"', ':')
		b = strconv.AppendInt(b, f.value, 10)
	}
	return append(b, '}')
}
