package google

import (
	"context"
	"errors"
	"time"
)

// CheckResult is what one mint on trial brought, for people and for programs. It holds no secret.
type CheckResult struct {
	// OK is true if a token was minted.
	OK bool `json:"ok"`
	// Agent is who the agent is, an e-mail or a principal; empty if that is not known.
	Agent string `json:"agent,omitempty"`
	// Account, Delegates and Scopes are what was asked for.
	Account   string   `json:"account,omitempty"`
	Delegates []string `json:"delegates,omitempty"`
	Scopes    []string `json:"scopes,omitempty"`
	// Asked and Granted are lifetimes, in nanoseconds. Granted is zero on failure.
	Asked   time.Duration `json:"lifetime_asked"`
	Granted time.Duration `json:"lifetime_granted"`
	// Latency is what the mint took, in nanoseconds, without that of the agent's own token.
	Latency time.Duration `json:"latency"`
	// Fingerprint is that of the token, see secret.Text.Fingerprint.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Reason, Detail and Fix are those of the Error, empty if OK.
	Reason Reason `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// Check mints a token of r now, past everything that is remembered, and says how it went. It tries once and keeps nothing: the Token is
// the caller's, and zero unless OK. A request with Exchange needs a caller's token, as with Token.
func (s *Source) Check(ctx context.Context, r Request) (CheckResult, Token) {
	result := CheckResult{Account: r.Account, Delegates: r.Delegates, Scopes: r.Scopes, Asked: r.lifetime()}
	if r.Exchange != nil && r.Exchange.Mode == Direct {
		result.Scopes, result.Asked = r.Exchange.scopes(), 0
	}
	if err := refusedUnasked(r); err != nil {
		return result.failed(err), Token{}
	}
	ctx, cancel := context.WithTimeout(ctx, flightTimeout)
	defer cancel()
	mint := s.callers.once
	if r.Exchange == nil {
		own, err := s.own.get(ctx)
		result.Agent = own.Account
		if err != nil {
			return result.failed(withoutOwn(r, err)), Token{}
		}
		mint = s.iam.mint
	}
	start := time.Now()
	t, err := mint(ctx, r)
	result.Latency = time.Since(start)
	if err != nil {
		return result.failed(err), Token{}
	}
	t.Fingerprint = t.Value.Fingerprint()
	result.OK, result.Fingerprint = true, t.Fingerprint
	result.Granted = t.Expiry.Sub(start).Round(time.Second)
	return result, t
}

func (c CheckResult) failed(err error) CheckResult {
	c.Reason, c.Detail = MintUnavailable, "not classified"
	if e, ok := errors.AsType[*Error](err); ok {
		c.Reason, c.Detail, c.Fix = e.Reason, e.Detail, e.Fix
	}
	return c
}
