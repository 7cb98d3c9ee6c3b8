package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// consultation is one run of `vertex-spoa doctor` in a sandbox of its own making.
type consultation struct {
	world  *fake.World
	dir    string
	policy string
	config string // lines of the section google
	env    map[string]string
	args   []string
}

const healthyPolicy = `version: 1
defaults: { project: acme-ai, locations: [europe-west1, europe-west4], methods: [generate, stream, count] }
issuers: { corp: { url: https://login.example.com, audience: vertex } }
roles:
  search:   { as: vx-search, who: { corp: { groups: search-eng } } }
  research: { as: vx-research, who: { corp: { groups: research } } }
rules:
  search-gemini: { allow: search, models: [gemini-2.5-*, gemini-2.5-pro] }
  research-anything: { allow: research, models: "*", publishers: "*", locations: "*" }
`

const exchangePolicy = `version: 1
defaults: { project: acme-ai, locations: [europe-west1], methods: [generate, stream, count] }
issuers: { corp: { url: https://login.example.com, audience: vertex, algorithms: [RS256, ES256] } }
roles:
  direct:  { who: { corp: { groups: search-eng } }, exchange: { audience: //iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/callers/providers/corp, mode: direct } }
  acting:  { as: vx-search, who: { corp: { groups: search-eng } }, exchange: { audience: //iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/callers/providers/corp } }
  another: { as: vx-search, who: { corp: { groups: sales } }, exchange: { audience: //iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/callers/providers/corp } }
rules:
  gemini: { allow: [direct, acting, another], models: [gemini-2.5-pro] }
`

const callers = "principalSet://iam.googleapis.com/" + fake.DefaultPool + "/group/search-eng"

func consult(t *testing.T) *consultation {
	t.Helper()
	c := &consultation{dir: t.TempDir(), policy: healthyPolicy}
	var err error
	c.world, err = fake.Start(fake.Options{
		Dir: filepath.Join(c.dir, "ca"), Issuer: sandbox.Issuer, Audience: sandbox.Audience, Project: sandbox.Project, Agent: sandbox.AgentMail,
		Accounts: map[string]fake.Account{
			sandbox.Search:   {Impersonators: []string{sandbox.AgentMail, callers}, Projects: []string{sandbox.Project}},
			sandbox.Research: {Impersonators: []string{sandbox.AgentMail}, Projects: []string{sandbox.Project}},
		},
		Access: map[string][]string{callers: {sandbox.Project}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.world.Close() })
	c.env = map[string]string{"LC_ALL": "C.UTF-8", "PATH": os.Getenv("PATH"), "HOME": c.dir}
	for _, pair := range c.world.AgentEnv() {
		name, value, _ := strings.Cut(pair, "=")
		c.env[name] = value
	}
	return c
}

// file writes a file that only its owner can write and returns its path.
func (c *consultation) file(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// callerToken writes a caller's token to a file.
func (c *consultation) callerToken(t *testing.T, options ...fake.TokenOption) string {
	t.Helper()
	token, err := c.world.IDP.Token("alice@example.com", append([]fake.TokenOption{fake.Groups("search-eng")}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c.file(t, "caller.jwt", []byte(token+"\n"))
}

// run runs the doctor and returns its exit code and what it wrote.
func (c *consultation) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(c.dir, "policy.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.file(t, "policy.d/policy.yaml", []byte(c.policy))
	section := ""
	if c.config != "" {
		section = "google:\n" + c.config
	}
	config := c.file(t, "vertex-spoa.yaml", []byte("policy: { dir: "+filepath.Join(c.dir, "policy.d")+" }\n"+section))
	cmd := exec.CommandContext(limited(t), binary, append([]string{"doctor", "--config=" + config}, slices.Concat(c.args, args)...)...)
	for name, value := range c.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var out, diagnostics bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for _, secret := range []string{"ya29.", "eyJ", "GOCSPX-", "PRIVATE KEY", "canary"} {
		if strings.Contains(out.String()+diagnostics.String(), secret) {
			t.Errorf("the output holds %q:\n%s%s", secret, &out, &diagnostics)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), diagnostics.String()
}

// masks are what differs from run to run.
var masks = []struct {
	pattern *regexp.Regexp
	mask    string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d{2,}`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`\d+s old, wanted again in \w+`), "0s old, wanted again in N"},
	{regexp.MustCompile(`digest [0-9a-f]{12}`), "digest D"},
	{regexp.MustCompile(`for 9m\d+s`), "for 10m"},
	{regexp.MustCompile(`for (30m|29m5)\ds of`), "for 30m of"}, // expiries are in whole seconds
	{regexp.MustCompile(`stream ID \d`), "stream ID N"},
}

// latency is a column of fixed width.
var latency = regexp.MustCompile(` +\d+ ms  `)

func (c *consultation) masked(text string) string {
	text = latency.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat(" ", len(s)-len("N ms  ")) + "N ms  " })
	text = strings.ReplaceAll(text, c.dir, "DIR")
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.mask)
	}
	return text
}

// googleRefusal is an error of Google's REST APIs (AIP-193).
func googleRefusal(code int, message, reason string, about map[string]string) string {
	text, _ := json.Marshal(map[string]any{"error": map[string]any{"code": code, "message": message, "details": []any{
		map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com", "metadata": about},
	}}})
	return string(text)
}

// Each thing that can be wrong is provoked, and what the doctor says of it compared with testdata/doctor. With the environment variable
// UPDATE_GOLDEN set these files are written.
func TestDoctor(t *testing.T) {
	external := func(t *testing.T, c *consultation) {
		token, err := c.world.IDP.Token("agent", fake.Audience("https:"+fake.DefaultProvider))
		if err != nil {
			t.Fatal(err)
		}
		source := map[string]any{"file": c.file(t, "agent.jwt", []byte(token))}
		text, err := fake.ExternalAccount(fake.DefaultProvider, source, sandbox.AgentMail)
		if err != nil {
			t.Fatal(err)
		}
		c.world.IAM.SetAccount(sandbox.AgentMail, fake.Account{
			Impersonators: []string{"principal://iam.googleapis.com/" + fake.DefaultPool + "/subject/agent"},
		})
		c.env["GOOGLE_APPLICATION_CREDENTIALS"] = c.file(t, "credentials.json", text)
	}
	exchanging := func(t *testing.T, c *consultation, options ...fake.TokenOption) {
		c.policy = exchangePolicy
		c.args = append(c.args, "--token="+c.callerToken(t, options...))
	}
	vertexFault := func(f fake.Fault) func(*testing.T, *consultation) {
		return func(_ *testing.T, c *consultation) {
			c.args = []string{"--vertex", "--role=search"}
			c.world.Vertex.Fail(f)
		}
	}
	tests := []struct {
		name  string
		code  int
		spoil func(*testing.T, *consultation)
	}{
		{"all is in order", 0, func(_ *testing.T, c *consultation) { c.args = []string{"--vertex"} }},
		{"in ASCII", 0, func(_ *testing.T, c *consultation) { c.env["NO_COLOR"] = "1" }},
		{"one role", 0, func(_ *testing.T, c *consultation) { c.args = []string{"--role", "research"} }},

		{"no metadata server", 1, func(_ *testing.T, c *consultation) { c.env["GCE_METADATA_HOST"] = "127.0.0.1:1" }},
		{"the metadata server fails", 1, func(_ *testing.T, c *consultation) {
			c.world.Metadata.Fail(fake.Fault{Status: http.StatusNotFound, Only: "/token"})
		}},
		{"a variable that leaks tokens", 1, func(_ *testing.T, c *consultation) { c.env["GOOGLE_SDK_GO_LOGGING_LEVEL"] = "debug" }},
		{"a credential file that is none", 1, func(t *testing.T, c *consultation) {
			c.env["GOOGLE_APPLICATION_CREDENTIALS"] = c.file(t, "credentials.json", []byte(`{"type": "serviceaccount"`))
		}},
		{"a credential file that others can write", 1, func(t *testing.T, c *consultation) {
			external(t, c)
			if err := os.Chmod(c.env["GOOGLE_APPLICATION_CREDENTIALS"], 0o666); err != nil {
				t.Fatal(err)
			}
		}},
		{"a credential file that is missing", 1, func(_ *testing.T, c *consultation) {
			c.config = "  credentials: " + filepath.Join(c.dir, "missing.json") + "\n"
		}},
		{"workload identity federation", 0, external},
		{"workload identity federation is refused", 1, func(t *testing.T, c *consultation) {
			external(t, c)
			c.world.STS.RemoveProvider(fake.DefaultProvider)
		}},
		{"a service account key", 0, func(t *testing.T, c *consultation) {
			key, err := fake.NewKey(sandbox.AgentMail, fake.ServiceAccountKey)
			if err != nil {
				t.Fatal(err)
			}
			text, err := key.File()
			if err != nil {
				t.Fatal(err)
			}
			oauth, err := fake.NewOAuth(fake.OAuthOptions{CA: c.world.CA, Ledger: c.world.Ledger, Keys: map[string]fake.Key{key.ID: key}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = oauth.Close() })
			c.world.Egress.Route(fake.OAuthHost+":443", oauth.Addr())
			c.env["GOOGLE_APPLICATION_CREDENTIALS"] = c.file(t, "credentials.json", text)
		}},

		{"an account is forbidden", 1, func(_ *testing.T, c *consultation) {
			c.world.IAM.SetAccount(sandbox.Research, fake.Account{Projects: []string{sandbox.Project}})
			c.args = []string{"--vertex"}
		}},
		{"an account is missing", 1, func(_ *testing.T, c *consultation) { c.world.IAM.RemoveAccount(sandbox.Research) }},
		{"a lifetime that is too long", 1, func(_ *testing.T, c *consultation) {
			c.policy = strings.Replace(healthyPolicy, "as: vx-search,", "as: vx-search, token: 2h,", 1)
		}},
		{"a lifetime that is cut short", 0, func(_ *testing.T, c *consultation) {
			c.world.IAM.SetAccount(sandbox.Search, fake.Account{Impersonators: []string{sandbox.AgentMail}, LongLived: true})
			c.world.IAM.Twist(fake.Twist{Lifetime: 30*60*1e9 + 5e8})
		}},
		{"IAM is down", 1, func(_ *testing.T, c *consultation) {
			c.world.IAM.Fail(fake.Fault{Status: http.StatusServiceUnavailable})
		}},
		{"IAM is busy", 1, func(_ *testing.T, c *consultation) { c.world.IAM.Fail(fake.Fault{Status: http.StatusTooManyRequests}) }},
		{"IAM is silent", 1, func(_ *testing.T, c *consultation) {
			c.world.IAM.Fail(fake.Fault{Gate: make(chan struct{})})
			c.args = []string{"--timeout=2s"}
		}},
		{"IAM hangs up", 1, func(_ *testing.T, c *consultation) { c.world.IAM.Fail(fake.Fault{Down: true}) }},
		{"IAM answers without a token", 1, func(_ *testing.T, c *consultation) { c.world.IAM.Twist(fake.Twist{EmptyToken: true}) }},
		{"the IAM API is disabled", 1, func(_ *testing.T, c *consultation) {
			c.world.IAM.Fail(fake.Fault{Status: http.StatusForbidden, Page: googleRefusal(403, "IAM Service Account Credentials API has not been used",
				"SERVICE_DISABLED", map[string]string{"consumer": "projects/123456789012", "service": fake.IAMHost})})
		}},

		{"the proxy refuses", 1, func(_ *testing.T, c *consultation) { c.world.Egress.Fail(fake.Fault{Status: http.StatusForbidden}) }},
		{"the proxy wants a password", 1, func(_ *testing.T, c *consultation) {
			c.world.Egress.Fail(fake.Fault{Status: http.StatusProxyAuthRequired})
		}},
		{"the proxy is not there", 1, func(_ *testing.T, c *consultation) { c.env["HTTPS_PROXY"] = "http://user:canary@127.0.0.1:1" }},
		{"the network behind the proxy is cut", 1, func(_ *testing.T, c *consultation) { c.world.Egress.Cut(fake.IAMHost + ":443") }},
		{"the authority is unknown", 1, func(t *testing.T, c *consultation) {
			other, err := fake.NewCA(filepath.Join(c.dir, "other"))
			if err != nil {
				t.Fatal(err)
			}
			c.env["SSL_CERT_FILE"] = other.File()
		}},
		{"a name that does not resolve", 1, func(_ *testing.T, c *consultation) {
			// Longer than a label may be (RFC 1035 section 2.3.4), so that nobody is asked about it.
			name := strings.Repeat("x", 64) + ".example.com"
			c.config, c.env["NO_PROXY"] = "  credentials_endpoint: https://"+name+"\n", name
		}},

		{"the issuer is down", 1, func(_ *testing.T, c *consultation) { c.world.IDP.Fail(fake.Fault{Down: true}) }},
		{"the issuer has no discovery", 1, func(_ *testing.T, c *consultation) {
			c.world.IDP.Fail(fake.Fault{Status: http.StatusNotFound, Only: "openid-configuration"})
		}},
		{"the issuer is another one", 1, func(_ *testing.T, c *consultation) {
			c.policy = strings.Replace(healthyPolicy, "https://login.example.com", "https://login.example.com/", 1)
		}},
		{"the issuer has no usable keys", 1, func(_ *testing.T, c *consultation) {
			c.world.IDP.PublishRaw(json.RawMessage(`{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0LWNhbmFyeS1zZWNyZXQtY2FuYXJ5"}]}`))
		}},
		{"the issuer publishes no key set", 1, func(_ *testing.T, c *consultation) {
			c.world.IDP.PublishRaw(json.RawMessage(`<html>log in first</html>`))
		}},

		{"callers' tokens are exchanged", 0, func(t *testing.T, c *consultation) {
			exchanging(t, c)
			c.args = append(c.args, "--vertex")
		}},
		{"no caller's token", 0, func(_ *testing.T, c *consultation) { c.policy = exchangePolicy }},
		{"the caller's token has expired", 1, func(t *testing.T, c *consultation) { exchanging(t, c, fake.Expired()) }},
		{"STS refuses the caller", 1, func(t *testing.T, c *consultation) {
			exchanging(t, c)
			if err := c.world.STS.SetProvider(fake.DefaultProvider, fake.Provider{
				Issuer: c.world.IDP.Issuer(), JWKS: c.world.IDP.JWKSURL(), Audiences: []string{"somebody-else"},
			}); err != nil {
				t.Fatal(err)
			}
		}},
		{"STS does not know the provider", 1, func(t *testing.T, c *consultation) {
			exchanging(t, c)
			c.world.STS.RemoveProvider(fake.DefaultProvider)
		}},
		{"STS is down", 1, func(t *testing.T, c *consultation) {
			exchanging(t, c)
			c.world.STS.Fail(fake.Fault{Status: http.StatusServiceUnavailable})
		}},
		{"nobody needs the agent's identity", 0, func(t *testing.T, c *consultation) {
			exchanging(t, c)
			c.env["GCE_METADATA_HOST"] = "127.0.0.1:1"
		}},
		{"the caller may not act as the account", 1, func(t *testing.T, c *consultation) {
			exchanging(t, c)
			c.world.IAM.SetAccount(sandbox.Search, fake.Account{})
		}},

		{"Vertex AI: no permission", 1, func(_ *testing.T, c *consultation) {
			c.args = []string{"--vertex", "--role=search"}
			c.world.IAM.SetAccount(sandbox.Search, fake.Account{Impersonators: []string{sandbox.AgentMail}})
		}},
		{"Vertex AI: no permission for the caller itself", 1, func(t *testing.T, c *consultation) {
			exchanging(t, c)
			c.args = append(c.args, "--vertex", "--role=direct")
			c.world.STS.SetAccess(callers)
		}},
		{"Vertex AI: no quota project", 1, func(_ *testing.T, c *consultation) {
			c.policy = strings.Replace(healthyPolicy, "as: vx-search,", "as: vx-search, project: acme-quota,", 1)
			c.args = []string{"--vertex", "--role=search"}
		}},
		{"Vertex AI: narrow scopes", 0, func(_ *testing.T, c *consultation) {
			c.policy = strings.Replace(healthyPolicy, "as: vx-search,", "as: vx-search, scopes: [aiplatform],", 1)
			c.args = []string{"--vertex", "--role=search"}
		}},
		{"Vertex AI: the API is disabled", 1, vertexFault(fake.Fault{Status: http.StatusForbidden, Page: googleRefusal(403,
			"Vertex AI API has not been used in project 123456789012 before or it is disabled.", "SERVICE_DISABLED",
			map[string]string{"consumer": "projects/123456789012", "service": "aiplatform.googleapis.com"})})},
		{"Vertex AI: a perimeter", 1, vertexFault(fake.Fault{Status: http.StatusForbidden, Page: googleRefusal(403,
			"Request is prohibited by organization's policy.", "SECURITY_POLICY_VIOLATED", nil)})},
		{"Vertex AI: no such model", 1, vertexFault(fake.Fault{Status: http.StatusNotFound})},
		{"Vertex AI: quota", 1, vertexFault(fake.Fault{Status: http.StatusTooManyRequests})},
		{"Vertex AI: unavailable", 1, vertexFault(fake.Fault{Status: http.StatusServiceUnavailable})},
		{"Vertex AI: a page in between", 1, vertexFault(fake.Fault{Status: http.StatusBadRequest, Page: "<html>ya29.canary</html>"})},
		{"Vertex AI: the token is refused", 1, vertexFault(fake.Fault{Status: http.StatusUnauthorized})},
		{"Vertex AI: hangs up", 1, vertexFault(fake.Fault{Down: true})},
		{"Vertex AI: the host is cut off", 1, func(_ *testing.T, c *consultation) {
			c.args = []string{"--vertex", "--role=search"}
			c.world.Egress.Cut("europe-west1-aiplatform.googleapis.com:443")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := consult(t)
			tt.spoil(t, c)
			code, stdout, stderr := c.run(t)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			golden := filepath.Join("testdata", "doctor", strings.NewReplacer(" ", "-", ":", "", "'", "").Replace(strings.ToLower(tt.name))+".golden")
			compareDoctor(t, golden, c.masked(stdout+stderr))
		})
	}
}

// What programs read has the documented shape, and says the same.
func TestDoctorSpeaksJSON(t *testing.T) {
	c := consult(t)
	c.policy = strings.Replace(exchangePolicy, "another: { as: vx-search, who: { corp: { groups: sales } }, exchange: {", "another: { as: vx-research, who: { corp: { groups: sales } } }\n#", 1)
	c.world.IAM.SetAccount(sandbox.Research, fake.Account{})
	code, stdout, stderr := c.run(t, "--json", "--vertex", "--token="+c.callerToken(t))
	if code != 1 || stderr != "vertex-spoa: doctor: 1 of 9 checks failed\n" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	text := stdout
	for _, m := range []struct{ pattern, mask string }{
		{`"latency_ms": [0-9.]+`, `"latency_ms": 1.5`},
		{`"(lifetime_s|lifetime_granted_s|expires_in_s|next_s|age_s)": [0-9]+`, `"$1": 1`},
		{`"fingerprint": "[0-9a-f]{16}"`, `"fingerprint": "F"`},
		{`"digest": "[0-9a-f]{64}"`, `"digest": "D"`},
		{`"time": "20[0-9T:-]+Z"`, `"time": "T"`},
	} {
		text = regexp.MustCompile(m.pattern).ReplaceAllString(text, m.mask)
	}
	compareDoctor(t, filepath.Join("testdata", "doctor", "report.json"), c.masked(text))
}

// A token is minted now: what was minted before does not count, and nothing is minted for roles that were not asked for.
func TestDoctorMintsOncePerRole(t *testing.T) {
	c := consult(t)
	for n := 1; n <= 2; n++ {
		if code, _, stderr := c.run(t, "--role=search"); code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		if got := c.world.IAM.Count(sandbox.Search); got.Asked != n || got.Minted != n {
			t.Errorf("after run %d: %+v", n, got)
		}
	}
	if got := c.world.IAM.Count(sandbox.Research); got.Asked != 0 {
		t.Errorf("of a role that was not asked for: %+v", got)
	}
	if got := c.world.Vertex.Requests(); len(got) != 0 {
		t.Errorf("Vertex AI was called %d times without --vertex", len(got))
	}
}

// Of many roles whose mints fail each is told by its own failure, although the agent itself would stop asking after a few.
func TestDoctorTellsEachRoleItsOwnFailure(t *testing.T) {
	c := consult(t)
	var roles, allowed strings.Builder
	for _, name := range strings.Fields("a b c d e f g h i j k l") {
		roles.WriteString("  role-" + name + ": { as: vx-" + name + ", who: { corp: { groups: " + name + " } } }\n")
		allowed.WriteString("  rule-" + name + ": { allow: role-" + name + ", models: gemini-* }\n")
	}
	c.policy, _, _ = strings.Cut(healthyPolicy, "roles:")
	c.policy += "roles:\n" + roles.String() + "rules:\n" + allowed.String()
	c.world.IAM.Fail(fake.Fault{Status: http.StatusServiceUnavailable})
	code, stdout, _ := c.run(t)
	if got := strings.Count(stdout, "  IAM answered 503"); code != 1 || got != 12 {
		t.Errorf("exit code %d, %d of 12 roles say what IAM answered:\n%s", code, got, stdout)
	}
	if got := c.world.IAM.Count("vx-l@acme-ai.iam.gserviceaccount.com").Asked; got != 1 {
		t.Errorf("IAM was asked %d times for the last role, want 1", got)
	}
}

// Scripts can tell what is wrong with the installation from what is wrong with the call.
func TestDoctorExitCodes(t *testing.T) {
	c := consult(t)
	for name, tt := range map[string]struct {
		args []string
		want int
	}{
		"all is in order":             {nil, 0},
		"a role that is none":         {[]string{"--role=serch"}, 2},
		"a flag that is none":         {[]string{"--vortex"}, 2},
		"no such policy":              {[]string{"--policy.dir=" + c.dir + "/missing"}, 3},
		"no such authorities":         {[]string{"--google.ca=" + c.dir + "/missing"}, 3},
		"a credential file is broken": {[]string{"--google.credentials=" + c.dir + "/missing"}, 1},
	} {
		code, stdout, stderr := c.run(t, tt.args...)
		if code != tt.want {
			t.Errorf("%s: exit code %d, want %d\n%s", name, code, tt.want, stderr)
		}
		if (stdout == "") != (tt.want > 1) {
			t.Errorf("%s: standard output is %q", name, stdout)
		}
	}
}

func compareDoctor(t *testing.T, golden, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}
