package fake

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

const (
	stsURL = "https://" + STSHost + "/v1/token"
	alice  = "principal://iam.googleapis.com/" + DefaultPool + "/subject/alice"
	staff  = "principalSet://iam.googleapis.com/" + DefaultPool + "/group/staff"
)

func sts(w *World) refuser { return w.STS }

var formType = [2]string{"Content-Type", "application/x-www-form-urlencoded"}

// callerToken returns a token of the identity provider for alice.
func callerToken(t testing.TB, w *World, options ...TokenOption) string {
	t.Helper()
	token, err := w.IDP.Token("alice", options...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// exchangeForm is the form of a good exchange of a subject token.
func exchangeForm(token string) url.Values {
	return url.Values{
		"grant_type": {GrantTokenExchange}, "audience": {DefaultProvider}, "scope": {ScopeCloudPlatform},
		"requested_token_type": {TypeAccessToken}, "subject_token": {token}, "subject_token_type": {TypeJWT},
	}
}

// exchanging sends the form of a good exchange of a token with the options, edited.
func exchanging(edit func(url.Values), options ...TokenOption) func(*testing.T, *World, *http.Client) answer {
	return func(t *testing.T, w *World, c *http.Client) answer {
		form := exchangeForm(callerToken(t, w, options...))
		if edit != nil {
			edit(form)
		}
		return ask{url: stsURL, body: form.Encode(), header: [][2]string{formType}}.send(t, c)
	}
}

func set(name, value string) func(url.Values) {
	return func(form url.Values) { form.Set(name, value) }
}

// signedBy signs alice's claims with the issuer's RSA key by another algorithm.
func signedBy(method jwt.SigningMethod) func(*draft) {
	return func(d *draft) { d.method = method }
}

func stsCases() []refusalCase {
	const grant, request = "invalid_grant", "invalid_request"
	dayOld := time.Now().Add(-24*time.Hour - time.Minute)
	return []refusalCase{
		{"STS: another path", sts, plain(ask{url: "https://" + STSHost + "/v1/introspect", header: [][2]string{formType}}), NotFound, 404, request},
		{"STS: got, not posted", sts, plain(ask{method: "GET", url: stsURL}), MethodRefused, 405, request},
		{"STS: a form in the query", sts, plain(ask{url: stsURL + "?grant_type=x", header: [][2]string{formType}}), BodyInvalid, 400, request},
		{"STS: JSON", sts, plain(ask{url: stsURL, body: "{}"}), BodyInvalid, 400, request},
		{"STS: a form that is none", sts, plain(ask{url: stsURL, body: "a=%zz", header: [][2]string{formType}}), BodyInvalid, 400, request},
		{"STS: a huge form", sts, plain(ask{url: stsURL, body: strings.Repeat("x", 129<<10), header: [][2]string{formType}}), BodyTooLarge, 413, request},
		{"STS: a client that authenticates itself", sts, func(t *testing.T, w *World, c *http.Client) answer {
			a := ask{url: stsURL, body: exchangeForm(callerToken(t, w)).Encode(), header: [][2]string{formType}, token: "x"}
			return a.send(t, c)
		}, ClientUnknown, 401, "invalid_client"},
		{"STS: an unknown parameter", sts, exchanging(set("actor_token", "x")), BodyInvalid, 400, request},
		{"STS: a parameter twice", sts, exchanging(func(f url.Values) { f.Add("scope", ScopeIAM) }), BodyInvalid, 400, request},
		{"STS: another grant", sts, exchanging(set("grant_type", "client_credentials")), GrantUnsupported, 400, "unsupported_grant_type"},
		{"STS: another kind of token to be issued", sts, exchanging(set("requested_token_type", TypeIDToken)), BodyInvalid, 400, request},
		{"STS: an audience without slashes", sts, exchanging(set("audience", strings.TrimPrefix(DefaultProvider, "//"))), AudienceInvalid, 400, request},
		{"STS: an audience by https", sts, exchanging(set("audience", "https:"+DefaultProvider)), AudienceInvalid, 400, request},
		{"STS: a pool by the project's id", sts, exchanging(set("audience", strings.Replace(DefaultProvider, "123456789012", "acme-ai", 1))),
			AudienceInvalid, 400, request},
		{"STS: a pool alone", sts, exchanging(set("audience", "//iam.googleapis.com/"+DefaultPool)), AudienceInvalid, 400, request},
		{"STS: a provider that does not exist", sts, exchanging(set("audience", DefaultProvider+"-2")), PoolUnknown, 400, "invalid_target"},
		{"STS: no scope", sts, exchanging(set("scope", "")), ScopeMissing, 400, "invalid_scope"},
		{"STS: a short scope name", sts, exchanging(set("scope", "cloud-platform")), ScopeUnknown, 400, "invalid_scope"},
		{"STS: no subject token", sts, exchanging(set("subject_token", "")), BodyInvalid, 400, request},
		{"STS: SAML", sts, exchanging(set("subject_token_type", "urn:ietf:params:oauth:token-type:saml2")), SubjectTypeUnsupported, 400, request},
		{"STS: a JWT at Amazon's provider", sts, exchanging(set("audience", DefaultAWSProvider)), SubjectTypeUnsupported, 400, request},
		{"STS: options that are no JSON", sts, exchanging(set("options", "userProject=x")), OptionsInvalid, 400, request},
		{"STS: an unknown option", sts, exchanging(set("options", `{"project":"x"}`)), OptionsInvalid, 400, request},
		{"STS: a project to bill for a workload pool", sts, exchanging(set("options", `{"userProject":"acme-ai"}`)), OptionsInvalid, 400, request},
		{"STS: a token that is none", sts, exchanging(set("subject_token", "alice")), SubjectInvalid, 400, request},
		{"STS: a token without a subject", sts, exchanging(nil, Claim("sub", nil)), SubjectInvalid, 400, grant},
		{"STS: a subject of 128 bytes", sts, exchanging(nil, Claim("sub", strings.Repeat("a", 128))), SubjectInvalid, 400, grant},
		{"STS: a token that is not valid yet", sts, exchanging(nil, NotYet()), SubjectInvalid, 400, grant},
		{"STS: a token without exp", sts, exchanging(nil, Claim("exp", nil)), SubjectInvalid, 400, grant},
		{"STS: an unknown key", sts, exchanging(nil, UnknownKey()), SubjectForged, 400, grant},
		{"STS: a forged key", sts, exchanging(nil, ForgedKey()), SubjectForged, 400, grant},
		{"STS: another issuer", sts, exchanging(nil, Issuer("https://evil.example.com")), SubjectIssuer, 400, grant},
		{"STS: another audience", sts, exchanging(nil, Audience("elsewhere")), SubjectAudience, 400, grant},
		{"STS: an expired token", sts, exchanging(nil, Expired()), SubjectExpired, 400, grant},
		{"STS: a token that is a day old", sts, exchanging(nil, Claim("iat", dayOld.Unix())), SubjectTooOld, 400, grant},
		{"STS: a token without iat", sts, exchanging(nil, Claim("iat", nil)), SubjectTooOld, 400, grant},
		{"STS: RS384", sts, exchanging(nil, signedBy(jwt.SigningMethodRS384)), AlgorithmUnsupported, 400, grant},
		{"STS: PS256", sts, exchanging(nil, signedBy(jwt.SigningMethodPS256)), AlgorithmUnsupported, 400, grant},
		{"STS: alg none", sts, exchanging(nil, Unsigned()), AlgorithmUnsupported, 400, grant},
		{"STS: the public key as an HMAC secret", sts, exchanging(nil, Confused()), AlgorithmUnsupported, 400, grant},
		{"STS: keys that cannot be had", sts, func(t *testing.T, w *World, c *http.Client) answer {
			w.IDP.Fail(Fault{Status: 500, Times: 1})
			return exchanging(nil)(t, w, c)
		}, KeysUnavailable, 400, grant},
		{"STS: full ledger", sts, func(t *testing.T, w *World, c *http.Client) answer {
			fill(w.Ledger, time.Now().Add(time.Hour))
			defer fill(w.Ledger, time.Now())
			return exchanging(nil)(t, w, c)
		}, LedgerFull, 503, "temporarily_unavailable"},
		{"STS: a fault", sts, func(t *testing.T, w *World, c *http.Client) answer {
			w.STS.Fail(Fault{Status: 429, RetryAfter: "3", Times: 1})
			return exchanging(nil)(t, w, c)
		}, Injected, 429, "temporarily_unavailable"},
	}
}

// exchange returns the federated token for a good exchange.
func exchange(t *testing.T, w *World, options ...TokenOption) string {
	t.Helper()
	got := exchanging(nil, options...)(t, w, client(t, w))
	token, _ := decode(t, got.Body)["access_token"].(string)
	if got.Status != http.StatusOK || token == "" {
		t.Fatalf("got %d: %s", got.Status, got.Body)
	}
	return token
}

func TestSTSExchangesAGoodToken(t *testing.T) {
	w := startWorld(t, func(o *Options) {
		o.Access = map[string][]string{alice: {"acme-ai"}, staff: {"acme-labs"}}
		o.CallerLife = 30 * time.Minute
	})
	tests := []struct {
		name    string
		edit    func(url.Values)
		options []TokenOption
	}{
		{"of RS256", nil, nil},
		{"of ES256", nil, []TokenOption{ES256()}},
		{"named an ID token", set("subject_token_type", TypeIDToken), nil},
		{"for the provider's own resource name", nil, []TokenOption{Audience("https:" + DefaultProvider)}},
		{"for several audiences", nil, []TokenOption{Audience("elsewhere", DefaultAudience)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := exchanging(test.edit, append(test.options, Groups("staff", "board"))...)(t, w, client(t, w))
			body := decode(t, got.Body)
			token, _ := body["access_token"].(string)
			grant, known := w.Ledger.Grant(token)
			base := "principalSet://iam.googleapis.com/" + DefaultPool
			want := Grant{Source: FromSTS, Account: alice, Sets: []string{base + "/*", staff, base + "/group/board"},
				Scopes: []string{ScopeCloudPlatform}, Projects: []string{"acme-ai", "acme-labs"}, Expiry: grant.Expiry}
			if diff := cmp.Diff(want, grant); got.Status != http.StatusOK || !known || diff != "" {
				t.Errorf("got %d: %s", got.Status, diff)
			}
			if body["issued_token_type"] != TypeAccessToken || body["token_type"] != "Bearer" {
				t.Errorf("got %v", body)
			}
			if left := body["expires_in"].(float64); left < 1740 || left > 1800 {
				t.Errorf("got expires_in %v, want no more than the subject token has left", left)
			}
		})
	}
}

func TestWorkforcePoolsTakeAProjectToBill(t *testing.T) {
	const workforce = "//iam.googleapis.com/locations/global/workforcePools/acme-staff/providers/corp"
	w := startWorld(t)
	err := w.STS.SetProvider(workforce, Provider{Issuer: w.IDP.Issuer(), JWKS: w.IDP.JWKSURL(), Audiences: []string{DefaultAudience}, Subject: "email"})
	if err != nil {
		t.Fatal(err)
	}
	got := exchanging(func(f url.Values) {
		f.Set("audience", workforce)
		f.Set("options", `{"userProject":"acme-billing"}`)
	}, Claim("email", "alice@example.com"))(t, w, client(t, w))
	if got.Status != http.StatusOK {
		t.Fatalf("got %d: %s", got.Status, got.Body)
	}
	all := w.STS.Exchanges()
	last := all[len(all)-1]
	if want := "principal://iam.googleapis.com/locations/global/workforcePools/acme-staff/subject/alice@example.com"; last.Principal != want ||
		last.UserProject != "acme-billing" {
		t.Errorf("got %+v, want principal %s", last, want)
	}
	w.STS.RemoveProvider(workforce)
	if got := exchanging(set("audience", workforce))(t, w, client(t, w)); got.Status != http.StatusBadRequest {
		t.Errorf("after its removal the provider answers %d", got.Status)
	}
}

func TestAFederatedTokenMintsAndCallsWhereItsPrincipalMay(t *testing.T) {
	w := startWorld(t, func(o *Options) {
		o.Accounts["direct@acme-ai.iam.gserviceaccount.com"] = Account{Impersonators: []string{alice}, Projects: []string{"acme-ai"}}
		o.Accounts["group@acme-ai.iam.gserviceaccount.com"] = Account{Impersonators: []string{staff}, Projects: []string{"acme-ai"}}
		o.Access = map[string][]string{staff: {"acme-ai"}}
	})
	mint := func(email, token string) int {
		body := `{"scope":["` + ScopeCloudPlatform + `"]}`
		return ask{url: mintURL(email), token: token, body: body}.send(t, client(t, w)).Status
	}
	call := func(token string) int {
		return ask{url: central + flash + ":generateContent", token: token, body: prompt}.send(t, client(t, w)).Status
	}
	member, stranger := exchange(t, w, Groups("staff")), exchange(t, w, Claim("sub", "bob"))
	for _, test := range []struct {
		name      string
		got, want int
	}{
		{"the principal's account", mint("direct@acme-ai.iam.gserviceaccount.com", member), 200},
		{"the group's account", mint("group@acme-ai.iam.gserviceaccount.com", member), 200},
		{"somebody else's account", mint(chat, member), 403},
		{"a stranger at the principal's account", mint("direct@acme-ai.iam.gserviceaccount.com", stranger), 403},
		{"a call of the group's", call(member), 200},
		{"a call of a stranger's", call(stranger), 403},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, test.got, test.want)
		}
	}
	if all := w.Vertex.Requests(); len(all) != 2 || all[0].Account != alice {
		t.Errorf("got calls as %+v", all)
	}
	w.STS.SetAccess(staff)
	if got := call(exchange(t, w, Groups("staff"))); got != http.StatusForbidden {
		t.Errorf("a call of the group's, which may no longer: got %d", got)
	}
}

func TestTwistsAtTheTokenEndpoints(t *testing.T) {
	w := startWorld(t)
	key, err := NewKey(DefaultAgent, UserKey)
	if err != nil {
		t.Fatal(err)
	}
	w.OAuth.AddKey(key)
	refresh := url.Values{"grant_type": {"refresh_token"}, "client_id": {key.clientID()}, "client_secret": {key.clientSecret()},
		"refresh_token": {key.refresh}}
	parties := []struct {
		name  string
		twist func(Twist)
		ask   func() string
	}{
		{"STS", w.STS.Twist, func() string { return exchanging(nil)(t, w, client(t, w)).Body }},
		{"OAuth", w.OAuth.Twist, func() string {
			return ask{url: "https://" + OAuthHost + "/token", body: refresh.Encode(), header: [][2]string{formType}}.send(t, client(t, w)).Body
		}},
		{"metadata", w.Metadata.Twist, func() string {
			return direct(ask{method: "GET", url: "/computeMetadata/v1/instance/service-accounts/default/token", header: [][2]string{flavor}})(t, w, nil).Body
		}},
	}
	for _, party := range parties {
		t.Run(party.name, func(t *testing.T) {
			for _, test := range []struct {
				name  string
				twist Twist
				check func(token string, expires any) bool
			}{
				{"an empty token", Twist{EmptyToken: true}, func(token string, _ any) bool { return token == "" }},
				{"a token of 12 KB", Twist{TokenBytes: 12 << 10}, func(token string, _ any) bool { return len(token) == 12<<10 }},
				{"a token of the past", Twist{Lifetime: -time.Minute}, func(_ string, expires any) bool { return expires == -60.0 }},
				{"an expiry that is none", Twist{BadExpiry: true}, func(_ string, expires any) bool { return expires == "soon" }},
				{"none", Twist{}, func(token string, expires any) bool {
					n, ok := expires.(float64)
					return len(token) == 1024 && ok && n > 0
				}},
			} {
				party.twist(test.twist)
				body := decode(t, party.ask())
				token, _ := body["access_token"].(string)
				if !test.check(token, body["expires_in"]) {
					t.Errorf("%s: got a token of %d bytes, expires_in %v", test.name, len(token), body["expires_in"])
				}
			}
		})
	}
}

func TestNewSTSRefusesProvidersThatCannotWork(t *testing.T) {
	good := Provider{Issuer: "https://login.example.com", JWKS: "https://login.example.com/keys"}
	for name, providers := range map[string]map[string]Provider{
		"no resource name":  {"corp": good},
		"no issuer":         {DefaultProvider: {JWKS: good.JWKS}},
		"no keys":           {DefaultProvider: {Issuer: good.Issuer}},
		"no AWS to be seen": {DefaultAWSProvider: {AWSAccount: "210987654321"}},
	} {
		if s, err := NewSTS(STSOptions{Ledger: NewLedger(), Providers: providers}); err == nil {
			_ = s.Close()
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewSTS(STSOptions{}); err == nil {
		t.Error("no ledger: no error")
	}
}

func TestMemoryOfExchangesIsBounded(t *testing.T) {
	s := &STS{}
	for range maxExchanges + 10 {
		s.record(Exchange{})
	}
	if n := len(s.Exchanges()); n != maxExchanges {
		t.Errorf("got %d exchanges", n)
	}
}

// What reads foreign forms and tokens answers anything with a refusal or a token, and never with both.
func FuzzSTSForm(f *testing.F) {
	f.Add(exchangeForm("x.y.z").Encode())
	f.Add(exchangeForm("").Encode() + "&options=%7B%7D")
	f.Fuzz(func(t *testing.T, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		got, no := checkForm(form)
		if no == nil && (got.token == "" || len(got.scopes) == 0 || !slices.Contains([]string{TypeJWT, TypeIDToken, TypeAWSRequest}, got.kind)) {
			t.Errorf("took %+v", got)
		}
	})
}

// Keys of other kinds stand in key sets beside those that Google can use, and harm nobody.
func TestAKeySetWithForeignKeysVerifies(t *testing.T) {
	w := startWorld(t)
	var keys jwkSet
	if err := json.Unmarshal([]byte(ask{method: "GET", url: w.IDP.JWKSURL()}.send(t, client(t, w)).Body), &keys); err != nil {
		t.Fatal(err)
	}
	keys.Keys = append([]jwk{{KeyType: "OKP", Curve: "Ed25519", KeyID: "ed", X: "AA"}, {KeyType: "EC", Curve: "P-384", KeyID: "p"}}, keys.Keys...)
	raw, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	w.IDP.PublishRaw(raw)
	exchange(t, w)
	if got := exchanging(nil, Header("kid", "p"), ES256())(t, w, client(t, w)); got.Status != http.StatusBadRequest {
		t.Errorf("a token under a key of another kind: got %d", got.Status)
	}
}
