package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func policyScenarios() []Scenario {
	return []Scenario{
		{"the policy edited while running: the next request obeys",
			"200 as vx-search; edited: 403 DENIED, nothing forwarded; edited back: 200 as vx-search", policyEdited},
		{"the policy edited into nonsense: the old one stays, the log says where",
			"200 as vx-search; the log names 90-edit.yaml:3:5", policyBroken},
		{"SIGHUP reloads the policy", "403 DENIED, nothing forwarded", policyHangup},
	}
}

const denyFlash = `version: 1
rules:
  no-flash:
    deny: search
    models: gemini-2.5-flash
    because: the model is withdrawn
`

// edit writes one more policy file, and returns a function that takes it away again and waits until that is in force.
func (s *Sandbox) edit(ctx context.Context, text string) (undo func() error, err error) {
	before, err := s.Ready(ctx)
	if err != nil {
		return nil, err
	}
	path, next := filepath.Join(s.PolicyDir(), "90-edit.yaml"), filepath.Join(s.Dir, "90-edit.next")
	if err := errors.Join(os.WriteFile(next, []byte(text), 0o600), os.Rename(next, path)); err != nil { // at once: the agent may look at any moment
		return nil, err
	}
	return func() error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return s.until(ctx, "the policy is the old one", func(r Readiness) bool { return r.Policy == before.Policy && r.Reload.Error == "" })
	}, nil
}

// until waits, at most 20 seconds, until /readyz is as wanted.
func (s *Sandbox) until(ctx context.Context, what string, ok func(Readiness) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return until(ctx, what, func() bool {
		r, err := s.Ready(ctx)
		return err == nil && ok(r)
	})
}

// Warm makes one call that is allowed and leaves it in Vertex AI's memory.
func (s *Sandbox) Warm(ctx context.Context) error {
	token, err := s.Caller("search-eng")
	if err != nil {
		return err
	}
	s.World.Vertex.Take()
	_, err = s.Do(ctx, Call{Target: generate, Token: token, Body: prompt})
	return err
}

// Search plays a call of the role search that the example's policy allows, and tells what came of it.
func (s *Sandbox) Search(ctx context.Context) (string, error) {
	token, err := s.Caller("search-eng")
	if err != nil {
		return "", err
	}
	return s.Play(ctx, Call{Target: generate, Token: token, Body: prompt})
}

func policyEdited(ctx context.Context, s *Sandbox) (string, error) {
	before, err := s.Search(ctx)
	if err != nil {
		return "", err
	}
	ready, err := s.Ready(ctx)
	if err != nil {
		return "", err
	}
	undo, err := s.edit(ctx, denyFlash)
	if err != nil {
		return "", err
	}
	if err := s.until(ctx, "the new policy is in force", func(r Readiness) bool { return r.Policy != ready.Policy }); err != nil {
		return "", errors.Join(err, undo())
	}
	after, err := s.Search(ctx)
	if err := errors.Join(err, undo()); err != nil {
		return "", err
	}
	back, err := s.Search(ctx)
	return fmt.Sprintf("%s; edited: %s; edited back: %s", before, after, back), err
}

var place = regexp.MustCompile(`90-edit\.yaml:\d+:\d+`)

func policyBroken(ctx context.Context, s *Sandbox) (string, error) {
	undo, err := s.edit(ctx, "version: 1\nrules:\n    nonsense\n")
	if err != nil {
		return "", err
	}
	if err := s.until(ctx, "the reload is refused", func(r Readiness) bool { return r.Reload.Error != "" }); err != nil {
		return "", errors.Join(err, undo())
	}
	got, err := s.Search(ctx)
	var named string
	logErr := until(ctx, "the log tells where", func() bool { // which it does after /readyz
		log, err := s.AgentLog()
		named = place.FindString(log)
		return err != nil || named != ""
	})
	if err := errors.Join(err, logErr, undo()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; the log names %s", got, named), nil
}

func policyHangup(ctx context.Context, s *Sandbox) (string, error) {
	ready, err := s.Ready(ctx)
	if err != nil {
		return "", err
	}
	undo, err := s.edit(ctx, denyFlash)
	if err != nil {
		return "", err
	}
	if err := s.SignalAgent(syscall.SIGHUP); err != nil {
		return "", errors.Join(err, undo())
	}
	if err := s.until(ctx, "the new policy is in force", func(r Readiness) bool { return r.Policy != ready.Policy }); err != nil {
		return "", errors.Join(err, undo())
	}
	got, err := s.Search(ctx)
	return got, errors.Join(err, undo())
}

func outageScenarios() []Scenario {
	return []Scenario{
		{"the agent stopped (SIGSTOP), then continued", "503 AGENT_UNAVAILABLE, nothing forwarded, in time; then 200 as vx-search", agentStopped},
		{"the agent killed, then started again", "503 AGENT_UNAVAILABLE, nothing forwarded, in time; then 200 as vx-search", agentKilled},
		{"the identity provider down: known keys go on", "200 as vx-search", issuerDown},
		{"IAM down: a minted token goes on", "200 as vx-search", iamDown},
		{"Google refuses our token: the caller learns that it is not its own", "502 UPSTREAM_CREDENTIAL_REJECTED as vx-search; then 200 as vx-search, with another token", upstreamRefuses},
	}
}

// processingTimeout is how long HAProxy waits for the agent; the slack is for a busy machine.
const (
	processingTimeout = time.Second
	slack             = 500 * time.Millisecond
	recovery          = 2 * time.Second
)

// outage plays a call while the agent is away, and then one that a recovered agent must answer again. What else the machine has to do adds
// to the time that either takes, so the quickest of some outages counts.
func (s *Sandbox) outage(ctx context.Context, away, back func() error) (string, error) {
	for attempt := 1; ; attempt++ {
		if err := away(); err != nil {
			return "", err
		}
		started := time.Now()
		got, err := s.Search(ctx)
		refused := time.Since(started)
		if err := errors.Join(err, back()); err != nil {
			return "", err
		}
		var again string
		started = time.Now()
		if err := until(ctx, "calls are let through again", func() bool {
			again, err = s.Search(ctx)
			return err == nil && strings.HasPrefix(again, "200")
		}); err != nil {
			return got, err
		}
		recovered := time.Since(started)
		switch {
		case refused < processingTimeout+slack && recovered < recovery:
			return got + ", in time; then " + again, nil
		case attempt == 4 || !strings.HasPrefix(got, "503 "): // what else came of it is not the machine's doing
			return fmt.Sprintf("%s, after %s; then %s, after %s", got, refused, again, recovered), nil
		}
	}
}

func agentStopped(ctx context.Context, s *Sandbox) (string, error) {
	return s.outage(ctx,
		func() error { return s.SignalAgent(syscall.SIGSTOP) },
		func() error { return s.SignalAgent(syscall.SIGCONT) })
}

func agentKilled(ctx context.Context, s *Sandbox) (string, error) {
	return s.outage(ctx,
		func() error { s.KillAgent(); return nil },
		func() error { return s.StartAgent(ctx) })
}
