package agent

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"vertex-spoa/agent/internal/audit"
	"vertex-spoa/policy"
	"vertex-spoa/spoe"
)

// maxActions is at least the number of variables an answer sets.
const maxActions = 24

// task is one request from its NOTIFY to its answer. Tasks are used again: what a request held is gone when its answer is given.
type task struct {
	agent   *Agent
	request request
	answer  answer
	now     time.Time
	notify  *spoe.Notify
	reply   spoe.Reply
	line    audit.Record

	actions  [maxActions]spoe.Action
	recorded func(error) // answerRecorded, bound once
}

func newTask(a *Agent) *task {
	t := &task{agent: a}
	t.recorded = t.answerRecorded
	return t
}

// judge is Agent.judge, and turns a panic into a denial: a request must not be able to end the process.
func (t *task) judge(ctx context.Context, s *snapshot) (err error) {
	defer func() {
		if p := recover(); p != nil {
			t.agent.cfg.Log.Error("panic while deciding", "id", t.request.ID, "stack", string(debug.Stack()))
			t.answer, err = answer{digest: s.policy.Digest()}, &fault{reason: Internal, detail: fmt.Sprintf("panic: %T", p)}
		}
	}()
	t.answer, err = t.agent.judge(ctx, s, &t.request, t.now)
	return err
}

// settle brings a task to its end. Asking for the body is no decision: it allows nothing and leaves no record.
func (t *task) settle(err error) {
	if err == nil && t.answer.decision.Effect == policy.NeedBody {
		t.answer.effect = policy.NeedBody
		t.answerRecorded(nil)
		return
	}
	t.answer.settle(err)
	t.record()
}

// record hands the answer to the audit log, which gives it once it is written.
func (t *task) record() {
	t.answer.describe(&t.line, &t.request, t.now)
	if flags := t.agent.cfg.Flags; flags != nil {
		t.agent.guarded(func() { t.line.Flags = flags(&t.line) })
	}
	t.notify.Mark(t.line.ID, t.line.Attempt)
	t.agent.cfg.Audit.Append(&t.line, t.recorded)
}

// answerRecorded gives the answer. An allow whose record could not be written becomes a denial; a denial stays one.
func (t *task) answerRecorded(err error) {
	a := t.agent
	if err != nil {
		a.cfg.Metrics.auditFailed()
		if t.answer.allowed() {
			t.answer.refuse(&fault{reason: AuditUnavailable, detail: "audit line not written", err: err})
		}
	}
	a.cfg.Metrics.decided(&t.answer)
	recorded := err == nil && t.line.Decision != ""
	if recorded && len(a.cfg.Decided) > 0 {
		a.guarded(func() {
			for _, decided := range a.cfg.Decided {
				decided(&t.line)
			}
		})
	}
	var id [maxText]byte
	n := copy(id[:], t.line.ID) // its bytes are HAProxy's next request once this one is answered
	if err := t.reply(t.answer.appendActions(t.actions[:0])); err != nil {
		a.cfg.Metrics.undelivered()
		if recorded {
			a.undelivered.note(audit.Undelivered{Time: time.Now(), ID: string(id[:n]), Attempt: t.line.Attempt})
		}
	}
	*t = task{agent: a, recorded: t.recorded} // no token stays behind
	a.tasks.Put(t)
}

// guarded calls what only looks on. If it panics, that is logged: it costs nobody an answer, and not the process.
func (a *Agent) guarded(look func()) {
	defer func() {
		if p := recover(); p != nil {
			a.cfg.Log.Error("panic while telling of a decision", "kind", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
		}
	}()
	look()
}
