package fake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

func startIDP(t *testing.T, o IDPOptions) *IDP {
	t.Helper()
	if o.Audience == "" {
		o.Audience = "gateway"
	}
	p, err := NewIDP(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// web is a client whose connections end with the test.
func web(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// fetchKeys reads a key set as a verifier does: through the discovery document.
func fetchKeys(t *testing.T, c *http.Client, issuer string) jwt.Keyfunc {
	t.Helper()
	found := decode(t, ask{method: "GET", url: issuer + "/.well-known/openid-configuration"}.send(t, c).Body)
	if found["issuer"] != issuer {
		t.Fatalf("got issuer %v, want %q", found["issuer"], issuer)
	}
	var set jwkSet
	if err := json.Unmarshal([]byte(ask{method: "GET", url: found["jwks_uri"].(string)}.send(t, c).Body), &set); err != nil {
		t.Fatal(err)
	}
	return func(token *jwt.Token) (any, error) {
		for _, k := range set.Keys {
			if k.KeyID == token.Header["kid"] && k.Algorithm == token.Method.Alg() && k.Use == "sig" {
				return publicKey(t, k), nil
			}
		}
		return nil, errors.New("no such key")
	}
}

func publicKey(t *testing.T, k jwk) any {
	bytes := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if k.KeyType == "RSA" {
		return &rsa.PublicKey{N: new(big.Int).SetBytes(bytes(k.N)), E: int(new(big.Int).SetBytes(bytes(k.E)).Int64())}
	}
	// Fails unless both coordinates have their full length.
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, bytes(k.X), bytes(k.Y)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// verify is a careful verifier of tokens for the audience "gateway".
func verify(text, issuer string, keys jwt.Keyfunc) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(text, claims, keys, jwt.WithValidMethods([]string{"RS256", "ES256"}), jwt.WithIssuer(issuer),
		jwt.WithAudience("gateway"), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding())
	return claims, err
}

func TestTokensVerifyOrNotAsAsked(t *testing.T) {
	p := startIDP(t, IDPOptions{})
	keys := fetchKeys(t, web(t), p.Issuer())
	tests := []struct {
		name    string
		options []TokenOption
		want    error // nil: verifies
	}{
		{"plain", nil, nil},
		{"ES256", []TokenOption{ES256()}, nil},
		{"one of several audiences", []TokenOption{Audience("other", "gateway")}, nil},
		{"expired", []TokenOption{Expired()}, jwt.ErrTokenExpired},
		{"of no lifetime", []TokenOption{Lifetime(-time.Second)}, jwt.ErrTokenExpired},
		{"not yet valid", []TokenOption{NotYet()}, jwt.ErrTokenNotValidYet},
		{"without expiry", []TokenOption{Claim("exp", nil)}, jwt.ErrTokenRequiredClaimMissing},
		{"for another audience", []TokenOption{Audience("other")}, jwt.ErrTokenInvalidAudience},
		{"of another issuer", []TokenOption{Issuer("https://login.example.org")}, jwt.ErrTokenInvalidIssuer},
		{"of an unknown key", []TokenOption{UnknownKey()}, jwt.ErrTokenUnverifiable},
		{"of an unknown EC key", []TokenOption{ES256(), UnknownKey()}, jwt.ErrTokenUnverifiable},
		{"of a forged key", []TokenOption{ForgedKey()}, jwt.ErrTokenSignatureInvalid},
		{"of a forged EC key", []TokenOption{ForgedKey(), ES256()}, jwt.ErrTokenSignatureInvalid},
		{"unsigned", []TokenOption{Unsigned()}, jwt.ErrTokenSignatureInvalid},
		{"confused", []TokenOption{Confused()}, jwt.ErrTokenSignatureInvalid},
		{"without key id", []TokenOption{Header("kid", nil)}, jwt.ErrTokenUnverifiable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text, err := p.Token("alice", test.options...)
			if err != nil {
				t.Fatal(err)
			}
			claims, err := verify(text, p.Issuer(), keys)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if test.want == nil && claims["sub"] != "alice" {
				t.Errorf("got subject %v, want alice", claims["sub"])
			}
		})
	}
}

// A confused token must be one that a careless verifier takes, or it proves nothing about a careful one.
func TestConfusedTokenFoolsACarelessVerifier(t *testing.T) {
	p := startIDP(t, IDPOptions{})
	text, err := p.Token("alice", Confused())
	if err != nil {
		t.Fatal(err)
	}
	_, err = jwt.Parse(text, func(*jwt.Token) (any, error) { return p.current.rsaPEM() })
	if err != nil {
		t.Errorf("got %v, want a valid HS256 token", err)
	}
}

func TestClaimsAndHeadersGoIntoTheToken(t *testing.T) {
	p := startIDP(t, IDPOptions{Lifetime: time.Minute})
	text, err := p.Token("alice", Groups("ml", "ops"), Claim("tenant", 7), Claim("nbf", nil),
		Header("typ", "at+jwt"), Header("crit", []string{"b64"}))
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := jwt.NewParser().ParseUnverified(text, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	claims := token.Claims.(jwt.MapClaims)
	if life := claims["exp"].(float64) - claims["iat"].(float64); life != 60 {
		t.Errorf("got a lifetime of %v s, want 60", life)
	}
	if claims["jti"] == "" {
		t.Error("no jti")
	}
	for _, name := range []string{"exp", "iat", "jti"} {
		delete(claims, name)
	}
	want := jwt.MapClaims{"iss": p.Issuer(), "sub": "alice", "aud": "gateway", "groups": []any{"ml", "ops"}, "tenant": 7.0}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Error(diff)
	}
	header := map[string]any{"alg": "RS256", "typ": "at+jwt", "kid": p.current.rsaKID, "crit": []any{"b64"}}
	if diff := cmp.Diff(header, token.Header); diff != "" {
		t.Error(diff)
	}
}

func TestTokenThatCannotBeWrittenIsAnError(t *testing.T) {
	p := startIDP(t, IDPOptions{})
	if text, err := p.Token("alice", Claim("f", func() {})); err == nil || text != "" {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestRotationWithdrawsOrKeepsOldKeys(t *testing.T) {
	for _, old := range []OldKeys{Withdraw, Keep} {
		t.Run(fmt.Sprint(old), func(t *testing.T) {
			p := startIDP(t, IDPOptions{})
			before, err := p.Token("alice")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Rotate(old); err != nil {
				t.Fatal(err)
			}
			after, err := p.Token("alice")
			if err != nil {
				t.Fatal(err)
			}
			keys := fetchKeys(t, web(t), p.Issuer())
			if _, err := verify(after, p.Issuer(), keys); err != nil {
				t.Errorf("the new key does not verify: %v", err)
			}
			if _, err := verify(before, p.Issuer(), keys); (err == nil) != (old == Keep) {
				t.Errorf("the old key: got %v", err)
			}
		})
	}
}

func TestWithdrawingWithdrawsAllGenerations(t *testing.T) {
	p := startIDP(t, IDPOptions{})
	for _, old := range []OldKeys{Keep, Withdraw} {
		if err := p.Rotate(old); err != nil {
			t.Fatal(err)
		}
	}
	body := ask{method: "GET", url: p.JWKSURL()}.send(t, web(t)).Body
	if got := len(decode(t, body)["keys"].([]any)); got != 2 {
		t.Errorf("got %d keys, want the 2 new ones", got)
	}
}

func TestKeptGenerationsAreBounded(t *testing.T) {
	p := startIDP(t, IDPOptions{})
	for range maxOldKeys + 2 {
		if err := p.Rotate(Keep); err != nil {
			t.Fatal(err)
		}
	}
	body := ask{method: "GET", url: p.JWKSURL()}.send(t, web(t)).Body
	if got, want := len(decode(t, body)["keys"].([]any)), 2*(maxOldKeys+1); got != want {
		t.Errorf("got %d keys, want %d", got, want)
	}
}

func TestKeySetSaysHowLongItLasts(t *testing.T) {
	p := startIDP(t, IDPOptions{MaxAge: 42 * time.Second})
	got := ask{method: "GET", url: p.JWKSURL()}.send(t, web(t))
	if h := got.Header.Get("Cache-Control"); h != "public, max-age=42" {
		t.Errorf("got Cache-Control %q", h)
	}
	if strings.Contains(got.Body, `"d"`) {
		t.Error("the key set holds a private key")
	}
}

func TestFetchesAreCountedEvenWhenSpoiled(t *testing.T) {
	p := startIDP(t, IDPOptions{})
	c := web(t)
	p.Fail(Fault{Status: 500, Only: "/keys", Times: 1})
	keys := ask{method: "GET", url: p.JWKSURL()}
	discovery := ask{method: "GET", url: p.Issuer() + "/.well-known/openid-configuration"}
	got := []int{discovery.send(t, c).Status, keys.send(t, c).Status, keys.send(t, c).Status, ask{url: p.TokenURL()}.send(t, c).Status}
	if diff := cmp.Diff([]int{200, 500, 200, 401}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Fetches{Discovery: 1, Keys: 2, Tokens: 1}, p.Fetches()); diff != "" {
		t.Error(diff)
	}
}

func TestRawKeySetIsServedAsItIs(t *testing.T) {
	p := startIDP(t, IDPOptions{})
	c := web(t)
	p.PublishRaw([]byte(`{"keys":[`))
	if got := (ask{method: "GET", url: p.JWKSURL()}).send(t, c).Body; got != `{"keys":[` {
		t.Errorf("got %q", got)
	}
	p.PublishRaw(nil)
	fetchKeys(t, c, p.Issuer())
}

func TestIssuerWithAPathServesBelowIt(t *testing.T) {
	w := startWorld(t, func(o *Options) { o.Issuer = "https://login.example.com/tenant" })
	c := client(t, w)
	fetchKeys(t, c, "https://login.example.com/tenant")
	got := ask{method: "GET", url: "https://login.example.com/.well-known/openid-configuration"}.send(t, c)
	if got.Status != http.StatusNotFound {
		t.Errorf("got status %d above the issuer's path, want 404", got.Status)
	}
}

func TestClientFetchesItsOwnToken(t *testing.T) {
	w := startWorld(t, func(o *Options) { o.Audience = "gateway" })
	c := client(t, w)
	keys := fetchKeys(t, c, w.IDP.Issuer())
	form := [2]string{"Content-Type", "application/x-www-form-urlencoded"}
	tests := []struct {
		name string
		ask  ask
	}{
		{"secret in the form", ask{body: "grant_type=client_credentials&client_id=ci&client_secret=s3cret", header: [][2]string{form}}},
		{"secret in the header", ask{body: "grant_type=client_credentials",
			header: [][2]string{form, {"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("ci:s3cret"))}}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.ask.url = w.IDP.TokenURL()
			got := test.ask.send(t, c)
			if got.Status != http.StatusOK || got.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("got %+v", got)
			}
			body := decode(t, got.Body)
			claims, err := verify(body["access_token"].(string), w.IDP.Issuer(), keys)
			if err != nil {
				t.Fatal(err)
			}
			if claims["sub"] != "ci@example.com" || body["token_type"] != "Bearer" || body["expires_in"] != 600.0 {
				t.Errorf("got %v with claims %v", body, claims)
			}
		})
	}
}
