package google

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	subjectMarker = "SUBJECT-MARKER-0123456789"
	secretMarker  = "REFRESH-MARKER-0123456789"
)

// agentKey is slow to make, so that all tests share it.
var agentKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // of a fake
	}
	return key
})

// parties are those that a credential file names: STS, IAM, the OAuth token server, and the platform that hands out subject tokens.
type parties struct {
	t   *testing.T
	url string
	key *rsa.PrivateKey

	mu     sync.Mutex
	asked  map[string]int
	behave func(w http.ResponseWriter, r *http.Request) bool
}

func startParties(t *testing.T) *parties {
	t.Helper()
	p := &parties{t: t, key: agentKey(), asked: map[string]int{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *parties) set(behave func(http.ResponseWriter, *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behave = behave
}

func (p *parties) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *parties) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked[r.URL.Path]++
	behave := p.behave
	p.mu.Unlock()
	if behave != nil && behave(w, r) {
		return
	}
	wrong := func(why string) {
		p.t.Errorf("%s %s: %s", r.Method, r.URL, why)
		sendOAuthError(w, 400, "invalid_request", why)
	}
	if err := r.ParseForm(); err != nil && r.Header.Get("Content-Type") != "application/json" {
		wrong(err.Error())
		return
	}
	switch r.URL.Path {
	case "/subject":
		if r.Header.Get("Metadata") != "True" {
			wrong("no header Metadata")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": subjectMarker})
	case "/v1/token":
		if got := r.PostFormValue("subject_token"); !strings.Contains(got, subjectMarker) && !strings.Contains(got, "GetCallerIdentity") {
			wrong("another subject token")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": baseMarker + ".federated", "issued_token_type": accessTokenType, "token_type": "Bearer", "expires_in": 3600,
		})
	case "/token":
		p.oauth(w, r, wrong)
	case "/v1/projects/-/serviceAccounts/" + agentEmail + ":generateAccessToken":
		if got := r.Header.Get("Authorization"); !strings.HasPrefix(got, "Bearer "+baseMarker) {
			wrong("another bearer")
			return
		}
		sendToken(w, baseMarker+".impersonated", time.Now().Add(time.Hour))
	case "/aws/token":
		_, _ = w.Write([]byte("imds-session"))
	case "/aws/region":
		_, _ = w.Write([]byte("eu-west-1b"))
	case "/aws/creds":
		_, _ = w.Write([]byte("role"))
	case "/aws/creds/role":
		if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "imds-session" {
			wrong("no session token")
			return
		}
		_, _ = w.Write([]byte(`{"AccessKeyID":"AKIA","SecretAccessKey":"` + secretMarker + `","Token":"session"}`))
	default:
		wrong("no such path")
	}
}

func (p *parties) oauth(w http.ResponseWriter, r *http.Request, wrong func(string)) {
	switch r.PostFormValue("grant_type") {
	case "refresh_token":
		if r.PostFormValue("refresh_token") != secretMarker || r.PostFormValue("client_secret") != secretMarker {
			wrong("another refresh token")
			return
		}
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		if _, err := jwt.Parse(r.PostFormValue("assertion"), func(*jwt.Token) (any, error) { return &p.key.PublicKey, nil }); err != nil {
			wrong(err.Error())
			return
		}
	default:
		wrong("grant type")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": baseMarker + ".oauth", "token_type": "Bearer", "expires_in": 3600})
}

const publicImpersonation = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + agentEmail + ":generateAccessToken"

type object = map[string]any

func external(source object, more ...any) object {
	o := object{
		"type": "external_account", "audience": workload, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"token_url": "https://sts.googleapis.com/v1/token", "credential_source": source,
	}
	for i := 0; i+1 < len(more); i += 2 {
		o[more[i].(string)] = more[i+1]
	}
	return o
}

func user() object {
	return object{"type": "authorized_user", "client_id": "x", "client_secret": secretMarker, "refresh_token": secretMarker}
}

func (p *parties) keyFile() object {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return object{
		"type": "service_account", "client_email": agentEmail, "private_key_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
}

func writeJSON(t *testing.T, path string, content any) {
	t.Helper()
	text, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// config is the one that sends all calls to the fakes.
func (p *parties) config(file string) BaseConfig {
	return BaseConfig{File: file, STSEndpoint: p.url, IAMEndpoint: p.url, OAuthEndpoint: p.url}
}

func executable(t *testing.T, answer string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "subject")
	if err := os.WriteFile(path, []byte("#!/bin/sh\ncat <<'END'\n"+answer+"\nEND\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryKindOfCredentialFile(t *testing.T) {
	p := startParties(t)
	t.Setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(subjectMarker+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := object{"file": tokenFile}
	command := executable(t, `{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:jwt","id_token":"`+subjectMarker+`"}`)
	pool := "principalSet://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/corp/*"
	tests := map[string]struct {
		content object
		token   string
		info    BaseInfo
	}{
		"a file":                {external(file), ".federated", BaseInfo{Kind: "external_account", Source: "file", Account: pool}},
		"a URL":                 {external(object{"url": p.url + "/subject", "headers": object{"Metadata": "True"}, "format": object{"type": "json", "subject_token_field_name": "token"}}), ".federated", BaseInfo{Kind: "external_account", Source: "url", Account: pool}},
		"an executable":         {external(object{"executable": object{"command": command, "timeout_millis": 60000}}), ".federated", BaseInfo{Kind: "external_account", Source: "executable", Account: pool}},
		"AWS":                   {external(object{"environment_id": "aws1", "url": p.url + "/aws/creds", "region_url": p.url + "/aws/region", "imdsv2_session_token_url": p.url + "/aws/token", "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"}, "subject_token_type", "urn:ietf:params:aws:token-type:aws4_request"), ".federated", BaseInfo{Kind: "external_account", Source: "aws", Account: pool}},
		"a file, impersonating": {external(file, "service_account_impersonation_url", publicImpersonation), ".impersonated", BaseInfo{Kind: "external_account", Source: "file", Account: agentEmail}},
		"no token URL":          {external(file, "token_url", ""), ".federated", BaseInfo{Kind: "external_account", Source: "file", Account: pool}},
		"a user":                {user(), ".oauth", BaseInfo{Kind: "authorized_user", LongLived: true}},
		"a key":                 {p.keyFile(), ".oauth", BaseInfo{Kind: "service_account", Account: agentEmail, LongLived: true}},
		"an impersonating user": {object{"type": "impersonated_service_account", "service_account_impersonation_url": publicImpersonation, "source_credentials": user()}, ".impersonated", BaseInfo{Kind: "impersonated_service_account", Account: agentEmail, LongLived: true}},
		"an impersonating pool": {object{"type": "impersonated_service_account", "service_account_impersonation_url": publicImpersonation, "source_credentials": external(file), "delegates": []string{bob}}, ".impersonated", BaseInfo{Kind: "impersonated_service_account", Source: "file", Account: agentEmail}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			log := &lockedBuffer{}
			path := filepath.Join(t.TempDir(), "credentials.json")
			writeJSON(t, path, test.content)
			c := p.config(path)
			c.Log = slog.New(slog.NewTextHandler(log, nil))
			base, info, err := Credentials(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if info.Changed == nil || info.Changed() {
				t.Error("Changed is nil or true for a file that has not changed")
			}
			info.Changed, test.info.File, test.info.UniverseDomain = nil, path, "googleapis.com"
			if fmt.Sprint(info) != fmt.Sprint(test.info) {
				t.Errorf("got %+v, want %+v", info, test.info)
			}
			if got := strings.Contains(log.String(), "level=WARN"); got != test.info.LongLived {
				t.Errorf("a warning is logged: %v, want %v:\n%s", got, test.info.LongLived, log)
			}
			for range 2 { // nothing is cached
				token, err := base.mint(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got, want := token.Value.Reveal(), baseMarker+test.token; got != want {
					t.Errorf("got the token %q, want %q", got, want)
				}
				if left := time.Until(token.Expiry); token.Account != test.info.Account || left < 59*time.Minute || left > time.Hour+time.Second {
					t.Errorf("got account %q, want %q, and life %v", token.Account, test.info.Account, left)
				}
			}
			if strings.Contains(log.String(), "MARKER") {
				t.Errorf("the log holds a secret:\n%s", log)
			}
		})
	}
	if p.count("/v1/token") != 2*7 {
		t.Errorf("STS was asked %d times, want twice per external account", p.count("/v1/token"))
	}
}

func TestCredentialFilesThatAreRefused(t *testing.T) {
	p := startParties(t)
	t.Setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "")
	file := object{"file": "/var/run/token"}
	key := func(change ...any) object {
		o := p.keyFile()
		for i := 0; i+1 < len(change); i += 2 {
			o[change[i].(string)] = change[i+1]
		}
		return o
	}
	tests := map[string]struct {
		content any
		detail  string
	}{
		"not JSON":                          {json.RawMessage(`"` + secretMarker + `"`), "not a JSON object"},
		"null":                              {nil, "not a JSON object"},
		"no type":                           {object{}, `type ""`},
		"another type":                      {object{"type": "gdch_service_account"}, `type "gdch_service_account"`},
		"a name in capitals":                {key("Token_URI", "https://evil.example.com"), `"Token_URI" is not in lower case`},
		"a number for a text":               {key("client_email", 5), "wrong JSON type"},
		"no account":                        {key("client_email", "x"), "client_email"},
		"a token server without TLS":        {key("token_uri", "http://evil.example.com/token"), "token_uri"},
		"a strange universe":                {key("universe_domain", "a/b"), "universe domain"},
		"an external account without pool":  {external(file, "audience", "x"), "audience"},
		"an external account, no source":    {external(nil), "credential_source is missing"},
		"an empty source":                   {external(object{}), "names no file"},
		"an executable that is not allowed": {external(object{"executable": object{"command": "/bin/true"}}), "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"},
		"a subject over plain HTTP":         {external(object{"url": "http://example.com/x"}), "neither https nor http on a loopback"},
		"a region over plain HTTP":          {external(object{"environment_id": "aws1", "region_url": "http://10.0.0.1/x"}), "neither https"},
		"a name in capitals in the source":  {external(object{"URL": "http://example.com/x", "file": "x"}), "lower case"},
		"STS without TLS":                   {external(file, "token_url", "http://sts.googleapis.com/v1/token"), "token_url"},
		"impersonating at plain HTTP":       {external(file, "service_account_impersonation_url", strings.Replace(publicImpersonation, "https", "http", 1)), "service_account_impersonation_url"},
		"impersonating with another call":   {external(file, "service_account_impersonation_url", strings.Replace(publicImpersonation, "generateAccessToken", "signBlob", 1)), "generateAccessToken"},
		"impersonated without a source":     {object{"type": "impersonated_service_account", "service_account_impersonation_url": publicImpersonation}, "source_credentials"},
		"impersonated twice":                {object{"type": "impersonated_service_account", "source_credentials": object{"type": "impersonated_service_account", "service_account_impersonation_url": publicImpersonation, "source_credentials": user()}}, "delegates"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "credentials.json")
			writeJSON(t, path, test.content)
			base, _, err := Credentials(t.Context(), p.config(path))
			if err == nil || base != nil || !strings.Contains(err.Error(), test.detail) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want an error that names %s and says %q", err, path, test.detail)
			}
			if strings.Contains(err.Error(), "MARKER") || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%q holds a secret or more than a line", err)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "credentials.json")
	writeJSON(t, path, external(file))
	for _, bad := range []BaseConfig{
		{File: path, STSEndpoint: "http://example.com"}, {File: path, UniverseDomain: "x y"}, {File: "/does/not/exist"}, {UniverseDomain: "x y"},
	} {
		if base, _, err := Credentials(t.Context(), bad); err == nil || base != nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestOnlyFilesThatNobodyElseCanWriteAreTaken(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "credentials.json")
	writeJSON(t, path, user())
	take := func(path string) error {
		_, _, err := Credentials(t.Context(), BaseConfig{File: path})
		return err
	}
	for mode, want := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o644: true, 0o640: true, 0o660: false, 0o602: false, 0o666: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		err := take(path)
		if (err == nil) != want {
			t.Errorf("mode %o: got %v, want it taken: %v", mode, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "chmod go-w") {
			t.Errorf("mode %o: %v does not say what to do", mode, err)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := take(link); err != nil {
		t.Errorf("a link to a good file: %v", err)
	}
	if err := take(dir); err == nil {
		t.Error("a directory is taken")
	}
	pipe := filepath.Join(dir, "pipe")
	if err := mkfifo(pipe); err != nil {
		t.Fatal(err)
	}
	if err := take(pipe); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe: got %v", err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat(" ", maxCredentialFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := take(path); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a file without end: got %v", err)
	}
}

// A file that changes is taken at once, one that is broken is not, and nobody waits meanwhile.
func TestTheCredentialFileIsFollowed(t *testing.T) {
	p := startParties(t)
	path := filepath.Join(t.TempDir(), "credentials.json")
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(subjectMarker), 0o600); err != nil {
		t.Fatal(err)
	}
	first := external(object{"file": tokenFile})
	writeJSON(t, path, first)
	log := &lockedBuffer{}
	c := p.config(path)
	c.Log = slog.New(slog.NewTextHandler(log, nil))
	base, info, err := Credentials(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	fetched := make(chan string, 100)
	w := onLoopback(t, func(c *Config) {
		c.Base = func(ctx context.Context) (Token, error) {
			token, err := base(ctx)
			fetched <- token.Value.Reveal()
			return token, err
		}
		c.BaseChanged = info.Changed
	})
	next := func() string {
		t.Helper()
		select {
		case text := <-fetched:
			return text
		case <-time.After(20 * time.Second):
			t.Fatal("no token was fetched")
			return ""
		}
	}
	if got := next(); got != baseMarker+".federated" {
		t.Fatalf("got %q first", got)
	}
	writeJSON(t, path, external(object{"file": tokenFile}, "service_account_impersonation_url", publicImpersonation))
	if got := next(); got != baseMarker+".impersonated" {
		t.Errorf("got %q after the change", got)
	}
	// As a whole: a file that is emptied and then written may be looked at in between, and would be another twice.
	if err := os.WriteFile(path+".new", []byte(`{"type":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != baseMarker+".impersonated" {
		t.Errorf("got %q with a broken file", got)
	}
	w.mustGet(t, request(alice))
	if !strings.Contains(log.String(), "not taken, the content before stays in use") || info.Changed() {
		t.Errorf("the broken file is not logged, or looked at again without end:\n%s", log)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if token, err := base.mint(t.Context()); err != nil || token.Account != agentEmail || info.Changed() {
		t.Errorf("without the file: %q, %v", token.Account, err)
	}
	writeJSON(t, path, first)
	if got := next(); got != baseMarker+".federated" {
		next() // the one fetched without the file
	}
}

func TestCredentialFilesThatBringNoToken(t *testing.T) {
	t.Setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(subjectMarker), 0o600); err != nil {
		t.Fatal(err)
	}
	file := external(object{"file": tokenFile})
	run := func(t *testing.T, answer string) object {
		return external(object{"executable": object{"command": executable(t, answer), "timeout_millis": 60000}})
	}
	on := func(path string, answer func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == path {
				answer(w, r)
			}
			return r.URL.Path == path
		}
	}
	tests := map[string]struct {
		content func(t *testing.T, p *parties) object
		behave  func(http.ResponseWriter, *http.Request) bool
		detail  string
	}{
		"STS refuses": {func(*testing.T, *parties) object { return file }, on("/v1/token", func(w http.ResponseWriter, r *http.Request) {
			sendOAuthError(w, 400, "invalid_grant", "bad token "+r.PostFormValue("subject_token"))
		}), "answered 400 invalid_grant: bad token [secret]"},
		"STS is down": {func(*testing.T, *parties) object { return file }, on("/v1/token", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			_, _ = w.Write([]byte(secretMarker))
		}), "answered 503"},
		"STS breaks off": {func(*testing.T, *parties) object { return file }, on("/v1/token", func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}), "no answer: EOF"},
		"IAM refuses": {func(*testing.T, *parties) object {
			return external(object{"file": tokenFile}, "service_account_impersonation_url", publicImpersonation)
		}, on("/v1/projects/-/serviceAccounts/"+agentEmail+":generateAccessToken", func(w http.ResponseWriter, r *http.Request) {
			sendStatus(w, 403, "denied "+r.Header.Get("Authorization"))
		}), "answered 403: denied [secret]"},
		"the key is revoked": {func(_ *testing.T, p *parties) object { return p.keyFile() }, on("/token", func(w http.ResponseWriter, r *http.Request) {
			sendOAuthError(w, 400, "invalid_grant", "Invalid JWT Signature. "+r.PostFormValue("assertion"))
		}), "invalid_grant: Invalid JWT Signature. [secret]"},
		"the user is gone": {func(*testing.T, *parties) object { return user() }, on("/token", func(w http.ResponseWriter, r *http.Request) {
			sendOAuthError(w, 400, "invalid_grant", "revoked "+r.PostFormValue("refresh_token"))
		}), "invalid_grant: revoked [secret]"},
		"the platform refuses": {func(_ *testing.T, p *parties) object { return external(object{"url": p.url + "/subject"}) },
			on("/subject", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, secretMarker, http.StatusForbidden) }), "answered 403"},
		"the platform answers nonsense": {func(_ *testing.T, p *parties) object {
			return external(object{"url": p.url + "/subject", "format": object{"type": "json", "subject_token_field_name": "token"}})
		}, on("/subject", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(secretMarker)) }), "unmarshal"},
		"no subject file": {func(*testing.T, *parties) object { return external(object{"file": "/does/not/exist"}) }, nil, "/does/not/exist"},
		"an executable that fails": {func(*testing.T, *parties) object {
			return external(object{"executable": object{"command": "/bin/false"}})
		}, nil,
			"exit code 1"},
		"an executable that is not there": {func(*testing.T, *parties) object {
			return external(object{"executable": object{"command": "/does/not/exist"}})
		}, nil, "/does/not/exist"},
		"an executable that answers nonsense": {func(t *testing.T, _ *parties) object { return run(t, subjectMarker) }, nil, "unable to parse"},
		"an executable that says no": {func(t *testing.T, _ *parties) object {
			return run(t, `{"version":1,"success":false,"code":"401","message":"no `+subjectMarker+`"}`)
		}, nil, "(401) no [..]"},
		"a key that is none": {func(_ *testing.T, p *parties) object {
			o := p.keyFile()
			o["private_key"] = "-----BEGIN PRIVATE KEY-----\n" + secretMarker + "\n-----END PRIVATE KEY-----\n"
			return o
		}, nil, "key"},
		"a redirect": {func(*testing.T, *parties) object { return file }, on("/v1/token", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/subject", http.StatusTemporaryRedirect)
		}), "answered 307"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := startParties(t)
			p.set(test.behave)
			path := filepath.Join(t.TempDir(), "c.json")
			writeJSON(t, path, test.content(t, p))
			base, _, err := Credentials(t.Context(), p.config(path))
			if err != nil {
				t.Fatal(err)
			}
			token, err := base.mint(t.Context())
			e := wantReason(t, err, CredentialsUnavailable)
			if !strings.Contains(e.Detail, test.detail) || token != (Token{}) {
				t.Errorf("got %v and detail %q, want no token and %q", token, e.Detail, test.detail)
			}
			if want := strings.HasPrefix(test.detail, "no answer"); want != (e.Fix == reach(p.url)) {
				t.Errorf("fix is %q, want one: %v", e.Fix, want)
			}
			for _, secret := range []string{subjectMarker, secretMarker, "MARKER-0123", baseMarker} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%v holds a secret", err)
				}
			}
		})
	}
}

func TestAnotherUniverse(t *testing.T) {
	const universe = "apis-tpczero.goog"
	s, err := New(Config{Base: newFakeBase().token, UniverseDomain: universe})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.iam.endpoint != "https://iamcredentials."+universe || s.callers.sts.endpoint != "https://sts."+universe {
		t.Errorf("calls %s and %s", s.iam.endpoint, s.callers.sts.endpoint)
	}
	if _, err := New(Config{Base: newFakeBase().token, UniverseDomain: "a/b"}); err == nil {
		t.Error("a universe with a path is taken")
	}
	path := filepath.Join(t.TempDir(), "c.json")
	writeJSON(t, path, external(object{"file": "x"}, "universe_domain", universe, "token_url", ""))
	_, info, err := Credentials(t.Context(), BaseConfig{File: path})
	if err != nil || info.UniverseDomain != universe {
		t.Errorf("got %q and %v, want %q", info.UniverseDomain, err, universe)
	}
}

func FuzzParseCredential(f *testing.F) {
	for _, o := range []object{user(), external(object{"file": "x"}), {"type": "impersonated_service_account", "service_account_impersonation_url": publicImpersonation, "source_credentials": user()}} {
		text, err := json.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(append(text[:len(text)-1:len(text)-1], `,"credential_source":{"executable":{"command":"/bin/x"}}}`...)) // for a second time
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseCredential(text, endpoints{})
		if (err == nil) != (c != nil) {
			t.Fatalf("got %v and %v", c, err)
		}
		if err != nil {
			return
		}
		again, err := parseCredential([]byte(c.text.Reveal()), endpoints{})
		if err != nil || again.text.Reveal() != c.text.Reveal() {
			t.Fatalf("what was taken is not taken again: %v", err)
		}
	})
}
