package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Unset is the part of the environment of whoever runs this that would lead the agent to other parties than the sandbox's.
func Unset() []string { return []string{"GOOGLE_APPLICATION_CREDENTIALS=", "NO_PROXY=", "no_proxy="} }

// StartAgent starts the agent with the example's configuration, and waits until it is ready.
func (s *Sandbox) StartAgent(ctx context.Context) error {
	listen := s.socket
	if s.passed != nil {
		listen = "systemd"
	}
	args := append([]string{s.options.Binary, "serve", "--config=" + filepath.Join(s.options.Example, "vertex-spoa.yaml"),
		"--spoe.listen=" + listen, "--admin.listen=" + s.admin, "--policy.dir=" + s.PolicyDir(), "--policy.poll=100ms"}, s.options.AgentFlags...)
	if !s.options.NoAudit {
		args = slices.Insert(args, 2, "--audit.path="+s.auditPath())
	}
	if s.log != "" {
		args = append(args, "--closing.listen="+s.log)
	}
	under := s.options.AgentUnder
	if s.passed != nil {
		under = []string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`}
	}
	args = append(slices.Clone(under), args...)
	p, err := start("vertex-spoa", filepath.Join(s.Dir, "agent.log"), slices.Concat(Unset(), s.World.AgentEnv(), s.options.AgentEnv), s.passed, args[0], args[1:]...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.agent = p
	s.mu.Unlock()
	err = until(ctx, "the agent is ready", func() bool {
		ready, err := s.Ready(ctx)
		return err == nil && ready.Ready || !p.running()
	})
	if err == nil && !p.running() {
		return fmt.Errorf("the agent has ended: %s", p.tail(1<<10))
	}
	return err
}

// SignalAgent sends the agent a signal, such as SIGSTOP or SIGHUP. After SIGSTOP it waits until every thread has stopped.
func (s *Sandbox) SignalAgent(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.agent.signal(sig); err != nil || sig != syscall.SIGSTOP {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return until(ctx, "the agent has stopped", s.agent.stopped)
}

// KillAgent ends the agent without any warning.
func (s *Sandbox) KillAgent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agent.kill()
}

// AdminURL is the address of the agent's admin listener.
func (s *Sandbox) AdminURL() string { return "http://" + s.admin }

// Readiness is the part of /readyz that scenarios look at.
type Readiness struct {
	Ready  bool
	Policy string
	Reload struct{ Error string }
}

// Ready asks the agent's /readyz.
func (s *Sandbox) Ready(ctx context.Context) (Readiness, error) {
	var r Readiness
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/readyz", nil)
	if err != nil {
		return r, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	defer res.Body.Close()
	return r, json.NewDecoder(res.Body).Decode(&r)
}
