package identity

// keycloak are access tokens of a Keycloak realm. A realm signs all its tokens with the same keys and the same header: the claim typ
// tells them apart.
func keycloak() profile {
	p := generic()
	p.algorithms = []string{"RS256"}
	p.require = []string{"iat", "jti", "typ"}
	p.clients = []string{"azp", "client_id"}
	p.verified = true
	p.check = func(_ *issuer, t *token) error {
		if t.claims.all["typ"] != "Bearer" {
			return refuse(TokenType, "claim \"typ\" is not Bearer: an ID, refresh, offline or logout token")
		}
		return nil
	}
	return p
}
