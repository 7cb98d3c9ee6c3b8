package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
)

// exchanging returns a world whose role search exchanges its callers' tokens in the given mode, and how often STS was asked. It remembers
// as many callers as told.
func exchanging(t *testing.T, mode string, callers int) (*world, *atomic.Int32) {
	t.Helper()
	w := newWorld(t)
	asked := &atomic.Int32{}
	sts := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if got := r.PostFormValue("subject_token"); got == "" {
			t.Error("STS was asked without a token")
		}
		n := asked.Add(1)
		rw.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(rw, `{"access_token":"ya29.federated.%d","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3600}`, n)
	}))
	t.Cleanup(sts.Close)
	iam := httptest.NewServer(http.HandlerFunc(w.serveMint))
	t.Cleanup(iam.Close)
	tokens, err := google.New(google.Config{
		Base: func(context.Context) (google.Token, error) {
			return google.Token{Value: secret.New("ya29.own"), Expiry: time.Now().Add(time.Hour)}, nil
		},
		Endpoint: iam.URL, STSEndpoint: sts.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tokens.Close)
	w.cfg.Tokens, w.cfg.Callers = tokens, callers
	as := "as: vx-search"
	if mode == "direct" {
		as = "# nobody"
	}
	w.writePolicy(t, fmt.Sprintf(`version: 1
defaults: { project: acme-ai, locations: europe-west1, methods: [generate, stream, count] }
issuers:
  corp: { url: "https://login.example.com", audience: vertex, algorithms: ES256, jwks: { file: %q } }
roles:
  search:
    %s
    who: { corp: { groups: search-eng } }
    exchange: { audience: //iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q, mode: %s }
rules:
  search-gemini: { allow: search, models: gemini-2.5-* }
`, filepath.Join(filepath.Dir(filepath.Dir(w.policy)), "keys.json"), as, mode))
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	w.current.Load().issuers.Ready(t.Context())
	return w, asked
}

func until(d time.Duration) func(map[string]any) {
	return func(c map[string]any) {
		c["iat"], c["exp"] = time.Now().Unix(), float64(time.Now().Add(d).UnixMilli())/1000
	}
}

var issuedNow = until(time.Hour)

// An exchanged token is remembered, and good for an hour; the caller's own is what says how long it is handed out.
func TestAnExchangedTokenGoesWithTheCallersOwn(t *testing.T) {
	for _, mode := range []string{"direct", "impersonate"} {
		for _, callers := range []int{0, 10} {
			t.Run(fmt.Sprintf("%s, %d callers remembered", mode, callers), func(t *testing.T) {
				t.Parallel()
				w, asked := exchanging(t, mode, callers)
				p := dial(t, w.socket)
				var end time.Time
				var payload []byte
				for life := 2 * time.Second; ; life *= 2 { // longer on a machine that takes so long for the first answer
					asked.Store(0)
					end = time.Now().Add(life)
					payload = question(w.token(t, "search-eng", until(time.Until(end))))
					got := p.ask(payload)
					if value(got, "decision") == "allow" && value(got, "token") != nil {
						break
					}
					if time.Now().Before(end) || life > 10*time.Second {
						t.Fatalf("got %v at first", got)
					}
				}
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for time.Since(end) < 10*time.Second {
					before := time.Now()
					got := p.ask(payload)
					switch {
					case value(got, "decision") == "allow" && before.Before(end):
					case value(got, "decision") == "allow":
						t.Fatalf("a token is handed out %v after the caller's own has expired", before.Sub(end))
					default: // its issuer's leeway lets the caller still in, and is none of Google's
						if reason := value(got, "reason"); reason != "EXCHANGE_REFUSED" || value(got, "token") != nil {
							t.Errorf("got %v with reason %v", got, reason)
						}
						if n := asked.Load(); n > 8 {
							t.Errorf("%d exchanges for one caller", n)
						}
						return
					}
					<-tick.C
				}
				t.Error("the caller is let in for ever")
			})
		}
	}
}

func TestAnExchangedTokenIsNotForTheRevoked(t *testing.T) {
	for _, callers := range []int{0, 10} {
		t.Run(fmt.Sprintf("%d callers remembered", callers), func(t *testing.T) {
			w, asked := exchanging(t, "direct", callers)
			p := dial(t, w.socket)
			payload := question(w.token(t, "search-eng", issuedNow))
			for range 2 {
				if got := p.ask(payload); value(got, "decision") != "allow" {
					t.Fatalf("got %v", got)
				}
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("%d exchanges, want 1: the token was not at hand", n)
			}
			file := filepath.Join(filepath.Dir(filepath.Dir(w.policy)), "revoked.yaml")
			if err := os.WriteFile(file, []byte("version: 1\nrevoked:\n  - { issuer: corp, jti: j1 }\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			watching := make(chan struct{})
			go func() {
				defer close(watching)
				w.cfg.Revoked.Watch(ctx, time.Millisecond)
			}()
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for w.cfg.Revoked.Current().Len() == 0 {
				select {
				case <-tick.C:
				case <-t.Context().Done():
					return
				}
			}
			if got := p.ask(payload); value(got, "reason") != string(identity.Revoked) || value(got, "token") != nil {
				t.Errorf("got %v, want a refusal", got)
			}
			if record := w.audit.last(t); record["subject"] == nil || record["issuer"] != "corp" || record["jti"] != "j1" {
				t.Errorf("the record does not say who was refused: %v", record)
			}
			if got := w.cfg.Tokens.Exchanges().Held; got != 1 {
				t.Errorf("%d tokens are at hand, want the one that is not handed out", got)
			}
			cancel()
			<-watching
		})
	}
}

// Google's refusal of a caller's token forgets it, and the next request brings a new one.
func TestGooglesRefusalDropsACallersToken(t *testing.T) {
	w, asked := exchanging(t, "direct", 10)
	p := dial(t, w.socket)
	payload := question(w.token(t, "search-eng", issuedNow))
	first := p.ask(payload)
	p.ask(encodeMessage("response", []arg{{"v", 1}, {"id", "id-1"}, {"ts", 1}, {"status", 401}, {"token", value(first, "token_fingerprint")}}))
	second := p.ask(payload)
	if value(second, "decision") != "allow" || value(first, "token") == value(second, "token") || asked.Load() != 2 {
		t.Errorf("got %v and %v after %d exchanges", first, second, asked.Load())
	}
}

func TestTheMetricsTellOfTokens(t *testing.T) {
	w, _ := exchanging(t, "direct", 10)
	p := dial(t, w.socket)
	p.ask(question(w.token(t, "search-eng", issuedNow)))
	if err := w.cfg.Metrics.Registry.Register(newTokenMetrics(w.cfg.Tokens)); err == nil {
		t.Error("metrics are taken for two agents")
	}
	other := NewMetrics()
	other.Registry.MustRegister(newTokenMetrics(w.cfg.Tokens))
	if err := w.cfg.Tokens.Warm(t.Context(), []google.Request{{Account: "a@b.c", Scopes: []string{"x"}}, {Account: "a@b.c", Scopes: []string{"x"}, Lifetime: 5 * time.Minute}}); err != nil {
		t.Fatal(err)
	}
	families, err := other.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue()
		}
	}
	now := float64(time.Now().Unix())
	for name, want := range map[string]float64{
		"vertex_spoa_own_token_expiry_timestamp_seconds":   now + 3600,
		"vertex_spoa_token_expiry_timestamp_seconds a@b.c": now + 300, // the first of two to expire
		"vertex_spoa_exchanged_tokens":                     1,
		"vertex_spoa_exchanges_under_way":                  0,
	} {
		if off := want - got[name]; off < 0 || off > 30 {
			t.Errorf("%s is %v, want about %v", name, got[name], want)
		}
	}
	if got["vertex_spoa_exchanged_token_bytes"] < 500 {
		t.Errorf("the exchanged token takes %v bytes", got["vertex_spoa_exchanged_token_bytes"])
	}
}

// A policy that was put in force is warmed up, and that is told; but one that takes long must not take every node out at once.
func TestTheAgentIsReadyWhileAReloadWarmsUp(t *testing.T) {
	slow := make(chan struct{})
	w := newWorldWith(t, slow)
	t.Cleanup(func() { close(slow) })
	w.SetListening(true)
	admin := httptest.NewServer(w.Admin(t.Context()))
	t.Cleanup(admin.Close)
	reload := func() {
		t.Helper()
		answer, err := http.Post(admin.URL+"/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
	w.cfg.WarmUp = 50 * time.Millisecond
	w.WarmUp(t.Context())
	reload()
	end, tick := time.Now().Add(30*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for ; w.readiness().WarmingUp; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("the warm-up never ends")
		}
	}
	w.cfg.WarmUp = time.Minute // so that this one lasts while it is looked at, however long that takes
	reload()
	if r := w.readiness(); !r.Ready || !r.WarmingUp {
		t.Errorf("while the policy is warmed up: ready %t, warming up %t", r.Ready, r.WarmingUp)
	}
	if got := get(t, admin.URL+"/readyz"); got != http.StatusOK {
		t.Errorf("got %d while the policy is warmed up, want 200", got)
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}
