package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent/internal/secret"
)

// Reasons of introspection.
const (
	TokenInactive            Reason = "TOKEN_INACTIVE"            // the issuer says that the token is not, or no longer, active
	IntrospectionMismatch    Reason = "INTROSPECTION_MISMATCH"    // the issuer calls active what is not this token, or not for us
	IntrospectionUnavailable Reason = "INTROSPECTION_UNAVAILABLE" // the issuer gave no usable answer in time: the caller may try again
)

const (
	introspectionTimeout = 300 * time.Millisecond // for one question, connecting included
	defaultCacheFor      = 30 * time.Second
	maxCacheFor          = time.Minute
)

// Introspection says how an issuer is asked whether a token is active (RFC 7662). It is asked about tokens whose signature and claims
// were found good, and about opaque ones if it says so. Without its answer the caller is refused.
type Introspection struct {
	URL              string        // https, or http to this machine
	ClientID         string        // what the issuer knows us as
	ClientSecretFile string        // read for each question, so that it can be replaced; white space at its ends does not count
	CAFile           string        // CA certificates, in PEM, that vouch for the URL's host, instead of the Client's; read once
	CacheFor         time.Duration // how long an answer is relied on: 0 is 30s, at most 60s
	Opaque           bool          // tokens that are not JWTs are accepted on the issuer's word alone
}

func (c Introspection) validate() error {
	var problems []error
	if err := checkURL(c.URL); err != nil {
		problems = append(problems, err)
	}
	if c.ClientID == "" || strings.ContainsFunc(c.ClientID, unprintable) {
		problems = append(problems, errors.New("a client id of printable text is required"))
	}
	if c.ClientSecretFile == "" {
		problems = append(problems, errors.New("a client secret file is required"))
	}
	if c.CacheFor < 0 || c.CacheFor > maxCacheFor {
		problems = append(problems, fmt.Errorf("an answer is relied on for %v, not for 0s to %v", c.CacheFor, maxCacheFor))
	}
	if c.CAFile != "" {
		_, err := readAuthorities(c.CAFile)
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	return nil
}

// confirm asks the issuer about a token that was verified, whose claims are own. The answer must be about the same token, as far as it
// says anything, and its confirmation claim counts as one of the token does. until is how long that may be relied on.
func (n *introspector) confirm(ctx context.Context, token secret.Text, own *claims, c *certificate, now time.Time) (until time.Time, err error) {
	a, err := n.ask(ctx, token, now)
	if err != nil {
		return time.Time{}, err
	}
	for _, same := range []struct{ name, own, answered string }{
		{"iss", own.issuer, a.issuer}, {"sub", own.subject, a.subject}, {"jti", own.id, a.id},
	} {
		if _, told := a.all[same.name]; told && same.own != same.answered {
			return time.Time{}, refuse(IntrospectionMismatch, "member %q of the answer is not that of the token", same.name)
		}
	}
	return n.accept(a, c, now)
}

// resolve asks the issuer who the bearer of an opaque token is. The answer must say it as completely as a token would: sub, aud and exp
// are required. until is how long that may be relied on. The claims are shared: do not change them.
func (n *introspector) resolve(ctx context.Context, token secret.Text, c *certificate, now time.Time) (who *claims, until time.Time, err error) {
	a, err := n.ask(ctx, token, now)
	if err != nil {
		return nil, time.Time{}, err
	}
	for _, name := range []string{"aud", "exp"} { // who the caller is, the issuer's mapping tells
		if _, told := a.all[name]; !told {
			return nil, time.Time{}, refuse(ClaimMissing, "the answer has no member %q", name)
		}
	}
	if _, told := a.all["iss"]; told && a.issuer != n.issuer {
		return nil, time.Time{}, refuse(IntrospectionMismatch, "member \"iss\" of the answer is %s", shown(a.issuer))
	}
	// RFC 7662 section 2.2. Nobody calls with a refresh token, nor can the key of another type's token be checked here.
	if kind, told := a.all["token_type"]; told {
		if text, _ := kind.(string); !strings.EqualFold(text, "bearer") {
			return nil, time.Time{}, refuse(TokenType, "the token is not of type Bearer")
		}
	}
	until, err = n.accept(a, c, now)
	if err != nil {
		return nil, time.Time{}, err
	}
	named := a.claims
	named.issuer = n.issuer
	return &named, until, nil
}

// accept checks what any answer must not contradict. Times and the certificate are looked at again for each request.
func (n *introspector) accept(a *answer, c *certificate, now time.Time) (until time.Time, err error) {
	switch {
	case a.audience != nil && !slices.ContainsFunc(n.audiences, func(name string) bool { return slices.Contains(a.audience, name) }):
		return time.Time{}, refuse(WrongAudience, "member \"aud\" of the answer names somebody else")
	case a.expiry != nil && !now.Before(a.expiry.Add(n.leeway)):
		return time.Time{}, refuse(TokenExpired, "member \"exp\" of the answer has passed")
	case a.notBefore != nil && now.Add(n.leeway).Before(a.notBefore.Time):
		return time.Time{}, refuse(TokenNotYetValid, "member \"nbf\" of the answer is in the future")
	case a.issuedAt != nil && now.Add(n.leeway).Before(a.issuedAt.Time):
		return time.Time{}, refuse(TokenNotYetValid, "member \"iat\" of the answer is in the future")
	}
	if err := checkBinding(a.all, c); err != nil {
		return time.Time{}, err
	}
	return a.until, nil
}
