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
	PolicyDir string                   // directory of the policy files
	Keys      *http.Client             // fetches the issuers' keys
	Revoked   *identity.RevocationFile // who is no longer accepted; the caller watches it
	Tokens    *google.Source           // mints; the caller closes it after the agent
	Audit     *audit.Log               // the caller closes it after the agent
	Metrics   *Metrics
	Log       *slog.Logger

	Callers    int           // verified tokens that are remembered, 0 for none; see callers
	MaxWaiting int           // requests that may wait for keys or a token at once, default 1024; more are denied OVERLOADED
	WarmUp     time.Duration // bound on the first fetch of keys and tokens, default 10s

	// Flags returns the signs of misuse in a decision, for its record. It is called before the record is written, on the goroutine that
	// decides: it must not wait, and must not keep r or a text of it. Nil for none.
	Flags func(r *audit.Record) []string
	// Decided are told of every decision whose record is with the kernel, before HAProxy gets the answer. They must not wait, must not change
	// r, and must not keep it or any text or slice of it: texts of the caller's lie in a buffer that the next request overwrites.
	Decided []func(r *audit.Record)
	// Undelivered are told of every recorded decision that HAProxy has not been told of, because it came too late or its connection was gone,
	// on a goroutine of the agent's own.
	Undelivered []func(u *audit.Undelivered)

	// Answered are told of the headers of Google's answer, where HAProxy tells of it, on the goroutine that reads its connection: they must not
	// wait. The id may be kept.
	Answered []func(id string, status int, at time.Time)

	// Stamp makes the value of X-Goog-Request-Reason of a decision's id and the caller's subject; nil for none.
	Stamp func(id, subject string) string
}

// Agent answers HAProxy. It is a spoe.Handler and safe for concurrent use.
type Agent struct {
	cfg     Config
	current atomic.Pointer[snapshot]

	tasks       sync.Pool // of *task
	undelivered *undelivered

	waiting chan struct{} // one element per request that left the connection's goroutine
	group   sync.WaitGroup

	load      sync.Mutex   // one load of the policy at a time
	tried     atomic.Value // string: digest of the directory at the last attempt to load it
	reload    atomic.Pointer[ReloadStatus]
	listening atomic.Bool
	warm      atomic.Bool
	warming   atomic.Int32 // warm-ups of reloads that have not ended
}

// snapshot is everything a request is judged by. A request sees one snapshot from its beginning to its end.
type snapshot struct {
	policy      *policy.Policy
	issuers     *identity.Verifier
	revocations *identity.RevocationFile
	callers     *callers // nil if none are remembered
	metrics     *Metrics
}

// New loads the policy and returns an agent that can answer at once; keys and tokens come in by and by (see WarmUp). A policy that does
// not load is an error: there is no agent without a policy.
func New(cfg Config) (*Agent, error) {
	switch {
	case cfg.PolicyDir == "":
		return nil, errors.New("agent: no policy directory")
	case cfg.Keys == nil, cfg.Revoked == nil, cfg.Tokens == nil, cfg.Audit == nil, cfg.Metrics == nil, cfg.Log == nil:
		return nil, errors.New("agent: Keys, Revoked, Tokens, Audit, Metrics and Log are required")
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
	a.undelivered = newUndelivered(a)
	if err := cfg.Metrics.watch(a); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Close waits for the requests under way and stops the refresh of keys. The server that calls ServeSPOE must be shut down before.
func (a *Agent) Close() {
	a.group.Wait()
	a.undelivered.close()
	a.load.Lock()
	defer a.load.Unlock()
	a.current.Load().issuers.Close()
}

// judge is the whole product: identify, parse the call, decide, mint. It answers from what is at hand if ctx is done already, and then
// returns ctx's error where it would have had to wait.
func (a *Agent) judge(ctx context.Context, s *snapshot, r *request, now time.Time) (ans answer, err error) {
	clock := stopwatch{time.Now()}
	ans.digest = s.policy.Digest()
	if err := r.check(); err != nil {
		return ans, err
	}
	who, err := s.identify(ctx, &r.Credentials, now)
	clock.lap(&ans.verify)
	if who != nil {
		ans.identity, ans.claims = who.identity, who.claims
	}
	if err != nil {
		return ans, err
	}
	ans.call, err = policy.ParseAny(r.Method, r.URI)
	if err != nil {
		return ans, err
	}
	if err := r.checkBody(); err != nil {
		return ans, err
	}
	question, unread := r.question(ans.call, now)
	ans.body, ans.bodyState = question.Body, question.BodyState
	ans.decision = who.session.Decide(ans.call, question)
	clock.lap(&ans.decide)
	switch {
	case ans.decision.Effect == policy.NeedBody && r.Phase == aboutMetadata:
		return ans, nil
	case ans.decision.Effect != policy.Allow:
		return ans, refusalOf(&ans.decision, unread)
	}
	ans.token, err = a.cfg.Tokens.Token(ctx, tokenRequest(&ans.decision, &ans.identity, &r.Credentials))
	clock.lap(&ans.mint)
	if err == nil && a.cfg.Stamp != nil {
		ans.requestReason = a.cfg.Stamp(r.ID, ans.identity.Subject)
	}
	return ans, err
}

// refusalOf is the refusal of a decision, and why the body could not be read if that decided.
func refusalOf(d *policy.Decision, unread error) error {
	r := &policy.Refusal{Reason: d.Reason, Detail: d.Detail}
	if unread != nil && (r.Reason == policy.TruncatedBody || r.Reason == policy.BadBody) {
		r.Detail += ": " + unread.Error()
	}
	return r
}

// tokenRequest names the token of a decision: the account's, or what the caller's own token is exchanged for.
func tokenRequest(d *policy.Decision, id *identity.Identity, c *identity.Credentials) google.Request {
	r := google.Request{Account: d.Account, Delegates: d.Delegates, Scopes: d.Scopes, Lifetime: d.Lifetime}
	if x := d.Exchange; x != nil {
		exchange(&r, x, id, c)
	}
	return r
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
	if a.respond(n, reply) {
		return
	}
	t := a.tasks.Get().(*task)
	t.now, t.notify, t.reply = time.Now(), n, reply
	if err := t.request.read(n); err != nil {
		t.answer.refuse(err)
		t.record()
		return
	}
	s := a.current.Load()
	err := t.judge(immediately, s)
	if !errors.Is(err, context.Canceled) {
		t.settle(err)
		return
	}
	select {
	case a.waiting <- struct{}{}:
	default:
		t.answer.refuse(&fault{reason: Overloaded, detail: "too many requests wait for keys or tokens"})
		t.record()
		return
	}
	a.cfg.Metrics.waited()
	a.group.Go(func() {
		defer func() { <-a.waiting }()
		t.settle(t.judge(ctx, s))
		a.cfg.Audit.Flush()
	})
}

// EndBatch commits the audit lines of the NOTIFYs that one read brought, which releases their answers.
func (a *Agent) EndBatch() { a.cfg.Audit.Flush() }

// Withheld notes that HAProxy has not had an answer that was on its way. It has the shape of spoe.Config.Withheld.
func (a *Agent) Withheld(id string, attempt int64) {
	a.cfg.Metrics.undelivered()
	a.undelivered.note(audit.Undelivered{Time: time.Now(), ID: id, Attempt: attempt})
}

// Overload is what HAProxy is told when a bound of the server refuses a request before it is looked at, or when an answer cannot be
// encoded.
func (a *Agent) Overload(*spoe.Notify) []spoe.Action {
	ans := answer{}
	ans.refuse(&fault{reason: Overloaded, detail: "refused by the server"})
	a.cfg.Metrics.decided(&ans)
	return ans.appendActions(nil)
}
