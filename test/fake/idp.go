package fake

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// IDPOptions describe an identity provider.
type IDPOptions struct {
	Addr     string            // HOST:PORT to listen on; a free port of 127.0.0.1 when empty
	Issuer   string            // exact issuer, without a trailing slash; http://ADDR when empty
	CA       *CA               // signs the certificate of an https issuer; must be nil for an http issuer
	Audience string            // aud of tokens that do not ask for another one; required
	Lifetime time.Duration     // of tokens; 10 minutes when 0
	MaxAge   time.Duration     // of the key set, in Cache-Control, whole seconds; 5 minutes when 0
	Clients  map[string]Client // clients of POST /token, by client id
}

// A Client may fetch tokens for itself (RFC 6749 section 4.4).
type Client struct {
	Secret string         // must not be empty
	Claims map[string]any // claims of its tokens, on top of the usual ones; sub is the client id unless given here
}

// Fetches counts the requests that an identity provider got, answered or not.
type Fetches struct{ Discovery, Keys, Tokens int }

// IDP is an OpenID provider: discovery document, key set, client-credentials token endpoint, and signatures that are as real or as wrong
// as a test wants them. It is safe for concurrent use.
type IDP struct {
	server
	options IDPOptions
	host    string
	base    string // path of the issuer

	keysMu  sync.Mutex
	current keys
	old     []keys
	raw     []byte
	fetches Fetches
}

// NewIDP starts an identity provider.
func NewIDP(o IDPOptions) (*IDP, error) {
	if o.Audience == "" {
		return nil, errors.New("new identity provider: no audience")
	}
	for id, c := range o.Clients {
		if c.Secret == "" {
			return nil, fmt.Errorf("new identity provider: client %q has no secret", id)
		}
	}
	if o.Lifetime == 0 {
		o.Lifetime = 10 * time.Minute
	}
	if o.MaxAge == 0 {
		o.MaxAge = 5 * time.Minute
	}
	current, err := newKeys()
	if err != nil {
		return nil, fmt.Errorf("new identity provider: %w", err)
	}
	p := &IDP{options: o, current: current}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("new identity provider: %w", err)
	}
	return p, nil
}

func (p *IDP) open() error {
	if err := p.listen(p.options.Addr); err != nil {
		return err
	}
	conf, err := p.identify()
	if err != nil {
		_ = p.ln.Close()
		return err
	}
	p.serve(conf, p.answer)
	return nil
}

// identify settles the issuer and returns the TLS configuration for it, nil for http.
func (p *IDP) identify() (*tls.Config, error) {
	if p.options.Issuer == "" && p.options.CA == nil {
		p.options.Issuer = "http://" + p.addr
	}
	u, err := url.Parse(p.options.Issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer %q: %w", p.options.Issuer, err)
	}
	if u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(u.Path, "/") {
		return nil, fmt.Errorf("issuer %q: want scheme://host[/path]", p.options.Issuer)
	}
	p.host, p.base = u.Host, u.Path
	switch {
	case u.Scheme == "http" && p.options.CA == nil:
		return nil, nil
	case u.Scheme == "https" && p.options.CA != nil:
		cert, err := p.options.CA.Server(u.Hostname())
		return &tls.Config{Certificates: []tls.Certificate{cert}}, err
	default:
		return nil, fmt.Errorf("issuer %q: https needs a CA, http must have none", p.options.Issuer)
	}
}

// Issuer returns the exact issuer string, which is also the base address of all of the provider's documents.
func (p *IDP) Issuer() string { return p.options.Issuer }

// JWKSURL returns the address of the key set.
func (p *IDP) JWKSURL() string { return p.options.Issuer + "/keys" }

// TokenURL returns the address of the token endpoint.
func (p *IDP) TokenURL() string { return p.options.Issuer + "/token" }

// Fetches returns how often each document was asked for.
func (p *IDP) Fetches() Fetches {
	p.keysMu.Lock()
	defer p.keysMu.Unlock()
	return p.fetches
}

func (p *IDP) answer(w http.ResponseWriter, r *http.Request) {
	path, inside := strings.CutPrefix(r.URL.Path, p.base)
	if !inside || strings.TrimSuffix(r.Host, ":443") != strings.TrimSuffix(p.host, ":443") {
		p.refuse(w, r, refuse(HostUnknown, http.StatusNotFound, "not_found"))
		return
	}
	var method string
	var serve http.HandlerFunc
	p.keysMu.Lock()
	switch path {
	case "/.well-known/openid-configuration":
		p.fetches.Discovery++
		method, serve = http.MethodGet, p.discovery
	case "/keys":
		p.fetches.Keys++
		method, serve = http.MethodGet, p.keySet
	case "/token":
		p.fetches.Tokens++
		method, serve = http.MethodPost, p.token
	}
	p.keysMu.Unlock()
	switch {
	case p.spoil(w, r, writeOAuth):
	case serve == nil:
		p.refuse(w, r, refuse(NotFound, http.StatusNotFound, "not_found"))
	case r.Method != method:
		w.Header().Set("Allow", method)
		p.refuse(w, r, refuse(MethodRefused, http.StatusMethodNotAllowed, "invalid_request"))
	default:
		serve(w, r)
	}
}

func (p *IDP) refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	p.note(r, no.reason, no.status)
	writeOAuth(w, no)
}

// writeOAuth answers as RFC 6749 section 5.2 says: the message is the error code.
func writeOAuth(w http.ResponseWriter, no *refusal) {
	code := no.message
	if no.reason == Injected {
		code = "server_error"
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, no.status, map[string]string{"error": code})
}

// discovery answers with the provider metadata (OpenID Connect Discovery 1.0 section 3).
func (p *IDP) discovery(w http.ResponseWriter, _ *http.Request) {
	p.cacheable(w)
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                p.options.Issuer,
		"authorization_endpoint":                p.options.Issuer + "/authorize",
		"token_endpoint":                        p.TokenURL(),
		"jwks_uri":                              p.JWKSURL(),
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256", "ES256"},
		"grant_types_supported":                 []string{"client_credentials"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
	})
}

func (p *IDP) keySet(w http.ResponseWriter, _ *http.Request) {
	p.keysMu.Lock()
	raw := p.raw
	var set jwkSet
	for _, k := range append([]keys{p.current}, p.old...) {
		set.Keys = append(set.Keys, k.public...)
	}
	p.keysMu.Unlock()
	p.cacheable(w)
	if raw == nil {
		writeJSON(w, http.StatusOK, set)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw)
}

func (p *IDP) cacheable(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(p.options.MaxAge.Seconds())))
}

// token is the client-credentials grant (RFC 6749 section 4.4).
func (p *IDP) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		p.refuse(w, r, refuse(BodyInvalid, http.StatusBadRequest, "invalid_request"))
		return
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	client, ok := p.options.Clients[id]
	if !ok || client.Secret != secret {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
		p.refuse(w, r, refuse(ClientUnknown, http.StatusUnauthorized, "invalid_client"))
		return
	}
	if r.PostForm.Get("grant_type") != "client_credentials" {
		p.refuse(w, r, refuse(GrantUnsupported, http.StatusBadRequest, "unsupported_grant_type"))
		return
	}
	options := make([]TokenOption, 0, len(client.Claims))
	for name, value := range client.Claims {
		options = append(options, Claim(name, value))
	}
	text, err := p.Token(id, options...)
	if err != nil {
		p.refuse(w, r, refuse(BodyInvalid, http.StatusBadRequest, "invalid_request"))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": text, "token_type": "Bearer", "expires_in": int(p.options.Lifetime.Seconds()),
	})
}

// PublishRaw makes the key-set address answer with exactly body, whatever that is. PublishRaw(nil) brings the real key set back.
func (p *IDP) PublishRaw(body json.RawMessage) {
	p.keysMu.Lock()
	defer p.keysMu.Unlock()
	p.raw = body
}
