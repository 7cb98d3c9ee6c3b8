package closing

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// fakeLog is an audit log that answers as it is told.
type fakeLog struct {
	mu      sync.Mutex
	err     func(c *audit.Closing) error
	tries   int
	flushes int
	queue   []func()
	ids     []string
}

func (f *fakeLog) Append(line audit.Line, done func(error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := line.(*audit.Closing)
	f.tries++
	err := f.err(c)
	if err == nil {
		f.ids = append(f.ids, c.ID)
	}
	f.queue = append(f.queue, func() { done(err) })
}

func (f *fakeLog) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushes++
	for _, done := range f.queue {
		done()
	}
	f.queue = nil
}

// written returns the ids of what was taken, and how many attempts that took.
func (f *fakeLog) written() (ids []string, tries int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ids), f.tries
}

var errDisk = errors.New("no space left on device")

// writing runs a writer in a bubble, which ends with the test.
func writing(t *testing.T, log *fakeLog, maxPending int, test func(w *writer, lost *int)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		lost := 0
		w := newWriter(Config{Audit: log, Log: slog.New(slog.DiscardHandler), MaxPending: maxPending, OnLost: func(n int) { lost += n }})
		var group sync.WaitGroup
		group.Go(w.run)
		test(w, &lost)
		w.close()
		group.Wait()
	})
}

func closingOf(id string) *audit.Closing { return &audit.Closing{ID: id} }

func TestClosingsShareAFlush(t *testing.T) {
	log := &fakeLog{err: func(*audit.Closing) error { return nil }}
	writing(t, log, 10000, func(w *writer, lost *int) {
		for range 2*batchSize + 1 {
			w.enqueue(closingOf("a"))
		}
		w.wake()
		synctest.Wait()
		if log.flushes != 3 || log.tries != 2*batchSize+1 || *lost != 0 {
			t.Errorf("%d flushes of %d closings, %d lost", log.flushes, log.tries, *lost)
		}
	})
}

func TestWhatTheLogRefusesIsTriedAgainInOrder(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	log := &fakeLog{err: func(*audit.Closing) error {
		if broken.Load() {
			return errDisk
		}
		return nil
	}}
	writing(t, log, 100, func(w *writer, lost *int) {
		for _, id := range []string{"a", "b"} {
			w.put(closingOf(id))
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if _, n := log.written(); n < 1000 || n > 2000 {
			t.Errorf("%d tries in an hour, want one in 5s for each at most", n)
		}
		broken.Store(false)
		w.put(closingOf("c"))
		<-time.After(lastPause)
		synctest.Wait()
		if ids, _ := log.written(); !slices.Equal(ids, []string{"a", "b", "c"}) || *lost != 0 {
			t.Errorf("written %v, lost %d", ids, *lost)
		}
	})
}

func TestWhatIsTooMuchIsLostAndCounted(t *testing.T) {
	log := &fakeLog{err: func(*audit.Closing) error { return errDisk }}
	var total *int
	writing(t, log, 10, func(w *writer, lost *int) {
		total = lost
		w.put(closingOf("a"))
		synctest.Wait() // the writer has it
		for range 15 {
			w.put(closingOf("b"))
		}
		if *lost != 5 || w.room() != 0 {
			t.Errorf("%d lost, room for %d; want 5 and none", *lost, w.room())
		}
	})
	if *total != 16 {
		t.Errorf("%d are lost at the end, want all 16", *total)
	}
}

func TestTheEndIsOneMoreAttempt(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	log := &fakeLog{err: func(*audit.Closing) error {
		if broken.Load() {
			return errDisk
		}
		return nil
	}}
	writing(t, log, 10, func(w *writer, _ *int) {
		w.put(closingOf("a"))
		<-time.After(time.Minute)
		broken.Store(false)
	})
	if len(log.ids) != 1 {
		t.Errorf("written %v, want a", log.ids)
	}
}

func TestOneThatIsTooLongDoesNotHoldUpTheOthers(t *testing.T) {
	log := &fakeLog{err: func(c *audit.Closing) error {
		if c.ID == "long" {
			return audit.ErrTooLong
		}
		return nil
	}}
	writing(t, log, 10, func(w *writer, lost *int) {
		for _, id := range []string{"a", "long", "b"} {
			w.put(closingOf(id))
		}
		synctest.Wait()
		if len(log.ids) != 2 || *lost != 1 {
			t.Errorf("written %v, lost %d", log.ids, *lost)
		}
	})
}

func TestAClosedLogTakesNothing(t *testing.T) {
	log := &fakeLog{err: func(*audit.Closing) error { return audit.ErrClosed }}
	writing(t, log, 10, func(w *writer, lost *int) {
		w.put(closingOf("a"))
		synctest.Wait()
		if *lost != 1 || log.tries != 1 {
			t.Errorf("%d lost after %d tries, want 1 and 1", *lost, log.tries)
		}
	})
}

// The disk is full for a while, and nothing is lost.
func TestClosingsSurviveAFullDisk(t *testing.T) {
	path := t.TempDir() + "/s"
	r := newRig(t, "unix@"+path, nil)
	r.file.fail(errDisk)
	r.Decided(allow("a", 1))
	send(t, dial(t, "unixgram", path), sampleOf("a"))
	r.waitFor(Joined, 1)
	r.file.fail(nil)
	r.waitWritten(1)
	if got := r.file.closings(t)["a"]; got["subject"] == nil || r.lost != 0 {
		t.Errorf("got %v, lost %d", got, r.lost)
	}
}

func TestDecisionsAfterTheEndAreNotLostInSilence(t *testing.T) {
	r := newRig(t, "unix@"+t.TempDir()+"/s", func(c *Config) { c.MaxPending = 1 })
	r.stop()
	r.Decided(allow("a", 1))
	r.Decided(allow("b", 1)) // a has to make room
	if r.lost != 1 {
		t.Errorf("%d lost, want 1", r.lost)
	}
}
