package audit

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// faulty is a sink that works or does not.
type faulty struct{ err error }

func (f *faulty) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return len(p), nil
}
func (f *faulty) Close() error { return nil }

// Every write is told of once, with all its lines.
func TestOnWriteIsToldOfEveryWrite(t *testing.T) {
	type write struct {
		lines int
		err   error
	}
	var got []write
	full := errors.New("full")
	sink := &faulty{}
	l := newLog(sink, Options{Patience: patient, OnWrite: func(d time.Duration, lines int, err error) {
		if d < 0 || d > time.Minute {
			t.Errorf("a write took %s", d)
		}
		got = append(got, write{lines, err})
	}})
	for i, lines := range []int{1, 3, 2} {
		if sink.err = nil; i == 1 {
			sink.err = full
		}
		var telling sync.WaitGroup // a write after a slow one is on another goroutine
		telling.Add(lines)
		for range lines {
			l.Append(&Record{ID: "id"}, func(error) { telling.Done() })
		}
		l.Flush()
		telling.Wait()
	}
	if diff := cmp.Diff([]write{{1, nil}, {3, full}, {2, nil}}, got, cmp.AllowUnexported(write{}), cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })); diff != "" {
		t.Error(diff)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
