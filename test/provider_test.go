package test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vertex-spoa/test/provider"
	"vertex-spoa/test/sandbox"
)

// generatePath is a call of the role search that the example's policy allows.
const (
	generatePath = "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent"
	promptBody   = `{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}]}`
)

// notRun ends a test that needs a program which this machine does not have. `make test` says so at its end; `make test-all` fails.
func notRun(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, provider.ErrMissing) && !everything() {
		t.Skipf("NOT RUN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func findNode(t *testing.T) *provider.Node {
	t.Helper()
	n, err := provider.FindNode("provider")
	notRun(t, err)
	return n
}

// The clients of the real provider.
var (
	robot = provider.Client{ID: "robot", Secret: "the-secret-of-the-robot", Groups: []string{"search-eng"}}
	bound = provider.Client{ID: "bound", Secret: "the-secret-of-the-bound", Groups: []string{"search-eng"}, Bound: true}
	app   = provider.Client{ID: "app", Secret: "the-secret-of-the-app", Groups: []string{"search-eng"}, Redirect: "https://app.example.com/back"}
)

// providerPolicy lets the clients of the real providers do what the role search may. Its rules name a role of their own, since a role
// stands in one file.
const providerPolicy = `version: 1
issuers:
  op:  { url: https://op.example.com, audience: [vertex, app], algorithms: [RS256, PS256, ES256, EdDSA], leeway: 1s }
  dex: { url: https://dex.example.com, audience: vertex }
roles:
  robots: { as: vx-search, who: { op: { groups: search-eng }, dex: { groups: search-eng } } }
rules:
  robots-gemini: { allow: robots, models: gemini-2.5-* }
`

// admit puts a policy beside the example's and waits until it is in force.
func admit(t *testing.T, s *sandbox.Sandbox, policy string) {
	t.Helper()
	before, err := s.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	replaceFile(t, filepath.Join(s.PolicyDir(), "50-providers.yaml"), []byte(policy)) // the agent may look at any moment
	until(t, "the policy is in force", func() string {
		now, err := s.Ready(t.Context())
		if err == nil && now.Policy != before.Policy {
			return ""
		}
		return fmt.Sprint(now.Reload.Error, " ", err)
	})
}

// until waits until ask has nothing to say.
func until(t *testing.T, what string, ask func() string) {
	t.Helper()
	ctx := limited(t)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		said := ask()
		if said == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not yet: %s", what, said)
		}
	}
}

// startOIDC starts oidc-provider where the sandbox's agent finds it, and lets its clients in.
func startOIDC(t *testing.T, s *sandbox.Sandbox) *provider.OIDC {
	t.Helper()
	n := findNode(t)
	cert, err := s.World.CA.Server("op.example.com")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := s.World.CA.Write("op", cert)
	if err != nil {
		t.Fatal(err)
	}
	o, err := provider.Start(t.Context(), n, provider.Options{
		Issuer: "https://op.example.com", Cert: pem, CA: s.World.CA.File(), Audience: sandbox.Audience, Lifetime: 10 * time.Minute,
		Clients: []provider.Client{robot, bound, app}, Dir: s.Dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	s.World.Egress.Route("op.example.com:443", o.Addr())
	admit(t, s, providerPolicy)
	return o
}

// robotToken gets a token for the robot.
func robotToken(t *testing.T, s *sandbox.Sandbox, o *provider.OIDC, f provider.Format) string {
	t.Helper()
	hc := s.World.Client()
	defer hc.CloseIdleConnections()
	token, err := o.Token(limited(t), hc, robot, f)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// asked makes a call with a token and tells what came of it.
func asked(ctx context.Context, s *sandbox.Sandbox, token string) string {
	s.World.Vertex.Take()
	res, err := s.Do(ctx, sandbox.Call{Target: generatePath, Token: token, Body: promptBody})
	if err != nil {
		return err.Error()
	}
	got := res.String()
	for _, r := range s.World.Vertex.Take() {
		got += " as " + strings.TrimSuffix(r.Account, "@acme-ai.iam.gserviceaccount.com")
	}
	return got
}

// keyID returns the kid of a JWT.
func keyID(t *testing.T, token string) string {
	t.Helper()
	segment, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	var header struct{ Kid string }
	if err := json.Unmarshal(raw, &header); err != nil {
		t.Fatal(err)
	}
	return header.Kid
}

func TestTokensOfARealProvider(t *testing.T) {
	findNode(t)
	s := startSandbox(t, sandbox.Options{})
	o := startOIDC(t, s)
	for _, format := range []provider.Format{provider.RS256, provider.PS256, provider.ES256, provider.EdDSA} {
		t.Run("an access token of "+string(format), func(t *testing.T) {
			if got, want := asked(limited(t), s, robotToken(t, s, o, format)), "200 as vx-search"; got != want {
				t.Errorf("got %s, want %s%s", got, want, s.Logs())
			}
		})
	}
	t.Run("the tokens of a user who signed in", func(t *testing.T) {
		hc := s.World.Client()
		defer hc.CloseIdleConnections()
		session, err := o.Login(limited(t), hc, app, "alice", provider.RS256)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{session.IDToken, session.AccessToken} {
			if got, want := asked(limited(t), s, token), "200 as vx-search"; got != want {
				t.Errorf("got %s, want %s%s", got, want, s.Logs())
			}
		}
	})
	t.Run("a token that expires", func(t *testing.T) {
		token := robotToken(t, s, o, provider.ES256.For(8*time.Second))
		if got, want := asked(limited(t), s, token), "200 as vx-search"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		until(t, "the token is refused", func() string {
			if got := asked(limited(t), s, token); got != "401 TOKEN_EXPIRED" {
				return got
			}
			return ""
		})
	})
	t.Run("another signature", func(t *testing.T) {
		one, other := robotToken(t, s, o, provider.ES256), robotToken(t, s, o, provider.ES256)
		forged := one[:strings.LastIndex(one, ".")] + other[strings.LastIndex(other, "."):]
		if got, want := asked(limited(t), s, forged), "401 BAD_SIGNATURE"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("an opaque token, where the issuer's are not introspected", func(t *testing.T) {
		if got, want := asked(limited(t), s, robotToken(t, s, o, provider.Opaque)), "401 TOKEN_MALFORMED"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	checkNoSecrets(t, s)
}
