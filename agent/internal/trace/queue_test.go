package trace

import "testing"

func TestTheQueueHasABoundAndAnEnd(t *testing.T) {
	q := newQueue(4, 2)
	add := func() bool { return q.add(&call{}) }
	for i := range 4 {
		if !add() {
			t.Fatalf("job %d does not fit, want 4 to fit", i)
		}
	}
	if add() {
		t.Error("a fifth job fits, want 4")
	}
	if len(q.wake) != 1 {
		t.Error("nobody was woken for 2 jobs and more")
	}
	if got := len(q.take()); got != 4 {
		t.Errorf("got %d jobs, want 4", got)
	}
	if got := len(q.take()); got != 0 {
		t.Errorf("got %d jobs again", got)
	}
	add()
	q.close()
	if add() {
		t.Error("a job fits after the end")
	}
	if got := len(q.take()); got != 1 {
		t.Errorf("got %d jobs that came before the end, want 1", got)
	}
}
