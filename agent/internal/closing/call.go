package closing

import (
	"bytes"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// maxSlotText is the size of the largest memory for texts that is kept for the next call, in bytes.
const maxSlotText = 2 << 10

// state is what a call in the table is.
type state uint8

const (
	free    state = iota // none: the slot is for the next one
	waiting              // a decision without its line
	early                // a line without its decision
	closed               // both came, or the line of a decision that is not known
	states               // how many states there are
)

// The texts of a call, in this order.
const (
	callID = iota
	issuer
	subject
	project
	location
	publisher
	model
	endpoint
	method
	role
	rule
	account
	policy
	fingerprint
	traceParent
	callTexts // how many there are
)

// call is one slot of the table.
type call struct {
	state      state
	prev, next int32 // in the list of its state; none at the ends
	hash       uint64
	at         time.Duration // when it came into its state

	attempt int64
	time    int64 // of the decision, µs since 1970
	status  int   // of Google's answer, where the message of that has come; 0 otherwise
	headers int64 // ms from the decision to the headers of that answer
	stream  bool
	texts   []byte // one behind the other: copies, for each may be a part of something larger
	ends    [callTexts]uint32
	line    *line // of HAProxy, while early
}

// id is the call's id; it is valid until the slot changes.
func (c *call) id() []byte { return c.texts[:c.ends[callID]] }

// name gives the slot to a call of which nothing but the id is known.
func (c *call) name(id []byte) {
	c.texts = append(c.texts[:0], id...)
	for i := range c.ends {
		c.ends[i] = uint32(len(id))
	}
	c.attempt, c.time, c.status, c.stream, c.line = 0, 0, 0, false, nil
}

// describe takes over from a decision what its closing will say.
func (c *call) describe(r *audit.Record) {
	texts := c.texts[:0]
	for i, text := range [callTexts]string{
		callID: r.ID, issuer: r.Issuer, subject: r.Subject, project: r.Project, location: r.Location, publisher: r.Publisher,
		model: r.Model, endpoint: r.Endpoint, method: r.Method, role: r.Role, rule: r.Rule, account: r.Account, policy: r.Policy,
		fingerprint: r.TokenFingerprint, traceParent: r.TraceParent,
	} {
		texts = append(texts, text...)
		c.ends[i] = uint32(len(texts))
	}
	c.texts, c.attempt, c.time, c.status, c.stream = texts, r.Attempt, r.Time.UnixMicro(), 0, r.Stream
}

// forget keeps nothing but the id.
func (c *call) forget() {
	c.texts = c.texts[:c.ends[callID]]
	if cap(c.texts) > maxSlotText {
		c.texts = bytes.Clone(c.texts)
	}
	c.line = nil
}

// closing returns the record of the call: of its decision, and of HAProxy's line if that has come.
func (c *call) closing(l *line) *audit.Closing {
	all, start := string(c.texts), uint32(0)
	var texts [callTexts]string
	for i, end := range c.ends {
		texts[i], start = all[start:end], end
	}
	closing := &audit.Closing{
		Time: timestamp(), ID: texts[callID], Attempt: c.attempt, Missing: l == nil, DecisionTime: time.UnixMicro(c.time).UTC(),
		Issuer: texts[issuer], Subject: texts[subject], Role: texts[role], Rule: texts[rule], Account: texts[account],
		Project: texts[project], Location: texts[location], Publisher: texts[publisher], Model: texts[model],
		Endpoint: texts[endpoint], Method: texts[method], Policy: texts[policy], Stream: c.stream, TokenFingerprint: texts[fingerprint], TraceParent: texts[traceParent],
	}
	if l != nil {
		l.describe(closing)
	} else if c.status != 0 {
		closing.Status, closing.HeadersMS = c.status, c.headers
	}
	return closing
}

// timestamp is now, as lines of the audit log have it.
func timestamp() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// unjoined returns the record of a line whose decision is not known.
func (l *line) unjoined() *audit.Closing {
	closing := &audit.Closing{Time: timestamp(), ID: string(l.text[fieldID]), Attempt: max(l.number[fieldAttempt], 0), Unjoined: true}
	l.describe(closing)
	return closing
}

// describe fills in HAProxy's part.
func (l *line) describe(c *audit.Closing) {
	n := &l.number
	c.Status, c.Termination = int(n[fieldStatus]), string(l.text[fieldTerm])
	c.Backend, c.Server = string(l.text[fieldBackend]), string(l.text[fieldServer])
	c.BytesIn, c.BytesOut = n[fieldBytesIn], n[fieldBytesOut]
	c.QueueMS, c.ConnectMS, c.HeadersMS, c.ActiveMS = n[fieldQueue], n[fieldConnect], n[fieldHeaders], n[fieldActive]
	usage := audit.Usage{
		Input: n[fieldInput], Output: n[fieldOutput], Thoughts: n[fieldThoughts], Cached: n[fieldCached], Total: n[fieldTotal],
	}
	if usage != (audit.Usage{Input: -1, Output: -1, Thoughts: -1, Cached: -1, Total: -1}) {
		c.Usage = &usage
	}
}

// clone returns a line that does not need the message any more.
func (l *line) clone() *line {
	kept := *l
	for i, text := range l.text {
		kept.text[i] = bytes.Clone(text)
	}
	return &kept
}
