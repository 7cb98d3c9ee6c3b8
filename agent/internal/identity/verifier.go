package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vertex-spoa/agent/internal/secret"
)

// Options are what a Verifier needs from outside.
type Options struct {
	// Client fetches discovery documents and key sets. It is required, and not changed: a copy that refuses redirects to other hosts and
	// keeps no cookies is used, and each fetch ends after 5 s.
	Client *http.Client
	// Log gets a line when an issuer's keys change or cannot be fetched. It is required.
	Log *slog.Logger
	// OnKeys, if not nil, is called after each fetch with the Issuer.Name, the number of keys now held, and the error of a fetch that
	// failed. It is called by one goroutine per issuer and must not block.
	OnKeys func(issuer string, keys int, err error)
}

// Verifier verifies tokens of a fixed list of issuers. Its methods are safe for concurrent use.
type Verifier struct {
	options Options
	client  *http.Client
	issuers []*issuer          // in the order of the configuration
	byURL   map[string]*issuer // by the exact iss
	byName  map[string]*issuer
	sets    map[source]*keySet
	closing sync.Once
}

// IssuerStatus describes the keys of one issuer.
type IssuerStatus struct {
	Name    string        // Issuer.Name
	Usable  bool          // tokens can be verified: there are keys, and they are not older than 24 h
	Keys    int           // in use
	Dropped int           // in the same document, but not usable
	Age     time.Duration // since they were fetched; 0 without keys
	Error   string        // of the last fetch, or ""; it holds no secret
}

// New returns a Verifier of issuers, or every problem of them, joined. It starts one goroutine per issuer that fetches its keys, and does
// not wait: an issuer that is down answers ISSUER_UNAVAILABLE until it is back. Close ends the goroutines.
func New(issuers []Issuer, o Options) (*Verifier, error) {
	if o.Client == nil || o.Log == nil {
		return nil, errors.New("identity: a client and a log are required")
	}
	client := &http.Client{Transport: o.Client.Transport, Timeout: o.Client.Timeout, CheckRedirect: sameOrigin}
	return build(issuers, o, client, nil)
}

// With returns a Verifier of issuers, for the next policy, under the same Options. An issuer whose URL and key source are those of an
// issuer of v shares its keys, which are not fetched again. Both Verifiers work until each is closed.
func (v *Verifier) With(issuers []Issuer) (*Verifier, error) {
	return build(issuers, v.options, v.client, v.sets)
}

func build(configured []Issuer, o Options, client *http.Client, shared map[source]*keySet) (*Verifier, error) {
	v := &Verifier{
		options: o, client: client,
		byURL: map[string]*issuer{}, byName: map[string]*issuer{}, sets: map[source]*keySet{},
	}
	if err := v.configure(configured); err != nil {
		return nil, err
	}
	for _, i := range v.issuers {
		from := i.source()
		set, found := shared[from]
		if !found || !set.share(i.Name) {
			set = newKeySet(i.Name, from, o, client)
		}
		i.keys, v.sets[from] = set, set
	}
	return v, nil
}

// configure fills the tables and starts nothing.
func (v *Verifier) configure(configured []Issuer) error {
	var problems []error
	if len(configured) == 0 {
		problems = append(problems, errors.New("no issuer is configured"))
	}
	for _, c := range configured {
		i, err := newIssuer(c)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if v.byName[c.Name] != nil {
			problems = append(problems, fmt.Errorf("issuer %q: name is used twice", c.Name))
		}
		if v.byURL[c.URL] != nil {
			problems = append(problems, fmt.Errorf("issuer %q: url %q is used twice", c.Name, c.URL))
		}
		v.issuers = append(v.issuers, i)
		v.byName[c.Name], v.byURL[c.URL] = i, i
	}
	return errors.Join(problems...)
}

// Close gives up v's share of each key set. A set that no other Verifier shares stops its goroutine, and Close waits for it. Close can be
// called more than once. Verify goes on to work with the keys in hand, until they are 24 h old.
func (v *Verifier) Close() {
	v.closing.Do(func() {
		for _, set := range v.sets {
			set.release()
		}
	})
}

// Ready returns when the first fetch of every issuer has ended, well or not, or when ctx is done.
func (v *Verifier) Ready(ctx context.Context) {
	for _, i := range v.issuers {
		select {
		case <-i.keys.first:
		case <-ctx.Done():
			return
		}
	}
}

// Status returns one entry per issuer, in the order of the configuration.
func (v *Verifier) Status() []IssuerStatus {
	list := make([]IssuerStatus, len(v.issuers))
	for n, i := range v.issuers {
		list[n] = i.keys.status()
		list[n].Name = i.Name
	}
	return list
}

// Generation returns a number that changes whenever the usable keys of the issuer of that name change, and 0 while it has none. Whoever
// remembers an Identity must forget it when the number is no longer that of the Identity: its key may have been withdrawn.
func (v *Verifier) Generation(issuer string) uint64 {
	i := v.byName[issuer]
	if i == nil {
		return 0
	}
	r := i.keys.usable()
	if r == nil {
		return 0
	}
	return r.generation
}

// Verify returns the caller whom the token names, at the time now. authorization is the complete value of the Authorization header field.
// Every error is an *Error, and the Identity is then zero.
//
// Most tokens need nothing but the keys in hand. Where a fetch might bring the key, Verify causes one and waits at most 300 ms. When ctx
// is done it does not wait: errors.Is(err, ctx.Err()) then tells that the same call with a live ctx may have another outcome.
func (v *Verifier) Verify(ctx context.Context, authorization secret.Text, now time.Time) (Identity, error) {
	t, err := parseToken(authorization)
	if err != nil {
		return Identity{}, err
	}
	if _, present := t.claims.all["iss"]; !present {
		return Identity{}, refuse(ClaimMissing, "claim \"iss\" is required")
	}
	i := v.byURL[t.claims.issuer] // golang-jwt compares it again, after the signature
	if i == nil {
		return Identity{}, refuse(UnknownIssuer, "issuer %s is not configured", shown(t.claims.issuer))
	}
	if i.methods[t.header.algorithm] == nil {
		return Identity{}, refuse(AlgorithmRefused, "issuer %q does not use algorithm %s", i.Name, t.header.algorithm)
	}
	k, err := i.keys.find(ctx, t.header.keyID, t.header.algorithm)
	if err != nil {
		return Identity{}, err
	}
	if err := i.check(t, k, now); err != nil {
		return Identity{}, err
	}
	return i.identity(t, k), nil
}

// check verifies signature and claims.
func (i *issuer) check(t *token, k *key, now time.Time) error {
	parser := jwt.NewParser(append(slices.Clip(i.options), jwt.WithTimeFunc(func() time.Time { return now }))...)
	_, err := parser.ParseWithClaims(t.text, t.claims, func(read *jwt.Token) (any, error) {
		if read.Header["alg"] != t.header.algorithm {
			return nil, errOtherHeader
		}
		read.Method = i.methods[t.header.algorithm] // not the registry's
		return k.public, nil                        // one key: for a set, golang-jwt would try each
	})
	if err != nil {
		return i.refusal(err)
	}
	return i.checkClaims(t.claims, now)
}

var errOtherHeader = errors.New("header differs from the one that was read")

// refusal translates an error of golang-jwt, which may join several: the first in this order counts.
func (i *issuer) refusal(err error) error {
	for _, r := range []struct {
		cause  error
		reason Reason
	}{
		{jwt.ErrTokenSignatureInvalid, BadSignature},
		{jwt.ErrTokenRequiredClaimMissing, ClaimMissing},
		{jwt.ErrTokenExpired, TokenExpired},
		{jwt.ErrTokenNotValidYet, TokenNotYetValid},
		{jwt.ErrTokenUsedBeforeIssued, TokenNotYetValid},
		{jwt.ErrTokenInvalidAudience, WrongAudience},
		{jwt.ErrTokenInvalidIssuer, UnknownIssuer},
	} {
		if errors.Is(err, r.cause) {
			return &Error{Reason: r.reason, Detail: fmt.Sprintf("token of issuer %q", i.Name), Err: err}
		}
	}
	return &Error{Reason: TokenMalformed, Detail: fmt.Sprintf("token of issuer %q", i.Name), Err: err}
}

// checkClaims asks of an authentic token what golang-jwt does not.
func (i *issuer) checkClaims(c *claims, now time.Time) error {
	if c.subject == "" {
		return refuse(ClaimMissing, "claim \"sub\" is required")
	}
	// RFC 8705 section 3, RFC 9449 section 7.1: without proof that the caller holds the key, the token may have been stolen.
	if _, present := c.all["cnf"]; present {
		return refuse(BindingUnsupported, "claim \"cnf\" binds the token to a key")
	}
	if i.MaxAge == 0 {
		return nil
	}
	if c.issuedAt == nil {
		return refuse(ClaimMissing, "claim \"iat\" is required by issuer %q", i.Name)
	}
	if now.Sub(c.issuedAt.Time) > i.MaxAge {
		return refuse(TokenTooOld, "token is older than %v", i.MaxAge)
	}
	return nil
}

func (i *issuer) identity(t *token, k *key) Identity {
	c := t.claims
	id := Identity{
		Issuer: i.Name, IssuerURL: c.issuer, Subject: c.subject, Audience: c.audience, TokenID: c.id, KeyID: t.header.keyID,
		Expiry: c.expiry.Time, Claims: c.all, Generation: k.generation,
	}
	if c.issuedAt != nil {
		id.IssuedAt = c.issuedAt.Time
	}
	return id
}
