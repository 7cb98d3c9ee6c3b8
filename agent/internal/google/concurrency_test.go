package google

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// Everything at once, for the race detector, with so few entries that they are evicted all the time: whatever happens, a caller gets the
// token of the account it asked for, or an error.
func TestEverythingAtOnce(t *testing.T) {
	w := onLoopback(t, func(c *Config) { c.Entries = 4 })
	rs := make([]Request, 12)
	for i := range rs {
		rs[i] = request(fmt.Sprintf("a%d@team.iam.gserviceaccount.com", i))
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 150 {
				r := rs[rand.IntN(len(rs))]
				token, err := w.Token(t.Context(), r)
				if err != nil {
					if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Detail, "evicted") {
						t.Errorf("Token(%s) fails: %v", r.Account, err)
					}
					continue
				}
				if token.Account != r.Account || !strings.Contains(token.Value.Reveal(), r.Account+".") {
					t.Errorf("Token(%s) returns a token of %s", r.Account, token.Account)
				}
			}
		})
	}
	group.Go(func() {
		for i := range 100 {
			w.Keep(rs[i%8 : i%8+3])
			_ = w.Status()
			w.Drop(rs[i%len(rs)])
			_ = w.Own()
		}
	})
	group.Wait()
	w.Keep(nil)
	if got := w.used.Len(); got > 4 {
		t.Errorf("%d entries, want at most 4", got)
	}
	group.Go(w.Close)
	group.Go(func() { w.Keep(rs) })
	group.Go(func() { _, _ = w.Token(t.Context(), rs[0]) })
	group.Wait()
}
