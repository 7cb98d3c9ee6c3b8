package agent

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"vertex-spoa/agent/internal/audit"
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

// Whoever looks on and panics costs nobody an answer, and what is logged of it is not what was looked at.
func TestAPanicOfAnOnlookerCostsNobodyAnAnswer(t *testing.T) {
	w := newWorld(t)
	seen := 0
	fail := func(r *audit.Record) { seen++; panic("onlooker: " + r.ID) }
	w.cfg.Flags = func(r *audit.Record) []string { fail(r); return nil }
	w.cfg.Decided = append(w.cfg.Decided, fail)
	w.cfg.Undelivered = append(w.cfg.Undelivered, func(u *audit.Undelivered) { fail(&audit.Record{ID: u.ID}) })
	w.cfg.Answered = append(w.cfg.Answered, func(id string, _ int, _ time.Time) { fail(&audit.Record{ID: id}) })
	p := dial(t, w.socket)
	for range 2 {
		if got := value(p.ask(question(w.token(t, "search-eng"))), "decision"); got != "allow" {
			t.Errorf("decision %v, want allow", got)
		}
	}
	p.ask(encodeMessage("response", []arg{{"v", 1}, {"id", "id-1"}, {"ts", 1}, {"status", 200}, {"token", nil}}))
	if got := value(p.ask(question(w.token(t, "search-eng"))), "decision"); got != "allow" || seen < 5 {
		t.Errorf("decision %v after %d panics, want allow after 5 at least", got, seen)
	}
	if said := w.log.String(); !strings.Contains(said, "panic while telling of a decision") || strings.Contains(said, "onlooker: ") {
		t.Errorf("the log says:\n%s", said)
	}
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}
