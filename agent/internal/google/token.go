package google

import (
	"fmt"
	"time"

	"vertex-spoa/agent/internal/secret"
)

// Token is an access token of Google. It is a value: copies are free and safe for concurrent use.
type Token struct {
	// Value is opaque and of no particular size: about 1 kB for a service account, up to 12 kB elsewhere. It is visible ASCII.
	Value secret.Text
	// Expiry is the instant, on the wall clock, from which Google refuses the token.
	Expiry time.Time
	// Account is the e-mail of the account that the token speaks for; empty for a caller's own token that STS exchanged.
	Account string
	// Fingerprint is Value.Fingerprint(), computed when the token was minted.
	Fingerprint string
}

// issued is a token with the two instants that govern its use, both on the wall clock. The zero pointer is never usable.
type issued struct {
	Token
	refresh time.Time // from here on a new one is wanted
	until   time.Time // from here on this one is not handed out
	minted  time.Time // when it came
}

// maxToken is how long a token may be, in bytes, so that it fits into a frame to HAProxy beside what else an answer says (SPOE.txt section
// 3.2, 16 kB by default). Google says that federated tokens have up to 12 kB.
const maxToken = 14 << 10

// unfit returns why a token cannot be used, empty if it can.
func unfit(token string) string {
	switch {
	case token == "":
		return "without a token"
	case !visible(token):
		return "with a token that cannot stand in a header"
	case len(token) > maxToken:
		return fmt.Sprintf("with a token of %d bytes, more than %d, which HAProxy cannot be told", len(token), maxToken)
	}
	return ""
}

const (
	maxMargin = time.Minute // between the last use of a token and its expiry
	minPeriod = time.Second // between a token's mint and its refresh
)

// issue plans the use of t, minted at now: not handed out in its last minute, or the last tenth of its life if that is less, since
// the call it authorizes takes time and clocks differ; refreshed at a half to five eighths of its life for jitter in [0, 1), so that tokens
// minted together are not all refreshed together, and of an hour more than 20 minutes are left to be served from if that fails.
func issue(t Token, now time.Time, jitter float64) *issued {
	life := t.Expiry.Sub(now)
	period := time.Duration(float64(life) * (0.5 + 0.125*jitter))
	return &issued{
		Token:   t,
		refresh: now.Add(max(period, minPeriod)),
		until:   t.Expiry.Add(-min(maxMargin, life/10)),
		minted:  now,
	}
}

func (t *issued) usable(now time.Time) bool { return t != nil && now.Before(t.until) }

// Bounds of the pause after a failed mint. While callers are being refused the pause is short, so that service returns within seconds
// of Google's; where the token at hand is good for some time, or only an administrator can help, it is longer.
const (
	firstPause    = 500 * time.Millisecond
	shortPause    = 5 * time.Second
	longPause     = 30 * time.Second
	maxRetryAfter = time.Minute // the period of IAM's quotas; more than this no answer of a server may silence an account
	comfort       = 2 * longPause
)

// pause returns how long to wait after the n-th failure in a row (n >= 1), with jitter in [0, 1). left is how long the token at hand
// can still be handed out, not positive for none.
func pause(n int, err *Error, left time.Duration, jitter float64) time.Duration {
	limit := shortPause
	switch {
	case left > comfort, err.Reason == AccountForbidden, err.Reason == MintInvalid,
		err.Reason == ExchangeRefused, err.Reason == ExchangeUnsupported:
		limit = longPause
	}
	d := limit
	if n <= 8 {
		d = min(limit, firstPause<<(n-1))
	}
	d = time.Duration(float64(d) * (0.8 + 0.2*jitter))
	return max(d, min(err.RetryAfter, maxRetryAfter))
}
