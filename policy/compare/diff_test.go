package compare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vertex-spoa/policy"
)

func load(t testing.TB, text string) *policy.Policy {
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

func example(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("../testdata/example/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// edit replaces each text by the next in the example.
func edit(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("no %q to replace", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func TestTry(t *testing.T) {
	e := example(t)
	for _, pairs := range [][]string{
		{"models: [gemini-2.5-*, text-embedding-*]", "models: [gemini-*]"},
		{"as: vx-search", "as: vx-other"},
		{"except: research", "except: [research, search]"},
		{"maxOutputTokens: 1024", "maxOutputTokens: 2048"},
		{"methods: embed", "methods: [embed, stream, cachedContents.create]"},
		{"groups: support", "groups: [support, helpdesk]"},
	} {
		d := Diff(load(t, e), load(t, edit(t, e, pairs...)))
		var b strings.Builder
		_ = d.WriteText(&b)
		t.Logf("%q\n%s", pairs, b.String())
	}
	list, whole := WhoCan(load(t, e), Query{Model: "gemini-2.5-*"})
	var b strings.Builder
	_ = WritePermissions(&b, list)
	t.Logf("%v\n%s", whole, b.String())
}
