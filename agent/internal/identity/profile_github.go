package identity

import (
	"strings"
	"time"
)

// github are the tokens of GitHub Actions jobs, https://docs.github.com/actions/reference/security/oidc. Rules had better look at
// repository_id, ref and environment than at sub, whose form each repository can change.
func github() profile {
	p := generic()
	p.algorithms = []string{"RS256"}
	p.only = []string{"RS256"}
	p.require = []string{"iat", "jti", "repository", "repository_id", "repository_owner", "repository_owner_id", "run_id"}
	p.tenant = "repository_owner_id"
	p.clients = nil
	p.lifetime = 15 * time.Minute
	p.complete = func(c *Issuer) { setDefault(&c.URL, "https://token.actions.githubusercontent.com") }
	p.validate = func(c *Issuer) error {
		return foreignAudience(c, func(audience string) bool { return strings.HasPrefix(audience, "https://github.com/") })
	}
	p.check = func(_ *issuer, t *token) error {
		owner, _, _ := strings.Cut(t.claims.text("repository"), "/")
		if owner == "" || owner != t.claims.text("repository_owner") {
			return refuse(ClaimRefused, "claim \"repository\" is not one of \"repository_owner\"")
		}
		return nil
	}
	return p
}
