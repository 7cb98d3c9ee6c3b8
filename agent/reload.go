package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
)

// ReloadStatus tells of the last attempt to load the policy.
type ReloadStatus struct {
	Time   time.Time // of the attempt
	Digest string    // of the policy in force
	Error  string    // why the attempt failed and the policy before it stays; empty after a success

	before []ReloadStatus // the attempts before, the last first
}

// Bounds of the history of reloads.
const (
	maxReloads     = 20
	maxReloadError = 4 << 10 // of the error of an attempt before, in bytes
)

// history returns the last attempts, the last first. They have no history of their own.
func (r ReloadStatus) history() []ReloadStatus {
	before := r.before
	r.before = nil
	return append([]ReloadStatus{r}, before...)
}

// reloadTried notes an attempt to load the policy. The load is still locked.
func (a *Agent) reloadTried(now ReloadStatus) {
	if last := a.reload.Load(); last != nil {
		now.before = last.history()
		now.before[0].Error = strings.Clone(cut(now.before[0].Error, maxReloadError)) // the whole is not kept
		now.before = now.before[:min(len(now.before), maxReloads-1)]
	}
	a.reload.Store(&now)
}

// Reload loads the policy directory and puts it in force as a whole: rules, issuers and accounts change between two requests. On error
// nothing changes. The error lists every problem with file, line and column.
func (a *Agent) Reload() error {
	a.load.Lock()
	defer a.load.Unlock()
	a.tried.Store(a.digest())
	old := a.current.Load()
	next, err := a.loadSnapshot(old)
	a.cfg.Metrics.reloaded(err)
	if err != nil {
		status := ReloadStatus{Time: time.Now(), Error: err.Error()}
		if old != nil {
			status.Digest = old.policy.Digest()
		}
		a.reloadTried(status)
		return err
	}
	a.cfg.Tokens.Keep(grantsOf(next.policy))
	a.current.Store(next)
	a.reloadTried(ReloadStatus{Time: time.Now(), Digest: next.policy.Digest()})
	if old != nil {
		old.issuers.Close() // a request that still holds it verifies with the keys it has
	}
	return nil
}

// countOf is how many errors were joined.
func countOf(err error) int {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return len(joined.Unwrap())
	}
	return 1
}

func (a *Agent) loadSnapshot(old *snapshot) (*snapshot, error) {
	p, err := policy.Load(a.cfg.PolicyDir)
	if err != nil {
		return nil, err
	}
	if err := CheckExchanges(p); err != nil {
		return nil, err
	}
	var issuers *identity.Verifier
	if old != nil {
		issuers, err = old.issuers.With(Issuers(p))
	} else {
		issuers, err = identity.New(Issuers(p), identity.Options{Client: a.cfg.Keys, Log: a.cfg.Log, OnKeys: a.cfg.Metrics.keysFetched})
	}
	if err != nil {
		return nil, fmt.Errorf("issuers of the policy in %s: %w", a.cfg.PolicyDir, err)
	}
	remembered, err := newCallers(a.cfg.Callers, Issuers(p))
	if err != nil {
		issuers.Close()
		return nil, err
	}
	return &snapshot{policy: p, issuers: issuers, revocations: a.cfg.Revoked, callers: remembered, metrics: a.cfg.Metrics}, nil
}

// WarmUp fetches every issuer's keys and mints a token for every account of the policy, so that no caller has to wait for that. It ends
// after the configured bound at the latest; what is missing then comes with the first request that needs it. Accounts that fail are
// logged and hurt no others.
func (a *Agent) WarmUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.WarmUp)
	defer cancel()
	s := a.current.Load()
	s.issuers.Ready(ctx)
	if err := a.cfg.Tokens.Warm(ctx, grantsOf(s.policy)); err != nil {
		a.cfg.Log.Warn("some accounts have no token yet", "accounts", countOf(err)) // what each lacks is said where it is minted
	}
	a.warm.Store(true)
}

// digest is that of the policy directory as it stands, or what is in the way of reading it, which may change as well.
func (a *Agent) digest() string {
	digest, err := policy.DirDigest(a.cfg.PolicyDir)
	if err != nil {
		return err.Error()
	}
	return digest
}

// ReloadAndLog is Reload for callers that have nobody to return an error to; after a success it also warms up what is new, and does not
// wait for that. It must not be called after Close.
func (a *Agent) ReloadAndLog(ctx context.Context) {
	if err := a.Reload(); err != nil {
		a.cfg.Log.Error("policy not loaded, the one before stays in force", "dir", a.cfg.PolicyDir, "error", err)
		return
	}
	a.cfg.Log.Info("policy loaded", "dir", a.cfg.PolicyDir, "policy", a.current.Load().policy.Digest())
	a.WarnOfRevocations()
	a.warmUpMeanwhile(ctx)
}

// warmUpMeanwhile is WarmUp of a policy that was put in force, which nobody waits for but whoever asks whether the agent is ready.
func (a *Agent) warmUpMeanwhile(ctx context.Context) {
	a.warming.Add(1)
	a.group.Go(func() {
		defer a.warming.Add(-1)
		a.WarmUp(ctx)
	})
}

// WarnOfRevocations logs the issuers that the deny list names and the policy does not know: what is misspelled revokes nothing.
func (a *Agent) WarnOfRevocations() {
	known := a.current.Load().policy.Issuers()
	for _, name := range a.cfg.Revoked.Current().Issuers() {
		if !slices.ContainsFunc(known, func(i policy.Issuer) bool { return i.Name == name }) {
			a.cfg.Log.Warn("the deny list names an issuer that the policy does not have", "issuer", name)
		}
	}
}

// grantsOf returns the tokens that can be minted before anybody asks: those that no caller's own token is needed for.
func grantsOf(p *policy.Policy) []google.Request {
	var to []google.Request
	for _, g := range p.Grants() {
		if g.Exchange == nil {
			to = append(to, google.Request{Account: g.Account, Delegates: g.Delegates, Scopes: g.Scopes, Lifetime: g.Lifetime})
		}
	}
	return to
}
