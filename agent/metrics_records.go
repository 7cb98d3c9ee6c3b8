package agent

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vertex-spoa/agent/internal/audit"
)

// auditMetrics tell of the audit log.
type auditMetrics struct {
	errors   prometheus.Counter
	lines    prometheus.Counter
	writes   *prometheus.CounterVec
	duration prometheus.Histogram
}

func newAuditMetrics(k maker) auditMetrics {
	a := auditMetrics{
		errors: k.counter("audit_errors_total", "Audit lines that could not be written."),
		lines:  k.counter("audit_lines_total", "Audit lines that the kernel has taken."),
		writes: k.counters("audit_writes_total", "Writes of one or several audit lines by result.", "result"),
		duration: k.histogram("audit_write_duration_seconds", "Time the kernel took for one write of audit lines.",
			prometheus.ExponentialBuckets(5e-6, 4, 10)),
	}
	for _, r := range []string{"ok", "error"} {
		a.writes.WithLabelValues(r)
	}
	return a
}

// AuditWrite counts one write of the audit log: how long it took, how many lines it held, and its error.
func (m *Metrics) AuditWrite(d time.Duration, lines int, err error) {
	m.audit.writes.WithLabelValues(result(err)).Inc()
	m.audit.duration.Observe(d.Seconds())
	if err == nil {
		m.audit.lines.Add(float64(lines))
	}
}

// callMetrics tell of calls that were let through, as their closings have it.
type callMetrics struct {
	closings, lines  *counters[string]
	lost             prometheus.Counter
	responses, usage *counters[[2]string]
	unknown, states  *counters[string]
	headers, active  prometheus.Histogram
	in, out          prometheus.Counter
}

// The results of closings.
const (
	closingJoined   = "joined"   // HAProxy's line came for a decision that was waiting for it
	closingUnjoined = "unjoined" // it came for a decision that is not remembered
	closingMissing  = "missing"  // it did not come
)

func newCallMetrics(k maker) callMetrics {
	const kinds = "Tokens that calls have used by role and kind: input (of the prompt, cached ones included), cached (of those), output (without thoughts) and thoughts."
	bytes := k.counters("call_bytes_total", "Bytes of calls that have ended by direction: in is from callers, out is to them.", "direction")
	seconds := prometheus.ExponentialBuckets(0.025, 2, 15)
	c := callMetrics{
		closings: newStrings(k.counters("closings_total", "Ends of calls that were let through by result: joined with the decision, unjoined because it is not "+
			"remembered, or missing because HAProxy's line did not come.", "result")),
		lines:     newStrings(k.counters("closing_lines_total", "Log lines of HAProxy that were received by result.", "result")),
		lost:      k.counter("closings_lost_total", "Closing records that the audit log did not take."),
		responses: newPairs(k.counters("call_responses_total", "Calls that have ended by role and class of the status the caller got, none where there was none.", "role", "code")),
		usage:     newPairs(k.counters("usage_tokens_total", kinds, "role", "kind")),
		unknown: newCounters(k.counters("usage_unknown_total", "Calls with status 200 that have ended without a word on the tokens they used.", "role"), 4_000,
			func(s string) []string { return []string{s} }, func(string) string { return others }),
		states:  newStrings(k.counters("call_terminations_total", "Calls that have ended by HAProxy's termination state.", "state")),
		headers: k.histogram("call_headers_duration_seconds", "Time from the connection to Google until the headers of its answer.", seconds),
		active:  k.histogram("call_duration_seconds", "Time of a whole call.", seconds),
		in:      bytes.WithLabelValues("in"),
		out:     bytes.WithLabelValues("out"),
	}
	for _, r := range []string{closingJoined, closingUnjoined, closingMissing} {
		c.closings.of(r)
	}
	return c
}

// Closed counts the end of a call that was let through. It does not keep c.
func (m *Metrics) Closed(c *audit.Closing) {
	switch {
	case c.Missing:
		m.calls.closings.of(closingMissing).Inc()
		return // nothing is known of it
	case c.Unjoined:
		m.calls.closings.of(closingUnjoined).Inc()
	default:
		m.calls.closings.of(closingJoined).Inc()
	}
	m.calls.responses.of([2]string{c.Role, class(c.Status)}).Inc()
	m.calls.states.of(c.Termination).Inc()
	observeMillis(m.calls.headers, c.HeadersMS)
	observeMillis(m.calls.active, c.ActiveMS)
	m.calls.in.Add(float64(max(0, c.BytesIn)))
	m.calls.out.Add(float64(max(0, c.BytesOut)))
	m.used(c)
}

// used counts the tokens of a call. What Google does not tell is not zero, and is not counted.
func (m *Metrics) used(c *audit.Closing) {
	u := c.Usage
	if u == nil {
		if c.Status == 200 {
			m.calls.unknown.of(c.Role).Inc()
		}
		return
	}
	for _, k := range [...]struct {
		kind   string
		tokens int64
	}{{"input", u.Input}, {"output", u.Output}, {"thoughts", u.Thoughts}, {"cached", u.Cached}} {
		if k.tokens >= 0 {
			m.calls.usage.of([2]string{c.Role, k.kind}).Add(float64(k.tokens))
		}
	}
}

func observeMillis(o prometheus.Observer, ms int64) {
	if ms >= 0 {
		o.Observe(float64(ms) / 1000)
	}
}

// class is the class of an HTTP status, such as 2xx.
func class(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}[status/100-1]
}

// ClosingLine counts a log line of HAProxy's by what became of it, which is one of a small set.
func (m *Metrics) ClosingLine(result string) { m.calls.lines.of(result).Inc() }

// ClosingLost counts a closing record that the audit log did not take.
func (m *Metrics) ClosingLost() { m.calls.lost.Inc() }

// Flagged counts a sign of misuse; see ExpectFlags.
func (m *Metrics) Flagged(signal string) { m.flags.of(signal).Inc() }

// ExpectFlags makes the counters of signals that may come, so that the first one shows. It is for the start of a program that looks for
// them.
func (m *Metrics) ExpectFlags(signals ...string) {
	for _, s := range signals {
		m.flags.of(s)
	}
}

// SpansDropped counts spans that could not be exported.
func (m *Metrics) SpansDropped(n int) { m.spans.Add(float64(max(0, n))) }

// WatchClosings says how many decisions wait for their closing. Until then that is 0.
func (m *Metrics) WatchClosings(pending func() int) { m.pending.Store(&pending) }

// WatchMisuse says how many callers have a baseline that signs of misuse are told by. Until then that is 0.
func (m *Metrics) WatchMisuse(subjects func() int) { m.subjects.Store(&subjects) }

// ask returns the value of a function that may come later.
func ask(f *atomic.Pointer[func() int]) func() float64 {
	return func() float64 {
		if value := f.Load(); value != nil {
			return float64((*value)())
		}
		return 0
	}
}
