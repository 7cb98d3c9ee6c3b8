package identity

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vertex-spoa/agent/internal/secret"
)

// replaceFile writes a file as a mounted secret is replaced: whole.
func replaceFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// tlsProvider serves a key set over TLS with a certificate of its own.
func tlsProvider(t *testing.T, h http.HandlerFunc) (server *httptest.Server, authority string) {
	t.Helper()
	server = httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func TestCAFileIsReadForEachFetch(t *testing.T) {
	server, authority := tlsProvider(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, set("a")) })
	file := filepath.Join(t.TempDir(), "ca.pem")
	f := &fetcher{source: source{issuer: simulatedURL, url: server.URL, caFile: file}, client: &http.Client{}}
	defer f.own.close()
	for _, step := range []struct{ content, want string }{
		{"", "no such file"}, {"nothing", "has no certificate"}, {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: otherCA().cert.Raw})), "certificate"},
		{authority, ""}, {authority, ""}, {"nothing", "has no certificate"},
	} {
		if step.content != "" {
			replaceFile(t, file, step.content)
		}
		_, _, err := f.fetch(t.Context())
		if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Errorf("CA file %.20q: %v, want %q", step.content, err, step.want)
		}
	}
}

// One issuer's authority must not vouch for another's host.
func TestCAFileIsOfOneIssuerAlone(t *testing.T) {
	server, authority := tlsProvider(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, set("a")) })
	file := tempFile(t, "ca.pem", authority)
	a := Issuer{Name: "a", URL: "https://a.example", Audiences: []string{"vertex"}, JWKSURL: server.URL, CAFile: file}
	b := Issuer{Name: "b", URL: "https://b.example", Audiences: []string{"vertex"}, JWKSURL: server.URL}
	v := newVerifier(t, options(t), a, b)
	if got := v.Status(); !got[0].Usable || got[1].Usable {
		t.Errorf("Status = %+v, want the first usable and the second not", got)
	}
	// With a CA file of its own, an issuer does not trust the authorities of all others.
	o := options(t)
	o.Client = server.Client()
	a.CAFile = caFile(t, otherCA())
	if got := newVerifier(t, o, a).Status()[0]; got.Usable || !strings.Contains(got.Error, "certificate") {
		t.Errorf("Status = %+v, want a certificate error", got)
	}
}

func TestKeysComeThroughTheProxy(t *testing.T) {
	var asked atomic.Pointer[string]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address := r.URL.String()
		asked.Store(&address)
		_, _ = fmt.Fprint(w, set("a"))
	}))
	defer proxy.Close()
	i := Issuer{Name: "corp", URL: simulatedURL, Audiences: []string{"vertex"}, JWKSURL: "http://127.0.0.1:9/keys", ProxyURL: proxy.URL}
	if got := newVerifier(t, options(t), i).Status()[0]; !got.Usable {
		t.Errorf("Status = %+v, want usable", got)
	}
	if got, want := *asked.Load(), i.JWKSURL; got != want {
		t.Errorf("the proxy was asked for %q, want %q", got, want)
	}
}

func TestOwnTransportNeedsOne(t *testing.T) {
	o := options(t)
	o.Client = &http.Client{Transport: roundTripper(unreachable)}
	i := Issuer{Name: "corp", URL: simulatedURL, Audiences: []string{"vertex"}, ProxyURL: "http://127.0.0.1:9"}
	if got := newVerifier(t, o, i).Status()[0]; got.Usable || !strings.Contains(got.Error, "cannot have a CA file or proxy") {
		t.Errorf("Status = %+v, want an error that says so", got)
	}
}

func TestTokenFileIsReadForEachFetch(t *testing.T) {
	p := newProvider(t, allKeys()...)
	var seen []string
	p.respond(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		if r.URL.RawQuery == "" { // a redirect on the same host keeps it
			http.Redirect(w, r, "/keys?moved", http.StatusFound)
			return
		}
		_, _ = fmt.Fprint(w, *p.keys.Load())
	})
	file := tempFile(t, "token", "secret-one\n")
	f := &fetcher{source: source{issuer: p.URL, url: p.URL + "/keys", tokenFile: file}, client: &http.Client{CheckRedirect: sameOrigin}}
	for _, step := range []struct {
		content, want string
	}{{"secret-one\n", ""}, {"secret-two", ""}, {"secret two", "does not hold one token"}, {" \n", "does not hold one token"}, {"secret\x00", "does not hold one token"}} {
		replaceFile(t, file, step.content)
		_, _, err := f.fetch(t.Context())
		if (err == nil) != (step.want == "") || err != nil && (!strings.Contains(err.Error(), step.want) || strings.Contains(err.Error(), "secret ")) {
			t.Errorf("token file %q: %v, want %q", step.content, err, step.want)
		}
	}
	want := "[Bearer secret-one Bearer secret-one Bearer secret-two Bearer secret-two]"
	if got := fmt.Sprint(seen); got != want {
		t.Errorf("the issuer got %s, want %s", got, want)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "read token file") {
		t.Errorf("without the file: %v, want an error", err)
	}
}

// The bearer token for one issuer must not reach whoever it redirects to.
func TestTokenDoesNotFollowToAnotherHost(t *testing.T) {
	var leaked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { leaked.Store(true) }))
	defer other.Close()
	p := newProvider(t, allKeys()...)
	p.respond(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	i := p.issuer()
	i.TokenFile = tempFile(t, "token", "secret-one")
	got := newVerifier(t, options(t), i).Status()[0]
	if got.Usable || leaked.Load() || strings.Contains(got.Error, "secret-one") {
		t.Errorf("Status = %+v, other host asked: %v, want neither keys nor a leak", got, leaked.Load())
	}
}

func TestKeysInPlaceNeedNoNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		o.Client = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			t.Error("something was fetched")
			return nil, io.EOF
		})}
		i := Issuer{Name: "corp", URL: simulatedURL, Audiences: []string{"vertex"}, JWKS: []byte(set("a"))}
		v := newVerifier(t, o, i)
		for range 5 {
			if got := verify(t, v, "a"); got != "" {
				t.Errorf("reason = %q, want none", got)
			}
			if got, want := verify(t, v, "b"), UnknownKey; got != want {
				t.Errorf("reason = %q, want %q", got, want)
			}
			<-time.After(30 * time.Hour)
		}
	})
}

func TestKeysServeAsLongAsTheIssuerAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := newSimulated(t, always(200, set("a")))
		short, long := s.issuer(), s.issuer()
		short.MaxStale, long.MaxStale = time.Hour, 48*time.Hour
		v := newVerifier(t, o, short)
		lasting, err := v.With([]Issuer{long})
		if err != nil {
			t.Fatal(err)
		}
		defer lasting.Close()
		s.answer(unreachable)
		<-time.After(time.Hour - time.Second)
		if got := verify(t, v, "a"); got != "" {
			t.Errorf("within the hour: reason = %q, want none", got)
		}
		<-time.After(2 * time.Second)
		if got, want := verify(t, v, "a"), IssuerUnavailable; got != want || v.Generation("corp") != 0 || v.Status()[0].Usable {
			t.Errorf("after the hour: reason = %q, status %+v, want %q and not usable", got, v.Status()[0], want)
		}
		if got := verify(t, lasting, "a"); got != "" {
			t.Errorf("another policy with the same keys: reason = %q, want none", got)
		}
		if got, want := v.Status()[0].Failures, uint64(60); got < want {
			t.Errorf("%d failures are counted, want at least %d", got, want)
		}
		<-time.After(47 * time.Hour)
		if got, want := verify(t, lasting, "a"), IssuerUnavailable; got != want {
			t.Errorf("after two days: reason = %q, want %q", got, want)
		}
	})
}

// Over real sockets and under load: a key is added, tokens of both kinds are in flight, the old one is withdrawn. Nothing that is valid at
// the time is lost.
func TestRotationUnderLoadOverSockets(t *testing.T) {
	old, fresh := jwk(p256Private(), "old"), jwk(otherP256(), "new")
	p := newProvider(t, old)
	v := newVerifier(t, options(t), p.issuer())
	claims := goodClaims(p.URL).String()
	tokens := [2]secret.Text{
		bearerOf(compact("ES256", p256Private(), `{"alg":"ES256","kid":"old"}`, claims)), bearerOf(compact("ES256", otherP256(), `{"alg":"ES256","kid":"new"}`, claims)),
	}
	// Bit 1: the old key's tokens are valid, bit 2: the new one's are.
	var valid atomic.Int32
	valid.Store(1)
	var served [2]atomic.Int64
	stop := make(chan struct{})
	done := make(chan struct{}, 8)
	for n := range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			kind := n % 2
			for {
				select {
				case <-stop:
					return
				case <-time.After(200 * time.Microsecond): // leaves the machine to those who fetch, and to other tests
				}
				if valid.Load()&(1<<kind) == 0 {
					kind = 1 - kind
					continue
				}
				begin := time.Now()
				_, err := v.Verify(t.Context(), tokens[kind], now)
				if reasonOf(t, err) == IssuerUnavailable && time.Since(begin) >= maxWait {
					continue // the machine is so busy that the fetch took longer than a token waits: it comes again
				}
				if err != nil && valid.Load()&(1<<kind) != 0 {
					t.Errorf("token %d: %v", kind, err)
					return
				}
				served[kind].Add(1)
				kind = n % 2
			}
		}()
	}
	until := func(kind int, more int64) {
		for goal := served[kind].Load() + more; served[kind].Load() < goal && !t.Failed(); {
			<-time.After(time.Millisecond)
		}
	}
	until(0, 300)
	p.publish(jwks(old, fresh))
	valid.Store(3)
	until(0, 300)
	until(1, 300)
	valid.Store(2)
	p.publish(jwks(fresh))
	until(1, 300)
	close(stop)
	for range 8 {
		<-done
	}
	if got, want := p.fetches.Load(), int64(2); got != want {
		t.Errorf("%d fetches, want %d", got, want)
	}
}
