package agent

import (
	"context"
	"crypto/sha256"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
)

// maxRemembered is how long a verified token is taken without looking at its signature again, and the longest token that is remembered.
const (
	maxRemembered      = time.Minute
	maxRememberedToken = 8 << 10
)

// callers remembers whose tokens were verified, under one snapshot's issuers. A token that was verified is taken again for at most a
// minute, for as long as it would itself be good without any leeway, and only while the issuer's keys are the same: a key that was
// withdrawn, or a policy that was changed, takes effect at once. Refusals are not remembered, because a caller could fill the memory with
// them. When it is full the caller seen least recently is forgotten. It is safe for concurrent use.
type callers struct {
	entries *lru.Cache[[sha256.Size]byte, caller]
	maxAge  map[string]time.Duration // by issuer
}

// caller is a verified identity and when it may be taken.
type caller struct {
	identity    identity.Identity
	from, until time.Time
}

// newCallers returns a memory of n callers. With n = 0 it remembers nobody.
func newCallers(n int, issuers []identity.Issuer) (*callers, error) {
	if n == 0 {
		return nil, nil
	}
	entries, err := lru.New[[sha256.Size]byte, caller](n)
	if err != nil {
		return nil, err
	}
	c := &callers{entries: entries, maxAge: map[string]time.Duration{}}
	for _, i := range issuers {
		c.maxAge[i.Name] = i.MaxAge
	}
	return c, nil
}

// key is the whole digest of the field that holds the token: nobody can make two tokens with the same one, and the token itself is not
// kept.
func key(authorization secret.Text) [sha256.Size]byte {
	return sha256.Sum256(append(make([]byte, 0, 2048), authorization.Reveal()...)) // most tokens need no memory of their own
}

// get returns the identity of a token that needs no further look.
func (c *callers) get(k [sha256.Size]byte, v *identity.Verifier, now time.Time) (identity.Identity, bool) {
	e, ok := c.entries.Get(k)
	if !ok || now.Before(e.from) || !now.Before(e.until) || v.Generation(e.identity.Issuer) != e.identity.Generation {
		return identity.Identity{}, false
	}
	return e.identity, true
}

// put remembers an identity that was verified now.
func (c *callers) put(k [sha256.Size]byte, id identity.Identity, now time.Time) {
	until := now.Add(maxRemembered)
	if id.Expiry.Before(until) {
		until = id.Expiry
	}
	if age := c.maxAge[id.Issuer]; age > 0 && id.IssuedAt.Add(age).Before(until) {
		until = id.IssuedAt.Add(age)
	}
	if now.Before(until) {
		c.entries.Add(k, caller{id, now, until})
	}
}

// verify is Verify of the snapshot's issuers, with a memory.
func (s *snapshot) verify(ctx context.Context, authorization secret.Text, now time.Time) (identity.Identity, error) {
	if s.callers == nil || authorization.Len() > maxRememberedToken {
		return s.issuers.Verify(ctx, authorization, now)
	}
	k := key(authorization)
	if id, ok := s.callers.get(k, s.issuers, now); ok {
		return id, nil
	}
	id, err := s.issuers.Verify(ctx, authorization, now)
	if err != nil {
		return identity.Identity{}, err
	}
	s.callers.put(k, id, now)
	return id, nil
}
