package google

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		down := &Error{Reason: MintUnavailable, Detail: "503"}
		admitted := func() bool {
			_, ok := b.admit(wall())
			return ok
		}
		for range 10 * breakAfter {
			if !admitted() {
				t.Fatal("one account's failures open the breaker")
			}
			b.done("a", down, wall())
		}
		for i := range breakAfter - 1 {
			if !admitted() {
				t.Fatalf("%d failures open the breaker, want %d", i+1, breakAfter)
			}
			b.done(string(rune('b'+i)), down, wall())
		}
		if wait, ok := b.admit(wall()); ok || wait <= 0 || wait > firstPause || !b.open() || b.wait(wall()) != wait {
			t.Fatalf("the breaker admits %v and names %v", ok, wait)
		}
		pass(firstPause)
		if !admitted() || admitted() {
			t.Fatal("after the pause not exactly one call is admitted")
		}
		b.skip()
		if !admitted() {
			t.Fatal("an admission that was taken back blocks the next")
		}
		b.done("a", down, wall())
		if admitted() {
			t.Fatal("a trial that fails ends the pause")
		}
		for range 20 { // pauses grow, to a bound
			pass(shortPause)
			if !admitted() {
				t.Fatalf("no trial after %v", shortPause)
			}
			b.done("a", down, wall())
		}
		pass(shortPause)
		if !admitted() {
			t.Fatal("no trial")
		}
		b.done("a", &Error{Reason: AccountForbidden}, wall()) // an answer all the same
		if !admitted() || b.open() {
			t.Fatal("an answer does not close the breaker")
		}
		b.done("", &Error{Reason: ExchangeUnavailable, RetryAfter: time.Hour}, wall())
		if wait, ok := b.admit(wall()); ok || wait != maxRetryAfter {
			t.Fatalf("the party's own wish: %v, %v, want a pause of %v", wait, ok, maxRetryAfter)
		}
	})
}

func TestABudgetThatIsEmptyDoesNotBlockTheTrialOfABreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := federationInBubble(t)
		defer f.Close()
		pass(time.Minute)
		f.callers.stsDown.until = wall().Add(-time.Second)
		f.callers.budget.left, f.callers.budget.last = 0, wall()
		_, err := f.Token(t.Context(), direct(f.sts.sign(subject("1"))))
		_ = wantReason(t, err, ExchangeLimit)
		pass(time.Second)
		if _, err := f.Token(t.Context(), direct(f.sts.sign(subject("2")))); err != nil {
			t.Error(err)
		}
	})
}
