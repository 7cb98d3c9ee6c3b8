package fake

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// MetadataOptions describe a virtual machine's metadata server.
type MetadataOptions struct {
	Addr          string        // HOST:PORT to listen on; a free port of 127.0.0.1 when empty
	Ledger        *Ledger       // remembers the tokens; required
	Account       string        // email of the machine's service account; required
	Project       string        // project id; required
	ProjectNumber string        // "123456789012" when empty
	Scopes        []string      // scopes of the machine; cloud-platform alone when empty
	Lifetime      time.Duration // of tokens; 1 hour when 0
}

// Metadata is the metadata server of a Compute Engine virtual machine, as far as credentials need it:
//
//	/                                  (no header needed: this is how clients find out where they run)
//	/computeMetadata/v1/project/{project-id,numeric-project-id}
//	/computeMetadata/v1/universe/{universe_domain,universe-domain}
//	/computeMetadata/v1/instance/service-accounts/{default,EMAIL}/{,aliases,email,scopes,token}
//
// Like the real one it hands out the same token again until a twelfth of its lifetime is left (5 minutes of an hour). It is safe for
// concurrent use.
type Metadata struct {
	server
	options MetadataOptions

	tokenMu sync.Mutex
	cached  map[string]string // by scopes
	asked   int
	twist   Twist
}

// maxScopeSets bounds the tokens a Metadata hands out again. One more scope set and it starts afresh.
const maxScopeSets = 64

// NewMetadata starts a metadata server, which speaks plain HTTP as the real one does.
func NewMetadata(o MetadataOptions) (*Metadata, error) {
	if o.Ledger == nil || o.Account == "" || o.Project == "" {
		return nil, errors.New("new metadata server: Ledger, Account and Project are required")
	}
	if o.ProjectNumber == "" {
		o.ProjectNumber = "123456789012"
	}
	if len(o.Scopes) == 0 {
		o.Scopes = []string{ScopeCloudPlatform}
	}
	if o.Lifetime == 0 {
		o.Lifetime = time.Hour
	}
	m := &Metadata{options: o, cached: make(map[string]string)}
	if err := m.listen(o.Addr); err != nil {
		return nil, fmt.Errorf("new metadata server: %w", err)
	}
	m.serve(nil, m.answer)
	return m, nil
}

// TokenRequests returns how often a token was asked for, answered or not.
func (m *Metadata) TokenRequests() int {
	m.tokenMu.Lock()
	defer m.tokenMu.Unlock()
	return m.asked
}

// Twist puts t in force for the tokens from now on: none of them is handed out again.
func (m *Metadata) Twist(t Twist) {
	m.tokenMu.Lock()
	defer m.tokenMu.Unlock()
	m.twist = t
	clear(m.cached)
}

// MetadataHabits are the ways in which real metadata servers fail for a while and then work, by what makes them do so. Each heals after
// two requests for a token.
func MetadataHabits() map[string]Fault {
	habit := func(f Fault) Fault {
		f.Only, f.Times = "/token", 2
		return f
	}
	return map[string]Fault{
		"the server is starting":         habit(Fault{Status: http.StatusServiceUnavailable}),
		"too many ask at once":           habit(Fault{Status: http.StatusTooManyRequests, RetryAfter: "1"}),
		"the server behind it has ended": habit(Fault{Status: http.StatusBadGateway, Page: "<html><title>502 Bad Gateway</title></html>"}),
		"IAM behind it is slow":          habit(Fault{Status: http.StatusGatewayTimeout}),
		"it fails":                       habit(Fault{Status: http.StatusInternalServerError}),
		"the node's server restarts":     habit(Fault{Reset: true}),
	}
}

func (m *Metadata) answer(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Metadata-Flavor", "Google")
	h.Set("Server", "Metadata Server for VM")
	h.Set("X-XSS-Protection", "0")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	if strings.HasSuffix(r.URL.Path, "/token") {
		m.tokenMu.Lock()
		m.asked++
		m.tokenMu.Unlock()
	}
	if m.spoil(w, r, writeMetadataError) {
		return
	}
	if no := m.admit(r); no != nil {
		m.refuse(w, r, no)
		return
	}
	if r.URL.Path == "/" {
		writeText(w, "computeMetadata/\n")
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/computeMetadata/v1/")
	if !ok {
		m.refuse(w, r, missing(r))
		return
	}
	switch path {
	case "project/project-id":
		writeText(w, m.options.Project)
	case "project/numeric-project-id":
		writeText(w, m.options.ProjectNumber)
	case "universe/universe_domain", "universe/universe-domain":
		writeText(w, "googleapis.com")
	case "instance/service-accounts/":
		writeText(w, "default/\n"+m.options.Account+"/\n")
	default:
		m.account(w, r, path)
	}
}

// admit checks what the real server checks before it looks at the path.
func (m *Metadata) admit(r *http.Request) *refusal {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return refuse(MethodRefused, http.StatusMethodNotAllowed, "This server answers GET only.")
	}
	if len(r.Header.Values("X-Forwarded-For")) > 0 {
		return refuse(ForwardedRefused, http.StatusForbidden, "This server does not answer requests that were forwarded.")
	}
	if flavor := r.Header.Values("Metadata-Flavor"); r.URL.Path != "/" && !slices.Equal(flavor, []string{"Google"}) {
		return refuse(FlavorMissing, http.StatusForbidden, "This request lacks the header Metadata-Flavor: Google.")
	}
	return nil
}

// account answers for the one service account, under its email or the alias default.
func (m *Metadata) account(w http.ResponseWriter, r *http.Request, path string) {
	rest, ok := strings.CutPrefix(path, "instance/service-accounts/")
	name, leaf, slash := strings.Cut(rest, "/")
	if !ok || !slash || (name != "default" && name != m.options.Account) {
		m.refuse(w, r, missing(r))
		return
	}
	switch leaf {
	case "":
		m.directory(w, r)
	case "aliases":
		writeText(w, "default\n")
	case "email":
		writeText(w, m.options.Account)
	case "scopes":
		writeText(w, strings.Join(m.options.Scopes, "\n")+"\n")
	case "token":
		m.token(w, r)
	default:
		m.refuse(w, r, missing(r))
	}
}

func (m *Metadata) directory(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("recursive") != "true" {
		writeText(w, "aliases\nemail\nscopes\ntoken\n")
		return
	}
	w.Header().Set("ETag", randomID())
	writeMetadataJSON(w, map[string]any{
		"aliases": []string{"default"}, "email": m.options.Account, "scopes": m.options.Scopes,
	})
}

func (m *Metadata) token(w http.ResponseWriter, r *http.Request) {
	scopes := m.options.Scopes
	if list := r.URL.Query().Get("scopes"); list != "" {
		scopes = strings.Split(list, ",")
	}
	for _, s := range scopes {
		if !knownScope(s) {
			m.refuse(w, r, refuse(ScopeUnknown, http.StatusBadRequest, "This server does not know a scope that was asked for."))
			return
		}
	}
	token, left, err := m.issue(scopes)
	if err != nil {
		m.refuse(w, r, refuse(LedgerFull, http.StatusServiceUnavailable, "No more tokens."))
		return
	}
	answer := map[string]any{"access_token": token, "expires_in": int(left.Seconds()), "token_type": "Bearer"}
	if m.badExpiry() {
		answer["expires_in"] = "soon"
	}
	writeMetadataJSON(w, answer)
}

func (m *Metadata) badExpiry() bool {
	m.tokenMu.Lock()
	defer m.tokenMu.Unlock()
	return m.twist.BadExpiry
}

// issue returns the token for the scopes and what is left of its life: the one handed out before, unless it is about to expire.
func (m *Metadata) issue(scopes []string) (string, time.Duration, error) {
	scopes = slices.Compact(slices.Sorted(slices.Values(scopes)))
	key := strings.Join(scopes, ",")
	m.tokenMu.Lock()
	defer m.tokenMu.Unlock()
	if token, ok := m.cached[key]; ok {
		g, known := m.options.Ledger.Grant(token)
		if left := time.Until(g.Expiry); known && left > m.options.Lifetime/12 {
			return token, left, nil
		}
	}
	if len(m.cached) >= maxScopeSets {
		clear(m.cached)
	}
	life := cmp.Or(m.twist.Lifetime, m.options.Lifetime)
	if m.twist.EmptyToken {
		return "", life, nil
	}
	grant := Grant{Source: FromMetadata, Account: m.options.Account, Scopes: scopes, Expiry: time.Now().Add(life)}
	token, err := m.options.Ledger.issue(grant, m.twist.size(1024))
	if err != nil {
		return "", 0, fmt.Errorf("token for %q: %w", m.options.Account, err)
	}
	m.cached[key] = token
	return token, life, nil
}

func missing(r *http.Request) *refusal {
	return refuse(NotFound, http.StatusNotFound, fmt.Sprintf("There is no %s here.", r.URL.Path))
}

func (m *Metadata) refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	m.note(r, no.reason, no.status)
	writeMetadataError(w, no)
}

// writeMetadataError answers with a small HTML page, as the metadata server does: its errors are not JSON.
func writeMetadataError(w http.ResponseWriter, no *refusal) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(no.status)
	_, _ = fmt.Fprintf(w, "<!DOCTYPE html>\n<html lang=en>\n<title>Error %d (%s)</title>\n<p>%s\n",
		no.status, http.StatusText(no.status), html.EscapeString(no.message))
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/text")
	_, _ = w.Write([]byte(text))
}

func writeMetadataJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		writeMetadataError(w, refuse(Injected, http.StatusInternalServerError, "This answer cannot be written."))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}
