package fake

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"
)

// STSHost is the name of Google's Security Token Service.
const STSHost = "sts.googleapis.com"

// The identifiers of a token exchange (RFC 8693 section 2.1 and 3).
const (
	GrantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	TypeAccessToken    = "urn:ietf:params:oauth:token-type:access_token"
	TypeJWT            = "urn:ietf:params:oauth:token-type:jwt"
	TypeIDToken        = "urn:ietf:params:oauth:token-type:id_token"
	TypeAWSRequest     = "urn:ietf:params:aws:token-type:aws4_request"
)

// A Provider is a provider of a workload identity pool or of a workforce pool: whose tokens are taken, and what they become. It is one of
// OIDC, with Issuer and JWKS, or one of AWS, with AWSAccount.
type Provider struct {
	Issuer    string   // exact iss
	JWKS      string   // address of the issuer's key set, which is fetched for each exchange
	Audiences []string // what aud may be; the provider's own https resource name when empty
	Subject   string   // the claim that becomes google.subject; "sub" when empty
	Groups    string   // the claim that becomes google.groups; none when empty

	AWSAccount string // the account whose roles are taken
}

// STSOptions describe a Security Token Service.
type STSOptions struct {
	Addr       string              // HOST:PORT to listen on; a free port of 127.0.0.1 when empty
	CA         *CA                 // signs the certificate for STSHost; plain HTTP, for any Host, when nil
	Ledger     *Ledger             // remembers the federated tokens; required
	Client     *http.Client        // fetches key sets; one that knows no proxy when nil
	Providers  map[string]Provider // by full resource name: //iam.googleapis.com/projects/NUMBER/…, //iam.googleapis.com/locations/global/workforcePools/…
	AWS        *AWS                // knows what signed requests are worth; needed by providers of AWS alone
	Access     map[string][]string // projects that may be used without impersonation, by principal://… or principalSet://…
	Lifetime   time.Duration       // of federated tokens; 1 hour when 0. None outlives its subject token
	TokenBytes int                 // size of a federated token; 1,024 when 0
}

// An Exchange records one call of the token endpoint that no fault answered, exchanged or refused.
type Exchange struct {
	Time        time.Time
	Audience    string // resource name of the provider, as asked for
	Type        string // of the subject token
	Scopes      []string
	UserProject string // of the options; workforce pools only
	Principal   string // principal://… that the token is for; empty when it was refused
	Reason      Reason // empty when a token was issued
}

const (
	maxExchanges  = 1024
	maxSubjectAge = 24 * time.Hour
)

// STS is Google's Security Token Service: POST /v1/token, the token exchange of RFC 8693, and nothing else. What it takes it has verified:
// the form, the provider, and the subject token with its signature, algorithm, issuer, audience and age. It answers as RFC 6749 section
// 5.2 says, not with google.rpc.Status. It is safe for concurrent use.
type STS struct {
	server
	options STSOptions

	stsMu     sync.Mutex
	providers map[string]Provider
	access    map[string][]string
	exchanges []Exchange
	twist     Twist
}

// NewSTS starts a Security Token Service.
func NewSTS(o STSOptions) (*STS, error) {
	if o.Ledger == nil {
		return nil, errors.New("new STS: no Ledger")
	}
	for name, p := range o.Providers {
		if err := p.check(name, o.AWS); err != nil {
			return nil, fmt.Errorf("new STS: %w", err)
		}
	}
	if o.Client == nil {
		o.Client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	}
	if o.Lifetime == 0 {
		o.Lifetime = time.Hour
	}
	if o.TokenBytes == 0 {
		o.TokenBytes = 1024
	}
	var conf *tls.Config
	if o.CA != nil {
		cert, err := o.CA.Server(STSHost)
		if err != nil {
			return nil, fmt.Errorf("new STS: %w", err)
		}
		conf = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	s := &STS{options: o, providers: make(map[string]Provider), access: make(map[string][]string)}
	maps.Copy(s.providers, o.Providers)
	maps.Copy(s.access, o.Access)
	if err := s.listen(o.Addr); err != nil {
		return nil, fmt.Errorf("new STS: %w", err)
	}
	s.serve(conf, s.answer)
	return s, nil
}

var (
	workloadProvider = regexp.MustCompile(
		`^//iam\.googleapis\.com/projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}/providers/[a-z0-9-]{4,32}$`)
	workforceProvider = regexp.MustCompile(
		`^//iam\.googleapis\.com/locations/global/workforcePools/[a-z0-9-]{6,63}/providers/[a-z0-9-]{4,32}$`)
)

func (p Provider) check(name string, aws *AWS) error {
	switch {
	case !workloadProvider.MatchString(name) && !workforceProvider.MatchString(name):
		return fmt.Errorf("%q is not the resource name of a provider", name)
	case p.AWSAccount != "" && aws == nil:
		return fmt.Errorf("provider %q: there is no AWS", name)
	case p.AWSAccount == "" && (p.Issuer == "" || p.JWKS == ""):
		return fmt.Errorf("provider %q: Issuer and JWKS are required", name)
	}
	return nil
}

// SetProvider adds or replaces a provider.
func (s *STS) SetProvider(name string, p Provider) error {
	if err := p.check(name, s.options.AWS); err != nil {
		return err
	}
	s.stsMu.Lock()
	defer s.stsMu.Unlock()
	s.providers[name] = p
	return nil
}

// RemoveProvider makes a provider unknown. Tokens issued before go on working.
func (s *STS) RemoveProvider(name string) {
	s.stsMu.Lock()
	defer s.stsMu.Unlock()
	delete(s.providers, name)
}

// SetAccess says which projects a principal://… or principalSet://… may use without impersonation. Tokens issued before keep what they had.
func (s *STS) SetAccess(name string, projects ...string) {
	s.stsMu.Lock()
	defer s.stsMu.Unlock()
	s.access[name] = projects
}

// Twist puts t in force for the answers from now on.
func (s *STS) Twist(t Twist) {
	s.stsMu.Lock()
	defer s.stsMu.Unlock()
	s.twist = t
}

// Exchanges returns the last 1,024 calls, oldest first.
func (s *STS) Exchanges() []Exchange {
	s.stsMu.Lock()
	defer s.stsMu.Unlock()
	return slices.Clone(s.exchanges)
}

func (s *STS) answer(w http.ResponseWriter, r *http.Request) {
	if s.spoil(w, r, writeOAuthError) {
		return
	}
	e := Exchange{Time: time.Now()}
	answer, no := s.exchange(w, r, &e)
	if no != nil {
		e.Principal, e.Reason = "", no.reason
		s.note(r, no.reason, no.status)
	}
	s.record(e)
	if no != nil {
		writeOAuthError(w, no)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, answer)
}

func (s *STS) record(e Exchange) {
	s.stsMu.Lock()
	defer s.stsMu.Unlock()
	if len(s.exchanges) == maxExchanges {
		s.exchanges = slices.Delete(s.exchanges, 0, 1)
	}
	s.exchanges = append(s.exchanges, e)
}

// stsAnswer is the answer of a token exchange (RFC 8693 section 2.2.1).
type stsAnswer struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       any    `json:"expires_in"`
}

// exchange decides one call and issues a token. It fills e with what was asked for, as far as it got.
func (s *STS) exchange(w http.ResponseWriter, r *http.Request, e *Exchange) (stsAnswer, *refusal) {
	form, no := s.readForm(w, r)
	if no != nil {
		return stsAnswer{}, no
	}
	e.Audience, e.Type, e.Scopes = form.audience, form.kind, form.scopes
	e.UserProject = form.userProject
	s.stsMu.Lock()
	provider, ok := s.providers[form.audience]
	twist := s.twist
	s.stsMu.Unlock()
	if !ok {
		return stsAnswer{}, oauthRefuse(PoolUnknown, "invalid_target", "the audience is not a provider that exists")
	}
	who, no := s.identify(r.Context(), provider, form)
	if no != nil {
		return stsAnswer{}, no
	}
	return s.issue(form, who, twist, e)
}

// issue makes the federated token.
func (s *STS) issue(form stsForm, who subject, t Twist, e *Exchange) (stsAnswer, *refusal) {
	life := min(s.options.Lifetime, time.Until(who.expiry))
	if t.Lifetime != 0 {
		life = t.Lifetime
	}
	e.Principal = form.principal(who.id)
	grant := Grant{Source: FromSTS, Account: e.Principal, Sets: form.sets(who), Scopes: form.scopes, Expiry: time.Now().Add(life)}
	s.stsMu.Lock()
	for _, name := range grant.names() {
		grant.Projects = append(grant.Projects, s.access[name]...)
	}
	s.stsMu.Unlock()
	answer := stsAnswer{IssuedTokenType: TypeAccessToken, TokenType: "Bearer", ExpiresIn: int(life.Seconds())}
	if t.BadExpiry {
		answer.ExpiresIn = "soon"
	}
	if !t.EmptyToken {
		token, err := s.options.Ledger.issue(grant, t.size(s.options.TokenBytes))
		if err != nil {
			return stsAnswer{}, refuse(LedgerFull, http.StatusServiceUnavailable, "no more tokens").withOAuth("temporarily_unavailable")
		}
		answer.AccessToken = token
	}
	return answer, nil
}

// identify verifies the subject token as the provider's kind demands.
func (s *STS) identify(ctx context.Context, p Provider, f stsForm) (subject, *refusal) {
	if (p.AWSAccount != "") != (f.kind == TypeAWSRequest) {
		return subject{}, oauthRefuse(SubjectTypeUnsupported, "invalid_request", "the provider takes another subject_token_type")
	}
	if p.AWSAccount != "" {
		return s.options.AWS.subject(p, f)
	}
	return s.verify(ctx, p, f)
}
