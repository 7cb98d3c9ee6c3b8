package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// setClock makes an agent with a movable clock read how far it is off, in seconds.
const setClock = syscall.Signal(40)

// clockControl is a file more in the program.
const clockControl = `package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
	_ "unsafe" // for linkname
)

//go:linkname jumped time.jumped
var jumped int64

func init() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.Signal(40))
	go func() {
		for range c {
			text, err := os.ReadFile(os.Getenv("CLOCK_OFFSET"))
			if err != nil {
				panic(err)
			}
			if jumped, err = strconv.ParseInt(string(text), 10, 64); err != nil {
				panic(err)
			}
		}
	}()
}
`

// movableClock builds the program with a wall clock that can be set as an administrator or NTP would set it: for all of the program at once,
// the libraries included, while the monotonic clock goes on. The clock of the machine stays as it is, which is not ours to set.
func movableClock(t *testing.T) (binary string) {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	const read = "\tsec, nsec, mono := runtimeNow()\n"
	if n := strings.Count(string(text), read); n != 1 {
		t.Fatalf("%s reads the clock in %d places by %q, want 1", original, n, read)
	}
	moved := strings.Replace(string(text), read, read+"\tsec += jumped\n", 1) +
		"\n// jumped is how many seconds the wall clock is ahead.\n//\n//go:linkname jumped\nvar jumped int64\n"
	main, err := filepath.Abs("../agent/cmd/vertex-spoa/clock_control.go")
	if err != nil {
		t.Fatal(err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{original: filepath.Join(dir, "time.go"), main: filepath.Join(dir, "control.go")}}
	files, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{overlay.Replace[original]: moved, overlay.Replace[main]: clockControl, filepath.Join(dir, "overlay.json"): string(files)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary = filepath.Join(dir, "vertex-spoa")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "../agent/cmd/vertex-spoa")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, said)
	}
	return binary
}

// clock is that of an agent.
type clock struct {
	t    *testing.T
	s    *sandbox.Sandbox
	file string
}

// set makes the agent's wall clock wrong by so much, and returns when it is.
func (c clock) set(off time.Duration) {
	c.t.Helper()
	if err := os.WriteFile(c.file, fmt.Append(nil, int64(off/time.Second)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := c.s.SignalAgent(setClock); err != nil {
		c.t.Fatal(err)
	}
	ctx := limited(c.t)
	for {
		got := c.read()
		if d := time.Until(got) - off; d > -3*time.Second && d < 3*time.Second {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("the agent's clock says %s, want it to be off by %s", got, off)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// read asks the agent for the time.
func (c clock) read() time.Time {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.s.AdminURL()+"/healthz", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = res.Body.Close()
	at, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		c.t.Fatal(err)
	}
	return at
}

// The wall clock of the agent is set forward and back under load. By a little nobody notices, in whichever direction: what waits does so by the
// monotonic clock. By more than tokens live everybody is told that theirs has expired, which is what they have; and all is well again soon after
// the clock is. Nobody touches HAProxy, and no call is left without the agent's answer.
func TestClockJumps(t *testing.T) {
	if !everything() {
		t.Skip("builds the program and Go's library anew; make test-all does")
	}
	movable := movableClock(t)
	onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
		file := filepath.Join(t.TempDir(), "offset")
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, Binary: movable, AgentEnv: []string{"CLOCK_OFFSET=" + file}})
		c := clock{t, s, file}
		l := startLoad(t, s, 16)
		l.wait(300)
		for _, off := range []time.Duration{2 * time.Minute, 0, -30 * time.Second, 0, 2 * time.Minute, -30 * time.Second, 0} {
			c.set(off)
			l.wait(300)
		}
		unnoticed := time.Now()
		c.set(6 * time.Hour)
		from := time.Now()
		<-time.After(2 * time.Second)
		until := time.Now()
		c.set(0)
		over := time.Now()
		<-time.After(recovery + time.Second)
		failed := l.stop()
		l.report(failed)
		for _, shot := range failed {
			switch {
			case shot.Began.Before(unnoticed) && shot.Ended.Before(unnoticed):
				t.Errorf("call %s failed while the clock was off by a little: %s", shot.Trace, shot)
			case shot.Status != http.StatusUnauthorized:
				t.Errorf("call %s was answered %s, want 401", shot.Trace, shot)
			}
		}
		l.nobodyIsLetThrough(from, until)
		l.recovered(over)
	})
}
