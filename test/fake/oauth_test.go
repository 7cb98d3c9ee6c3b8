package fake

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const oauthURL = "https://" + OAuthHost + "/token"

func oauth(w *World) refuser { return w.OAuth }

// asserting sends an assertion of the agent's own key, edited.
func asserting(edit func(jwt.MapClaims, *jwt.Token)) func(*testing.T, *World, *http.Client) answer {
	return func(t *testing.T, w *World, c *http.Client) answer {
		key, err := NewKey(DefaultAgent, ServiceAccountKey)
		if err != nil {
			t.Fatal(err)
		}
		w.OAuth.AddKey(key)
		now := time.Now()
		claims := jwt.MapClaims{"iss": DefaultAgent, "aud": oauthURL, "scope": ScopeCloudPlatform, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
		token.Header["kid"] = key.ID
		if edit != nil {
			edit(claims, token)
		}
		text, err := token.SignedString(key.private)
		if err != nil {
			t.Fatal(err)
		}
		form := url.Values{"grant_type": {grantJWT}, "assertion": {text}}
		return ask{url: oauthURL, body: form.Encode(), header: [][2]string{formType}}.send(t, c)
	}
}

func claim(name string, value any) func(jwt.MapClaims, *jwt.Token) {
	return func(c jwt.MapClaims, _ *jwt.Token) { c[name] = value }
}

// refreshing sends a user's refresh token, edited.
func refreshing(edit func(url.Values)) func(*testing.T, *World, *http.Client) answer {
	return func(t *testing.T, w *World, c *http.Client) answer {
		key, err := NewKey("alice@example.com", UserKey)
		if err != nil {
			t.Fatal(err)
		}
		w.OAuth.AddKey(key)
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {key.clientID()}, "client_secret": {key.clientSecret()},
			"refresh_token": {key.refresh}}
		edit(form)
		return ask{url: oauthURL, body: form.Encode(), header: [][2]string{formType}}.send(t, c)
	}
}

func oauthCases() []refusalCase {
	const grant = "invalid_grant"
	return []refusalCase{
		{"OAuth: another path", oauth, plain(ask{url: "https://" + OAuthHost + "/tokeninfo", header: [][2]string{formType}}), NotFound, 404,
			"invalid_request"},
		{"OAuth: JSON", oauth, plain(ask{url: oauthURL, body: "{}"}), BodyInvalid, 400, "invalid_request"},
		{"OAuth: another grant", oauth, plain(ask{url: oauthURL, body: "grant_type=password", header: [][2]string{formType}}), GrantUnsupported, 400,
			"unsupported_grant_type"},
		{"OAuth: an assertion by an unknown key", oauth, asserting(func(_ jwt.MapClaims, token *jwt.Token) { token.Header["kid"] = "x" }), SubjectForged,
			400, grant},
		{"OAuth: an assertion for somebody else", oauth, asserting(claim("iss", chat)), SubjectIssuer, 400, grant},
		{"OAuth: an assertion for another audience", oauth, asserting(claim("aud", "https://"+STSHost)), SubjectAudience, 400, grant},
		{"OAuth: an assertion for a day", oauth, asserting(claim("exp", time.Now().Add(24*time.Hour).Unix())), SubjectInvalid, 400, grant},
		{"OAuth: an expired assertion", oauth, asserting(claim("exp", time.Now().Add(-time.Hour).Unix())), SubjectExpired, 400, grant},
		{"OAuth: an assertion without scope", oauth, asserting(claim("scope", "")), ScopeMissing, 400, "invalid_scope"},
		{"OAuth: an unknown scope", oauth, asserting(claim("scope", "all")), ScopeUnknown, 400, "invalid_scope"},
		{"OAuth: an assertion of PS256", oauth, asserting(func(_ jwt.MapClaims, token *jwt.Token) {
			token.Method = jwt.SigningMethodPS256
			token.Header["alg"] = "PS256"
		}), SubjectForged, 400, grant},
		{"OAuth: an unknown client", oauth, refreshing(set("client_id", "x")), ClientUnknown, 401, "invalid_client"},
		{"OAuth: a wrong secret", oauth, refreshing(set("client_secret", "x")), ClientUnknown, 401, "invalid_client"},
		{"OAuth: an unknown refresh token", oauth, refreshing(set("refresh_token", "x")), SubjectForged, 400, grant},
		{"OAuth: full ledger", oauth, func(t *testing.T, w *World, c *http.Client) answer {
			fill(w.Ledger, time.Now().Add(time.Hour))
			defer fill(w.Ledger, time.Now())
			return asserting(nil)(t, w, c)
		}, LedgerFull, 503, "temporarily_unavailable"},
	}
}

func TestARemovedKeyIsWorthless(t *testing.T) {
	w := startWorld(t)
	var id string
	send := asserting(func(_ jwt.MapClaims, token *jwt.Token) {
		id, _ = token.Header["kid"].(string)
		w.OAuth.RemoveKey(id)
	})
	if got := send(t, w, client(t, w)); got.Status != http.StatusBadRequest {
		t.Errorf("got %d: %s", got.Status, got.Body)
	}
	if got := asserting(nil)(t, w, client(t, w)); got.Status != http.StatusOK {
		t.Errorf("its twin: got %d: %s", got.Status, got.Body)
	}
}
