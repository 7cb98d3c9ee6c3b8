package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy/strictyaml"
)

// TestLoadRefuses compares the whole message for each file of testdata/bad with the file *.golden beside it. With the environment
// variable UPDATE_GOLDEN set it writes them.
func TestLoadRefuses(t *testing.T) {
	names, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no files to test: %v", err)
	}
	for _, name := range names {
		base := filepath.Base(name)
		t.Run(strings.TrimSuffix(base, ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			p, err := compile("policy.d", []file{{base, data}})
			var problems *strictyaml.Error
			if !errors.As(err, &problems) || p != nil {
				t.Fatalf("got policy %v, error %v, want no policy and a *strictyaml.Error", p, err)
			}
			compareGolden(t, strings.TrimSuffix(name, ".yaml")+".golden", problems.Error()+"\n")
		})
	}
}

// compareGolden compares a text with a file. With the environment variable UPDATE_GOLDEN set it writes the file.
func compareGolden(t *testing.T, golden, got string) {
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
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

// The whole language is checked, and what this version does not enforce is then refused wherever it stands: with one problem for each.
func TestLoadRefusesTheDutiesThatAreNotEnforced(t *testing.T) {
	_, err := Load("testdata/full")
	var problems *strictyaml.Error
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want a *strictyaml.Error", err)
	}
	compareGolden(t, "testdata/full/check.golden", problems.Error()+"\n")
}

func TestLoadReadsTheExample(t *testing.T) {
	p, err := Load("testdata/example")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range p.Model().Warnings() {
		if !strings.Contains(w.Message, "GitHub") {
			t.Errorf("warning: %s", w)
		}
	}
}

func TestLoadReadsEverything(t *testing.T) {
	p := loadText(t, `
version: 1
defaults: { projects: [acme-ai], locations: ["europe-*", global], methods: [generate] }
issuers:
  corp:
    url: https://login.acme.com
    audience: [a, b]
    algorithms: EdDSA
    jwks: { url: https://login.acme.com/keys }
    leeway: 1m
    maxAge: 12h
  google: { url: accounts.google.com, audience: a, jwks: { file: keys.json } }
  local:  { url: "http://127.0.0.1:8080/x", audience: a }
  abs:    { url: https://x.acme.com, audience: a, jwks: { file: /etc/keys.json } }
roles:
  b: { as: vx-b, who: { corp: { groups: b } }, token: 5m, delegates: [hop-1, hop-2@p.iam.gserviceaccount.com], project: "123456" }
  a: { as: 123-compute@developer.gserviceaccount.com, who: { corp: { sub: "*" } }, token: 12h, scopes: cloud-platform.read-only }
rules:
  r: { allow: [a, b], models: "*" }
`)
	wantIssuers := []Issuer{
		{Name: "corp", URL: "https://login.acme.com", Audiences: []string{"a", "b"}, Algorithms: []string{"EdDSA"}, JWKSURL: "https://login.acme.com/keys", Leeway: time.Minute, MaxAge: 12 * time.Hour},
		{Name: "google", URL: "accounts.google.com", Audiences: []string{"a"}, JWKSFile: "policy.d/keys.json"},
		{Name: "local", URL: "http://127.0.0.1:8080/x", Audiences: []string{"a"}},
		{Name: "abs", URL: "https://x.acme.com", Audiences: []string{"a"}, JWKSFile: "/etc/keys.json"},
	}
	if diff := cmp.Diff(wantIssuers, p.Issuers()); diff != "" {
		t.Errorf("issuers (-want +got):\n%s", diff)
	}
	wantGrants := []Grant{
		{Role: "b", Account: "vx-b@acme-ai.iam.gserviceaccount.com", Delegates: []string{"hop-1@acme-ai.iam.gserviceaccount.com", "hop-2@p.iam.gserviceaccount.com"}, Scopes: []string{"https://www.googleapis.com/auth/cloud-platform"}, Lifetime: 5 * time.Minute},
		{Role: "a", Account: "123-compute@developer.gserviceaccount.com", Scopes: []string{"https://www.googleapis.com/auth/cloud-platform.read-only"}, Lifetime: 12 * time.Hour},
	}
	if diff := cmp.Diff(wantGrants, p.Grants()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
	if p.project != "acme-ai" || p.location != "global" {
		t.Errorf("defaults for listings: got %q, %q, want acme-ai, global", p.project, p.location)
	}
	p.Issuers()[0].Audiences[0] = "changed"
	p.Grants()[0].Scopes[0] = "changed"
	if p.Issuers()[0].Audiences[0] != "a" || p.Model().Roles[0].Scopes[0] == "changed" {
		t.Error("a caller could change the policy")
	}
}

func TestLoadUnitesFiles(t *testing.T) {
	rules := "version: 1\nrules:\n  r: { allow: search, models: \"*\" }\n"
	head := companyPolicy[:strings.Index(companyPolicy, "rules:")]
	p := loadText(t, rules, head) // what a rule refers to may stand in a later file
	d := p.Decide(corp("search-eng"), parsed(t, model("europe-west1", "google", "x", "generateContent")), Request{})
	if d.Effect != Allow || d.Rule != "r" {
		t.Errorf("got %v, rule %q, want allow by r", d.Effect, d.Rule)
	}
	_, err := compile("policy.d", []file{
		{"a.yaml", []byte(head)},
		{"b.yaml", []byte(rules)},
		{"c.yaml", []byte(rules + "roles:\n  search: { as: a, who: {} }\ndefaults: {}\n")},
	})
	want := []string{
		`rule "r" is defined twice: it stands at policy.d/b.yaml:3:3 already`,
		`role "search" is defined twice: it stands at policy.d/a.yaml:12:3 already`,
		`defaults stand in one file only: they stand at policy.d/a.yaml:4:3 already`,
	}
	var got []string
	var problems *strictyaml.Error
	if errors.As(err, &problems) {
		for _, p := range problems.Problems {
			got = append(got, p.Message)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestTheOrderOfRulesAndFilesDoesNotMatter(t *testing.T) {
	body := companyPolicy[strings.Index(companyPolicy, "rules:\n")+len("rules:\n"):]
	head := strings.TrimSuffix(companyPolicy, "rules:\n"+body)
	var rules []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "    ") {
			rules[len(rules)-1] += line
		} else {
			rules = append(rules, line)
		}
	}
	backwards := "version: 1\nrules:\n"
	for i := range rules {
		backwards += rules[len(rules)-1-i]
	}
	p, q := loadText(t, companyPolicy), loadText(t, backwards, head)
	for _, call := range sampleCalls(t) {
		for _, caller := range sampleCallers() {
			if diff := cmp.Diff(p.Decide(caller, call, Request{}), q.Decide(caller, call, Request{})); diff != "" {
				t.Errorf("%+v on %s (-one file +turned round):\n%s", caller, call.URI(), diff)
			}
		}
	}
}

func TestLoadBoundsWhatAPolicyHolds(t *testing.T) {
	for what, most := range map[string]int{"issuer": maxIssuers, "role": maxRoles} {
		text := []byte("version: 1\n" + what + "s:\n")
		for i := range most + 1 {
			text = fmt.Appendf(text, "  x%d: {}\n", i)
		}
		_, err := compile("policy.d", []file{{"a.yaml", text}})
		if want := fmt.Sprintf("the policy has more than %d %ss", most, what); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestLoadReadsAFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "policy.yaml", companyPolicy)
	p, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := DirDigest(dir); err != nil || d != p.Digest() || len(d) != 64 {
		t.Errorf("digest: got %q, %v, want %q", d, err, p.Digest())
	}
	write(t, dir, "policy.yaml", "version: 7\n")
	if p, err := Load(dir); err == nil || p != nil {
		t.Errorf("a bad policy: got %v, %v, want an error", p, err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(companyPolicy))
	names, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	calls, callers := sampleCalls(f), sampleCallers()
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := compile("policy.d", []file{{"a.yaml", data}})
		if err != nil {
			var problems *strictyaml.Error
			if p != nil || !errors.As(err, &problems) || len(problems.Problems) == 0 || len(problems.Error()) > 1<<18 {
				t.Errorf("got policy %v, error %v, want no policy and problems of a bounded length", p, err)
			}
			return
		}
		for _, g := range p.Grants() {
			if !strings.HasSuffix(g.Account, ".gserviceaccount.com") || g.Lifetime < 5*time.Minute || g.Lifetime > 12*time.Hour || len(g.Scopes) == 0 {
				t.Errorf("grant %+v", g)
			}
		}
		for _, i := range p.Issuers() {
			if i.Name == "" || (i.URL == "" || len(i.Audiences) == 0) && i.Certificate == nil {
				t.Errorf("issuer %+v", i)
			}
		}
		for _, call := range calls {
			for _, caller := range callers {
				checkDecision(t, p.Decide(caller, call, Request{}))
			}
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	files := []file{{"a.yaml", []byte(companyPolicy)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := compile("policy.d", files); err != nil {
			b.Fatal(err)
		}
	}
}
