package fake

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// IAMHost is the name of the IAM Credentials API.
const IAMHost = "iamcredentials.googleapis.com"

// An Account is a service account that can be impersonated. The zero Account can be used by nobody, for nothing.
type Account struct {
	Impersonators []string // emails, principal://… and principalSet://… with roles/iam.serviceAccountTokenCreator on this account
	Projects      []string // projects on which this account has aiplatform.endpoints.predict
	LongLived     bool     // tokens may live 12 hours instead of 1 (constraints/iam.allowServiceAccountCredentialLifetimeExtension)
}

// IAMOptions describe an IAM Credentials API.
type IAMOptions struct {
	Addr       string             // HOST:PORT to listen on; a free port of 127.0.0.1 when empty
	CA         *CA                // signs the certificate for IAMHost; plain HTTP, for any Host, when nil
	Ledger     *Ledger            // knows the callers' tokens and remembers the minted ones; required
	Accounts   map[string]Account // by email
	TokenBytes int                // size of a minted token; 1,024 when 0
}

// A Twist makes the answers of a party that issues tokens wrong where a [Fault] would make them fail. The zero Twist is none.
type Twist struct {
	EmptyToken bool          // a 200 whose token is ""
	BadExpiry  bool          // a 200 whose expiry is not one; over gRPC, none at all; at STS, a number in quotes that is none
	Lifetime   time.Duration // of tokens whatever was asked for; negative: they have expired when they come; 0: as asked
	TokenBytes int           // size of tokens; 0: as configured. Google says that federated ones may have 12 KB
}

func (t Twist) size(configured int) int { return cmp.Or(t.TokenBytes, configured) }

// A Mint records one call of generateAccessToken that no fault answered, minted or refused.
type Mint struct {
	Time      time.Time
	Caller    string // email, or principal://…, behind the bearer token; empty when it was refused
	GRPC      bool   // asked over gRPC
	Account   string // email in the request's name
	Delegates []string
	Scopes    []string
	Lifetime  time.Duration // as asked for; 0 when not given
	Reason    Reason        // empty when a token was minted
}

// Count says how often a token of one account was asked for, and how often one was minted.
type Count struct{ Asked, Minted int }

const (
	maxMints   = 1024
	maxCounted = 4096
)

// IAM is the IAM Credentials API over REST and over gRPC, at one address as the real one: generateAccessToken and nothing else. A token of
// any party that issues them mints a token of another account when its holder may, directly or along exactly the delegates given: each
// account of the chain needs the next one's roles/iam.serviceAccountTokenCreator. It is safe for concurrent use.
type IAM struct {
	server
	options IAMOptions
	rpc     *grpc.Server

	iamMu    sync.Mutex
	accounts map[string]Account
	counts   map[string]Count
	mints    []Mint
	twist    Twist
}

// NewIAM starts an IAM Credentials API.
func NewIAM(o IAMOptions) (*IAM, error) {
	if o.Ledger == nil {
		return nil, errors.New("new IAM: no Ledger")
	}
	if o.TokenBytes == 0 {
		o.TokenBytes = 1024
	}
	var conf *tls.Config
	if o.CA != nil {
		cert, err := o.CA.Server(IAMHost)
		if err != nil {
			return nil, fmt.Errorf("new IAM: %w", err)
		}
		conf = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	x := &IAM{options: o, accounts: make(map[string]Account), counts: make(map[string]Count)}
	maps.Copy(x.accounts, o.Accounts)
	x.rpc, x.h2c = newRPC(x), true
	if err := x.listen(o.Addr); err != nil {
		return nil, fmt.Errorf("new IAM: %w", err)
	}
	x.serve(conf, x.answer)
	return x, nil
}

// SetAccount adds or replaces an account. Tokens minted before keep what they had.
func (x *IAM) SetAccount(email string, a Account) {
	x.iamMu.Lock()
	defer x.iamMu.Unlock()
	x.accounts[email] = a
}

// RemoveAccount makes an account unknown. Tokens minted before go on working.
func (x *IAM) RemoveAccount(email string) {
	x.iamMu.Lock()
	defer x.iamMu.Unlock()
	delete(x.accounts, email)
}

// Twist puts t in force for the answers from now on.
func (x *IAM) Twist(t Twist) {
	x.iamMu.Lock()
	defer x.iamMu.Unlock()
	x.twist = t
}

// Count returns the counts of one account. Requests that a fault spoiled count as asked.
func (x *IAM) Count(email string) Count {
	x.iamMu.Lock()
	defer x.iamMu.Unlock()
	return x.counts[email]
}

// Mints returns the last 1,024 calls, oldest first.
func (x *IAM) Mints() []Mint {
	x.iamMu.Lock()
	defer x.iamMu.Unlock()
	return slices.Clone(x.mints)
}

func (x *IAM) answer(w http.ResponseWriter, r *http.Request) {
	host := x.options.CA == nil || strings.TrimSuffix(r.Host, ":443") == IAMHost
	if host && isGRPC(r) {
		x.answerRPC(w, r)
		return
	}
	name, ok := methodName(r)
	if !ok || !host {
		x.refuse(w, r, refuse(NotFound, http.StatusNotFound, "no such method"))
		return
	}
	m := Mint{Time: time.Now(), Account: strings.TrimPrefix(name, accountPrefix)}
	x.count(m.Account, Count{Asked: 1})
	if x.spoil(w, r, writeRPC) {
		return
	}
	answer, no := x.generate(r.Header.Values("Authorization"), name, &m, func() (tokenRequest, *refusal) { return readTokenRequest(w, r, name) })
	x.record(m, no)
	if no != nil {
		x.refuse(w, r, no)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (x *IAM) refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	x.note(r, no.reason, no.status)
	writeRPC(w, no)
}

const accountPrefix = "projects/-/serviceAccounts/"

// methodName returns the resource name of a generateAccessToken call, which may still be a wrong one.
func methodName(r *http.Request) (string, bool) {
	path, v1 := strings.CutPrefix(r.URL.Path, "/v1/")
	name, method := strings.CutSuffix(path, ":generateAccessToken")
	return name, v1 && method && r.Method == http.MethodPost
}

// tokenRequest is GenerateAccessTokenRequest (google/iam/credentials/v1/common.proto) in JSON.
type tokenRequest struct {
	Name      *string  `json:"name"`
	Delegates []string `json:"delegates"`
	Scope     []string `json:"scope"`
	Lifetime  *string  `json:"lifetime"`
}

type tokenAnswer struct {
	AccessToken string `json:"accessToken"`
	ExpireTime  string `json:"expireTime"`
}

// generate decides one call and mints. authorization are the values of that header; read returns the body. It fills m with what was asked
// for, as far as it got.
func (x *IAM) generate(authorization []string, name string, m *Mint, read func() (tokenRequest, *refusal)) (tokenAnswer, *refusal) {
	grant, no := x.options.Ledger.bearer(authorization, IAMHost, FromMetadata, FromSTS, FromOAuth, FromIAM)
	if no != nil {
		return tokenAnswer{}, no
	}
	m.Caller = grant.Account
	if !grant.hasScope(ScopeCloudPlatform, ScopeIAM) {
		return tokenAnswer{}, insufficient(IAMHost)
	}
	if !validName(name) {
		return tokenAnswer{}, refuse(NameInvalid, http.StatusBadRequest, "name is not projects/-/serviceAccounts/EMAIL")
	}
	req, no := read()
	if no != nil {
		return tokenAnswer{}, no
	}
	m.Delegates, m.Scopes = req.Delegates, req.Scope
	if no := req.check(); no != nil {
		return tokenAnswer{}, no
	}
	x.iamMu.Lock()
	account, ok := x.accounts[m.Account]
	twist := x.twist
	x.iamMu.Unlock()
	if !ok {
		return tokenAnswer{}, refuse(AccountUnknown, http.StatusNotFound, fmt.Sprintf("no service account %q", m.Account))
	}
	life, given, ok := req.life(account.LongLived)
	if !ok {
		return tokenAnswer{}, refuse(LifetimeInvalid, http.StatusBadRequest, "lifetime is not a duration this account's tokens can have")
	}
	if given {
		m.Lifetime = life
	}
	if !x.mayImpersonate(grant.names(), req.Delegates, m.Account) {
		return tokenAnswer{}, denied("iam.googleapis.com", "iam.serviceAccounts.getAccessToken", "service account")
	}
	return x.mint(m.Account, account, req.Scope, life, twist)
}

// insufficient refuses a token whose scopes do not cover the call.
func insufficient(service string) *refusal {
	return refuse(ScopeInsufficient, http.StatusForbidden, "the access token's scopes do not cover this call").
		withInfo("googleapis.com", map[string]string{"service": service})
}

// denied refuses an account that lacks a permission.
func denied(domain, permission, resource string) *refusal {
	return refuse(PermissionDenied, http.StatusForbidden, fmt.Sprintf("permission %q denied on %s", permission, resource)).
		withInfo(domain, map[string]string{"permission": permission})
}

func validName(name string) bool {
	email, ok := strings.CutPrefix(name, accountPrefix)
	local, domain, at := strings.Cut(email, "@")
	return ok && at && local != "" && domain != "" && !strings.ContainsAny(email, "/:*? ")
}

func readTokenRequest(w http.ResponseWriter, r *http.Request, name string) (tokenRequest, *refusal) {
	wrong := refuse(BodyInvalid, http.StatusBadRequest, "body is not the JSON of a GenerateAccessTokenRequest for this name")
	if !isJSON(r.Header) {
		return tokenRequest{}, wrong
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		return tokenRequest{}, refuse(BodyTooLarge, http.StatusRequestEntityTooLarge, "body is too large or incomplete")
	}
	var req tokenRequest
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return tokenRequest{}, wrong
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) || (req.Name != nil && *req.Name != name) {
		return tokenRequest{}, wrong
	}
	return req, nil
}

// check checks what does not depend on any account.
func (q tokenRequest) check() *refusal {
	if slices.ContainsFunc(q.Delegates, func(d string) bool { return !validName(d) }) {
		return refuse(DelegatesInvalid, http.StatusBadRequest, "a delegate is not projects/-/serviceAccounts/EMAIL")
	}
	if len(q.Scope) == 0 {
		return refuse(ScopeMissing, http.StatusBadRequest, "scope is empty")
	}
	if slices.ContainsFunc(q.Scope, func(s string) bool { return !knownScope(s) }) {
		return refuse(ScopeUnknown, http.StatusBadRequest, "scope has a value that is no OAuth scope of Google")
	}
	return nil
}

// seconds is google.protobuf.Duration in JSON.
var seconds = regexp.MustCompile(`^[0-9]{1,12}(\.[0-9]{1,9})?s$`)

// life returns the lifetime to mint for, and whether the request named one. The third result is false for one out of range.
func (q tokenRequest) life(long bool) (time.Duration, bool, bool) {
	if q.Lifetime == nil {
		return time.Hour, false, true
	}
	if !seconds.MatchString(*q.Lifetime) {
		return 0, true, false
	}
	d, err := time.ParseDuration(*q.Lifetime)
	limit := time.Hour
	if long {
		limit = 12 * time.Hour
	}
	return d, true, err == nil && d >= time.Second && d <= limit
}

// mayImpersonate walks the chain: caller, under any of its names, delegates in order, target.
func (x *IAM) mayImpersonate(caller, delegates []string, target string) bool {
	x.iamMu.Lock()
	defer x.iamMu.Unlock()
	holder := caller
	for _, next := range append(slices.Clone(delegates), target) {
		next = strings.TrimPrefix(next, accountPrefix)
		if !slices.ContainsFunc(x.accounts[next].Impersonators, func(name string) bool { return slices.Contains(holder, name) }) {
			return false
		}
		holder = []string{next}
	}
	return true
}

func (x *IAM) mint(email string, a Account, scopes []string, life time.Duration, t Twist) (tokenAnswer, *refusal) {
	if t.Lifetime != 0 {
		life = t.Lifetime
	}
	expiry := time.Now().Add(life).Truncate(time.Second)
	answer := tokenAnswer{ExpireTime: expiry.UTC().Format(time.RFC3339)}
	if !t.EmptyToken {
		grant := Grant{Source: FromIAM, Account: email, Scopes: scopes, Projects: a.Projects, Expiry: expiry}
		token, err := x.options.Ledger.issue(grant, t.size(x.options.TokenBytes))
		if err != nil {
			return tokenAnswer{}, refuse(LedgerFull, http.StatusServiceUnavailable, "no more tokens")
		}
		answer.AccessToken = token
	}
	if t.BadExpiry {
		answer.ExpireTime = "soon"
	}
	x.count(email, Count{Minted: 1})
	return answer, nil
}

// count adds to an account's counts. Beyond 4,096 accounts, new ones are not counted.
func (x *IAM) count(email string, n Count) {
	x.iamMu.Lock()
	defer x.iamMu.Unlock()
	c, ok := x.counts[email]
	if !ok && len(x.counts) >= maxCounted {
		return
	}
	x.counts[email] = Count{c.Asked + n.Asked, c.Minted + n.Minted}
}

// record remembers a call that was refused, or with nil one that was not.
func (x *IAM) record(m Mint, no *refusal) {
	if no != nil {
		m.Reason = no.reason
	}
	x.iamMu.Lock()
	defer x.iamMu.Unlock()
	if len(x.mints) == maxMints {
		x.mints = slices.Delete(x.mints, 0, 1)
	}
	x.mints = append(x.mints, m)
}
