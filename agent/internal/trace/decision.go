package trace

import (
	"slices"
	"strings"
	"time"

	proto "go.opentelemetry.io/proto/otlp/trace/v1"

	"vertex-spoa/agent/internal/audit"
)

// The values of "decision".
const allow = "allow"

// Texts are kept up to these lengths in bytes, and lists up to maxList texts.
const (
	maxText    = 256
	maxSubject = 512
	maxList    = 16
)

type span = proto.Span

// target is what was called.
type target struct {
	project, location, publisher, model, endpoint, method string

	stream bool
}

// decision is what a trace tells of an audit.Record.
type decision struct {
	start, end time.Time
	trace      traceID
	parent     spanID // zero for none
	remote     bool   // the parent is the caller's

	id      string
	attempt int64
	verdict string
	status  int
	reason  string

	target     target
	httpMethod string
	subject    string
	pseudonym  bool // the subject is not the plain one

	role, rule, account, policy string
	shadow, overridden, flags   []string

	stages [3]stage
}

// stage is a part of the decision. The stages follow each other.
type stage struct {
	name   string
	micros int64
}

// newDecision copies what is needed of r. Its texts are copied too, into one piece of memory: some of them are parts of what HAProxy sent,
// which is much larger and does not outlive the answer.
func (t *Tracer) newDecision(r *audit.Record, p *parent) *decision {
	d := &decision{
		start: r.Time, end: time.Now(), trace: traceOf(p, r.ID),
		id: r.ID, attempt: r.Attempt, verdict: r.Decision, status: r.Status, reason: r.Reason,
		target: target{project: r.Project, location: r.Location, publisher: r.Publisher, model: r.Model, endpoint: r.Endpoint,
			method: r.Method, stream: r.Stream},
		httpMethod: methodOf(r.HTTPMethod), role: r.Role, rule: r.Rule, account: r.Account, policy: r.Policy,
		shadow: cloneList(r.Shadow), overridden: cloneList(r.Overridden), flags: cloneList(r.Flags),
		stages: [3]stage{{"verify", r.VerifyMicros}, {"policy", r.PolicyMicros}, {"mint", r.MintMicros}},
	}
	if t.subject != nil && r.Subject != "" {
		d.subject = t.subject(r.Subject)
		d.pseudonym = d.subject != r.Subject
		d.subject = strings.Clone(cut(d.subject, maxSubject))
	}
	clone(append(d.target.texts(), &d.id, &d.verdict, &d.reason, &d.httpMethod, &d.role, &d.rule, &d.account, &d.policy)...)
	switch {
	case t.calls && d.verdict == allow:
		d.parent = spanIDOf(callSpan, 0, d.id)
	case p.valid():
		d.parent, d.remote = p.span, true
	}
	return d
}

func (d *decision) size() int {
	n := 1
	for _, s := range d.stages {
		if s.micros > 0 {
			n++
		}
	}
	return n
}

// appendSpans appends the decision's span and those of its stages. A denial is not an error of this program, and a failure of it is: the
// statuses tell them apart.
func (d *decision) appendSpans(to []*span) []*span {
	self := spanIDOf("decision", d.attempt, d.id)
	var a attributes
	d.target.describe(&a)
	a.text(keyHTTPMethod, d.httpMethod)
	a.text(own+"id", d.id)
	a.number(own+"attempt", d.attempt)
	a.text(own+"decision", d.verdict)
	a.text(own+"reason", d.reason)
	if d.pseudonym {
		a.text(keyPseudonym, d.subject)
	} else {
		a.text(keyUser, d.subject)
	}
	for _, f := range [...]struct{ name, value string }{
		{"role", d.role}, {"rule", d.rule}, {"account", d.account}, {"policy", d.policy},
	} {
		a.text(own+f.name, f.value)
	}
	a.list(own+"shadow", d.shadow)
	a.list(own+"overridden", d.overridden)
	a.list(own+"flags", d.flags)
	s := newSpan("vertex-spoa decide", proto.Span_SPAN_KIND_SERVER, d.trace, self, d.parent, d.remote)
	if d.verdict != allow {
		a.number(keyHTTPStatus, int64(d.status)) // that of an allow is still to come
		if d.status >= 500 {
			a.text(keyErrorType, d.reason)
			s.Status = &proto.Status{Code: proto.Status_STATUS_CODE_ERROR}
		}
	}
	s.Attributes = a
	return d.appendStages(append(to, s), s, self)
}

// appendStages appends a span for each stage, and ends the decision's own: not before its stages have ended.
func (d *decision) appendStages(to []*span, whole *span, self spanID) []*span {
	at := d.start
	for _, st := range d.stages {
		if st.micros <= 0 {
			continue
		}
		s := newSpan(st.name, proto.Span_SPAN_KIND_INTERNAL, d.trace, spanIDOf(st.name, d.attempt, d.id), self, false)
		s.StartTimeUnixNano = nanos(at)
		at = at.Add(time.Duration(st.micros) * time.Microsecond)
		s.EndTimeUnixNano = nanos(at)
		to = append(to, s)
	}
	whole.StartTimeUnixNano = nanos(d.start)
	whole.EndTimeUnixNano = max(nanos(at), nanos(d.end))
	return to
}

func newSpan(name string, kind proto.Span_SpanKind, trace traceID, self, parent spanID, remote bool) *span {
	const sampled, knowsRemote, isRemote = 0x01, 0x100, 0x200 // opentelemetry-proto, SpanFlags
	s := &span{Name: name, Kind: kind, TraceId: trace[:], SpanId: self[:], Flags: sampled | knowsRemote}
	if parent != (spanID{}) {
		s.ParentSpanId = parent[:]
	}
	if remote {
		s.Flags |= isRemote
	}
	return s
}

// describe adds what was called.
func (t *target) describe(a *attributes) {
	if op := t.operation(); op != "" {
		a.text(keyOperation, op)
		a.text(keyProvider, provider)
		a.text(keyModel, t.model)
		a.is(keyStream, t.stream)
	}
	a.text(keyRegion, t.location)
	for _, f := range [...]struct{ name, value string }{
		{"project", t.project}, {"publisher", t.publisher}, {"endpoint", t.endpoint}, {"method", t.method},
	} {
		a.text(own+f.name, f.value)
	}
}

func (t *target) texts() []*string {
	return []*string{&t.project, &t.location, &t.publisher, &t.model, &t.endpoint, &t.method}
}

// nanos returns t as OTLP has it; a time before 1970 is none.
func nanos(t time.Time) uint64 {
	if t.Unix() <= 0 {
		return 0
	}
	return uint64(t.UnixNano())
}

// clone moves texts into one piece of memory of their own, cut to maxText each.
func clone(texts ...*string) {
	n := 0
	for _, s := range texts {
		*s = cut(*s, maxText)
		n += len(*s)
	}
	var b strings.Builder
	b.Grow(n)
	for _, s := range texts {
		b.WriteString(*s)
	}
	all := b.String()
	for _, s := range texts {
		*s, all = all[:len(*s)], all[len(*s):]
	}
}

func cloneList(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	kept := slices.Clone(list[:min(len(list), maxList)])
	for i := range kept {
		kept[i] = strings.Clone(cut(kept[i], maxText))
	}
	return kept
}

func cut(s string, n int) string { return s[:min(len(s), n)] }
