package provider

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Client is a client of an OpenID provider.
type Client struct {
	ID        string   `json:"id"`
	Secret    string   `json:"secret"`
	Groups    []string `json:"groups,omitempty"`    // in the access tokens it gets
	Bound     bool     `json:"bound,omitempty"`     // its access tokens are bound to its TLS certificate (RFC 8705)
	Redirect  string   `json:"redirect,omitempty"`  // where users come back to; with it the client signs users in, and gets nothing for itself
	Algorithm string   `json:"algorithm,omitempty"` // of its ID tokens; RS256 when empty
}

// Options describe an OpenID provider. All but CA are required.
type Options struct {
	Issuer   string        // https://NAME
	Cert     string        // PEM file with a certificate for that name and its private key
	CA       string        // PEM file with who vouches for client certificates; without it none are asked for
	Audience string        // of access tokens
	Lifetime time.Duration // of tokens
	Clients  []Client
	Dir      string // for its log
}

// Format is the form of an access token: opaque, or a JWT of an algorithm (RFC 9068).
type Format string

// The forms of access tokens.
const (
	Opaque Format = "opaque"
	RS256  Format = "RS256"
	PS256  Format = "PS256"
	ES256  Format = "ES256"
	EdDSA  Format = "EdDSA"
)

// For is the format with a lifetime of its own, in whole seconds, in place of the provider's.
func (f Format) For(life time.Duration) Format {
	return Format(fmt.Sprintf("%s/%d", f, int(life.Seconds())))
}

// resource is the name under which a token of the format is asked for.
func (f Format) resource() string { return "https://vertex.example.com/" + string(f) }

// Rotation is a way to change the signing keys.
type Rotation string

// The ways to change the signing keys.
const (
	Overlap  Rotation = "overlap"  // new ones sign; the ones before stay published
	Announce Rotation = "announce" // new ones are published, and sign from the next Overlap on
	Hard     Rotation = "hard"     // new ones sign; the ones before are withdrawn
)

// OIDC is oidc-provider, a certified OpenID provider, in a process of its own. It listens on loopback, for requests under the issuer's
// name. The clients that its methods are given must find the way there.
type OIDC struct {
	options Options
	program *Program
	addr    string
	control string
	http    *http.Client // for the control
}

// Start starts a provider and waits until it listens.
func Start(ctx context.Context, n *Node, o Options) (*OIDC, error) {
	config, err := json.Marshal(map[string]any{
		"issuer": o.Issuer, "cert": o.Cert, "ca": o.CA, "audience": o.Audience, "lifetime": int(o.Lifetime.Seconds()), "clients": o.Clients,
	})
	if err != nil {
		return nil, fmt.Errorf("start provider %q: %w", o.Issuer, err)
	}
	p, err := n.Start(ctx, filepath.Join(o.Dir, "oidc-provider.log"), nil, "oidc.mjs", string(config))
	if err != nil {
		return nil, fmt.Errorf("start provider %q: %w", o.Issuer, err)
	}
	var ports struct{ Port, Control int }
	if err := p.Line(&ports); err != nil {
		p.Close()
		return nil, fmt.Errorf("start provider %q: %w", o.Issuer, err)
	}
	return &OIDC{
		options: o, program: p, addr: fmt.Sprintf("127.0.0.1:%d", ports.Port), control: fmt.Sprintf("http://127.0.0.1:%d", ports.Control),
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}, nil
}

// Addr returns the HOST:PORT that the issuer's name must lead to.
func (o *OIDC) Addr() string { return o.addr }

// Close ends the provider.
func (o *OIDC) Close() { o.program.Close() }

// Rotate changes the signing keys. When it returns the new ones are published.
func (o *OIDC) Rotate(ctx context.Context, r Rotation) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.control+"/rotate/"+string(r), nil)
	if err != nil {
		return err
	}
	res, err := o.http.Do(req)
	if err != nil {
		return fmt.Errorf("rotate keys: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return fmt.Errorf("rotate keys: %s: %s", res.Status, text)
	}
	return nil
}

// Token gets an access token for the client itself (RFC 6749 section 4.4, RFC 8707).
func (o *OIDC) Token(ctx context.Context, hc *http.Client, c Client, f Format) (string, error) {
	answer, err := o.post(ctx, hc, "/token", c, url.Values{
		"grant_type": {"client_credentials"}, "resource": {f.resource()},
	})
	if err != nil {
		return "", err
	}
	token, _ := answer["access_token"].(string)
	return token, nil
}

// Introspect asks what a token is worth (RFC 7662).
func (o *OIDC) Introspect(ctx context.Context, hc *http.Client, c Client, token string) (map[string]any, error) {
	return o.post(ctx, hc, "/token/introspection", c, url.Values{"token": {token}})
}

// Revoke revokes a token (RFC 7009).
func (o *OIDC) Revoke(ctx context.Context, hc *http.Client, c Client, token string) error {
	_, err := o.post(ctx, hc, "/token/revocation", c, url.Values{"token": {token}})
	return err
}

// Session is what a client gets for a user who has signed in.
type Session struct{ IDToken, AccessToken string }

// Login signs a user in at the provider's own pages, as a browser would, and returns what the client gets for the code, the access token in
// the format (OpenID Connect Core 1.0 section 3.1, RFC 7636, RFC 8707).
func (o *OIDC) Login(ctx context.Context, hc *http.Client, c Client, user string, f Format) (Session, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return Session{}, err
	}
	browser := &http.Client{Transport: hc.Transport, Timeout: hc.Timeout, Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), c.Redirect) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	verifier := rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	code, err := o.authorize(ctx, browser, user, url.Values{
		"client_id": {c.ID}, "response_type": {"code"}, "redirect_uri": {c.Redirect}, "scope": {"openid email groups predict"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"}, "state": {rand.Text()},
		"resource": {f.resource()},
	})
	if err != nil {
		return Session{}, fmt.Errorf("sign %q in: %w", user, err)
	}
	answer, err := o.post(ctx, hc, "/token", c, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.Redirect}, "code_verifier": {verifier},
		"resource": {f.resource()},
	})
	if err != nil {
		return Session{}, fmt.Errorf("sign %q in: %w", user, err)
	}
	var s Session
	s.IDToken, _ = answer["id_token"].(string)
	s.AccessToken, _ = answer["access_token"].(string)
	return s, nil
}

// form is what a page of the provider wants to be sent, and where to.
var form = regexp.MustCompile(`(?s)<form[^>]*action="([^"]+)"[^>]*>.*?name="prompt" value="([a-z]+)"`)

// authorize fills in the provider's forms until it sends the browser back with a code.
func (o *OIDC) authorize(ctx context.Context, browser *http.Client, user string, query url.Values) (string, error) {
	res, err := send(ctx, browser, http.MethodGet, o.options.Issuer+"/auth?"+query.Encode(), nil)
	for range 4 {
		if err != nil {
			return "", err
		}
		if back, err := res.Location(); err == nil {
			if back.Query().Get("state") != query.Get("state") || back.Query().Get("code") == "" {
				return "", fmt.Errorf("came back with the error %q", back.Query().Get("error"))
			}
			return back.Query().Get("code"), nil
		}
		page := form.FindStringSubmatch(res.body)
		if page == nil {
			return "", fmt.Errorf("%s without a form", res.Status)
		}
		res, err = send(ctx, browser, http.MethodPost, html.UnescapeString(page[1]), url.Values{
			"prompt": {page[2]}, "login": {user}, "password": {"any"},
		})
	}
	return "", errors.New("too many forms")
}

// post sends a form as the client and returns the JSON of the answer.
func (o *OIDC) post(ctx context.Context, hc *http.Client, path string, c Client, values url.Values) (map[string]any, error) {
	values.Set("client_id", c.ID)
	values.Set("client_secret", c.Secret)
	res, err := send(ctx, hc, http.MethodPost, o.options.Issuer+path, values)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{}
	if res.body != "" {
		if err := json.Unmarshal([]byte(res.body), &answer); err != nil {
			return nil, fmt.Errorf("%s: %s, and no JSON", path, res.Status)
		}
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %v: %v", path, res.Status, answer["error"], answer["error_description"])
	}
	return answer, nil
}

// response is an answer that was read to its end.
type response struct {
	*http.Response
	body string
}

// send sends a form, or with nil nothing.
func send(ctx context.Context, hc *http.Client, method, address string, values url.Values) (response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(values.Encode()))
	if err != nil {
		return response{}, err
	}
	if values != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := hc.Do(req)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return response{res, string(text)}, err
}
