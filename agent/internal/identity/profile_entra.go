package identity

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// entra are access tokens of Microsoft Entra ID for an API of one's own, https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference.
//
// oid names a user or a service principal in every application of its tenant, sub only in one. There is no default for the e-mail
// address: whoever administers a tenant can write any address into it.
func entra() profile {
	p := generic()
	p.algorithms = []string{"RS256"}
	p.only = []string{"RS256"}
	p.require = []string{"tid", "iat"}
	p.subject = []string{"oid"}
	p.email = ""
	p.tenant = "tid"
	p.clients = []string{"azp", "appid"}
	p.access = true
	p.complete = func(c *Issuer) {
		if tenant := tenantOf(c.URL); guid(tenant) && len(c.Tenants) == 0 {
			c.Tenants = []string{tenant}
		}
		// The keys of version 1 are not where its iss would lead.
		if after, v1 := strings.CutPrefix(c.URL, "https://sts.windows.net/"); v1 && c.keyless() {
			c.JWKSURL = "https://login.microsoftonline.com/" + strings.TrimSuffix(after, "/") + "/discovery/keys"
		}
	}
	p.validate = validateEntra
	p.accepts = func(i *issuer, c *claims) bool {
		tenant := c.text("tid")
		return guid(tenant) && c.issuer == strings.Replace(i.URL, tenantTemplate, tenant, 1)
	}
	p.check = checkEntra
	return p
}

func validateEntra(c *Issuer) error {
	var problems []error
	switch tenant := tenantOf(c.URL); {
	case tenant == tenantTemplate && len(c.Tenants) == 0:
		problems = append(problems, errors.New("tenants are required for a url with "+tenantTemplate+": everybody can have a tenant"))
	case tenant != tenantTemplate && !guid(tenant):
		problems = append(problems, errors.New("url does not have a tenant's id in lower case, or "+tenantTemplate+", as its first path segment"))
	case tenant != tenantTemplate && !slices.Equal(c.Tenants, []string{tenant}):
		problems = append(problems, errors.New("tenants are others than that of the url"))
	}
	for _, tenant := range c.Tenants {
		if !guid(tenant) {
			problems = append(problems, fmt.Errorf("tenant %q is not an id in lower case, like 8a1b… with four hyphens", tenant))
		}
	}
	return errors.Join(problems...)
}

func checkEntra(i *issuer, t *token) error {
	if t.header.nonce {
		return refuse(TokenType, "header parameter \"nonce\": a token for Microsoft Graph, which only Graph can verify")
	}
	// A caller in too many groups has a link in place of them: a rule that denies one of them could not apply.
	_, linked := lookup(t.claims.all, "_claim_names."+i.Groups)
	if linked || t.claims.all["hasgroups"] == true && i.Groups == "groups" {
		return refuse(ClaimRefused, "claim %q is left out because the caller is in too many groups", i.Groups)
	}
	return nil
}

// tenantOf returns the first path segment of an issuer's URL.
func tenantOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return first
}

// guid reports whether s is a tenant's id as tid writes it.
func guid(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		if hyphen != (s[i] == '-') || !hyphen && !strings.Contains("0123456789abcdef", s[i:i+1]) {
			return false
		}
	}
	return true
}
