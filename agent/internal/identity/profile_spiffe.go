package identity

import (
	"errors"
	"slices"
	"strings"
)

const spiffeScheme = "spiffe://"

// spiffe are JWT-SVIDs, https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md. They need not have an iss: then the trust domain
// in sub says whose keys count, and the issuer's URL is spiffe://TRUST-DOMAIN. For those that have one it is that iss, and Tenants are
// the trust domains.
func spiffe() profile {
	p := generic()
	p.only = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}
	p.types = []string{"", "jwt", "jose"}
	p.keyID = true
	p.use = "jwt-svid"
	p.maxSubject = maxSPIFFE
	p.clients = nil
	p.complete = func(c *Issuer) {
		if domain, whole := strings.CutPrefix(c.URL, spiffeScheme); whole && len(c.Tenants) == 0 {
			c.Tenants = []string{domain}
		}
	}
	p.validate = validateSPIFFE
	p.accepts = func(i *issuer, c *claims) bool {
		if _, named := c.all["iss"]; named {
			return c.issuer == i.URL
		}
		return strings.HasPrefix(i.URL, spiffeScheme) && trustDomain(c.subject) == strings.TrimPrefix(i.URL, spiffeScheme)
	}
	p.check = func(i *issuer, t *token) error {
		if !slices.Contains(i.Tenants, trustDomain(t.claims.subject)) {
			return refuse(TenantRefused, "trust domain %s is not one of issuer %q", shown(trustDomain(t.claims.subject)), i.Name)
		}
		if _, err := parseSPIFFE(t.claims.subject, i.Tenants); err != nil {
			return &Error{Reason: ClaimRefused, Detail: "claim \"sub\"", Err: plain(err)}
		}
		return nil
	}
	return p
}

func validateSPIFFE(c *Issuer) error {
	var problems []error
	if domain, whole := strings.CutPrefix(c.URL, spiffeScheme); whole {
		if !slices.Equal(c.Tenants, []string{domain}) {
			problems = append(problems, errors.New("tenants are others than the trust domain of the url"))
		}
		if c.keyless() {
			problems = append(problems, errors.New("keys of a trust domain cannot be discovered: a key set is required"))
		}
	}
	if len(c.Tenants) == 0 {
		problems = append(problems, errors.New("tenants are required: the trust domains that it may speak for"))
	}
	for _, domain := range c.Tenants {
		if err := checkTrustDomain(domain); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// trustDomain returns the trust domain of what looks like a SPIFFE ID, or "". The rest is not looked at.
func trustDomain(id string) string {
	rest, ok := strings.CutPrefix(id, spiffeScheme)
	if !ok {
		return ""
	}
	domain, _, _ := strings.Cut(rest, "/")
	return domain
}
