package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vertex-spoa/agent/internal/audit"
	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/spoe"
)

// world is an agent behind a real SPOP server, with an issuer whose keys are in a file and a server that mints.
type world struct {
	*Agent
	socket string
	policy string // path of the policy file
	key    *ecdsa.PrivateKey
	audit  *sink
	log    *lockedBuffer
	slow   chan struct{} // the minting server answers for vx-broken when it is closed, and then mints; nil refuses at once
}

const minted = "ya29.minted-for-"

const policyText = `version: 1
defaults: { project: acme-ai, locations: europe-west1, methods: [generate, stream, count] }
issuers:
  corp: { url: "https://login.example.com", audience: vertex, jwks: { file: %q } }
roles:
  search: { as: vx-search, who: { corp: { groups: search-eng } } }
  broken: { as: vx-broken, who: { corp: { groups: broken } } }
rules:
  search-gemini: { allow: search, models: gemini-2.5-* }
  broken-gemini: { allow: broken, models: gemini-2.5-* }
  no-preview: { deny: "*", models: "*-preview", because: preview models are for nobody }
`

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldWith(t, nil)
}

func newWorldWith(t testing.TB, slow chan struct{}) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{slow: slow, socket: filepath.Join(dir, "s.sock"), policy: filepath.Join(dir, "policy.d", "policy.yaml"), audit: &sink{}, log: &lockedBuffer{}}
	w.writeKeys(t, filepath.Join(dir, "keys.json"))
	if err := os.Mkdir(filepath.Dir(w.policy), 0o700); err != nil {
		t.Fatal(err)
	}
	w.writePolicy(t, fmt.Sprintf(policyText, filepath.Join(dir, "keys.json")))
	iam := httptest.NewServer(http.HandlerFunc(w.serveMint))
	t.Cleanup(iam.Close)
	log := slog.New(slog.NewTextHandler(w.log, nil))
	tokens, err := google.New(google.Config{
		Base: func(context.Context) (google.Token, error) {
			return google.Token{Value: secret.New("ya29.own"), Expiry: time.Now().Add(time.Hour)}, nil
		},
		Endpoint: iam.URL, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tokens.Close)
	lines := audit.New(w.audit)
	revoked, err := identity.OpenRevocations(filepath.Join(dir, "revoked.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Agent, err = New(Config{PolicyDir: filepath.Dir(w.policy), Keys: http.DefaultClient, Revoked: revoked, Tokens: tokens, Audit: lines, Metrics: NewMetrics(), Log: log,
		WarmUp: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	w.current.Load().issuers.Ready(t.Context())
	w.serve(t, log)
	return w
}

func (w *world) serve(t testing.TB, log *slog.Logger) {
	t.Helper()
	server, err := spoe.New(spoe.Config{Handler: w.Agent, Overload: w.Overload, EndBatch: w.EndBatch, Log: log, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l, err := spoe.Listen(t.Context(), "unix@"+w.socket, spoe.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		if err := <-done; !errors.Is(err, spoe.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
}

func (w *world) writePolicy(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(w.policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *world) writeKeys(t testing.TB, path string) {
	t.Helper()
	var err error
	if w.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	point, err := w.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	set := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","alg":"ES256","use":"sig","x":%q,"y":%q}]}`, b64(point[1:33]), b64(point[33:]))
	if err := os.WriteFile(path, []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// token is a JWT of the issuer for a member of the group.
func (w *world) token(t testing.TB, group string, change ...func(map[string]any)) string {
	t.Helper()
	claims := map[string]any{"iss": "https://login.example.com", "aud": "vertex", "sub": "alice", "groups": []string{group}, "jti": "j1",
		"exp": time.Now().Add(time.Hour).Unix()}
	for _, c := range change {
		c(claims)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed := b64([]byte(`{"alg":"ES256","kid":"k1","typ":"JWT"}`)) + "." + b64(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, w.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func (w *world) serveMint(rw http.ResponseWriter, r *http.Request) {
	account := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v1/projects/-/serviceAccounts/"), ":generateAccessToken")
	if strings.HasPrefix(account, "vx-broken@") {
		if w.slow == nil {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(rw, `{"error":{"code":403,"status":"PERMISSION_DENIED","message":"no"}}`)
			return
		}
		<-w.slow
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(map[string]any{"accessToken": minted + account, "expireTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
}

// errDiscarded makes a sink take lines without keeping them.
var errDiscarded = errors.New("discarded")

type sink struct {
	mu  sync.Mutex
	buf bytes.Buffer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.err, errDiscarded) {
		return len(p), nil
	}
	if s.err != nil {
		return 0, s.err
	}
	return s.buf.Write(p)
}

func (s *sink) Close() error { return nil }

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sink) last(t testing.TB) map[string]any {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(s.buf.String()), "\n")
	var m map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &m); err != nil {
		t.Fatalf("last line %q: %v", lines[len(lines)-1], err)
	}
	return m
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const target = "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent"

// question is the message HAProxy would send for an ordinary call with the token; changes replace arguments by name, and remove them
// where the value is absent.
func question(token string, changes ...arg) []byte {
	args := []arg{
		{"v", 1}, {"id", "id-1"}, {"attempt", 1}, {"ts", 1700000000000}, {"src", netip.MustParseAddr("192.0.2.7")}, {"method", "POST"},
		{"uri", target}, {"host", "gateway.example.com"}, {"authorization", "Bearer " + token}, {"authorization_count", 1},
		{"content_type", "application/json"}, {"content_length", "2"}, {"content_length_count", 1}, {"user_agent", "test/1"},
		{"traceparent", nil}, {"role", nil}, {"something_new", "ignored"},
	}
	for _, c := range changes {
		at := slices.IndexFunc(args, func(a arg) bool { return a.name == c.name })
		switch {
		case c.value == absent{}:
			args = slices.Delete(args, at, at+1)
		case at < 0:
			args = append(args, c)
		default:
			args[at] = c
		}
	}
	return encodeMessage("authorize", args)
}

type absent struct{}

func (p *peer) ask(payload []byte) []variable { return p.ack(p.notify(payload)) }

func value(vars []variable, name string) any {
	for _, v := range vars {
		if v.name == name {
			return v.value
		}
	}
	return nil
}

func TestAnAllowCarriesTheTokenAndEndsWithTheDecision(t *testing.T) {
	w := newWorld(t)
	p := dial(t, w.socket)
	for range 2 { // the first waits for a mint, the second does not
		vars := p.ask(question(w.token(t, "search-eng")))
		for name, want := range map[string]any{
			"token": minted + "vx-search@acme-ai.iam.gserviceaccount.com", "status": int64(200), "uri": target,
			"host": "europe-west1-aiplatform.googleapis.com", "location": "europe-west1", "issuer": "corp", "subject": "alice", "role": "search",
			"rule": "search-gemini", "account": "vx-search@acme-ai.iam.gserviceaccount.com", "policy": w.current.Load().policy.Digest(),
		} {
			if got := value(vars, name); got != want {
				t.Errorf("%s = %v, want %v", name, got, want)
			}
		}
		if last := vars[len(vars)-1]; last.name != "decision" || last.value != "allow" || last.scope != byte(spoe.ScopeTransaction) {
			t.Errorf("the last variable is %v, want decision=allow in scope txn", last)
		}
		for _, v := range vars {
			if (v.name == "token") != (v.scope == byte(spoe.ScopeRequest)) {
				t.Errorf("%s has scope %d: the token alone is in scope req", v.name, v.scope)
			}
		}
		record := w.audit.last(t)
		for name, want := range map[string]any{"id": "id-1", "attempt": 1.0, "decision": "allow", "status": 200.0, "subject": "alice", "jti": "j1",
			"src": "192.0.2.7", "model": "gemini-2.5-flash", "method": "generateContent", "http_method": "POST", "rule": "search-gemini",
			"token_fingerprint": secret.New(minted + "vx-search@acme-ai.iam.gserviceaccount.com").Fingerprint()} {
			if record[name] != want {
				t.Errorf("record: %s = %v, want %v", name, record[name], want)
			}
		}
	}
}

// Each case is one change to an ordinary call that would be allowed.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	p := dial(t, w.socket)
	ordinary := w.token(t, "search-eng")
	for _, tt := range []struct {
		name    string
		payload []byte
		status  int64
		reason  Reason
	}{
		{"no message of the contract", encodeMessage("other", nil), 503, ArgumentMissing},
		{"version missing", question(ordinary, arg{"v", absent{}}), 503, ArgumentMissing},
		{"another version", question(ordinary, arg{"v", 2}), 503, ContractVersion},
		{"id missing", question(ordinary, arg{"id", absent{}}), 503, ArgumentMissing},
		{"id is NULL", question(ordinary, arg{"id", nil}), 503, ArgumentMissing},
		{"attempt missing", question(ordinary, arg{"attempt", absent{}}), 503, ArgumentMissing},
		{"source missing", question(ordinary, arg{"src", absent{}}), 503, ArgumentMissing},
		{"source is text", question(ordinary, arg{"src", "192.0.2.7"}), 503, ArgumentMissing},
		{"method missing", question(ordinary, arg{"method", absent{}}), 503, ArgumentMissing},
		{"uri missing", question(ordinary, arg{"uri", absent{}}), 503, ArgumentMissing},
		{"host missing", question(ordinary, arg{"host", nil}), 503, ArgumentMissing},
		{"authorization count missing", question(ordinary, arg{"authorization_count", absent{}}), 503, ArgumentMissing},
		{"authorization is an integer", question(ordinary, arg{"authorization", 5}), 503, ArgumentMissing},
		{"two Authorization fields", question(ordinary, arg{"authorization_count", 2}), 400, CredentialsAmbiguous},
		{"a value without a field", question(ordinary, arg{"authorization_count", 0}), 400, CredentialsAmbiguous},
		{"no token", question("", arg{"authorization", nil}, arg{"authorization_count", 0}), 401, "TOKEN_MISSING"},
		{"not a bearer token", question("", arg{"authorization", "Basic abc"}), 401, "TOKEN_MALFORMED"},
		{"expired", question(w.token(t, "search-eng", func(c map[string]any) { c["exp"] = 1 })), 401, "TOKEN_EXPIRED"},
		{"wrong audience", question(w.token(t, "search-eng", func(c map[string]any) { c["aud"] = "x" })), 401, "WRONG_AUDIENCE"},
		{"path that is not canonical", question(ordinary, arg{"uri", target + "/"}), 400, "BAD_TARGET"},
		{"credential in the query", question(ordinary, arg{"uri", target + "?key=AIza"}), 400, "BAD_QUERY"},
		{"HTTP method of another call", question(ordinary, arg{"method", "GET"}), 400, "BAD_HTTP_METHOD"},
		{"part of the API that is off", question(ordinary, arg{"uri", "/v1/projects/acme-ai/locations/europe-west1/tuningJobs"}), 403, "SURFACE_OFF"},
		{"no Content-Length", question(ordinary, arg{"content_length_count", 0}), 400, LengthRequired},
		{"Content-Length count missing", question(ordinary, arg{"content_length_count", absent{}}), 400, LengthRequired},
		{"two Content-Lengths", question(ordinary, arg{"content_length_count", 2}), 400, LengthRequired},
		{"no content type", question(ordinary, arg{"content_type", nil}), 400, ContentType},
		{"positional JSON", question(ordinary, arg{"content_type", "application/json+protobuf"}), 400, ContentType},
		{"another charset", question(ordinary, arg{"content_type", "application/json; charset=utf-16"}), 400, ContentType},
		{"a second parameter", question(ordinary, arg{"content_type", "application/json; charset=utf-8; x=y"}), 400, ContentType},
		{"no role", question(w.token(t, "sales")), 403, "NO_ROLE"},
		{"role the caller does not have", question(ordinary, arg{"role", "broken"}), 403, "NO_ROLE"},
		{"no rule", question(ordinary, arg{"uri", strings.Replace(target, "gemini-2.5-flash", "imagen-4", 1)}), 403, "NO_RULE"},
		{"a rule denies", question(ordinary, arg{"uri", strings.Replace(target, "flash", "flash-preview", 1)}), 403, "DENIED"},
		{"account that cannot be impersonated", question(w.token(t, "broken")), 503, "ACCOUNT_FORBIDDEN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vars := p.ask(tt.payload)
			if got := value(vars, "reason"); got != string(tt.reason) {
				t.Errorf("reason %v, want %s", got, tt.reason)
			}
			if got := value(vars, "status"); got != tt.status {
				t.Errorf("status %v, want %d", got, tt.status)
			}
			if last := vars[len(vars)-1]; last.name != "decision" || last.value != "deny" {
				t.Errorf("the last variable is %v, want decision=deny", last)
			}
			if value(vars, "token") != nil {
				t.Error("a denial carries a token")
			}
			if text, _ := value(vars, "message").(string); text == "" {
				t.Error("no message for the client")
			}
			if got, want := value(vars, "www_authenticate") != nil, tt.status == 401; got != want {
				t.Errorf("www_authenticate set: %t, want %t", got, want)
			}
			if got, want := value(vars, "retry_after") != nil, tt.status == 503; got != want {
				t.Errorf("retry_after set: %t, want %t", got, want)
			}
			if record := w.audit.last(t); record["decision"] != "deny" || record["reason"] != string(tt.reason) {
				t.Errorf("record %v, want a deny with reason %s", record, tt.reason)
			}
		})
	}
	// The twin: nothing but the change made the difference.
	if got := value(p.ask(question(ordinary)), "decision"); got != "allow" {
		t.Errorf("the unchanged call: decision %v, want allow", got)
	}
}

func TestARuleSaysWhyToTheCaller(t *testing.T) {
	w := newWorld(t)
	vars := dial(t, w.socket).ask(question(w.token(t, "search-eng"), arg{"uri", strings.Replace(target, "flash", "flash-preview", 1)}))
	if got, want := value(vars, "message"), "a rule denies this call: preview models are for nobody"; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
}

func TestNoRecordNoToken(t *testing.T) {
	w := newWorld(t)
	p := dial(t, w.socket)
	payload := question(w.token(t, "search-eng"))
	if got := value(p.ask(payload), "decision"); got != "allow" {
		t.Fatalf("decision %v before the disk is full, want allow", got)
	}
	w.audit.fail(errors.New("no space left on device"))
	vars := p.ask(payload)
	if value(vars, "decision") != "deny" || value(vars, "reason") != string(AuditUnavailable) || value(vars, "token") != nil {
		t.Errorf("with a full disk HAProxy is told %v, want a deny without a token", vars)
	}
	w.audit.fail(nil)
	if got := value(p.ask(payload), "decision"); got != "allow" {
		t.Errorf("decision %v after the disk has room again, want allow", got)
	}
}

func TestAMintThatTakesLongDelaysNobodyElse(t *testing.T) {
	release := make(chan struct{})
	w := newWorldWith(t, release)
	p := dial(t, w.socket)
	slow := p.notify(question(w.token(t, "broken"))) // its account has no token before the release
	quick := p.notify(question(""))
	if got := value(p.ack(quick), "decision"); got != "deny" {
		t.Errorf("decision %v, want the second question answered first", got)
	}
	close(release)
	if got := value(p.ack(slow), "decision"); got != "allow" {
		t.Errorf("decision %v for the slow question, want allow", got)
	}
}

func TestTheZeroAnswerDenies(t *testing.T) {
	var a answer
	if a.allowed() {
		t.Error("the zero answer allows")
	}
	a.settle(nil)
	actions := a.appendActions(nil)
	if last := actions[len(actions)-1]; last.Name() != "decision" || !last.Equal(spoe.SetString(spoe.ScopeTransaction, "decision", "deny")) {
		t.Errorf("the zero answer ends with %v, want decision=deny", last)
	}
	if len(actions) > maxActions {
		t.Errorf("%d actions, more than maxActions", len(actions))
	}
}

// What the server gives in the agent's place is a deny like any other: 503, with the reason for the log, that for the caller and when to
// come again.
func TestOverloadDenies(t *testing.T) {
	w := newWorld(t)
	want := []spoe.Action{
		spoe.SetInt(scope, "t_verify", 0), spoe.SetInt(scope, "t_policy", 0), spoe.SetInt(scope, "t_mint", 0),
		spoe.SetString(scope, "reason", "OVERLOADED"),
		spoe.SetString(scope, "public_reason", "OVERLOADED"),
		spoe.SetString(scope, "message", "too many requests at once"),
		spoe.SetInt(scope, "retry_after", 1),
		spoe.SetInt(scope, "status", 503),
		spoe.SetString(scope, "decision", "deny"),
	}
	if got := w.Overload(nil); !slices.EqualFunc(got, want, spoe.Action.Equal) {
		t.Errorf("overload is\n%v, want\n%v", got, want)
	}
}

// More requests than may wait for keys and tokens are denied at once, and recorded; when one of those has ended, the next may wait.
func TestMoreThanMayWaitAreDenied(t *testing.T) {
	release := make(chan struct{})
	w := newWorldWith(t, release)
	p := dial(t, w.socket)
	for range cap(w.waiting) {
		w.waiting <- struct{}{}
	}
	slow := question(w.token(t, "broken")) // its account has no token before the release
	vars := p.ask(slow)
	for name, want := range map[string]any{"decision": "deny", "status": int64(503), "reason": "OVERLOADED", "public_reason": "OVERLOADED", "retry_after": int64(1), "token": nil} {
		if got := value(vars, name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	if record := w.audit.last(t); record["decision"] != "deny" || record["reason"] != "OVERLOADED" {
		t.Errorf("record %v, want a deny with reason OVERLOADED", record)
	}
	if got := value(p.ask(question(w.token(t, "no-such-group"))), "reason"); got != "NO_ROLE" {
		t.Errorf("what need not wait: reason %v, want NO_ROLE", got)
	}
	<-w.waiting
	close(release)
	if got := value(p.ask(slow), "decision"); got != "allow" {
		t.Errorf("with room again: decision %v, want allow", got)
	}
}

func TestReloadSwapsOrKeeps(t *testing.T) {
	w := newWorld(t)
	p := dial(t, w.socket)
	payload := question(w.token(t, "search-eng"))
	text, err := os.ReadFile(w.policy)
	if err != nil {
		t.Fatal(err)
	}
	before := w.current.Load().policy.Digest()

	w.writePolicy(t, "version: 1\nruls: {}\n")
	if err := w.Reload(); err == nil || !strings.Contains(err.Error(), "policy.yaml:2:1") {
		t.Errorf("Reload of nonsense: %v, want an error that names the place", err)
	}
	if got := value(p.ask(payload), "policy"); got != before {
		t.Errorf("after a refused reload the policy is %v, want the one before", got)
	}
	if r := w.readiness(); r.Policy != before || r.Reload.Error == "" {
		t.Errorf("readiness %+v, want the old digest and the error", r)
	}

	w.writePolicy(t, strings.Replace(string(text), "models: gemini-2.5-*", "models: gemini-3-*", 1))
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := value(p.ask(payload), "reason"); got != "NO_RULE" {
		t.Errorf("under the new policy: reason %v, want NO_RULE", got)
	}
}

func TestAdmin(t *testing.T) {
	w := newWorld(t)
	status := func(path string) (int, string) {
		rec := httptest.NewRecorder()
		w.Admin(t.Context()).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec.Code, rec.Body.String()
	}
	if code, _ := status("/livez"); code != 200 {
		t.Errorf("/livez: %d, want 200", code)
	}
	if code, _ := status("/readyz"); code != 503 {
		t.Errorf("/readyz before it listens: %d, want 503", code)
	}
	w.SetListening(true)
	w.WarmUp(t.Context()) // an account fails here, which must not matter
	code, body := status("/readyz")
	if code != 200 || !strings.Contains(body, "vx-broken@") || !strings.Contains(body, "ACCOUNT_FORBIDDEN") {
		t.Errorf("/readyz: %d, want 200 and the account that failed in\n%s", code, body)
	}
	dial(t, w.socket).ask(question(w.token(t, "search-eng")))
	if _, body := status("/metrics"); !strings.Contains(body, `vertex_spoa_decisions_total{decision="allow",reason="",role="search",rule="search-gemini"} 1`) {
		t.Errorf("/metrics does not count the decision:\n%s", body)
	}
	if strings.Contains(w.log.String()+body, minted) {
		t.Error("a minted token is in the log or in /readyz")
	}
}

func TestNewRefusesMissingParts(t *testing.T) {
	w := newWorld(t)
	for name, breakIt := range map[string]func(*Config){
		"PolicyDir": func(c *Config) { c.PolicyDir = "" },
		"Keys":      func(c *Config) { c.Keys = nil },
		"Tokens":    func(c *Config) { c.Tokens = nil },
		"Audit":     func(c *Config) { c.Audit = nil },
		"Metrics":   func(c *Config) { c.Metrics = nil },
		"Log":       func(c *Config) { c.Log = nil },
		"WarmUp":    func(c *Config) { c.WarmUp = -1 },
	} {
		cfg := w.cfg
		breakIt(&cfg)
		if a, err := New(cfg); err == nil || a != nil {
			t.Errorf("New without a good %s = %v, %v; want an error", name, a, err)
		}
	}
}

func BenchmarkQuestion(b *testing.B) {
	w := newWorld(b)
	w.cfg.Callers = 10
	if err := w.Reload(); err != nil {
		b.Fatal(err)
	}
	w.current.Load().issuers.Ready(b.Context())
	p := dial(b, w.socket)
	payload := question(w.token(b, "search-eng"))
	if got := value(p.ask(payload), "decision"); got != "allow" {
		b.Fatalf("decision %v, want allow", got)
	}
	b.Run("over a unix socket", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.ask(payload)
		}
	})
	b.Run("the pipeline alone", func(b *testing.B) {
		w.audit.fail(errDiscarded)
		ask := request{ID: "id-1", Attempt: 1, Source: netip.MustParseAddr("192.0.2.7"), Method: "POST", URI: target, Host: "gateway.example.com",
			Credentials: identity.Credentials{Authorization: secret.New("Bearer " + w.token(b, "search-eng"))}, Authorizations: 1, ContentType: "application/json", ContentLengths: 1}
		reply := func([]spoe.Action) error { return nil }
		notify := spoe.NewNotify(1, 1, "")
		s, now := w.current.Load(), time.Now()
		b.ReportAllocs()
		for b.Loop() {
			t := w.tasks.Get().(*task)
			t.request, t.now, t.notify, t.reply = ask, now, notify, reply
			t.answer.settle(t.judge(immediately, s))
			t.record()
			w.EndBatch()
		}
	})
}
