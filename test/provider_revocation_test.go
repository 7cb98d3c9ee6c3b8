package test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vertex-spoa/test/provider"
	"vertex-spoa/test/sandbox"
)

// introspectingPolicy lets users in by tokens that only the issuer can read. The robot is who asks it.
const introspectingPolicy = `version: 1
issuers:
  op:
    url: https://op.example.com
    audience: vertex
    introspect:
      url: https://op.example.com/token/introspection
      clientID: %s
      clientSecretFile: %s
      cacheFor: 1s
      opaque: true
roles:
  users: { as: vx-search, who: { op: { groups: search-eng } } }
rules:
  users-gemini: { allow: users, models: gemini-2.5-* }
`

// An opaque token is worth what the issuer says of it, and nothing soon after it was revoked there, however often it was good before.
func TestARevokedTokenOfARealProviderIsRefused(t *testing.T) {
	findNode(t)
	s := startSandbox(t, sandbox.Options{})
	o := startOIDC(t, s)
	secret := filepath.Join(s.Dir, "robot.secret")
	if err := os.WriteFile(secret, []byte(robot.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admit(t, s, fmt.Sprintf(introspectingPolicy, robot.ID, secret))
	hc := s.World.Client()
	defer hc.CloseIdleConnections()
	login := func(user string) string {
		session, err := o.Login(limited(t), hc, app, user, provider.Opaque)
		if err != nil {
			t.Fatal(err)
		}
		return session.AccessToken
	}
	kept, revoked := login("alice"), login("bob")
	for _, token := range []string{kept, revoked, revoked} {
		if got, want := asked(limited(t), s, token), "200 as vx-search"; got != want {
			t.Fatalf("got %s, want %s%s", got, want, s.Logs())
		}
	}
	if err := o.Revoke(limited(t), hc, app, revoked); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	until(t, "the revoked token is refused", func() string {
		if got := asked(limited(t), s, revoked); got != "401 TOKEN_INACTIVE" {
			return got
		}
		return ""
	})
	if took := time.Since(began); took > 10*time.Second { // a third of what it is where the policy does not say
		t.Errorf("the revoked token was taken for another %s", took)
	}
	if got, want := asked(limited(t), s, kept), "200 as vx-search"; got != want {
		t.Errorf("the other token: got %s, want %s%s", got, want, s.Logs())
	}
	if got, want := asked(limited(t), s, "nobody-has-issued-this"), "401 TOKEN_INACTIVE"; got != want {
		t.Errorf("a token that nobody has issued: got %s, want %s", got, want)
	}
}
