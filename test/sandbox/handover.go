package sandbox

import (
	"context"
	"strings"
	"syscall"
)

// Handover starts another agent on the same socket, waits until it is ready, and then ends the one before with the signal: SIGTERM lets
// it drain. It returns when that one has ended.
func (s *Sandbox) Handover(ctx context.Context, sig syscall.Signal) error {
	admin, err := FreeAddr()
	if err != nil {
		return err
	}
	s.mu.Lock()
	before := s.agent
	s.mu.Unlock()
	s.admin = admin
	if err := s.StartAgent(ctx); err != nil {
		return err
	}
	return before.end(ctx, sig)
}

// StopAgent ends the agent with SIGTERM, and returns when it has ended.
func (s *Sandbox) StopAgent(ctx context.Context) error {
	s.mu.Lock()
	agent := s.agent
	s.mu.Unlock()
	return agent.end(ctx, syscall.SIGTERM)
}

// end sends the signal and waits for the process.
func (p *process) end(ctx context.Context, sig syscall.Signal) error {
	if err := p.signal(sig); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		p.kill()
		return context.Cause(ctx)
	}
}

// AgentRunning reports whether the agent, the latest one, has not ended.
func (s *Sandbox) AgentRunning() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agent.running()
}

// LogPath is the path of the unix socket on which the agent listens for HAProxy's log.
func (s *Sandbox) LogPath() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.log, "stream+"), "unix@")
}

// SocketPath is the path of the unix socket between HAProxy and the agent.
func (s *Sandbox) SocketPath() string { return strings.TrimPrefix(s.socket, "unix@") }
