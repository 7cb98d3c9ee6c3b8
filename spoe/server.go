package spoe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const shortPause = 5 * time.Millisecond // after a failed accept

// Server answers HAProxy's NOTIFYs on any number of listeners.
type Server struct {
	cfg      Config
	inFlight atomic.Int64
	draining atomic.Bool
	quit     chan struct{} // closed when draining begins

	conning sync.WaitGroup // one goroutine for each connection

	scratches scratchPool

	parted      time.Time // when a draining connection that was in use was last let go; guarded by mu
	watching    sync.Once
	unguardable atomic.Bool   // ACKs are too long for guarded connections
	offersMore  sync.Once     // HAProxy has offered longer frames than are accepted
	giveUp      chan struct{} // closed then

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
	return &Server{
		cfg:       c,
		quit:      make(chan struct{}),
		giveUp:    make(chan struct{}),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*conn]struct{}),
	}, nil
}

// Serve accepts connections on l until the server is shut down, and then
// returns ErrServerClosed, or until l fails. It closes l. It may be called for
// many listeners at once. Where the process has run out of descriptors or
// memory, Serve waits and tries again.
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
		switch {
		case err == nil:
			pause = 0
			s.admit(nc)
		case s.draining.Load():
			return ErrServerClosed
		case !passes(err):
			return fmt.Errorf("spoe: accept on %s: %w", l.Addr(), err)
		default:
			pause = min(max(2*pause, shortPause), time.Second)
			if s.shed() {
				pause = shortPause
			}
			s.cfg.Hooks.error(ReasonAccept)
			if now := time.Now(); now.Sub(told) >= time.Second { // they come by the hundred
				s.cfg.Log.Warn("cannot accept", "reason", ReasonAccept, "cause", err.Error())
				told = now
			}
			s.wait(pause)
		}
	}
}

// passes reports whether an error of Accept may be gone a little later.
func passes(err error) bool {
	return slices.ContainsFunc([]error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
	}, func(passing error) bool { return errors.Is(err, passing) })
}

// wait returns after d, or when the server is shut down.
func (s *Server) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.quit:
	}
}

func (s *Server) listening(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) forget(l net.Listener) {
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
	if s.draining.Load() {
		return ReasonConnGone
	}
	if len(s.conns) >= s.cfg.MaxConns && !s.shedLocked() {
		return ReasonConnLimit
	}
	c := newConn(s, nc)
	s.conns[c] = struct{}{}
	s.cfg.Hooks.connection(1)
	s.conning.Go(func() {
		defer s.gone(c)
		c.serve()
	})
	return ""
}

// shed closes the connection that has been idle for longest, and reports
// whether there was one. HAProxy keeps connections that it has no use for, half
// a minute and longer, and would keep out the very ones that it needs, those of
// its health checks among them.
func (s *Server) shed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shedLocked()
}

// shedLocked is shed for a caller that holds mu.
func (s *Server) shedLocked() bool {
	var oldest *conn
	var since int64
	for c := range s.conns {
		if at := c.idleSince(); at > 0 && (oldest == nil || at < since) {
			oldest, since = c, at
		}
	}
	if oldest == nil {
		return false
	}
	s.cfg.Hooks.error(ReasonConnShed)
	delete(s.conns, oldest)
	_ = oldest.nc.Close()
	return true
}

func (s *Server) gone(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.cfg.Hooks.connection(-1)
}

// watch looks after the connections that are guarded, from the first one on and
// until the server is shut down.
func (s *Server) watch() {
	s.watching.Do(func() { s.conning.Go(s.look) })
}

func (s *Server) look() {
	t := time.NewTicker(lookPeriod)
	defer t.Stop()
	for giveUp := s.giveUp; ; {
		end := false
		select {
		case <-s.quit:
			return
		case <-giveUp:
			giveUp, end = nil, true
		case <-t.C:
		}
		s.lookOnce(end)
	}
}

func (s *Server) lookOnce(end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.out.look(end) && !end {
			s.cfg.Log.Warn("haproxy has stopped reading its connection", "reason", ReasonWedge)
		}
	}
}

// giveUpGuarding ends all guarded connections, and has none after them. They end
// together, so that what was in flight on one is not asked again on another.
func (s *Server) giveUpGuarding() {
	if !s.unguardable.Swap(true) {
		s.cfg.Log.Info("answers are too long for pipelining with this HAProxy: later connections do without")
		close(s.giveUp)
	}
}

// Shutdown drains the server: it closes the listeners, goes on to answer what
// comes, and closes each connection after an answer that leaves nothing under
// way, or when nothing has come on it for 200 ms. When ctx ends it closes all of
// them and returns its cause.
//
// Shutdown returns when the goroutine of each connection has ended, and thus not
// before a handler that blocks. Those that reply later get ErrUndelivered.
func (s *Server) Shutdown(ctx context.Context) error {
	s.drain()
	ended := make(chan struct{})
	go func() {
		s.conning.Wait()
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
// the goroutine of each connection has ended.
func (s *Server) Close() error {
	s.drain()
	s.closeAll()
	s.conning.Wait()
	return nil
}

// drain closes the listeners and makes each connection look whether it is idle.
func (s *Server) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Swap(true) {
		return
	}
	close(s.quit)
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		c.in.wake()
	}
}

// part reports whether a connection that is in use may end now: not together with another one. What was on its way on the one is asked
// again, and must not meet the end of the other.
func (s *Server) part(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.parted) < drainStep {
		return false
	}
	s.parted = now
	return true
}

// closeAll ends every connection.
func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.nc.Close()
	}
}
