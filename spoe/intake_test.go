package spoe

import (
	"errors"
	"os"
	"testing"
	"time"
)

// Bytes that have come in time are taken, however late; then the time is over.
func TestIntakeReadsWhatCameBeforeTheDeadline(t *testing.T) {
	for name, end := range map[string]struct {
		late func(*intake)
		want error
	}{
		"deadline": {func(*intake) {}, os.ErrDeadlineExceeded},
		"wake":     {(*intake).wake, errWoken},
	} {
		t.Run(name, func(t *testing.T) {
			l := listenAt(t, shortDir(t)+"/s")
			defer func() { _ = l.Close() }()
			p := dialTo(t, l.Addr())
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			in := newIntake(nc, 16380)
			p.send(wireNotify(1, 1), wireNotify(2, 1)[:5])
			end.late(in)
			if err := in.fill(time.Now().Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
			if raw, err := in.next(); raw == nil || err != nil || !in.partial() {
				t.Errorf("got frame %v and error %v, want one and the beginning of another", raw, err)
			}
			if _, err := in.next(); err != nil {
				t.Error(err)
			}
			if err := in.fill(time.Now().Add(-time.Hour)); !errors.Is(err, end.want) {
				t.Errorf("got error %v, want %v", err, end.want)
			}
		})
	}
}
