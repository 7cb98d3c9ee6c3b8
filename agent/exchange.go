package agent

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/policy"
)

// exchange makes a token request one that exchanges the caller's own token (RFC 8693). A caller without a token has none to exchange: the
// request then lacks it and is refused, never minted otherwise.
func exchange(r *google.Request, x *policy.Exchange, id *identity.Identity, c *identity.Credentials) {
	token := c.Assertion
	if token.Len() == 0 {
		_, text, _ := strings.Cut(c.Authorization.Reveal(), " ")
		token = secret.New(strings.TrimLeft(text, " "))
	}
	r.Exchange = exchangeOf(x)
	r.Subject, r.SubjectDigest, r.SubjectExpiry = token, sha256.Sum256([]byte(token.Reveal())), id.Expiry
	if r.Exchange.Mode == google.Direct {
		r.Exchange.Scopes = r.Scopes
		r.Account, r.Delegates, r.Scopes, r.Lifetime = "", nil, nil, 0
	}
}

func exchangeOf(x *policy.Exchange) *google.Exchange {
	kind := google.JWT
	if x.Type == "id_token" {
		kind = google.IDToken
	}
	return &google.Exchange{Audience: x.Audience, SubjectTokenType: kind, Mode: google.Mode(x.Mode), UserProject: x.UserProject}
}

// checkExchanges finds roles whose callers have tokens that Google's Security Token Service does not take: they would be refused one by
// one.
func checkExchanges(m *policy.Model) error {
	var problems []error
	for i := range m.Roles {
		role := &m.Roles[i]
		if role.Exchange == nil {
			continue
		}
		if err := exchangeOf(role.Exchange).Check(); err != nil {
			problems = append(problems, fmt.Errorf("%s: role %q: exchange: %w", role.At, role.Name, err))
		}
		for _, way := range role.Who {
			at := slices.IndexFunc(m.Issuers, func(i policy.Issuer) bool { return i.Name == way.Issuer })
			if at < 0 {
				continue
			}
			issuer := &m.Issuers[at]
			if issuer.URL == "" {
				problems = append(problems, fmt.Errorf("%s: role %q: exchange: callers of issuer %q have no token to exchange", role.At, role.Name, issuer.Name))
			}
			for _, alg := range issuer.Algorithms {
				if !google.ExchangeableAlgorithm(alg) {
					problems = append(problems, fmt.Errorf("%s: role %q: exchange: issuer %q may sign with %s, and Google takes RS256 and ES256 only: leave it out of the issuer's algorithms",
						role.At, role.Name, issuer.Name, alg))
				}
			}
		}
	}
	return errors.Join(problems...)
}
