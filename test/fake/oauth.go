package fake

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// OAuthHost is the name of Google's OAuth token endpoint.
const OAuthHost = "oauth2.googleapis.com"

// grantJWT is the grant of a signed assertion (RFC 7523 section 2.1).
const grantJWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// A Key is a long-lived credential, of a service account or of a user: what the rest of this project exists to do without.
type Key struct {
	ID    string // of the key
	Email string // whose key it is
	Kind  KeyKind

	private *rsa.PrivateKey // of a service account
	refresh string          // of a user
}

// KeyKind is the kind of a [Key], as it stands in the credential file's type.
type KeyKind string

// The kinds of keys.
const (
	ServiceAccountKey KeyKind = "service_account"
	UserKey           KeyKind = "authorized_user"
)

// NewKey makes a key.
func NewKey(email string, kind KeyKind) (Key, error) {
	k := Key{ID: randomID(), Email: email, Kind: kind, refresh: "1//" + randomID() + randomID()}
	if kind == UserKey {
		return k, nil
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Key{}, fmt.Errorf("key of %q: %w", email, err)
	}
	k.private = private
	return k, nil
}

// File returns the credential file that Google hands out with the key.
func (k Key) File() ([]byte, error) {
	if k.Kind == UserKey {
		return json.Marshal(map[string]string{
			"type": string(k.Kind), "client_id": k.clientID(), "client_secret": k.clientSecret(), "refresh_token": k.refresh,
		})
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("key of %q: %w", k.Email, err)
	}
	_, domain, _ := strings.Cut(k.Email, "@")
	project, _, _ := strings.Cut(domain, ".")
	return json.Marshal(map[string]string{
		"type": string(k.Kind), "project_id": project, "private_key_id": k.ID, "private_key": string(encodePEM("PRIVATE KEY", der)),
		"client_email": k.Email, "token_uri": "https://" + OAuthHost + "/token", "universe_domain": "googleapis.com",
	})
}

func (k Key) clientID() string     { return k.ID + ".apps.googleusercontent.com" }
func (k Key) clientSecret() string { return "GOCSPX-" + k.ID }

// OAuthOptions describe an OAuth token endpoint.
type OAuthOptions struct {
	Addr     string         // HOST:PORT to listen on; a free port of 127.0.0.1 when empty
	CA       *CA            // signs the certificate for OAuthHost; required
	Ledger   *Ledger        // remembers the tokens; required
	Keys     map[string]Key // by ID
	Lifetime time.Duration  // of tokens; 1 hour when 0
}

// OAuth is Google's OAuth token endpoint, POST /token, for the assertions of service accounts' keys and for users' refresh tokens. It is
// safe for concurrent use.
type OAuth struct {
	server
	options OAuthOptions

	oauthMu sync.Mutex
	keys    map[string]Key
	twist   Twist
}

// NewOAuth starts an OAuth token endpoint.
func NewOAuth(o OAuthOptions) (*OAuth, error) {
	if o.CA == nil || o.Ledger == nil {
		return nil, errors.New("new OAuth: CA and Ledger are required")
	}
	if o.Lifetime == 0 {
		o.Lifetime = time.Hour
	}
	cert, err := o.CA.Server(OAuthHost)
	if err != nil {
		return nil, fmt.Errorf("new OAuth: %w", err)
	}
	x := &OAuth{options: o, keys: make(map[string]Key)}
	maps.Copy(x.keys, o.Keys)
	if err := x.listen(o.Addr); err != nil {
		return nil, fmt.Errorf("new OAuth: %w", err)
	}
	x.serve(&tls.Config{Certificates: []tls.Certificate{cert}}, x.answer)
	return x, nil
}

// AddKey makes a key known.
func (x *OAuth) AddKey(k Key) {
	x.oauthMu.Lock()
	defer x.oauthMu.Unlock()
	x.keys[k.ID] = k
}

// RemoveKey makes a key worthless. Tokens issued for it go on working.
func (x *OAuth) RemoveKey(id string) {
	x.oauthMu.Lock()
	defer x.oauthMu.Unlock()
	delete(x.keys, id)
}

// Twist puts t in force for the answers from now on.
func (x *OAuth) Twist(t Twist) {
	x.oauthMu.Lock()
	defer x.oauthMu.Unlock()
	x.twist = t
}

func (x *OAuth) answer(w http.ResponseWriter, r *http.Request) {
	if x.spoil(w, r, writeOAuthError) {
		return
	}
	answer, no := x.token(w, r)
	if no != nil {
		x.note(r, no.reason, no.status)
		writeOAuthError(w, no)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, answer)
}

func (x *OAuth) token(w http.ResponseWriter, r *http.Request) (map[string]any, *refusal) {
	if r.URL.Path != "/token" || r.Method != http.MethodPost {
		return nil, refuse(NotFound, http.StatusNotFound, "there is nothing here").withOAuth("invalid_request")
	}
	form, no := readForm(w, r)
	if no != nil {
		return nil, no
	}
	x.oauthMu.Lock()
	keys, twist := maps.Clone(x.keys), x.twist
	x.oauthMu.Unlock()
	var grant Grant
	switch form.Get("grant_type") {
	case grantJWT:
		grant, no = x.assertion(keys, form.Get("assertion"))
	case "refresh_token":
		grant, no = x.refresh(keys, form)
	default:
		no = oauthRefuse(GrantUnsupported, "unsupported_grant_type", "grant_type is neither of an assertion nor of a refresh token")
	}
	if no != nil {
		return nil, no
	}
	return x.issue(grant, twist)
}

func (x *OAuth) issue(grant Grant, t Twist) (map[string]any, *refusal) {
	life := x.options.Lifetime
	if t.Lifetime != 0 {
		life = t.Lifetime
	}
	grant.Source, grant.Expiry = FromOAuth, time.Now().Add(life)
	answer := map[string]any{"access_token": "", "token_type": "Bearer", "expires_in": int(life.Seconds())}
	if t.BadExpiry {
		answer["expires_in"] = "soon"
	}
	if t.EmptyToken {
		return answer, nil
	}
	token, err := x.options.Ledger.issue(grant, t.size(1024))
	if err != nil {
		return nil, refuse(LedgerFull, http.StatusServiceUnavailable, "no more tokens").withOAuth("temporarily_unavailable")
	}
	answer["access_token"] = token
	return answer, nil
}

// assertion returns what a service account's assertion is worth: signed with RS256 by its key, for this endpoint, for an hour at most.
func (x *OAuth) assertion(keys map[string]Key, text string) (Grant, *refusal) {
	var key Key
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience("https://"+OAuthHost+"/token"), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(30*time.Second)).ParseWithClaims(text, claims, func(token *jwt.Token) (any, error) {
		id, _ := token.Header["kid"].(string)
		key = keys[id]
		if key.private == nil {
			return nil, errors.New("no such key")
		}
		return key.private.Public(), nil
	})
	if err != nil {
		return Grant{}, subjectRefusal(err)
	}
	if claims["iss"] != key.Email {
		return Grant{}, oauthRefuse(SubjectIssuer, "invalid_grant", "the assertion is not of the account that the key is of")
	}
	expiry, errExp := claims.GetExpirationTime()
	issued, errIat := claims.GetIssuedAt()
	if errors.Join(errExp, errIat) != nil || issued == nil || expiry.Sub(issued.Time) > time.Hour {
		return Grant{}, oauthRefuse(SubjectInvalid, "invalid_grant", "the assertion does not say that it lives an hour at most")
	}
	scope, _ := claims["scope"].(string)
	return scoped(key.Email, scope)
}

// refresh returns what a user's refresh token is worth.
func (x *OAuth) refresh(keys map[string]Key, form url.Values) (Grant, *refusal) {
	for _, k := range keys {
		if k.Kind != UserKey || k.clientID() != form.Get("client_id") || k.clientSecret() != form.Get("client_secret") {
			continue
		}
		if k.refresh != form.Get("refresh_token") {
			return Grant{}, oauthRefuse(SubjectForged, "invalid_grant", "the refresh token is unknown")
		}
		if form.Get("scope") == "" {
			return scoped(k.Email, ScopeCloudPlatform)
		}
		return scoped(k.Email, form.Get("scope"))
	}
	return Grant{}, oauthRefuse(ClientUnknown, "invalid_client", "the client is unknown")
}

// scoped is a grant for the scopes, which must be known and at least one.
func scoped(email, scope string) (Grant, *refusal) {
	scopes := strings.Fields(scope)
	if len(scopes) == 0 {
		return Grant{}, oauthRefuse(ScopeMissing, "invalid_scope", "scope is empty")
	}
	if slices.ContainsFunc(scopes, func(s string) bool { return !knownScope(s) }) {
		return Grant{}, oauthRefuse(ScopeUnknown, "invalid_scope", "scope has a value that is no OAuth scope of Google")
	}
	return Grant{Account: email, Scopes: scopes}, nil
}
