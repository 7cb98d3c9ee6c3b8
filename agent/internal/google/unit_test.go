package google

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/secret"
)

func TestRequestsThatCannotBeMinted(t *testing.T) {
	change := func(f func(*Request)) Request {
		r := request(alice)
		f(&r)
		return r
	}
	account := func(s string) Request { return change(func(r *Request) { r.Account = s }) }
	tests := map[string]struct {
		r      Request
		detail string
	}{
		"the zero request":           {Request{}, "account"},
		"no account":                 {account(""), "account"},
		"a short name":               {account("alice"), "account"},
		"a numeric id":               {account("123456789012345678901"), "account"},
		"two ats":                    {account("a@b@c.d"), "account"},
		"no user":                    {account("@team.iam.gserviceaccount.com"), "account"},
		"no domain":                  {account("alice@"), "account"},
		"a domain without a dot":     {account("alice@team"), "account"},
		"a path":                     {account("../alice@team.iam.gserviceaccount.com"), "account"},
		"dots in a row":              {account("a..b@team.iam.gserviceaccount.com"), "account"},
		"a query":                    {account("alice@team.iam.gserviceaccount.com?x"), "account"},
		"another method":             {account("alice@team.iam.gserviceaccount.com:signBlob"), "account"},
		"a percent sign":             {account("alice%40x@team.iam.gserviceaccount.com"), "account"},
		"a line break":               {account("alice@team.iam.gserviceaccount.com\r\nx"), "account"},
		"a letter beyond ASCII":      {account("älice@team.iam.gserviceaccount.com"), "account"},
		"a name beyond bounds":       {account(strings.Repeat("a", 255) + "@b.c"), "account"},
		"no scope":                   {change(func(r *Request) { r.Scopes = nil }), "0 scopes"},
		"an empty scope":             {change(func(r *Request) { r.Scopes = []string{scope, ""} }), "scope"},
		"two scopes in one":          {change(func(r *Request) { r.Scopes = []string{"a b"} }), "scope"},
		"a long scope":               {change(func(r *Request) { r.Scopes = []string{strings.Repeat("a", 513)} }), "scope"},
		"many scopes":                {change(func(r *Request) { r.Scopes = make([]string, 65) }), "65 scopes"},
		"a delegate without domain":  {change(func(r *Request) { r.Delegates = []string{bob, "carol"} }), "delegate"},
		"many delegates":             {change(func(r *Request) { r.Delegates = make([]string, 17) }), "17 delegates"},
		"a negative lifetime":        {change(func(r *Request) { r.Lifetime = -time.Hour }), "lifetime"},
		"a short lifetime":           {change(func(r *Request) { r.Lifetime = 5*time.Minute - time.Second }), "lifetime"},
		"a long lifetime":            {change(func(r *Request) { r.Lifetime = 12*time.Hour + time.Second }), "lifetime"},
		"a lifetime with a fraction": {change(func(r *Request) { r.Lifetime = 900*time.Second + 1 }), "lifetime"},
		"the longest of durations":   {change(func(r *Request) { r.Lifetime = math.MaxInt64 }), "lifetime"},
		"a digest of a caller":       {change(func(r *Request) { r.SubjectDigest[31] = 1 }), "no exchange of it"},
		"a caller's token":           {change(func(r *Request) { r.Subject = secret.New("x") }), "no exchange of it"},
		"a caller's expiry":          {change(func(r *Request) { r.SubjectExpiry = time.Now() }), "no exchange of it"},
	}
	w := onLoopback(t)
	w.mustGet(t, request(alice)) // at hand, and not to be had by a request with a digest
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, ctx := range []context.Context{t.Context(), canceled} {
				token, err := w.Token(ctx, test.r)
				e := wantReason(t, err, MintInvalid)
				if !strings.Contains(e.Detail, test.detail) || token != (Token{}) {
					t.Errorf("got %v and %v, want no token and detail %q", token, err, test.detail)
				}
				if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 1000 {
					t.Errorf("the error %q is not one short line", err)
				}
			}
			w.Drop(test.r)
			w.Keep([]Request{test.r})
		})
	}
	if got := len(w.iam.seen()); got != 1 {
		t.Errorf("IAM was called %d times, want once", got)
	}
}

func TestEmails(t *testing.T) {
	for _, email := range []string{
		alice, "123-compute@developer.gserviceaccount.com", "p@appspot.gserviceaccount.com", "a@p.example.com.iam.gserviceaccount.com",
		"service-1@gcp-sa-aiplatform.iam.gserviceaccount.com", "a_b.c@p.iam.gserviceaccount.com",
	} {
		if !validEmail(email) {
			t.Errorf("validEmail(%q) = false, want true", email)
		}
	}
}

func TestKeysTellRequestsApart(t *testing.T) {
	rs := []Request{
		{}, {Account: "a"}, {Scopes: []string{"a"}}, {Delegates: []string{"a"}}, {Delegates: []string{""}}, {Scopes: []string{""}},
		{Scopes: []string{"a", "b"}}, {Scopes: []string{"b", "a"}}, {Scopes: []string{"ab"}}, {Scopes: []string{"", "ab"}},
		{Delegates: []string{"a"}, Scopes: []string{"b"}}, {Delegates: []string{"a", "b"}}, {Account: "a", Delegates: []string{"b"}},
		{Account: "ab"}, {Lifetime: 1}, {Lifetime: -1}, {SubjectDigest: [32]byte{1}}, {SubjectDigest: [32]byte{31: 1}},
		{Account: strings.Repeat("a", 600)}, {Account: strings.Repeat("a", 601)},
		{Exchange: &Exchange{}}, {Exchange: &Exchange{Audience: "a"}}, {Exchange: &Exchange{Mode: "a"}}, {Exchange: &Exchange{UserProject: "a"}},
		{Exchange: &Exchange{SubjectTokenType: IDToken}}, {Exchange: &Exchange{Scopes: []string{"a"}}}, {Exchange: &Exchange{Scopes: []string{"a", "b"}}},
		{Exchange: &Exchange{Audience: "a", Mode: Direct}}, {Exchange: &Exchange{Audience: "a", Mode: Impersonate}},
		{Exchange: &Exchange{Audience: "a"}, SubjectDigest: [32]byte{1}}, {Exchange: &Exchange{Audience: "a"}, SubjectDigest: [32]byte{2}},
	}
	seen := map[key]int{}
	for i, r := range rs {
		if j, ok := seen[r.key()]; ok {
			t.Errorf("requests %d and %d share a key", i, j)
		}
		seen[r.key()] = i
		if r.clone().key() != r.key() {
			t.Errorf("request %d and its clone differ", i)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("a", "b", "c", "d", int64(0), "a", "b", "c", "d", int64(0))
	f.Add("a", "bc", "", "d", int64(1), "a", "b", "c", "d", int64(1))
	f.Fuzz(func(t *testing.T, a1, d1, s1, x1 string, l1 int64, a2, d2, s2, x2 string, l2 int64) {
		build := func(a, d, s, x string, l int64) Request {
			return Request{Account: a, Delegates: strings.Split(d, ","), Scopes: append(strings.Split(s, ","), x), Lifetime: time.Duration(l)}
		}
		r1, r2 := build(a1, d1, s1, x1, l1), build(a2, d2, s2, x2, l2)
		same := r1.lifetime() == r2.lifetime()
		r1.Lifetime, r2.Lifetime = r1.lifetime(), r2.lifetime()
		same = same && r1.Account == r2.Account && cmp.Equal(r1.Delegates, r2.Delegates) && cmp.Equal(r1.Scopes, r2.Scopes)
		if got := r1.key() == r2.key(); got != same {
			t.Errorf("keys of %+v and %+v equal is %v, want %v", r1, r2, got, same)
		}
	})
}

func TestIssue(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		life, earliest, latest, until time.Duration
	}{
		"an hour":          {time.Hour, 30 * time.Minute, 2250 * time.Second, 59 * time.Minute},
		"five minutes":     {5 * time.Minute, 150 * time.Second, 188 * time.Second, 270 * time.Second},
		"ten minutes":      {10 * time.Minute, 5 * time.Minute, 375 * time.Second, 9 * time.Minute},
		"a moment":         {time.Second, time.Second, time.Second, 900 * time.Millisecond},
		"a nanosecond":     {1, time.Second, time.Second, 1},
		"half a day":       {12 * time.Hour, 6 * time.Hour, 450 * time.Minute, 719 * time.Minute},
		"what is over":     {-time.Hour, time.Second, time.Second, -54 * time.Minute},
		"exactly no token": {0, time.Second, time.Second, 0},
	}
	for name, test := range tests {
		token := Token{Value: secret.New("x"), Expiry: now.Add(test.life)}
		early, late := issue(token, now, 0), issue(token, now, 1)
		got := [3]time.Duration{
			early.refresh.Sub(now).Round(time.Second), late.refresh.Sub(now).Round(time.Second), early.until.Sub(now),
		}
		if want := [3]time.Duration{test.earliest, test.latest, test.until}; got != want {
			t.Errorf("%s: refreshed from %v to %v and handed out until %v, want %v", name, got[0], got[1], got[2], want)
		}
		if early.until.After(token.Expiry) && test.life > 0 {
			t.Errorf("%s: handed out after its expiry", name)
		}
		if test.life <= 0 && early.usable(now) {
			t.Errorf("%s: usable", name)
		}
	}
	if (*issued)(nil).usable(now) || (&issued{}).usable(now) {
		t.Error("the zero token is usable")
	}
}

func TestPause(t *testing.T) {
	unavailable, forbidden := &Error{Reason: MintUnavailable}, &Error{Reason: AccountForbidden}
	busy := &Error{Reason: MintUnavailable, RetryAfter: 20 * time.Second}
	tests := map[string]struct {
		n         int
		err       *Error
		left      time.Duration
		low, high time.Duration
	}{
		"the first failure":                        {1, unavailable, 0, 400 * time.Millisecond, 500 * time.Millisecond},
		"the third":                                {3, unavailable, 0, 1600 * time.Millisecond, 2 * time.Second},
		"many while callers are refused":           {100, unavailable, 0, 4 * time.Second, 5 * time.Second},
		"many with a token at hand":                {100, unavailable, 20 * time.Minute, 24 * time.Second, 30 * time.Second},
		"many with a token that is about to end":   {100, unavailable, time.Minute, 4 * time.Second, 5 * time.Second},
		"many that an administrator has to end":    {100, forbidden, 0, 24 * time.Second, 30 * time.Second},
		"more than a number can count":             {math.MaxInt, unavailable, 0, 4 * time.Second, 5 * time.Second},
		"the first, with a time the server wishes": {1, busy, 0, 20 * time.Second, 20 * time.Second},
		"many, with a shorter time than ours":      {100, busy, time.Hour, 24 * time.Second, 30 * time.Second},
		"a wish beyond reason":                     {1, &Error{RetryAfter: math.MaxInt64}, 0, time.Minute, time.Minute},
	}
	for name, test := range tests {
		low, high := pause(test.n, test.err, test.left, 0), pause(test.n, test.err, test.left, 1)
		if low != test.low || high != test.high {
			t.Errorf("%s: pause from %v to %v, want %v to %v", name, low, high, test.low, test.high)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "60": time.Minute, "61": time.Minute, "99999999999999": 0, "-1": 0, "1.5": 0,
		"soon": 0, "Sun, 01 Nov 2026 12:00:30 GMT": 30 * time.Second, "Sun, 01 Nov 2026 11:00:00 GMT": 0, "Mon, 01 Nov 2100 11:00:00 GMT": time.Minute,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
	if got := retryAfter(nil, now); got != 0 {
		t.Errorf("retryAfter of no header = %v, want 0", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "7", "-7", "99999999999999999999", "Sun, 01 Nov 2026 12:00:30 GMT", "Mon, 01-Jan-99 00:00:00 GMT"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got < 0 || got > maxRetryAfter {
			t.Errorf("retryAfter(%q) = %v, want 0 to %v", text, got, maxRetryAfter)
		}
	})
}

// FuzzAnswer gives the library and what comes after it any status and body: nothing panics, what is accepted is a usable token of the
// account, and what is refused leaves no token and no long text.
func FuzzAnswer(f *testing.F) {
	future := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	f.Add(200, []byte(`{"accessToken":"ya29.x","expireTime":"`+future+`"}`), "")
	f.Add(200, []byte(`{"accessToken":"","expireTime":"2000-01-01T00:00:00Z"}`), "")
	f.Add(200, []byte(`{"accessToken":"ya29.x","expireTime":"9999-12-31T23:59:59.999999999Z"}`), "")
	f.Add(403, []byte(`{"error":{"code":403,"message":"no","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"IAM_PERMISSION_DENIED","metadata":{"permission":"p"}}]}}`), "")
	f.Add(429, []byte(`{"error":{"code":429,"errors":[{"domain":"d","reason":"r"}]}}`), "5")
	f.Add(503, []byte(`[{"error":"x"}]`), "Sun, 01 Nov 2026 12:00:30 GMT")
	f.Add(500, []byte(`{"error":{"code":"x","details":[null,1,{"@type":null}]}}`), "x")
	f.Add(302, []byte{0xff}, "")

	var status int
	var body []byte
	var retry string
	fake := newFakeIAM(nil)
	fake.set(func(w http.ResponseWriter, _ *http.Request, _ call) bool {
		w.Header().Set("Retry-After", retry)
		w.WriteHeader(status)
		_, _ = w.Write(body)
		return true
	})
	base := newFakeBase()
	own := &entry{tasks: &tasks{}, mint: Base(base.token).mint}
	m, err := newIAM(Config{Endpoint: "https://iam.test", Client: &http.Client{Transport: inProcess{fake}}}, own)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s int, b []byte, after string) {
		status, body, retry = 100+max(s%500, -s%500)+100, b, after
		fake.calls = nil
		token, err := m.mint(t.Context(), request(alice))
		if err == nil {
			left := time.Until(token.Expiry)
			if !visible(token.Value.Reveal()) || left <= 0 || left > time.Hour || token.Account != alice || status > 299 {
				t.Errorf("accepted %q with status %d as %v", body, status, token)
			}
			return
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || token != (Token{}) || len(e.Detail) > 4*maxForeign || !visible(strings.ReplaceAll(e.Detail, " ", "_")) ||
			e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter || e.Err != nil {
			t.Errorf("refused %q with status %d as %#v", body, status, err)
		}
	})
}

func TestReasonsAreClosedAndDistinct(t *testing.T) {
	want := []Reason{"CREDENTIALS_UNAVAILABLE", "ACCOUNT_FORBIDDEN", "MINT_UNAVAILABLE", "MINT_INVALID",
		"EXCHANGE_REFUSED", "EXCHANGE_UNSUPPORTED", "EXCHANGE_UNAVAILABLE", "EXCHANGE_LIMIT"}
	if diff := cmp.Diff(want, Reasons()); diff != "" {
		t.Errorf("Reasons() differ (-want +got):\n%s", diff)
	}
}

func TestErrorText(t *testing.T) {
	for want, e := range map[string]*Error{
		`mint a token of "alice@team.iam.gserviceaccount.com": MINT_UNAVAILABLE: IAM answered 503`: {Reason: MintUnavailable, Account: alice, Detail: "IAM answered 503"},
		`exchange the caller's token at "//a": EXCHANGE_REFUSED: x`:                                {Reason: ExchangeRefused, Audience: "//a", Detail: "x"},
		`exchange the caller's token at "//a" for one of "b@c.d": EXCHANGE_REFUSED: x`:             {Reason: ExchangeRefused, Audience: "//a", Account: "b@c.d", Detail: "x"},
		`mint the agent's own token: CREDENTIALS_UNAVAILABLE: x: context canceled`:                 {Reason: CredentialsUnavailable, Detail: "x", Err: context.Canceled},
	} {
		if got := e.Error(); got != want {
			t.Errorf("Error() = %q, want %q", got, want)
		}
	}
}

func TestAMintWithoutTheOwnTokenPausesAsLongAsThatOne(t *testing.T) {
	own := &Error{Reason: CredentialsUnavailable, Detail: "gone", RetryAfter: 3 * time.Second}
	late := &Error{Reason: MintUnavailable, Detail: "not ended", RetryAfter: 3 * time.Second, Err: context.DeadlineExceeded}
	for _, test := range []struct{ err, want error }{
		{own, &Error{Reason: CredentialsUnavailable, Account: alice, Detail: "gone", RetryAfter: 3 * time.Second}},
		{late, &Error{Reason: CredentialsUnavailable, Account: alice, Detail: "the agent's own token did not come in time"}},
	} {
		if diff := cmp.Diff(test.want, error(withoutOwn(request(alice), test.err))); diff != "" {
			t.Errorf("withoutOwn(%v) differs (-want +got):\n%s", test.err, diff)
		}
	}
}

func TestClean(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"line breaks":           {"a\r\nb\tc\x00d", "a b c d"},
		"text beyond ASCII":     {"a\u2028é\xffb", "a b"},
		"a secret":              {"the token SECRET is bad: SECRET", "the token [secret] is bad: [secret]"},
		"a secret at the bound": {strings.Repeat("a", maxForeign-3) + "SECRET", strings.Repeat("a", maxForeign-3) + "[se"},
		"a long text":           {strings.Repeat("é", 10_000), ""},
		"a very long text":      {strings.Repeat("a", 1<<20), strings.Repeat("a", maxForeign)},
		"nothing":               {"", ""},
		"the end of a secret":   {"and 4567890abcdefg, too", "and [secret], too"},
		"the middle, twice":     {"34567890abcdef34567890abcdef", "[secret][secret]"},
		"a few bytes of it":     {"0abcdefg", "0abcdefg"},
		"the secret and a part": {"1234567890abcdefg 1234567890ab", "[secret] [secret]"},
	}
	for name, test := range tests {
		if got := clean(test.text, secret.New("SECRET"), secret.Text{}, secret.New("1234567890abcdefg")); got != test.want {
			t.Errorf("%s: clean() = %q, want %q", name, got, test.want)
		}
	}
}

func TestCheckEnvironment(t *testing.T) {
	tests := []struct {
		name, variable, value string
		refused               bool
	}{
		{"nothing set", "GOOGLE_SDK_GO_LOGGING_LEVEL", "", false},
		{"info", "GOOGLE_SDK_GO_LOGGING_LEVEL", "info", true},
		{"a level of tomorrow", "GOOGLE_SDK_GO_LOGGING_LEVEL", "Trace", true},
		{"debug", "GOOGLE_SDK_GO_LOGGING_LEVEL", "debug", true},
		{"debug in capitals", "GOOGLE_SDK_GO_LOGGING_LEVEL", "DEBUG", true},
		{"http2debug", "GODEBUG", "madvdontneed=1,http2debug=2", true},
		{"a little http2debug", "GODEBUG", "http2debug=1", true},
		{"http2debug after a space", "GODEBUG", "madvdontneed=1, http2debug=2", true},
		{"http2debug in another setting", "GODEBUG", "nohttp2debug=10", true},
		{"a proxy", "HTTPS_PROXY", "http://user:canary@proxy.example.com:3128", false},
		{"a proxy without scheme", "https_proxy", "proxy.example.com:3128", false},
		{"a proxy by address", "HTTP_PROXY", "[2001:db8::1]:3128", false},
		{"a proxy and a line break", "HTTPS_PROXY", "http://user:canary@proxy.example.com\n", true},
		{"a proxy that is escaped wrongly", "http_proxy", "http://user:canary%zz@proxy.example.com", true},
		{"a scheme and no proxy", "HTTPS_PROXY", "http://", true},
		{"no http2debug", "GODEBUG", "http2debug=0,netdns=go", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(test.variable, test.value)
			if err := CheckEnvironment(); (err != nil) != test.refused {
				t.Errorf("CheckEnvironment() = %v, want an error: %v", err, test.refused)
			} else if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("%v holds a password", err)
			}
			_, err := New(Config{Base: func(context.Context) (Token, error) { return Token{}, errors.New("none") }, Endpoint: "https://"})
			if err == nil || strings.Contains(err.Error(), test.variable) != test.refused {
				t.Errorf("New fails with %v, want it to name %s: %v", err, test.variable, test.refused)
			}
		})
	}
}
