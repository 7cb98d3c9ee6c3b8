package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"vertex-spoa/test/sandbox"
)

// stage is a HAProxy and an agent, with a tap between them.
type stage struct {
	dir     string
	front   string // where HAProxy listens: a path, or an address of TCP
	tap     *tap
	haproxy *exec.Cmd
	exited  chan struct{}
	output  bytes.Buffer // of HAProxy; to be read when it has exited
}

// play sets the stage, plays the scenario and returns what the tap heard of it.
func play(ctx context.Context, example, binary string, sc scenario) (_ []*conversation, err error) {
	dir, err := os.MkdirTemp("", "record") // a short path, as a unix socket needs
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s := &stage{dir: dir, front: filepath.Join(dir, "front"), exited: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	stopAgent, err := serveAgent(ctx, filepath.Join(dir, "agent"), sc.pipelining, log)
	if err != nil {
		return nil, err
	}
	if s.tap, err = newTap(ctx, filepath.Join(dir, "tap"), filepath.Join(dir, "agent"), sc.spoil); err != nil {
		stopAgent()
		return nil, err
	}
	err = s.start(example, binary, sc)
	if err == nil {
		err = sc.run(ctx, s)
		s.stop()
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.output.Bytes())
	}
	stopAgent()
	s.tap.close()
	return slices.DeleteFunc(s.tap.heard(), func(c *conversation) bool { return c.isHealthcheck() != sc.checks }), err
}

// start starts HAProxy.
func (s *stage) start(example, binary string, sc scenario) error {
	arguments, env, err := s.configure(example, sc)
	if err != nil {
		return err
	}
	mode := "-db"
	if sc.master {
		mode = "-W"
	}
	s.haproxy = exec.Command(binary, append([]string{mode}, arguments...)...)
	s.haproxy.Env = append(os.Environ(), env...)
	s.haproxy.Stdout, s.haproxy.Stderr = &s.output, &s.output
	s.haproxy.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.haproxy.Start(); err != nil {
		return err
	}
	go func() {
		defer close(s.exited)
		_ = s.haproxy.Wait()
	}()
	return nil
}

// stop ends HAProxy and waits for it.
func (s *stage) stop() {
	_ = s.haproxy.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(5 * time.Second):
		_ = s.haproxy.Process.Kill()
		<-s.exited
	}
}

// configure returns HAProxy's arguments and environment.
func (s *stage) configure(example string, sc scenario) (arguments, env []string, err error) {
	base := filepath.Join(s.dir, "haproxy.cfg")
	if sc.example {
		if s.front, err = sandbox.FreeAddr(); err != nil {
			return nil, nil, err
		}
		env = []string{
			"VERTEX_PLAIN_BIND=" + s.front, "VERTEX_AGENT=unix@" + filepath.Join(s.dir, "tap"),
			"VERTEX_SPOE=" + filepath.Join(example, "vertex-spoe.conf"), "VERTEX_LUA=" + filepath.Join(example, "vertex-usage.lua"),
		}
		return []string{"-f", base, "-f", filepath.Join(example, "vertex.cfg")}, env, os.WriteFile(base, []byte(oneThread), 0o600)
	}
	check, idle, pipelining := "", "30s", "option pipelining"
	if sc.checks {
		check = "check inter 200ms"
	}
	if sc.impatient {
		idle = "1s"
	}
	if sc.plain {
		pipelining = "no " + pipelining
	}
	fill := strings.NewReplacer("DIR", s.dir, "CHECK", check, "IDLE", idle, "PIPELINING", pipelining)
	err = errors.Join(
		os.WriteFile(base, []byte(fill.Replace(oneThread+haproxyConfig)), 0o600),
		os.WriteFile(filepath.Join(s.dir, "spoe.conf"), []byte(fill.Replace(spoeConfig)), 0o600),
	)
	return []string{"-f", base}, nil, err
}

// oneThread makes HAProxy use one connection where it needs no more.
const oneThread = `
global
	nbthread 1
`

// haproxyConfig asks about each request, and answers it by itself.
const haproxyConfig = `
defaults
	mode http
	timeout connect 2s
	timeout client 10s
	timeout server 10s
frontend front
	bind unix@DIR/front
	filter spoe engine test config DIR/spoe.conf
	http-request wait-for-body time 2s
	http-request send-spoe-group test kinds if { path /kinds }
	http-request send-spoe-group test short unless { path /kinds }
	http-request return status 200
backend agent
.if version_atleast(3.1)
	mode spop
.else
	mode tcp
.endif
	option spop-check
	timeout server 60s
	timeout check 3s
	server a unix@DIR/tap pool-purge-delay IDLE CHECK
`

const spoeConfig = `
[test]
spoe-agent test
	groups kinds short
	option var-prefix t
	option set-on-error err
	option continue-on-error
	PIPELINING
	register-var-names decision status minus yes token
	timeout hello 1s
	timeout idle IDLE
	timeout processing 800ms
	use-backend agent
spoe-group kinds
	messages kinds none
spoe-group short
	messages short
spoe-message kinds
	args absent=req.hdr(x-absent) yes=bool(true) no=bool(false) int=int(10) negative=int(0),sub(7) least=int(0),sub(9223372036854775807) most=int(9223372036854775807) v4=ipv4(192.0.2.1) v6=ipv6(2001:db8::1) text=str(text) empty=str() binary=bin(00ff80) method=method body=req.body path=path str(unnamed)
spoe-message none
spoe-message short
	args path=path
`

// examplePath is a call that the example's HAProxy asks about, and crowdPath one that is answered when all have come.
const (
	examplePath = "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent"
	crowdPath   = "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/together:generateContent"
)

// ask makes a request.
func (s *stage) ask(ctx context.Context, path string) error { return s.askAtOnce(ctx, 1, path) }

// askAtOnce makes n requests, each on a connection of its own.
func (s *stage) askAtOnce(ctx context.Context, n int, path string) error {
	all, ctx := errgroup.WithContext(ctx)
	for range n {
		all.Go(func() error { return s.post(ctx, path) })
	}
	return all.Wait()
}

// post makes a request as soon as HAProxy listens. What is answered does not matter here.
func (s *stage) post(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gateway.example.com"+path, strings.NewReader(`{"contents":[]}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+strings.Repeat("test.", 100))
	client := &http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func (s *stage) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	network := "tcp"
	if filepath.IsAbs(s.front) {
		network = "unix"
	}
	for {
		nc, err := new(net.Dialer).DialContext(ctx, network, s.front)
		if err == nil {
			return nc, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		case <-s.exited:
			return nil, errors.Join(errors.New("HAProxy has exited"), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// up waits until HAProxy has found the agent to be up.
func (s *stage) up(ctx context.Context) error {
	return s.until(ctx, "HAProxy has found the agent", func(all []*conversation) bool {
		return slices.ContainsFunc(all, func(c *conversation) bool { return c.isHealthcheck() && c.ended() })
	})
}

// until waits until cond holds for what the tap has heard.
func (s *stage) until(ctx context.Context, what string, cond func([]*conversation) bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond(s.tap.heard()) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}
