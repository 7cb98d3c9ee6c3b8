package spoe

import (
	"strings"
	"testing"
)

// Who offers longer frames than are accepted is told what is, and the operator once.
func TestLongerFramesThanAreAccepted(t *testing.T) {
	r := serveUnix(t, Config{MaxFrameSize: 65532})
	for _, offered := range []uint32{65532, 65533, 131068} {
		p := r.dial()
		p.send(haproxyHello(offered, "pipelining,async"))
		if got := p.recv().items["max-frame-size"]; got != uint32(65532) {
			t.Errorf("offered %d: got %v of type %T, want 65532", offered, got, got)
		}
		_ = p.nc.Close()
	}
	if n := strings.Count(r.log.String(), "larger buffers"); n != 1 {
		t.Errorf("got %d warnings, want 1:\n%s", n, &r.log)
	}
}
