package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vertex-spoa/policy"
	"vertex-spoa/policy/format"
)

// sameMeaning compares two policies, but for the places at which they are written.
func sameMeaning(a, b *policy.Policy) string {
	return cmp.Diff(a.Model(), b.Model(),
		cmpopts.IgnoreTypes(policy.Position{}),
		cmpopts.IgnoreUnexported(policy.Rule{}, policy.Expression{}),
		cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() }),
	)
}

// formatted returns a policy that is formatted, file by file.
func formatted(t testing.TB, dir string) *policy.Policy {
	t.Helper()
	names, err := policyFiles([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		after, err := format.Source(name, data)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, after, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := policy.Load(dir)
	if err != nil {
		t.Fatalf("the formatted policy does not load: %v", err)
	}
	return p
}

func TestFormattingKeepsTheMeaningOfThePolicies(t *testing.T) {
	for _, dir := range []string{"../../../policy/testdata/example", "../../../haproxy-example/policy.d"} {
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		before, err := policy.Load(copied)
		if err != nil {
			t.Fatal(err)
		}
		if diff := sameMeaning(before, formatted(t, copied)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", dir, diff)
		}
	}
}

func FuzzFormattingKeepsTheMeaning(f *testing.F) {
	data, err := os.ReadFile("../../../policy/testdata/example/policy.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Add(`version: 1
roles: {b: {who: [{i: {sub: [x, y*]}}], as: "vx" }, a: {priority: 1, as: vx, who: {i: {sub: "1", level: 2}}}} # r
defaults: {methods: [count], locations: europe-*, project: p-1}
rules:
    r: {models: ["a-*"], allow: [b, a], when: 'claims.x == "# no"', active: [{until: 2027-01-01, days: mon-fri}], body: {tools: none, maxOutputTokens: {min: 1}}}
    # d
    d: {deny: "*", because: it is so, models: x}
issuers: {i: {url: "https://i.example.com", audience: [b, a]}}
`)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := policy.Load(dir)
		if err != nil {
			return
		}
		if _, err := format.Source("policy.yaml", []byte(text)); err != nil && strings.Contains(err.Error(), "cannot be formatted") {
			return // as a key on two lines
		}
		if diff := sameMeaning(before, formatted(t, dir)); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	})
}

// The order of keys is a matter of the formatter; which there are is not.
func TestFormatterKnowsAllKeysOfTheLanguage(t *testing.T) {
	want := map[string][]string{}
	path := ""
	for line := range strings.Lines(policy.Reference()) {
		if title, ok := strings.CutPrefix(line, "#### "); ok {
			path = strings.Trim(strings.TrimSuffix(title, "\n"), "`")
			if path == "A file" {
				path = ""
			}
		}
		if key := regexp.MustCompile("^\\| `([^`]+)` \\|").FindStringSubmatch(line); key != nil {
			want[path] = append(want[path], key[1])
		}
	}
	got := format.PolicyKeys()
	for _, keys := range []map[string][]string{want, got} {
		for path := range keys {
			slices.Sort(keys[path])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-language +formatter):\n%s", diff)
	}
}

func TestColour(t *testing.T) {
	got := colour("error: x\n  --> a.yaml:1:1\n    1 | x\n      | ^\nwarning: y\nok: z\nFAIL f\n1 error\n")
	want := red + "error:" + plainAgain + " x\n" + blue + "  -->" + plainAgain + " a.yaml:1:1\n    1 | x\n      | " + red + "^" + plainAgain + "\n" +
		yellow + "warning:" + plainAgain + " y\n" + green + "ok" + plainAgain + ": z\n" + red + "FAIL" + plainAgain + " f\n1 error\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestPaintLeavesTextForOthersThanTerminals(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	terminal, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a device, as terminals are
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	const text = "error: x\n"
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if got := paint(file, text) + paint(&bytes.Buffer{}, text); got != text+text {
		t.Errorf("a file gets %q", got)
	}
	if got := paint(terminal, text); got != colour(text) {
		t.Errorf("a terminal gets %q", got)
	}
	for _, env := range []struct{ name, value string }{{"TERM", "dumb"}, {"NO_COLOR", "1"}} {
		t.Setenv(env.name, env.value)
		if got := paint(terminal, text); got != text {
			t.Errorf("with %s=%s a terminal gets %q", env.name, env.value, got)
		}
	}
}

func TestReplaceFileLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.yaml")
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(name, []byte("x")); err == nil {
		t.Error("a folder was replaced by a file")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v, want the folder alone", entries, err)
	}
}
