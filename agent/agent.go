package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"vertex-spoa/agent/internal/audit"
	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
	"vertex-spoa/spoe"
)

// Config is what an Agent is made of. All fields without a remark are required.
type Config struct {
	PolicyDir string         // directory of the policy files
	Keys      *http.Client   // fetches the issuers' keys
	Tokens    *google.Source // mints; the caller closes it after the agent
	Audit     *audit.Log     // the caller closes it after the agent
	Metrics   *Metrics
	Log       *slog.Logger

	Callers    int           // verified tokens that are remembered, 0 for none; see callers
	MaxWaiting int           // requests that may wait for keys or a token at once, default 1024; more are denied OVERLOADED
	WarmUp     time.Duration // bound on the first fetch of keys and tokens, default 10s
}

// Agent answers HAProxy. It is a spoe.Handler and safe for concurrent use.
type Agent struct {
	cfg     Config
	current atomic.Pointer[snapshot]

	tasks   sync.Pool     // of *task
	waiting chan struct{} // one element per request that left the connection's goroutine
	group   sync.WaitGroup

	load      sync.Mutex   // one load of the policy at a time
	tried     atomic.Value // string: digest of the directory at the last attempt to load it
	reload    atomic.Pointer[ReloadStatus]
	listening atomic.Bool
	warm      atomic.Bool
}

// snapshot is everything a request is judged by. A request sees one snapshot from its beginning to its end.
type snapshot struct {
	policy  *policy.Policy
	issuers *identity.Verifier
	callers *callers // nil if none are remembered
}

// New loads the policy and returns an agent that can answer at once; keys and tokens come in by and by (see WarmUp). A policy that does
// not load is an error: there is no agent without a policy.
func New(cfg Config) (*Agent, error) {
	switch {
	case cfg.PolicyDir == "":
		return nil, errors.New("agent: no policy directory")
	case cfg.Keys == nil, cfg.Tokens == nil, cfg.Audit == nil, cfg.Metrics == nil, cfg.Log == nil:
		return nil, errors.New("agent: Keys, Tokens, Audit, Metrics and Log are required")
	case cfg.Callers < 0, cfg.MaxWaiting < 0, cfg.WarmUp < 0:
		return nil, errors.New("agent: Callers, MaxWaiting and WarmUp must not be negative")
	}
	if cfg.MaxWaiting == 0 {
		cfg.MaxWaiting = 1024
	}
	if cfg.WarmUp == 0 {
		cfg.WarmUp = 10 * time.Second
	}
	a := &Agent{cfg: cfg, waiting: make(chan struct{}, cfg.MaxWaiting)}
	a.tasks.New = func() any { return newTask(a) }
	if err := a.Reload(); err != nil {
		return nil, err
	}
	return a, nil
}

// Close waits for the requests under way and stops the refresh of keys. The server that calls ServeSPOE must be shut down before.
func (a *Agent) Close() {
	a.group.Wait()
	a.load.Lock()
	defer a.load.Unlock()
	a.current.Load().issuers.Close()
}

// judge is the whole product: verify, parse the call, decide, mint. It answers from what is at hand if ctx is done already, and then
// returns ctx's error where it would have had to wait.
func (a *Agent) judge(ctx context.Context, s *snapshot, r *request, now time.Time) (ans answer, err error) {
	clock := stopwatch{time.Now()}
	ans.digest = s.policy.Digest()
	if err := r.check(); err != nil {
		return ans, err
	}
	ans.identity, err = s.verify(ctx, r.Authorization, now)
	clock.lap(&ans.verify)
	if err != nil {
		return ans, err
	}
	ans.call, err = policy.ParseCall(r.Method, r.URI)
	if err != nil {
		return ans, err
	}
	ans.uri = ans.call.URI()
	if err := r.checkBody(); err != nil {
		return ans, err
	}
	ans.decision = s.policy.Decide(callerOf(ans.identity), ans.call, policy.Request{Role: r.Role, Now: now})
	clock.lap(&ans.decide)
	if ans.decision.Effect != policy.Allow {
		return ans, &policy.Refusal{Reason: ans.decision.Reason, Detail: ans.decision.Detail}
	}
	ans.token, err = a.cfg.Tokens.Token(ctx, tokenRequest(ans.decision))
	clock.lap(&ans.mint)
	return ans, err
}

func callerOf(id identity.Identity) policy.Caller {
	return policy.Caller{Issuer: id.Issuer, Subject: id.Subject, Claims: id.Claims}
}

func tokenRequest(d policy.Decision) google.Request {
	return google.Request{Account: d.Account, Delegates: d.Delegates, Scopes: d.Scopes, Lifetime: d.Lifetime}
}

// stopwatch measures the stages one after another.
type stopwatch struct{ last time.Time }

func (s *stopwatch) lap(d *time.Duration) {
	now := time.Now()
	*d, s.last = now.Sub(s.last), now
}

// immediately is a context that is done: a stage that gets it does not wait.
var immediately = func() context.Context { // never written
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// ServeSPOE implements spoe.Handler. What can be answered from memory is answered on the connection's own goroutine, as soon as the
// audit lines of the batch are written; what has to wait for keys or for a token moves to a goroutine of its own.
func (a *Agent) ServeSPOE(ctx context.Context, n *spoe.Notify, reply spoe.Reply) {
	t := a.tasks.Get().(*task)
	t.now, t.reply = time.Now(), reply
	if err := t.request.read(n); err != nil {
		t.answer.refuse(err)
		t.record()
		return
	}
	s := a.current.Load()
	err := t.judge(immediately, s)
	if !errors.Is(err, context.Canceled) {
		t.answer.settle(err)
		t.record()
		return
	}
	select {
	case a.waiting <- struct{}{}:
	default:
		t.answer.refuse(&fault{reason: Overloaded, detail: "too many requests wait for keys or tokens"})
		t.record()
		return
	}
	a.group.Go(func() {
		defer func() { <-a.waiting }()
		t.answer.settle(t.judge(ctx, s))
		t.record()
		a.cfg.Audit.Flush()
	})
}

// EndBatch commits the audit lines of the NOTIFYs that one read brought, which releases their answers.
func (a *Agent) EndBatch() { a.cfg.Audit.Flush() }

// Overload is what HAProxy is told when a bound of the server refuses a request before it is looked at, or when an answer cannot be
// encoded.
func (a *Agent) Overload(*spoe.Notify) []spoe.Action {
	ans := answer{}
	ans.refuse(&fault{reason: Overloaded, detail: "refused by the server"})
	a.cfg.Metrics.decided(&ans)
	return ans.appendActions(nil)
}
