package test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// search makes the usual call and returns what came of it.
func search(t *testing.T, s *sandbox.Sandbox) string {
	t.Helper()
	got, err := s.Search(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

const (
	letThrough = "200 as vx-search"
	unrecorded = "503 AUDIT_UNAVAILABLE, nothing forwarded"
)

// No record, no token, whatever the audit log is written to and however that fails: an explicit 503 soon, and service again as soon as it
// can be written to, without a restart.
func TestNoRecordNoToken(t *testing.T) {
	t.Run("a disk that is full", func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			t.Skipf("NOT RUN: a small disk needs root: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		s := startSandbox(t, sandbox.Options{AgentFlags: []string{"--audit.path=" + filepath.Join(dir, "audit.jsonl")}})
		filler := filepath.Join(dir, "filler")
		_ = os.WriteFile(filler, make([]byte, 1<<20), 0o600) // as much of it as there is room for
		until(t, "the disk is full", func() string { return differs(search(t, s), unrecorded) })
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		if got := search(t, s); got != letThrough {
			t.Errorf("with room on the disk: got %s", got)
		}
		text, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
		if err != nil || !bytes.HasSuffix(text, []byte("}\n")) {
			t.Errorf("the log ends with %q (%v)", text[max(0, len(text)-60):], err)
		}
	})
	t.Run("a reader of a pipe that hangs and goes", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		reader, err := os.OpenFile(path, os.O_RDWR, 0) // the agent finds a reader
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = reader.Close() })
		s := startSandbox(t, sandbox.Options{AgentFlags: []string{"--audit.path=" + path}})
		until(t, "the pipe is full", func() string { return differs(search(t, s), unrecorded) })
		until(t, "a call is refused soon", func() string { // the quickest counts: what else the machine has to do adds to that
			began := time.Now()
			if got := search(t, s); got != unrecorded {
				t.Errorf("with a full pipe: got %s", got)
			} else if took := time.Since(began); took > 2*time.Second {
				return fmt.Sprint("after ", took)
			}
			return ""
		})
		go func() { _, _ = reader.WriteTo(new(bytes.Buffer)) }()
		until(t, "the pipe is read", func() string { return differs(search(t, s), letThrough) })
	})
	t.Run("a syslog daemon that is gone and comes back", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		s := startSandbox(t, sandbox.Options{NoAudit: true, AgentFlags: []string{"--audit.syslog=unix@" + path}})
		if got := search(t, s); got != unrecorded {
			t.Errorf("without a daemon: got %s", got)
		}
		daemon := listenDatagrams(t, path)
		until(t, "the daemon is found", func() string { return differs(search(t, s), letThrough) })
		line := make([]byte, 64<<10)
		n, err := daemon.Read(line)
		if err != nil || !bytes.Contains(line[:n], []byte(`"decision":`)) || !bytes.HasPrefix(line[:n], []byte("<134>1 ")) {
			t.Errorf("the daemon got %q (%v)", line[:n], err)
		}
	})
	t.Run("its metrics tell", func(t *testing.T) {
		s := startSandbox(t, sandbox.Options{AgentFlags: []string{"--audit.path=/dev/full"}})
		if got := search(t, s); got != unrecorded {
			t.Errorf("got %s", got)
		}
		page := string(get(t, s.AdminURL()+"/metrics"))
		if strings.Contains(page, "vertex_spoa_audit_errors_total 0\n") || !strings.Contains(page, "vertex_spoa_audit_errors_total") {
			t.Error("no metric tells that lines are not written")
		}
	})
}

// listenDatagrams listens as a syslog daemon does.
func listenDatagrams(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func differs(got, want string) string {
	if got == want {
		return ""
	}
	return got
}

// A chained log is whole after the agent was killed and started again, and verify names what somebody has changed.
func TestAChainedLogIsVerified(t *testing.T) {
	s := startSandbox(t, sandbox.Options{Closings: sandbox.ByDatagram, AgentFlags: []string{"--audit.chain=on"}})
	for range 3 {
		if got := search(t, s); got != letThrough {
			t.Fatal(got)
		}
	}
	untilClosed(t, s)
	if err := s.Handover(limited(t), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := search(t, s); got != letThrough {
		t.Fatal(got)
	}
	untilClosed(t, s)
	text, err := os.ReadFile(s.AuditPath())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorkbench(t)
	w.write(t, "audit.jsonl", string(text), 0o600)
	if code, output := w.shell(t, "vertex-spoa audit verify audit.jsonl"); code != 0 {
		t.Errorf("verify ended with %d:\n%s", code, output)
	}
	w.write(t, "audit.jsonl", strings.Replace(string(text), `"decision":"allow"`, `"decision":"deny"`, 1), 0o600)
	if code, output := w.shell(t, "vertex-spoa audit verify audit.jsonl"); code != 1 || !strings.Contains(output, "audit.jsonl:1") {
		t.Errorf("verify ended with %d after a line was changed:\n%s", code, output)
	}
}

// Somebody who tries again and again is flagged once, in the log and in the metrics, and is denied for what it did and not for that.
func TestMisuseIsFlagged(t *testing.T) {
	s := startSandbox(t, sandbox.Options{AgentFlags: []string{"--misuse.signals=on", "--misuse.thresholds=denials=5"}})
	token := callerOf(t, s, "sales")
	for range 20 {
		if got := outcome(t, s, token, promptBody, nil); !strings.HasPrefix(got, "403 NO_ROLE") {
			t.Fatalf("got %s", got)
		}
	}
	lines, err := s.Audit()
	if err != nil {
		t.Fatal(err)
	}
	flagged := 0
	for _, line := range lines {
		if fmt.Sprint(line["flags"]) == "[DENIAL_BURST]" {
			flagged++
		}
	}
	if page := string(get(t, s.AdminURL()+"/metrics")); flagged != 1 || !strings.Contains(page, `vertex_spoa_misuse_flags_total{signal="DENIAL_BURST"} 1`) {
		t.Errorf("%d lines are flagged, want 1, and the metrics say so", flagged)
	}
}

// What was learned of the callers outlives the agent, in a file that nobody else reads.
func TestHabitsAreKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "habits")
	s := startSandbox(t, sandbox.Options{AgentFlags: []string{"--misuse.signals=on", "--misuse.state=" + file}})
	if got := search(t, s); got != letThrough {
		t.Fatal(got)
	}
	if err := s.StopAgent(limited(t)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
		t.Fatalf("the file is %v (%v)", info, err)
	}
	if err := s.StartAgent(limited(t)); err != nil {
		t.Fatal(err)
	}
	if page := string(get(t, s.AdminURL()+"/metrics")); !strings.Contains(page, "vertex_spoa_misuse_subjects 1\n") {
		t.Error("the agent has forgotten its only caller")
	}
}
