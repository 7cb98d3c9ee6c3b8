package identity

import (
	"errors"
	"slices"
	"time"
)

// profile is what is known about the tokens of one kind of provider. Its values are defaults that an Issuer may replace, but for those
// that say "always". The functions may be nil.
type profile struct {
	algorithms []string      // that an issuer uses which names none
	only       []string      // always: that an issuer may name; nil is any
	header     string        // field in which tokens come
	types      []string      // always: values of typ, in lower case and without application/; "" stands for none
	keyID      bool          // always: kid is required
	use        string        // always: value of a key's use that is as good as sig
	require    []string      // always: claims that must be there
	subject    []string      // claims of which the first that is not empty names the caller
	maxSubject int           // bytes
	groups     string        // claim of the groups
	email      string        // claim of the e-mail address
	verified   bool          // the address counts only with email_verified
	tenant     string        // always: claim that Tenants are compared with; "" where there are none
	clients    []string      // always: claims that Clients are compared with
	lifetime   time.Duration // from iat to exp
	access     bool          // always: what only ID tokens have is refused

	complete func(c *Issuer)                 // fills in what follows from the rest
	validate func(c *Issuer) error           // every problem of a completed c, joined
	accepts  func(i *issuer, c *claims) bool // whether iss names i; nil compares it with the URL
	check    func(i *issuer, t *token) error // of an authentic token
}

// generic are the tokens of a provider that nothing more is known about.
func generic() profile {
	return profile{
		algorithms: []string{"RS256", "ES256"},
		header:     HeaderAuthorization,
		types:      []string{"", "jwt", "at+jwt"},
		subject:    []string{"sub"},
		maxSubject: maxSubject,
		groups:     "groups",
		email:      "email",
		clients:    []string{"azp", "client_id"},
		lifetime:   defaultLifetime,
	}
}

// Profiles returns the values of Issuer.Profile, in a new slice.
func Profiles() []string {
	return []string{
		"generic", "rfc9068", "google", "iap", "entra", "kubernetes", "github", "gitlab", "aws", "okta", "cloudflare", "spiffe", "keycloak",
		"auth0",
	}
}

// profileOf returns the profile of that name, and whether there is one.
func profileOf(name string) (profile, bool) {
	switch name {
	case "", "generic":
		return generic(), true
	case "rfc9068":
		return rfc9068(), true
	case "google":
		return google(), true
	case "iap":
		return iap(), true
	case "entra":
		return entra(), true
	case "kubernetes":
		return kubernetes(), true
	case "github":
		return github(), true
	case "gitlab":
		return gitlab(), true
	case "aws":
		return aws(), true
	case "okta":
		return okta(), true
	case "cloudflare":
		return cloudflare(), true
	case "spiffe":
		return spiffe(), true
	case "keycloak":
		return keycloak(), true
	case "auth0":
		return auth0(), true
	}
	return profile{}, false
}

// checkProfile asks of an authentic token what its provider promises about it.
func (i *issuer) checkProfile(t *token) error {
	c := t.claims
	if i.profile.access {
		// OpenID Connect Core 1.0 sections 2 and 3.3.2.11. An ID token tells a client who has signed in; it is not for calling.
		for _, name := range []string{"nonce", "at_hash", "c_hash"} {
			if _, present := c.all[name]; present {
				return refuse(TokenType, "claim %q is one of an ID token", name)
			}
		}
	}
	for _, name := range slices.Concat(i.profile.require, i.Require) {
		if _, present := lookup(c.all, name); !present {
			return refuse(ClaimMissing, "claim %q is required", name)
		}
	}
	if len(i.Tenants) > 0 && i.profile.tenant != "" && !listed(c, []string{i.profile.tenant}, i.Tenants) {
		return refuse(TenantRefused, "claim %q is not one of the tenants of issuer %q", i.profile.tenant, i.Name)
	}
	if len(i.Clients) > 0 && !listed(c, i.profile.clients, i.Clients) {
		return refuse(ClientRefused, "none of the claims %q, or not all, is one of the clients of issuer %q", i.profile.clients, i.Name)
	}
	if i.profile.check != nil {
		return i.profile.check(i, t)
	}
	return nil
}

// text returns a claim that is text, or "".
func (c *claims) text(path string) string {
	v, _ := lookup(c.all, path)
	s, _ := v.(string)
	return s
}

// foreignAudience refuses an audience that every token of the provider has which nobody asked another audience for.
func foreignAudience(c *Issuer, isDefault func(audience string) bool) error {
	if slices.ContainsFunc(c.Audiences, isDefault) {
		return errors.New("the provider's default audience is in every token that was made for somebody else: ask for tokens with an audience of your own")
	}
	return nil
}
