package spoe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	shortPause  = 5 * time.Millisecond   // after a failed accept
	sparedShare = 16                     // of so many connections, one without a HELLO does not have to make room first
	helloQuiet  = 200 * time.Millisecond // for so long one without a HELLO does not have to make room for files
)

// Server answers HAProxy's NOTIFYs on any number of listeners.
type Server struct {
	cfg      Config
	inFlight atomic.Int64
	draining atomic.Bool
	quit     chan struct{} // closed when draining begins
	over     chan struct{} // closed when draining has no more time

	running sync.WaitGroup // each connection, and each Serve

	scratches scratchPool

	leaves     leaves
	watching   sync.Once
	offersMore sync.Once // HAProxy has offered longer frames than are accepted

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
}

// New returns a Server. The error names every missing part and bad limit.
func New(c Config) (*Server, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	c.contain()
	return &Server{
		cfg:       c,
		quit:      make(chan struct{}),
		over:      make(chan struct{}),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*conn]struct{}),
	}, nil
}

// Serve accepts connections on l until the server is shut down, and then
// returns ErrServerClosed, or until l fails. It closes l. It may be called for
// many listeners at once. Where the process has run out of descriptors or
// memory, Serve waits and tries again; what fails for one connection does not
// concern the others.
func (s *Server) Serve(l net.Listener) error {
	defer func() { _ = l.Close() }()
	if !s.listening(l) {
		return ErrServerClosed
	}
	defer s.forget(l)
	var pause time.Duration
	var told time.Time // when the last failure was logged
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.admit(nc)
			continue
		}
		switch {
		case isLack(err):
			pause = min(max(2*pause, shortPause), time.Second)
			if s.shed() {
				pause = shortPause
			}
		case passes(err):
			pause = shortPause
		case s.draining.Load():
			return ErrServerClosed
		default:
			return fmt.Errorf("spoe: accept on %s: %w", l.Addr(), err)
		}
		s.cfg.Hooks.error(ReasonAccept)
		if now := time.Now(); now.Sub(told) >= time.Second { // they come by the hundred
			s.cfg.Log.Warn("cannot accept", "reason", ReasonAccept, "cause", err.Error())
			told = now
		}
		s.wait(pause)
	}
}

// isLack reports whether an error of Accept says that the process or the system
// has too much of something open.
func isLack(err error) bool {
	return isOneOf(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM)
}

// passes reports whether an error of Accept concerns one connection, or the
// network, which may be back a little later (accept(2)).
func passes(err error) bool {
	return isOneOf(err, syscall.ECONNABORTED, syscall.EPROTO, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EHOSTDOWN,
		syscall.ENONET, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH, syscall.EPERM)
}

func isOneOf(err error, codes ...syscall.Errno) bool {
	var code syscall.Errno
	return errors.As(err, &code) && slices.Contains(codes, code)
}

// wait returns after d, or when the server is shut down. A server that drains
// already does not wait for long.
func (s *Server) wait(d time.Duration) {
	quit := s.quit
	if s.draining.Load() {
		d, quit = shortPause, s.over
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-quit:
	}
}

// listening registers l, whose Serve is waited for like a connection: what it
// accepts last is served too.
func (s *Server) listening(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *Server) forget(l net.Listener) {
	defer s.running.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// admit serves nc on its own goroutine, or closes it.
func (s *Server) admit(nc net.Conn) {
	r, err := s.checkPeer(nc)
	if r == "" {
		r = s.start(nc)
	}
	if r != "" {
		s.cfg.Hooks.error(r)
		s.cfg.Log.Debug("connection refused", "reason", r, "cause", err)
		_ = nc.Close()
	}
}

// checkPeer returns why the peer may not connect, or nothing.
func (s *Server) checkPeer(nc net.Conn) (Reason, error) {
	if len(s.cfg.PeerUIDs) == 0 {
		return "", nil
	}
	uid, err := peerUID(nc)
	if err != nil {
		return ReasonPeer, err
	}
	if !slices.Contains(s.cfg.PeerUIDs, uid) {
		return ReasonPeer, fmt.Errorf("user id %d", uid)
	}
	return "", nil
}

// start serves nc, or returns why it does not.
func (s *Server) start(nc net.Conn) Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOver() {
		return ReasonConnGone
	}
	if len(s.conns) >= s.cfg.MaxConns && !s.shedLocked(0) {
		return ReasonConnLimit
	}
	c := newConn(s, nc)
	if s.draining.Load() {
		c.hurry()
	}
	s.conns[c] = struct{}{}
	s.cfg.Hooks.connection(1)
	s.running.Go(func() {
		defer s.gone(c)
		c.serve()
	})
	return ""
}

// shed closes a connection for its descriptor, and reports whether there was
// one. A connection that has just been accepted may have taken the last, and then
// accept(2) fails though nobody waits: it has a moment for its HELLO.
func (s *Server) shed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shedLocked(helloQuiet)
}

// shedLocked closes a connection that matters less than one more, and reports
// whether there was one. Those that are younger than age and have no HELLO are
// spared. The caller holds mu.
//
// First go those without a HELLO, the oldest first: anybody can have many of
// them. Only the few that have come last are spared, because HAProxy opens many
// at once and may not have got round to their HELLOs. Then goes the one that has
// been idle for longest: HAProxy keeps connections that it has no use for, half a
// minute and longer, and would keep out the very ones that it needs, those of its
// health checks among them. If none is, the spared ones are left.
func (s *Server) shedLocked(age time.Duration) bool {
	var silent, idle *conn
	var since int64
	strangers := 0
	now := time.Now()
	for c := range s.conns {
		at, greeted := c.idleSince(), c.greeted.Load()
		switch {
		case !greeted && now.Sub(c.born) >= age:
			strangers++
			if silent == nil || c.born.Before(silent.born) {
				silent = c
			}
		case greeted && at > 0 && (idle == nil || at < since):
			idle, since = c, at
		}
	}
	victim := idle
	if silent != nil && (idle == nil || strangers > len(s.conns)/sparedShare) {
		victim = silent
	}
	if victim == nil {
		return false
	}
	s.cfg.Hooks.error(ReasonConnShed)
	delete(s.conns, victim)
	cut(victim.nc)
	return true
}

func (s *Server) gone(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.leaves.gone(c.leave)
	s.cfg.Hooks.connection(-1)
}

// Shutdown drains the server: it leaves the listeners, with what waits on those
// of [Listen] accepted before, but for a socket of systemd. It goes on to answer
// what comes, and closes each connection after an answer that leaves nothing
// under way, one when HAProxy has closed the one before, or when nothing has come
// on it for 200 ms; those without a HELLO have as long to say it. When ctx ends
// it closes all of them and returns its cause.
//
// Shutdown returns when the goroutine of each connection has ended, and thus not
// before a handler that blocks, and when each Serve has. Those that reply later
// get ErrUndelivered.
func (s *Server) Shutdown(ctx context.Context) error {
	s.drain()
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		s.closeAll()
		<-ended
		return context.Cause(ctx)
	}
}

// Close ends the server without waiting for what is under way, and returns when
// the goroutine of each connection and each Serve has ended.
func (s *Server) Close() error {
	s.drain()
	s.closeAll()
	s.running.Wait()
	return nil
}

// drain leaves the listeners and makes each connection look whether it is idle.
func (s *Server) drain() {
	for _, l := range s.startDraining() {
		stopListening(l)
	}
}

// startDraining returns the listeners that are to be left.
func (s *Server) startDraining() []net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Swap(true) {
		return nil
	}
	close(s.quit)
	for c := range s.conns {
		c.hurry()
	}
	return slices.Collect(maps.Keys(s.listeners))
}

// closeAll ends every connection, and lets none come any more.
func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isOver() {
		close(s.over)
	}
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		cut(c.nc)
	}
}

// isOver reports whether closeAll has been called. The caller holds mu.
func (s *Server) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}
