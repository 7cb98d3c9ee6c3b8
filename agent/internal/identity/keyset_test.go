package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/secret"
)

// simulated is an identity provider inside a synctest bubble, where time.Sleep moves a simulated clock. It records when it is asked.
type simulated struct {
	start time.Time

	mu    sync.Mutex
	reply func(*http.Request) (*http.Response, error)
	calls []time.Duration // since start
}

const simulatedURL = "https://idp.example"

// newSimulated returns a provider with the given reply and options that lead to it.
func newSimulated(t *testing.T, reply func(*http.Request) (*http.Response, error)) (*simulated, Options) {
	s := &simulated{start: time.Now(), reply: reply}
	o := options(t)
	o.Client = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		s.mu.Lock()
		s.calls = append(s.calls, time.Since(s.start))
		reply := s.reply
		s.mu.Unlock()
		return reply(r)
	})}
	return s, o
}

func (s *simulated) answer(reply func(*http.Request) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = reply
}

func (s *simulated) issuer() Issuer {
	return Issuer{Name: "corp", URL: simulatedURL, Audiences: []string{"vertex"}, JWKSURL: simulatedURL + "/keys"}
}

func (s *simulated) fetches() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func always(status int, body string, header ...string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return respond(status, body, header...), nil }
}

func unreachable(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

// hang answers when the request is given up.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// tokenOf returns a bearer token of the simulated provider with that kid, valid at the time in the bubble.
func tokenOf(iss, kid string) string {
	claims := object{"iss": iss, "sub": "alice", "aud": "vertex", "exp": time.Now().Add(time.Hour).Unix()}
	return compact("ES256", p256Private(), object{"alg": "ES256", "kid": kid}.String(), claims.String())
}

func verify(t testing.TB, v *Verifier, kid string) Reason {
	t.Helper()
	_, err := v.Verify(t.Context(), bearerOf(tokenOf(simulatedURL, kid)), time.Now())
	return reasonOf(t, err)
}

func set(kids ...string) string {
	var keys []object
	for _, kid := range kids {
		keys = append(keys, jwk(p256Private(), kid))
	}
	return jwks(keys...)
}

func within(got, low, high time.Duration) bool { return got >= low && got <= high }

func TestKeysAreRefreshedWhenTheDocumentSaysSo(t *testing.T) {
	for header, want := range map[string]struct{ low, high time.Duration }{
		"":                               {270 * time.Second, 300 * time.Second},
		"max-age=600":                    {540 * time.Second, 600 * time.Second},
		"public, MAX-AGE=600, immutable": {540 * time.Second, 600 * time.Second},
		"max-age=1":                      {60 * time.Second, 66 * time.Second},
		"max-age=0":                      {60 * time.Second, 66 * time.Second},
		"no-store":                       {60 * time.Second, 66 * time.Second},
		"max-age=soon":                   {60 * time.Second, 66 * time.Second},
		"max-age=86400":                  {3240 * time.Second, 3600 * time.Second},
		"max-age=99999999999999999999":   {60 * time.Second, 66 * time.Second},
	} {
		t.Run(header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, o := newSimulated(t, always(200, set("a"), "Cache-Control", header))
				newVerifier(t, o, s.issuer())
				<-time.After(3 * time.Hour) // simulated
				calls := s.fetches()
				if len(calls) < 3 {
					t.Fatalf("%d fetches in 3 h, want more", len(calls))
				}
				spread := map[time.Duration]bool{}
				for i := 1; i < len(calls); i++ {
					pause := calls[i] - calls[i-1]
					spread[pause] = true
					if !within(pause, want.low, want.high) {
						t.Errorf("pause %v, want %v to %v", pause, want.low, want.high)
					}
				}
				if len(spread) < 2 {
					t.Error("all pauses are equal, want jitter")
				}
			})
		})
	}
}

func TestFailedFetchIsRetriedEverMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, unreachable)
		v := newVerifier(t, o, s.issuer())
		<-time.After(10 * time.Minute)
		calls := s.fetches()
		for i, full := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			pause := calls[i+1] - calls[i]
			if full *= time.Second; !within(pause, full-full/10, full) {
				t.Errorf("pause %d = %v, want a little less than %v", i, pause, full)
			}
		}
		s.answer(always(200, set("a")))
		<-time.After(time.Minute)
		synctest.Wait()
		if got := verify(t, v, "a"); got != "" {
			t.Errorf("once the issuer is back: reason = %q, want none", got)
		}
	})
}

func TestUnreachableIssuerIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, unreachable)
		v := newVerifier(t, o, s.issuer())
		if got, want := verify(t, v, "a"), IssuerUnavailable; got != want {
			t.Errorf("reason = %q, want %q", got, want)
		}
		want := []IssuerStatus{{Name: "corp", Error: `get key set: from host "idp.example": connection refused`, Failures: 2}}
		got := v.Status()
		if pause := got[0].NextRefresh; pause <= time.Second || pause > 2*time.Second {
			t.Errorf("next refresh in %v, want after 2 s or a little less", pause)
		}
		got[0].NextRefresh = 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Status (-want +got):\n%s", diff)
		}
		if got := v.Generation("corp"); got != 0 {
			t.Errorf("Generation = %d, want 0", got)
		}
	})
}

func TestKeysServeADayAfterTheIssuerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, always(200, set("a")))
		v := newVerifier(t, o, s.issuer())
		s.answer(unreachable)
		<-time.After(24*time.Hour - time.Second)
		if got := verify(t, v, "a"); got != "" {
			t.Errorf("within the day: reason = %q, want none", got)
		}
		if got := v.Status()[0]; !got.Usable || got.Keys != 1 || got.Error == "" || got.Age < 23*time.Hour {
			t.Errorf("within the day: Status = %+v, want usable, 1 key, an error and its age", got)
		}
		<-time.After(2 * time.Second)
		if got, want := verify(t, v, "a"), IssuerUnavailable; got != want {
			t.Errorf("after the day: reason = %q, want %q", got, want)
		}
		if got := v.Status()[0]; got.Usable || v.Generation("corp") != 0 {
			t.Errorf("after the day: Status = %+v, Generation = %d, want not usable, 0", got, v.Generation("corp"))
		}
	})
}

// A document that does not have a single usable key says that the issuer is broken, not that its keys are gone.
func TestBadDocumentDoesNotReplaceGoodKeys(t *testing.T) {
	many := make([]string, 201)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for name, reply := range map[string]func(*http.Request) (*http.Response, error){
		"a server error":            always(500, set("b")),
		"no content":                always(204, ""),
		"an HTML page":              always(200, "<html>"),
		"an empty object":           always(200, "{}"),
		"an error object":           always(200, `{"error":"x"}`),
		"no keys":                   always(200, `{"keys":[]}`),
		"null":                      always(200, `null`),
		"keys in capitals":          always(200, strings.Replace(set("b"), "keys", "KEYS", 1)),
		"keys that are no list":     always(200, `{"keys":{}}`),
		"keys that are null":        always(200, `{"keys":null}`),
		"keys of no known kind":     always(200, `{"keys":[1,null,"x",[],{"kty":"oct","k":"AAAA"}]}`),
		"half a document":           always(200, set("b")[:50]),
		"two lists of keys":         always(200, strings.Replace(set("b"), "{", `{"\u006beys":[],`, 1)),
		"two documents":             always(200, set("b")+set("b")),
		"more than 200 keys":        always(200, set(many...)),
		"a document over 512 KiB":   always(200, set("b")+strings.Repeat(" ", 512<<10)),
		"two different keys as one": always(200, jwks(jwk(p256Private(), "b"), jwk(otherP256(), "b"))),
		"a silent peer":             hang,
		"a redirect elsewhere":      always(302, "", "Location", "https://evil.example/keys"),
		"a redirect without TLS":    always(302, "", "Location", "http://idp.example/keys"),
		"a redirect in a circle":    always(302, "", "Location", "/keys"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hosts sync.Map
				s, o := newSimulated(t, always(200, set("a")))
				var fetched []string
				o.OnKeys = func(issuer string, keys int, err error) {
					fetched = append(fetched, fmt.Sprint(issuer, " ", keys, " ", err == nil))
				}
				v := newVerifier(t, o, s.issuer())
				before := v.Generation("corp")
				s.answer(func(r *http.Request) (*http.Response, error) {
					hosts.Store(r.URL.Scheme+"://"+r.URL.Host, true)
					return reply(r)
				})
				<-time.After(6 * time.Minute)
				synctest.Wait()
				if got := verify(t, v, "a"); got != "" {
					t.Errorf("reason = %q, want none: the old keys stay", got)
				}
				if got := v.Status()[0]; got.Error == "" || got.Keys != 1 {
					t.Errorf("Status = %+v, want 1 key and an error", got)
				}
				if got := v.Generation("corp"); got != before {
					t.Errorf("Generation = %d, want %d as before", got, before)
				}
				if got, want := fetched[:2], []string{"corp 1 true", "corp 1 false"}; !slices.Equal(got, want) {
					t.Errorf("hook got %q, want %q", got, want)
				}
				hosts.Range(func(host, _ any) bool {
					if host != simulatedURL {
						t.Errorf("asked %v, want only %s", host, simulatedURL)
					}
					return true
				})
			})
		})
	}
}

func TestLargestDocumentIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kids := make([]string, 200)
		for i := range kids {
			kids[i] = fmt.Sprint(i)
		}
		document := set(kids...)
		s, o := newSimulated(t, always(200, document+strings.Repeat(" ", 512<<10-len(document))))
		v := newVerifier(t, o, s.issuer())
		if got, want := v.Status()[0].Keys, 200; got != want {
			t.Errorf("%d keys, want %d (%s)", got, want, v.Status()[0].Error)
		}
	})
}

func TestWithdrawnKeyStopsAtTheNextRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, always(200, set("a")))
		v := newVerifier(t, o, s.issuer())
		before := v.Generation("corp")
		s.answer(always(200, set("b")))
		<-time.After(301 * time.Second)
		synctest.Wait()
		if got, want := verify(t, v, "a"), UnknownKey; got != want {
			t.Errorf("reason = %q, want %q", got, want)
		}
		if got := v.Generation("corp"); got == before || got == 0 {
			t.Errorf("Generation = %d after %d, want another", got, before)
		}
	})
}

func TestUnknownKidFetchesAtMostOnceInTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, always(200, set("a")))
		v := newVerifier(t, o, s.issuer())
		for i := range 300 { // half a minute
			if got, want := verify(t, v, fmt.Sprint("x", i)), UnknownKey; got != want {
				t.Fatalf("reason = %q, want %q", got, want)
			}
			<-time.After(100 * time.Millisecond)
		}
		want := []time.Duration{0, 0, 10 * time.Second, 20 * time.Second}
		if diff := cmp.Diff(want, s.fetches()); diff != "" {
			t.Errorf("fetches (-want +got):\n%s", diff)
		}
		if got, want := v.Status()[0].UnknownKeys, uint64(300); got != want {
			t.Errorf("%d unknown keys are counted, want %d", got, want)
		}
	})
}

func TestNewKeyIsFoundByItsFirstToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, always(200, set("a")))
		v := newVerifier(t, o, s.issuer())
		<-time.After(time.Second)
		s.answer(func(*http.Request) (*http.Response, error) {
			<-time.After(200 * time.Millisecond)
			return respond(200, set("b")), nil
		})
		if got := verify(t, v, "b"); got != "" {
			t.Errorf("reason = %q, want none", got)
		}
	})
}

// The scheduled refresh reads the document a moment before a key is published: the token that waits for it needs one more fetch.
func TestNewKeyIsFoundWhenAFetchIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, func(*http.Request) (*http.Response, error) {
			<-time.After(100 * time.Millisecond)
			return respond(200, set("a")), nil
		})
		v, err := New([]Issuer{s.issuer()}, o)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		synctest.Wait() // the first fetch is under way
		s.answer(always(200, set("b")))
		if got := verify(t, v, "b"); got != "" {
			t.Errorf("reason = %q, want none", got)
		}
		if got, want := len(s.fetches()), 2; got != want {
			t.Errorf("%d fetches, want %d", got, want)
		}
	})
}

func TestTokenWaitsAMomentOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, always(200, set("a")))
		v := newVerifier(t, o, s.issuer())
		s.answer(hang)
		begin := time.Now()
		_, err := v.Verify(t.Context(), bearerOf(tokenOf(simulatedURL, "b")), time.Now())
		if got, want := reasonOf(t, err), IssuerUnavailable; got != want {
			t.Errorf("reason = %q, want %q", got, want)
		}
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			t.Errorf("error %v is one of a context, want none: that of the caller is alive", err)
		}
		if got, want := time.Since(begin), 300*time.Millisecond; got != want {
			t.Errorf("waited %v, want %v", got, want)
		}
		if got := verify(t, v, "a"); got != "" {
			t.Errorf("known key meanwhile: reason = %q, want none", got)
		}
		<-time.After(5 * time.Second) // the fetch is given up
		synctest.Wait()
		begin = time.Now()
		_, err = v.Verify(t.Context(), bearerOf(tokenOf(simulatedURL, "b")), time.Now())
		if got, want := reasonOf(t, err), IssuerUnavailable; got != want {
			t.Errorf("after the fetch failed: reason = %q, want %q", got, want)
		}
		if got := time.Since(begin); got != 0 {
			t.Errorf("after the fetch failed: waited %v, want 0: there is a cooldown", got)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v passes for one of the caller's context", err)
		}
	})
}

func TestDoneContextDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done, cancel := context.WithCancel(t.Context())
		cancel()
		s, o := newSimulated(t, func(*http.Request) (*http.Response, error) {
			<-time.After(200 * time.Millisecond)
			return respond(200, set("a")), nil
		})
		v, err := New([]Issuer{s.issuer()}, o)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		try := func(kid string) error {
			begin := time.Now()
			_, err := v.Verify(done, bearerOf(tokenOf(simulatedURL, kid)), time.Now())
			if got := time.Since(begin); got != 0 {
				t.Errorf("waited %v, want 0", got)
			}
			return err
		}
		if err := try("a"); !errors.Is(err, context.Canceled) || reasonOf(t, err) != IssuerUnavailable {
			t.Errorf("before the first fetch has ended: %v, want the context's error", err)
		}
		v.Ready(t.Context())
		if err := try("a"); err != nil {
			t.Errorf("with the key in hand: %v, want none", err)
		}
		if err := try("b"); !errors.Is(err, context.Canceled) {
			t.Errorf("an unknown kid: %v, want the context's error", err)
		}
		<-time.After(time.Second)
		synctest.Wait()
		if got, want := len(s.fetches()), 2; got != want {
			t.Errorf("%d fetches, want %d: the second on behalf of the unknown kid", got, want)
		}
		if err := try("b"); errors.Is(err, context.Canceled) || reasonOf(t, err) != UnknownKey {
			t.Errorf("within the cooldown: %v, want a final refusal", err)
		}
	})
}

func TestKnownKidNeverFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, always(200, jwks(jwk(otherP256(), "a"), jwk(rsaPrivate(), "r"))))
		v := newVerifier(t, o, s.issuer())
		<-time.After(time.Minute)
		if got, want := verify(t, v, "a"), BadSignature; got != want {
			t.Errorf("bad signature: reason = %q, want %q", got, want)
		}
		if got, want := verify(t, v, "r"), UnknownKey; got != want {
			t.Errorf("key of another type: reason = %q, want %q", got, want)
		}
		if got, want := len(s.fetches()), 1; got != want {
			t.Errorf("%d fetches, want %d", got, want)
		}
	})
}

func TestWithSharesKeySets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, always(200, set("a")))
		names := map[string]bool{}
		var naming sync.Mutex
		o.OnKeys = func(issuer string, _ int, _ error) {
			naming.Lock()
			defer naming.Unlock()
			names[issuer] = true
		}
		old, err := New([]Issuer{s.issuer()}, o)
		if err != nil {
			t.Fatal(err)
		}
		old.Ready(t.Context())
		same, moved := s.issuer(), s.issuer()
		same.Name, same.Audiences = "renamed", []string{"vertex", "more"}
		moved.Name, moved.URL = "moved", simulatedURL+"/other"
		next, err := old.With([]Issuer{same, moved})
		if err != nil {
			t.Fatal(err)
		}
		next.Ready(t.Context())
		if got, want := len(s.fetches()), 2; got != want {
			t.Errorf("%d fetches, want %d: only the other source is new", got, want)
		}
		if got, want := old.Generation("corp"), next.Generation("renamed"); got != want {
			t.Errorf("generations %d and %d differ", got, want)
		}
		old.Close()
		old.Close()
		<-time.After(301 * time.Second)
		synctest.Wait()
		if got, want := len(s.fetches()), 4; got != want {
			t.Errorf("%d fetches, want %d: the shared set lives on", got, want)
		}
		if got := verify(t, old, "a"); got != "" {
			t.Errorf("closed verifier with keys in hand: reason = %q, want none", got)
		}
		naming.Lock()
		if !names["corp"] || !names["renamed"] {
			t.Errorf("hook was called for %v, want the old and then the new name", names)
		}
		naming.Unlock()
		next.Close()
		<-time.After(time.Hour)
		if got, want := len(s.fetches()), 4; got != want {
			t.Errorf("%d fetches, want %d: nobody uses the sets any more", got, want)
		}
		if got, want := verify(t, next, "b"), IssuerUnavailable; got != want {
			t.Errorf("closed verifier, unknown key: reason = %q, want %q", got, want)
		}
		late, err := next.With([]Issuer{s.issuer()})
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		late.Ready(t.Context())
		if got := verify(t, late, "a"); got != "" {
			t.Errorf("verifier after a closed one: reason = %q, want none", got)
		}
		if got, want := len(s.fetches()), 5; got != want {
			t.Errorf("%d fetches, want %d: a dead set is not shared", got, want)
		}
	})
}

func TestWithReportsProblemsAndKeepsTheOldOne(t *testing.T) {
	p := newProvider(t, allKeys()...)
	v := newVerifier(t, options(t), p.issuer())
	bad := p.issuer()
	bad.Audiences = nil
	if next, err := v.With([]Issuer{bad}); err == nil || next != nil {
		t.Errorf("With = %v, %v, want an error", next, err)
	}
	token := compact("ES256", p256Private(), goodHeader("ES256").String(), goodClaims(p.URL).String())
	if _, err := v.Verify(t.Context(), bearerOf(token), now); err != nil {
		t.Errorf("the old verifier: %v", err)
	}
}

func TestCloseEndsAFetchUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, hang)
		o.OnKeys = func(string, int, error) { t.Error("a fetch that was ended counts as failed") }
		v, err := New([]Issuer{s.issuer()}, o)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begin := time.Now()
		waiting := make(chan Reason)
		go func() { waiting <- verify(t, v, "a") }()
		synctest.Wait()
		v.Close()
		select {
		case <-v.issuers[0].keys.stopped:
		default:
			t.Error("Close does not wait for its goroutine")
		}
		if got, want := <-waiting, IssuerUnavailable; got != want {
			t.Errorf("reason = %q, want %q", got, want)
		}
		v.Ready(t.Context())
		if got := time.Since(begin); got != 0 {
			t.Errorf("Close took %v, want 0", got)
		}
	})
}

func TestReadyEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, hang)
		v, err := New([]Issuer{s.issuer()}, o)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		v.Ready(ctx)
		if got, want := time.Since(begin), time.Second; got != want {
			t.Errorf("Ready took %v, want %v", got, want)
		}
	})
}

func TestFetchIsGivenUpAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, hang)
		begin := time.Now()
		v := newVerifier(t, o, s.issuer())
		if got, want := time.Since(begin), 5*time.Second; got != want {
			t.Errorf("the first fetch took %v, want %v", got, want)
		}
		if got := v.Status()[0].Error; !strings.Contains(got, "deadline") {
			t.Errorf("Status error = %q, want the deadline", got)
		}
	})
}

func TestFileIsReadAgainEachMinute(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.json")
	write := func(document string) {
		if err := os.WriteFile(name+".new", []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		write(set("a"))
		i := Issuer{Name: "file", URL: simulatedURL, Audiences: []string{"vertex"}, JWKSFile: name}
		v := newVerifier(t, options(t), i)
		if got := verify(t, v, "a"); got != "" {
			t.Errorf("at the start: reason = %q, want none", got)
		}
		write(set("b"))
		<-time.After(67 * time.Second)
		synctest.Wait()
		if got := v.Status()[0]; got.Age > 10*time.Second {
			t.Errorf("after a minute: age = %v, want the file read again", got.Age)
		}
		if got := verify(t, v, "b"); got != "" {
			t.Errorf("after a minute: reason = %q, want none", got)
		}
		if got, want := verify(t, v, "a"), UnknownKey; got != want {
			t.Errorf("the old key after a minute: reason = %q, want %q", got, want)
		}
	})
}

// A timer that fires while a token asks takes the token's wish along: it must not come back as one more fetch.
func TestWishIsGrantedOnce(t *testing.T) {
	s := &keySet{nudge: make(chan struct{}, 1), users: 1}
	flight := s.ask()
	s.begin()
	if len(s.nudge) != 0 {
		t.Error("the wish outlives the fetch that grants it")
	}
	s.end(nil)
	select {
	case <-flight:
	default:
		t.Error("the token still waits after the fetch")
	}
}

func TestErrorOfAPeerIsCleaned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, func(*http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("peer said \n\x1b[2Jé %s", strings.Repeat("x", 2000))
		})
		v := newVerifier(t, o, s.issuer())
		got := v.Status()[0].Error
		if len(got) > 512 || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("Status error = %q, want short ASCII text", got)
		}
	})
}

func TestOddFilesAreErrors(t *testing.T) {
	directory := t.TempDir()
	pipe := filepath.Join(directory, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(directory, "large")
	if err := os.WriteFile(large, make([]byte, 512<<10+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"a missing file": filepath.Join(directory, "none"), "a directory": directory, "a device": "/dev/zero", "a large file": large, "a pipe": pipe,
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, options(t), Issuer{Name: "file", URL: simulatedURL, Audiences: []string{"vertex"}, JWKSFile: file})
			if got := v.Status()[0]; got.Usable || got.Error == "" {
				t.Errorf("Status = %+v, want an error", got)
			}
		})
	}
}

func TestThousandUnknownKidsCauseOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, func(*http.Request) (*http.Response, error) {
			<-time.After(50 * time.Millisecond)
			return respond(200, set("a")), nil
		})
		v := newVerifier(t, o, s.issuer())
		token := bearerOf(tokenOf(simulatedURL, "b"))
		var all sync.WaitGroup
		var answered, refused atomic.Int64
		for range 1000 {
			all.Go(func() {
				begin := time.Now()
				_, err := v.Verify(t.Context(), token, begin)
				switch got := reasonOf(t, err); {
				case got == UnknownKey && time.Since(begin) == 50*time.Millisecond:
					answered.Add(1)
				case got == IssuerUnavailable && time.Since(begin) == 0: // one issuer's tokens must not take every place there is
					refused.Add(1)
				default:
					t.Errorf("reason = %q (%v) after %v", got, err, time.Since(begin))
				}
			})
		}
		all.Wait()
		if answered.Load() != maxWaiters || refused.Load() != 1000-maxWaiters {
			t.Errorf("%d waited for the fetch and %d did not, want %d and %d", answered.Load(), refused.Load(), maxWaiters, 1000-maxWaiters)
		}
		if got, want := reasonOf(t, errOf(v.Verify(t.Context(), token, time.Now()))), UnknownKey; got != want {
			t.Errorf("once nobody waits: reason = %q, want %q", got, want)
		}
		if got, want := len(s.fetches()), 2; got != want {
			t.Errorf("%d fetches, want %d: the first, and one for all", got, want)
		}
	})
}

func errOf(_ Identity, err error) error { return err }

// Keys are replaced while tokens keep coming: first a new key beside the old one, then the new one alone. In the bubble the 300 ms of a
// waiting token do not depend on the speed of the machine.
func TestRotationLosesNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := jwk(p256Private(), "old"), jwk(otherP256(), "new")
		s, o := newSimulated(t, always(200, jwks(old)))
		v := newVerifier(t, o, s.issuer())
		claims := goodClaims(simulatedURL).String()
		tokens := []secret.Text{
			bearerOf(compact("ES256", p256Private(), `{"alg":"ES256","kid":"old"}`, claims)),
			bearerOf(compact("ES256", otherP256(), `{"alg":"ES256","kid":"new"}`, claims)),
		}
		var phase, served atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for phase.Load() < 2 {
					if _, err := v.Verify(t.Context(), tokens[phase.Load()%2], now); err != nil && phase.Load() < 2 {
						t.Errorf("phase %d: %v", phase.Load(), err)
						return
					}
					served.Add(1)
				}
			})
		}
		serve := func() {
			for goal := served.Load() + 500; served.Load() < goal && !t.Failed(); {
				runtime.Gosched()
			}
		}
		serve()
		s.answer(always(200, jwks(old, fresh)))
		phase.Store(1)
		serve()
		s.answer(always(200, jwks(fresh)))
		serve()
		phase.Store(2)
		all.Wait()
		if got, want := len(s.fetches()), 2; got != want {
			t.Errorf("%d fetches, want %d", got, want)
		}
	})
}

// The old key is withdrawn in the moment in which the new one appears.
func TestHardRotationLosesNoTokenOfTheNewKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, always(200, jwks(jwk(otherP256(), "old"))))
		v := newVerifier(t, o, s.issuer())
		s.answer(always(200, jwks(jwk(p256Private(), "new"))))
		token := bearerOf(tokenOf(simulatedURL, "new"))
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, err := v.Verify(t.Context(), token, time.Now()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got, want := verify(t, v, "old"), UnknownKey; got != want {
			t.Errorf("withdrawn key: reason = %q, want %q", got, want)
		}
	})
}

func TestKeysComeOverVerifiedTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, set("a")) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	i := Issuer{Name: "corp", URL: simulatedURL, Audiences: []string{"vertex"}, JWKSURL: server.URL}
	o := options(t)
	if got := newVerifier(t, o, i).Status()[0]; got.Usable || !strings.Contains(got.Error, "certificate") {
		t.Errorf("Status with an unknown authority = %+v, want a certificate error", got)
	}
	o.Client = server.Client()
	if got := newVerifier(t, o, i).Status()[0]; !got.Usable {
		t.Errorf("Status with its authority = %+v, want usable", got)
	}
}

// Policies are replaced while requests run: each request keeps the verifier it began with.
func TestPolicyReloadDisturbsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, always(200, set("a")))
		v, err := New([]Issuer{s.issuer()}, o)
		if err != nil {
			t.Fatal(err)
		}
		v.Ready(t.Context())
		var current atomic.Pointer[Verifier]
		current.Store(v)
		token := bearerOf(tokenOf(simulatedURL, "a"))
		var all sync.WaitGroup
		var finished atomic.Bool
		for range 4 {
			all.Go(func() {
				for !finished.Load() {
					v := current.Load()
					if _, err := v.Verify(t.Context(), token, time.Now()); err != nil {
						t.Error(err)
						return
					}
					if status := v.Status(); len(status) != 1 || v.Generation("corp") == 0 {
						t.Errorf("Status = %+v, Generation = %d", status, v.Generation("corp"))
						return
					}
				}
			})
		}
		for range 100 {
			next, err := v.With([]Issuer{s.issuer()})
			if err != nil {
				t.Fatal(err)
			}
			current.Store(next)
			v.Close()
			v = next
		}
		finished.Store(true)
		all.Wait()
		v.Close()
		if got, want := len(s.fetches()), 1; got != want {
			t.Errorf("%d fetches, want %d", got, want)
		}
	})
}
