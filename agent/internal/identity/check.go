package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// checkHeader asks what can be asked before a key is looked for.
func (i *issuer) checkHeader(t *token, field string) error {
	h := t.header
	switch {
	case field != i.Header:
		return refuse(WrongHeader, "tokens of issuer %q come in field %q, this one in %q", i.Name, i.Header, field)
	case i.methods[h.algorithm] == nil:
		return refuse(AlgorithmRefused, "issuer %q does not use algorithm %s", i.Name, h.algorithm)
	case !slices.Contains(i.profile.types, h.typ):
		return refuse(TokenType, "header parameter \"typ\" %s is not one of %q", shown(h.typ), i.profile.types)
	case h.keyID == "" && i.profile.keyID:
		return refuse(UnknownKey, "header parameter \"kid\" is required of issuer %q", i.Name)
	}
	return nil
}

// checkSignature verifies the signature with k, and with it times, issuer and audience.
func (i *issuer) checkSignature(ctx context.Context, t *token, k *key, now time.Time) error {
	if !k.signsFor(t.claims.issuer, t.claims.text("tid")) {
		return refuse(KeyRefused, "key %s belongs to %s", shown(k.id), shown(k.issuer))
	}
	if costly(t.header.algorithm, k) {
		if err := i.costly.enter(ctx); err != nil {
			return err
		}
		defer i.costly.leave()
	}
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
	if i.profile.accepts != nil && !i.profile.accepts(i, t.claims) { // what golang-jwt does for all others
		return refuse(UnknownIssuer, "issuer %s is not issuer %q", shown(t.claims.issuer), i.Name)
	}
	return nil
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

// checkTimes asks for the limits of age and lifetime.
func (i *issuer) checkTimes(c *claims, now time.Time) error {
	from := now
	if c.issuedAt != nil {
		from = c.issuedAt.Time
	}
	if lifetime := c.expiry.Sub(from); lifetime > i.MaxLifetime {
		return refuse(LifetimeTooLong, "token is good for %v, more than %v", lifetime.Round(time.Second), i.MaxLifetime)
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

// checkClaims asks of an authentic token what golang-jwt does not.
func (i *issuer) checkClaims(t *token, presented *certificate, now time.Time) error {
	if err := checkBinding(t.claims.all, presented); err != nil {
		return err
	}
	if i.SingleAudience && len(t.claims.audience) != 1 {
		return refuse(SeveralAudiences, "claim \"aud\" has %d names, and issuer %q must name one", len(t.claims.audience), i.Name)
	}
	if err := i.checkTimes(t.claims, now); err != nil {
		return err
	}
	if err := i.checkProfile(t); err != nil {
		return err
	}
	return i.checkTypes(t.claims)
}

// identity makes an Identity of an authentic token that is meant for us.
func (i *issuer) identity(t *token, presented *certificate, now time.Time) (Identity, error) {
	if err := i.checkClaims(t, presented, now); err != nil {
		return Identity{}, err
	}
	c := t.claims
	id := Identity{
		Issuer: i.Name, IssuerURL: c.issuer, Audience: c.audience, TokenID: c.id, SessionID: c.session, Expiry: c.expiry.Time, Claims: c.all,
	}
	if c.issuedAt != nil {
		id.IssuedAt = c.issuedAt.Time
	}
	var err error
	if id.Subject, err = i.subject(c); err != nil {
		return Identity{}, err
	}
	if id.Groups, err = i.groups(c); err != nil {
		return Identity{}, err
	}
	if id.Email, err = i.email(c); err != nil {
		return Identity{}, err
	}
	if i.certificate != nil {
		if id.Claims, err = i.withCertificate(c.all, presented); err != nil {
			return Identity{}, err
		}
	}
	id.present(presented)
	return id, nil
}

// withCertificate returns the claims of a token together with those of the certificate that its issuer asks for.
func (i *issuer) withCertificate(all map[string]any, presented *certificate) (map[string]any, error) {
	if presented == nil {
		return nil, refuse(CertificateMissing, "issuer %q asks for a client certificate beside the token", i.Name)
	}
	_, certified, err := i.certificate.identify(presented)
	if err != nil {
		return nil, err
	}
	all = maps.Clone(all)
	all["certificate"] = certified
	return all, nil
}

// present notes the certificate that came with the request.
func (id *Identity) present(c *certificate) {
	if c == nil {
		return
	}
	id.Thumbprint, id.CertificateIssuer, id.CertificateSerial = c.thumbprint, c.issuer, c.serial
	id.forgetAt(c.leaf.NotAfter)
}

// forgetAt brings FreshUntil forward.
func (id *Identity) forgetAt(t time.Time) {
	if id.FreshUntil.IsZero() || t.Before(id.FreshUntil) {
		id.FreshUntil = t
	}
}
