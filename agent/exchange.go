package agent

import (
	"crypto/sha256"
	"strings"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/policy"
)

// exchange makes a token request one that exchanges the caller's own token (RFC 8693). A caller without a token has none to exchange: the
// request then lacks it and is refused, never minted otherwise.
func exchange(r *google.Request, x *policy.Exchange, id *identity.Identity, c *identity.Credentials) {
	token := c.Assertion
	if token.Len() == 0 {
		_, text, _ := strings.Cut(c.Authorization.Reveal(), " ")
		token = secret.New(strings.TrimLeft(text, " "))
	}
	r.Exchange = exchangeOf(x)
	r.Subject, r.SubjectDigest, r.SubjectExpiry = token, sha256.Sum256([]byte(token.Reveal())), id.Expiry
	if r.Exchange.Mode == google.Direct {
		r.Exchange.Scopes = r.Scopes
		r.Account, r.Delegates, r.Scopes, r.Lifetime = "", nil, nil, 0
	}
}

func exchangeOf(x *policy.Exchange) *google.Exchange {
	kind := google.JWT
	if x.Type == "id_token" {
		kind = google.IDToken
	}
	return &google.Exchange{Audience: x.Audience, SubjectTokenType: kind, Mode: google.Mode(x.Mode), UserProject: x.UserProject}
}
