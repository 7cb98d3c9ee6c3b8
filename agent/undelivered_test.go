package agent

import (
	"strings"
	"testing"
	"time"

	"vertex-spoa/agent/internal/audit"
	"vertex-spoa/spoe"
)

// An answer that HAProxy has not had is a second line of its decision, and whoever watches decisions is told. The id lies in memory that
// belongs to the next request as soon as the answer is given.
func TestAnAnswerThatDoesNotArriveIsRecorded(t *testing.T) {
	w := newWorld(t)
	told := make(chan audit.Undelivered, 2)
	w.cfg.Undelivered = append(w.cfg.Undelivered, func(u *audit.Undelivered) { told <- *u })
	memory := []byte("id-of-this-call")
	task := w.tasks.Get().(*task)
	task.request, task.now = request{ID: string(memory), Attempt: 2, Method: "POST", URI: target}, time.Now()
	task.notify = spoe.NewNotify(1, 1, "")
	task.reply = func([]spoe.Action) error { return spoe.ErrUndelivered }
	task.settle(task.judge(immediately, w.current.Load()))
	w.EndBatch()
	w.Withheld("another", 1)
	for _, want := range []audit.Undelivered{{ID: string(memory), Attempt: 2}, {ID: "another", Attempt: 1}} {
		select {
		case got := <-told:
			if got.ID != want.ID || got.Attempt != want.Attempt || got.Time.IsZero() {
				t.Errorf("told of %+v, want %+v", got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("nobody was told of %s", want.ID)
		}
	}
	w.undelivered.close()
	w.undelivered = newUndelivered(w.Agent) // which the end of the test closes
	if record := w.audit.last(t); record["event"] != "undelivered" || record["id"] != "another" {
		t.Errorf("the last line is %v", record)
	}
	text := w.audit.String()
	if n := strings.Count(text, `"event":"undelivered"`); n != 2 || strings.Count(text, "\n") != 3 {
		t.Errorf("%d lines of what did not arrive, want 2 beside one decision:\n%s", n, text)
	}
}
