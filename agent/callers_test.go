package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
)

// remembering returns a world that remembers callers, with the token of one in its memory.
func remembering(t *testing.T) (w *world, authorization secret.Text) {
	t.Helper()
	w = newWorld(t)
	w.cfg.Callers = 10
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	w.current.Load().issuers.Ready(t.Context())
	authorization = secret.New("Bearer " + w.token(t, "search-eng"))
	if _, err := w.current.Load().verify(immediately, authorization, time.Now()); err != nil {
		t.Fatal(err)
	}
	return w, authorization
}

// remembered reports whether the token would be taken without a look at its signature.
func remembered(w *world, authorization secret.Text, now time.Time) bool {
	s := w.current.Load()
	_, ok := s.callers.get(key(authorization), s.issuers, now)
	return ok
}

func TestACallerIsRememberedForAMinute(t *testing.T) {
	w, authorization := remembering(t)
	now := time.Now()
	for _, tt := range []struct {
		name string
		at   time.Duration
		want bool
	}{{"at once", 0, true}, {"after a minute", 61 * time.Second, false}, {"before it was verified", -time.Minute, false}} {
		if got := remembered(w, authorization, now.Add(tt.at)); got != tt.want {
			t.Errorf("%s: remembered %t, want %t", tt.name, got, tt.want)
		}
	}
	if remembered(w, secret.New(authorization.Reveal()+"x"), now) {
		t.Error("another token is taken for a remembered one")
	}
}

func TestARefusalIsNotRemembered(t *testing.T) {
	w, _ := remembering(t)
	bad := secret.New("Bearer " + w.token(t, "search-eng") + "x")
	if _, err := w.current.Load().verify(immediately, bad, time.Now()); err == nil {
		t.Fatal("a broken signature is accepted")
	}
	if got := w.current.Load().callers.entries.Len(); got != 1 {
		t.Errorf("%d callers are remembered, want the good one alone", got)
	}
}

func TestAReloadForgetsCallers(t *testing.T) {
	w, authorization := remembering(t)
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	if remembered(w, authorization, time.Now()) {
		t.Error("a caller is remembered across policies")
	}
}

// A withdrawn key takes effect with the next request, for remembered callers too.
func TestOtherKeysForgetCallers(t *testing.T) {
	w, authorization := remembering(t)
	s := w.current.Load()
	e, _ := s.callers.entries.Get(key(authorization))
	if e.identity.Generation != s.issuers.Generation("corp") || e.identity.Generation == 0 {
		t.Fatalf("generation %d, want the issuer's %d", e.identity.Generation, s.issuers.Generation("corp"))
	}
	e.identity.Generation++
	s.callers.entries.Add(key(authorization), e)
	if remembered(w, authorization, time.Now()) {
		t.Error("a caller is remembered whose key is not among the issuer's any more")
	}
}

func TestNobodyIsRememberedBeyondTheTokensOwnLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for _, tt := range []struct {
			name   string
			id     identity.Identity
			maxAge time.Duration
			want   time.Duration // how long it is remembered
		}{
			{"long life", identity.Identity{Expiry: now.Add(time.Hour)}, 0, time.Minute},
			{"expires soon", identity.Identity{Expiry: now.Add(10 * time.Second)}, 0, 10 * time.Second},
			{"expired, but within the leeway", identity.Identity{Expiry: now.Add(-time.Second)}, 0, 0},
			{"too old soon", identity.Identity{Expiry: now.Add(time.Hour), IssuedAt: now.Add(-50 * time.Second)}, time.Minute, 10 * time.Second},
			{"too old", identity.Identity{Expiry: now.Add(time.Hour), IssuedAt: now.Add(-time.Hour)}, time.Minute, 0},
		} {
			tt.id.Issuer = "corp"
			c, err := newCallers(2, []identity.Issuer{{Name: "corp", MaxAge: tt.maxAge}})
			if err != nil {
				t.Fatal(err)
			}
			c.put([32]byte{1}, tt.id, now)
			e, ok := c.entries.Get([32]byte{1})
			if got := e.until.Sub(now); ok != (tt.want > 0) || ok && got != tt.want {
				t.Errorf("%s: remembered %t for %v, want %v", tt.name, ok, got, tt.want)
			}
		}
	})
}

func TestTheMemoryIsBounded(t *testing.T) {
	c, err := newCallers(3, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range 100 {
		c.put(key(secret.New(fmt.Sprint(i))), identity.Identity{Expiry: now.Add(time.Hour)}, now)
	}
	if got := c.entries.Len(); got != 3 {
		t.Errorf("%d callers are remembered, want 3", got)
	}
	if c, err := newCallers(0, nil); c != nil || err != nil {
		t.Errorf("newCallers(0) = %v, %v; want none", c, err)
	}
}
