package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// audited runs a sub-command of audit.
func audited(args ...string) (stdout string, err error) {
	var out, warnings strings.Builder
	err = runAudit(args, streams{in: strings.NewReader(""), out: &out, err: &warnings})
	return out.String(), err
}

// chained writes n chained lines to a file.
func chained(t *testing.T, path string, key audit.Key, n int) {
	t.Helper()
	log, err := audit.OpenWith(audit.Options{Path: path, Chain: true, ChainKey: key, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		log.Append(&audit.Undelivered{Time: time.Unix(int64(i), 0), ID: fmt.Sprint(i), Attempt: 1}, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
		log.Flush()
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyNamesTheFirstBrokenLine(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "key")
	if err := os.WriteFile(secret, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := auditKey("key", secret)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "audit.jsonl")
	chained(t, log, key, 5)
	out, err := audited("verify", "--key", secret, log)
	if err != nil || !strings.HasPrefix(out, "read 5 lines: 5 in 1 chain, 0 without one before them, 0 torn\n") || !strings.Contains(out, "\nevery line is what was written;") {
		t.Fatalf("got %s, %v", out, err)
	}
	heads, err := audited("verify", "--json", "--key", secret, log)
	if err != nil {
		t.Fatal(err)
	}
	noted := filepath.Join(dir, "heads.json")
	if err := os.WriteFile(noted, []byte(heads), 0o600); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for _, c := range []struct {
		name, content string
		flags         []string
		want          string // empty for no mistake
	}{
		{"a changed line", strings.Replace(string(whole), `"id":"2"`, `"id":"x"`, 1), nil, "audit.jsonl:3: changed: "},
		{"a line that is gone", lines[0] + lines[2] + lines[3] + lines[4], nil, "audit.jsonl:2: missing: "},
		{"the end is gone, and nobody has noted it down", strings.Join(lines[:3], ""), nil, ""},
		{"the end is gone, and somebody has", strings.Join(lines[:3], ""), []string{"--heads", noted}, ": cut: "},
		{"the beginning is gone", strings.Join(lines[2:], ""), nil, "audit.jsonl:1: unknown start: "},
		{"which is said", strings.Join(lines[2:], ""), []string{"--continued"}, ""},
	} {
		if err := os.WriteFile(log, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := audited(append([]string{"verify", "--key", secret, log}, c.flags...)...)
		var failed exitError
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!errors.As(err, &failed) || failed.code != exitFailed || !strings.Contains(failed.text, c.want)):
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	if _, err := audited("verify", log); err == nil {
		t.Error("a chain with a key is verified without it")
	}
}

func TestMomentsAreParsed(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2026-11-01":                "2026-11-01T00:00:00Z",
		"2026-11-01T10:00:00+02:00": "2026-11-01T10:00:00+02:00",
		"30d":                       "2026-10-24T12:00:00Z",
		"2w":                        "2026-11-09T12:00:00Z",
		"12h":                       "2026-11-23T00:00:00Z",
		"90m":                       "2026-11-23T10:30:00Z",
		"5s":                        "2026-11-23T11:59:55Z",
	} {
		if got, err := moment(text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s: got %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"d", "-1d", "1.5h", "30", "yesterday", "99999999999d", "2000000000w"} {
		if got, err := moment(text, now); err == nil {
			t.Errorf("%s: got %v", text, got)
		}
	}
	if got, err := moment("", now); err != nil || !got.IsZero() {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestProgressIsDrawnOnATerminalOnly(t *testing.T) {
	if p := newProgress(&strings.Builder{}, 100); p != nil {
		t.Error("got a bar in a pipe")
	}
	if got, want := progressText(250e6, 1e9, 2*time.Second), "reading [#######.......................]  25%  250 MB of 1000 MB  6s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	synctest.Test(t, func(t *testing.T) { // no time passes between the two
		var b strings.Builder
		p := &progress{w: &b, total: 100, start: time.Now().Add(-time.Minute)}
		p.show(50)
		p.show(51) // too soon
		p.done()
		if got := b.String(); strings.Count(got, "reading") != 1 || !strings.HasSuffix(got, "\r") {
			t.Errorf("got %q", got)
		}
	})
}
