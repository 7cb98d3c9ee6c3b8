package identity

import (
	"errors"
	"net/url"
	"strings"
)

// okta are access tokens of an Okta custom authorization server, https://developer.okta.com/docs/api/openapi/okta-oauth/guides/overview/.
// Those of the org authorization server are for Okta's own API and may change their form at any time.
func okta() profile {
	p := generic()
	p.algorithms = []string{"RS256"}
	p.only = []string{"RS256"}
	p.require = []string{"cid", "iat", "jti"}
	p.clients = []string{"cid"}
	p.access = true
	p.validate = func(c *Issuer) error {
		u, err := url.Parse(c.URL)
		if id, custom := strings.CutPrefix(u.EscapedPath(), "/oauth2/"); err != nil || !custom || id == "" || strings.Contains(id, "/") {
			return errors.New("url is not that of a custom authorization server: https://DOMAIN/oauth2/ID")
		}
		return nil
	}
	p.check = func(_ *issuer, t *token) error {
		if v, present := t.claims.all["scp"]; present && !ofType(v, "list") {
			return refuse(ClaimRefused, "claim \"scp\" is not a list")
		}
		if t.claims.text("cid") == "" {
			return refuse(ClaimRefused, "claim \"cid\" is not the name of a client")
		}
		return nil
	}
	return p
}
