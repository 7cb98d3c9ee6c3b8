package fake

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The scopes that matter to the calls of this package.
const (
	ScopeCloudPlatform = "https://www.googleapis.com/auth/cloud-platform"
	ScopeReadOnly      = "https://www.googleapis.com/auth/cloud-platform.read-only"
	ScopeAIPlatform    = "https://www.googleapis.com/auth/aiplatform"
	ScopeIAM           = "https://www.googleapis.com/auth/iam"
)

// knownScope reports whether Google has the scope. The list is short: what an agent may sensibly ask for, and the defaults of a VM.
func knownScope(scope string) bool {
	switch scope {
	case ScopeCloudPlatform, ScopeReadOnly, ScopeAIPlatform, ScopeIAM, "openid",
		"https://www.googleapis.com/auth/userinfo.email",
		"https://www.googleapis.com/auth/devstorage.read_only",
		"https://www.googleapis.com/auth/logging.write",
		"https://www.googleapis.com/auth/monitoring.write":
		return true
	}
	return false
}

// Source is the party that issued an access token.
type Source string

// The parties that issue access tokens.
const (
	FromMetadata Source = "metadata" // the agent's own token
	FromIAM      Source = "iam"      // a token of an impersonated account
	FromSTS      Source = "sts"      // a federated token: a principal of a pool, and no service account
	FromOAuth    Source = "oauth"    // a token for a service account's key, or for a user's refresh token
)

// A Grant is what an access token stands for.
type Grant struct {
	Source   Source
	Account  string   // email of the service account or user; principal://… of a federated token
	Sets     []string // the principalSet://… that a federated token's principal is in
	Scopes   []string // full scope URLs
	Projects []string // projects on which the account may call Vertex AI
	Expiry   time.Time
}

// maxGrants bounds a Ledger.
const maxGrants = 1 << 16

var errLedgerFull = errors.New("ledger is full of unexpired tokens")

// A Ledger knows every access token that the fakes issued. It keeps 65,536 of them; expired ones make room for new ones, and when none
// has expired the party that wants to issue another one answers 503. It is safe for concurrent use.
type Ledger struct {
	mu     sync.Mutex
	grants map[string]Grant
}

// NewLedger returns an empty Ledger, to be shared by the parties of one sandbox.
func NewLedger() *Ledger { return &Ledger{grants: make(map[string]Grant)} }

// Grant returns what token stands for, whether or not it has expired.
func (l *Ledger) Grant(token string) (Grant, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g, ok := l.grants[token]
	return g, ok
}

// Tokens returns every token that is remembered with what it stands for. The map is the caller's own.
func (l *Ledger) Tokens() map[string]Grant {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.grants)
}

// Expire makes every token of the account expire at once, as if it had been revoked, and returns how many that were.
func (l *Ledger) Expire(account string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, n := time.Now(), 0
	for token, g := range l.grants {
		if g.Account == account && g.Expiry.After(now) {
			g.Expiry = now
			l.grants[token] = g
			n++
		}
	}
	return n
}

// issue makes a token of size bytes for g and remembers it.
func (l *Ledger) issue(g Grant, size int) (string, error) {
	g.Scopes, g.Projects, g.Sets = slices.Clone(g.Scopes), slices.Clone(g.Projects), slices.Clone(g.Sets)
	token := opaque(g.Source, size)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.grants) >= maxGrants {
		l.sweep(time.Now())
	}
	if len(l.grants) >= maxGrants {
		return "", errLedgerFull
	}
	l.grants[token] = g
	return token, nil
}

// sweep forgets expired tokens. The caller holds the lock.
func (l *Ledger) sweep(now time.Time) {
	for token, g := range l.grants {
		if !g.Expiry.After(now) {
			delete(l.grants, token)
		}
	}
}

// opaque returns a random string that looks like Google's access tokens: ya29.c.… of service accounts, ya29.d.… of federated
// principals, with the alphabet of base64url.
func opaque(source Source, size int) string {
	prefix := "ya29.c."
	if source == FromSTS {
		prefix = "ya29.d."
	}
	raw := make([]byte, max(size-len(prefix), 32))
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the process instead
	return prefix + base64.RawURLEncoding.EncodeToString(raw)[:len(raw)]
}

// bearer returns the grant behind the one bearer token of a request, given the values of its Authorization, which one of the sources must
// have issued. service names the API in the error.
func (l *Ledger) bearer(values []string, service string, sources ...Source) (Grant, *refusal) {
	info := map[string]string{"service": service}
	if len(values) > 1 {
		return Grant{}, refuse(CredentialsRepeated, http.StatusUnauthorized, "more than one Authorization header")
	}
	if len(values) == 0 {
		return Grant{}, refuse(CredentialsMissing, http.StatusUnauthorized, "no access token in the request").withInfo("googleapis.com", info)
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Grant{}, refuse(CredentialsMissing, http.StatusUnauthorized, "no bearer token in Authorization").withInfo("googleapis.com", info)
	}
	g, ok := l.Grant(token)
	if !ok || !slices.Contains(sources, g.Source) {
		return Grant{}, refuse(TokenTypeUnsupported, http.StatusUnauthorized, "not an access token for this API").withInfo("googleapis.com", info)
	}
	if !time.Now().Before(g.Expiry) {
		return Grant{}, refuse(TokenExpired, http.StatusUnauthorized, "the access token has expired").withInfo("googleapis.com", info)
	}
	return g, nil
}

// hasScope reports whether the grant has one of the scopes.
func (g Grant) hasScope(scopes ...string) bool {
	return slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(g.Scopes, s) })
}

// names returns every name under which IAM may have granted something to whoever holds the token.
func (g Grant) names() []string { return append([]string{g.Account}, g.Sets...) }
