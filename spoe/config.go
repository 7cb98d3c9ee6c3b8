package spoe

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// The defaults of [Config], and its limits.
const (
	DefaultTimeout            = 800 * time.Millisecond
	DefaultMaxConns           = 4096
	DefaultMaxInFlight        = 8192
	DefaultMaxInFlightPerConn = 128
	DefaultMaxFrameSize       = 65532 // HAProxy's offer with tune.bufsize 65536

	minFrameSize  = 256      // SPOE.txt section 3.2: the least a peer must support
	ceilFrameSize = 16 << 20 // a connection may keep a buffer of this size
)

// Pipelining says whether HAProxy may have several NOTIFYs in flight on one
// connection.
type Pipelining string

// The ways to decide it at a HELLO. It is announced only where HAProxy offers
// it. HAProxy from 3.1 on, which can be told by its not offering async, stops
// reading a connection for good once a buffer's worth of answers is waiting on
// it. PipeliningAuto announces it to such a HAProxy where the connection can be
// guarded from that: on a unix socket, with a tune.bufsize of 65536.
const (
	PipeliningAuto Pipelining = "auto"
	PipeliningOn   Pipelining = "on"
	PipeliningOff  Pipelining = "off"
)

// Config is what a [Server] needs. The zero value of a limit is its default.
type Config struct {
	// Handler answers. Required.
	Handler Handler

	// Overload returns the answer to a NOTIFY that a limit refuses, whose
	// handler panicked, or whose actions cannot be encoded. Required. It is
	// called from any goroutine, must not block, and must deny. If its actions
	// cannot be encoded either, HAProxy gets no answer.
	Overload func(*Notify) []Action

	// EndBatch is called on the reading goroutine after the last complete
	// NOTIFY that one read brought, and before the answers that are ready then
	// are written. Answers given in it leave in the same write. A panic of it ends
	// the connection, without those answers. Optional.
	EndBatch func()

	// Withheld is called for each marked NOTIFY whose Reply has returned nil and
	// whose ACK was dropped all the same, or was not wholly taken by the kernel
	// when the connection ended. What HAProxy makes of one that was, nobody knows.
	// It must not block. Optional.
	Withheld func(text string, number int64)

	// Log gets what an operator should know. Required.
	Log *slog.Logger

	// Hooks count. Optional.
	Hooks Hooks

	// Timeout is how long an answer to a NOTIFY is of use. Afterwards nothing
	// is written for it. It must be below HAProxy's `timeout processing`. It is
	// also how long one write may take before the connection is closed.
	Timeout time.Duration

	// MaxConns bounds the connections. One more takes the place of one that has
	// not said HELLO, the oldest first, or of the one that has been idle for
	// longest if those without a HELLO are no more than a sixteenth. A connection
	// in the middle of a frame is not idle. Where all are at work, the new one is
	// closed at once.
	MaxConns int

	// MaxInFlight bounds the NOTIFYs without a reply on all connections,
	// MaxInFlightPerConn those on one. One more gets the answer of Overload at
	// once. A NOTIFY counts until its reply is called, even after its deadline,
	// because its handler still works.
	MaxInFlight, MaxInFlightPerConn int

	// MaxFrameSize is the longest frame that is accepted, in bytes without the
	// length prefix: from 256 to 16 MiB. HAProxy's offer is echoed up to it.
	MaxFrameSize uint32

	// Pipelining defaults to PipeliningAuto.
	Pipelining Pipelining

	// PeerUIDs, where not empty, are the only users who may connect, by the
	// credentials of the unix socket. All other connections are then closed at
	// once, TCP ones included, because they have no user.
	PeerUIDs []uint32
}

// Hooks are called, where not nil, for counting. They must not block and must
// be safe for concurrent use. A panic of one, or of [Config.Withheld], is logged
// and counted as [ReasonServerPanic], and changes nothing else.
type Hooks struct {
	Connection func(delta int)       // +1 and -1
	Frame      func(kind string)     // each frame received and each sent, by its name in SPOE.txt, or "UNKNOWN"
	Error      func(kind string)     // one of Reasons
	Notify     func(d time.Duration) // from the read that brought a NOTIFY to its reply
	InFlight   func(delta int)       // NOTIFYs without a reply: +1 and -1
}

func (h *Hooks) connection(delta int) {
	if h.Connection != nil {
		h.Connection(delta)
	}
}

func (h *Hooks) frame(kind string) {
	if h.Frame != nil {
		h.Frame(kind)
	}
}

func (h *Hooks) error(r Reason) {
	if h.Error != nil {
		h.Error(string(r))
	}
}

func (h *Hooks) notify(arrived time.Time) {
	if h.Notify != nil {
		h.Notify(time.Since(arrived))
	}
}

func (h *Hooks) inFlight(delta int) {
	if h.InFlight != nil {
		h.InFlight(delta)
	}
}

// complete returns c with its defaults, or an error that lists every fault.
func (c Config) complete() (Config, error) {
	orDefault(&c.Timeout, DefaultTimeout)
	orDefault(&c.MaxConns, DefaultMaxConns)
	orDefault(&c.MaxInFlight, DefaultMaxInFlight)
	orDefault(&c.MaxInFlightPerConn, DefaultMaxInFlightPerConn)
	orDefault(&c.MaxFrameSize, DefaultMaxFrameSize)
	orDefault(&c.Pipelining, PipeliningAuto)
	if faults := c.faults(); len(faults) > 0 {
		return Config{}, fmt.Errorf("spoe: %w", errors.Join(faults...))
	}
	return c, nil
}

func (c Config) faults() (faults []error) {
	if c.Handler == nil {
		faults = append(faults, errors.New("no handler"))
	}
	if c.Overload == nil {
		faults = append(faults, errors.New("no answer to overload"))
	}
	if c.Log == nil {
		faults = append(faults, errors.New("no log"))
	}
	if c.Timeout < 0 {
		faults = append(faults, fmt.Errorf("timeout %v is negative", c.Timeout))
	}
	if least := min(c.MaxConns, c.MaxInFlight, c.MaxInFlightPerConn); least < 0 {
		faults = append(faults, fmt.Errorf("limit %d is negative", least))
	}
	if c.MaxFrameSize < minFrameSize || c.MaxFrameSize > ceilFrameSize {
		faults = append(faults, fmt.Errorf("max frame size %d is not within %d and %d", c.MaxFrameSize, minFrameSize, ceilFrameSize))
	}
	switch c.Pipelining {
	case PipeliningAuto, PipeliningOn, PipeliningOff:
	default:
		faults = append(faults, fmt.Errorf("pipelining %q is not auto, on or off", c.Pipelining))
	}
	return faults
}

// orDefault sets *v to d where it is zero.
func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
