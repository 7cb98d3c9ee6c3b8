package test

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// recovery is how long after an outage calls may still fail. HAProxy looks for an agent that is down four times a second.
const recovery = 2 * time.Second

// TestOutages takes something away under load, and gives it back. Nobody touches HAProxy. While it is away a call may be refused, by an
// explicit 503 and by nothing else; soon after it is back every call must succeed.
func TestOutages(t *testing.T) {
	for _, tt := range []struct {
		name       string
		away, back func(t *testing.T, s *sandbox.Sandbox) error
		lasts      time.Duration
		options    sandbox.Options
		clients    int // 16 if 0
	}{
		{
			name:  "the agent is stopped",
			away:  func(_ *testing.T, s *sandbox.Sandbox) error { return s.SignalAgent(syscall.SIGSTOP) },
			back:  func(_ *testing.T, s *sandbox.Sandbox) error { return s.SignalAgent(syscall.SIGCONT) },
			lasts: 2 * time.Second,
		},
		{
			// Were its late answers written, they would fill a buffer that HAProxy from 3.1 on then never empties.
			name:    "the agent is stopped, with small buffers and large tokens",
			away:    func(_ *testing.T, s *sandbox.Sandbox) error { return s.SignalAgent(syscall.SIGSTOP) },
			back:    func(_ *testing.T, s *sandbox.Sandbox) error { return s.SignalAgent(syscall.SIGCONT) },
			lasts:   2 * time.Second,
			options: sandbox.Options{HAProxyEnv: smallBuffers, TokenBytes: 2048},
			clients: 60,
		},
		{
			name:  "the agent is killed",
			away:  func(_ *testing.T, s *sandbox.Sandbox) error { s.KillAgent(); return nil },
			back:  func(t *testing.T, s *sandbox.Sandbox) error { return s.StartAgent(limited(t)) },
			lasts: time.Second,
		},
		{
			name:  "the agent is ended and its socket gone",
			away:  func(t *testing.T, s *sandbox.Sandbox) error { return s.StopAgent(limited(t)) },
			back:  func(t *testing.T, s *sandbox.Sandbox) error { return s.StartAgent(limited(t)) },
			lasts: time.Second,
		},
		{
			name:    "the agent is killed, over TCP",
			away:    func(_ *testing.T, s *sandbox.Sandbox) error { s.KillAgent(); return nil },
			back:    func(t *testing.T, s *sandbox.Sandbox) error { return s.StartAgent(limited(t)) },
			lasts:   time.Second,
			options: sandbox.Options{TCP: true},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
				tt.options.HAProxy = haproxy
				s := startSandbox(t, tt.options)
				l := startLoad(t, s, cmp.Or(tt.clients, 16))
				l.kills = 1
				l.wait(300)
				if err := tt.away(t, s); err != nil {
					t.Fatal(err)
				}
				from := time.Now()
				<-time.After(tt.lasts)
				until := time.Now()
				if err := tt.back(t, s); err != nil {
					t.Fatal(err)
				}
				over := time.Now()
				<-time.After(recovery + time.Second)
				failed := l.stop()
				l.report(failed)
				l.refusedExplicitly(failed)
				l.nobodyIsLetThrough(from, until)
				l.recovered(over)
			})
		})
	}
}

// nobodyIsLetThrough checks that no call that began and ended between the two moments was answered 200, and that there were calls.
func (l *load) nobodyIsLetThrough(from, until time.Time) {
	l.t.Helper()
	under := 0
	for _, shot := range l.shots {
		if shot.Ended.Before(from) || shot.Began.After(until) {
			continue
		}
		under++
		if shot.Status == http.StatusOK && shot.Began.After(from) && shot.Ended.Before(until) {
			l.t.Errorf("call %s was answered 200 while there was no agent", shot.Trace)
		}
	}
	if under == 0 {
		l.t.Error("nobody called while there was no agent")
	}
}

// recovered checks that a call succeeds soon after the outage is over, and that none fails that begins thereafter.
func (l *load) recovered(over time.Time) {
	l.t.Helper()
	var first time.Time
	for _, shot := range l.shots {
		if shot.Status == http.StatusOK && shot.Began.After(over) && (first.IsZero() || shot.Ended.Before(first)) {
			first = shot.Ended
		}
	}
	if first.IsZero() || first.Sub(over) > recovery {
		l.t.Errorf("the first call to succeed did so %s after the outage, want at most %s", first.Sub(over), recovery)
	}
	l.t.Logf("first success %s after the outage", first.Sub(over).Round(time.Millisecond))
	l.allSucceeded(first)
}

// settled is recovered for an outage that fades: HAProxy's connections are still being sorted out when the first call succeeds. Calls may
// be refused, explicitly, until the time for recovery is over.
func (l *load) settled(failed []sandbox.Shot, over time.Time) {
	l.t.Helper()
	l.refusedExplicitly(failed)
	l.allSucceeded(over.Add(recovery))
	for _, shot := range l.shots {
		if shot.Status == http.StatusOK && shot.Ended.Before(over.Add(recovery)) {
			return
		}
	}
	l.t.Errorf("no call succeeded within %s after the outage", recovery)
}

// A HAProxy that is restarted finds the agent again. What its callers see of that is not the agent's business.
func TestHAProxyRestart(t *testing.T) {
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy})
		l := startLoad(t, s, 16)
		l.wait(300)
		if err := s.RestartHAProxy(limited(t)); err != nil {
			t.Fatal(err)
		}
		over := time.Now()
		l.wait(1000)
		l.report(l.stop())
		l.recovered(over)
	})
}

// The agent runs out of file descriptors because HAProxy opens more connections than it may have. It neither dies nor lets anybody
// through, and HAProxy's idle connections do not keep out the ones it needs once the load has ended, such as its health check.
func TestOutOfFileDescriptors(t *testing.T) {
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, AgentUnder: []string{"prlimit", "--nofile=24:24"}})
		release := []func(){hog(t, s, 4)}
		l := startLoad(t, s, 60)
		l.wait(300)
		for range 20 { // HAProxy from 3.1 on may need fewer connections than that takes
			if log, err := s.AgentLog(); err != nil || strings.Contains(log, "too many open files") {
				break
			}
			release = append(release, hog(t, s, 1))
			l.wait(100)
		}
		for _, one := range release {
			one()
		}
		failed := l.stop()
		l.report(failed)
		l.refusedExplicitly(failed)
		if !s.AgentRunning() {
			t.Fatalf("the agent has ended%s", s.Logs())
		}
		if log, err := s.AgentLog(); err != nil || !strings.Contains(log, "too many open files") {
			t.Errorf("the agent did not run out of file descriptors (%v):\n%s", err, log)
		}
		over := time.Now()
		l = startLoad(t, s, 1)
		<-time.After(recovery + time.Second)
		failed = l.stop()
		l.report(failed)
		l.settled(failed, over)
	})
}

// However many connections are opened, the agent keeps files for its policy, and for Google and the issuers.
func TestConnectionsLeaveFilesForThePolicy(t *testing.T) {
	const files = 64
	s := startSandbox(t, sandbox.Options{AgentUnder: []string{"prlimit", fmt.Sprintf("--nofile=%d:%d", files, files)}})
	before, err := s.Ready(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	release := hog(t, s, 2*files)
	defer release()
	policy := filepath.Join(s.PolicyDir(), "10-who.yaml")
	text, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(policy, append(text, "# changed\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	for ctx := limited(t); ; {
		now, err := s.Ready(ctx)
		if err == nil && now.Policy != before.Policy {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the policy in force is still %s (%v, %q)%s", now.Policy, err, now.Reload.Error, s.Logs())
		case <-time.After(50 * time.Millisecond):
		}
	}
	var log string
	until(t, "the agent warns", func() string { // when it has come to the last of the connections
		if log, err = s.AgentLog(); err != nil || !strings.Contains(log, "raise its limit") {
			return fmt.Sprintf("%v\n%s", err, log)
		}
		return ""
	})
	if strings.Contains(log, "too many open files") {
		t.Errorf("there is a lack of files:\n%s", log)
	}
}

// hog opens connections to the agent that say nothing.
func hog(t *testing.T, s *sandbox.Sandbox, n int) (release func()) {
	t.Helper()
	var all []net.Conn
	for range n {
		conn, err := new(net.Dialer).DialContext(t.Context(), "unix", s.SocketPath())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, conn)
	}
	return func() {
		for _, conn := range all {
			_ = conn.Close()
		}
	}
}

// Somebody removes the socket. Connections that stand go on, and the agent is found again without anybody's help.
func TestSocketRemoved(t *testing.T) {
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy})
		l := startLoad(t, s, 16)
		l.wait(300)
		if err := os.Remove(s.SocketPath()); err != nil {
			t.Fatal(err)
		}
		over := time.Now().Add(time.Second) // the agent looks once a second
		<-time.After(recovery + 2*time.Second)
		failed := l.stop()
		l.report(failed)
		l.refusedExplicitly(failed)
		l.recovered(over)
		if _, err := os.Lstat(s.SocketPath()); err != nil {
			t.Errorf("the socket is not there again: %v", err)
		}
		leftovers, err := filepath.Glob(filepath.Join(filepath.Dir(s.SocketPath()), ".spoe*"))
		if err := errors.Join(err); err != nil || len(leftovers) > 0 {
			t.Errorf("left behind: %q (%v)", leftovers, err)
		}
	})
}
