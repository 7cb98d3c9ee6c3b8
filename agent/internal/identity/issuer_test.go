package identity

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestNewRefusesABadConfiguration(t *testing.T) {
	base := Issuer{Name: "corp", URL: "https://idp.example", Audiences: []string{"vertex"}}
	change := func(f func(*Issuer)) []Issuer { i := base; f(&i); return []Issuer{i} }
	for name, c := range map[string]struct {
		issuers []Issuer
		want    string
	}{
		"no issuer":                  {nil, "no issuer is configured"},
		"no name":                    {change(func(i *Issuer) { i.Name = "" }), `issuer "": name must be 1 to 64 printable bytes without space`},
		"a name with a line feed":    {change(func(i *Issuer) { i.Name = "a\nb" }), `issuer "a\nb": name must be`},
		"a long name":                {change(func(i *Issuer) { i.Name = strings.Repeat("n", 65) }), "name must be"},
		"no url":                     {change(func(i *Issuer) { i.URL = "" }), `issuer "corp": url must be printable text`},
		"no url but a file":          {change(func(i *Issuer) { i.URL, i.JWKSFile = "", "f" }), `issuer "corp": url must be printable text`},
		"no audience":                {change(func(i *Issuer) { i.Audiences = nil }), `issuer "corp": audiences: at least one`},
		"an empty audience":          {change(func(i *Issuer) { i.Audiences = []string{"a", ""} }), `issuer "corp": audiences: at least one`},
		"algorithm none":             {change(func(i *Issuer) { i.Algorithms = []string{"none"} }), `algorithm "none" is not supported`},
		"algorithm HS256":            {change(func(i *Issuer) { i.Algorithms = []string{"RS256", "HS256"} }), `algorithm "HS256" is not supported`},
		"algorithm ES256K":           {change(func(i *Issuer) { i.Algorithms = []string{"ES256K"} }), `algorithm "ES256K" is not supported`},
		"an algorithm in small case": {change(func(i *Issuer) { i.Algorithms = []string{"rs256"} }), `algorithm "rs256" is not supported`},
		"too much leeway":            {change(func(i *Issuer) { i.Leeway = 121 * time.Second }), "leeway 2m1s is not between 0s and 2m0s"},
		"negative leeway":            {change(func(i *Issuer) { i.Leeway = -1 }), "leeway -1ns"},
		"negative age":               {change(func(i *Issuer) { i.MaxAge = -time.Second }), "maximum age -1s is negative"},
		"discovery without TLS":      {change(func(i *Issuer) { i.URL = "http://idp.example" }), `URL of host "idp.example" must be https`},
		"discovery without URL":      {change(func(i *Issuer) { i.URL = "accounts.google.com" }), "is not an absolute URL"},
		"discovery with a query":     {change(func(i *Issuer) { i.URL = "https://idp.example/?a=b" }), "without query"},
		"discovery with a password":  {change(func(i *Issuer) { i.URL = "https://u:hunter2@idp.example" }), "has user information"},
		"keys without TLS":           {change(func(i *Issuer) { i.JWKSURL = "http://idp.example/keys" }), `URL of host "idp.example" must be https`},
		"keys on a name like local":  {change(func(i *Issuer) { i.JWKSURL = "http://localhost.evil.example/keys" }), "must be https"},
		"keys by another scheme":     {change(func(i *Issuer) { i.JWKSURL = "file:///etc/passwd" }), "is not an absolute URL"},
		"keys with a password":       {change(func(i *Issuer) { i.JWKSURL = "https://u:hunter2@idp.example/keys" }), "has user information"},
		"keys from two places":       {change(func(i *Issuer) { i.JWKSURL, i.JWKSFile = "https://idp.example/keys", "f" }), "exclude each other"},
		"a name twice":               {[]Issuer{base, {Name: "corp", URL: "https://b.example", Audiences: []string{"a"}}}, `issuer "corp": name is used twice`},
		"a url twice":                {[]Issuer{base, {Name: "other", URL: "https://idp.example", Audiences: []string{"a"}}}, `issuer "other": url "https://idp.example" is used twice`},
		"several at once":            {[]Issuer{{Name: "a", URL: "https://a.example"}, {Name: "b", URL: "http://b.example", Audiences: []string{"a"}}}, "at least one, and none of them empty\nissuer \"b\": URL of host"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := New(c.issuers, options(t))
			if err == nil || v != nil {
				t.Fatalf("New = %v, %v, want an error", v, err)
			}
			if got, want := err.Error(), c.want; !strings.Contains(got, want) || strings.Contains(got, "hunter2") {
				t.Errorf("error = %q, want %q in it and no password", got, want)
			}
		})
	}
}

func TestNewRequiresItsParts(t *testing.T) {
	i := []Issuer{{Name: "corp", URL: "https://idp.example", Audiences: []string{"vertex"}}}
	o := options(t)
	for name, o := range map[string]Options{"nothing": {}, "no client": {Log: o.Log}, "no log": {Client: o.Client}} {
		if v, err := New(i, o); err == nil || v != nil {
			t.Errorf("%s: New = %v, %v, want an error", name, v, err)
		}
	}
}

func TestNewKeepsNoReferenceToItsArguments(t *testing.T) {
	p := newProvider(t, allKeys()...)
	i := p.issuer()
	i.Algorithms = []string{"ES256"}
	issuers := []Issuer{i}
	v := newVerifier(t, options(t), issuers...)
	i.Audiences[0], i.Algorithms[0] = "evil", "EdDSA"
	issuers[0] = Issuer{}
	token := compact("ES256", p256Private(), goodHeader("ES256").String(), goodClaims(p.URL).String())
	if _, err := v.Verify(t.Context(), bearerOf(token), now); err != nil {
		t.Error(err)
	}
}

func TestSourceAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://idp.example/keys": true, "http://localhost:8080/keys": true, "http://127.0.0.1/keys": true, "http://127.9.9.9/keys": true, "http://[::1]:80/keys": true,
		"HTTPS://idp.example/keys": true,
		"http://idp.example/keys":  false, "http://127.0.0.1.evil.example/": false, "http://127.1/": false, "http://0.0.0.0/": false, "ftp://127.0.0.1/": false,
		"https:///keys": false, "//idp.example/keys": false, "https:idp.example": false, "": false, "%": false, "https://idp.example/#keys": false,
	} {
		if err := checkURL(address); (err == nil) != ok {
			t.Errorf("checkURL(%q) = %v, want accepted %v", address, err, ok)
		}
	}
}

func TestDiscoveryAddressHasNoDoubleSlash(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://idp.example":        "https://idp.example/.well-known/openid-configuration",
		"https://idp.example/":       "https://idp.example/.well-known/openid-configuration",
		"https://idp.example/realm":  "https://idp.example/realm/.well-known/openid-configuration",
		"https://idp.example/realm/": "https://idp.example/realm/.well-known/openid-configuration",
	} {
		if got, err := discoveryURL(issuer); err != nil || got != want {
			t.Errorf("discoveryURL(%q) = %q, %v, want %q", issuer, got, err, want)
		}
	}
}

// discovery serves documents in which SELF stands for the server's own address.
func discovery(t *testing.T, document string, keys object) *httptest.Server {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, strings.ReplaceAll(document, "SELF", server.URL))
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, jwks(keys)) })
	return server
}

func TestDiscoveryMustBeTheIssuersOwn(t *testing.T) {
	for name, c := range map[string]struct{ document, want string }{
		"its own":                   {`{"issuer":"SELF","jwks_uri":"SELF/keys","x":[{"y":null}]}`, ""},
		"that of another":           {`{"issuer":"https://evil.example","jwks_uri":"SELF/keys"}`, `document is of issuer "https://evil.example"`},
		"with a slash more":         {`{"issuer":"SELF/","jwks_uri":"SELF/keys"}`, "document is of issuer"},
		"without issuer":            {`{"jwks_uri":"SELF/keys"}`, `document is of issuer ""`},
		"with an issuer of no type": {`{"issuer":null,"jwks_uri":"SELF/keys"}`, `document is of issuer ""`},
		"in capitals":               {`{"ISSUER":"SELF","jwks_uri":"SELF/keys"}`, `document is of issuer ""`},
		"with two issuers":          {`{"issuer":"https://evil.example","issuer":"SELF","jwks_uri":"SELF/keys"}`, "duplicate member name"},
		"without keys":              {`{"issuer":"SELF"}`, "jwks_uri: \"\" is not an absolute URL"},
		"with keys without TLS":     {`{"issuer":"SELF","jwks_uri":"http://idp.example/keys"}`, `jwks_uri: URL of host "idp.example" must be https`},
		"with keys in a file":       {`{"issuer":"SELF","jwks_uri":"file:///etc/passwd"}`, "jwks_uri:"},
		"that is no JSON":           {`<html>`, "not an object"},
		"that is an array":          {`[]`, "not an object"},
	} {
		t.Run(name, func(t *testing.T) {
			server := discovery(t, c.document, jwk(p256Private(), "k-ES256"))
			v := newVerifier(t, options(t), Issuer{Name: "corp", URL: server.URL, Audiences: []string{"vertex"}})
			status := v.Status()[0]
			if got, want := status.Error, c.want; (want == "") != (got == "") || !strings.Contains(got, want) {
				t.Errorf("Status error = %q, want %q in it", got, want)
			}
			if got, want := status.Usable, c.want == ""; got != want {
				t.Errorf("usable = %v, want %v", got, want)
			}
		})
	}
}

// Keys must not come over a weaker connection than the document that says where they are: what listens on this machine without TLS is
// not what an issuer elsewhere may speak of.
func TestKeysAreAsWellProtectedAsTheirDiscovery(t *testing.T) {
	local := newProvider(t, jwk(p256Private(), "k-ES256"))
	var self string
	server, authority := tlsProvider(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, object{"issuer": self, "jwks_uri": local.URL + "/keys"})
	})
	self = server.URL
	got := newVerifier(t, options(t), Issuer{Name: "corp", URL: self, Audiences: []string{"vertex"}, CAFile: tempFile(t, "ca.pem", authority)}).Status()[0]
	if asked := local.fetches.Load(); got.Usable || asked != 0 || !strings.Contains(got.Error, "jwks_uri: URL of host") {
		t.Errorf("Status = %+v, asked without TLS %d times; want it refused", got, asked)
	}
}

func TestRedirectOnTheSameHostIsFollowed(t *testing.T) {
	p := newProvider(t, allKeys()...)
	p.respond(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			http.Redirect(w, r, "/keys?moved", http.StatusFound)
			return
		}
		_, _ = fmt.Fprint(w, *p.keys.Load())
	})
	if got := newVerifier(t, options(t), p.issuer()).Status()[0]; !got.Usable {
		t.Errorf("Status = %+v, want usable", got)
	}
}

func TestRedirectToAnotherHostIsRefused(t *testing.T) {
	other := newProvider(t, allKeys()...)
	p := newProvider(t, allKeys()...)
	p.respond(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/keys", http.StatusFound) })
	o := options(t)
	o.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
	v := newVerifier(t, o, p.issuer())
	if got := v.Status()[0]; got.Usable || !strings.Contains(got.Error, "redirect to another host refused") {
		t.Errorf("Status = %+v, want the redirect refused", got)
	}
	if got := other.fetches.Load(); got != 0 {
		t.Errorf("the other host was asked %d times, want 0", got)
	}
}

// The addresses in a token's header are bait: whoever follows them lets the sender choose the key.
func TestHeaderNeverCausesAConnection(t *testing.T) {
	bait := newProvider(t, jwk(otherP256(), "k-ES256"))
	p := newProvider(t, allKeys()...)
	v := newVerifier(t, options(t), p.issuer())
	header := goodHeader("ES256").with("jku", bait.URL+"/keys", "x5u", bait.URL+"/keys", "jwk", jwk(otherP256(), "k-ES256"), "x5c", []string{x5cOf(t, otherP256())})
	_, err := v.Verify(t.Context(), bearerOf(compact("ES256", otherP256(), header.String(), goodClaims(p.URL).String())), now)
	if got, want := reasonOf(t, err), BadSignature; got != want {
		t.Errorf("reason = %q, want %q", got, want)
	}
	if got := bait.fetches.Load(); got != 0 {
		t.Errorf("the bait was asked %d times, want 0", got)
	}
}

func TestDiscoveryIsRememberedForAnHour(t *testing.T) {
	p := newProvider(t, allKeys()...)
	f := &fetcher{source: source{issuer: p.URL}, client: &http.Client{}}
	for range 3 {
		if _, _, err := f.fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := p.discoveries.Load(), int64(1); got != want {
		t.Errorf("%d discoveries, want %d", got, want)
	}
	f.discovered = f.discovered.Add(-time.Hour)
	if _, _, err := f.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	if _, _, err := f.fetch(t.Context()); err == nil {
		t.Fatal("fetch of a key set that is gone succeeds")
	}
	p.answer.Store(nil)
	if _, _, err := f.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := p.discoveries.Load(), int64(3); got != want {
		t.Errorf("%d discoveries, want %d: after an hour, and after a failure", got, want)
	}
}

// What a peer says may end in a log: it must not bring line feeds, or length, or pass for an error of the caller's context.
func TestErrorsOfAFetchArePlain(t *testing.T) {
	cause := fmt.Errorf("peer said \"\x1b[31m\nübel\" %s: %w", strings.Repeat("x", 1000), http.ErrHandlerTimeout)
	got := plain(cause)
	if errors.Is(got, http.ErrHandlerTimeout) || len(got.Error()) > 512 || bytes.ContainsFunc([]byte(got.Error()), func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("plain = %q, want short ASCII text alone", got)
	}
}
