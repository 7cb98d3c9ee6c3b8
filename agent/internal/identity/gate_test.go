package identity

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestGateBoundsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2)
		var all sync.WaitGroup
		var mu sync.Mutex
		running, most, entered := 0, 0, 0
		for range 60 {
			all.Go(func() {
				if err := g.enter(t.Context()); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				running++
				entered++
				most = max(most, running)
				mu.Unlock()
				<-time.After(5 * time.Millisecond)
				mu.Lock()
				running--
				mu.Unlock()
				g.leave()
			})
		}
		all.Wait()
		if most != 2 || entered != 60 {
			t.Errorf("%d ran at once and %d in all, want 2 and 60", most, entered)
		}
	})
}

func TestGateIsPatientForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(0) // has one place all the same
		if err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if got, want := reasonOf(t, g.enter(t.Context())), IssuerBusy; got != want {
			t.Errorf("reason = %q, want %q", got, want)
		}
		if got, want := time.Since(begin), gatePatience; got != want {
			t.Errorf("waited %v, want %v", got, want)
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		begin = time.Now()
		if err := g.enter(done); !errors.Is(err, context.Canceled) || reasonOf(t, err) != IssuerBusy || time.Since(begin) != 0 {
			t.Errorf("with a context that is done: %v after %v, want its error at once", err, time.Since(begin))
		}
		g.leave()
		if err := g.enter(done); err != nil {
			t.Errorf("a free place: %v, want none: nothing is waited for", err)
		}
	})
}

func TestGateHasAShortQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		if err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range gateQueue {
			all.Go(func() {
				if got, want := reasonOf(t, g.enter(t.Context())), IssuerBusy; got != want {
					t.Errorf("reason = %q, want %q", got, want)
				}
			})
		}
		synctest.Wait()
		begin := time.Now()
		if got, want := reasonOf(t, g.enter(t.Context())), IssuerBusy; got != want || time.Since(begin) != 0 {
			t.Errorf("reason = %q after %v, want %q at once", got, time.Since(begin), want)
		}
		all.Wait()
		if len(g.waiting) != 0 {
			t.Errorf("%d still wait", len(g.waiting))
		}
	})
}

// A flood of costly signatures makes their issuer busy, and no other.
func TestCostlySignaturesHurtOnlyTheirIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := []byte(jwks(jwk(p521Private(), "k-ES512"), jwk(rsaPrivate(), "k-RS256"), jwk(p256Private(), "k-ES256"), jwk(newRSA(4352), "large")))
		issuer := func(name string) Issuer {
			return Issuer{Name: name, URL: "https://" + name, Audiences: []string{"vertex"}, JWKS: keys, Algorithms: []string{"RS256", "ES256", "ES512", "PS256"}}
		}
		v := newVerifier(t, options(t), issuer("flooded"), issuer("calm"))
		for range cap(v.byName["flooded"].costly.running) { // as if they were being checked
			if err := v.byName["flooded"].costly.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			issuer, algorithm, kid string
			want                   Reason
		}{
			{"flooded", "ES512", "k-ES512", IssuerBusy}, {"flooded", "PS256", "k-RS256", IssuerBusy}, {"flooded", "RS256", "large", IssuerBusy},
			{"flooded", "RS256", "k-RS256", ""}, {"flooded", "ES256", "k-ES256", ""}, {"calm", "ES512", "k-ES512", ""}, {"calm", "PS256", "k-RS256", ""},
		} {
			claims := goodClaims("https://"+c.issuer).with("iat", time.Now().Unix(), "nbf", absent, "exp", time.Now().Unix()+60)
			token := compact(c.algorithm, privateKey(c.algorithm), object{"alg": c.algorithm, "kid": c.kid}.String(), claims.String())
			_, err := v.Verify(t.Context(), bearerOf(token), time.Now())
			if got := reasonOf(t, err); got != c.want {
				t.Errorf("%s of %s: reason = %q (%v), want %q", c.algorithm, c.issuer, got, err, c.want)
			}
		}
	})
}
