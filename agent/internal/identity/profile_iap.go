package identity

import (
	"errors"
	"slices"
	"strings"
)

// iap are the assertions of Google's Identity-Aware Proxy, https://cloud.google.com/iap/docs/signed-headers-howto.
func iap() profile {
	p := generic()
	p.algorithms = []string{"ES256"}
	p.only = []string{"ES256"}
	p.header = HeaderIAP
	p.types = []string{"", "jwt"}
	p.keyID = true
	p.require = []string{"iat"}
	p.tenant = "hd"
	p.clients = nil
	p.complete = func(c *Issuer) {
		setDefault(&c.URL, "https://cloud.google.com/iap")
		if c.keyless() {
			c.JWKSURL = "https://www.gstatic.com/iap/verify/public_key-jwk"
		}
	}
	p.validate = func(c *Issuer) error {
		if slices.ContainsFunc(c.Audiences, func(a string) bool { return !strings.HasPrefix(a, "/projects/") }) {
			return errors.New("audience is not of the form /projects/NUMBER/global/backendServices/ID or /projects/NUMBER/apps/PROJECT")
		}
		return nil
	}
	return p
}
