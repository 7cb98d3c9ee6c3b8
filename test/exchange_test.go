package test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

const strictProvider = "//iam.googleapis.com/" + fake.DefaultPool + "/providers/strict"

// exchangingPolicy has roles that act by the caller's own token, in both modes, and one that does not.
const exchangingPolicy = `version: 1
defaults:
  project: acme-ai
  locations: [europe-west1]
  methods: [generate]
issuers:
  corp: { url: https://login.example.com, audience: [vertex, elsewhere], maxLifetime: 48h }
roles:
  own:
    who: { corp: { groups: own } }
    exchange: { audience: ` + fake.DefaultProvider + `, mode: direct }
  account:
    as: vx-search
    who: { corp: { groups: account } }
    exchange: { audience: ` + fake.DefaultProvider + `, mode: impersonate }
  strange:
    who: { corp: { groups: strange } }
    exchange: { audience: ` + strictProvider + `, mode: direct }
  plain: { as: vx-research, who: { corp: { groups: plain } } }
rules:
  gemini: { allow: "*", models: gemini-2.5-* }
`

// prepareExchange lets the group own use the project, and the group account the account, but for mallory. The other provider takes tokens
// that were made for it alone.
func prepareExchange(s *sandbox.Sandbox) error {
	w := s.World
	w.STS.SetAccess("principalSet://iam.googleapis.com/"+fake.DefaultPool+"/group/own", sandbox.Project)
	w.IAM.SetAccount(sandbox.Search, fake.Account{
		Impersonators: []string{"principalSet://iam.googleapis.com/" + fake.DefaultPool + "/group/trusted"}, Projects: []string{sandbox.Project},
	})
	return w.STS.SetProvider(strictProvider, fake.Provider{Issuer: w.IDP.Issuer(), JWKS: w.IDP.JWKSURL(), Audiences: []string{"another"}})
}

func startExchange(t *testing.T, haproxy string, flags ...string) *sandbox.Sandbox {
	t.Helper()
	return startSandbox(t, sandbox.Options{HAProxy: haproxy, Policy: exchangingPolicy, Prepare: prepareExchange, AgentFlags: flags})
}

// exchanged makes a call, and tells what came of it and who Vertex AI took the caller for.
func exchanged(t *testing.T, s *sandbox.Sandbox, token string) string {
	t.Helper()
	s.World.Vertex.Take()
	res, err := s.Do(t.Context(), sandbox.Call{Target: generatePath, Token: token, Body: promptBody})
	if err != nil {
		t.Fatal(err)
	}
	got := res.String()
	for _, r := range s.World.Vertex.Take() {
		got += " as " + strings.TrimPrefix(r.Account, "principal://iam.googleapis.com/"+fake.DefaultPool)
		if strings.Contains(r.Header.Get("Authorization"), token) {
			got += " WITH THE CALLER'S CREDENTIAL"
		}
	}
	return got
}

// Google sees the caller itself, or the account that the caller, and not the agent, may act as. What Google refuses the agent does not
// make good by another identity.
func TestTokensAreExchanged(t *testing.T) {
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startExchange(t, haproxy)
		trusted := fake.Groups("account", "trusted")
		old := []fake.TokenOption{fake.Claim("iat", time.Now().Add(-25*time.Hour).Unix()), fake.Claim("nbf", nil)}
		for _, tt := range []struct {
			name  string
			token string
			want  string
		}{
			{"direct", callerOf(t, s, "own"), "200 as /subject/own@example.com"},
			{"direct, somebody else", callerOf(t, s, "own", fake.Claim("sub", "alice")), "200 as /subject/alice"},
			{"direct, by ES256", callerOf(t, s, "own", fake.ES256(), fake.Claim("sub", "bob")), "200 as /subject/bob"},
			{"impersonate", callerOf(t, s, "account", trusted), "200 as " + sandbox.Search},
			{"impersonate, without the right to", callerOf(t, s, "account"), "403 EXCHANGE_REFUSED"},
			{"a token that the provider does not take", callerOf(t, s, "strange"), "403 EXCHANGE_REFUSED"},
			{"a token that the provider takes", callerOf(t, s, "strange", fake.Audience("vertex", "another"), fake.Claim("sub", "carol")), "403 IAM_PERMISSION_DENIED as /subject/carol"},
			{"a token for another audience of the issuer", callerOf(t, s, "own", fake.Audience("elsewhere")), "403 EXCHANGE_REFUSED"},
			{"a token of yesterday", callerOf(t, s, "own", old...), "403 EXCHANGE_UNSUPPORTED"},
			{"a subject that Google does not take", callerOf(t, s, "own", fake.Claim("sub", strings.Repeat("x", 128))), "403 EXCHANGE_REFUSED"},
			{"no exchange", callerOf(t, s, "plain"), "200 as " + sandbox.Research},
		} {
			t.Run(tt.name, func(t *testing.T) {
				for range 2 { // by a new token, and by one that is held
					if got := exchanged(t, s, tt.token); got != tt.want {
						t.Errorf("got  %s\nwant %s%s", got, tt.want, s.Logs())
					}
				}
			})
		}
		t.Run("each token once", func(t *testing.T) {
			before := len(s.World.STS.Exchanges())
			for _, group := range []string{"own", "account"} {
				token := callerOf(t, s, group, fake.Groups(group, "trusted"), fake.Claim("sub", "dave"))
				for range 5 {
					if got := exchanged(t, s, token); !strings.HasPrefix(got, "200") {
						t.Errorf("got %s", got)
					}
				}
			}
			if n := len(s.World.STS.Exchanges()) - before; n != 2 {
				t.Errorf("%d exchanges of two tokens", n)
			}
		})
	})
}

// While STS or IAM is down nobody acts as somebody else: who was not exchanged before gets 503, and service is back with Google.
func TestExchangeWhileGoogleIsDown(t *testing.T) {
	onEach(t, newest(), func(t *testing.T, haproxy string) {
		s := startExchange(t, haproxy)
		held := callerOf(t, s, "own", fake.Claim("sub", "held"))
		if got, want := exchanged(t, s, held), "200 as /subject/held"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		for _, tt := range []struct {
			name string
			down func(fake.Fault)
			heal func()
			role string
			want string
			then string
		}{
			{"STS is down", s.World.STS.Fail, s.World.STS.Heal, "own", "503 EXCHANGE_UNAVAILABLE", "200 as /subject/own-caller"},
			{"STS is down, impersonating", s.World.STS.Fail, s.World.STS.Heal, "account", "503 EXCHANGE_UNAVAILABLE", "200 as " + sandbox.Search},
			{"IAM is down", s.World.IAM.Fail, s.World.IAM.Heal, "account", "503 MINT_UNAVAILABLE", "200 as " + sandbox.Search},
		} {
			for name, fault := range map[string]fake.Fault{"no answer": {Down: true}, "503": {Status: http.StatusServiceUnavailable}} {
				t.Run(tt.name+", "+name, func(t *testing.T) {
					tt.down(fault)
					defer tt.heal()
					caller := callerOf(t, s, tt.role, fake.Groups(tt.role, "trusted"), fake.Claim("sub", tt.role+"-caller"))
					for range 2 {
						if got := exchanged(t, s, caller); got != tt.want {
							t.Errorf("got %s, want %s%s", got, tt.want, s.Logs())
						}
					}
					if got, want := exchanged(t, s, held), "200 as /subject/held"; got != want {
						t.Errorf("whose token is held: got %s, want %s", got, want)
					}
					if got, want := exchanged(t, s, callerOf(t, s, "plain")), "200 as "+sandbox.Research; got != want {
						t.Errorf("who needs no exchange: got %s, want %s", got, want)
					}
					tt.heal()
					until(t, "service is back", func() string {
						if got := exchanged(t, s, caller); got != tt.then {
							return got
						}
						return ""
					})
				})
			}
		}
	})
}

// Google's audit logs are told whose decision it was, in the way that the configuration says, and never what the caller would tell them.
func TestRequestReason(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	secret := []byte("0123456789abcdef0123456789abcdef")
	if err := os.WriteFile(key, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("own@example.com"))
	sealed := hex.EncodeToString(mac.Sum(nil)[:16])
	onEach(t, newest(), func(t *testing.T, haproxy string) {
		for _, tt := range []struct {
			name  string
			flags []string
			want  string // ID stands for the id of the decision
		}{
			{"as it is", nil, "decision=ID"},
			{"id", []string{"--google.request_reason=id"}, "decision=ID"},
			{"plain", []string{"--google.request_reason=plain"}, "decision=ID subject=own@example.com"},
			{"hmac", []string{"--google.request_reason=hmac", "--google.request_reason_key=" + key}, "decision=ID subject_hmac=" + sealed},
			{"off", []string{"--google.request_reason=off"}, ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				s := startExchange(t, haproxy, tt.flags...)
				s.World.Vertex.Take()
				res, err := s.Do(t.Context(), sandbox.Call{Target: generatePath, Token: callerOf(t, s, "own"), Body: promptBody,
					Header: http.Header{"X-Goog-Request-Reason": {"I am somebody else"}}})
				if err != nil || res.Status != http.StatusOK {
					t.Fatalf("%v, %v", res, err)
				}
				got := strings.Join(s.World.Vertex.Take()[0].Header.Values("X-Goog-Request-Reason"), ", ")
				if want := strings.Replace(tt.want, "ID", res.Header.Get("X-Request-Id"), 1); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	})
}

// A policy whose callers may have tokens that STS does not take is not put in force.
func TestAnExchangeThatCannotWorkDoesNotLoad(t *testing.T) {
	onEach(t, newest(), func(t *testing.T, haproxy string) {
		s := startExchange(t, haproxy)
		for mistake, change := range map[string][2]string{
			"PS512":           {"maxLifetime: 48h", "maxLifetime: 48h, algorithms: [RS256, PS512]"},
			"not of the form": {"workloadIdentityPools", "pools"},
		} {
			replaceFile(t, filepath.Join(s.PolicyDir(), "policy.yaml"), []byte(strings.ReplaceAll(exchangingPolicy, change[0], change[1])))
			until(t, "the policy is refused for "+mistake, func() string {
				ready, err := s.Ready(t.Context())
				if err == nil && strings.Contains(ready.Reload.Error, mistake) {
					return ""
				}
				return ready.Reload.Error
			})
		}
		if got, want := exchanged(t, s, callerOf(t, s, "own")), "200 as /subject/own@example.com"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
