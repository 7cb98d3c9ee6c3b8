package google

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"vertex-spoa/agent/internal/secret"
)

const (
	agentEmail = "agent@hub.iam.gserviceaccount.com"
	alice      = "alice@team.iam.gserviceaccount.com"
	bob        = "bob@team.iam.gserviceaccount.com"
	carol      = "carol@team.iam.gserviceaccount.com"
	scope      = platformScope

	baseMarker = "ya29.BASE-MARKER" // every token of a fake holds one of these
	mintMarker = "ya29.MINT-MARKER"
)

func request(account string) Request { return Request{Account: account, Scopes: []string{scope}} }

// call is what a fake IAM received.
type call struct {
	Account   string
	Delegates []string
	Scopes    []string
	Lifetime  time.Duration
	Bearer    string
	At        time.Time
}

// fakeIAM is generateAccessToken as its reference page describes it, and refuses anything else.
type fakeIAM struct {
	t *testing.T

	mu     sync.Mutex
	calls  []call
	behave func(w http.ResponseWriter, r *http.Request, c call) bool // answers instead if it returns true
	active int
	peak   int
}

func newFakeIAM(t *testing.T) *fakeIAM { return &fakeIAM{t: t} }

// set changes how the fake answers from now on; nil is well.
func (f *fakeIAM) set(behave func(http.ResponseWriter, *http.Request, call) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behave = behave
}

// fail makes every answer one of the given status, in the form of a google.rpc.Status.
func (f *fakeIAM) fail(status int, message string, header ...string) {
	f.set(func(w http.ResponseWriter, _ *http.Request, _ call) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		sendStatus(w, status, message)
		return true
	})
}

func sendStatus(w http.ResponseWriter, status int, message string, details ...any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": message, "details": details}})
}

func (f *fakeIAM) seen() []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]call(nil), f.calls...)
}

// of counts the calls for account.
func (f *fakeIAM) of(account string) (n int) {
	for _, c := range f.seen() {
		if c.Account == account {
			n++
		}
	}
	return n
}

func (f *fakeIAM) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := parseCall(r)
	if err != nil {
		f.t.Errorf("the fake was sent a malformed request: %v", err)
		sendStatus(w, http.StatusBadRequest, err.Error())
		return
	}
	f.mu.Lock()
	f.calls = append(f.calls, c)
	n := len(f.calls)
	behave := f.behave
	f.active++
	f.peak = max(f.peak, f.active)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.active--
		f.mu.Unlock()
	}()
	if behave != nil && behave(w, r, c) {
		return
	}
	sendToken(w, fmt.Sprintf("%s.%s.%d", mintMarker, c.Account, n), time.Now().Add(c.Lifetime))
}

func sendToken(w http.ResponseWriter, token string, expiry time.Time) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_ = json.NewEncoder(w).Encode(map[string]string{
		"accessToken": token, "expireTime": expiry.UTC().Truncate(time.Second).Format(time.RFC3339),
	})
}

// parseCall is strict: what it does not know is an error.
func parseCall(r *http.Request) (call, error) {
	c := call{At: time.Now()}
	account, ok := strings.CutPrefix(r.URL.Path, "/v1/projects/-/serviceAccounts/")
	if account, ok2 := strings.CutSuffix(account, ":generateAccessToken"); ok && ok2 && strings.Contains(account, "@") {
		c.Account = account
	} else {
		return c, fmt.Errorf("path %q", r.URL.Path)
	}
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || len(r.Header.Values("Authorization")) != 1 {
		return c, errors.New("no single bearer token")
	}
	c.Bearer = bearer
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		return c, fmt.Errorf("method %q, content type %q", r.Method, r.Header.Get("Content-Type"))
	}
	var body struct {
		Name      string   `json:"name"`
		Delegates []string `json:"delegates"`
		Scope     []string `json:"scope"`
		Lifetime  string   `json:"lifetime"`
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return c, err
	}
	lifetime, err := time.ParseDuration(body.Lifetime)
	if err != nil || !strings.HasSuffix(body.Lifetime, "s") || lifetime <= 0 {
		return c, fmt.Errorf("lifetime %q", body.Lifetime)
	}
	if len(body.Scope) == 0 {
		return c, errors.New("no scope")
	}
	for _, delegate := range body.Delegates {
		if !strings.HasPrefix(delegate, "projects/-/serviceAccounts/") {
			return c, fmt.Errorf("delegate %q", delegate)
		}
	}
	c.Delegates, c.Scopes, c.Lifetime = body.Delegates, body.Scope, lifetime
	return c, nil
}

// fakeBase issues tokens of the agent itself.
type fakeBase struct {
	mu    sync.Mutex
	calls int
	err   error
	life  time.Duration
	email string
}

func newFakeBase() *fakeBase { return &fakeBase{life: time.Hour, email: agentEmail} }

func (b *fakeBase) set(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *fakeBase) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

func (b *fakeBase) token(context.Context) (Token, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.err != nil {
		return Token{}, b.err
	}
	value := fmt.Sprintf("%s.%d", baseMarker, b.calls)
	return Token{Value: secret.New(value), Expiry: time.Now().Add(b.life), Account: b.email}, nil
}

// inProcess carries requests to a handler without a network, so that it runs inside a synctest bubble. Like a network it gives up when
// the request's context ends.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	wire := r.Clone(r.Context())
	wire.Header = http.Header{} // canonical, as a server reads it
	for name, values := range r.Header {
		for _, v := range values {
			wire.Header.Add(name, v)
		}
	}
	p.ServeHTTP(w, wire)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// world is a Source between its fakes.
type world struct {
	*Source
	iam  *fakeIAM
	base *fakeBase
}

// inBubble makes a world for use inside a synctest bubble. The bubble's function closes it.
func inBubble(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{iam: newFakeIAM(t), base: newFakeBase()}
	c := Config{Base: w.base.token, Endpoint: "https://iam.test", Client: &http.Client{Transport: inProcess{w.iam}}}
	w.build(t, c, change)
	return w
}

// onLoopback makes a world whose calls go over TCP.
func onLoopback(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{iam: newFakeIAM(t), base: newFakeBase()}
	server := httptest.NewServer(w.iam)
	t.Cleanup(server.Close)
	w.build(t, Config{Base: w.base.token, Endpoint: server.URL, Client: server.Client()}, change)
	t.Cleanup(w.Close)
	return w
}

func (w *world) build(t *testing.T, c Config, change []func(*Config)) {
	t.Helper()
	for _, f := range change {
		f(&c)
	}
	var err error
	if w.Source, err = New(c); err != nil {
		t.Fatal(err)
	}
}

// mustGet returns the text of the token of r.
func (w *world) mustGet(t *testing.T, r Request) string {
	t.Helper()
	token, err := w.Token(t.Context(), r)
	if err != nil {
		t.Fatalf("Token(%s) fails: %v", r.Account, err)
	}
	if token.Account != r.Account || !strings.Contains(token.Value.Reveal(), r.Account) {
		t.Fatalf("Token(%s) returns the token of %s", r.Account, token.Account)
	}
	if left := time.Until(token.Expiry); left <= 0 {
		t.Fatalf("Token(%s) returns a token that expired %v ago", r.Account, -left)
	}
	return token.Value.Reveal()
}

// wantReason checks that err is an *Error with the reason and returns it.
func wantReason(t *testing.T, err error, want Reason) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got error %v, want an *Error with reason %s", err, want)
	}
	if e.Reason != want {
		t.Fatalf("got %v, want reason %s", err, want)
	}
	return e
}

// lockedBuffer takes the lines of a log from any goroutine.
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
