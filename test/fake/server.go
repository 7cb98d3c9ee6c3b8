package fake

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	loopback    = "127.0.0.1:0"
	maxRefusals = 1024
	maxTarget   = 512
)

// server is what all parties have in common: a listener, requests that can be spoiled, a memory of refusals, and an end that waits.
// Its exported methods are promoted to each party. All are safe for concurrent use.
type server struct {
	ln     net.Listener
	http   *http.Server
	addr   string
	cancel context.CancelFunc
	served chan struct{}
	h2c    bool // HTTP/2 without TLS is spoken too; set before serve

	mu       sync.Mutex
	closed   bool
	handlers sync.WaitGroup
	fault    Fault
	refusals []Refusal
}

// listen takes addr, or a free port of 127.0.0.1 when addr is empty. Nothing is answered before serve.
func (s *server) listen(addr string) error {
	if addr == "" {
		addr = loopback
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %q: %w", addr, err)
	}
	s.ln, s.addr = ln, ln.Addr().String()
	return nil
}

// serve answers with h until Close, over TLS when conf is not nil.
func (s *server) serve(conf *tls.Config, h http.HandlerFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.served = cancel, make(chan struct{})
	s.http = &http.Server{
		Handler:           s.counted(h),
		TLSConfig:         conf,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    128 << 10,
		// Handshakes that fail and clients that leave are the tests' business, not news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	if s.h2c {
		s.http.Protocols = new(http.Protocols)
		s.http.Protocols.SetHTTP1(true)
		s.http.Protocols.SetHTTP2(true)
		s.http.Protocols.SetUnencryptedHTTP2(true)
	}
	go func() {
		defer close(s.served)
		if conf != nil {
			_ = s.http.ServeTLS(s.ln, "", "")
			return
		}
		_ = s.http.Serve(s.ln)
	}()
}

// counted makes Close wait for h, and turns requests away that come after it.
func (s *server) counted(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		s.handlers.Add(1)
		s.mu.Unlock()
		defer s.handlers.Done()
		h(w, r)
	})
}

// Addr returns the address the party listens on, as HOST:PORT.
func (s *server) Addr() string { return s.addr }

// Close stops listening, cuts every connection and waits until every request has ended. Later calls do nothing.
func (s *server) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.cancel()
	err := s.http.Close()
	<-s.served
	s.handlers.Wait()
	if err != nil {
		return fmt.Errorf("close %q: %w", s.addr, err)
	}
	return nil
}

// Fail puts f in force for the requests that arrive from now on, in place of any fault before it.
func (s *server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Heal ends the fault in force. Requests that it already holds back stay held.
func (s *server) Heal() { s.Fail(Fault{}) }

// takeFault returns the fault in force for a request, and counts it; the zero Fault when there is none.
func (s *server) takeFault(target string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fault
	if !f.spoils(target) {
		return Fault{}
	}
	if f.Times == 1 {
		s.fault = Fault{}
	} else if f.Times > 1 {
		s.fault.Times--
	}
	return f
}

// spoil applies the fault in force, if any, and reports whether the request has been dealt with. The error body is written by say.
func (s *server) spoil(w http.ResponseWriter, r *http.Request, say func(http.ResponseWriter, *refusal)) bool {
	return s.apply(s.takeFault(r.RequestURI), w, r, say)
}

func (s *server) apply(f Fault, w http.ResponseWriter, r *http.Request, say func(http.ResponseWriter, *refusal)) bool {
	if held := f.hold(r); !held || f.Down || f.Reset {
		s.note(r, Injected, 0)
		if f.Reset {
			reset(r)
		}
		// This is the way net/http offers to drop a connection without an answer.
		panic(http.ErrAbortHandler)
	}
	if f.Status == 0 {
		return false
	}
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	no := refuse(Injected, f.status(), "a fault is in force")
	s.note(r, no.reason, no.status)
	if f.Page != "" {
		f.page(w, no)
	} else {
		say(w, no)
	}
	return true
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// reset breaks the TCP connection of a request so that the client's kernel sees RST and not the end of the stream.
func reset(r *http.Request) {
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if plain, ok := conn.(*net.TCPConn); ok {
		_ = plain.SetLinger(0)
		_ = plain.Close()
	}
}

// note remembers a refusal. When maxRefusals are kept, the oldest goes.
func (s *server) note(r *http.Request, reason Reason, status int) {
	target := r.RequestURI
	if len(target) > maxTarget {
		target = target[:maxTarget]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refusals) == maxRefusals {
		s.refusals = slices.Delete(s.refusals, 0, 1)
	}
	s.refusals = append(s.refusals, Refusal{time.Now(), reason, status, r.Method, target})
}

// Refusals returns the requests this party refused, oldest first: the last 1,024 of them.
func (s *server) Refusals() []Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refusals)
}
