package test

import (
	"net/http"
	"testing"
	"time"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// Google is down for longer than the tokens at hand are good for: until they expire nothing fails, then callers get an explicit 503 and
// Vertex AI gets nothing, and within seconds of Google's return all is well again, without a herd at Google's door.
func TestGoogleIsDownForLongerThanTokensLive(t *testing.T) {
	const life = 8 * time.Second // the last tenth of it is not handed out
	s := startSandbox(t, sandbox.Options{})
	s.World.IAM.Twist(fake.Twist{Lifetime: life})
	if err := s.StopAgent(limited(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.StartAgent(limited(t)); err != nil { // whose tokens are all short-lived
		t.Fatal(err)
	}
	l := startLoad(t, s, 16)
	l.wait(200)
	down := time.Now()
	s.World.IAM.Fail(fake.Fault{Down: true})
	awaitShot(t, l, func(shot sandbox.Shot) bool { return shot.Status == http.StatusServiceUnavailable })
	l.wait(50) // refusals
	s.World.IAM.Heal()
	up := time.Now()
	mints := len(s.World.IAM.Mints())
	awaitShot(t, l, func(shot sandbox.Shot) bool { return shot.Began.After(up) && shot.Status == http.StatusOK })
	back := time.Since(up)
	l.wait(500)
	herd := len(s.World.IAM.Mints()) - mints
	failed := l.stop()
	for _, shot := range failed {
		switch {
		case shot.Status != http.StatusServiceUnavailable || shot.Reason != "CREDENTIAL_UNAVAILABLE":
			t.Errorf("a call got %s, want an explicit 503", shot)
		case shot.Ended.Before(down.Add(life / 5)): // at least as long were the tokens good for that were at hand
			t.Errorf("a call was refused %v after Google went down", shot.Ended.Sub(down))
		}
	}
	t.Logf("%d of %d calls refused; back after %v, with %d mints", len(failed), len(l.shots), back, herd)
	if back > 10*time.Second {
		t.Errorf("the first call succeeded %v after Google's return", back)
	}
	if most := 3 * len(sandbox.Accounts()); herd > most {
		t.Errorf("%d mints after Google's return, want at most %d", herd, most)
	}
}

// awaitShot waits until a call of the load is as wanted.
func awaitShot(t *testing.T, l *load, wanted func(sandbox.Shot) bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); l.wait(1) {
		if wanted(l.Last()) {
			return
		}
	}
	t.Fatal("no call was as wanted within 40 s")
}
