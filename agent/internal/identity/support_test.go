package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vertex-spoa/agent/internal/secret"
)

// object is a JSON object under construction.
type object map[string]any

// with returns a copy in which the pairs replace members. The value absent removes one.
func (o object) with(pairs ...any) object {
	o = maps.Clone(o)
	for i := 0; i < len(pairs); i += 2 {
		o[pairs[i].(string)] = pairs[i+1]
		if pairs[i+1] == absent {
			delete(o, pairs[i].(string))
		}
	}
	return o
}

var absent = new(int) // its address marks a member to be left out

func (o object) String() string {
	b, err := json.Marshal(map[string]any(o))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func encode[T ~string | ~[]byte](b T) string { return base64.RawURLEncoding.EncodeToString([]byte(b)) }

// now is the time at which tests verify tokens.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// One key of each kind for the whole run. Making RSA keys takes long.
var (
	rsaPrivate   = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	otherRSA     = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	p256Private  = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	otherP256    = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	p384Private  = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P384()) })
	p521Private  = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P521()) })
	ed25519Seeds = sync.OnceValue(func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, 32)) })
)

func newRSA(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

func newEC(c elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func privateKey(algorithm string) crypto.Signer {
	switch algorithm {
	case "ES256":
		return p256Private()
	case "ES384":
		return p384Private()
	case "ES512":
		return p521Private()
	case "EdDSA":
		return ed25519Seeds()
	}
	return rsaPrivate()
}

// jwk returns the public JSON Web Key of k, with kid unless it is "".
func jwk(k crypto.Signer, kid string) object {
	o := object{}
	if kid != "" {
		o["kid"] = kid
	}
	switch public := k.Public().(type) {
	case *rsa.PublicKey:
		return o.with("kty", "RSA", "n", encode(public.N.Bytes()), "e", encode(big.NewInt(int64(public.E)).Bytes()))
	case *ecdsa.PublicKey:
		size := (public.Curve.Params().BitSize + 7) / 8
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		return o.with("kty", "EC", "crv", public.Params().Name, "x", encode(point[1:1+size]), "y", encode(point[1+size:]))
	case ed25519.PublicKey:
		return o.with("kty", "OKP", "crv", "Ed25519", "x", encode([]byte(public)))
	}
	panic("unknown kind of key")
}

func jwks(keys ...object) string {
	if keys == nil {
		keys = []object{}
	}
	return object{"keys": keys}.String()
}

// compact signs header and payload as they are.
func compact(algorithm string, k any, header, payload string) string {
	text := encode(header) + "." + encode(payload)
	signature, err := jwt.GetSigningMethod(algorithm).Sign(text, k)
	if err != nil {
		panic(err)
	}
	return text + "." + encode(signature)
}

// goodHeader and goodClaims make a token that testIssuer accepts.
func goodHeader(algorithm string) object {
	return object{"alg": algorithm, "typ": "JWT", "kid": "k-" + algorithm}
}

func goodClaims(iss string) object {
	return object{
		"iss": iss, "sub": "alice", "aud": "vertex", "jti": "t1", "iat": now.Unix() - 10, "nbf": now.Unix() - 10, "exp": now.Unix() + 300,
	}
}

func bearerOf(token string) secret.Text { return secret.New("Bearer " + token) }

// provider is an identity provider on a loopback socket.
type provider struct {
	*httptest.Server
	discoveries, fetches atomic.Int64
	keys                 atomic.Pointer[string] // the key set document
	answer               atomic.Pointer[http.HandlerFunc]
}

func newProvider(t testing.TB, keys ...object) *provider {
	p := &provider{}
	p.publish(jwks(keys...))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.discoveries.Add(1)
		_, _ = fmt.Fprint(w, object{"issuer": p.URL, "jwks_uri": p.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		p.fetches.Add(1)
		if answer := p.answer.Load(); answer != nil {
			(*answer)(w, r)
			return
		}
		_, _ = fmt.Fprint(w, *p.keys.Load())
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) publish(document string) { p.keys.Store(&document) }

func (p *provider) respond(h http.HandlerFunc) { p.answer.Store(&h) }

func (p *provider) issuer() Issuer {
	return Issuer{Name: "corp", URL: p.URL, Audiences: []string{"vertex"}}
}

func options(t testing.TB) Options {
	return Options{Client: &http.Client{}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// newVerifier returns a verifier whose first fetches have ended.
func newVerifier(t testing.TB, o Options, issuers ...Issuer) *Verifier {
	t.Helper()
	v, err := New(issuers, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	v.Ready(context.Background())
	return v
}

// roundTripper is an identity provider without a socket, for tests in which time is simulated.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(status int, body string, header ...string) *http.Response {
	w := httptest.NewRecorder()
	for i := 0; i < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	w.WriteHeader(status)
	_, _ = w.WriteString(body)
	return w.Result()
}

// reasonOf returns the reason of a refusal, and "" for none.
func reasonOf(t testing.TB, err error) Reason {
	t.Helper()
	if err == nil {
		return ""
	}
	var refused *Error
	if !errors.As(err, &refused) {
		t.Fatalf("error %v is a %T, want an *Error", err, err)
	}
	return refused.Reason
}

// leaks reports a segment of the token, or its decoded claims, in text.
func leaks(text, token string) string {
	for segment := range strings.SplitSeq(token, ".") {
		decoded, _ := base64.RawURLEncoding.DecodeString(segment)
		for _, part := range []string{segment, string(decoded)} {
			if len(part) > 12 && strings.Contains(text, part) {
				return part
			}
		}
	}
	return ""
}
