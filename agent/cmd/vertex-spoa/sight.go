package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"vertex-spoa/agent"
	"vertex-spoa/agent/internal/audit"
	"vertex-spoa/agent/internal/closing"
	"vertex-spoa/agent/internal/config"
	"vertex-spoa/agent/internal/misuse"
	"vertex-spoa/agent/internal/status"
	"vertex-spoa/agent/internal/trace"
)

// sight is what looks at the decisions once they are made. All but masker and recorder are nil where they are switched off.
type sight struct {
	masker   *audit.Masker
	recorder *status.Recorder
	misuse   *misuse.Detector
	closings *closing.Closings
	joining  bool // closings are served, which closes their socket
	tracer   *trace.Tracer
}

// auditOptions reads what the audit log is to be.
func auditOptions(cfg *config.Config, log *slog.Logger) (o audit.Options, err error) {
	// A line that is late leaves the time to say so.
	o = audit.Options{Syslog: cfg.Audit.Syslog, Chain: cfg.Audit.Chain, Patience: cfg.SPOE.Timeout * 5 / 8, Log: log}
	if cfg.Audit.Path != "-" {
		o.Path = cfg.Audit.Path
	}
	if o.ChainKey, err = auditKey("audit.chain_key", cfg.Audit.ChainKey); err != nil {
		return o, err
	}
	key, err := auditKey("audit.mask_key", cfg.Audit.MaskKey)
	if err != nil {
		return o, err
	}
	if o.Masker, err = audit.ParseMask(cfg.Audit.Mask, key); err != nil {
		return o, fmt.Errorf("audit.mask: %w", err)
	}
	return o, nil
}

func (p *program) openAudit(metrics *agent.Metrics) error {
	o, err := auditOptions(p.cfg, p.log)
	if err != nil {
		return loadError{err}
	}
	p.sight.masker, o.OnWrite = o.Masker, metrics.AuditWrite
	p.audit, err = audit.OpenWith(o)
	return err
}

// auditKey reads a key file, the zero key for no file.
func auditKey(name, file string) (audit.Key, error) {
	if file == "" {
		return audit.Key{}, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return audit.Key{}, fmt.Errorf("%s: %w", name, err)
	}
	key, err := audit.NewKey(raw)
	if err != nil {
		return audit.Key{}, fmt.Errorf("%s: %s: %w", name, file, err)
	}
	return key, nil
}

// look makes what looks at the decisions.
func (p *program) look(ctx context.Context, metrics *agent.Metrics) (err error) {
	if p.sight.recorder, err = status.NewRecorder(0, p.sight.masker.Record); err != nil {
		return err
	}
	if p.cfg.Misuse.Signals {
		thresholds, err := misuse.Parse(p.cfg.Misuse.Thresholds)
		if err != nil {
			return loadError{fmt.Errorf("misuse.thresholds: %w", err)}
		}
		thresholds.OnFlag = metrics.Flagged
		if p.sight.misuse, err = misuse.New(thresholds); err != nil {
			return loadError{fmt.Errorf("misuse.thresholds: %w", err)}
		}
		if err := p.loadHabits(); err != nil {
			return err
		}
		metrics.ExpectFlags(misuse.Signals()...)
		metrics.WatchMisuse(func() int { return p.sight.misuse.Stats().Subjects })
	}
	if err := p.openTracer(ctx, metrics); err != nil {
		return err
	}
	return p.openClosings(ctx, metrics)
}

// habitsPeriod is how often what was learned of the callers is saved, besides at the end. An agent that replaces another one begins with what
// that has saved by then.
const habitsPeriod = 10 * time.Minute

// loadHabits reads what was learned of the callers. What cannot be made out is learned anew, and said; the file must be there to be replaced.
func (p *program) loadHabits() error {
	file := p.cfg.Misuse.State
	if file == "" {
		return nil
	}
	err := p.sight.misuse.Load(file)
	if errors.Is(err, misuse.ErrState) {
		p.log.Error("what was learned of the callers cannot be read, and is learned anew", "file", file, "error", err)
		return nil
	}
	if err != nil {
		return loadError{fmt.Errorf("misuse.state: %w", err)}
	}
	return nil
}

// saveHabits saves what is learned of the callers, again and again until ctx is done and once more then.
func (p *program) saveHabits(ctx context.Context) {
	file := p.cfg.Misuse.State
	if p.sight.misuse == nil || file == "" {
		return
	}
	tick := time.NewTicker(habitsPeriod)
	defer tick.Stop()
	for more := true; more; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			more = false
		}
		if err := p.sight.misuse.Save(file); err != nil {
			p.log.Error("what was learned of the callers is not saved", "file", file, "error", err)
		}
	}
}

func (p *program) openTracer(ctx context.Context, metrics *agent.Metrics) (err error) {
	if p.cfg.Trace.Endpoint == "" {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name of this host: %w", err)
	}
	cfg := trace.Config{
		Endpoint: p.cfg.Trace.Endpoint, Sample: p.cfg.Trace.Sample, Calls: p.cfg.Closing.Listen != "",
		Version: version, Instance: host, Log: p.log,
		Count: func(o trace.Outcome, spans int) {
			if o != trace.Exported {
				metrics.SpansDropped(spans)
			}
		},
	}
	if p.cfg.Trace.Subject {
		cfg.Subject = p.sight.subject
	}
	if p.sight.tracer, err = trace.New(ctx, cfg); err != nil {
		return loadError{fmt.Errorf("trace.endpoint: %w", err)}
	}
	return nil
}

// subject writes a caller as the audit log does.
func (s *sight) subject(subject string) string {
	r := audit.Record{Subject: subject}
	s.masker.Record(&r)
	return r.Subject
}

func (p *program) openClosings(ctx context.Context, metrics *agent.Metrics) (err error) {
	if p.cfg.Closing.Listen == "" {
		return nil
	}
	cfg := closing.Config{
		Listen: p.cfg.Closing.Listen, Wait: p.cfg.Closing.Wait, MaxPending: p.cfg.Closing.MaxPending,
		Audit: p.audit, Log: p.log,
		OnLine: metrics.ClosingLine,
		OnLost: func(n int) {
			for range n {
				metrics.ClosingLost()
			}
		},
		OnClosing: func(c *audit.Closing) {
			metrics.Closed(c)
			p.sight.recorder.Closed(c)
			if p.sight.tracer != nil {
				p.sight.tracer.Closed(c, c.TraceParent)
			}
		},
	}
	if p.sight.misuse != nil {
		cfg.Flags = p.sight.misuse.Closing
	}
	if p.sight.closings, err = closing.New(ctx, cfg); err != nil {
		return fmt.Errorf("closing.listen: %w", err)
	}
	metrics.WatchClosings(p.sight.closings.Pending)
	return nil
}

// joinClosings begins to read HAProxy's log. What it returns ends that, once no decision can come any more, and waits for it. ctx does not.
func (p *program) joinClosings(ctx context.Context) (end func()) {
	if p.sight.closings == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	p.sight.joining = true
	group.Go(func() { p.sight.closings.Serve(ctx) })
	return func() {
		cancel()
		group.Wait()
	}
}

// console is what the admin listener serves.
func (p *program) console(ctx context.Context, started time.Time) (http.Handler, error) {
	c := agent.Console{
		Recorder: p.sight.recorder, Explain: p.explain, Warnings: p.warnings, Version: version, Started: started, Pprof: p.cfg.Admin.Pprof,
	}
	if host, _, err := net.SplitHostPort(p.cfg.Admin.Listen); err == nil && host != "" {
		c.Names = []string{host}
	}
	return p.agent.AdminConsole(ctx, c)
}

// warnings are what the status page has to say beyond the agent.
func (p *program) warnings() []string {
	switch s := p.audit.State(); {
	case s.Stuck:
		return []string{"audit log: its sink hangs, every call is denied"}
	case s.Err != nil:
		return []string{"audit log: " + s.Err.Error() + "; every call is denied"}
	}
	return nil
}

// tell sets who is told of decisions.
func (s *sight) tell(cfg *agent.Config) {
	cfg.Decided = append(cfg.Decided, s.recorder.Decided)
	cfg.Undelivered = append(cfg.Undelivered, s.recorder.Undelivered)
	if s.misuse != nil {
		cfg.Flags = s.misuse.Decision
	}
	if s.tracer != nil {
		cfg.Decided = append(cfg.Decided, s.tracer.Decided)
	}
	if c := s.closings; c != nil {
		cfg.Decided = append(cfg.Decided, c.Decided)
		cfg.Answered = append(cfg.Answered, c.Answered)
		cfg.Undelivered = append(cfg.Undelivered, func(u *audit.Undelivered) { c.Undelivered(u.ID, u.Attempt) })
	}
}

// close ends the tracer, the last to be told of anything. Where it did not come to serving, it gives the socket of the closings up: the agent
// that this one was to replace takes it back.
func (s *sight) close() error {
	var errs []error
	if s.closings != nil && !s.joining {
		errs = append(errs, s.closings.Close())
	}
	if s.tracer != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := s.tracer.Close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("traces not sent: %w", err))
		}
	}
	return errors.Join(errs...)
}

// explain says what the policy in force decides about a question that somebody asks on the status page. Its claims are nobody's.
func (p *program) explain(_ context.Context, q status.Question) (string, error) {
	f := &explainFlags{
		claims: literalFile + q.Claims, issuer: q.Issuer, subject: q.Subject,
		method: q.Method, path: q.Target, role: q.Role, ip: q.IP,
	}
	if q.Body != "" {
		f.body = literalFile + q.Body
	}
	x, err := (&explainer{flags: f, policy: p.agent.Policy()}).explain()
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "policy explain: "))
	}
	var text strings.Builder
	err = x.write(&text, false)
	return text.String(), err
}
