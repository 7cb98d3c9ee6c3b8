package fake

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp/cmpopts"
)

// sorted makes the order of strings irrelevant.
var sorted = cmpopts.SortSlices(func(a, b string) bool { return a < b })

func TestNextWaitsForARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		var got []string
		for range 2 {
			go func() {
				r, err := j.Next(t.Context())
				if err != nil {
					t.Error(err)
				}
				j.mu.Lock()
				defer j.mu.Unlock()
				got = append(got, r.Target)
			}()
		}
		synctest.Wait() // both wait
		j.add(Request{Target: "a"})
		j.add(Request{Target: "b"})
		synctest.Wait()
		slices.Sort(got)
		if !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("got %q, want each request once", got)
		}
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := j.Next(ctx); !errors.Is(err, context.Canceled) || r.Target != "" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestJournalIsBoundedInNumberAndBytes(t *testing.T) {
	var j journal
	for i := range maxRequests + 3 {
		j.add(Request{Status: i})
	}
	if all := j.Requests(); len(all) != maxRequests || all[0].Status != 3 {
		t.Errorf("got %d requests from %d on, want %d from 3 on", len(all), all[0].Status, maxRequests)
	}
	j.Take()
	big := make([]byte, maxBodies/4)
	for i := range 6 {
		j.add(Request{Status: i, Body: big})
	}
	if all := j.Requests(); len(all) != 4 || all[0].Status != 2 {
		t.Errorf("got %d requests from %d on, want 4 from 2 on", len(all), all[0].Status)
	}
	j.add(Request{Status: 9, Body: make([]byte, maxBodies+1)})
	if all := j.Requests(); len(all) != 1 || all[0].Status != 9 {
		t.Errorf("got %d requests, want the last one alone", len(all))
	}
}
