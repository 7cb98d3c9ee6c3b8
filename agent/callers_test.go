package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
)

// remembering returns a world that remembers callers, with one in its memory.
func remembering(t *testing.T) (w *world, c *identity.Credentials) {
	t.Helper()
	w = newWorld(t)
	w.cfg.Callers = 10
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	w.current.Load().issuers.Ready(t.Context())
	c = &identity.Credentials{Authorization: secret.New("Bearer " + w.token(t, "search-eng"))}
	if _, err := w.current.Load().identify(immediately, c, time.Now()); err != nil {
		t.Fatal(err)
	}
	return w, c
}

// remembered reports whether the caller would be taken without a look at the signature.
func remembered(w *world, c *identity.Credentials, now time.Time) bool {
	s := w.current.Load()
	_, ok := s.callers.get(c.Digest(), s.issuers, now)
	return ok
}

func TestACallerIsRememberedForAMinute(t *testing.T) {
	w, c := remembering(t)
	now := time.Now()
	for _, tt := range []struct {
		name string
		at   time.Duration
		want bool
	}{{"at once", 0, true}, {"after a minute", 61 * time.Second, false}, {"before it was verified", -time.Minute, false}} {
		if got := remembered(w, c, now.Add(tt.at)); got != tt.want {
			t.Errorf("%s: remembered %t, want %t", tt.name, got, tt.want)
		}
	}
}

// What else a request shows, or where it shows it, makes another caller of the same token.
func TestWhatIsShownOtherwiseIsAnotherCaller(t *testing.T) {
	w, c := remembering(t)
	bare := secret.New(c.Authorization.Reveal()[len("Bearer "):])
	for name, other := range map[string]identity.Credentials{
		"another token":              {Authorization: secret.New(c.Authorization.Reveal() + "x")},
		"no scheme":                  {Authorization: bare},
		"another scheme":             {Authorization: secret.New("Basic " + bare.Reveal())},
		"the token in another field": {Assertion: bare, AssertionHeader: identity.HeaderIAP},
		"a certificate":              {Authorization: c.Authorization, Certificate: identity.ClientCertificate{Used: true, DER: []byte("der")}},
		"a certificate not used":     {Authorization: c.Authorization, Certificate: identity.ClientCertificate{DER: []byte("der")}},
		"faults of no certificate":   {Authorization: c.Authorization, Certificate: identity.ClientCertificate{Result: 21}},
		"a certificate with faults":  {Authorization: c.Authorization, Certificate: identity.ClientCertificate{Used: true, Result: 1, DER: []byte("der")}},
	} {
		if remembered(w, &other, time.Now()) {
			t.Errorf("%s is taken for the caller who is remembered", name)
		}
	}
	if !remembered(w, c, time.Now()) {
		t.Error("the caller itself is not remembered")
	}
	// Else one token would fill the memory, in as many spellings of what stands before it.
	for _, scheme := range []string{"bearer ", "BEARER ", "Bearer    "} {
		if !remembered(w, &identity.Credentials{Authorization: secret.New(scheme + bare.Reveal())}, time.Now()) {
			t.Errorf("behind %q the token is another caller's", scheme)
		}
	}
}

// Callers who are verified at the same time, with the same token, are one.
func TestTheMemoryCountsEachCallerOnce(t *testing.T) {
	now := time.Now()
	c, err := newCallers(100, nil)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for i := range 2000 {
				c.put([sha256.Size]byte{byte(i % 8)}, &caller{identity: identity.Identity{Expiry: now.Add(time.Hour)}, size: 10}, now)
			}
		})
	}
	group.Wait()
	if got, want := c.bytes.Load(), int64(10*c.entries.Len()); got != want || c.entries.Len() != 8 {
		t.Errorf("%d callers take %d bytes, want 8 and %d", c.entries.Len(), got, want)
	}
}

// What a caller takes up depends on the claims, which can be many times as large in memory as they are written.
func TestTheMemoryKnowsWhatClaimsTake(t *testing.T) {
	sizeOf := func(claims map[string]any) int64 {
		return (&caller{identity: identity.Identity{Claims: claims}}).weigh()
	}
	small := sizeOf(map[string]any{"sub": "alice", "exp": int64(1), "groups": []any{"a", "b"}})
	var objects []any
	for range 1000 {
		objects = append(objects, map[string]any{"": int64(0)})
	}
	if got := sizeOf(map[string]any{"x": objects}); small > 4<<10 || got < 300*1000 {
		t.Errorf("a few claims count as %d bytes, a thousand small objects as %d; want at most 4 KiB, and at least 300 KB", small, got)
	}
}

// A clock that is set while a caller is remembered counts: not the time that this machine was awake.
func TestTheMemoryGoesByTheClockOnTheWall(t *testing.T) {
	now := time.Now()
	c, err := newCallers(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.put([32]byte{}, &caller{identity: identity.Identity{Expiry: now.Add(time.Hour)}}, now)
	e, _ := c.entries.Get([32]byte{})
	if e.from != e.from.Round(0) || e.until != e.until.Round(0) {
		t.Errorf("remembered from %v until %v, want no monotonic reading in them", e.from, e.until)
	}
}

func TestARefusalIsNotRemembered(t *testing.T) {
	w, _ := remembering(t)
	for i := range 30 { // more than there is room for
		bad := &identity.Credentials{Authorization: secret.New("Bearer " + w.token(t, "search-eng") + fmt.Sprint(i))}
		if _, err := w.current.Load().identify(immediately, bad, time.Now()); err == nil {
			t.Fatal("a broken signature is accepted")
		}
	}
	if got := w.current.Load().callers.entries.Len(); got != 1 {
		t.Errorf("%d callers are remembered, want the good one alone", got)
	}
}

func TestAReloadForgetsCallers(t *testing.T) {
	w, c := remembering(t)
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	if remembered(w, c, time.Now()) {
		t.Error("a caller is remembered across policies")
	}
}

// A withdrawn key takes effect with the next request, for remembered callers too.
func TestOtherKeysForgetCallers(t *testing.T) {
	w, c := remembering(t)
	s := w.current.Load()
	e, _ := s.callers.entries.Get(c.Digest())
	if e.identity.Generation != s.issuers.Generation("corp") || e.identity.Generation == 0 {
		t.Fatalf("generation %d, want the issuer's %d", e.identity.Generation, s.issuers.Generation("corp"))
	}
	e.identity.Generation++
	if remembered(w, c, time.Now()) {
		t.Error("a caller is remembered whose key is not among the issuer's any more")
	}
}

// A deny list takes effect for those who are remembered too, and what is taken back from it as well.
func TestRevocationReachesRememberedCallers(t *testing.T) {
	w, c := remembering(t)
	file := filepath.Join(filepath.Dir(filepath.Dir(w.policy)), "revoked.yaml")
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		w.cfg.Revoked.Watch(ctx, 10*time.Millisecond)
	}()
	defer func() { cancel(); <-watched }()
	s := w.current.Load()
	who, err := s.identify(immediately, c, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		list string
		want identity.Reason
	}{
		{"version: 1\nrevoked:\n  - { issuer: corp, subject: " + who.identity.Subject + " }\n", identity.Revoked},
		{"version: 1\nrevoked: []\n", ""},
	} {
		epoch := s.revocations.Epoch()
		if err := os.WriteFile(file, []byte(tt.list), 0o600); err != nil {
			t.Fatal(err)
		}
		for s.revocations.Epoch() == epoch {
			<-time.After(time.Millisecond)
		}
		_, err := s.identify(immediately, c, time.Now())
		var refused *identity.Error
		if got := errors.As(err, &refused); got != (tt.want != "") || got && refused.Reason != tt.want {
			t.Errorf("%s: got %v, want reason %q", tt.list, err, tt.want)
		}
	}
}

// A revocation that lands while its caller is being verified is not lost: not between the look at the list and the memory either.
func TestARevocationDuringVerificationIsNotLost(t *testing.T) {
	w, c := remembering(t)
	s := w.current.Load()
	s.callers.entries.Purge()
	now := time.Now()
	e, err := s.verify(immediately, c, now)
	if err != nil {
		t.Fatal(err)
	}
	epoch := s.revocations.Epoch()
	file := filepath.Join(filepath.Dir(filepath.Dir(w.policy)), "revoked.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nrevoked:\n  - { issuer: corp, jti: "+e.identity.TokenID+" }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		w.cfg.Revoked.Watch(ctx, time.Millisecond)
	}()
	defer func() { cancel(); <-watched }()
	for s.revocations.Epoch() == epoch {
		<-time.After(time.Millisecond)
	}
	s.callers.put(c.Digest(), e, now)
	if !remembered(w, c, now) {
		t.Fatal("the caller is not remembered: the test shows nothing")
	}
	var refused *identity.Error
	if _, err := s.identify(immediately, c, now); !errors.As(err, &refused) || refused.Reason != identity.Revoked {
		t.Errorf("got %v, want reason %s", err, identity.Revoked)
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
			{"to be asked about again", identity.Identity{Expiry: now.Add(time.Hour), FreshUntil: now.Add(5 * time.Second)}, 0, 5 * time.Second},
		} {
			tt.id.Issuer = "corp"
			c, err := newCallers(2, []identity.Issuer{{Name: "corp", MaxAge: tt.maxAge}})
			if err != nil {
				t.Fatal(err)
			}
			c.put([32]byte{1}, &caller{identity: tt.id}, now)
			e, ok := c.entries.Get([32]byte{1})
			if ok != (tt.want > 0) || ok && e.until.Sub(now) != tt.want {
				t.Errorf("%s: remembered %t, want for %v", tt.name, ok, tt.want)
			}
		}
	})
}

func TestTheMemoryIsBounded(t *testing.T) {
	now := time.Now()
	put := func(c *callers, n int, size int64) {
		for i := range n {
			c.put(sha256.Sum256([]byte(fmt.Sprint(i))), &caller{identity: identity.Identity{Expiry: now.Add(time.Hour)}, size: size}, now)
		}
	}
	few, err := newCallers(3, nil)
	if err != nil {
		t.Fatal(err)
	}
	put(few, 100, 10)
	if got := few.entries.Len(); got != 3 || few.bytes.Load() != 30 {
		t.Errorf("%d callers of %d bytes are remembered, want 3 of 30", got, few.bytes.Load())
	}
	many, err := newCallers(1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time they are replaced
		put(many, 100, maxRememberedBytes/10)
		if got := many.entries.Len(); got != 10 || many.bytes.Load() > maxRememberedBytes {
			t.Errorf("%d callers of %d bytes are remembered, want 10 of %d at most", got, many.bytes.Load(), maxRememberedBytes)
		}
	}
	if c, err := newCallers(0, nil); c != nil || err != nil {
		t.Errorf("newCallers(0) = %v, %v; want none", c, err)
	}
}

// The session of a caller who is remembered is that of the policy in force.
func TestTheSessionIsOfThePolicyInForce(t *testing.T) {
	w, c := remembering(t)
	for range 2 {
		s := w.current.Load()
		s.issuers.Ready(t.Context())
		e, err := s.identify(immediately, c, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if e.session.Policy() != s.policy {
			t.Error("the session is of another policy")
		}
		if err := w.Reload(); err != nil {
			t.Fatal(err)
		}
	}
}

// However valid and broken tokens of the same caller meet, only the valid ones are taken.
func TestBrokenTokensAreNeverTakenForRememberedOnes(t *testing.T) {
	w, good := remembering(t)
	s := w.current.Load()
	text := good.Authorization.Reveal()
	another := w.token(t, "search-eng", func(c map[string]any) { c["sub"] = "bob" }) // whose signature is never that of the good one
	broken := &identity.Credentials{Authorization: secret.New(text[:strings.LastIndexByte(text, '.')] + another[strings.LastIndexByte(another, '.'):])}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 200 {
				if i%2 == 0 {
					s.callers.entries.Purge()
				}
				if _, err := s.identify(immediately, broken, time.Now()); err == nil {
					t.Error("a broken token is taken")
				}
				if _, err := s.identify(immediately, good, time.Now()); err != nil {
					t.Errorf("a good token: %v", err)
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkIdentify(b *testing.B) {
	w := newWorld(b)
	w.cfg.Callers = 1000
	if err := w.Reload(); err != nil {
		b.Fatal(err)
	}
	s := w.current.Load()
	s.issuers.Ready(b.Context())
	c := &identity.Credentials{Authorization: secret.New("Bearer " + w.token(b, "search-eng"))}
	now := time.Now()
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.verify(immediately, c, now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.identify(immediately, c, now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remembered, contended", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.identify(immediately, c, now); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
