package identity

// googleURL and its short form are the two iss of one provider, https://developers.google.com/identity/openid-connect/openid-connect.
const (
	googleURL   = "https://accounts.google.com"
	googleShort = "accounts.google.com"
)

// google are Google's ID tokens, of people and of service accounts. For a service account azp and sub are its numeric id.
func google() profile {
	p := generic()
	p.algorithms = []string{"RS256"}
	p.only = []string{"RS256"}
	p.require = []string{"iat"}
	p.verified = true
	p.tenant = "hd"
	p.clients = []string{"azp"}
	p.complete = func(c *Issuer) { setDefault(&c.URL, googleURL) }
	p.accepts = func(i *issuer, c *claims) bool {
		return c.issuer == i.URL || i.URL == googleURL && c.issuer == googleShort
	}
	p.check = func(_ *issuer, t *token) error {
		if _, present := t.claims.all["email"]; present && !confirmed(t.claims.all["email_verified"]) {
			return refuse(EmailNotVerified, "claim \"email_verified\" is not true")
		}
		return nil
	}
	return p
}

func setDefault(to *string, value string) {
	if *to == "" {
		*to = value
	}
}
