package identity

import (
	"strings"
	"time"
)

// kubernetes are projected service account tokens, https://kubernetes.io/docs/concepts/security/service-accounts/. The tokens of old that
// live in Secrets have neither audience nor expiry and are refused for that. That its Pod has been deleted does not show in a token.
func kubernetes() profile {
	p := generic()
	p.require = []string{"iat", "kubernetes.io.namespace", "kubernetes.io.serviceaccount.name", "kubernetes.io.serviceaccount.uid"}
	p.tenant = "kubernetes.io.namespace"
	p.clients = nil
	p.lifetime = 3607 * time.Second // what kubelet asks for; others extend theirs to a year
	p.validate = func(c *Issuer) error {
		return foreignAudience(c, func(audience string) bool {
			return audience == c.URL || strings.HasPrefix(audience, "https://kubernetes.default.svc")
		})
	}
	p.check = func(_ *issuer, t *token) error {
		want := "system:serviceaccount:" + t.claims.text("kubernetes.io.namespace") + ":" + t.claims.text("kubernetes.io.serviceaccount.name")
		if t.claims.subject != want {
			return refuse(ClaimRefused, "claim \"sub\" is not the service account that \"kubernetes.io\" names")
		}
		return nil
	}
	return p
}
