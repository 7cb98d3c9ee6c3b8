// Package trace sends decisions, and the calls they let through, to an OpenTelemetry collector as spans (OTLP over HTTP).
//
// The spans of one call:
//
//	generate_content gemini-2.5-flash    CLIENT    the whole call, once its closing record is there; see Config.Calls
//	  vertex-spoa decide                 SERVER    the decision
//	    verify, policy, mint             INTERNAL  its stages, where they took a microsecond or more
//
// A call whose caller sent a valid traceparent (W3C Trace Context) is a child of the span in it. All others are traces of their own, whose
// trace id is the first 16 bytes of the SHA-256 of the decision's id: whoever has the audit line has the trace. HAProxy passes the
// caller's traceparent on to Google as it came.
//
// Spans are made from audit records, and from a list of their fields that stands in this package: no token, prompt, URI or header is
// among them, and the subject only where it is asked for.
//
// A trace is worth less than an answer. Decided and Closed put a copy into a bounded queue and return; one goroutine makes the spans of it
// and sends them. What does not fit is dropped and counted, and so is a batch that the collector does not take in time.
package trace

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// Config is what a Tracer is made of.
type Config struct {
	// Endpoint is the collector's base URL, as http://127.0.0.1:4318 or https://otlp.example.com; /v1/traces is added unless it is there.
	// The proxy variables of the environment are heeded, and no OTEL_ variable is: all there is to set stands here.
	Endpoint string
	// Headers go with every request. They may hold a credential: they are neither logged nor sent elsewhere by a redirect. Nothing but the
	// scheme of Endpoint protects them on their way.
	Headers map[string]string
	// TLS is for an https endpoint; nil for the system's authorities and no client certificate.
	TLS *tls.Config

	// Sample is the share, from 0 to 1, of the calls without a parent that are traced. A call with a parent is traced if its parent is.
	// Callers who were not verified are held to this share too, but for ten a second: a stranger does not decide how much is traced.
	Sample float64
	// Calls says that Closed will be called for the calls that are let through: their decisions then are children of the call's span.
	Calls bool
	// Subject returns how the caller's subject is written down; nil for not at all. What comes back unchanged becomes enduser.id, anything
	// else enduser.pseudo.id. It is called where Decided is, and must not wait.
	Subject func(subject string) string

	Service  string // service.name, default "vertex-spoa"
	Version  string // service.version
	Instance string // service.instance.id

	Queue   int           // decisions and calls that may wait, default 2048; further ones are dropped
	Batch   int           // spans in one request, default 512
	Delay   time.Duration // how long a span waits for its batch to fill, default 1s
	Timeout time.Duration // for one batch, repetitions included, default 10s

	Count func(o Outcome, spans int) // what became of spans; nil for nobody to know. It must not wait
	Log   *slog.Logger               // required
}

// Outcome says what became of a span.
type Outcome string

// The outcomes.
const (
	Exported  Outcome = "exported"   // the collector has taken it
	QueueFull Outcome = "queue_full" // the collector takes less than there is, or Close was called
	Failed    Outcome = "failed"     // its batch was not taken, or not as a whole
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome { return []Outcome{Exported, QueueFull, Failed} }

// Tracer sends spans. It is safe for concurrent use. A nil *Tracer traces nothing.
type Tracer struct {
	sampler sampler
	subject func(string) string
	calls   bool
	count   func(Outcome, int)

	queue   *queue
	dropped atomic.Int64 // spans, since somebody last looked

	stop     chan struct{} // ask the sender to finish
	stopOnce sync.Once
	cancel   context.CancelFunc // make it finish now
	done     chan struct{}      // it has finished
	lost     int                // spans that it could not send after stop; read after done
}

// job is a copy of what happened. The goroutine that sends makes its spans.
type job interface {
	size() int // number of spans
	appendSpans(to []*span) []*span
}

// New returns a Tracer that is ready, and starts its goroutine, which Close ends. That the collector answers is not looked at.
func New(ctx context.Context, cfg Config) (*Tracer, error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s, err := newSender(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	t := &Tracer{
		sampler: newSampler(cfg.Sample), subject: cfg.Subject, calls: cfg.Calls, count: cfg.Count,
		queue: newQueue(cfg.Queue, cfg.Batch/4), stop: make(chan struct{}), done: make(chan struct{}),
	}
	ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go t.run(ctx, s)
	return t, nil
}

func (c *Config) setDefaults() {
	if c.Service == "" {
		c.Service = "vertex-spoa"
	}
	if c.Queue == 0 {
		c.Queue = 2048
	}
	if c.Batch == 0 {
		c.Batch = 512
	}
	if c.Delay == 0 {
		c.Delay = time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Count == nil {
		c.Count = func(Outcome, int) {}
	}
}

func (c *Config) check() error {
	switch {
	case c.Log == nil:
		return errors.New("trace: no logger")
	case !(c.Sample >= 0 && c.Sample <= 1): // which NaN is not either
		return fmt.Errorf("trace: sample %v is not from 0 to 1", c.Sample)
	case c.Queue < 0 || c.Batch < 0 || c.Delay < 0 || c.Timeout < 0:
		return errors.New("trace: a negative bound")
	}
	return nil
}

// Decided traces a decision. It does not wait and keeps nothing of r.
func (t *Tracer) Decided(r *audit.Record) {
	if t == nil {
		return
	}
	parent := parseTraceParent(r.TraceParent)
	known := r.Subject != "" || r.Decision == allow
	if !t.sampler.samples(&parent, r.ID, known) {
		return
	}
	t.enqueue(t.newDecision(r, &parent))
}

// Closed traces a call that was let through, from its closing record and the traceparent of its decision's record. A record that knows
// no decision is left alone: nobody can say where in which trace it belongs. Closed does not wait and keeps nothing of c.
func (t *Tracer) Closed(c *audit.Closing, traceParent string) {
	if t == nil || c.Unjoined {
		return
	}
	parent := parseTraceParent(traceParent)
	if !t.sampler.samples(&parent, c.ID, true) {
		return
	}
	t.enqueue(newCall(c, &parent))
}

func (t *Tracer) enqueue(j job) {
	if t.queue.add(j) {
		return
	}
	t.dropped.Add(int64(j.size()))
	t.count(QueueFull, j.size())
}

// Close sends what waits and ends the goroutine. When ctx is done before, the rest is given up, which is the error. Further calls of
// Decided and Closed are allowed and without effect.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.queue.close()
	t.stopOnce.Do(func() { close(t.stop) })
	select {
	case <-t.done:
	case <-ctx.Done():
	}
	t.cancel()
	<-t.done
	if t.lost > 0 {
		return fmt.Errorf("trace: %d spans not delivered at the end", t.lost)
	}
	return nil
}
