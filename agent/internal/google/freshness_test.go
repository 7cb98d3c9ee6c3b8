package google

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pass lets the bubble's time go by and everything come to rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestATokenInUseIsRefreshedInTheMiddleOfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		first := w.mustGet(t, request(alice))
		pass(29 * time.Minute)
		if got := w.iam.of(alice); got != 1 {
			t.Fatalf("%d mints after 29 minutes, want 1", got)
		}
		pass(9 * time.Minute) // 30 to 37.5 minutes
		if got := w.iam.of(alice); got != 2 {
			t.Fatalf("%d mints after 38 minutes, want 2", got)
		}
		if second := w.mustGet(t, request(alice)); second == first {
			t.Error("the old token is handed out after the refresh")
		}
	})
}

func TestATokenNobodyUsesExpiresUnlessKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.Keep([]Request{request(bob)})
		w.mustGet(t, request(alice))
		pass(5 * time.Hour)
		// The caller that had it minted used it, so it was refreshed once.
		if got := w.iam.of(alice); got != 2 {
			t.Errorf("%d mints of the unused token, want 2", got)
		}
		if got := w.iam.of(bob); got < 8 || got > 11 {
			t.Errorf("%d mints of the kept token in 5 hours, want 8 to 11", got)
		}
		w.mustGet(t, request(alice))
		w.mustGet(t, request(bob))
		if got := w.iam.of(alice); got != 3 {
			t.Errorf("%d mints of the unused token after it was asked for again, want 3", got)
		}
	})
}

func TestATokenUsedAgainAfterItsRefreshWasSkippedIsRefreshedThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.mustGet(t, request(alice))
		pass(45 * time.Minute) // refreshed, because it was used
		pass(50 * time.Minute) // not refreshed, because it was not
		if got := w.iam.of(alice); got != 2 {
			t.Fatalf("%d mints, want 2", got)
		}
		w.mustGet(t, request(alice)) // about 5 minutes before the token expires
		synctest.Wait()
		if got := w.iam.of(alice); got != 3 {
			t.Errorf("%d mints after the late use, want 3", got)
		}
	})
}

func TestRefreshesAreSpreadByJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		var rs []Request
		for i := range 200 {
			rs = append(rs, request(fmt.Sprintf("a%d@team.iam.gserviceaccount.com", i)))
		}
		start := time.Now()
		w.Keep(rs)
		pass(59 * time.Minute)
		earliest, latest := time.Hour, time.Duration(0)
		for _, c := range w.iam.seen()[len(rs):] {
			earliest, latest = min(earliest, c.At.Sub(start)), max(latest, c.At.Sub(start))
		}
		if earliest < 30*time.Minute || latest > 38*time.Minute || latest-earliest < 6*time.Minute {
			t.Errorf("refreshed between %v and %v, want a spread from about 30 to about 37.5 minutes", earliest, latest)
		}
	})
}

func TestAThousandCallersCauseOneMint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
			select {
			case <-time.After(300 * time.Millisecond):
			case <-r.Context().Done():
			}
			return false
		})
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() { w.mustGet(t, request(alice)) })
		}
		group.Wait()
		if got := len(w.iam.seen()); got != 1 {
			t.Errorf("%d mints, want 1", got)
		}
	})
}

func TestAnOutageOfTwentyMinutesHurtsNobodyWithALongerToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.Keep([]Request{request(alice), request(bob)})
		pass(29 * time.Minute) // none is refreshed yet
		w.iam.fail(http.StatusServiceUnavailable, "down")
		failed := 0
		for range 20 * 60 {
			for _, account := range []string{alice, bob} {
				if _, err := w.Token(t.Context(), request(account)); err != nil {
					failed++
				}
			}
			pass(time.Second)
		}
		if failed > 0 {
			t.Errorf("%d of 2400 requests failed, want 0", failed)
		}
		before := len(w.iam.seen()) - 2
		if before < 2 || before > 2*attempts*60 {
			t.Errorf("IAM was asked %d times in the outage, want some and at most 2 accounts * %d attempts * 60", before, attempts)
		}

		pass(15 * time.Minute) // past expiry
		_, err := w.Token(t.Context(), request(alice))
		if e := wantReason(t, err, MintUnavailable); !strings.Contains(e.Detail, "503") {
			t.Errorf("detail %q does not say what IAM answered", e.Detail)
		}

		w.iam.set(nil)
		back := time.Now()
		for {
			if _, err := w.Token(t.Context(), request(alice)); err == nil {
				break
			}
			pass(100 * time.Millisecond)
			if time.Since(back) > 10*time.Second {
				t.Fatal("no token 10 seconds after IAM came back")
			}
		}
		w.mustGet(t, request(alice))
	})
}

func TestAnOutageOfTwentyMinutesHurtsNobodyWheneverItBegins(t *testing.T) {
	for begin := time.Minute; begin < 80*time.Minute; begin += 7 * time.Minute {
		synctest.Test(t, func(t *testing.T) {
			w := inBubble(t)
			defer w.Close()
			rs := make([]Request, 20)
			for i := range rs {
				rs[i] = request(fmt.Sprintf("a%d@team.iam.gserviceaccount.com", i))
			}
			w.Keep(rs)
			pass(begin)
			w.iam.fail(http.StatusServiceUnavailable, "down")
			for range 20 * 6 {
				pass(10 * time.Second)
				for _, r := range rs {
					if _, err := w.Token(done(), r); err != nil {
						t.Fatalf("an outage that begins after %v: %v", begin, err)
					}
				}
			}
		})
	}
}

// Many accounts have no token when IAM comes back: each gets one within seconds, with one call, and few calls run at once.
func TestOneAccountThatFailsDoesNotHurtTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(rw http.ResponseWriter, _ *http.Request, c call) bool {
			if c.Account == bob {
				sendStatus(rw, http.StatusInternalServerError, "this one always")
			}
			return c.Account == bob
		})
		w.Keep([]Request{request(bob)})
		for i := range 200 {
			w.mustGet(t, request(fmt.Sprintf("a%d@team.iam.gserviceaccount.com", i)))
			pass(7 * time.Second)
		}
	})
}

func TestTheEndOfALongOutageBringsNoHerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		rs := make([]Request, 300)
		for i := range rs {
			rs[i] = request(fmt.Sprintf("a%d@team.iam.gserviceaccount.com", i))
		}
		w.Keep(rs)
		pass(30 * time.Minute)
		w.iam.fail(http.StatusServiceUnavailable, "down")
		pass(90 * time.Minute) // all have expired, the agent's own lives on
		for _, r := range rs {
			_, err := w.Token(done(), r)
			if e := wantReason(t, err, MintUnavailable); e.Err == nil && e.RetryAfter <= 0 {
				t.Fatalf("%v says no time", e)
			}
		}
		pass(time.Minute)
		before := len(w.iam.seen())
		pass(time.Minute)
		if got := len(w.iam.seen()) - before; got < 1 || got > 30 {
			t.Errorf("%d calls in a minute of the outage for %d accounts, want 1 to 30", got, len(rs))
		}
		before = len(w.iam.seen())
		w.iam.set(func(http.ResponseWriter, *http.Request, call) bool {
			<-time.After(50 * time.Millisecond)
			return false
		})
		// Until the next call on trial, and as long again for an account that was refused a moment before that one ended.
		soon := 2*shortPause + time.Second
		pass(soon)
		for _, r := range rs {
			if _, err := w.Token(done(), r); err != nil {
				t.Errorf("%v after IAM came back: %v", soon, err)
			}
		}
		if got := len(w.iam.seen()) - before; got != len(rs) {
			t.Errorf("%d calls for %d accounts, want one each", got, len(rs))
		}
		if w.iam.peak > maxParallel {
			t.Errorf("%d calls at once, want %d at most", w.iam.peak, maxParallel)
		}
	})
}

func TestAKeptTokenRecoversWithoutACaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.fail(http.StatusServiceUnavailable, "down")
		w.Keep([]Request{request(alice)})
		pass(2 * time.Hour)
		w.iam.set(nil)
		pass(shortPause + time.Second)
		n := len(w.iam.seen())
		w.mustGet(t, request(alice))
		if got := len(w.iam.seen()); got != n {
			t.Error("the token was minted when it was asked for, want before")
		}
	})
}

func TestATokenIsNotHandedOutShortlyBeforeItExpires(t *testing.T) {
	tests := map[string]struct{ lifetime, margin time.Duration }{
		"an hour":      {time.Hour, time.Minute},
		"five minutes": {5 * time.Minute, 30 * time.Second},
		"ten minutes":  {10 * time.Minute, time.Minute},
		"twelve hours": {12 * time.Hour, time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := inBubble(t)
				defer w.Close()
				r := Request{Account: alice, Scopes: []string{scope}, Lifetime: test.lifetime}
				token, err := w.Token(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				w.iam.fail(http.StatusServiceUnavailable, "down")
				pass(time.Until(token.Expiry) - test.margin - 2*time.Second)
				if _, err := w.Token(t.Context(), r); err != nil {
					t.Errorf("%v before expiry: %v", time.Until(token.Expiry), err)
				}
				pass(2 * time.Second)
				_, err = w.Token(t.Context(), r)
				_ = wantReason(t, err, MintUnavailable)
			})
		})
	}
}

func TestAFailureIsAnsweredFastUntilThePauseIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.fail(http.StatusForbidden, "Permission 'iam.serviceAccounts.getAccessToken' denied")
		_, err := w.Token(t.Context(), request(alice))
		first := wantReason(t, err, AccountForbidden)
		if first.RetryAfter <= 0 {
			t.Fatalf("RetryAfter is %v, want more", first.RetryAfter)
		}
		start := time.Now()
		for range 1000 {
			_, err := w.Token(t.Context(), request(alice))
			second := wantReason(t, err, AccountForbidden)
			if second.RetryAfter != first.RetryAfter {
				t.Fatalf("RetryAfter is %v, want %v", second.RetryAfter, first.RetryAfter)
			}
		}
		if time.Since(start) > 0 || w.iam.of(alice) != 1 {
			t.Errorf("1000 calls took %v and %d mints, want no time and 1", time.Since(start), w.iam.of(alice))
		}
		w.iam.set(nil)
		pass(first.RetryAfter)
		w.mustGet(t, request(alice))
	})
}

func TestADeadIAMIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.fail(http.StatusServiceUnavailable, "down")
		for range 10 * 60 * 10 { // ten minutes of ten calls a second
			if _, err := w.Token(t.Context(), request(alice)); err == nil {
				t.Fatal("got a token from a dead IAM")
			}
			pass(100 * time.Millisecond)
		}
		// One flight per shortPause (less jitter), each of three attempts.
		if got, limit := w.iam.of(alice), 3*(600/4+10); got > limit || got < 100 {
			t.Errorf("%d calls in 10 minutes, want 100 to %d", got, limit)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	tests := map[string]struct {
		status int
		header string
		want   time.Duration
	}{
		"a 429 with seconds":              {429, "20", 20 * time.Second},
		"a 503 with seconds":              {503, "20", 20 * time.Second},
		"a 429 without any":               {429, "", busyPause},
		"a 429 that asks for a whole day": {429, "86400", maxRetryAfter},
		"a 429 with garbage":              {429, "soon", busyPause},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := inBubble(t)
				defer w.Close()
				w.iam.fail(test.status, "slow down", "Retry-After", test.header)
				_, err := w.Token(t.Context(), request(alice))
				if e := wantReason(t, err, MintUnavailable); e.RetryAfter != test.want {
					t.Errorf("RetryAfter is %v, want %v", e.RetryAfter, test.want)
				}
				pass(test.want - time.Millisecond)
				if _, err := w.Token(t.Context(), request(alice)); err == nil || w.iam.of(alice) != 1 {
					t.Errorf("IAM was asked %d times before the time was over, want 1", w.iam.of(alice))
				}
				w.iam.set(nil)
				pass(time.Millisecond)
				w.mustGet(t, request(alice))
			})
		})
	}
}

func TestAPassingFailureIsTriedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(rw http.ResponseWriter, _ *http.Request, _ call) bool {
			if w.iam.of(alice) < attempts {
				sendStatus(rw, 503, "once more")
				return true
			}
			return false
		})
		start := time.Now()
		w.mustGet(t, request(alice))
		if d := time.Since(start); d > time.Second {
			t.Errorf("took %v, want less than a second", d)
		}
	})
}

func TestAServerThatDoesNotAnswerEndsInATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
			<-r.Context().Done()
			return true
		})
		start := time.Now()
		_, err := w.Token(t.Context(), request(alice))
		e := wantReason(t, err, MintUnavailable)
		if d := time.Since(start); d > flightTimeout {
			t.Errorf("took %v, want at most %v", d, flightTimeout)
		}
		if want := fmt.Sprintf("did not answer within %v", callTimeout); !strings.Contains(e.Detail, want) {
			t.Errorf("detail is %q, want it to hold %q", e.Detail, want)
		}
		if errors.Is(err, context.DeadlineExceeded) || e.Err != nil {
			t.Errorf("%v looks as if the caller's own deadline had passed", err)
		}
	})
}

func TestACallThatHangsIsGivenUpAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
			if w.iam.of(alice) == 1 {
				<-r.Context().Done()
			}
			return false
		})
		start := time.Now()
		w.mustGet(t, request(alice))
		if d := time.Since(start); d < callTimeout || d > callTimeout+time.Second {
			t.Errorf("took %v, want little more than %v", d, callTimeout)
		}
	})
}

func TestManyMintsOfADeadIAMTakeTurnsAndEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
			<-r.Context().Done()
			return true
		})
		start := time.Now()
		var group sync.WaitGroup
		for i := range 10 * maxParallel {
			group.Go(func() {
				_, err := w.Token(t.Context(), request(fmt.Sprintf("a%d@team.iam.gserviceaccount.com", i)))
				if e, ok := errors.AsType[*Error](err); !ok || e.Reason != MintUnavailable || e.Err != nil {
					t.Errorf("got %v, want %s", err, MintUnavailable)
				}
			})
		}
		group.Wait()
		if d := time.Since(start); d > flightTimeout {
			t.Errorf("took %v, want at most %v", d, flightTimeout)
		}
		if w.iam.peak != maxParallel {
			t.Errorf("%d calls at once, want %d", w.iam.peak, maxParallel)
		}
	})
}

func TestACallerThatComesLateTakesTheTokenThatLanded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		want := w.mustGet(t, request(alice))
		f, err := w.find(request(alice).key()).join(nil) // as if it had looked before the mint ended
		if err != nil {
			t.Fatal(err)
		}
		if got := f.token.Value.Reveal(); got != want || w.iam.of(alice) != 1 {
			t.Errorf("got %q after %d mints, want %q after 1", got, w.iam.of(alice), want)
		}
	})
}

func TestACallerWaitsAtMostItsContextAndTheMintGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
			select {
			case <-time.After(3 * time.Second):
			case <-r.Context().Done():
			}
			return false
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := w.Token(ctx, request(alice))
		_ = wantReason(t, err, MintUnavailable)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want deadline exceeded after 1s", err, time.Since(start))
		}
		pass(2 * time.Second)
		w.mustGet(t, request(alice))
		if got := w.iam.of(alice); got != 1 {
			t.Errorf("%d mints, want 1", got)
		}
	})
}

func TestADoneContextNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
			}
			return false
		})
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		expired, cancel2 := context.WithDeadline(t.Context(), time.Now())
		defer cancel2()
		for _, ctx := range []context.Context{canceled, expired} {
			start := time.Now()
			token, err := w.Token(ctx, request(alice))
			if !errors.Is(err, ctx.Err()) || time.Since(start) != 0 || token.Value.Len() != 0 {
				t.Errorf("got %v after %v, want %v at once", err, time.Since(start), ctx.Err())
			}
		}
		pass(time.Second)
		for _, ctx := range []context.Context{canceled, expired} {
			if _, err := w.Token(ctx, request(alice)); err != nil {
				t.Errorf("the token at hand is not returned: %v", err)
			}
		}
		if got := w.iam.of(alice); got != 1 {
			t.Errorf("%d mints, want 1", got)
		}
	})
}

func TestDropForgetsOncePerCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.Drop(request(alice)) // nothing to forget
		first := w.mustGet(t, request(alice))
		w.Drop(request(alice))
		second := w.mustGet(t, request(alice))
		if second == first {
			t.Fatal("a dropped token is handed out")
		}
		for range 1000 {
			w.Drop(request(alice))
			w.mustGet(t, request(alice))
		}
		if got := w.iam.of(alice); got != 2 {
			t.Errorf("%d mints within the cooldown, want 2", got)
		}
		pass(dropCooldown)
		w.Drop(request(alice))
		synctest.Wait()
		if got := w.iam.of(alice); got != 3 {
			t.Errorf("%d mints after the cooldown, want 3", got)
		}
		w.iam.fail(503, "down")
		pass(dropCooldown)
		w.Drop(request(alice))
		_, err := w.Token(t.Context(), request(alice))
		_ = wantReason(t, err, MintUnavailable)
	})
}

func TestDropAppliesToOneRequestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		short := Request{Account: alice, Scopes: []string{scope}, Lifetime: 5 * time.Minute}
		before := w.mustGet(t, request(alice))
		w.mustGet(t, short)
		w.Drop(short)
		if after := w.mustGet(t, request(alice)); after != before {
			t.Error("the token of another request was dropped")
		}
	})
}

func TestEvictedTokensAreNoLongerRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t, func(c *Config) { c.Entries = 2 })
		defer w.Close()
		w.Keep([]Request{request("kept@team.iam.gserviceaccount.com")})
		w.mustGet(t, request(alice))
		w.mustGet(t, request(bob))
		victim := w.find(request(bob).key())
		w.mustGet(t, request(alice))
		w.mustGet(t, request(carol)) // bob has to go
		if victim.timer.Stop() {
			t.Error("the timer of an evicted entry still holds it")
		}
		if got := w.used.Len(); got != 2 {
			t.Errorf("%d entries, want 2", got)
		}
		for range 50 {
			pass(time.Minute)
			w.mustGet(t, request(alice))
			w.mustGet(t, request(carol))
		}
		for account, want := range map[string]int{alice: 2, bob: 1, carol: 2, "kept@team.iam.gserviceaccount.com": 2} {
			if got := w.iam.of(account); got != want {
				t.Errorf("%d mints of %s, want %d", got, account, want)
			}
		}
	})
}

func TestEvictionEndsARunningMint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t, func(c *Config) { c.Entries = 1 })
		defer w.Close()
		w.iam.set(func(_ http.ResponseWriter, r *http.Request, c call) bool {
			if c.Account == alice {
				<-r.Context().Done()
			}
			return false
		})
		failed := make(chan error, 1)
		go func() {
			_, err := w.Token(t.Context(), request(alice))
			failed <- err
		}()
		synctest.Wait()
		start := time.Now()
		w.mustGet(t, request(bob))
		e := wantReason(t, <-failed, MintUnavailable)
		if e.Err != nil || time.Since(start) > 0 || !strings.Contains(e.Detail, "evicted") {
			t.Errorf("got %v after %v, want an error that tells of the eviction and is not the caller's, at once", e, time.Since(start))
		}
	})
}

func TestKeepMovesTokensWithoutMintingThemAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		before := w.mustGet(t, request(alice))
		w.Keep([]Request{request(alice), request(bob), request(alice)})
		synctest.Wait()
		w.Keep([]Request{request(bob)})
		w.Keep(nil)
		w.Keep([]Request{request(alice)})
		if after := w.mustGet(t, request(alice)); after != before {
			t.Error("the token was minted again")
		}
		w.mustGet(t, request(bob))
		if got := len(w.iam.seen()); got != 2 {
			t.Errorf("%d mints, want 2", got)
		}
		want := []AccountStatus{{Account: alice, Kept: true}, {Account: bob}}
		got := w.Status()
		for i := range got {
			if got[i].Expiry.IsZero() || got[i].Minted.IsZero() || got[i].Minted.After(time.Now()) {
				t.Errorf("%s is said to be minted at %v and to expire at %v", got[i].Account, got[i].Minted, got[i].Expiry)
			}
			got[i].Expiry, got[i].Minted = time.Time{}, time.Time{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Status() differs (-want +got):\n%s", diff)
		}
	})
}

func TestKeepIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		w := inBubble(t, func(c *Config) { c.Entries, c.Log = 2, slog.New(slog.NewTextHandler(log, nil)) })
		defer w.Close()
		w.Keep([]Request{request(alice), {}, request(bob), request(carol)})
		synctest.Wait()
		if got := len(w.iam.seen()); got != 2 {
			t.Errorf("%d mints, want 2", got)
		}
		if !strings.Contains(log.String(), "count=2") {
			t.Errorf("log %q does not tell of 2 requests that are not kept", log)
		}
	})
}

func TestARequestThatIsNoLongerKeptIsNoLongerRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.Keep([]Request{request(alice)})
		pass(time.Minute)
		w.Keep(nil)
		pass(3 * time.Hour)
		if got := w.iam.of(alice); got != 1 {
			t.Errorf("%d mints, want 1", got)
		}
	})
}

func TestWarmMintsAllAndJoinsTheErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(rw http.ResponseWriter, r *http.Request, c call) bool {
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
			}
			if c.Account == bob {
				sendStatus(rw, 403, "no")
				return true
			}
			return false
		})
		rs := []Request{request(alice), request(bob), {Account: "nobody"}}
		for i := range 100 {
			rs = append(rs, request(fmt.Sprintf("a%d@team.iam.gserviceaccount.com", i)))
		}
		start := time.Now()
		err := w.Warm(t.Context(), rs)
		if d := time.Since(start); d != 4*time.Second { // 102 mints, 32 at once
			t.Errorf("took %v, want 4s", d)
		}
		if got := w.iam.peak; got != maxParallel {
			t.Errorf("%d calls at once, want %d", got, maxParallel)
		}
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) != 2 {
			t.Fatalf("got %v, want two errors", err)
		}
		_ = wantReason(t, joined.Unwrap()[0], AccountForbidden)
		_ = wantReason(t, joined.Unwrap()[1], MintInvalid)
		n := len(w.iam.seen())
		for _, r := range rs[3:] {
			w.mustGet(t, r)
		}
		if got := len(w.iam.seen()); got != n {
			t.Errorf("%d mints after the warm-up, want none", got-n)
		}
	})
}

func TestWarmEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
			<-r.Context().Done()
			return true
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := w.Warm(ctx, []Request{request(alice), request(bob)})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want deadline exceeded after 1s", err, time.Since(start))
		}
	})
}

func TestTheOwnTokenIsRefreshedAndSurvivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		pass(30 * time.Minute)
		if got := w.base.count(); got != 1 {
			t.Fatalf("the own token was fetched %d times, want once at the start", got)
		}
		w.base.set(errors.New("connection refused"))
		for range 28 {
			pass(time.Minute)
			if email, err := w.Email(t.Context()); err != nil || email != agentEmail {
				t.Fatalf("Email() = %q, %v", email, err)
			}
		}
		if got := w.base.count(); got < 20 {
			t.Errorf("the own token was asked for %d times in 28 minutes, want a try every half minute", got)
		}
		w.mustGet(t, request(alice)) // minted with the own token at hand

		pass(3 * time.Minute)
		_, err := w.Token(t.Context(), request(bob))
		e := wantReason(t, err, CredentialsUnavailable)
		if e.Account != bob || !strings.Contains(e.Detail, "connection refused") || e.RetryAfter <= 0 {
			t.Errorf("got %#v, want the cause, the account and a time", e)
		}
		if own := w.Own(); own.Reason != CredentialsUnavailable {
			t.Errorf("Own() = %+v, want %s", own, CredentialsUnavailable)
		}
		w.mustGet(t, request(alice)) // has its token

		w.base.set(nil)
		back := time.Now()
		for {
			if _, err := w.Token(t.Context(), request(bob)); err == nil {
				break
			}
			pass(100 * time.Millisecond)
			if time.Since(back) > 2*shortPause+time.Second {
				t.Fatal("no token although the own identity is back")
			}
		}
		if own := w.Own(); own.Reason != "" || own.Account != agentEmail {
			t.Errorf("Own() = %+v, want %s without a failure", own, agentEmail)
		}
	})
}

// The metadata server answers with the same token until a few minutes before that expires.
func TestABaseThatReturnsTheSameTokenIsNotAskedWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		start := time.Now()
		w := inBubble(t, func(c *Config) {
			base := newFakeBase()
			c.Base = func(ctx context.Context) (Token, error) {
				calls.Add(1)
				token, err := base.token(ctx)
				age := time.Since(start) % (55 * time.Minute)
				token.Expiry = time.Now().Add(time.Hour - age)
				return token, err
			}
		})
		defer w.Close()
		for range 24 * 60 {
			if _, err := w.Email(t.Context()); err != nil {
				t.Fatalf("after %v: %v", time.Since(start), err)
			}
			pass(time.Minute)
		}
		if got := calls.Load(); got > 24*6 {
			t.Errorf("asked %d times in a day, want at most %d", got, 24*6)
		}
	})
}

func TestTheOwnTokenIsFetchedAgainWhenIAMRefusesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(rw http.ResponseWriter, _ *http.Request, c call) bool {
			if c.Bearer == baseMarker+".1" {
				sendStatus(rw, 401, "Request had invalid authentication credentials.")
				return true
			}
			return false
		})
		_, err := w.Token(t.Context(), request(alice))
		e := wantReason(t, err, CredentialsUnavailable)
		pass(e.RetryAfter)
		w.mustGet(t, request(alice))
	})
}

func TestAServerClockThatIsAheadDoesNotProlongAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.iam.set(func(rw http.ResponseWriter, _ *http.Request, c call) bool {
			sendToken(rw, mintMarker+c.Account, time.Now().Add(24*time.Hour))
			return true
		})
		token, err := w.Token(t.Context(), request(alice))
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Until(token.Expiry); got != time.Hour {
			t.Errorf("the token is taken to live %v, want the hour that was asked for", got)
		}
	})
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		w.mustGet(t, request(carol))
		w.iam.set(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
			<-r.Context().Done()
			return true
		})
		w.Keep([]Request{request(alice)})
		failed := make(chan error, 1)
		go func() {
			_, err := w.Token(t.Context(), request(bob))
			failed <- err
		}()
		synctest.Wait()
		start := time.Now()
		w.Close()
		w.Close()
		_ = wantReason(t, <-failed, MintUnavailable)
		if time.Since(start) != 0 {
			t.Errorf("Close took %v", time.Since(start))
		}
		for _, account := range []string{alice, bob, carol} {
			_, err := w.Token(t.Context(), request(account))
			wantReason(t, err, MintUnavailable)
		}
		if err := w.Warm(t.Context(), []Request{request(alice)}); err == nil {
			t.Error("Warm succeeds after Close")
		}
		if _, err := w.Email(t.Context()); err != nil { // the own token is still good, but nothing new is fetched
			wantReason(t, err, MintUnavailable)
		}
		w.Keep([]Request{request(alice)})
		w.Drop(request(carol))
		n := len(w.iam.seen())
		pass(3 * time.Hour)
		if got := len(w.iam.seen()); got != n || len(w.Status()) != 0 {
			t.Errorf("%d mints and %d states after Close, want none", got-n, len(w.Status()))
		}
	})
}

func TestCloseWaitsForWhatItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		w.iam.set(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
			<-r.Context().Done()
			<-time.After(time.Second)
			return true
		})
		w.Keep([]Request{request(alice)})
		synctest.Wait()
		start := time.Now()
		w.Close()
		if got := time.Since(start); got != time.Second {
			t.Errorf("Close returned after %v, want 1s, when the last call had ended", got)
		}
	})
}

func TestOnMintTellsOfEveryAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type event struct {
			Account string
			Took    time.Duration
			Reason  Reason
		}
		var mu sync.Mutex
		var got []event
		w := inBubble(t, func(c *Config) {
			c.OnMint = func(account string, d time.Duration, err error) {
				mu.Lock()
				defer mu.Unlock()
				e, _ := errors.AsType[*Error](err)
				if e == nil {
					e = &Error{}
				}
				got = append(got, event{account, d, e.Reason})
			}
		})
		defer w.Close()
		w.iam.set(func(rw http.ResponseWriter, r *http.Request, _ call) bool {
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
			}
			if w.iam.of(alice) == 1 {
				sendStatus(rw, 500, "once")
				return true
			}
			return false
		})
		w.mustGet(t, request(alice))
		want := []event{{alice, time.Second, MintUnavailable}, {alice, time.Second, ""}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("OnMint differs (-want +got):\n%s", diff)
		}
	})
}

func TestAFailingRefreshIsLoggedOnceAndItsEndToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		w := inBubble(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) })
		defer w.Close()
		w.Keep([]Request{request(alice)})
		pass(29 * time.Minute)
		w.iam.fail(503, "down")
		pass(15 * time.Minute)
		w.iam.set(nil)
		pass(time.Minute)
		if got := strings.Count(log.String(), "token not refreshed"); got != 1 {
			t.Errorf("the failure is logged %d times, want once:\n%s", got, log)
		}
		if got := strings.Count(log.String(), "token refreshed again"); got != 1 {
			t.Errorf("the recovery is logged %d times, want once:\n%s", got, log)
		}
	})
}

func TestDropByFingerprint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inBubble(t)
		defer w.Close()
		w.Keep([]Request{request(alice)})
		fingerprint := func(r Request) string {
			t.Helper()
			token, err := w.Token(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return token.Fingerprint
		}
		for _, r := range []Request{request(alice), request(bob)} { // one that is kept, one that is in use
			first := fingerprint(r)
			if !w.DropFingerprint(first) {
				t.Errorf("%s: no token has the fingerprint", r.Account)
			}
			if fingerprint(r) == first {
				t.Errorf("%s: a dropped token is handed out", r.Account)
			}
			if w.DropFingerprint(first) || w.DropFingerprint("") || w.DropFingerprint("0011223344556677") {
				t.Errorf("%s: a token is found that is not at hand", r.Account)
			}
		}
	})
}
