package audit

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// patient is the patience of logs in tests that are not about it: a sink is not taken for one that hangs on a machine that is busy.
const patient = time.Minute

// newPatient returns a log that writes to w and waits for it.
func newPatient(w io.WriteCloser) *Log { return newLog(w, Options{Patience: patient}) }

// openPatient opens a file as Open does, and waits for it.
func openPatient(path string) (*Log, error) { return OpenWith(Options{Path: path, Patience: patient}) }

// ownLoopback is an address of this machine with any port. Other processes listen on 127.0.0.1 and connect from there: a port here that is
// given back can be taken again.
func ownLoopback() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16&0x3f, pid>>8&0xff, pid&0xff)
}

func verified(t *testing.T, text string, o VerifyOptions) Report {
	t.Helper()
	r, err := Verify(strings.NewReader(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
