package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/policy"
)

// loaded returns the policy that a text is.
func loaded(t *testing.T, text string) *policy.Policy {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const header = `version: 1
defaults: { project: acme-ai, locations: europe-west1, methods: generate }
`

const small = header + `issuers: { corp: { url: "https://login.example.com", audience: vertex } }
roles: { search: { as: vx-search, who: { corp: { groups: search-eng } } } }
rules: { gemini: { allow: search, models: gemini-* } }
`

func TestEveryReasonIsListed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []Reason
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if text, ok := spec.Values[0].(*ast.BasicLit); ok {
				declared = append(declared, Reason(strings.Trim(text.Value, `"`)))
			}
		}
		return true
	})
	if diff := cmp.Diff(declared, Reasons()); diff != "" {
		t.Errorf("Reasons differs from the constants (-constants +Reasons):\n%s", diff)
	}
	for i, r := range Reasons() {
		if !regexp.MustCompile(`^[A-Z]+(_[A-Z]+)*$`).MatchString(string(r)) || slices.Contains(Reasons()[:i], r) {
			t.Errorf("reason %q is of another form, or there twice", r)
		}
	}
}

func TestTheWayToAServerIsKnownByItsErrors(t *testing.T) {
	for text, want := range map[string]Reason{
		`call https://iam.example.com: dial tcp: lookup iam.example.com: no such host`:                                               NameUnknown,
		`call https://iam.example.com: dial tcp: lookup iam.example.com on 127.0.0.53:53: read: connection refused`:                  NameUnknown,
		`call https://iam.example.com: dial tcp: lookup iam.example.com: i/o timeout`:                                                NameUnknown,
		`call https://iam.example.com: dial tcp 192.0.2.1:443: connect: connection refused`:                                          ConnectionRefused,
		`call https://iam.example.com: dial tcp 192.0.2.1:443: connect: no route to host`:                                            HostUnreachable,
		`call https://iam.example.com: dial tcp [2001:db8::1]:443: connect: network is unreachable`:                                  HostUnreachable,
		`call https://iam.example.com: dial tcp 192.0.2.1:443: i/o timeout`:                                                          NoAnswer,
		`call https://iam.example.com: net/http: TLS handshake timeout`:                                                              NoAnswer,
		`https://iam.example.com did not answer within 5s`:                                                                           NoAnswer,
		`call https://iam.example.com: read tcp 192.0.2.2:1->192.0.2.1:443: read: connection reset by peer`:                          ConnectionLost,
		`call https://iam.example.com: EOF`:                                                                                          ConnectionLost,
		`call https://iam.example.com: proxyconnect tcp: dial tcp: lookup proxy.example.com: no such host`:                           ProxyUnreachable,
		`call https://iam.example.com: Proxy Authentication Required`:                                                                ProxyRefused,
		`from host "login.example.com": Forbidden`:                                                                                   ProxyRefused,
		`call https://iam.example.com: Gateway Timeout`:                                                                              ProxyRefused,
		`call https://iam.example.com: tls: failed to verify certificate: x509: certificate signed by unknown authority`:             AuthorityUnknown,
		`call https://iam.example.com: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: now is`: CertificateWrong,
		`call https://iam.example.com: tls: failed to verify certificate: x509: certificate is valid for a.example, not b.example`:   CertificateWrong,
		`call https://iam.example.com: tls: first record does not look like a TLS handshake`:                                         TLSFailed,
		`call https://iam.example.com: http: server gave HTTP response to HTTPS client`:                                              TLSFailed,
	} {
		got, advice, ok := wayTo(text)
		if !ok || got != want || advice == "" {
			t.Errorf("%s:\ngot %q, want %q", text, got, want)
		}
	}
	if got, _, ok := wayTo("IAM answered something else"); ok {
		t.Errorf("what is no trouble of the network is taken for %s", got)
	}
}

func TestDryCallsGoWhereTheRoleMayCall(t *testing.T) {
	const roles = `issuers: { corp: { url: "https://login.example.com", audience: vertex } }
roles:
  search: { as: vx-search@acme-search.iam.gserviceaccount.com, who: { corp: { groups: search-eng } } }
  other:  { as: vx-other@acme-search.iam.gserviceaccount.com, who: { corp: { groups: other } } }
`
	const noDefaults = "version: 1\ndefaults: { methods: generate }\n"
	for name, tt := range map[string]struct {
		head, rules string
		want        place
	}{
		"a model that is named in full": {header, `{ a: { allow: search, models: gemini-9-*, locations: us }, b: { allow: search, models: [claude-x, gemini-3-pro], locations: [europe-west4, us], projects: acme-two } }`,
			place{"acme-two", "europe-west4", "gemini-3-pro"}},
		"patterns alone": {header, `{ a: { allow: search, models: gemini-9-*, locations: us } }`, place{"acme-ai", "us", DefaultModel}},
		"patterns for places": {header, `{ a: { allow: search, models: gemini-3-pro, locations: "*", projects: "acme-*" } }`,
			place{"acme-ai", "europe-west1", "gemini-3-pro"}},
		"the rules of others do not count": {header, `{ a: { allow: other, models: gemini-3-pro, locations: us }, b: { deny: search, models: gemini-4-pro },
  c: { allow: "*", except: search, models: gemini-5-pro }, d: { allow: search, models: gemini-6-pro, mode: shadow }, e: { allow: search, endpoints: "123", locations: us } }`,
			place{"acme-ai", "europe-west1", DefaultModel}},
		"a rule for everybody": {header, `{ a: { allow: "*", models: gemini-3-pro, locations: us } }`, place{"acme-ai", "us", "gemini-3-pro"}},
		"no defaults": {noDefaults, `{ a: { allow: search, models: gemini-3-pro, locations: "*", projects: "*" } }`,
			place{"acme-search", "global", "gemini-3-pro"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := loaded(t, tt.head+roles+"rules: "+tt.rules+"\n")
			got := placeOf(p.Model(), p.Grants()[0])
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(place{})); diff != "" {
				t.Errorf("place (-want +got):\n%s", diff)
			}
			call, err := got.call()
			if err != nil || call.Host() == "" || call.Method != "countTokens" {
				t.Errorf("got call %+v, %v", call, err)
			}
		})
	}
	if _, err := (place{location: "us", model: DefaultModel}).call(); err == nil {
		t.Error("a call without a project can be made")
	}
	if _, err := (place{"acme-ai", "us", "no/model"}).call(); err == nil {
		t.Error("a call of what is no model can be made")
	}
}

// refusing answers as Vertex AI does when it refuses.
func refusing(code int, reason string, about map[string]string, message string) answer {
	text, _ := json.Marshal(map[string]any{"error": map[string]any{"code": code, "message": message, "details": []any{
		map[string]any{"@type": "type.googleapis.com/google.rpc.Help"},
		map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "metadata": about},
	}}})
	return readAnswer(code, text)
}

func TestRefusalsOfVertexAIAreExplained(t *testing.T) {
	const grant = "gcloud projects add-iam-policy-binding acme-ai --member='serviceAccount:vx@acme-ai.iam.gserviceaccount.com' --role="
	for name, tt := range map[string]struct {
		answer answer
		want   Reason
		status Status
		fix    string
	}{
		"another permission": {refusing(403, "IAM_PERMISSION_DENIED", map[string]string{"permission": "aiplatform.cachedContents.get"}, "no"),
			PermissionMissing, Failed, grant + "roles/aiplatform.user --condition=None"},
		"a permission that is no name": {refusing(403, "IAM_PERMISSION_DENIED", map[string]string{"permission": "x; rm -rf /"}, "no"), PermissionMissing, Failed,
			"gcloud iam roles create vertexPrompt --project=acme-ai --permissions=aiplatform.endpoints.predict\n" +
				grant + "projects/acme-ai/roles/vertexPrompt --condition=None"},
		"no billing": {refusing(403, "BILLING_DISABLED", nil, "no"), ProjectRefused, Failed, "gcloud projects describe acme-ai"},
		"no project": {refusing(403, "CONSUMER_INVALID", nil, "no"), ProjectRefused, Failed, "gcloud projects describe acme-ai"},
		"a disabled API in a project that is no name": {refusing(403, "SERVICE_DISABLED", map[string]string{"consumer": "projects/$(id)"}, "no"), APIDisabled, Failed,
			"gcloud services enable aiplatform.googleapis.com --project=acme-ai"},
		"a precondition":          {refusing(400, "", nil, "Organization Policy constraint constraints/vertexai.allowedModels violated"), VertexRefused, Failed, ""},
		"a redirect":              {readAnswer(302, nil), VertexRefused, Failed, ""},
		"a page":                  {readAnswer(502, []byte("<html>")), GoogleUnavailable, Failed, ""},
		"scopes":                  {refusing(403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", nil, "no"), ScopeMissing, Warning, ""},
		"an answer of many kinds": {readAnswer(404, []byte(`{"error":"text"}`)), ModelMissing, Failed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := Check{Kind: Vertex, Status: OK, Vertex: &VertexFacts{Project: "acme-ai", Location: "us", Model: "gemini-x"}}
			who := grantee{request: google.Request{Account: "vx@acme-ai.iam.gserviceaccount.com"}}
			got := c.refused(tt.answer, who, secret.New("ya29.some-token"))
			if got.Reason != tt.want || got.Status != tt.status || got.Fix != tt.fix || got.Advice == "" {
				t.Errorf("got %s %s\n%s\n%s\nwant %s %s\n%s", got.Status, got.Reason, got.Advice, got.Fix, tt.status, tt.want, tt.fix)
			}
		})
	}
}

func TestRepeatedTokensAreNotShown(t *testing.T) {
	const canary = "0123456789abcdefghijklmnopqrstuvwxyz"
	for _, text := range []string{"you sent " + canary, "you sent " + canary[5:5+secretPart] + "!", "another: ya29.c.xyz", "eyJhbGciOiJSUzI1NiJ9.e30.x"} {
		got := withoutToken(text, secret.New(canary))
		if !strings.HasPrefix(got, "[not shown: ") {
			t.Errorf("of %q is shown %q", text, got)
		}
	}
	if got := withoutToken("no\x1b[31m \"such\"\nmodel", secret.New(canary)); got != `no [31m "such" model` {
		t.Errorf("got %q", got)
	}
	if got := len(withoutToken(strings.Repeat("long ", 1000), secret.New(canary))); got > maxText {
		t.Errorf("%d bytes are shown", got)
	}
}

func TestCredentialFilesAreExplained(t *testing.T) {
	for text, want := range map[string]string{
		"x belongs to user 7, want root or user 8, which this process runs as": "ls -l '/x'",
		"x can be written by others (mode 0666)":                               "chmod go-w '/x'",
		"open /x: permission denied":                                           "ls -l '/x'",
		"it names a command to run, which is allowed only if the environment variable GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is 1": "",
		"type \"x\" is none of external_account": "",
	} {
		if advice, fix := explainFile(text, "/x"); advice == "" || fix != want {
			t.Errorf("%s: got %q, %q, want fix %q", text, advice, fix, want)
		}
	}
}

func TestMintsAreExplained(t *testing.T) {
	for name, tt := range map[string]struct {
		reason google.Reason
		detail string
		want   Reason
	}{
		"401":                            {google.CredentialsUnavailable, "IAM answered 401: no", CredentialsRefused},
		"narrow scopes":                  {google.AccountForbidden, "the access scopes of the machine leave out cloud-platform", ScopeMissing},
		"a chain":                        {google.AccountForbidden, "in the chain a > b each needs a role", PermissionMissing},
		"STS is disabled":                {google.MintInvalid, "the API sts.googleapis.com is disabled; STS answered 403", APIDisabled},
		"another 400":                    {google.MintInvalid, "IAM answered 400: bad scope", AnswerInvalid},
		"no JWT":                         {google.ExchangeUnsupported, "STS does not take the caller's token: it is not a JWT", ExchangeUnsupported},
		"a 503 that speaks of a timeout": {google.MintUnavailable, "IAM answered 503: upstream connect timeout", GoogleUnavailable},
		"no request":                     {google.MintInvalid, "account \"x\" is not the full e-mail of a service account", AnswerInvalid},
	} {
		if got, advice := explainMint(tt.reason, tt.detail); got != tt.want || advice == "" {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

// machine is all other parties at once: metadata server, IAM Credentials and Vertex AI, as far as nobody looks closely.
func machine(t *testing.T, vertex http.HandlerFunc) Config {
	t.Helper()
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		if strings.HasSuffix(r.URL.Path, "/email") {
			_, _ = w.Write([]byte("agent@acme-ai.iam.gserviceaccount.com"))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"ya29.own","expires_in":3600,"token_type":"Bearer"}`))
	}))
	t.Cleanup(metadata.Close)
	minted := false
	iam := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if minted {
			t.Error("a token is minted twice for one role")
		}
		minted = true
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"accessToken":"ya29.canary-of-the-role","expireTime":%q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(iam.Close)
	server := httptest.NewTLSServer(vertex)
	t.Cleanup(server.Close)
	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.ServerName = "example.com" // what the test server's certificate is for
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "europe-west1-aiplatform.googleapis.com:443" {
			address = server.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	t.Cleanup(transport.CloseIdleConnections)
	keys := keySet(t)
	return Config{
		Policy:  loaded(t, strings.Replace(small, "audience: vertex", "audience: vertex, jwks: { inline: '"+keys+"' }", 1)),
		Issuers: []identity.Issuer{{Name: "corp", URL: "https://login.example.com", Audiences: []string{"vertex"}, JWKS: []byte(keys)}},
		Client:  &http.Client{Transport: transport}, Vertex: true,
		Base:     google.BaseConfig{MetadataHost: strings.TrimPrefix(metadata.URL, "http://")},
		Endpoint: iam.URL, Timeout: time.Minute,
	}
}

// keySet is a key set with one key that can be used and one that cannot.
func keySet(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":%q,"y":%q},{"kty":"EC","crv":"P-256","kid":"b"}]}`,
		encode(point[1:33]), encode(point[33:]))
}

func TestRunTriesEverything(t *testing.T) {
	var asked atomic.Int32
	c := machine(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if got, want := r.Host+r.URL.Path, "europe-west1-aiplatform.googleapis.com/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-x:countTokens"; got != want {
			t.Errorf("Vertex AI was asked for %s, want %s", got, want)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer ya29.canary-of-the-role" {
			t.Errorf("with %q", got)
		}
		_, _ = w.Write([]byte(`{"totalTokens": 1}`))
	})
	c.Model = "gemini-x"
	got, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, check := range got.Checks {
		lines = append(lines, fmt.Sprintf("%s %s: %s %s", check.title(), check.Status, check.Reason, check.Summary))
	}
	want := []string{
		"identity ok:  agent@acme-ai.iam.gserviceaccount.com, from the metadata server",
		"issuer corp warning: KEYS_DROPPED https://login.example.com: 1 usable key, N old, wanted again in N; 1 other cannot be used",
		"role search ok:  vx-search@acme-ai.iam.gserviceaccount.com for 1h, cloud-platform",
		"vertex search ok:  countTokens of gemini-x in europe-west1 of acme-ai: 200, 1 token",
	}
	lines[1] = regexp.MustCompile(`\w+ old, wanted again in \w+`).ReplaceAllString(lines[1], "N old, wanted again in N")
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	if !got.OK || got.Count(OK) != 3 || asked.Load() != 1 {
		t.Errorf("OK %t, %d checks in order, Vertex AI asked %d times", got.OK, got.Count(OK), asked.Load())
	}
}

// A server that repeats the token does not make it travel on.
func TestNoReportHoldsAToken(t *testing.T) {
	c := machine(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		said, _ := json.Marshal(r.Header.Get("Authorization"))
		_, _ = fmt.Fprintf(w, `{"error":{"message":%s,"details":[{"reason":%s,"metadata":{"permission":%s,"consumer":%s}}]}}`, said, said, said, said)
	})
	c.Caller = secret.New("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.canary-signature")
	report, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := report.Write(&b, Style{}); err != nil {
		t.Fatal(err)
	}
	all := string(text) + b.String() + fmt.Sprintf("%+v", report)
	if report.Count(Failed) != 2 || !strings.Contains(all, "it repeats a token") || !strings.Contains(all, "CALLER_REFUSED") {
		t.Errorf("the report is not of what was to be tried: %s", all)
	}
	for _, canary := range []string{"ya29", "canary", "eyJ"} {
		if at := strings.Index(all, canary); at >= 0 {
			t.Errorf("the report holds %q: %.200s", canary, all[max(0, at-80):])
		}
	}
}

// Vertex AI must not be able to send the token elsewhere.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	c := machine(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	report, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	last := report.Checks[len(report.Checks)-1]
	if last.Reason != VertexRefused || last.Vertex.Status != http.StatusTemporaryRedirect || elsewhere.Load() != 0 {
		t.Errorf("got %+v, and %d requests elsewhere", last, elsewhere.Load())
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	c := machine(t, func(http.ResponseWriter, *http.Request) {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report, err := Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if report.OK || report.Checks[0].Status != Failed || report.Checks[0].Reason != NoAnswer && report.Checks[0].Reason != NoMetadataServer {
		t.Errorf("got %+v", report.Checks[0])
	}
}

func TestRunNeedsItsParts(t *testing.T) {
	whole := Config{
		Policy: loaded(t, small), Client: &http.Client{},
		Issuers: []identity.Issuer{{Name: "corp", URL: "https://login.example.com", Audiences: []string{"vertex"}}},
	}
	noPolicy, noClient := whole, whole
	noPolicy.Policy, noClient.Client = nil, nil
	noIssuers, badIssuer := whole, whole
	noIssuers.Issuers = nil
	badIssuer.Issuers = []identity.Issuer{{Name: "corp", URL: "https://login.example.com", Audiences: []string{"vertex"}, Profile: "iap"}}
	for name, c := range map[string]Config{"no policy": noPolicy, "no client": noClient, "no issuers": noIssuers, "an issuer that contradicts its profile": badIssuer} {
		if report, err := Run(t.Context(), c); err == nil || len(report.Checks) > 0 {
			t.Errorf("%s: got %d checks, error %v", name, len(report.Checks), err)
		}
	}
}

func TestWriteTellsTheSameThingOnce(t *testing.T) {
	fail := func(name string) Check {
		return Check{Kind: Role, Name: name, Latency: Milliseconds(1500 * time.Microsecond)}.fail(APIDisabled, "off", adviceAPI, "gcloud a\ngcloud b")
	}
	r := Report{Policy: Policy{Digest: strings.Repeat("d", 64), Roles: 1, Rules: 2}, Egress: Egress{Proxy: "proxy:3128"}, Checks: []Check{
		{Kind: Identity, Status: OK, Summary: "me"}, fail("a"), fail("long-name"),
		Check{Kind: Vertex, Name: "a"}.skip("no", "First."), Check{Kind: Vertex, Name: "b"}.skip("no", "First."),
	}}
	for _, tt := range []struct {
		style Style
		want  string
	}{
		{Style{ASCII: true}, `policy  1 role, 2 rules, digest dddddddddddd
egress  by proxy proxy:3128, trusting the system's authorities

ok   identity                 me
FAIL role a             1 ms  off
    API_DISABLED: The API is switched off in the project that is named. Enable it, and wait a minute or two.
    $ gcloud a
    $ gcloud b
FAIL role long-name     1 ms  off
    API_DISABLED: see above
skip vertex a                 not checked: no
    NOT_CHECKED: First.
skip vertex b                 not checked: no
`},
		{Style{Colour: true}, "policy  1 role, 2 rules, digest dddddddddddd\negress  by proxy proxy:3128, trusting the system's authorities\n\n" +
			"\x1b[1;32m✓\x1b[0m identity                 me\n\x1b[1;31m✗\x1b[0m role a             1 ms  off\n"},
	} {
		var b strings.Builder
		if err := r.Write(&b, tt.style); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
		if tt.style.ASCII && strings.ContainsFunc(b.String(), func(r rune) bool { return r > '~' }) {
			t.Error("there is more than ASCII")
		}
	}
	if err := r.Write(full{}, Style{}); !errors.Is(err, errFull) {
		t.Errorf("got error %v, want that of the writer", err)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestSmallTexts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 12 * time.Second: "12s", time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h", 12 * time.Hour: "12h", time.Hour + time.Minute: "1h1m",
		10 * time.Hour: "10h", 20 * time.Minute: "20m",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) is %q, want %q", d, got, want)
		}
	}
	if got, err := json.Marshal(Milliseconds(1234567)); string(got) != "1.23" || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if got := quoted("a'b"); got != `'a'\''b'` {
		t.Errorf("got %s", got)
	}
}

func TestEgressFactsHoldNoPassword(t *testing.T) {
	through := &url.URL{Scheme: "http", User: url.UserPassword("user", "canary"), Host: "proxy.example.com:3128"}
	got := egressFacts(Config{Client: &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(through)}}, CAFile: "/ca.pem"})
	if want := (Egress{Proxy: "proxy.example.com:3128", Authorities: "/ca.pem"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
