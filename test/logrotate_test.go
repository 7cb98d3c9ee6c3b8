package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// logrotateBinary returns the path of logrotate, which Debian keeps out of an ordinary user's PATH.
func logrotateBinary() (string, bool) {
	for _, name := range []string{"logrotate", "/usr/sbin/logrotate"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, true
		}
	}
	return "", false
}

// rotation is one run of logrotate, from its beginning to its end.
type rotation struct{ began, ended time.Time }

// The real logrotate takes the audit log away under load, in both of its ways. Where it moves the file and sends SIGHUP, every call has its
// line, and every line is whole. Where it copies the file and cuts it, what is written between the two is lost, and nothing else.
func TestLogrotate(t *testing.T) {
	logrotate, ok := logrotateBinary()
	if !ok {
		t.Skip("NOT RUN: logrotate is not installed: run `make logrotate`")
	}
	for _, tt := range []struct {
		name, how string
		loses     bool
	}{
		{"create", "create\n  postrotate\n    kill -HUP $(cat %s)\n  endscript", false},
		{"create and compress", "create\n  compress\n  delaycompress\n  postrotate\n    kill -HUP $(cat %s)\n  endscript", false},
		{"copytruncate", "copytruncate", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			pid := filepath.Join(dir, "agent.pid")
			s := startSandbox(t, sandbox.Options{AgentUnder: []string{"sh", "-c", `echo $$ >` + pid + `; exec "$0" "$@"`}})
			config := filepath.Join(dir, "logrotate.conf")
			text := fmt.Sprintf("%q {\n  rotate 100\n  %s\n}\n", filepath.Join(s.Dir, "audit.jsonl"), strings.ReplaceAll(tt.how, "%s", pid))
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			l := startLoad(t, s, 16)
			var rotations []rotation
			for range 6 {
				l.wait(200)
				r := rotation{began: time.Now()}
				cmd := exec.CommandContext(limited(t), logrotate, "--force", "--state", filepath.Join(dir, "state"), config)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("logrotate: %v: %s", err, out)
				}
				r.ended = time.Now()
				rotations = append(rotations, r)
			}
			l.wait(200)
			l.shots = l.Stop()
			files, lines := rotatedLines(t, s.Dir)
			if files != len(rotations)+1 {
				t.Errorf("%d files after %d rotations", files, len(rotations))
			}
			l.everyCallHasItsLine(lines, rotations, tt.loses)
		})
	}
}

// rotatedLines reads all files of the audit log, the compressed ones too, by id and attempt. Every line must be whole.
func rotatedLines(t *testing.T, dir string) (files int, lines map[string]map[string]any) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "audit.jsonl*"))
	if err != nil {
		t.Fatal(err)
	}
	lines = map[string]map[string]any{}
	for _, name := range names {
		text, err := exec.CommandContext(t.Context(), "gzip", "-cdf", name).Output() // what is not compressed comes as it is
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			if len(line) == 1 {
				continue
			}
			var fields map[string]any
			if err := json.Unmarshal(line, &fields); err != nil || !bytes.HasSuffix(line, []byte("\n")) {
				t.Errorf("%s: a line is broken (%v): %q", filepath.Base(name), err, line)
				continue
			}
			if fields["event"] != "decision" {
				continue
			}
			key := fmt.Sprint(fields["id"], " ", fields["attempt"])
			if lines[key] != nil {
				t.Errorf("two lines of %s", key)
			}
			lines[key] = fields
		}
	}
	return len(names), lines
}

// everyCallHasItsLine checks that all calls were answered 200, and that each has its line, but for those that were under way during a rotation
// that loses some.
func (l *load) everyCallHasItsLine(lines map[string]map[string]any, rotations []rotation, loses bool) {
	l.t.Helper()
	allowed := map[any]bool{}
	for _, fields := range lines {
		if fields["decision"] == "allow" {
			allowed[fields["traceparent"]] = true
		}
	}
	lost := 0
	for _, shot := range l.shots {
		if shot.Status != http.StatusOK {
			l.t.Errorf("a call was answered %s", shot)
		}
		if allowed[shot.Trace] {
			continue
		}
		if lost++; !loses || !during(shot, rotations) {
			l.t.Errorf("call %s, from %s to %s, has no line", shot.Trace, shot.Began, shot.Ended)
		}
	}
	if len(l.shots) < 1000 {
		l.t.Errorf("%d calls only", len(l.shots))
	}
	l.t.Logf("%d calls, %d lines, %d calls without a line after %d rotations", len(l.shots), len(lines), lost, len(rotations))
}

func during(shot sandbox.Shot, rotations []rotation) bool {
	for _, r := range rotations {
		if shot.Began.Before(r.ended) && shot.Ended.After(r.began) {
			return true
		}
	}
	return false
}
