package agent

import (
	"context"
	"crypto/sha256"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
)

// How long a verified caller is taken without another look, the largest credentials that are remembered, and what all that is remembered
// may take.
const (
	maxRemembered      = time.Minute
	maxRememberedToken = 8 << 10
	maxRememberedBytes = 64 << 20
)

// callers remembers who was verified, under one snapshot's issuers and policy. A caller is taken again for at most a minute, for as long as
// the credentials would themselves be good without any leeway, only while the issuer's keys are the same, and not when they are revoked: a
// key that was withdrawn, a policy or a deny list that was changed takes effect at once. Refusals are not remembered, because a caller could
// fill the memory with them. When it is full the caller seen least recently is forgotten. It is safe for concurrent use.
type callers struct {
	entries *lru.Cache[[sha256.Size]byte, *caller]
	bytes   atomic.Int64             // that the entries take, about
	maxAge  map[string]time.Duration // by issuer
}

// caller is somebody who was verified, and when they may be taken for that. But for cleared it is not changed.
type caller struct {
	identity    identity.Identity
	session     *policy.Session
	claims      []byte // those that the policy uses, as the record has them
	from, until time.Time
	size        int64
	cleared     atomic.Uint64 // epoch of the deny list that does not name the caller
}

// newCallers returns a memory of n callers. With n = 0 it remembers nobody.
func newCallers(n int, issuers []identity.Issuer) (*callers, error) {
	if n == 0 {
		return nil, nil
	}
	c := &callers{maxAge: map[string]time.Duration{}}
	entries, err := lru.NewWithEvict(n, func(_ [sha256.Size]byte, gone *caller) { c.bytes.Add(-gone.size) })
	if err != nil {
		return nil, err
	}
	c.entries = entries
	for _, i := range issuers {
		c.maxAge[i.Name] = i.MaxAge
	}
	return c, nil
}

// size is how many bytes of a request identify the caller.
func size(c *identity.Credentials) int {
	return c.Authorization.Len() + c.Assertion.Len() + len(c.Certificate.DER)
}

// get returns the caller who needs no further look but at the deny list.
func (c *callers) get(k [sha256.Size]byte, v *identity.Verifier, now time.Time) (*caller, bool) {
	e, ok := c.entries.Get(k)
	if !ok || now.Before(e.from) || !now.Before(e.until) || v.Generation(e.identity.Issuer) != e.identity.Generation {
		return nil, false
	}
	return e, true
}

// put remembers a caller who was verified now.
func (c *callers) put(k [sha256.Size]byte, e *caller, now time.Time) {
	id := &e.identity
	now = now.Round(0) // the clock on the wall is the one that the credentials go by
	e.from, e.until = now, now.Add(maxRemembered)
	for _, end := range [...]time.Time{id.Expiry, id.FreshUntil} {
		if !end.IsZero() && end.Before(e.until) {
			e.until = end
		}
	}
	if age := c.maxAge[id.Issuer]; age > 0 && id.IssuedAt.Add(age).Before(e.until) {
		e.until = id.IssuedAt.Add(age)
	}
	if !now.Before(e.until) {
		return
	}
	c.entries.Remove(k) // what is replaced is not reported, and would be counted for ever
	c.bytes.Add(e.size)
	if _, found, _ := c.entries.PeekOrAdd(k, e); found { // of another request, at the same time
		c.bytes.Add(-e.size)
	}
	for c.bytes.Load() > maxRememberedBytes {
		if _, _, ok := c.entries.RemoveOldest(); !ok {
			return
		}
	}
}

// identify returns who the credentials name, from memory if possible. With the error of a caller who is revoked it returns who that is, with
// an identity and nothing else, and with any other error nil.
func (s *snapshot) identify(ctx context.Context, c *identity.Credentials, now time.Time) (*caller, error) {
	if s.callers == nil || size(c) > maxRememberedToken {
		return s.verify(ctx, c, now)
	}
	k := c.Digest()
	e, ok := s.callers.get(k, s.issuers, now)
	s.metrics.identified(ok)
	if ok {
		return e, s.clear(e)
	}
	e, err := s.verify(ctx, c, now)
	if err != nil {
		return e, err
	}
	s.callers.put(k, e, now)
	return e, nil
}

// verify looks at the credentials themselves.
func (s *snapshot) verify(ctx context.Context, c *identity.Credentials, now time.Time) (*caller, error) {
	id, err := s.issuers.Identify(ctx, *c, now)
	if err != nil {
		return nil, err
	}
	e := &caller{identity: id}
	if err := s.clear(e); err != nil {
		return e, err
	}
	e.claims = policy.AppendClaims(nil, id.Claims, s.policy.ClaimsUsed(id.Issuer))
	e.session = s.policy.Bind(policy.Caller{Issuer: id.Issuer, Subject: id.Subject, Claims: id.Claims})
	e.size = e.weigh()
	return e, nil
}

// weigh returns about how many bytes of memory the caller takes. The session shares the claims.
func (e *caller) weigh() int64 {
	const rest = 1 << 10
	return rest + int64(len(e.claims)) + weight(e.identity.Claims)
}

// weight returns about how many bytes a claim takes, rather too many: {"":0}, six bytes of a token, is a map of its own.
func weight(v any) int64 {
	const box, object, member, element = 16, 352, 80, 32
	total := int64(box)
	switch v := v.(type) {
	case string:
		total += int64(len(v))
	case []any:
		for _, inner := range v {
			total += element + weight(inner)
		}
	case map[string]any:
		total += object
		for name, inner := range v {
			total += member + int64(len(name)) + weight(inner)
		}
	}
	return total
}

// clear returns an error if the deny list names the caller.
func (s *snapshot) clear(e *caller) error {
	epoch := s.revocations.Epoch()
	if e.cleared.Load() == epoch {
		return nil
	}
	if err := s.revocations.Check(e.identity); err != nil {
		return err
	}
	e.cleared.Store(epoch)
	return nil
}
