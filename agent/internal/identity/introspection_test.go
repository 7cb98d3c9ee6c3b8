package identity

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/secret"
)

const (
	clientID     = "gateway:1"
	clientSecret = "s3cret /+&=é"
	opaqueToken  = "opaque-MARKER-of-a-token"
)

// introspectionServer is an issuer's introspection endpoint behind TLS.
type introspectionServer struct {
	*httptest.Server
	questions atomic.Int64
	answer    atomic.Pointer[http.HandlerFunc]
	caFile    string
}

func newIntrospectionServer(t testing.TB) *introspectionServer {
	t.Helper()
	s := &introspectionServer{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.questions.Add(1)
		(*s.answer.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.caFile = tempFile(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	return s
}

func (s *introspectionServer) respond(h http.HandlerFunc) { s.answer.Store(&h) }

func (s *introspectionServer) say(o object) {
	s.respond(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, o)
	})
}

func (s *introspectionServer) config(t testing.TB) Introspection {
	return Introspection{
		URL: s.URL + "/introspect", ClientID: clientID, ClientSecretFile: tempFile(t, "client-secret", clientSecret+"\n"),
		CAFile: s.caFile, CacheFor: 30 * time.Second, Opaque: true,
	}
}

var introspectedIssuer = Issuer{Name: "corp", URL: "https://idp.example", Audiences: []string{"vertex", "other"}, Leeway: defaultLeeway}

// newTestIntrospector returns an introspector with more time than it would have, for machines under load.
func newTestIntrospector(t testing.TB, c Introspection) *introspector {
	t.Helper()
	n, err := newIntrospector(c, introspectedIssuer, &http.Client{})
	if err != nil {
		t.Fatal(err)
	}
	n.timeout = patience
	t.Cleanup(n.close)
	return n
}

// patience is what a question over a socket may take where it is not the point how long that is.
const patience = 30 * time.Second

// askPatiently gives the introspectors of a verifier that nobody uses yet more time than they would have, for machines under load.
func askPatiently(v *Verifier) {
	for _, i := range v.issuers {
		if i.introspector != nil {
			i.introspector.timeout = patience
		}
	}
}

// active is an answer that says everything.
func active() object {
	return object{
		"active": true, "iss": "https://idp.example", "sub": "alice", "aud": "vertex", "jti": "t1", "exp": now.Unix() + 300, "iat": now.Unix() - 10,
		"client_id": "cli", "token_type": "Bearer", "scope": "a b",
	}
}

// ownClaims are those of the token that active speaks of.
func ownClaims(t testing.TB) *claims {
	t.Helper()
	c := &claims{all: map[string]any{"iss": "https://idp.example", "sub": "alice", "jti": "t1", "aud": "vertex", "exp": now.Unix() + 300}}
	if err := c.typed(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIntrospectionAsks(t *testing.T) {
	s := newIntrospectionServer(t)
	s.respond(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		want := []string{
			"POST", "/introspect", "application/x-www-form-urlencoded", "application/json", "gateway%3A1", "s3cret+%2F%2B%26%3D%C3%A9", opaqueToken, "access_token", "",
		}
		got := []string{
			r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("Accept"), user, password,
			r.PostFormValue("token"), r.PostFormValue("token_type_hint"), r.Header.Get("Idempotency-Key"),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("question (-want +got):\n%s", diff)
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = fmt.Fprint(w, active())
	})
	n := newTestIntrospector(t, s.config(t))
	who, until, err := n.resolve(context.Background(), secret.New(opaqueToken), nil, now)
	if err != nil {
		t.Fatal(err)
	}
	want := []any{"https://idp.example", "alice", "t1", []string{"vertex"}, now.Unix() + 300, "a b", now.Add(30 * time.Second)}
	got := []any{who.issuer, who.subject, who.id, []string(who.audience), who.expiry.Unix(), who.all["scope"], until}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("caller (-want +got):\n%s", diff)
	}
}

func TestIntrospectionAnswers(t *testing.T) {
	mine := read(t, deviceCA().issue(t, nil))
	other := read(t, deviceCA().issue(t, nil))
	bound := object{"x5t#S256": mine.thumbprint}
	for _, c := range []struct {
		name    string
		answer  object
		c       *certificate
		confirm Reason // of a JWT
		resolve Reason // of an opaque token
	}{
		{"everything", active(), nil, "", ""},
		{"that it is active", object{"active": true}, nil, "", ClaimMissing},
		{"that it is not active", object{"active": false}, nil, TokenInactive, TokenInactive},
		{"that it is not active, and more", active().with("active", false), nil, TokenInactive, TokenInactive},
		{"nothing", object{}, nil, IntrospectionUnavailable, IntrospectionUnavailable},
		{"active as a text", active().with("active", "true"), nil, IntrospectionUnavailable, IntrospectionUnavailable},
		{"active as a number", active().with("active", 1), nil, IntrospectionUnavailable, IntrospectionUnavailable},
		{"null for active", active().with("active", nil), nil, IntrospectionUnavailable, IntrospectionUnavailable},
		{"Active", active().with("active", absent, "Active", true), nil, IntrospectionUnavailable, IntrospectionUnavailable},
		{"another issuer", active().with("iss", "https://evil.example"), nil, IntrospectionMismatch, IntrospectionMismatch},
		{"the issuer with a slash", active().with("iss", "https://idp.example/"), nil, IntrospectionMismatch, IntrospectionMismatch},
		{"an empty issuer", active().with("iss", ""), nil, IntrospectionMismatch, IntrospectionMismatch},
		{"an issuer that is no text", active().with("iss", 1), nil, IntrospectionUnavailable, IntrospectionUnavailable},
		{"no issuer", active().with("iss", absent), nil, "", ""},
		{"another subject", active().with("sub", "bob"), nil, IntrospectionMismatch, ""},
		{"no subject", active().with("sub", absent), nil, "", ""}, // the issuer's mapping may take another claim
		{"an empty subject", active().with("sub", ""), nil, IntrospectionMismatch, ""},
		{"a subject with a line break", active().with("sub", "a\nb"), nil, IntrospectionUnavailable, IntrospectionUnavailable},
		{"another token id", active().with("jti", "t2"), nil, IntrospectionMismatch, ""},
		{"another audience", active().with("aud", "somebody"), nil, WrongAudience, WrongAudience},
		{"audiences among which is ours", active().with("aud", []string{"somebody", "other"}), nil, "", ""},
		{"no audience", active().with("aud", absent), nil, "", ClaimMissing},
		{"an empty list of audiences", active().with("aud", []string{}), nil, IntrospectionUnavailable, IntrospectionUnavailable},
		{"an expiry that has passed within the leeway", active().with("exp", now.Unix()-29), nil, "", ""},
		{"an expiry that has passed", active().with("exp", now.Unix()-30), nil, TokenExpired, TokenExpired},
		{"an expiry as a text", active().with("exp", "9999999999"), nil, IntrospectionUnavailable, IntrospectionUnavailable},
		{"no expiry", active().with("exp", absent), nil, "", ClaimMissing},
		{"a beginning in the future", active().with("nbf", now.Unix()+31), nil, TokenNotYetValid, TokenNotYetValid},
		{"an issue in the future", active().with("iat", now.Unix()+31), nil, TokenNotYetValid, TokenNotYetValid},
		{"a refresh token", active().with("token_type", "refresh_token"), nil, "", TokenType},
		{"a DPoP token without its key", active().with("token_type", "DPoP"), nil, "", TokenType},
		{"bearer in lower case", active().with("token_type", "bearer"), nil, "", ""},
		{"a binding to the certificate", active().with("cnf", bound), mine, "", ""},
		{"a binding to the certificate, which is another", active().with("cnf", bound), other, BindingMismatch, BindingMismatch},
		{"a binding to a certificate that is not there", active().with("cnf", bound), nil, BindingMismatch, BindingMismatch},
		{"a binding to a DPoP key", active().with("cnf", object{"jkt": "x"}), mine, BindingUnsupported, BindingUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newIntrospectionServer(t)
			s.say(c.answer)
			n := newTestIntrospector(t, s.config(t))
			for range 2 { // the second time from memory
				until, err := n.confirm(context.Background(), secret.New("a.b.c"), ownClaims(t), c.c, now)
				if reasonOf(t, err) != c.confirm || (err == nil) == until.IsZero() {
					t.Errorf("a JWT: got %v, %v, want %q", until, err, c.confirm)
				}
				who, until, err := n.resolve(context.Background(), secret.New("a.b.c"), c.c, now)
				if reasonOf(t, err) != c.resolve || (err == nil) == until.IsZero() || (err == nil) == (who == nil) {
					t.Errorf("an opaque token: got %v, %v, %v, want %q", who, until, err, c.resolve)
				}
			}
		})
	}
}

func TestIntrospectionFailsClosed(t *testing.T) {
	trusted := newIntrospectionServer(t)
	body := func(status int, kind, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, text)
		}
	}
	good := active().String()
	thief := newIntrospectionServer(t)
	thief.say(active())
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"500", body(500, "application/json", good)},
		{"401, for our own credential", body(401, "application/json", good)},
		{"201", body(201, "application/json", good)},
		{"204", body(204, "application/json", "")},
		{"HTML", body(200, "text/html", good)},
		{"a JWT", body(200, "application/token-introspection+jwt", good)},
		{"no content type", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = fmt.Fprint(w, good)
		}},
		{"nothing", body(200, "application/json", "")},
		{"half of it", body(200, "application/json", good[:len(good)-1])},
		{"two documents", body(200, "application/json", good+good)},
		{"active twice", body(200, "application/json", `{"active":false,"active":true}`)},
		{"a list", body(200, "application/json", "["+good+"]")},
		{"more than 16 KiB", body(200, "application/json", good+strings.Repeat(" ", maxAnswer))},
		{"less than it announced", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", fmt.Sprint(len(good)+1))
			_, _ = fmt.Fprint(w, good)
		}},
		{"nothing in time", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // before that, the server does not see that the client has gone
			<-r.Context().Done()
		}},
		{"headers and nothing more in time", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}},
		{"a closed connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"a redirect to itself", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/introspect", http.StatusTemporaryRedirect)
		}},
		{"a redirect to another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			trusted.respond(c.answer)
			n := newTestIntrospector(t, trusted.config(t))
			n.timeout = introspectionTimeout
			var logged strings.Builder
			start := time.Now()
			_, err := n.confirm(context.Background(), secret.New(opaqueToken), ownClaims(t), nil, now)
			if reasonOf(t, err) != IntrospectionUnavailable {
				t.Fatalf("got %v, want %s", err, IntrospectionUnavailable)
			}
			if took := time.Since(start); took > 30*time.Second { // of the real clock, on a machine that may be busy
				t.Errorf("it took %v", took)
			}
			slog.New(slog.NewTextHandler(&logged, nil)).Error("refused", "error", err)
			for _, text := range []string{opaqueToken, "MARKER", clientSecret, "s3cret"} {
				if strings.Contains(logged.String(), text) || strings.Contains(fmt.Sprintf("%#v", err), text) {
					t.Errorf("the error holds a secret: %v", err)
				}
			}
			if len(n.flights) != 0 || n.active.young != nil || n.inactive.young != nil {
				t.Error("a failure is remembered")
			}
		})
	}
	if thief.questions.Load() != 0 {
		t.Error("token and secret were sent to another host")
	}
}

func TestIntrospectionNeedsTheRightPeerAndSecret(t *testing.T) {
	s := newIntrospectionServer(t)
	s.say(active())
	ask := func(t *testing.T, change func(*Introspection)) error {
		t.Helper()
		c := s.config(t)
		change(&c)
		_, err := newTestIntrospector(t, c).confirm(context.Background(), secret.New("a.b.c"), ownClaims(t), nil, now)
		return err
	}
	if err := ask(t, func(*Introspection) {}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Introspection){
		"a CA that does not vouch for it": func(c *Introspection) { c.CAFile = caFile(t, otherCA()) },
		"the system's CAs":                func(c *Introspection) { c.CAFile = "" },
		"a secret that is not there":      func(c *Introspection) { c.ClientSecretFile = "/does/not/exist" },
		"an empty secret":                 func(c *Introspection) { c.ClientSecretFile = tempFile(t, "s", "\n") },
		"a huge secret":                   func(c *Introspection) { c.ClientSecretFile = tempFile(t, "s", strings.Repeat("x", 5000)) },
		"nobody at the address":           func(c *Introspection) { c.URL = "http://127.0.0.1:1/" },
	} {
		t.Run(name, func(t *testing.T) {
			if err := ask(t, change); reasonOf(t, err) != IntrospectionUnavailable {
				t.Errorf("got %v, want %s", err, IntrospectionUnavailable)
			}
		})
	}
}

func TestIntrospectionTakesAReplacedSecret(t *testing.T) {
	s := newIntrospectionServer(t)
	var got atomic.Pointer[string]
	s.respond(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		got.Store(&password)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, active())
	})
	c := s.config(t)
	n := newTestIntrospector(t, c)
	for i, want := range []string{"first", "second"} {
		writeFile(t, c.ClientSecretFile, want)
		if _, err := n.confirm(context.Background(), secret.New(fmt.Sprint(i)), ownClaims(t), nil, now); err != nil || *got.Load() != want {
			t.Errorf("got %q, %v, want %q", *got.Load(), err, want)
		}
	}
}

func TestIntrospectionRefusesToLoad(t *testing.T) {
	good := Introspection{URL: "https://idp.example/i", ClientID: "a", ClientSecretFile: "/f"}
	if err := good.validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Introspection){
		"no address":              func(c *Introspection) { c.URL = "" },
		"plain http":              func(c *Introspection) { c.URL = "http://idp.example/i" },
		"a secret in the address": func(c *Introspection) { c.URL = "https://a:b@idp.example/i" },
		"no client id":            func(c *Introspection) { c.ClientID = "" },
		"no secret file":          func(c *Introspection) { c.ClientSecretFile = "" },
		"two minutes":             func(c *Introspection) { c.CacheFor = 2 * time.Minute },
		"less than nothing":       func(c *Introspection) { c.CacheFor = -1 },
		"a CA file without CA":    func(c *Introspection) { c.CAFile = tempFile(t, "e.pem", "") },
	} {
		c := good
		change(&c)
		if err := c.validate(); err == nil || !strings.HasPrefix(err.Error(), "introspection: ") {
			t.Errorf("%s: got %v, want an error", name, err)
		}
		if n, err := newIntrospector(c, introspectedIssuer, &http.Client{}); err == nil || n != nil {
			t.Errorf("%s: got %v, %v, want an error", name, n, err)
		}
	}
}

// simulatedEndpoint answers questions without a socket, for tests in which time is simulated.
type simulatedEndpoint struct {
	mu    sync.Mutex
	reply func(*http.Request) (*http.Response, error)
	asked int
}

func newSimulatedEndpoint(t *testing.T, cacheFor time.Duration) (*simulatedEndpoint, *introspector) {
	t.Helper()
	s := &simulatedEndpoint{}
	s.say(active().with("exp", time.Now().Unix()+300, "iat", absent))
	client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		s.mu.Lock()
		s.asked++
		reply := s.reply
		s.mu.Unlock()
		return reply(r)
	})}
	c := Introspection{URL: "https://idp.example/i", ClientID: "a", ClientSecretFile: tempFile(t, "secret", "x"), CacheFor: cacheFor}
	n, err := newIntrospector(c, introspectedIssuer, client)
	if err != nil {
		t.Fatal(err)
	}
	return s, n
}

func (s *simulatedEndpoint) answer(reply func(*http.Request) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = reply
}

func (s *simulatedEndpoint) say(o object) {
	s.answer(always(200, o.String(), "Content-Type", "application/json"))
}

func (s *simulatedEndpoint) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func TestIntrospectionRemembers(t *testing.T) {
	for _, c := range []struct {
		name     string
		cacheFor time.Duration
		answer   object // with exp in seconds from now
		exp      int64
		reused   time.Duration // at the last moment
		again    time.Duration // asked again
	}{
		{"an active token for 30 s", 0, active(), 300, 30*time.Second - 1, 30 * time.Second},
		{"an active token for as long as configured", time.Minute, active(), 300, time.Minute - 1, time.Minute},
		{"an active token until it expires", time.Minute, active(), 20, 20*time.Second - 1, 20 * time.Second},
		{"an inactive token for 5 s", time.Minute, object{"active": false}, 0, 5*time.Second - 1, 5 * time.Second},
		{"an inactive token for no longer than configured", time.Second, object{"active": false}, 0, time.Second - 1, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := newSimulatedEndpoint(t, c.cacheFor)
				start := time.Now()
				if c.exp > 0 {
					c.answer = c.answer.with("exp", start.Unix()+c.exp, "iat", absent)
				}
				s.say(c.answer)
				ask := func() (time.Time, error) {
					return n.confirm(context.Background(), secret.New("a.b.c"), ownClaims(t), nil, time.Now())
				}
				until, first := ask()
				if first == nil && until.Sub(start) != c.again {
					t.Errorf("may be relied on for %v, want %v", until.Sub(start), c.again)
				}
				<-time.After(c.reused)
				if _, err := ask(); s.questions() != 1 || reasonOf(t, err) != reasonOf(t, first) {
					t.Errorf("after %v: %d questions, %v, want the first answer, %v", c.reused, s.questions(), err, first)
				}
				<-time.After(c.again - c.reused)
				if _, err := ask(); s.questions() != 2 {
					t.Errorf("after %v: %d questions, %v, want it asked again", c.again, s.questions(), err)
				}
			})
		})
	}
}

func TestIntrospectionOfARevokedTokenEndsWithItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSimulatedEndpoint(t, 0)
		ask := func() error {
			_, err := n.confirm(context.Background(), secret.New("a.b.c"), ownClaims(t), nil, time.Now())
			return err
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		s.answer(unreachable)
		<-time.After(defaultCacheFor)
		if err := ask(); reasonOf(t, err) != IntrospectionUnavailable {
			t.Errorf("while the issuer is down: got %v, want %s", err, IntrospectionUnavailable)
		}
		s.say(object{"active": false})
		if err := ask(); reasonOf(t, err) != TokenInactive {
			t.Errorf("after it is back: got %v, want %s", err, TokenInactive)
		}
	})
}

// However many requests carry one token, the issuer is asked once; and the request that asks may give up without hurting the others.
func TestIntrospectionIsSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSimulatedEndpoint(t, 0)
		exp := time.Now().Unix() + 300
		s.answer(func(r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(100 * time.Millisecond):
				return respond(200, active().with("exp", exp, "iat", absent).String(), "Content-Type", "application/json"), nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		var group sync.WaitGroup
		var allowed atomic.Int64
		first, giveUp := context.WithCancel(context.Background())
		ask := func(ctx context.Context) {
			if _, err := n.confirm(ctx, secret.New("a.b.c"), ownClaims(t), nil, time.Now()); err == nil {
				allowed.Add(1)
			} else if reasonOf(t, err) != IntrospectionUnavailable || !errors.Is(err, ctx.Err()) {
				t.Errorf("got %v, want %s and its context's error", err, IntrospectionUnavailable)
			}
		}
		group.Go(func() { ask(first) })
		synctest.Wait()
		for range 50 {
			group.Go(func() { ask(context.Background()) })
		}
		group.Go(func() { ask(first) })
		synctest.Wait()
		giveUp()
		group.Wait()
		if s.questions() != 1 || allowed.Load() < 50 {
			t.Errorf("%d questions, %d of 50 allowed, want 1 question", s.questions(), allowed.Load())
		}
	})
}

// A caller that must not wait does not, and what it did not wait for is asked for by the next who may.
func TestIntrospectionDoesNotWaitWhenTheContextIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSimulatedEndpoint(t, 0)
		exp := time.Now().Unix() + 300
		s.answer(func(*http.Request) (*http.Response, error) {
			<-time.After(200 * time.Millisecond)
			return respond(200, active().with("exp", exp, "iat", absent).String(), "Content-Type", "application/json"), nil
		})
		done, cancel := context.WithCancel(t.Context())
		cancel()
		ask := func(ctx context.Context) (time.Duration, error) {
			begin := time.Now()
			_, err := n.confirm(ctx, secret.New("a.b.c"), ownClaims(t), nil, begin)
			return time.Since(begin), err
		}
		for range 2 {
			if took, err := ask(done); took != 0 || !errors.Is(err, context.Canceled) || reasonOf(t, err) != IntrospectionUnavailable {
				t.Errorf("nothing in hand: %v after %v, want the context's error at once", err, took)
			}
		}
		if s.questions() != 0 {
			t.Errorf("%d questions of callers who do not wait for the answer", s.questions())
		}
		if took, err := ask(t.Context()); err != nil || took != 200*time.Millisecond {
			t.Errorf("a caller who may wait: %v after %v", err, took)
		}
		for range 20 {
			if took, err := ask(done); err != nil || took != 0 {
				t.Fatalf("with the answer in hand: %v after %v, want none at once", err, took)
			}
		}
	})
}

// What many bad tokens can do to the endpoint is bounded, and it does not make good ones forgotten.
func TestIntrospectionUnderAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSimulatedEndpoint(t, time.Minute)
		if _, err := n.confirm(context.Background(), secret.New("good"), ownClaims(t), nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		s.answer(hang)
		var group sync.WaitGroup
		var busy atomic.Int64
		for i := range 10 * maxQuestions {
			group.Go(func() {
				start := time.Now()
				_, err := n.confirm(context.Background(), secret.New(fmt.Sprint(i)), ownClaims(t), nil, start)
				if reasonOf(t, err) != IntrospectionUnavailable {
					t.Errorf("got %v, want %s", err, IntrospectionUnavailable)
				}
				switch time.Since(start) {
				case 0:
					busy.Add(1)
				case introspectionTimeout:
				default:
					t.Errorf("it took %v", time.Since(start))
				}
			})
		}
		group.Wait()
		if asked := s.questions() - 1; asked != maxQuestions || busy.Load() != 9*maxQuestions {
			t.Errorf("%d questions, %d refused at once, want %d and %d", asked, busy.Load(), maxQuestions, 9*maxQuestions)
		}
		s.say(object{"active": false})
		for i := range 3 * maxAnswers {
			<-time.After(6 * time.Millisecond) // slower than bad answers are allowed for
			if _, err := n.confirm(context.Background(), secret.New(fmt.Sprint(i)), ownClaims(t), nil, time.Now()); reasonOf(t, err) != TokenInactive {
				t.Fatalf("got %v, want %s", err, TokenInactive)
			}
		}
		before := s.questions()
		if _, err := n.confirm(context.Background(), secret.New("good"), ownClaims(t), nil, time.Now()); err != nil || s.questions() != before {
			t.Errorf("the good token: got %v after %d further questions", err, s.questions()-before)
		}
		if held := len(n.inactive.young) + len(n.inactive.old); held > 2*maxAnswers {
			t.Errorf("%d inactive tokens are remembered, more than %d", held, 2*maxAnswers)
		}
	})
}

// Guessing at tokens does not make the issuer work for the guesser: bad answers have a budget, which good ones do not spend.
func TestIntrospectionOfGuessesHasABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSimulatedEndpoint(t, time.Minute)
		guesses := 0
		guess := func(times int) (unavailable int) {
			for range times {
				guesses++
				_, err := n.confirm(context.Background(), secret.New(fmt.Sprint(guesses)), ownClaims(t), nil, time.Now())
				if reasonOf(t, err) == IntrospectionUnavailable {
					unavailable++
				}
			}
			return unavailable
		}
		if got := guess(2 * maxGuesses); got != 0 || s.questions() != 2*maxGuesses {
			t.Errorf("good tokens: %d refused, %d questions; they have no budget", got, s.questions())
		}
		s.say(object{"active": false})
		before := s.questions()
		if got := guess(2 * maxGuesses); got != maxGuesses || s.questions()-before != maxGuesses {
			t.Errorf("%d refused, %d questions, want %d of each", got, s.questions()-before, maxGuesses)
		}
		<-time.After(time.Second)
		before = s.questions()
		if got := guess(2 * maxGuesses); s.questions()-before != guessesPerSecond || got != 2*maxGuesses-guessesPerSecond {
			t.Errorf("a second later: %d refused, %d questions, want %d questions", got, s.questions()-before, guessesPerSecond)
		}
		<-time.After(time.Hour)
		before = s.questions()
		if guess(2 * maxGuesses); s.questions()-before != maxGuesses {
			t.Errorf("an hour later: %d questions, want %d", s.questions()-before, maxGuesses)
		}
	})
}

func FuzzIntrospectionAnswer(f *testing.F) {
	f.Add(active().String())
	f.Add(`{"active":false}`)
	f.Add(active().with("cnf", object{"x5t#S256": opensslThumbprint}).String())
	f.Add(`{"active":true,"active":false}`)
	n, err := newIntrospector(Introspection{URL: "https://idp.example/i", ClientID: "a", ClientSecretFile: "/f"}, introspectedIssuer, &http.Client{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		a, err := n.read([]byte(body), now)
		if err != nil {
			if r := reasonOf(t, err); a != nil || r != TokenInactive && r != IntrospectionUnavailable {
				t.Errorf("got %v, %v", a, err)
			}
			return
		}
		if a.all["active"] != true || a.until.After(now.Add(maxCacheFor)) {
			t.Errorf("accepted %q until %v", body, a.until)
		}
		if _, err := n.accept(a, nil, now); err == nil && a.all["cnf"] != nil {
			t.Errorf("accepted %q without its certificate", body)
		}
	})
}

func BenchmarkIntrospectionFromMemory(b *testing.B) {
	s := newIntrospectionServer(b)
	s.say(active())
	n := newTestIntrospector(b, s.config(b))
	token, own := secret.New(strings.Repeat("a", 1000)), ownClaims(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := n.confirm(context.Background(), token, own, nil, now); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
