package provider

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/test/fake"
)

const issuer = "https://op.example.com"

var (
	ci    = Client{ID: "ci", Secret: "the-secret-of-ci", Groups: []string{"search-eng"}}
	bound = Client{ID: "bound", Secret: "the-secret-of-bound", Bound: true}
	web   = Client{ID: "web", Secret: "the-secret-of-web", Redirect: "https://app.example.com/back", Algorithm: "ES256"}
)

// node is the Node to run, without which nothing is tested here.
func node(t *testing.T) *Node {
	t.Helper()
	n, err := FindNode(".")
	if errors.Is(err, ErrMissing) {
		t.Skipf("NOT RUN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// startOIDC starts a provider and returns it with the authority that vouches for it and a client that finds it.
func startOIDC(t *testing.T) (*OIDC, *fake.CA, *http.Client) {
	t.Helper()
	n := node(t)
	ca, err := fake.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Server("op.example.com")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := ca.Write("op", cert)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Start(t.Context(), n, Options{
		Issuer: issuer, Cert: pem, CA: ca.File(), Audience: "vertex", Lifetime: 10 * time.Minute, Clients: []Client{ci, bound, web}, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool()},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, o.Addr())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return o, ca, &http.Client{Transport: transport, Timeout: time.Minute}
}

// decoded returns the header and the claims of a JWT.
func decoded(t *testing.T, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	for i, v := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, v); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// published returns the ids of the keys in the key set.
func published(t *testing.T, hc *http.Client) []string {
	t.Helper()
	res, err := send(t.Context(), hc, http.MethodGet, issuer+"/jwks", nil)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal([]byte(res.body), &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.Kid)
	}
	return ids
}

func TestAccessTokensOfEachAlgorithm(t *testing.T) {
	o, _, hc := startOIDC(t)
	keys := published(t, hc)
	for _, format := range []Format{RS256, PS256, ES256, EdDSA} {
		token, err := o.Token(t.Context(), hc, ci, format)
		if err != nil {
			t.Fatal(err)
		}
		header, claims := decoded(t, token)
		if header["typ"] != "at+jwt" || header["alg"] != string(format) || !slices.Contains(keys, header["kid"].(string)) {
			t.Errorf("%s: got header %v", format, header)
		}
		if claims["iss"] != issuer || claims["aud"] != "vertex" || claims["sub"] != "ci" || claims["client_id"] != "ci" {
			t.Errorf("%s: got claims %v", format, claims)
		}
		if diff := cmp.Diff([]any{"search-eng"}, claims["groups"]); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
	token, err := o.Token(t.Context(), hc, ci, RS256.For(7*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if _, claims := decoded(t, token); claims["exp"].(float64)-claims["iat"].(float64) != 7 {
		t.Errorf("for 7 s: got claims %v", claims)
	}
}

func TestAnOpaqueTokenIsIntrospectedUntilItIsRevoked(t *testing.T) {
	o, _, hc := startOIDC(t)
	token, err := o.Token(t.Context(), hc, ci, Opaque)
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.Introspect(t.Context(), hc, ci, token)
	if err != nil || got["active"] != true || got["client_id"] != "ci" || got["aud"] != "vertex" {
		t.Errorf("got %v, %v", got, err)
	}
	if err := o.Revoke(t.Context(), hc, ci, token); err != nil {
		t.Fatal(err)
	}
	got, err = o.Introspect(t.Context(), hc, ci, token)
	if err != nil || got["active"] != false {
		t.Errorf("revoked: got %v, %v", got, err)
	}
	if _, err := o.Introspect(t.Context(), hc, Client{ID: "ci", Secret: "wrong"}, token); err == nil {
		t.Error("a wrong secret: no error")
	}
}

func TestRotations(t *testing.T) {
	o, _, hc := startOIDC(t)
	signs := func() string {
		token, err := o.Token(t.Context(), hc, ci, RS256)
		if err != nil {
			t.Fatal(err)
		}
		header, _ := decoded(t, token)
		return header["kid"].(string)
	}
	rotate := func(r Rotation) {
		if err := o.Rotate(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	first, before := signs(), published(t, hc)
	rotate(Announce)
	announced := published(t, hc)
	if signs() != first || len(announced) != 2*len(before) {
		t.Errorf("announced: signs with %s, publishes %v", signs(), announced)
	}
	rotate(Overlap)
	second := signs()
	if second == first || !slices.Contains(announced, second) || len(published(t, hc)) != len(announced) {
		t.Errorf("overlap: signs with %s, which was not announced", second)
	}
	rotate(Overlap)
	third := signs()
	if keys := published(t, hc); third == second || !slices.Contains(keys, first) || !slices.Contains(keys, third) {
		t.Errorf("overlap: signs with %s, publishes %v", third, keys)
	}
	rotate(Hard)
	if keys := published(t, hc); slices.Contains(keys, third) || len(keys) != len(before) || !slices.Contains(keys, signs()) {
		t.Errorf("hard: signs with %s, publishes %v", signs(), keys)
	}
}

func TestATokenIsBoundToTheCertificate(t *testing.T) {
	o, ca, hc := startOIDC(t)
	if _, err := o.Token(t.Context(), hc, bound, ES256); err == nil {
		t.Error("without a certificate: no error")
	}
	cert, err := ca.Client("batch", "spiffe://example.com/batch")
	if err != nil {
		t.Fatal(err)
	}
	transport := hc.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = []tls.Certificate{cert}
	t.Cleanup(transport.CloseIdleConnections)
	token, err := o.Token(t.Context(), &http.Client{Transport: transport}, bound, ES256)
	if err != nil {
		t.Fatal(err)
	}
	_, claims := decoded(t, token)
	sum := sha256.Sum256(cert.Certificate[0])
	want := map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	if diff := cmp.Diff(any(want), claims["cnf"]); diff != "" {
		t.Error(diff)
	}
}

func TestAUserSignsIn(t *testing.T) {
	o, _, hc := startOIDC(t)
	session, err := o.Login(t.Context(), hc, web, "alice", PS256)
	if err != nil {
		t.Fatal(err)
	}
	if header, claims := decoded(t, session.AccessToken); header["alg"] != "PS256" || claims["sub"] != "alice" || claims["aud"] != "vertex" {
		t.Errorf("got the access token %v %v", header, claims)
	}
	header, claims := decoded(t, session.IDToken)
	if header["alg"] != "ES256" || claims["sub"] != "alice" || claims["aud"] != "web" || claims["email"] != "alice@example.com" {
		t.Errorf("got %v %v", header, claims)
	}
}

func TestFindNodeSaysWhatIsMissing(t *testing.T) {
	if _, err := FindNode(t.TempDir()); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "make node-deps") {
		t.Errorf("got %v", err)
	}
}
