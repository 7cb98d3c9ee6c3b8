package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Patience is how long the owner of a line waits for it where Options do not say.
const Patience = 500 * time.Millisecond

// Options say where the lines go and what becomes of them on the way. The zero value writes plain lines to standard output.
type Options struct {
	// Path of the file, which is made with mode 0640 if need be. "-" or nothing is standard output. A path of a FIFO needs its reader.
	Path string
	// Syslog is the address of a syslog daemon, which gets the lines instead: unix@/dev/log or host:port. Path must be empty then.
	Syslog string

	Chain    bool // each line is tied to the one before; see Verify
	ChainKey Key  // makes the hashes of the chain HMACs, which nobody can make without it
	Masker   *Masker

	// Patience is how long the owner of a line waits for it at most, 0 for 500 ms.
	Patience time.Duration
	// Log is told when the sink fails or hangs, and when it works again. Nil for nobody.
	Log *slog.Logger
	// OnWrite is told of every write: how long it took from when its lines were taken, how many lines it was to write, and its error. It must not
	// wait. Nil for nobody.
	OnWrite func(d time.Duration, lines int, err error)
	// Now is the clock of what the log itself writes. Nil for time.Now.
	Now func() time.Time
}

// OpenWith opens the sink that the options name. The daemon of Syslog need not be up: lines are refused until it is.
func OpenWith(o Options) (*Log, error) {
	switch {
	case o.Syslog != "" && o.Path != "":
		return nil, errors.New("audit: lines go to a file or to syslog, not to both")
	case o.Patience < 0:
		return nil, fmt.Errorf("audit: patience of %s", o.Patience)
	case !o.Chain && !o.ChainKey.IsZero():
		return nil, errors.New("audit: a key for a chain, and no chain")
	}
	var s sink
	var err error
	switch {
	case o.Syslog != "":
		s, err = newSyslog(o.Syslog)
	case o.Path == "" || o.Path == "-":
		o.Path = ""
		s, err = openStdout()
	default:
		s, err = openPath(o.Path)
	}
	if err != nil {
		return nil, err
	}
	return newLog(s, o), nil
}
