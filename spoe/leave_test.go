package spoe

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A NOTIFY that has come is answered, however late in the drain it is read.
func TestShutdownReadsWhatHasCome(t *testing.T) {
	for name, early := range map[string]bool{"before the answer": true, "beside the answer": false} {
		t.Run(name, func(t *testing.T) {
			asked, may := make(chan struct{}, 2), make(chan struct{}, 2)
			r := serveUnix(t, Config{Handler: HandlerFunc(func(_ context.Context, _ *Notify, reply Reply) {
				asked <- struct{}{}
				if early {
					_ = reply(allow)
				}
				<-may // nothing is read before
				if !early {
					_ = reply(allow)
				}
			})})
			p := r.dial()
			p.hello("pipelining")
			p.send(wireNotify(1, 1))
			<-asked
			done := make(chan error, 1)
			go func() { done <- r.srv.Shutdown(t.Context()) }()
			<-r.srv.quit
			pass(drainQuiet)
			p.send(wireNotify(2, 1))
			may <- struct{}{}
			may <- struct{}{}
			p.ack(1, 1)
			p.ack(2, 1)
			p.closed()
			_ = p.nc.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// halfPipe is an end of a pipe whose writing can end before its reading does.
type halfPipe struct {
	net.Conn
	ended chan struct{}
}

func (p halfPipe) CloseWrite() error {
	close(p.ended)
	return nil
}

// What HAProxy has lost with one connection it sends on another, as soon as it sees the end. However late that is, the other is still there.
func TestShutdownEndsNoConnectionBeforeThePeerHasSeenTheEndOfAnother(t *testing.T) {
	for name, tt := range map[string]struct{ sees, next time.Duration }{
		"at once":      {0, drainStep},
		"a little on":  {drainStep / 2, drainStep / 2 * 3},
		"when it runs": {lingerTimeout / 2, lingerTimeout/2 + drainStep},
		"never":        {time.Hour, lingerTimeout + drainStep},
	} {
		for which, ends := range map[string]struct{ firstIdle, secondIdle bool }{
			", both used":                  {},
			", one idle and then one used": {firstIdle: true},
			", one used and then one idle": {secondIdle: true},
		} {
			t.Run(name+which, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, Config{})
					ours, theirs := net.Pipe()
					first, second := &peer{t, ours}, r.pipe()
					half := halfPipe{theirs, make(chan struct{})}
					r.srv.admit(half)
					first.hello("")
					second.hello("")
					pass(time.Hour)
					second.works()
					if ends.secondIdle {
						pass(drainQuiet - 1)
					}
					if !ends.firstIdle {
						first.works()
					}
					synctest.Wait() // both are at rest
					done := make(chan error, 1)
					go func() { done <- r.srv.Shutdown(t.Context()) }()
					synctest.Wait()
					if !ends.firstIdle {
						first.works()
					}
					<-half.ended
					start := time.Now()
					time.AfterFunc(tt.sees, func() { _ = ours.Close() })
					for !ends.secondIdle && time.Since(start) < tt.next-time.Millisecond {
						second.works() // which ends it, if it may
						pass(time.Millisecond)
					}
					pass(tt.next - 1 - time.Since(start))
					second.works()
					pass(1)
					second.works()
					second.closed()
					if err := <-done; err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}
