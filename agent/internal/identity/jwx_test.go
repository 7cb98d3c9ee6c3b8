package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	jwxkeys "github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	jwxtokens "github.com/lestrrat-go/jwx/v3/jwt"

	"vertex-spoa/agent/internal/secret"
)

// secondOpinion reads a token with an independent library, as strictly as it can, and returns the payload that was signed.
func secondOpinion(t testing.TB, keys jwxkeys.Set, token string) (map[string]any, error) {
	t.Helper()
	options := []jwxtokens.ParseOption{
		jwxtokens.WithKeySet(keys, jws.WithInferAlgorithmFromKey(true), jws.WithRequireKid(false)), jwxtokens.WithValidate(true), jwxtokens.WithIssuer(fuzzIssuer), jwxtokens.WithAudience("vertex"),
		jwxtokens.WithRequiredClaim("exp"), jwxtokens.WithRequiredClaim("sub"), jwxtokens.WithAcceptableSkew(defaultLeeway), jwxtokens.WithClock(jwxtokens.ClockFunc(func() time.Time { return now })),
	}
	if _, err := jwxtokens.Parse([]byte(token), options...); err != nil {
		return nil, err
	}
	payload, err := jws.Verify([]byte(token), jws.WithKeySet(keys, jws.WithInferAlgorithmFromKey(true), jws.WithRequireKid(false)))
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	return claims, json.Unmarshal(payload, &claims)
}

func parseForJWX(t testing.TB) jwxkeys.Set {
	t.Helper()
	keys, err := jwxkeys.Parse([]byte(jwks(jwk(p256Private(), "k-ES256").with("alg", "ES256"), jwk(ed25519Seeds(), "k-EdDSA").with("alg", "EdDSA"))))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// FuzzTokenAgainstJWX: what is accepted here is accepted by golang-jwt and by an independent library, with the same claims.
func FuzzTokenAgainstJWX(f *testing.F) {
	v := fuzzVerifier(f)
	keys := parseForJWX(f)
	header, claims := goodHeader("EdDSA"), goodClaims(fuzzIssuer)
	f.Add(header.String(), claims.String(), true)
	f.Add(goodHeader("ES256").String(), claims.with("aud", []string{"x", "vertex"}, "exp", json.Number("1772366500.5")).String(), false)
	f.Add(header.with("typ", "at+jwt", "x5t", "a").String(), claims.with("groups", []any{"a", "b"}, "n", json.Number("1e3"), "deep", object{"a": []any{nil, true, "\u00e9"}}).String(), true)
	f.Add(header.String(), grow(claims.String(), `"\u0073ub":"eve"`), true)
	f.Add(`{"alg":"EdDSA","kid":"k-EdDSA","crit":["b64"],"b64":false}`, claims.String(), true)
	f.Add(header.String(), claims.with("iat", json.Number("1e19"), "nbf", json.Number("-1")).String(), true)
	f.Add(" "+header.String()+"\n", claims.String(), true)
	f.Add(grow(header.String(), `"x5c":"a"`), claims.with("exp", json.Number(fmt.Sprintf("%d.5", now.Unix()-30))).String(), true)
	f.Fuzz(func(t *testing.T, header, payload string, edwards bool) {
		header = strings.Trim(header, " \t\r\n") // jwx verifies a header without the space around it
		token := compact("ES256", p256Private(), header, payload)
		if edwards {
			token = compact("EdDSA", ed25519Seeds(), header, payload)
		}
		got, err := v.Verify(context.Background(), secret.New("Bearer "+token), now)
		if err != nil || lastSecond(got) {
			return
		}
		read, _ := parseObject([]byte(header), wideLimits)
		for _, name := range []string{"jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256"} {
			if _, there := read[name]; there {
				return // jwx reads it, and Verify never looks at it
			}
		}
		checkAccepted(t, got, token)
		want, err := secondOpinion(t, keys, token)
		if err != nil {
			t.Fatalf("jwx refuses %q: %v", token, err)
		}
		if diff := cmp.Diff(floats(want), floats(got.Claims)); diff != "" {
			t.Fatalf("claims (-jwx +Verify):\n%s", diff)
		}
	})
}

// The second library is worth asking only if it refuses what is bad.
func TestSecondOpinionIsOne(t *testing.T) {
	keys := parseForJWX(t)
	head, claims := goodHeader("ES256").String(), goodClaims(fuzzIssuer)
	if _, err := secondOpinion(t, keys, compact("ES256", p256Private(), head, claims.String())); err != nil {
		t.Errorf("a good token: %v", err)
	}
	for name, token := range map[string]string{
		"another key":      compact("ES256", otherP256(), head, claims.String()),
		"another audience": compact("ES256", p256Private(), head, claims.with("aud", "x").String()),
		"another issuer":   compact("ES256", p256Private(), head, claims.with("iss", "x").String()),
		"expired":          compact("ES256", p256Private(), head, claims.with("exp", now.Unix()-31).String()),
		"without end":      compact("ES256", p256Private(), head, claims.with("exp", absent).String()),
		"without subject":  compact("ES256", p256Private(), head, claims.with("sub", absent).String()),
		"not yet valid":    compact("ES256", p256Private(), head, claims.with("nbf", now.Unix()+60).String()),
	} {
		if _, err := secondOpinion(t, keys, token); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
