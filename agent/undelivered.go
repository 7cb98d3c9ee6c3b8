package agent

import (
	"vertex-spoa/agent/internal/audit"
)

// maxUndelivered is how many notes of answers that did not arrive may wait to be written.
const maxUndelivered = 4096

// undelivered writes a line for each recorded decision whose answer did not arrive. One more than may wait is lost, and counted as a line
// that could not be written: HAProxy has denied that request all the same, and its own log says so.
type undelivered struct {
	agent *Agent
	notes chan audit.Undelivered
	stop  chan struct{}
	ended chan struct{}
}

func newUndelivered(a *Agent) *undelivered {
	u := &undelivered{agent: a, notes: make(chan audit.Undelivered, maxUndelivered), stop: make(chan struct{}), ended: make(chan struct{})}
	go u.run()
	return u
}

// note does not wait.
func (u *undelivered) note(note audit.Undelivered) {
	select {
	case u.notes <- note:
	default:
		u.agent.cfg.Metrics.auditFailed()
	}
}

func (u *undelivered) run() {
	defer close(u.ended)
	for {
		select {
		case note := <-u.notes:
			u.write(note)
		case <-u.stop:
			select {
			case note := <-u.notes:
				u.write(note)
			default:
			}
			return
		}
	}
}

// write writes a note and those that wait, together.
func (u *undelivered) write(note audit.Undelivered) {
	cfg := &u.agent.cfg
	for more := true; more; {
		u.agent.guarded(func() {
			for _, tell := range cfg.Undelivered {
				tell(&note)
			}
		})
		cfg.Audit.Append(&note, func(err error) {
			if err != nil {
				cfg.Metrics.auditFailed()
			}
		})
		select {
		case note = <-u.notes:
		default:
			more = false
		}
	}
	cfg.Audit.Flush()
}

// close writes what waits. What is noted later is lost.
func (u *undelivered) close() {
	close(u.stop)
	<-u.ended
}
