package agent

import (
	"encoding/base64"
	"strings"
	"testing"
)

// A fault of ours that panics in the middle of a decision denies that request and no other, and what is logged of it holds no secret.
func TestAPanicDeniesAndPrintsNoSecret(t *testing.T) {
	w := newWorld(t)
	p := dial(t, w.socket)
	token := w.token(t, "search-eng")
	whole := w.current.Load()
	w.current.Store(&snapshot{policy: whole.policy, revocations: whole.revocations}) // there is nobody to ask about the token
	vars := p.ask(question(token))
	w.current.Store(whole)
	if value(vars, "decision") != "deny" || value(vars, "reason") != "INTERNAL" || value(vars, "token") != nil {
		t.Errorf("got %v, want deny INTERNAL", vars)
	}
	said := w.log.String() + w.audit.String()
	if !strings.Contains(said, "panic while deciding") || !strings.Contains(said, "goroutine") {
		t.Errorf("the log does not tell of the panic:\n%s", said)
	}
	parts := strings.Split(token, ".")
	for _, secret := range append(parts, token, base64.StdEncoding.EncodeToString([]byte(token))[:64]) {
		for at := 0; at+16 <= len(secret); at += 16 {
			if strings.Contains(said, secret[at:at+16]) {
				t.Fatalf("the log holds a part of the token")
			}
		}
	}
	if got := value(p.ask(question(token)), "decision"); got != "allow" {
		t.Errorf("the next request: %v, want allow", got)
	}
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}
