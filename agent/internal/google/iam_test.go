package google

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/googleapis/gax-go/v2"

	"vertex-spoa/agent/internal/secret"
)

func TestARequestOnTheWire(t *testing.T) {
	w := onLoopback(t)
	r := Request{
		Account:   alice,
		Delegates: []string{bob, carol},
		Scopes:    []string{"https://www.googleapis.com/auth/aiplatform", scope},
		Lifetime:  5 * time.Minute,
	}
	before := time.Now()
	token, err := w.Token(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	prefix := "projects/-/serviceAccounts/"
	want := []call{{
		Account: alice, Delegates: []string{prefix + bob, prefix + carol}, Scopes: r.Scopes, Lifetime: 5 * time.Minute, Bearer: baseMarker + ".1",
	}}
	if diff := cmp.Diff(want, w.iam.seen(), cmpopts.IgnoreFields(call{}, "At")); diff != "" {
		t.Errorf("the calls differ (-want +got):\n%s", diff)
	}
	// From before the call and until after it, which may have taken long; expiries are in whole seconds.
	if token.Expiry.Before(before.Add(5*time.Minute-time.Second)) || token.Expiry.After(time.Now().Add(5*time.Minute)) {
		t.Errorf("expires in %v, want about 5m", token.Expiry.Sub(before))
	}
	if got, want := token.Value.Reveal(), mintMarker+"."+alice+".1"; got != want {
		t.Errorf("token is %q, want %q", got, want)
	}
}

func TestRequestsThatDifferGetTokensOfTheirOwn(t *testing.T) {
	w := onLoopback(t)
	rs := []Request{
		request(alice), request(bob),
		{Account: alice, Scopes: []string{scope}, Delegates: []string{bob}},
		{Account: alice, Scopes: []string{scope}, Delegates: []string{carol}},
		{Account: alice, Scopes: []string{"https://www.googleapis.com/auth/aiplatform"}},
		{Account: alice, Scopes: []string{scope}, Lifetime: 5 * time.Minute},
	}
	seen := map[string]bool{}
	for range 2 {
		for _, r := range rs {
			seen[w.mustGet(t, r)] = true
		}
	}
	if len(seen) != len(rs) || len(w.iam.seen()) != len(rs) {
		t.Errorf("%d tokens from %d mints, want %d each", len(seen), len(w.iam.seen()), len(rs))
	}
	explicit := Request{Account: alice, Scopes: []string{scope}, Lifetime: DefaultLifetime}
	if w.mustGet(t, explicit); len(w.iam.seen()) != len(rs) {
		t.Error("lifetime zero and DefaultLifetime are minted apart")
	}
}

func TestTheCallerMayReuseItsSlices(t *testing.T) {
	w := onLoopback(t)
	r := Request{Account: alice, Scopes: []string{scope}, Delegates: []string{bob}}
	w.mustGet(t, r)
	same := Request{Account: alice, Scopes: []string{scope}, Delegates: []string{bob}}
	r.Delegates[0], r.Scopes[0] = carol, "https://example.org/other"
	w.Drop(same)
	w.mustGet(t, same)
	calls := w.iam.seen()
	if diff := cmp.Diff(calls[0], calls[1], cmpopts.IgnoreFields(call{}, "At")); diff != "" || len(calls) != 2 {
		t.Errorf("the second mint differs (-first +second):\n%s", diff)
	}
}

func TestAnswersOfIAM(t *testing.T) {
	permission := map[string]any{
		"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "IAM_PERMISSION_DENIED", "domain": "iam.googleapis.com",
		"metadata": map[string]string{"permission": "iam.serviceAccounts.getAccessToken"},
	}
	disabled := map[string]any{
		"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
		"metadata": map[string]string{"consumer": "projects/12345", "service": "iamcredentials.googleapis.com"},
	}
	narrow := map[string]any{
		"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "domain": "googleapis.com",
	}
	body := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	failure := func(status int, message string, details ...any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { sendStatus(w, status, message, details...) }
	}
	future := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	past := time.Now().Add(-time.Second).UTC().Format(time.RFC3339)
	tests := map[string]struct {
		answer http.HandlerFunc
		want   Reason
		detail string
	}{
		"a 403 for want of the role":       {failure(403, "Permission denied on resource (or it may not exist).", permission), AccountForbidden, agentEmail + " needs roles/iam.serviceAccountTokenCreator on " + alice},
		"a 403 because the API is off":     {failure(403, "API has not been used", disabled), AccountForbidden, `iamcredentials.googleapis.com is disabled in "projects/12345"`},
		"a 403 for want of scopes":         {failure(403, "insufficient scopes", narrow), AccountForbidden, "access scopes of the machine"},
		"a 403 that is not JSON":           {body(403, "<html>blocked</html>"), AccountForbidden, "IAM answered 403"},
		"a 404":                            {failure(404, "Not found; Gaia id not found for email"), AccountForbidden, "there is no account " + alice},
		"a 401":                            {failure(401, "invalid authentication credentials"), CredentialsUnavailable, "IAM answered 401"},
		"a 400":                            {failure(400, "The lifetime is too long"), MintInvalid, "The lifetime is too long"},
		"a 429":                            {failure(429, "Quota exceeded"), MintUnavailable, "Quota exceeded"},
		"a 500":                            {failure(500, "Internal error"), MintUnavailable, "Internal error"},
		"a 502 of a proxy":                 {body(502, "<html>bad gateway</html>"), MintUnavailable, "IAM answered 502"},
		"a 503":                            {failure(503, "unavailable"), MintUnavailable, "unavailable"},
		"a 504":                            {failure(504, "deadline"), MintUnavailable, "deadline"},
		"a 418":                            {body(418, ""), MintInvalid, "IAM answered 418"},
		"an error without a code":          {body(503, `{"error":{}}`), MintUnavailable, "IAM answered 503"},
		"an error whose code is nonsense":  {body(503, `{"error":{"code":-7}}`), MintInvalid, "something else"},
		"an empty object":                  {body(200, `{}`), MintInvalid, "without a token"},
		"an empty token":                   {body(200, `{"accessToken":"","expireTime":"`+future+`"}`), MintInvalid, "without a token"},
		"a token with a line break":        {body(200, `{"accessToken":"ya29.\r\nx: y","expireTime":"`+future+`"}`), MintInvalid, "cannot stand in a header"},
		"a token beyond ASCII":             {body(200, `{"accessToken":"ya29.é","expireTime":"`+future+`"}`), MintInvalid, "cannot stand in a header"},
		"no expiry":                        {body(200, `{"accessToken":"`+mintMarker+`"}`), MintInvalid, "without an expiry"},
		"an expiry in the past":            {body(200, `{"accessToken":"`+mintMarker+`","expireTime":"`+past+`"}`), MintInvalid, "expired at"},
		"an expiry that cannot be read":    {body(200, `{"accessToken":"`+mintMarker+`","expireTime":"tomorrow"}`), MintInvalid, "something else"},
		"an expiry out of range":           {body(200, `{"accessToken":"`+mintMarker+`","expireTime":"99999-01-01T00:00:00Z"}`), MintInvalid, "something else"},
		"a token that is a number":         {body(200, `{"accessToken":12345,"expireTime":"`+future+`"}`), MintInvalid, "something else"},
		"an empty answer":                  {body(200, ``), MintInvalid, "something else"},
		"half an answer":                   {body(200, `{"accessToken":"`+mintMarker), MintInvalid, "something else"},
		"an answer that is too long":       {body(200, `{"accessToken":"`+strings.Repeat("A", maxAnswer)+`","expireTime":"`+future+`"}`), MintInvalid, "something else"},
		"an error answer that is too long": {body(500, strings.Repeat("A", maxAnswer+1)), MintInvalid, "something else"},
		"an answer that breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"accessToken":"`+mintMarker)
		}, MintUnavailable, "read from"},
		"a connection that breaks": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, MintUnavailable, "call http"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := onLoopback(t)
			w.iam.set(func(rw http.ResponseWriter, r *http.Request, _ call) bool {
				test.answer(rw, r)
				return true
			})
			token, err := w.Token(t.Context(), request(alice))
			e := wantReason(t, err, test.want)
			if !strings.Contains(e.Detail, test.detail) {
				t.Errorf("detail is %q, want it to hold %q", e.Detail, test.detail)
			}
			if len(e.Detail) > 3*maxForeign {
				t.Errorf("detail has %d bytes", len(e.Detail))
			}
			if e.Account != alice || e.RetryAfter <= 0 || token != (Token{}) {
				t.Errorf("got %#v and %v, want the account, a time and no token", e, token)
			}
			if strings.Contains(err.Error(), "MARKER") {
				t.Errorf("%v holds a token", err)
			}
		})
	}
}

func TestAForbiddenChainNamesEveryLink(t *testing.T) {
	w := onLoopback(t)
	w.iam.fail(403, "denied")
	_, err := w.Token(t.Context(), Request{Account: alice, Delegates: []string{bob, carol}, Scopes: []string{scope}})
	e := wantReason(t, err, AccountForbidden)
	want := "in the chain " + strings.Join([]string{agentEmail, bob, carol, alice}, " > ") + " each needs roles/iam.serviceAccountTokenCreator on the next"
	if !strings.Contains(e.Detail, want) {
		t.Errorf("detail is %q, want it to hold %q", e.Detail, want)
	}
}

func TestARefusalWhereTheOwnAccountIsNotKnown(t *testing.T) {
	w := onLoopback(t, func(c *Config) {
		c.Base = func(context.Context) (Token, error) {
			return Token{Value: secret.New(baseMarker), Expiry: time.Now().Add(time.Hour)}, nil
		}
	})
	w.iam.fail(404, "Not found")
	_, err := w.Token(t.Context(), request(alice))
	e := wantReason(t, err, AccountForbidden)
	if want := "the agent's own account needs roles/iam.serviceAccountTokenCreator on " + alice; !strings.Contains(e.Detail, want) {
		t.Errorf("detail is %q, want it to hold %q", e.Detail, want)
	}
}

func TestNobodyListening(t *testing.T) {
	w := onLoopback(t, func(c *Config) { c.Endpoint = "http://" + silentAddress(t) })
	_, err := w.Token(t.Context(), request(alice))
	if e := wantReason(t, err, MintUnavailable); !strings.Contains(e.Detail, "connection refused") {
		t.Errorf("detail is %q, want it to hold the cause", e.Detail)
	}
}

// silentAddress is a port of this machine that is taken, so that nobody else comes to listen on it, and on which nobody listens.
func silentAddress(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(socket)
	t.Cleanup(func() { _ = syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

func TestARedirectIsNotFollowed(t *testing.T) {
	var mu sync.Mutex
	var stolen []string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		stolen = append(stolen, fmt.Sprint(r.Header))
	}))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		w := onLoopback(t)
		w.iam.set(func(rw http.ResponseWriter, r *http.Request, _ call) bool {
			http.Redirect(rw, r, thief.URL, status)
			return true
		})
		_, err := w.Token(t.Context(), request(alice))
		wantReason(t, err, MintInvalid)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(stolen) > 0 {
		t.Errorf("the redirect was followed with %v", stolen)
	}
}

func TestOverTLSWithAPrivateAuthority(t *testing.T) {
	fake := newFakeIAM(t)
	server := httptest.NewUnstartedServer(fake)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	w := onLoopback(t, func(c *Config) { c.Endpoint, c.Client = server.URL+"/", server.Client() })
	w.iam = fake
	w.mustGet(t, request(alice))

	stranger := onLoopback(t, func(c *Config) { c.Endpoint, c.Client = server.URL, nil })
	_, err := stranger.Token(t.Context(), request(alice))
	if e := wantReason(t, err, MintUnavailable); !strings.Contains(e.Detail, "x509") {
		t.Errorf("detail is %q, want it to tell of the certificate", e.Detail)
	}
	if got := fake.of(alice); got != 1 {
		t.Errorf("%d calls arrived, want 1", got)
	}
}

// No variable of the libraries' may move the call, add credentials of other origin or break the client.
func TestTheEnvironmentDoesNotChangeTheCall(t *testing.T) {
	for name, value := range map[string]string{
		"GOOGLE_API_USE_MTLS_ENDPOINT":         "always",
		"EXPERIMENTAL_GOOGLE_API_USE_S2A":      "true",
		"GOOGLE_CLOUD_QUOTA_PROJECT":           "other",
		"GOOGLE_CLOUD_UNIVERSE_DOMAIN":         "example.org",
		"GOOGLE_SDK_GO_EXPERIMENTAL_METRICS":   "true",
		"GOOGLE_SDK_GO_EXPERIMENTAL_TRACING":   "true",
		"GOOGLE_SDK_GO_EXPERIMENTAL_LOGGING":   "true",
		"GOOGLE_APPLICATION_CREDENTIALS":       "/nonexistent",
		"GOOGLE_API_USE_CLIENT_CERTIFICATE":    "true",
		"GOOGLE_API_CERTIFICATE_CONFIG":        "/nonexistent",
		"GOOGLE_API_GO_EXPERIMENTAL_TELEMETRY": "true",
	} {
		t.Setenv(name, value)
	}
	gax.TestOnlyResetIsFeatureEnabled()
	t.Cleanup(gax.TestOnlyResetIsFeatureEnabled)
	w := onLoopback(t)
	w.mustGet(t, request(alice))
	w.iam.fail(503, "down")
	_, err := w.Token(t.Context(), request(bob))
	wantReason(t, err, MintUnavailable)
	if got := w.iam.seen()[0].Bearer; got != baseMarker+".1" {
		t.Errorf("called with %q, want the agent's own token", got)
	}
}

func TestEndpoints(t *testing.T) {
	good := map[string]string{
		"":                                      "https://iamcredentials.googleapis.com",
		"https://iamcredentials-psc.p.example":  "https://iamcredentials-psc.p.example",
		"https://iamcredentials-psc.p.example/": "https://iamcredentials-psc.p.example",
		"https://10.0.0.5:8443":                 "https://10.0.0.5:8443",
		"http://127.0.0.1:8080":                 "http://127.0.0.1:8080",
		"http://[::1]:8080":                     "http://[::1]:8080",
		"http://localhost:8080":                 "http://localhost:8080",
	}
	for endpoint, want := range good {
		if got, err := checkEndpoint(endpoint, "iamcredentials", ""); got != want || err != nil {
			t.Errorf("checkEndpoint(%q) = %q, %v, want %q", endpoint, got, err, want)
		}
	}
	for _, endpoint := range []string{
		"iamcredentials.googleapis.com", "http://10.0.0.5", "http://iam.example", "http://localhost.example", "ftp://127.0.0.1", "https://",
		"https://u:PASSWORD@iam.example", "https://iam.example/v1", "https://iam.example?x=y", "https://iam.example#x", "::PASSWORD", "https:///x",
		"https://iam.example:PASSWORD",
	} {
		got, err := checkEndpoint(endpoint, "iamcredentials", "")
		if err == nil || got != "" {
			t.Errorf("checkEndpoint(%q) = %q, want an error", endpoint, got)
		} else if strings.Contains(err.Error(), "PASSWORD") {
			t.Errorf("checkEndpoint(%q): %v repeats the password", endpoint, err)
		}
	}
}

func TestNewRefusesMissingParts(t *testing.T) {
	base := newFakeBase()
	for name, c := range map[string]Config{
		"no base":              {},
		"negative entries":     {Base: base.token, Entries: -1},
		"an endpoint in clear": {Base: base.token, Endpoint: "http://iam.example"},
	} {
		if s, err := New(c); err == nil || s != nil {
			t.Errorf("%s: New succeeds, want an error", name)
		}
	}
	if base.count() > 0 {
		t.Error("a Source that could not be made asked for a token")
	}
}

// A server that repeats the agent's own token, a Base that fails with it, every way in which a token can be met: nothing prints one.
func TestNoSecretIsPrinted(t *testing.T) {
	log := &lockedBuffer{}
	stderr := captureStderr(t)
	var mu sync.Mutex
	printed := map[string]string{}
	note := func(what string, values ...any) {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range values {
			printed[what] += fmt.Sprintf("%v %+v %#v %s %q", v, v, v, v, v)
			if e, ok := v.(error); ok {
				printed[what] += e.Error()
			}
		}
	}
	base := newFakeBase()
	w := onLoopback(t, func(c *Config) {
		c.Base = base.token
		c.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.OnMint = func(account string, _ time.Duration, err error) { note("OnMint", account, err) }
	})
	echo := func(status int) {
		w.iam.set(func(rw http.ResponseWriter, r *http.Request, _ call) bool {
			sendStatus(rw, status, "refused "+r.Header.Get("Authorization")+" and "+mintMarker, map[string]any{
				"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED",
				"metadata": map[string]string{"consumer": r.Header.Get("Authorization")},
			})
			return true
		})
	}
	token, err := w.Token(t.Context(), request(alice))
	note("token", token, &token, err)
	for i, status := range []int{400, 401, 403, 404, 429, 500, 503} {
		echo(status)
		_, err := w.Token(t.Context(), request(fmt.Sprintf("a%d@team.iam.gserviceaccount.com", i)))
		note("error", err)
	}
	w.Keep([]Request{request(bob), request(carol)})
	note("warm", w.Warm(t.Context(), []Request{request(bob), request(carol)}))
	for _, s := range w.Status() {
		note("status", s)
	}
	note("own", w.Own())
	note("source", w.Source, w.own)
	failing := onLoopback(t, func(c *Config) {
		c.Base = func(context.Context) (Token, error) {
			return Token{Value: secret.New(baseMarker)}, errors.New("the server said " + baseMarker)
		}
	})
	_, err = failing.Token(t.Context(), request(alice))
	note("base", err)
	w.Close()
	printed["log"], printed["stderr"] = log.String(), stderr()
	for what, text := range printed {
		for _, marker := range []string{baseMarker, "BASE-MARKER"} {
			if strings.Contains(text, marker) {
				t.Errorf("%s holds the agent's own token:\n%s", what, text)
			}
		}
		if strings.Contains(text, mintMarker) {
			t.Errorf("%s holds a minted token:\n%s", what, text)
		}
	}
}

// captureStderr collects what is written to os.Stderr until the function it returns is called.
func captureStderr(t *testing.T) func() string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	original := os.Stderr
	os.Stderr = w
	t.Cleanup(func() { os.Stderr = original })
	text := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		text <- string(b)
	}()
	return func() string {
		os.Stderr = original
		_ = w.Close()
		return <-text
	}
}
