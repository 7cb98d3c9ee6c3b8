package agent

import (
	"errors"
	"fmt"
	"slices"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
)

// CheckPolicy returns everything for which an agent refuses a policy that has loaded, joined: issuers that cannot be asked or verified
// with, and what CheckExchanges finds. It asks nobody. Files of authorities are looked at only where files is true.
func CheckPolicy(p *policy.Policy, files bool) error {
	return errors.Join(identity.Check(Issuers(p), files), CheckExchanges(p))
}

// Issuers returns the issuers of a policy as the verifier wants them.
func Issuers(p *policy.Policy) []identity.Issuer {
	var to []identity.Issuer
	for _, i := range p.Issuers() {
		to = append(to, identity.Issuer{
			Name: i.Name, URL: i.URL, Profile: i.Profile, Audiences: i.Audiences, SingleAudience: i.SingleAudience, Algorithms: i.Algorithms,
			JWKSURL: i.JWKSURL, JWKSFile: i.JWKSFile, JWKS: i.JWKS, Header: i.Header,
			CAFile: i.CAFile, ProxyURL: i.ProxyURL, TokenFile: i.TokenFile,
			Leeway: i.Leeway, MaxAge: i.MaxAge, MaxLifetime: i.MaxLifetime, MaxStale: i.MaxStale,
			Require: i.Require, Subject: i.Subject, Groups: i.Groups, Email: i.Email, Claims: i.Claims, Tenants: i.Tenants, Clients: i.Clients,
			Introspection: (*identity.Introspection)(i.Introspection), Certificate: (*identity.CertificateRule)(i.Certificate),
		})
	}
	return to
}

// CheckExchanges finds the roles of a policy whose callers have tokens that Google's Security Token Service does not take: they would be
// refused one by one. The error holds every problem with its place.
func CheckExchanges(p *policy.Policy) error {
	m := p.Model()
	var problems []error
	for i := range m.Roles {
		role := &m.Roles[i]
		if role.Exchange == nil {
			continue
		}
		wrong := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("%s: role %q: exchange: "+format, append([]any{role.At, role.Name}, args...)...))
		}
		if err := exchangeOf(role.Exchange).Check(); err != nil {
			wrong("%w", err)
		}
		for _, way := range role.Who {
			at := slices.IndexFunc(m.Issuers, func(i policy.Issuer) bool { return i.Name == way.Issuer })
			if at >= 0 {
				checkExchangeable(&m.Issuers[at], wrong)
			}
		}
	}
	return errors.Join(problems...)
}

// checkExchangeable calls wrong for each reason for which the tokens of an issuer cannot be exchanged.
func checkExchangeable(i *policy.Issuer, wrong func(format string, args ...any)) {
	if i.URL == "" {
		wrong("callers of issuer %q have no token to exchange", i.Name)
	}
	if i.Introspection != nil && i.Introspection.Opaque {
		wrong("callers of issuer %q may have opaque tokens, and Google takes JWTs only", i.Name)
	}
	for _, alg := range i.Algorithms {
		if !google.ExchangeableAlgorithm(alg) {
			wrong("issuer %q may sign with %s, and Google takes RS256 and ES256 only: leave it out of the issuer's algorithms", i.Name, alg)
		}
	}
}
