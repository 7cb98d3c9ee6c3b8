package test

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// A 401 of Google's reaches the agent through an engine of its own, and with VERTEX_RESPONSES=all every answer does.
func TestTheAgentIsToldHowGoogleAnswered(t *testing.T) {
	onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("all %t", all), func(t *testing.T) {
				env := []string{"VERTEX_RESPONSE_TIMEOUT=5s"} // so that the agent is told before the answer is given
				if all {
					env = append(env, "VERTEX_RESPONSES=all")
				}
				s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: env})
				call := sandbox.Call{Target: generatePath, Token: callerOf(t, s, "search-eng"), Body: promptBody}
				if got, want := told(t, s, call), "200 as vx-search"; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				s.World.Vertex.Fail(fake.Fault{Status: http.StatusUnauthorized, Times: 1})
				if got, want := told(t, s, call), "502 UPSTREAM_CREDENTIAL_REJECTED as vx-search"; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				log, err := s.AgentLog()
				if err != nil {
					t.Fatal(err)
				}
				if n := bytes.Count([]byte(log), []byte("google refused a token")); n != 1 {
					t.Errorf("the agent was told of %d refusals, want 1:\n%s", n, log)
				}
				if got, want := told(t, s, call), "200 as vx-search"; got != want {
					t.Errorf("after the refusal: got %s, want %s", got, want)
				}
			})
		}
	})
}

// An agent that hangs while Google thinks delays the answer by no more than the engine's patience, which is 50 ms where nobody sets it.
// What else the machine has to do adds to that. So the quickest of a number of answers counts, which waits for its patience and at most half
// of that besides, for both of two patiences.
func TestAnAgentThatHangsDelaysNoAnswer(t *testing.T) {
	for _, tt := range []struct {
		patience time.Duration
		env      []string
	}{
		{50 * time.Millisecond, nil},
		{400 * time.Millisecond, []string{"VERTEX_RESPONSE_TIMEOUT=400ms"}},
	} {
		t.Run(tt.patience.String(), func(t *testing.T) {
			onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
				s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: append(tt.env, "VERTEX_RESPONSES=all")})
				token := callerOf(t, s, "search-eng")
				call := sandbox.Call{Target: generatePath, Token: token, Body: promptBody}
				if got, want := told(t, s, call), "200 as vx-search"; got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
				least := time.Hour
				for range 20 {
					if least = min(least, answerOfHangingAgent(t, s, call)); least <= tt.patience*3/2 {
						break
					}
				}
				t.Logf("the answer took %v", least)
				if least < tt.patience*9/10 || least > tt.patience*3/2 { // HAProxy counts in ms
					t.Errorf("the answer took %v while the agent hung, want %v", least, tt.patience)
				}
			})
		})
	}
}

// answerOfHangingAgent makes a call, stops the agent when Google has it, and returns how long the answer took from then on.
func answerOfHangingAgent(t *testing.T, s *sandbox.Sandbox, call sandbox.Call) time.Duration {
	t.Helper()
	gate := make(chan struct{})
	s.World.Vertex.Take()
	s.World.Vertex.Fail(fake.Fault{Gate: gate})
	defer s.World.Vertex.Heal()
	var result sandbox.Result
	var err error
	var asking sync.WaitGroup
	asking.Go(func() { result, err = s.Do(t.Context(), call) })
	if _, err := s.World.Vertex.Next(limited(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.SignalAgent(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	close(gate)
	asking.Wait()
	took := time.Since(began)
	if cont := s.SignalAgent(syscall.SIGCONT); cont != nil {
		t.Fatal(cont)
	}
	if err != nil || result.Status != http.StatusOK {
		t.Fatalf("got %v and error %v", result, err)
	}
	return took
}
