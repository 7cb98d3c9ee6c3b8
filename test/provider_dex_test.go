package test

import (
	"path/filepath"
	"testing"
	"time"

	"vertex-spoa/test/provider"
	"vertex-spoa/test/sandbox"
)

// startDex starts Dex where the sandbox's agent finds it, and lets its users in.
func startDex(t *testing.T, s *sandbox.Sandbox) *provider.Dex {
	t.Helper()
	cert, err := s.World.CA.Server("dex.example.com")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := s.World.CA.Write("dex", cert)
	if err != nil {
		t.Fatal(err)
	}
	d, err := provider.StartDex(t.Context(), provider.DexOptions{
		Binary: filepath.Join("..", ".cache", "dex", "dex"), Issuer: "https://dex.example.com", Cert: pem, CA: s.World.CA.File(),
		Client: provider.Client{ID: sandbox.Audience, Secret: "the-secret-of-vertex"}, Users: []provider.User{dexUser},
		Rotation: 20 * time.Second, Lifetime: 5 * time.Minute, Dir: s.Dir,
	})
	notRun(t, err)
	t.Cleanup(d.Close)
	s.World.Egress.Route("dex.example.com:443", d.Addr())
	admit(t, s, providerPolicy)
	return d
}

var dexUser = provider.User{Email: "alice@example.com", Password: "correct horse", Groups: []string{"search-eng"}}

func dexToken(t *testing.T, s *sandbox.Sandbox, d *provider.Dex) string {
	t.Helper()
	hc := s.World.Client()
	defer hc.CloseIdleConnections()
	token, err := d.SignIn(limited(t), hc, dexUser)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Dex signs its users in, and every half a minute, unasked, with another key. In the long form of the tests its rotation is waited for.
func TestDex(t *testing.T) {
	s := startSandbox(t, sandbox.Options{})
	d := startDex(t, s)
	token := dexToken(t, s, d)
	if got, want := asked(limited(t), s, token), "200 as vx-search"; got != want {
		t.Fatalf("got %s, want %s%s", got, want, s.Logs())
	}
	if !everything() {
		return
	}
	tokens := []string{token}
	l := startCallers(t, s, 2, tokens...)
	deadline := time.Now().Add(100 * time.Second)
	for kids := map[string]bool{keyID(t, token): true}; len(kids) < 3; kids[keyID(t, token)] = true {
		if time.Now().After(deadline) {
			t.Fatalf("Dex has signed with %d keys", len(kids))
		}
		l.wait(100)
		token = dexToken(t, s, d)
		next := []string{tokens[0], token}
		l.tokens.Store(&next)
	}
	l.wait(100)
	l.onlySuccesses(300)
}
