package google

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/secret"
)

const (
	workload  = "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/corp/providers/okta"
	workforce = "//iam.googleapis.com/locations/global/workforcePools/staff/providers/okta"

	federatedMarker = "ya29.FED-MARKER" // every token of a fake STS holds it
)

// exchanged is what a fake STS accepted.
type exchanged struct {
	Form    map[string]string
	Subject string // the sub of the caller's token
}

// fakeSTS is the token method of the Security Token Service as its reference page and RFC 8693 describe it, and refuses anything else. It
// knows one issuer, whose tokens it verifies.
type fakeSTS struct {
	t   *testing.T
	key *ecdsa.PrivateKey

	mu     sync.Mutex
	seen   []exchanged
	asked  int
	life   time.Duration
	behave func(w http.ResponseWriter, r *http.Request) bool
	active int
	peak   int
}

func newFakeSTS(t testing.TB) *fakeSTS {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeSTS{key: key, life: time.Hour}
	f.t, _ = t.(*testing.T)
	return f
}

func (f *fakeSTS) set(behave func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behave = behave
}

func (f *fakeSTS) fail(status int, code, description string, header ...string) {
	f.set(func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		sendOAuthError(w, status, code, description)
		return true
	})
}

func sendOAuthError(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": description})
}

// count returns how often it was asked, whatever the answer.
func (f *fakeSTS) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *fakeSTS) accepted() []exchanged {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

// sign makes a caller's token.
func (f *fakeSTS) sign(change ...func(jwt.MapClaims)) secret.Text {
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": "https://login.example.com", "sub": "ann", "aud": "vertex", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	for _, c := range change {
		c(claims)
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(f.key)
	if err != nil {
		panic(err) // of a fake
	}
	return secret.New(text)
}

func (f *fakeSTS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked++
	n, life, behave := f.asked, f.life, f.behave
	f.active++
	f.peak = max(f.peak, f.active)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.active--
		f.mu.Unlock()
	}()
	got, code, err := f.parse(r)
	if err != nil && code == "" {
		f.t.Errorf("the fake was sent a malformed request: %v", err)
		sendOAuthError(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	if behave != nil && behave(w, r) {
		return
	}
	if err != nil {
		sendOAuthError(w, http.StatusBadRequest, code, err.Error())
		return
	}
	f.mu.Lock()
	f.seen = append(f.seen, got)
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": fmt.Sprintf("%s.%s.%d", federatedMarker, got.Subject, n), "issued_token_type": accessTokenType,
		"token_type": "Bearer", "expires_in": int(life / time.Second),
	})
}

// parse is strict: what it does not know is an error. With a code the error is one that the caller may provoke.
func (f *fakeSTS) parse(r *http.Request) (got exchanged, code string, err error) {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/token" || r.URL.RawQuery != "" || r.Header.Get("Authorization") != "" ||
		r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return got, "", fmt.Errorf("%s %s with header %v", r.Method, r.URL, slices.Collect(maps.Keys(r.Header)))
	}
	if err := r.ParseForm(); err != nil {
		return got, "", err
	}
	got.Form = map[string]string{}
	for name, values := range r.PostForm {
		if len(values) != 1 || values[0] == "" {
			return got, "", fmt.Errorf("%d values of %q", len(values), name)
		}
		got.Form[name] = values[0]
	}
	token, err := jwt.Parse(got.Form["subject_token"], func(*jwt.Token) (any, error) { return &f.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience("vertex"), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil {
		return got, "invalid_grant", errors.New("the subject token is not valid")
	}
	got.Subject, _ = token.Claims.GetSubject()
	if got.Form["audience"] != workload && got.Form["audience"] != workforce {
		return got, "invalid_target", errors.New("there is no such provider")
	}
	delete(got.Form, "subject_token")
	for name := range got.Form {
		if !slices.Contains([]string{"grant_type", "audience", "scope", "requested_token_type", "subject_token_type", "options"}, name) {
			return got, "", fmt.Errorf("field %q", name)
		}
	}
	return got, "", nil
}

// federation is a Source between a fake STS and a fake IAM.
type federation struct {
	*world
	sts *fakeSTS
}

func federationOnLoopback(t *testing.T, change ...func(*Config)) *federation {
	t.Helper()
	f := &federation{sts: newFakeSTS(t)}
	server := httptest.NewServer(f.sts)
	t.Cleanup(server.Close)
	f.world = onLoopback(t, append([]func(*Config){func(c *Config) { c.STSEndpoint = server.URL }}, change...)...)
	return f
}

func federationInBubble(t *testing.T, change ...func(*Config)) *federation {
	t.Helper()
	f := &federation{sts: newFakeSTS(t)}
	f.world = inBubble(t, append([]func(*Config){func(c *Config) {
		c.STSEndpoint = "https://sts.test"
		c.Client = &http.Client{Transport: byHost{f, c.Client.Transport}}
	}}, change...)...)
	return f
}

// byHost carries calls to STS to the fake of it.
type byHost struct {
	f     *federation
	other http.RoundTripper
}

func (b byHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "sts.test" {
		return inProcess{b.f.sts}.RoundTrip(r)
	}
	return b.other.RoundTrip(r)
}

// direct is a request that exchanges subject and no more.
func direct(subject secret.Text) Request {
	r := Request{Exchange: &Exchange{Audience: workload, Mode: Direct}, Subject: subject}
	r.SubjectDigest = sha256.Sum256([]byte(subject.Reveal()))
	var claims struct {
		Expiry int64 `json:"exp"`
	}
	if parts := strings.Split(subject.Reveal(), "."); len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &claims)
	}
	r.SubjectExpiry = time.Unix(claims.Expiry, 0)
	return r
}

// impersonating is a request that exchanges subject and mints a token of account with what comes of it.
func impersonating(subject secret.Text, account string) Request {
	r := direct(subject)
	r.Exchange.Mode, r.Account, r.Scopes = Impersonate, account, []string{scope}
	return r
}

func subject(name string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c["sub"] = name } }

func TestADirectExchangeOnTheWire(t *testing.T) {
	f := federationOnLoopback(t)
	r := direct(f.sts.sign(subject("ann")))
	for range 3 {
		token, err := f.Token(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if got := token.Value.Reveal(); got != federatedMarker+".ann.1" {
			t.Errorf("got the token %q, want the one that STS issued first", got)
		}
		if token.Account != "" || token.Fingerprint != token.Value.Fingerprint() {
			t.Errorf("got account %q and fingerprint %q", token.Account, token.Fingerprint)
		}
	}
	want := []exchanged{{Subject: "ann", Form: map[string]string{
		"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "audience": workload, "scope": platformScope,
		"requested_token_type": "urn:ietf:params:oauth:token-type:access_token", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
	}}}
	if diff := cmp.Diff(want, f.sts.accepted()); diff != "" {
		t.Errorf("STS was sent (-want +got):\n%s", diff)
	}
	if got := len(f.iam.seen()); got != 0 {
		t.Errorf("IAM was asked %d times, want never", got)
	}
}

func TestAWorkforceExchangeOnTheWire(t *testing.T) {
	f := federationOnLoopback(t)
	r := direct(f.sts.sign())
	r.Exchange = &Exchange{Audience: workforce, Mode: Direct, SubjectTokenType: IDToken, UserProject: "acme-ai", Scopes: []string{"a", "b"}}
	if _, err := f.Token(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"grant_type": grantTypeExchange, "audience": workforce, "scope": "a b", "requested_token_type": accessTokenType,
		"subject_token_type": "urn:ietf:params:oauth:token-type:id_token", "options": `{"userProject":"acme-ai"}`,
	}
	if diff := cmp.Diff(want, f.sts.accepted()[0].Form); diff != "" {
		t.Errorf("STS was sent (-want +got):\n%s", diff)
	}
}

func TestAnImpersonatingExchangeMintsWithTheCallersToken(t *testing.T) {
	f := federationOnLoopback(t)
	r := impersonating(f.sts.sign(), alice)
	r.Delegates, r.Lifetime = []string{bob}, 10*time.Minute
	token, err := f.Token(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if token.Account != alice || !strings.HasPrefix(token.Value.Reveal(), mintMarker) {
		t.Errorf("got a token of %q, want one of %q", token.Account, alice)
	}
	got := f.iam.seen()
	if len(got) != 1 || got[0].Bearer != federatedMarker+".ann.1" || got[0].Lifetime != 10*time.Minute || len(got[0].Delegates) != 1 {
		t.Errorf("IAM was asked %+v, want once with the federated token", got)
	}
}

func TestTheShortestLifeWins(t *testing.T) {
	tests := map[string]struct {
		subject, sts, lifetime, want time.Duration
		mode                         Mode
	}{
		"direct, STS ends first":           {subject: 2 * time.Hour, sts: 30 * time.Minute, want: 30 * time.Minute, mode: Direct},
		"direct, the caller ends first":    {subject: 10 * time.Minute, sts: time.Hour, want: 10 * time.Minute, mode: Direct},
		"impersonate, the account first":   {subject: 2 * time.Hour, sts: time.Hour, lifetime: 5 * time.Minute, want: 5 * time.Minute, mode: Impersonate},
		"impersonate, the caller first":    {subject: 10 * time.Minute, sts: time.Hour, lifetime: time.Hour, want: 10 * time.Minute, mode: Impersonate},
		"direct, a life of STS too long":   {subject: 20 * time.Hour, sts: 1000 * time.Hour, want: 12 * time.Hour, mode: Direct},
		"direct, the caller's last breath": {subject: 5 * time.Second, sts: time.Hour, want: 5 * time.Second, mode: Direct},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := federationInBubble(t)
				defer f.Close()
				f.sts.life = test.sts
				r := direct(f.sts.sign(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(test.subject).Unix() }))
				if test.mode == Impersonate {
					r.Exchange.Mode, r.Account, r.Scopes, r.Lifetime = Impersonate, alice, []string{scope}, test.lifetime
				}
				token, err := f.Token(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				if got := time.Until(token.Expiry); got != test.want {
					t.Errorf("the token lives %v, want %v", got, test.want)
				}
				if test.want <= 10*time.Minute {
					pass(test.want)
					if token, err := f.Token(t.Context(), r); err == nil && !time.Now().Before(token.Expiry) {
						t.Errorf("a token is handed out %v after its end", time.Since(token.Expiry))
					}
				}
			})
		})
	}
}

func TestAnExchangedTokenIsRefreshedOnUseIfThatProlongsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := federationInBubble(t)
		defer f.Close()
		long := direct(f.sts.sign(subject("long"), func(c jwt.MapClaims) { c["exp"] = time.Now().Add(10 * time.Hour).Unix() }))
		short := direct(f.sts.sign(subject("short"), func(c jwt.MapClaims) { c["exp"] = time.Now().Add(time.Hour).Unix() }))
		for range 50 {
			for _, r := range []Request{long, short} {
				if _, err := f.Token(done(), r); err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			pass(time.Minute)
		}
		n := map[string]int{}
		for _, e := range f.sts.accepted() {
			n[e.Subject]++
		}
		if n["long"] != 2 || n["short"] != 1 {
			t.Errorf("exchanged %v, want the long one twice and the short one once", n)
		}
	})
}

func TestExchangesThatAreRefused(t *testing.T) {
	status := func(code int, message string, details ...any) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			sendStatus(w, code, message, details...)
			return true
		}
	}
	oauth := func(code int, name, description string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			sendOAuthError(w, code, name, description)
			return true
		}
	}
	raw := func(code int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
			return true
		}
	}
	good := `"issued_token_type":"` + accessTokenType + `","token_type":"Bearer","expires_in":3600`
	disabled := map[string]any{"reason": "SERVICE_DISABLED", "metadata": map[string]string{"consumer": "projects/123"}}
	tests := map[string]struct {
		behave func(http.ResponseWriter, *http.Request) bool
		want   Reason
		detail string
	}{
		"invalid_grant":          {oauth(400, "invalid_grant", "The audience in ID Token [x] does not match."), ExchangeRefused, "invalid_grant: The audience in ID Token [x]"},
		"unauthorized_client":    {oauth(400, "unauthorized_client", "rejected by the attribute condition"), ExchangeRefused, "attribute condition"},
		"access_denied":          {oauth(403, "access_denied", ""), ExchangeRefused, "STS answered 403 access_denied"},
		"invalid_target":         {oauth(400, "invalid_target", "The target service is disabled or deleted."), MintInvalid, "there is no provider " + workload},
		"invalid_request":        {oauth(400, "invalid_request", "bad form"), MintInvalid, "bad form"},
		"invalid_scope":          {oauth(400, "invalid_scope", ""), MintInvalid, "invalid_scope"},
		"a code that is none":    {oauth(400, "<script>", "x"), MintInvalid, "STS answered 400"},
		"the API is off":         {status(403, "not used before", disabled), MintInvalid, "sts.googleapis.com is disabled"},
		"429":                    {oauth(429, "rate_limited", "quota"), ExchangeUnavailable, "STS answered 429 rate_limited: quota"},
		"500":                    {oauth(500, "internal_failure", ""), ExchangeUnavailable, "STS answered 500"},
		"503 of a front end":     {raw(503, "<html>no</html>"), ExchangeUnavailable, "STS answered 503"},
		"invalid_grant in a 500": {oauth(500, "invalid_grant", ""), ExchangeUnavailable, "STS answered 500"},
		"404":                    {raw(404, ""), MintInvalid, "STS answered 404"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/v1/token", http.StatusTemporaryRedirect)
			return true
		}, MintInvalid, "STS answered 307"},
		"not JSON":                  {raw(200, federatedMarker), MintInvalid, "something else"},
		"no token":                  {raw(200, `{`+good+`}`), MintInvalid, "without a token"},
		"an empty token":            {raw(200, `{"access_token":"",`+good+`}`), MintInvalid, "without a token"},
		"a token with a line break": {raw(200, `{"access_token":"a\r\nb",`+good+`}`), MintInvalid, "cannot stand in a header"},
		"no expiry":                 {raw(200, `{"access_token":"FED-MARKER","issued_token_type":"`+accessTokenType+`","token_type":"Bearer"}`), MintInvalid, "without an expiry"},
		"a life in the past":        {raw(200, `{"access_token":"FED-MARKER","issued_token_type":"`+accessTokenType+`","token_type":"Bearer","expires_in":-1}`), MintInvalid, "has expired"},
		"a token of another type":   {raw(200, `{"access_token":"FED-MARKER","issued_token_type":"`+accessTokenType+`","token_type":"mac","expires_in":3600}`), MintInvalid, "another type"},
		"a token issued as another": {raw(200, `{"access_token":"FED-MARKER","issued_token_type":"x","token_type":"Bearer","expires_in":3600}`), MintInvalid, "another type"},
		"an answer without end":     {raw(200, strings.Repeat("A", maxAnswer+1)), ExchangeUnavailable, "an answer of more than"},
		"a connection that breaks":  {func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, ExchangeUnavailable, "call http"},
		"it repeats the caller's token": {func(w http.ResponseWriter, r *http.Request) bool {
			sendOAuthError(w, 400, "invalid_grant", "bad "+r.PostFormValue("subject_token"))
			return true
		}, ExchangeRefused, "bad [secret]"},
		"it repeats a part of the token": {func(w http.ResponseWriter, r *http.Request) bool {
			sendOAuthError(w, 400, "invalid_grant", "bad "+r.PostFormValue("subject_token")[9:80])
			return true
		}, ExchangeRefused, "bad [secret]"},
	}
	for name, test := range tests {
		for _, mode := range []Mode{Direct, Impersonate} {
			t.Run(fmt.Sprint(mode, " ", name), func(t *testing.T) {
				t.Parallel()
				f := federationOnLoopback(t)
				f.sts.set(test.behave)
				subject := f.sts.sign()
				r := direct(subject)
				if mode == Impersonate {
					r = impersonating(subject, alice)
				}
				token, err := f.Token(t.Context(), r)
				e := wantReason(t, err, test.want)
				if !strings.Contains(e.Detail, test.detail) || token != (Token{}) {
					t.Errorf("got %v and detail %q, want no token and %q", token, e.Detail, test.detail)
				}
				if e.Audience != workload || e.Account != r.Account || e.RetryAfter <= 0 {
					t.Errorf("got %#v, want the audience, the account and a time", e)
				}
				for _, part := range append(strings.Split(subject.Reveal(), "."), "FED-MARKER") {
					if strings.Contains(err.Error()+e.Fix, part) {
						t.Errorf("%v holds a secret", err)
					}
				}
				if got := len(f.iam.seen()); got != 0 {
					t.Errorf("IAM was asked %d times, want never: nothing stands in for the caller's identity", got)
				}
			})
		}
	}
}

func TestTokensThatSTSDoesNotTakeAreRefusedWithoutAskingIt(t *testing.T) {
	f := federationOnLoopback(t)
	good := f.sts.sign()
	hs256, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iat": time.Now().Unix()}).SignedString([]byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(s secret.Text) Request {
		r := direct(s)
		r.SubjectExpiry = time.Now().Add(time.Hour)
		return r
	}
	tests := map[string]struct {
		r      Request
		want   Reason
		detail string
	}{
		"another algorithm":       {with(secret.New(hs256)), ExchangeUnsupported, `"HS256", want RS256 or ES256`},
		"issued yesterday":        {with(f.sts.sign(func(c jwt.MapClaims) { c["iat"] = time.Now().Add(-25 * time.Hour).Unix() })), ExchangeUnsupported, "more than 24h"},
		"no iat":                  {with(f.sts.sign(func(c jwt.MapClaims) { delete(c, "iat") })), ExchangeUnsupported, "no iat"},
		"an opaque token":         {with(secret.New("0123456789abcdef")), ExchangeUnsupported, "not a JWT"},
		"not JSON":                {with(secret.New("YQ.YQ.YQ")), ExchangeUnsupported, "not a JWT"},
		"not base64":              {with(secret.New("{}.{}.x")), ExchangeUnsupported, "not a JWT"},
		"five parts":              {with(secret.New("a.b.c.d.e")), ExchangeUnsupported, "not a JWT"},
		"an expired token":        {func() Request { r := with(good); r.SubjectExpiry = time.Now().Add(-1); return r }(), ExchangeRefused, "has expired"},
		"the digest of another":   {func() Request { r := with(good); r.SubjectDigest[0]++; return r }(), MintInvalid, "digest"},
		"no token":                {func() Request { r := with(good); r.Subject = secret.Text{}; return r }(), ExchangeUnsupported, "without a token"},
		"no digest":               {func() Request { r := with(good); r.SubjectDigest = [32]byte{}; return r }(), MintInvalid, "needs the caller's token"},
		"no expiry":               {func() Request { r := with(good); r.SubjectExpiry = time.Time{}; return r }(), MintInvalid, "needs the caller's token"},
		"direct with an account":  {func() Request { r := with(good); r.Account = alice; return r }(), MintInvalid, "direct exchange has no account"},
		"direct with scopes":      {func() Request { r := with(good); r.Scopes = []string{scope}; return r }(), MintInvalid, "direct exchange has no account"},
		"impersonating nobody":    {func() Request { r := impersonating(good, ""); return r }(), MintInvalid, "account"},
		"impersonating no scopes": {func() Request { r := impersonating(good, alice); r.Scopes = nil; return r }(), MintInvalid, "0 scopes"},
		"no mode":                 {func() Request { r := with(good); r.Exchange.Mode = ""; return r }(), MintInvalid, "mode"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			token, err := f.Token(t.Context(), test.r)
			e := wantReason(t, err, test.want)
			if !strings.Contains(e.Detail, test.detail) || token != (Token{}) {
				t.Errorf("got %v and detail %q, want no token and %q", token, e.Detail, test.detail)
			}
			if s := test.r.Subject.Reveal(); len(s) > 8 && strings.Contains(err.Error(), s) {
				t.Errorf("%v holds the caller's token", err)
			}
		})
	}
	if f.sts.count() > 0 || len(f.iam.seen()) > 0 {
		t.Error("Google was asked")
	}
}

func TestExchangeCheck(t *testing.T) {
	for name, test := range map[string]struct {
		x    Exchange
		want string // empty for nil
	}{
		"workload, direct":             {Exchange{Audience: workload, Mode: Direct}, ""},
		"workload, impersonate":        {Exchange{Audience: workload, Mode: Impersonate, SubjectTokenType: IDToken, Scopes: []string{scope}}, ""},
		"workforce":                    {Exchange{Audience: workforce, Mode: Direct, UserProject: "p"}, ""},
		"another universe":             {Exchange{Audience: strings.Replace(workload, "googleapis.com", "apis-tpczero.goog", 1), Mode: Direct}, ""},
		"the zero exchange":            {Exchange{}, "audience"},
		"an URL":                       {Exchange{Audience: "https:" + workload, Mode: Direct}, "audience"},
		"no provider":                  {Exchange{Audience: strings.TrimSuffix(workload, "/providers/okta"), Mode: Direct}, "audience"},
		"an empty part":                {Exchange{Audience: strings.Replace(workload, "123", "", 1), Mode: Direct}, "audience"},
		"more parts":                   {Exchange{Audience: workload + "/x", Mode: Direct}, "audience"},
		"a wrong part":                 {Exchange{Audience: strings.Replace(workload, "Identity", "", 1), Mode: Direct}, "audience"},
		"a wrong part of a workforce":  {Exchange{Audience: strings.Replace(workforce, "staff", "a b", 1), Mode: Direct, UserProject: "p"}, "audience"},
		"another mode":                 {Exchange{Audience: workload, Mode: "both"}, "mode"},
		"another type":                 {Exchange{Audience: workload, Mode: Direct, SubjectTokenType: "saml"}, "type"},
		"workforce, no project":        {Exchange{Audience: workforce, Mode: Direct}, "user project"},
		"workforce, a strange project": {Exchange{Audience: workforce, Mode: Direct, UserProject: `p","x":"`}, "user project"},
		"workload with a project":      {Exchange{Audience: workload, Mode: Direct, UserProject: "p"}, "user project"},
		"workforce, impersonate":       {Exchange{Audience: workforce, Mode: Impersonate, UserProject: "p"}, ""},
		"two scopes in one":            {Exchange{Audience: workload, Mode: Direct, Scopes: []string{"a b"}}, "scope"},
	} {
		err := test.x.Check()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Check() = %v, want %q", name, err, test.want)
		}
	}
	for alg, want := range map[string]bool{"RS256": true, "ES256": true, "PS256": false, "ES384": false, "EdDSA": false, "HS256": false, "none": false, "": false, "rs256": false} {
		if got := ExchangeableAlgorithm(alg); got != want {
			t.Errorf("ExchangeableAlgorithm(%q) = %v, want %v", alg, got, want)
		}
	}
}

func TestCallersDoNotShareTokens(t *testing.T) {
	f := federationOnLoopback(t)
	ann, bea := f.sts.sign(subject("ann")), f.sts.sign(subject("bea"))
	other := direct(ann)
	other.Exchange.Scopes = []string{"a"}
	seen := map[string]bool{}
	for _, r := range []Request{direct(ann), direct(bea), other, impersonating(ann, alice), impersonating(bea, alice), impersonating(ann, bob)} {
		for range 2 {
			token, err := f.Token(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			seen[token.Value.Reveal()] = true
		}
	}
	if len(seen) != 6 {
		t.Errorf("got %d tokens, want 6", len(seen))
	}
	f.Keep([]Request{direct(ann), request(alice)})
	if err := f.Warm(t.Context(), []Request{{Exchange: &Exchange{Audience: workload, Mode: Direct}}}); err != nil {
		t.Errorf("Warm fails for an exchange without a caller: %v", err)
	}
	for _, s := range f.Status() {
		if s.Account != alice || !s.Kept {
			t.Errorf("Status lists %+v", s)
		}
	}
	if got := f.Exchanges(); got.Held != 6 || got.Bytes < 6*entryBytes || got.UnderWay != 0 {
		t.Errorf("Exchanges() = %+v, want 6 held", got)
	}
}

func TestACallerWhoMayNotActAsTheAccount(t *testing.T) {
	f := federationOnLoopback(t)
	for status, want := range map[int]Reason{403: ExchangeRefused, 401: ExchangeUnavailable} {
		f.iam.fail(status, "denied")
		_, err := f.Token(t.Context(), impersonating(f.sts.sign(subject(fmt.Sprint(status))), alice))
		e := wantReason(t, err, want)
		if status == 403 {
			member := "principal://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/corp/subject/SUBJECT"
			if !strings.Contains(e.Detail, member+" needs roles/iam.workloadIdentityUser on "+alice) {
				t.Errorf("detail is %q", e.Detail)
			}
			fix := "gcloud iam service-accounts add-iam-policy-binding " + alice + " --project=team --member=" + member + " --role=roles/iam.workloadIdentityUser"
			if e.Fix != fix {
				t.Errorf("fix is %q, want %q", e.Fix, fix)
			}
		}
	}
	staff := impersonating(f.sts.sign(subject("staff")), alice)
	staff.Exchange.Audience, staff.Exchange.UserProject = workforce, "acme-ai"
	f.iam.fail(403, "denied")
	_, err := f.Token(t.Context(), staff)
	member := "principal://iam.googleapis.com/locations/global/workforcePools/staff/subject/SUBJECT"
	if e := wantReason(t, err, ExchangeRefused); !strings.Contains(e.Fix, member+" --role=roles/iam.serviceAccountTokenCreator") {
		t.Errorf("fix is %q", e.Fix)
	}
	if got := f.base.count(); got > 1 {
		t.Errorf("the agent's own token was fetched %d times: a refused caller must not touch it", got)
	}
	if _, err := f.Token(t.Context(), request(bob)); err == nil {
		t.Error("the fake IAM does not fail any more")
	}
}

func TestExchangesPerMinuteAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := federationInBubble(t, func(c *Config) { c.ExchangesPerMinute = 60 })
		defer f.Close()
		granted, limited := 0, 0
		start := time.Now()
		for i := range 600 { // ten callers a second for a minute
			_, err := f.Token(t.Context(), direct(f.sts.sign(subject(fmt.Sprint(i)))))
			switch e, _ := errors.AsType[*Error](err); {
			case err == nil:
				granted++
			case e != nil && e.Reason == ExchangeLimit && e.RetryAfter > 0:
				limited++
			default:
				t.Fatalf("caller %d: %v", i, err)
			}
			pass(100 * time.Millisecond)
		}
		if granted < 60 || granted > 72 || granted+limited != 600 || f.sts.count() != granted {
			t.Errorf("in %v %d exchanges were made and %d refused, STS counts %d; want 60 to 72", time.Since(start), granted, limited, f.sts.count())
		}
		pass(20 * time.Second)
		if _, err := f.Token(t.Context(), direct(f.sts.sign(subject("late")))); err != nil {
			t.Errorf("after a rest: %v", err)
		}
	})
}

// STS is down and many callers come: they are refused fast, STS is asked little, and it is not overrun when it is back.
func TestAnOutageOfSTS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		f := federationInBubble(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) })
		defer f.Close()
		early := direct(f.sts.sign(subject("early")))
		if _, err := f.Token(t.Context(), early); err != nil {
			t.Fatal(err)
		}
		f.sts.fail(503, "unavailable", "down")
		before := f.sts.count()
		var subjects []Request
		for i := range 1000 {
			subjects = append(subjects, direct(f.sts.sign(subject(fmt.Sprint(i)))))
		}
		start := time.Now()
		for round := range 20 { // minutes
			for _, r := range subjects[round*50 : round*50+50] {
				_, err := f.Token(t.Context(), r)
				if e := wantReason(t, err, ExchangeUnavailable); e.RetryAfter <= 0 {
					t.Errorf("no time to retry in %v", e)
				}
				if _, err := f.Token(t.Context(), early); err != nil {
					t.Fatalf("a token at hand is not handed out: %v", err)
				}
			}
			pass(time.Minute - time.Since(start)%time.Minute)
		}
		if got := f.sts.count() - before; got < 20 || got > 20*20 {
			t.Errorf("STS was asked %d times in an outage of 20 minutes, want some and at most 400", got)
		}
		if !f.Exchanges().STSDown {
			t.Error("Exchanges() does not tell that STS is down")
		}
		f.sts.set(nil)
		back := time.Now()
		var group sync.WaitGroup
		for _, r := range subjects {
			group.Go(func() {
				for {
					if _, err := f.Token(t.Context(), r); err == nil {
						return
					}
					<-time.After(250 * time.Millisecond)
				}
			})
		}
		group.Wait()
		if took := time.Since(back); took > 45*time.Second {
			t.Errorf("all callers are served after %v, want 45s at most", took)
		}
		if f.sts.peak > maxParallel {
			t.Errorf("%d exchanges at once, want %d at most", f.sts.peak, maxParallel)
		}
		if f.Exchanges().STSDown {
			t.Error("Exchanges() tells that STS is down")
		}
		if n, m := strings.Count(log.String(), "party=STS detail="), strings.Count(log.String(), "calls are made again"); n != 1 || m != 1 {
			t.Errorf("the outage is logged %d times, its end %d times, want once each:\n%s", n, m, log)
		}
	})
}

func TestRetryAfterOfSTSHoldsForAllCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := federationInBubble(t)
		defer f.Close()
		f.sts.fail(429, "rate_limited", "quota", "Retry-After", "30")
		_, err := f.Token(t.Context(), direct(f.sts.sign(subject("1"))))
		_ = wantReason(t, err, ExchangeUnavailable)
		f.sts.set(nil)
		pass(20 * time.Second)
		_, err = f.Token(t.Context(), direct(f.sts.sign(subject("2"))))
		_ = wantReason(t, err, ExchangeUnavailable)
		if got := f.sts.count(); got != 1 {
			t.Errorf("STS was asked %d times, want once", got)
		}
		pass(11 * time.Second)
		if _, err := f.Token(t.Context(), direct(f.sts.sign(subject("3")))); err != nil {
			t.Error(err)
		}
	})
}

func TestIAMBeingDownSpendsNoExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := federationInBubble(t)
		defer f.Close()
		f.iam.fail(503, "down")
		for i := range 50 {
			_, err := f.Token(t.Context(), impersonating(f.sts.sign(subject(fmt.Sprint(i))), alice))
			_ = wantReason(t, err, MintUnavailable)
		}
		if got := f.sts.count(); got > 15 {
			t.Errorf("STS was asked %d times, want 15 at most", got)
		}
		if _, err := f.Token(t.Context(), direct(f.sts.sign())); err != nil {
			t.Errorf("a direct exchange does not need IAM: %v", err)
		}
		f.iam.set(nil)
		pass(10 * time.Second)
		if _, err := f.Token(t.Context(), impersonating(f.sts.sign(), alice)); err != nil {
			t.Error(err)
		}
	})
}

func TestExchangedTokensAreBoundedInNumberAndBytes(t *testing.T) {
	tests := map[string]struct {
		change func(*Config)
		most   int
	}{
		"in number": {func(c *Config) { c.Exchanged = 10 }, 10},
		"in bytes":  {func(c *Config) { c.ExchangedBytes = 10 * (entryBytes + 40) }, 10},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := federationInBubble(t, test.change)
				defer f.Close()
				first := direct(f.sts.sign(subject("first")))
				for i := range 40 {
					if _, err := f.Token(t.Context(), direct(f.sts.sign(subject(fmt.Sprint(i))))); err != nil {
						t.Fatal(err)
					}
					if _, err := f.Token(t.Context(), first); err != nil {
						t.Fatal(err)
					}
					if got := f.Exchanges(); got.Held > test.most || got.Bytes > test.most*(entryBytes+40) {
						t.Fatalf("%+v are held, want %d at most", got, test.most)
					}
				}
				if got := f.Exchanges(); got.Held < test.most-1 {
					t.Errorf("%+v are held, want about %d", got, test.most)
				}
				if got := f.sts.count(); got != 41 {
					t.Errorf("%d exchanges, want 41: the one in use is not forgotten", got)
				}
				pass(2 * time.Hour)
				for i := range 3 {
					_, _ = f.Token(t.Context(), direct(f.sts.sign(subject(fmt.Sprint("late", i)))))
				}
				if got := f.Exchanges(); got.Held > 5 {
					t.Errorf("%+v are held, want those that expired to be forgotten", got)
				}
			})
		})
	}
}

func TestDropOfAnExchangedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := federationInBubble(t)
		defer f.Close()
		r := direct(f.sts.sign())
		get := func() string {
			t.Helper()
			token, err := f.Token(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return token.Value.Reveal()
		}
		first := get()
		f.Drop(r)
		synctest.Wait()
		second := get()
		f.Drop(r)
		if third := get(); first == second || second != third || f.sts.count() != 2 {
			t.Errorf("got %q, %q, %q, want a new one once per cooldown", first, second, third)
		}
		pass(dropCooldown)
		without := r
		without.Subject = secret.Text{}
		f.Drop(without)
		synctest.Wait()
		if got := f.sts.count(); got != 2 {
			t.Errorf("%d exchanges, want 2: there is no token to exchange", got)
		}
		if fourth := get(); fourth == second {
			t.Error("the dropped token is handed out")
		}
	})
}

func TestEverythingAtOnceWithExchanges(t *testing.T) {
	f := federationOnLoopback(t, func(c *Config) { c.Exchanged = 5 })
	var rs []Request
	for i := range 12 {
		rs = append(rs, direct(f.sts.sign(subject(fmt.Sprintf("s%d", i)))))
	}
	var group sync.WaitGroup
	for worker := range 6 {
		group.Go(func() {
			for i := range 60 {
				n := (i*7 + worker) % len(rs)
				token, err := f.Token(t.Context(), rs[n])
				if err != nil {
					if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Detail, "evicted") {
						t.Errorf("caller %d: %v", n, err)
					}
					continue
				}
				if !strings.Contains(token.Value.Reveal(), fmt.Sprintf(".s%d.", n)) {
					t.Errorf("caller %d gets the token of another", n)
				}
				f.Drop(rs[(i+1)%len(rs)])
				_ = f.Exchanges()
			}
		})
	}
	group.Wait()
	group.Go(f.Close)
	group.Go(func() { _, _ = f.Token(t.Context(), rs[0]) })
	group.Wait()
	if _, err := f.Token(t.Context(), rs[0]); err == nil {
		t.Error("a closed source hands out a token")
	}
}

func TestNoSecretOfAnExchangeIsPrinted(t *testing.T) {
	log := &lockedBuffer{}
	var printed strings.Builder
	f := federationOnLoopback(t, func(c *Config) {
		c.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.OnExchange = func(audience string, _ time.Duration, err error) {
			_, _ = fmt.Fprintf(log, "%s %v %+v %#v", audience, err, err, err)
		}
	})
	subject := f.sts.sign()
	f.iam.set(func(w http.ResponseWriter, r *http.Request, _ call) bool {
		sendStatus(w, 403, "refused "+r.Header.Get("Authorization"))
		return true
	})
	for _, r := range []Request{direct(subject), impersonating(subject, alice)} {
		token, err := f.Token(t.Context(), r)
		_, _ = fmt.Fprintf(&printed, "%v %+v %#v %v %+v %#v %v %+v %#v", token, token, token, err, err, err, r, r, r)
		_, _ = fmt.Fprintf(&printed, "%+v %+v", f.Status(), f.Exchanges())
		result, checked := f.Check(t.Context(), r)
		_, _ = fmt.Fprintf(&printed, "%+v %+v", result, checked)
	}
	f.Close()
	text := printed.String() + log.String()
	for _, part := range append(strings.Split(subject.Reveal(), "."), "FED-MARKER", "MINT-MARKER") {
		if strings.Contains(text, part) {
			t.Errorf("%q is printed:\n%s", part, text)
		}
	}
}

func FuzzFederated(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","issued_token_type":"`+accessTokenType+`","token_type":"Bearer","expires_in":3600}`), 200)
	f.Add([]byte(`{"error":"invalid_grant","error_description":"x"}`), 400)
	f.Add([]byte(`{"error":"0123456789abcdef"}`), 400)
	f.Add([]byte(`{"error":{"message":"x","details":[{"reason":"SERVICE_DISABLED","metadata":{"consumer":"projects/1"}}]}}`), 403)
	r := Request{Exchange: &Exchange{Audience: workload, Mode: Direct}, SubjectExpiry: time.Now().Add(time.Hour), Subject: secret.New("0123456789abcdef")}
	s := &sts{endpoint: "https://sts.test"}
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		now := wall()
		token, failure := federated(r, body, now)
		if (failure == nil) != (token != Token{}) {
			t.Fatalf("got %v and %v", token, failure)
		}
		if failure == nil && (!visible(token.Value.Reveal()) || !now.Before(token.Expiry) || token.Expiry.After(r.SubjectExpiry)) {
			t.Fatalf("got %v until %v", token, token.Expiry)
		}
		e := s.refused(r, &http.Response{StatusCode: status}, body)
		if e.Reason == "" || len(e.Detail) > 4*maxForeign || strings.ContainsAny(e.Detail+e.Fix, "\r\n\x00") || strings.Contains(e.Error(), "0123456789ab") {
			t.Fatalf("got %#v", e)
		}
	})
}

func FuzzExchangeable(f *testing.F) {
	f.Add("eyJhbGciOiJFUzI1NiJ9.eyJpYXQiOjF9.x", int64(1))
	f.Add("..", int64(0))
	f.Fuzz(func(t *testing.T, text string, now int64) {
		r := direct(secret.New(text))
		r.SubjectExpiry = time.Unix(now+10, 0)
		if e := exchangeable(r, time.Unix(now, 0)); e != nil && (len(e.Detail) > maxForeign || e.Reason == "") {
			t.Errorf("got %#v", e)
		}
	})
}
