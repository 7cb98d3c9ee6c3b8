package trial

import (
	"bytes"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy"
	"vertex-spoa/policy/strictyaml"
)

// company is a policy with all that tests can be about.
const company = `
version: 1
defaults: { project: acme-ai, locations: [europe-west1, europe-west4], methods: [generate, count, list] }
issuers:
  corp: { url: "https://login.example.com", audience: [vertex, other], claims: { level: int, admin: bool } }
  k8s:  { url: "https://k8s.example.com", audience: vertex, map: { subject: email } }
aliases: { best: gemini-2.5-pro }
roles:
  search: { as: vx-search, who: { corp: { groups: search } } }
  other:  { as: vx-other, who: [{ corp: { groups: other } }, { k8s: { sub: "*" } }] }
rules:
  gemini:   { allow: search, models: gemini-*, when: claims.level >= 3 }
  short:    { allow: other, models: gemini-2.5-flash, body: { maxOutputTokens: 100 } }
  inside:   { allow: other, models: gemini-2.5-pro, when: 'inNetwork(ip, "10.0.0.0/8")' }
  by-day:   { allow: search, models: nightly, active: { hours: 08:00-20:00 } }
  quick:    { allow: search, models: quick, headers: { may: { X-Vertex-AI-LLM-Shared-Request-Type: priority } } }
  open:     { allow: search, publishers: anthropic, models: claude-* }
  observed: { deny: search, models: gemini-2.0-*, mode: shadow }
  never:    { deny: search, except: other, models: gemini-1.*, because: too old }
`

func load(t testing.TB, text string) (*policy.Policy, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p, dir
}

// suiteOf reads tests for a policy.
func suiteOf(t testing.TB, p *policy.Policy, text string) Suite {
	t.Helper()
	var problems strictyaml.Problems
	s := Read("a_test.yaml", []byte(text), p, &problems)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

const callers = `
callers:
  sam:  { corp: { sub: sam, groups: [search], level: 3 } }
  low:  { corp: { sub: low, groups: search, level: 2 } }
  none: { corp: { sub: none, groups: [search] } }
  both: { corp: { sub: both, groups: [search, other], level: 9 } }
  pod:  { k8s: { sub: pod } }
`

func TestDecisionsAreTheAgents(t *testing.T) {
	p, _ := load(t, company)
	for _, test := range []struct{ name, fields, want string }{
		{"a call in short", `as: sam, call: "gemini-2.5-flash:generateContent"`, "allow search gemini"},
		{"a call in full", `as: sam, call: "POST /v1beta1/projects/acme-ai/locations/europe-west4/publishers/google/models/gemini-2.5-pro:generateContent"`, "allow search gemini"},
		{"a wrong HTTP method", `as: sam, call: "GET gemini-2.5-flash:generateContent"`, "deny BAD_HTTP_METHOD"},
		{"a path that is none", `as: sam, call: "POST /v1/nonsense"`, "deny SURFACE_OFF"},
		{"a location that is none", `as: sam, call: "gemini-2.5-flash:generateContent @mars"`, "deny UNKNOWN_LOCATION"},
		{"a claim that is a number", `as: low, call: "gemini-2.5-flash:generateContent"`, "deny NO_RULE"},
		{"a claim that is absent", `as: none, call: "gemini-2.5-flash:generateContent"`, "deny NO_RULE"},
		{"another publisher", `as: sam, call: "anthropic/claude-opus-4:rawPredict"`, "allow search open"},
		{"an alias", `as: sam, call: "best:generateContent", uri: "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-pro:generateContent"`, "allow search gemini"},
		{"the list of models", `as: sam, call: models.list`, "allow search gemini"},
		{"no body given", `as: pod, call: "gemini-2.5-flash:generateContent"`, "need_body short"},
		{"a body that fits", `as: pod, call: "gemini-2.5-flash:generateContent", body: { generationConfig: { maxOutputTokens: 100 } }`, "allow other short"},
		{"a body that does not", `as: pod, call: "gemini-2.5-flash:generateContent", body: { generationConfig: { maxOutputTokens: 101 } }`, "deny NO_RULE"},
		{"a number in quotes is none", `as: pod, call: "gemini-2.5-flash:generateContent", body: { generationConfig: { maxOutputTokens: "x" } }`, "deny BAD_BODY short"},
		{"no body", `as: pod, call: "gemini-2.5-flash:generateContent", body: none`, "deny BODY_REQUIRED short"},
		{"half a body", `as: pod, call: "gemini-2.5-flash:generateContent", body: truncated`, "deny BODY_TRUNCATED short"},
		{"half a body that nobody asks for", `as: sam, call: "gemini-2.5-flash:generateContent", body: truncated`, "allow search gemini"},
		{"a body that says otherwise than the path and that nobody asks for", `as: sam, call: "gemini-2.5-flash:generateContent", body: { model: gemma }`, "allow search gemini"},
		{"a body that cannot be read", `as: pod, call: "gemini-2.5-flash:generateContent", body: unreadable`, "deny BAD_BODY short"},
		{"the model in the body", `as: sam, call: chat.completions, body: { model: google/gemini-2.5-flash }`, "allow search gemini"},
		{"another model in the body", `as: sam, call: chat.completions, body: { model: google/gemma }`, "deny NO_RULE"},
		{"an address inside", `as: pod, call: "gemini-2.5-pro:generateContent", ip: 10.1.2.3`, "allow other inside"},
		{"an address outside", `as: pod, call: "gemini-2.5-pro:generateContent", ip: 11.1.2.3`, "deny NO_RULE"},
		{"by day", `as: sam, call: "nightly:generateContent", at: 2026-11-22T12:00:00Z`, "allow search by-day"},
		{"by night", `as: sam, call: "nightly:generateContent", at: 2026-11-22T03:00:00Z`, "deny NOT_ACTIVE by-day"},
		{"at no time", `as: sam, call: "nightly:generateContent"`, "deny NOT_ACTIVE by-day"},
		{"a tier that may be asked for", `as: sam, call: "quick:generateContent", headers: { X-Vertex-AI-LLM-Shared-Request-Type: priority }`, "allow search quick"},
		{"a tier that may not", `as: sam, call: "quick:generateContent", headers: { X-Vertex-AI-LLM-Shared-Request-Type: flex }`, "deny NO_RULE"},
		{"the first role", `as: both, call: "gemini-2.5-flash:generateContent"`, "allow search gemini"},
		{"the role asked for", `as: both, role: other, call: "gemini-2.5-pro:generateContent", ip: 10.0.0.1`, "allow other inside"},
		{"a role that the caller has not", `as: sam, role: other, call: "gemini-2.5-pro:generateContent"`, "deny NO_ROLE"},
		{"a rule in shadow", `as: sam, call: "gemini-2.0-flash:generateContent", shadow: observed`, "allow search gemini"},
		{"no rule in shadow", `as: sam, call: "gemini-2.5-flash:generateContent", shadow: none`, "allow search gemini"},
		{"a deny rule", `as: sam, call: "gemini-1.5-pro:generateContent"`, "deny DENIED never"},
		{"a deny rule that excepts the caller", `as: both, call: "gemini-1.5-pro:generateContent"`, "allow search gemini"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := suiteOf(t, p, callers+"tests: [{ want: "+test.want+", "+test.fields+" }]\n")
			report := Run(p, []Suite{s}, nil)
			if run, failed := report.Count(); run != 1 || failed != 0 {
				t.Errorf("%d tests ran, want 1:\n%s", run, report.Failures())
			}
		})
	}
}

func TestEveryPartOfADecisionIsCompared(t *testing.T) {
	p, _ := load(t, company)
	for _, test := range []struct{ name, fields, want string }{
		{"the effect", `want: deny NO_RULE`, "want deny NO_RULE|got  allow search gemini"},
		{"the role", `want: allow other`, "want allow other|got  allow search gemini"},
		{"the rule", `want: allow search open`, "want allow search open|got  allow search gemini|near open at policy.yaml:17:3, publishers: want [anthropic], got google"},
		{"a rule for another role", `want: allow search short`, "want allow search short|got  allow search gemini|near short is not for the caller, who has: search"},
		{"the account", `want: allow, account: vx-other`, "want account vx-other@acme-ai.iam.gserviceaccount.com|got  account vx-search@acme-ai.iam.gserviceaccount.com"},
		{"the URI", `want: allow, uri: /v1`, "want uri /v1|got  uri /v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent"},
		{"rules in shadow", `want: allow, shadow: observed`, "want shadow observed|got  shadow none"},
		{"that the body is not needed", `want: need_body`, "want need_body|got  allow search gemini"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := suiteOf(t, p, callers+`tests: [{ as: sam, call: "gemini-2.5-flash:generateContent", `+test.fields+" }]\n")
			report := Run(p, []Suite{s}, nil)
			_, got, _ := strings.Cut(report.Failures(), "\n")
			got = strings.ReplaceAll(strings.TrimSpace(got), "\n  ", "|")
			got = regexp.MustCompile(` at \S*/policy.yaml`).ReplaceAllString(got, " at policy.yaml")
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestCallersHaveTheClaimsOfTokens(t *testing.T) {
	p, _ := load(t, company)
	s := suiteOf(t, p, `
callers:
  sam: { corp: { sub: sam, level: 3, admin: true, ratio: 0.5, none: null, text: "3", yes: yes, version: 1.10, zip: 012, list: [a, 1], deep: { a: { b: c } } } }
  pod: { k8s: { sub: pod, email: pod@example.com, aud: mine } }
tests:
  - { as: sam, call: models.list, want: allow }
  - { as: pod, call: models.list, want: allow }
`)
	want := []policy.Caller{
		{Issuer: "corp", Subject: "sam", Claims: map[string]any{
			"iss": "https://login.example.com", "aud": "vertex", "sub": "sam", "level": int64(3), "admin": true, "ratio": 0.5, "none": nil,
			"text": "3", "yes": "yes", "version": 1.1, "zip": "012", "list": []any{"a", int64(1)}, "deep": map[string]any{"a": map[string]any{"b": "c"}},
		}},
		{Issuer: "k8s", Subject: "pod@example.com", Claims: map[string]any{"iss": "https://k8s.example.com", "aud": "mine", "sub": "pod", "email": "pod@example.com"}},
	}
	if diff := cmp.Diff(want, []policy.Caller{s.Tests[0].Caller, s.Tests[1].Caller}); diff != "" {
		t.Errorf("callers (-want +got):\n%s", diff)
	}
}

func TestTarget(t *testing.T) {
	model := &policy.Model{Project: "acme-ai", Location: "europe-west1"}
	const in = "/v1/projects/acme-ai/locations/europe-west1/"
	for text, want := range map[string]string{
		"gemini-2.5-flash:generateContent":                      "POST " + in + "publishers/google/models/gemini-2.5-flash:generateContent",
		"POST gemini-2.5-flash:generateContent @global":         "POST /v1/projects/acme-ai/locations/global/publishers/google/models/gemini-2.5-flash:generateContent",
		"  anthropic/claude-4@2025:rawPredict  @us  in other  ": "POST /v1/projects/other/locations/us/publishers/anthropic/models/claude-4@2025:rawPredict",
		"m:streamGenerateContent?alt=sse":                       "POST " + in + "publishers/google/models/m:streamGenerateContent?alt=sse",
		"endpoints/1234:predict":                                "POST " + in + "endpoints/1234:predict",
		"chat.completions":                                      "POST " + in + "endpoints/openapi/chat/completions",
		"embeddings @us":                                        "POST /v1/projects/acme-ai/locations/us/endpoints/openapi/embeddings",
		"models.list":                                           "GET /v1/publishers/google/models",
		"models.get gemini-2.5-pro":                             "GET /v1/publishers/google/models/gemini-2.5-pro",
		"DELETE /v1/x?y=z":                                      "DELETE /v1/x?y=z",
		"/v1/x":                                                 "POST /v1/x",
		"GET m:x":                                               "GET " + in + "publishers/google/models/m:x",
	} {
		method, target, err := Target(text, model)
		if got := method + " " + target; err != nil || got != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                "0: no call: write one such as gemini-2.5-flash:generateContent @europe-west1",
		"POST":            `4: no call: write one such as gemini-2.5-flash:generateContent @europe-west1`,
		"POST gemini":     `5: "gemini" is not a call: write MODEL:METHOD, endpoints/ID:METHOD, or a whole path`,
		"m:":              `0: "m:" is not a call: write MODEL:METHOD, endpoints/ID:METHOD, or a whole path`,
		"m:x us":          `4: "us" is not expected here: write @LOCATION and then in PROJECT`,
		"m:x in p @us":    `9: "@us" is not expected here: write @LOCATION and then in PROJECT`,
		"m:x @us in p q":  `13: "q" is not expected here: write @LOCATION and then in PROJECT`,
		"m:x in":          "6: no project: write in PROJECT, since the policy's defaults have none",
		"m:x @":           "5: no location: write @LOCATION, since the policy's defaults have none",
		"models.get":      "10: models.get needs a model",
		"/v1/x @us":       `6: a target in full stands alone, and not beside "@us"`,
		"models.list @us": `12: a target in full stands alone, and not beside "@us"`,
	} {
		_, _, err := Target(text, model)
		var wrong *CallError
		if !errors.As(err, &wrong) {
			t.Errorf("%q: got %v, want a *CallError", text, err)
			continue
		}
		if got := strconv.Itoa(wrong.Column) + ": " + wrong.Error(); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if _, _, err := Target("m:x", &policy.Model{}); err == nil {
		t.Error("a call without project and location was read")
	}
}

func TestCoverage(t *testing.T) {
	p, _ := load(t, company)
	counts := func(tests string) map[string]string {
		report := Run(p, []Suite{suiteOf(t, p, callers+"tests:\n"+tests)}, nil)
		if _, failed := report.Count(); failed > 0 {
			t.Fatal(report.Failures())
		}
		got := map[string]string{}
		for _, rule := range report.Coverage() {
			var parts []string
			for _, c := range rule.Conditions {
				parts = append(parts, c.Condition+" "+strconv.Itoa(c.True)+"/"+strconv.Itoa(c.False))
			}
			got[rule.Rule] = strconv.Itoa(rule.Applied) + ": " + strings.Join(parts, ", ")
		}
		return got
	}
	for _, test := range []struct {
		name, tests string
		want        map[string]string
	}{
		{"a rule that applies has all its conditions true", `  - { as: sam, call: "gemini-2.5-flash:generateContent", want: allow search gemini }`,
			map[string]string{"gemini": "1: models 1/0, when 1/0", "short": "0: models 0/0, body.maxOutputTokens 0/0", "by-day": "0: models 0/1, active 0/0", "never": "0: except 1/0, models 0/1"}},
		{"the first condition that is false is the one", `  - { as: low, call: "gemini-2.5-flash:generateContent", want: deny NO_RULE }`,
			map[string]string{"gemini": "0: models 1/0, when 0/1", "open": "0: models 0/0, publishers 0/1"}},
		{"conditions from the defaults are not the rule's own", `  - { as: sam, call: "gemini-2.5-flash:generateContent @us", want: deny NO_RULE }`,
			map[string]string{"gemini": "0: models 0/0, when 0/0", "observed": "0: models 0/1"}},
		{"a condition that fails is neither", `  - { as: none, call: "gemini-2.5-flash:generateContent", want: deny NO_RULE }`,
			map[string]string{"gemini": "0: models 1/0, when 0/0"}},
		{"nor is one on a body that was not seen", `  - { as: pod, call: "gemini-2.5-flash:generateContent", want: need_body }`,
			map[string]string{"short": "0: models 1/0, body.maxOutputTokens 0/0"}},
		{"a body that does not fit", `  - { as: pod, call: "gemini-2.5-flash:generateContent", body: {}, want: deny NO_RULE }`,
			map[string]string{"short": "0: models 1/0, body.maxOutputTokens 0/1"}},
		{"a rule that excepts the caller", `  - { as: both, call: "gemini-1.5-pro:generateContent", want: allow }`,
			map[string]string{"never": "0: except 0/1, models 0/0"}},
		{"a closed window", `  - { as: sam, call: "nightly:generateContent", want: deny NOT_ACTIVE }`, map[string]string{"by-day": "0: models 1/0, active 0/1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := counts(test.tests)
			for rule, want := range test.want {
				if got[rule] != want {
					t.Errorf("%s: got %s, want %s", rule, got[rule], want)
				}
			}
		})
	}
}

func TestExamplePolicyIsTestedWhole(t *testing.T) {
	dir := filepath.Join("..", "testdata", "example")
	p, err := policy.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	suites, err := Load(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	report := Run(p, suites, nil)
	if run, failed := report.Count(); run < 24 || failed > 0 {
		t.Errorf("%d of %d tests failed, want none of at least 24:\n%s", failed, run, report.Failures())
	}
	first, rest, _ := strings.Cut(report.CoverageText(), "\n")
	if want := "coverage: 7 of 7 rules applied, 20 of 20 outcomes of conditions seen"; first != want || rest != "" {
		t.Errorf("got %s\n%s, want %s", first, rest, want)
	}
}

func TestLoadFindsFilesBelowTheFolder(t *testing.T) {
	p, dir := load(t, company)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b_test.yaml", "teams/a_test.yaml", ".hidden/a_test.yaml", ".a_test.yaml", "teams/atest.yaml"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(callers+"tests: [{ as: sam, call: models.list, want: allow }]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{dir, link} {
		suites, err := Load(dir, p)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range suites {
			got = append(got, s.File)
		}
		if want := []string{filepath.Join(dir, "b_test.yaml"), filepath.Join(dir, "teams/a_test.yaml")}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if _, err := Load(filepath.Join(dir, "nowhere"), p); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist", err)
	}
	if suites, err := Load(dir, nil); err == nil {
		t.Errorf("got %v for no policy, want an error", suites)
	}
}

// What Jenkins' schema of JUnit reports knows of the elements that we write, with the attributes that have to be there first.
var junitElements = map[string]struct {
	required, optional string
	inside             string
}{
	"testsuites": {"", "name time tests failures disabled errors", ""},
	"testsuite":  {"name tests", "failures errors time disabled skipped timestamp hostname id package", "testsuites"},
	"testcase":   {"name", "assertions time classname status", "testsuite"},
	"failure":    {"", "type message", "testcase"},
}

func TestJUnitReportIsValid(t *testing.T) {
	p, _ := load(t, company)
	s := suiteOf(t, p, callers+`tests:
  - { as: sam, call: "gemini-2.5-flash:generateContent", want: allow search gemini }
  - { as: sam, call: "gemini-2.5-flash:generateContent", name: "<&\"> ü", want: deny NO_RULE }
  - { as: low, call: "gemini-2.5-flash:generateContent", want: allow }
`)
	var b bytes.Buffer
	if err := Run(p, []Suite{s, {File: "empty_test.yaml"}}, nil).WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	validateJUnit(t, b.Bytes())
	var got struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Suites   []struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Cases    []struct {
				Name    string `xml:"name,attr"`
				Failure []struct {
					Message string `xml:"message,attr"`
					Text    string `xml:",chardata"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 3 || got.Failures != 2 || len(got.Suites) != 2 || got.Suites[0].Tests != 3 || got.Suites[0].Failures != 2 || got.Suites[1].Tests != 0 {
		t.Errorf("counts: got %+v", got)
	}
	cases := got.Suites[0].Cases
	if len(cases) != 3 || len(cases[0].Failure) != 0 || len(cases[1].Failure) != 1 || len(cases[2].Failure) != 1 {
		t.Fatalf("cases: got %+v", cases)
	}
	if failure := cases[1].Failure[0]; cases[1].Name != `<&"> ü` || failure.Message != "got  allow search gemini" ||
		!strings.HasPrefix(failure.Text, "a_test.yaml:10:5\nwant deny NO_RULE\ngot  allow search gemini\n") {
		t.Errorf("failure: got %q in %q", failure, cases[1].Name)
	}
}

// validateJUnit checks elements, their places and their attributes.
func validateJUnit(t *testing.T, data []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(data))
	d.Strict = true
	var open []string
	for {
		token, err := d.Token()
		if token == nil {
			if len(open) > 0 {
				t.Errorf("%v is not closed: %v", open, err)
			}
			return
		}
		switch token := token.(type) {
		case xml.StartElement:
			name := token.Name.Local
			known, ok := junitElements[name]
			if parent := strings.Join(open[max(0, len(open)-1):], ""); !ok || parent != known.inside {
				t.Errorf("<%s> within %q, want it within %q", name, parent, known.inside)
			}
			var attributes []string
			for _, a := range token.Attr {
				attributes = append(attributes, a.Name.Local)
				if a.Name.Local == "time" {
					if seconds, err := strconv.ParseFloat(a.Value, 64); err != nil || seconds < 0 {
						t.Errorf("time %q is not seconds", a.Value)
					}
				}
				if !slices.Contains(strings.Fields(known.required+" "+known.optional), a.Name.Local) {
					t.Errorf("<%s> has no attribute %s", name, a.Name.Local)
				}
			}
			for _, required := range strings.Fields(known.required) {
				if !slices.Contains(attributes, required) {
					t.Errorf("<%s> lacks %s", name, required)
				}
			}
			open = append(open, name)
		case xml.EndElement:
			open = open[:len(open)-1]
		default:
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, text := range []string{"m:x", "GET m:x @us in p", "models.get m", "/v1/x", "chat.completions", "a/b:c ü", ""} {
		f.Add(text)
	}
	model := &policy.Model{Project: "p", Location: "us"}
	f.Fuzz(func(t *testing.T, text string) {
		method, target, err := Target(text, model)
		var wrong *CallError
		switch {
		case err == nil && (method == "" || target == "" || target[0] != '/'):
			t.Errorf("%q: got %q %q", text, method, target)
		case err != nil && (!errors.As(err, &wrong) || method != "" || target != "" || wrong.Column < 0 || wrong.Column > len([]rune(text))):
			t.Errorf("%q: got %q %q %#v", text, method, target, err)
		}
		_, _ = policy.ParseAny(method, target)
	})
}

func FuzzRead(f *testing.F) {
	p, _ := load(f, company)
	for _, text := range []string{
		callers + "tests: [{ as: sam, call: models.list, want: allow }]\n", "callers: {}\ntests: []\n", "callers: { a: { corp: x } }\ntests: [x]\n",
		callers + "tests: [{ as: sam, call: \" \", want: \" \", body: {a: [1, 1e99, null, \"\"]}, at: x, shadow: none }]\n", "at: 2026-11-22T03:00:00Z\n",
		callers + "tests: [{ as: sam, call: \"m:x\", want: \"deny  NO_RULE\\tx\" }]\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var problems strictyaml.Problems
		s := Read("a_test.yaml", []byte(text), p, &problems)
		report := Run(p, []Suite{s}, nil)
		if run, _ := report.Count(); run != len(s.Tests) {
			t.Errorf("%d of %d tests ran", run, len(s.Tests))
		}
		if err := report.WriteJUnit(&bytes.Buffer{}); err != nil {
			t.Error(err)
		}
	})
}
