package trace

import (
	"strconv"
	"time"

	proto "go.opentelemetry.io/proto/otlp/trace/v1"

	"vertex-spoa/agent/internal/audit"
)

// callSpan is the kind of the span of a whole call, of which there is one, however often HAProxy asked about it.
const callSpan = "call"

// call is what a trace tells of an audit.Closing.
type call struct {
	start, end time.Time
	trace      traceID
	parent     spanID // the caller's; zero for none

	id      string
	attempt int64
	missing bool
	target  target

	role, rule, account, policy string

	status      int
	termination string
	server      string
	flags       []string

	bytesIn, bytesOut                       int64
	queueMS, connectMS, headersMS, activeMS int64

	usage audit.Usage
}

func newCall(closing *audit.Closing, p *parent) *call {
	c := &call{
		start: closing.DecisionTime, end: closing.Time, trace: traceOf(p, closing.ID), parent: p.span,
		id: closing.ID, attempt: closing.Attempt, missing: closing.Missing,
		target: target{project: closing.Project, location: closing.Location, publisher: closing.Publisher, model: closing.Model,
			endpoint: closing.Endpoint, method: closing.Method, stream: closing.Stream},
		role: closing.Role, rule: closing.Rule, account: closing.Account, policy: closing.Policy,
		status: closing.Status, termination: closing.Termination, server: closing.Server, flags: cloneList(closing.Flags),
		bytesIn: closing.BytesIn, bytesOut: closing.BytesOut,
		queueMS: closing.QueueMS, connectMS: closing.ConnectMS, headersMS: closing.HeadersMS, activeMS: closing.ActiveMS,
		usage: audit.Usage{Input: -1, Output: -1, Thoughts: -1, Cached: -1, Total: -1},
	}
	if closing.Usage != nil {
		c.usage = *closing.Usage
	}
	clone(append(c.target.texts(), &c.id, &c.role, &c.rule, &c.account, &c.policy, &c.termination, &c.server)...)
	return c
}

func (c *call) size() int { return 1 }

// appendSpans appends the call's span. It ends when HAProxy's log line came.
func (c *call) appendSpans(to []*span) []*span {
	s := newSpan(c.name(), proto.Span_SPAN_KIND_CLIENT, c.trace, spanIDOf(callSpan, 0, c.id), c.parent, c.parent != spanID{})
	s.StartTimeUnixNano = nanos(c.start)
	s.EndTimeUnixNano = max(nanos(c.start), nanos(c.end))
	var a attributes
	c.target.describe(&a)
	for _, f := range [...]struct{ name, value string }{
		{"id", c.id}, {"role", c.role}, {"rule", c.rule}, {"account", c.account}, {"policy", c.policy},
	} {
		a.text(own+f.name, f.value)
	}
	a.number(own+"attempt", c.attempt)
	a.is(own+"closing_missing", c.missing)
	a.list(own+"flags", c.flags)
	if !c.missing {
		c.describeAnswer(&a)
		if err := c.failure(); err != "" {
			a.text(keyErrorType, err)
			s.Status = &proto.Status{Code: proto.Status_STATUS_CODE_ERROR}
		}
	}
	s.Attributes = a
	return append(to, s)
}

// name is the one that the conventions give a call to a model, and the method for other calls.
func (c *call) name() string {
	op := c.target.operation()
	switch {
	case op == "" && c.target.method == "":
		return callSpan
	case op == "":
		return validText(c.target.method)
	case c.target.model == "":
		return op
	}
	return validText(op + " " + c.target.model)
}

// describeAnswer adds what HAProxy says, in the names of its log line.
func (c *call) describeAnswer(a *attributes) {
	if c.status > 0 {
		a.number(keyHTTPStatus, int64(c.status))
	}
	a.text(own+"term", c.termination)
	a.text(own+"server", c.server)
	for _, f := range [...]struct {
		key   string
		value int64
	}{
		{own + "bytes_in", c.bytesIn}, {own + "bytes_out", c.bytesOut}, {own + "t_queue", c.queueMS}, {own + "t_connect", c.connectMS},
		{own + "t_response", c.headersMS}, {own + "t_active", c.activeMS},
		{keyInputTokens, c.usage.Input}, {keyOutputTokens, c.output()}, {keyReasoningTokens, c.usage.Thoughts},
		{keyCachedTokens, c.usage.Cached},
	} {
		a.number(f.key, f.value)
	}
}

// output is the number of tokens with thoughts, which the conventions count in.
func (c *call) output() int64 {
	if c.usage.Output < 0 || c.usage.Thoughts < 0 {
		return c.usage.Output
	}
	return c.usage.Output + c.usage.Thoughts
}

// failure returns the value of error.type, empty if the call did not fail: the status if that is the error, else what HAProxy says of the
// end (its configuration manual, "Session state at disconnection"). A caller who leaves is no failure of the call.
func (c *call) failure() string {
	if c.status >= 400 {
		return strconv.Itoa(c.status)
	}
	if c.termination == "" {
		return ""
	}
	switch c.termination[0] {
	case '-', 'C', 'c', 'L':
		return ""
	}
	return "haproxy_" + c.termination
}
