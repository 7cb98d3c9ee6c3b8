package fake

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// startServer starts a bare party that answers 200, after it has called what it is given.
func startServer(t *testing.T, first ...func()) *server {
	t.Helper()
	s := new(server)
	if err := s.listen(""); err != nil {
		t.Fatal(err)
	}
	s.serve(nil, func(w http.ResponseWriter, r *http.Request) {
		for _, f := range first {
			f()
		}
		if !s.spoil(w, r, writeRPC) {
			w.WriteHeader(http.StatusOK)
		}
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestFaultAnswersForTheParty(t *testing.T) {
	s := startServer(t)
	c := web(t)
	get := ask{method: "GET", url: "http://" + s.Addr() + "/a"}
	other := ask{method: "GET", url: "http://" + s.Addr() + "/b"}
	s.Fail(Fault{Status: 429, RetryAfter: "7", Only: "/a", Times: 2})
	first := get.send(t, c)
	if first.Header.Get("Retry-After") != "7" {
		t.Errorf("got %+v, want Retry-After: 7", first)
	}
	got := []int{first.Status, other.send(t, c).Status, get.send(t, c).Status, get.send(t, c).Status}
	if diff := cmp.Diff([]int{429, 200, 429, 200}, got); diff != "" {
		t.Error(diff)
	}
	s.Fail(Fault{Status: 503})
	if got := get.send(t, c).Status; got != 503 {
		t.Errorf("got %d, want 503", got)
	}
	s.Heal()
	if got := get.send(t, c).Status; got != 200 {
		t.Errorf("got %d after healing, want 200", got)
	}
}

func TestFaultWithASuccessStatusIsStillAFailure(t *testing.T) {
	s := startServer(t)
	s.Fail(Fault{Status: 200})
	if got := (ask{method: "GET", url: "http://" + s.Addr()}).send(t, web(t)).Status; got != 500 {
		t.Errorf("got %d, want 500", got)
	}
}

func TestDownIsAConnectionWithoutAnswer(t *testing.T) {
	s := startServer(t)
	s.Fail(Fault{Down: true})
	res, err := web(t).Do(ask{url: "http://" + s.Addr(), body: "x"}.request(t))
	if err == nil {
		_ = res.Body.Close()
		t.Fatalf("got %s", res.Status)
	}
	refusals := s.Refusals()
	if len(refusals) != 1 || refusals[0].Reason != Injected || refusals[0].Status != 0 {
		t.Errorf("got %+v", refusals)
	}
}

// result is what became of a request that was sent from a goroutine.
type result struct {
	status int
	err    error
}

// start sends a request and returns where its result will be.
func start(t *testing.T, a ask) <-chan result {
	done := make(chan result, 1)
	c, req := web(t), a.request(t)
	go func() {
		res, err := c.Do(req)
		if err != nil {
			done <- result{0, err}
			return
		}
		_ = res.Body.Close()
		done <- result{res.StatusCode, nil}
	}()
	return done
}

func TestGateHoldsRequestsBackUntilItOpens(t *testing.T) {
	s := startServer(t)
	gate := make(chan struct{})
	s.Fail(Fault{Gate: gate})
	done := start(t, ask{method: "GET", url: "http://" + s.Addr()})
	gate <- struct{}{} // succeeds only when a request waits for it
	if got := <-done; got.status != 200 || got.err != nil {
		t.Errorf("got %+v, want the party's own answer", got)
	}
}

func TestDelayHoldsRequestsBack(t *testing.T) {
	s := startServer(t)
	s.Fail(Fault{Delay: 30 * time.Millisecond})
	begin := time.Now()
	if got := <-start(t, ask{method: "GET", url: "http://" + s.Addr()}); got.status != 200 || time.Since(begin) < 30*time.Millisecond {
		t.Errorf("got %+v after %v", got, time.Since(begin))
	}
}

func TestCloseEndsRequestsThatAreHeld(t *testing.T) {
	for _, fault := range []Fault{{Gate: make(chan struct{})}, {Delay: time.Hour}} {
		arrived := make(chan struct{})
		s := startServer(t, func() { close(arrived) })
		s.Fail(fault)
		done := start(t, ask{method: "GET", url: "http://" + s.Addr()})
		<-arrived
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n := len(s.Refusals()); n != 1 {
			t.Errorf("got %d refusals when Close has returned, want 1: the request still runs", n)
		}
		if got := <-done; got.err == nil {
			t.Errorf("got status %d from a closed party", got.status)
		}
	}
}

func TestAClientThatLeavesIsHeldNoLonger(t *testing.T) {
	arrived := make(chan struct{})
	s := startServer(t, func() { close(arrived) })
	s.Fail(Fault{Gate: make(chan struct{})})
	ctx, cancel := context.WithCancel(t.Context())
	req := ask{method: "GET", url: "http://" + s.Addr()}.request(t).WithContext(ctx)
	done := make(chan error, 1)
	c := web(t)
	go func() {
		res, err := c.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		done <- err
	}()
	<-arrived
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	s.handlers.Wait() // hangs when the request is still held
	if got := s.Refusals(); len(got) != 1 || got[0].Reason != Injected {
		t.Errorf("got %+v", got)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	s := new(server)
	r := &http.Request{Method: "GET", RequestURI: string(make([]byte, 2*maxTarget))}
	for i := range maxRefusals + 5 {
		s.note(r, NotFound, i)
	}
	got := s.Refusals()
	if len(got) != maxRefusals || got[0].Status != 5 || len(got[0].Target) != maxTarget {
		t.Errorf("got %d refusals from %d on, targets of %d bytes", len(got), got[0].Status, len(got[0].Target))
	}
}

func TestSecondListenerOnAnAddressIsAnError(t *testing.T) {
	s := startServer(t)
	if err := new(server).listen(s.Addr()); err == nil {
		t.Error("two parties on one address")
	}
}
