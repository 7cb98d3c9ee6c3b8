package identity

import (
	"errors"
	"strings"
)

// auth0 are access tokens for an API registered with Auth0, https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles.
func auth0() profile {
	p := generic()
	p.algorithms = []string{"RS256"}
	p.only = []string{"RS256", "PS256"}
	p.require = []string{"iat"}
	p.tenant = "org_id"
	p.verified = true
	p.access = true
	p.validate = func(c *Issuer) error {
		if !strings.HasSuffix(c.URL, "/") {
			return errors.New("url does not end in a slash, and the iss of Auth0 always does")
		}
		return nil
	}
	p.check = func(_ *issuer, t *token) error {
		if t.claims.text("azp") == "" && t.claims.text("client_id") == "" {
			return refuse(ClaimMissing, "claim \"azp\" or \"client_id\" is required")
		}
		return nil
	}
	return p
}
