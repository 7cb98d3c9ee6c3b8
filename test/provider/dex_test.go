package provider

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/test/fake"
)

var dexUser = User{Email: "alice@example.com", Password: "correct horse", Groups: []string{"search-eng"}}

func TestDexSignsAUserIn(t *testing.T) {
	ca, err := fake.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Server("dex.example.com")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := ca.Write("dex", cert)
	if err != nil {
		t.Fatal(err)
	}
	d, err := StartDex(t.Context(), DexOptions{
		Binary: filepath.Join("..", "..", ".cache", "dex", "dex"), Issuer: "https://dex.example.com", Cert: pem, CA: ca.File(),
		Client: Client{ID: "vertex", Secret: "the-secret-of-vertex"}, Users: []User{dexUser}, Rotation: time.Hour, Lifetime: 10 * time.Minute,
		Dir: t.TempDir(),
	})
	if errors.Is(err, ErrMissing) {
		t.Skipf("NOT RUN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool()},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, d.Addr())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	hc := &http.Client{Transport: transport}
	token, err := d.SignIn(t.Context(), hc, dexUser)
	if err != nil {
		t.Fatal(err)
	}
	header, claims := decoded(t, token)
	if header["alg"] != "RS256" || header["typ"] != nil || claims["aud"] != "vertex" || claims["email"] != dexUser.Email || claims["jti"] != nil {
		t.Errorf("got %v %v", header, claims)
	}
	if diff := cmp.Diff([]any{"search-eng"}, claims["groups"]); diff != "" {
		t.Error(diff)
	}
	if _, err := d.SignIn(t.Context(), hc, User{Email: dexUser.Email, Password: "wrong"}); err == nil {
		t.Error("a wrong password: no error")
	}
}
