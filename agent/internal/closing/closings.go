package closing

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// Defaults of a [Config].
const (
	DefaultWait       = 15 * time.Minute
	DefaultMaxPending = 65536
	DefaultLinger     = time.Second
)

// The results of a line.
const (
	Joined   = "joined"   // a closing of a decision that this process remembers
	Unjoined = "unjoined" // a closing of one that it does not
	Refused  = "refused"  // the call was not let through: there is nothing to close
	Early    = "early"    // HAProxy gave up waiting for the agent: kept, for a decision that is still to come
	Repeated = "repeated" // its call is closed already
	Handed   = "handed"   // handed on to the process that has taken over
	Foreign  = "foreign"  // without an id: of another frontend or of a connection that came to no request, or no line of a request at all
	Garbage  = "garbage"  // no line of HAProxy's
)

// Results returns the closed set of what can become of a line.
func Results() []string {
	return []string{Joined, Unjoined, Refused, Early, Repeated, Handed, Foreign, Garbage}
}

// Log is where closings are written: an [audit.Log].
type Log interface {
	Append(line audit.Line, done func(error))
	Flush()
}

// Config is what closings need. Each function may be nil. Flags and OnClosing are called on one goroutine of ours, OnLost and OnLine on many.
type Config struct {
	// Listen is where HAProxy sends its log:
	//
	//	unix@/path or /path     datagrams, as "log unix@/path" sends them
	//	stream+unix@/path       a stream, for the "server" of a ring section; frames are octet-counted or end with a newline
	//	host:port, tcp@host:port  likewise over TCP
	//	udp@host:port           datagrams
	//
	// Sockets have mode 0660. Only loopback addresses are taken: a line holds no secret, but who called and from where.
	Listen string

	Wait       time.Duration // how long a decision waits for its line; it must be longer than any call takes. Default DefaultWait
	MaxPending int           // decisions that wait at once, default DefaultMaxPending. For one more, the oldest is written as missing
	Linger     time.Duration // how long Serve waits at its end for the lines of calls that are under way, default DefaultLinger

	Audit Log
	Log   *slog.Logger

	Flags     func(*audit.Closing) []string // signs of misuse; called before the closing is written
	OnClosing func(*audit.Closing)          // a closing is with the kernel
	OnLost    func(n int)                   // closings could not be written, and nobody will
	OnLine    func(result string)           // a message came; one of Results
}

// Closings joins decisions with HAProxy's lines. Its methods are safe for concurrent use.
type Closings struct {
	cfg    Config
	table  *table
	out    *writer
	socket *socket // replaced by watch alone while Serve runs
	relay  relay
}

// New opens the socket. Lines wait there until [Closings.Serve] reads them.
func New(ctx context.Context, cfg Config) (*Closings, error) {
	if cfg.Audit == nil || cfg.Log == nil {
		return nil, errors.New("closing: an audit log and a logger are needed")
	}
	if cfg.Wait < 0 || cfg.MaxPending < 0 || cfg.Linger < 0 {
		return nil, errors.New("closing: a bound is negative")
	}
	orDefault(&cfg.Wait, DefaultWait)
	orDefault(&cfg.MaxPending, DefaultMaxPending)
	orDefault(&cfg.Linger, DefaultLinger)
	if cfg.OnLine == nil {
		cfg.OnLine = func(string) {}
	}
	c := &Closings{cfg: cfg, out: newWriter(cfg)}
	c.table = newTable(cfg.Wait, cfg.MaxPending)
	var err error
	if c.socket, err = open(ctx, cfg.Listen); err != nil {
		return nil, err
	}
	c.warnOfQueue()
	return c, nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Decided takes note of a decision. An allow waits for its line from then on; a denial is left alone. r is not kept. It does not wait for
// anything but other callers.
func (c *Closings) Decided(r *audit.Record) {
	if r.Decision != "allow" || r.ID == "" {
		return
	}
	if closing := c.table.decided(r); closing != nil {
		c.emit(closing)
	}
}

// Answered notes that HAProxy has had the headers of Google's answer. Where its line does not come afterwards, the closing that is missing
// says at least that.
func (c *Closings) Answered(id string, status int, at time.Time) { c.table.answered(id, status, at) }

// Undelivered takes back a decision whose answer HAProxy has not had: no line is waited for. The record of that is the end of it, unless
// HAProxy's line has come before and was joined: then there is a closing as well, with the status that HAProxy gave by itself.
func (c *Closings) Undelivered(id string, attempt int64) { c.table.undelivered(id, attempt) }

// Pending returns how many decisions wait for their lines.
func (c *Closings) Pending() int { return c.table.pending() }

// message takes one message of HAProxy's. It is the receivers' hot path.
func (c *Closings) message(from *socket, m []byte) {
	l, err := parse(m)
	if err != nil && !errors.Is(err, errNotice) {
		c.garbage(err)
		return
	}
	if len(l.text[fieldID]) == 0 {
		c.cfg.OnLine(Foreign)
		return
	}
	closing, result := c.table.closed(&l)
	if result == Unjoined && from.streams != nil && from.stands() == replaced && c.relay.send(from.path, m) {
		closing, result = nil, Handed
	}
	c.cfg.OnLine(result)
	if closing != nil {
		c.emit(closing)
	}
}

func (c *Closings) garbage(err error) {
	c.cfg.OnLine(Garbage)
	c.cfg.Log.Debug("message is no log line", "error", err)
}

// emit hands a closing to the writer. What is missing because another process gets the lines is not missing.
func (c *Closings) emit(closing *audit.Closing) {
	if closing.Missing && c.table.replaced.Load() {
		return
	}
	c.out.put(closing)
}

// Serve reads HAProxy's lines and writes closings until ctx is done; that should be after the last decision was made. Then it waits up to
// Linger for the lines of calls that are under way, reads what has reached the socket, and returns when everything is written, or the
// writing has failed for good. It is called once, and closes the socket.
func (c *Closings) Serve(ctx context.Context) {
	var writing, watching sync.WaitGroup
	watched, stop := context.WithCancel(context.WithoutCancel(ctx))
	writing.Go(c.out.run)
	watching.Go(func() { c.watch(watched) })

	<-ctx.Done()
	c.linger()
	stop()
	watching.Wait() // and so for the receivers
	c.relay.close()
	c.out.close()
	writing.Wait()
	if n := c.Pending(); n > 0 {
		c.cfg.Log.Info("closings are left to the process that gets HAProxy's lines now", "pending", n)
	}
}

// linger waits until nothing is pending, but not for long.
func (c *Closings) linger() {
	end := time.After(c.cfg.Linger)
	look := time.NewTicker(min(c.cfg.Linger, 10*time.Millisecond))
	defer look.Stop()
	for c.Pending() > 0 && !c.table.replaced.Load() {
		select {
		case <-end:
			return
		case <-look.C:
		}
	}
}

// Close closes the socket where Serve was never called.
func (c *Closings) Close() error { return c.socket.close() }
