package identity

import "strings"

// cloudflare are the application tokens of Cloudflare Access,
// https://developers.cloudflare.com/cloudflare-one/access-controls/applications/http-apps/authorization-cookie/application-token/.
// The token of a service has an empty sub, and its name in common_name.
func cloudflare() profile {
	p := generic()
	p.algorithms = []string{"RS256"}
	p.only = []string{"RS256"}
	p.header = HeaderCloudflare
	p.types = []string{"", "jwt"}
	p.keyID = true
	p.require = []string{"iat", "type"}
	p.subject = []string{"sub", "common_name"}
	p.clients = []string{"common_name"}
	p.complete = func(c *Issuer) {
		if c.keyless() {
			c.JWKSURL = strings.TrimSuffix(c.URL, "/") + "/cdn-cgi/access/certs"
		}
	}
	p.check = func(_ *issuer, t *token) error {
		if t.claims.all["type"] != "app" {
			return refuse(TokenType, "claim \"type\" is not app: the session of a whole organisation, or another token")
		}
		if t.claims.subject != "" && t.claims.text("common_name") != "" {
			return refuse(ClaimRefused, "claims \"sub\" and \"common_name\" name a user and a service")
		}
		return nil
	}
	return p
}
