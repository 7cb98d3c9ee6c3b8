package test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// part is how many bytes of a secret in a row are a leak. Its grams are half as long: each part holds a whole one of them, wherever it
// begins.
const (
	part = 16
	gram = part / 2
)

// sieve finds secrets, and parts of them, in whatever form they are written.
type sieve struct {
	grams map[[gram]byte][]place
	seen  map[string]bool
}

// place is where a gram stands.
type place struct {
	form *written
	at   int
}

// written is a secret in one of its forms.
type written struct{ secret, form, text string }

func newSieve() *sieve { return &sieve{grams: map[[gram]byte][]place{}, seen: map[string]bool{}} }

// forms are the ways in which a secret can be written without being the same bytes.
func forms(secret string) map[string]string {
	quoted, err := json.Marshal(secret)
	if err != nil {
		return nil
	}
	all := map[string]string{
		"verbatim":     secret,
		"JSON":         string(quoted[1 : len(quoted)-1]),
		"URL":          url.QueryEscape(secret),
		"URL, lower":   strings.ToLower(url.QueryEscape(secret)),
		"hex":          hex.EncodeToString([]byte(secret)),
		"JSON slashes": strings.ReplaceAll(secret, "/", `\/`),
	}
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for shift := range 3 { // what stands before the secret moves it within the groups of three bytes
			text := encoding.EncodeToString([]byte("---"[:shift] + secret + "---"))
			from := (shift*8 + 5) / 6 // the first character that is of the secret alone
			to := (shift + len(secret)) * 8 / 6
			all[fmt.Sprintf("%s, shifted by %d", name, shift)] = text[from:to]
		}
	}
	return all
}

// add has the sieve look for a secret, which must have a whole part.
func (v *sieve) add(t *testing.T, name, secret string) {
	t.Helper()
	if len(secret) < part {
		t.Fatalf("%s is too short a secret to be looked for", name)
	}
	for form, text := range forms(secret) {
		if v.seen[text] {
			continue
		}
		v.seen[text] = true
		w := &written{name, form, text}
		for at := 0; at+gram <= len(text); at += gram {
			key := [gram]byte([]byte(text[at : at+gram]))
			v.grams[key] = append(v.grams[key], place{w, at})
		}
	}
}

// find returns what secrets the text holds a part of, and in which forms, in words.
func (v *sieve) find(text []byte) []string {
	found := map[string]bool{}
	for i := 0; i+gram <= len(text); i++ {
		for _, p := range v.grams[[gram]byte(text[i:i+gram])] {
			from, to := 0, gram
			for from > -p.at && i+from > 0 && p.form.text[p.at+from-1] == text[i+from-1] {
				from--
			}
			for p.at+to < len(p.form.text) && i+to < len(text) && p.form.text[p.at+to] == text[i+to] {
				to++
			}
			if to-from >= part {
				found[p.form.secret+", "+p.form.form] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// randomSecret returns a secret with characters that are written differently in different places.
func randomSecret(t *testing.T) string {
	t.Helper()
	raw := make([]byte, 48)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	return `/"` + base64.StdEncoding.EncodeToString(raw) + `+&\`
}

// The search finds a secret in each of its forms, whole and in part, and nothing where there is none.
func TestTheSearchForSecretsFinds(t *testing.T) {
	v, secret := newSieve(), randomSecret(t)
	v.add(t, "canary", secret)
	noise := strings.Repeat(`{"level":"INFO","msg":"nothing of interest"}`+"\n", 100) + randomSecret(t)
	if found := v.find([]byte(noise)); len(found) > 0 {
		t.Errorf("found %q where there is nothing", found)
	}
	for form, text := range forms(secret) {
		for name, piece := range map[string]string{"whole": text, "first part": text[:part], "last part": text[len(text)-part:], "a part": text[7 : 7+part]} {
			if found := v.find([]byte(noise + piece + noise)); len(found) == 0 {
				t.Errorf("%s of %s was not found", name, form)
			}
		}
		if found := v.find([]byte(noise + "\n" + text[9:9+part-1] + "\n")); len(found) > 0 {
			t.Errorf("less than a part of %s was found: %q", form, found)
		}
	}
	for shift := range 3 {
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding} {
			text := encoding.EncodeToString([]byte("abc"[:shift] + secret + "x"))
			if found := v.find([]byte(text)); len(found) == 0 {
				t.Errorf("base64, shifted by %d, was not found", shift)
			}
		}
	}
}

// leakPolicy adds to the example what has secrets of its own: exchange, introspection, and parties that repeat what they are sent.
const leakPolicy = `version: 1
issuers:
  echo:
    url: https://echo.example.com
    audience: vertex
    jwks: { url: https://login.example.com/keys }
    introspect: { url: %[1]s, clientID: vertex-gateway, clientSecretFile: %[2]s, cacheFor: 1s }
  mesh: { certificate: { trustDomains: prod.example.com } }
roles:
  own:     { who: { corp: { groups: own } }, exchange: { audience: ` + fake.DefaultProvider + `, mode: direct } }
  account: { as: vx-research, who: { corp: { groups: account } }, exchange: { audience: ` + fake.DefaultProvider + `, mode: impersonate } }
  echoed:  { as: vx-search, who: { echo: { sub: "*" } } }
rules:
  secret-business: { allow: [own, account, echoed], models: gemini-2.5-*, body: { maxOutputTokens: 100 } }
`

// repeating answers with an error, and in it everything that it was sent.
func repeating(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		said := fmt.Sprint(r.Header, r.URL, string(body))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": said})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// Nothing that is secret is in anything that anybody can read afterwards, whatever happened, and however it might have been written.
func TestNoSecretIsWrittenAnywhere(t *testing.T) {
	onEach(t, newest(), func(t *testing.T, haproxy string) {
		v, dir := newSieve(), t.TempDir()
		for _, name := range secretFiles {
			secret := randomSecret(t)
			v.add(t, name, secret)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(secret), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		m := startSecretive(t, haproxy, dir, "")
		s := m.s
		for _, scenario := range sandbox.Scenarios() {
			play(t, s, scenario)
		}
		secretBusiness(t, s)
		changeOwnSecrets(t, m, v)
		planted := plant(t, s, v)
		gather(t, s, v)
		outputs := outputsOf(t, s)
		outputs["answers"] = s.Answers()
		outputs["traces"] = m.traces.seen(t)
		size := 0
		for name, text := range outputs {
			size += len(text)
			found := v.find(text)
			for _, what := range found {
				if strings.HasPrefix(what, "canary") && planted[name] {
					continue
				}
				t.Errorf("%s holds a secret: %s", name, what)
			}
			if planted[name] && !slices.ContainsFunc(found, func(what string) bool { return strings.HasPrefix(what, "canary") }) {
				t.Errorf("the canary was not found in %s", name)
			}
		}
		t.Logf("%d forms of secrets, %d bytes of output", len(v.seen), size)
	})
	t.Run("where Google repeats what it is sent", func(t *testing.T) { repeatedSecrets(t) })
}

// secretFiles hold what the agent's own files of secrets hold.
var secretFiles = []string{"hmac.key", "client.secret", "chain.key", "mask.key"}

// collector takes traces, whoever sends them.
type collector struct {
	url string

	mu   sync.Mutex
	sent bytes.Buffer
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, _ = fmt.Fprint(&c.sent, r.Header)
		_, _ = c.sent.ReadFrom(r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// seen returns everything that was sent, which is not nothing.
func (c *collector) seen(t *testing.T) []byte {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !bytes.Contains(c.sent.Bytes(), []byte("vertex-spoa decide")) {
		t.Errorf("no traces were sent")
	}
	return bytes.Clone(c.sent.Bytes())
}

// startSecretive starts a sandbox, in the folder, that has secrets of all kinds, and tells as much as it can. Tokens are exchanged at sts.
func startSecretive(t *testing.T, haproxy, dir, sts string) *machine {
	t.Helper()
	m := &machine{t: t, dir: dir, file: filepath.Join(dir, "credentials.json"), traces: startCollector(t)}
	flags := []string{"--audit.chain=on", "--audit.chain_key=" + filepath.Join(dir, "chain.key"), "--audit.mask=jti=hmac",
		"--audit.mask_key=" + filepath.Join(dir, "mask.key"), "--misuse.signals=on", "--trace.endpoint=" + m.traces.url, "--trace.sample=1",
		"--trace.subject=on", "--log.level=debug", "--google.credentials=" + m.file, "--google.request_reason=hmac",
		"--google.request_reason_key=" + filepath.Join(dir, "hmac.key")}
	if sts != "" {
		flags = append(flags, "--google.sts_endpoint="+sts)
	}
	policy := fmt.Sprintf(leakPolicy, repeating(t), filepath.Join(dir, "client.secret"))
	m.s = startSandbox(t, sandbox.Options{HAProxy: haproxy, Dir: dir, Closings: sandbox.ByDatagram, AgentFlags: flags, AgentEnv: []string{"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1"},
		Prepare: func(s *sandbox.Sandbox) error {
			pool := "principalSet://iam.googleapis.com/" + fake.DefaultPool
			s.World.STS.SetAccess(pool+"/group/own", sandbox.Project)
			for mail, account := range sandbox.Accounts() {
				account.Impersonators = append(account.Impersonators, workload, middleMail, pool+"/group/account")
				s.World.IAM.SetAccount(mail, account)
			}
			if err := os.WriteFile(filepath.Join(s.PolicyDir(), "50-secrets.yaml"), []byte(policy), 0o600); err != nil {
				return err
			}
			return m.write(m.key(s, sandbox.AgentMail, fake.ServiceAccountKey))
		}})
	return m
}

// secretBusiness makes calls that have secrets of callers go to places, while these work and while they do not.
func secretBusiness(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	faults := map[string]fake.Fault{"": {}, "503": {Status: http.StatusServiceUnavailable}, "403": {Status: http.StatusForbidden}, "reset": {Reset: true}}
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		if name != "" {
			s.World.STS.Fail(faults[name])
			s.World.IAM.Fail(faults[name])
		}
		for _, group := range []string{"own", "account"} {
			sub := fake.Claim("sub", group+name)
			outcome(t, s, callerOf(t, s, group, sub), shortBody(10, 0), nil)
			outcome(t, s, callerOf(t, s, group, sub, fake.Expired()), "{", nil)
			outcome(t, s, callerOf(t, s, group, sub)[20:], promptBody, nil)
			outcome(t, s, callerOf(t, s, group, sub), shortBody(10, 0), http.Header{"X-Goog-Iap-Jwt-Assertion": {callerOf(t, s, group, sub)}})
		}
		s.World.STS.Heal()
		s.World.IAM.Heal()
	}
	for range 2 {
		got := outcome(t, s, callerOf(t, s, "echo", fake.Issuer("https://echo.example.com")), shortBody(10, 0), nil)
		if want := "503 INTROSPECTION_UNAVAILABLE"; got != want {
			t.Errorf("introspection: got %s, want %s", got, want)
		}
	}
}

// outcome makes a call and tells what came of it.
func outcome(t *testing.T, s *sandbox.Sandbox, token, body string, header http.Header) string {
	t.Helper()
	res, err := s.Do(t.Context(), sandbox.Call{Target: generatePath, Token: token, Body: body, Header: header})
	if err != nil {
		t.Fatal(err)
	}
	return res.String()
}

// changeOwnSecrets gives the agent other credentials again and again, good and bad ones.
func changeOwnSecrets(t *testing.T, m *machine, v *sieve) {
	t.Helper()
	token, err := m.subjectToken(m.s)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"subject.jwt": token, "complaining": "#!/bin/sh\necho " + token + "\necho " + token + " >&2\nexit 1\n"} {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	v.add(t, "the agent's subject token", token)
	broken := randomSecret(t)
	v.add(t, "a secret in a broken file", broken)
	user, err := m.key(m.s, sandbox.AgentMail, fake.UserKey)
	if err != nil {
		t.Fatal(err)
	}
	secretsOf(t, v, user)
	for _, change := range []struct {
		told string
		text func() ([]byte, error)
	}{
		{"credentials file not taken", func() ([]byte, error) {
			return fmt.Appendf(nil, `{"type":"service_account","private_key":%q,"private_key":1`, broken), nil
		}},
		{"credentials file not taken", func() ([]byte, error) {
			return json.Marshal(map[string]string{"type": "magic", "refresh_token": broken})
		}},
		{"credentials file taken", func() ([]byte, error) { return user, nil }},
		{"credentials file taken", func() ([]byte, error) {
			return fake.ExternalAccount(fake.DefaultProvider, map[string]any{"executable": map[string]any{
				"command": filepath.Join(m.dir, "complaining"), "timeout_millis": 5000}}, "")
		}},
		{"credentials file taken", func() ([]byte, error) {
			return fake.ExternalAccount(fake.DefaultProvider, map[string]any{"file": filepath.Join(m.dir, "subject.jwt")}, middleMail)
		}},
		{"credentials file taken", func() ([]byte, error) {
			return fake.ExternalAccount(fake.DefaultAWSProvider, m.s.World.AWS.CredentialSource(), "")
		}},
	} {
		before := m.logged(change.told)
		if err := m.write(change.text()); err != nil {
			t.Fatal(err)
		}
		until(t, "the log says: "+change.told, func() string {
			if m.logged(change.told) == before {
				return "no"
			}
			return ""
		})
	}
	amazonSecrets(t, m.s, v)
}

// secretsOf adds what is secret in a credential file.
func secretsOf(t *testing.T, v *sieve, text []byte) {
	t.Helper()
	var file map[string]string
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"private_key", "refresh_token", "client_secret"} {
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(file[name]), "\n"), func(line string) bool { return strings.HasPrefix(line, "-----") })
		if secret := strings.Join(lines, ""); secret != "" {
			v.add(t, name, secret)
		}
	}
}

// amazonSecrets adds what the machine's metadata service hands out.
func amazonSecrets(t *testing.T, s *sandbox.Sandbox, v *sieve) {
	t.Helper()
	source := s.World.AWS.CredentialSource()
	ask := func(method, address string, header http.Header) []byte {
		req, err := http.NewRequestWithContext(limited(t), method, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d, %v", address, res.StatusCode, err)
		}
		return text
	}
	session := ask(http.MethodPut, fmt.Sprint(source["imdsv2_session_token_url"]), http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"60"}})
	header := http.Header{"X-Aws-Ec2-Metadata-Token": {string(session)}}
	var role struct{ SecretAccessKey, Token string }
	name := ask(http.MethodGet, fmt.Sprint(source["url"]), header)
	if err := json.Unmarshal(ask(http.MethodGet, fmt.Sprint(source["url"])+"/"+string(name), header), &role); err != nil {
		t.Fatal(err)
	}
	v.add(t, "Amazon's secret access key", role.SecretAccessKey)
	v.add(t, "Amazon's session token", role.Token)
}

// plant has a canary written to where callers' words are written, and returns where it must be found.
func plant(t *testing.T, s *sandbox.Sandbox, v *sieve) map[string]bool {
	t.Helper()
	raw := make([]byte, 24)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	canary := hex.EncodeToString(raw)
	v.add(t, "canary", canary)
	c := sandbox.Call{Target: "/v1/" + canary, Token: callerOf(t, s, "search-eng"), Body: promptBody, Header: http.Header{"User-Agent": {canary}}}
	if _, err := s.Do(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	until(t, "HAProxy has logged the call", func() string { // which it does after the answer
		log, err := os.ReadFile(s.HAProxyLogPath())
		if err != nil || !bytes.Contains(log, []byte(canary)) {
			return fmt.Sprintf("not in its log (%v)", err)
		}
		return ""
	})
	return map[string]bool{"audit.jsonl": true, "haproxy.log": true, "status page": true, "decisions": true}
}

// gather adds every token that anybody was given, and checks that there are some of each kind.
func gather(t *testing.T, s *sandbox.Sandbox, v *sieve) {
	t.Helper()
	issued := s.Issued()
	for i, token := range issued {
		v.add(t, fmt.Sprintf("caller's token %d", i), token)
	}
	counts := map[fake.Source]int{}
	for token, grant := range s.World.Ledger.Tokens() {
		counts[grant.Source]++
		v.add(t, fmt.Sprintf("a token of %s for %s", grant.Source, grant.Account), token)
	}
	file, err := os.ReadFile(filepath.Join(s.Dir, "credentials.json"))
	if err != nil || !json.Valid(file) {
		t.Fatalf("credential file: %v", err)
	}
	t.Log(len(issued), "tokens of callers,", counts)
	if len(issued) < 50 || counts[fake.FromIAM] == 0 || counts[fake.FromSTS] == 0 || counts[fake.FromOAuth] == 0 {
		t.Errorf("there were too few secrets to prove anything")
	}
}

// repeatedSecrets has a token service that answers with an error, which repeats the whole request, as some proxies and debug modes do.
func repeatedSecrets(t *testing.T) {
	v, dir := newSieve(), t.TempDir()
	for _, name := range secretFiles {
		secret := randomSecret(t)
		v.add(t, name, secret)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := startSecretive(t, "", dir, repeating(t))
	for _, group := range []string{"own", "account"} {
		if got := outcome(t, m.s, callerOf(t, m.s, group), shortBody(10, 0), nil); !strings.HasPrefix(got, "403 EXCHANGE") {
			t.Errorf("got %s, want 403 for what STS has refused", got)
		}
	}
	for i, token := range m.s.Issued() {
		v.add(t, fmt.Sprintf("caller's token %d", i), token)
	}
	outputs := outputsOf(t, m.s)
	outputs["answers"] = m.s.Answers()
	for name, text := range outputs {
		for _, what := range v.find(text) {
			t.Errorf("%s holds a secret: %s", name, what)
		}
	}
}
