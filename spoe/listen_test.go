package spoe

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestListenOnUnixSockets(t *testing.T) {
	dir := shortDir(t)
	for _, tt := range []struct {
		address, path string
		mode, want    fs.FileMode
	}{
		{"unix@" + dir + "/a", dir + "/a", 0, 0o660},
		{dir + "/b", dir + "/b", 0o600, 0o600},
	} {
		l, err := Listen(t.Context(), tt.address, ListenOptions{Mode: tt.mode})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(tt.path)
		if err != nil || info.Mode() != fs.ModeSocket|tt.want {
			t.Errorf("%s: got %v, error %v, want mode %v", tt.address, info.Mode(), err, tt.want)
		}
		if got := l.Addr().String(); got != tt.path {
			t.Errorf("got address %q, want %q", got, tt.path)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got error %v of a second close, want ErrClosed", err)
		}
		if _, err := os.Lstat(tt.path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", tt.path, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("got %v left, want nothing", left)
	}
}

func TestListenTakesOverAndTheOldOneLeavesThePath(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	old := listenAt(t, path)
	var dialling sync.WaitGroup
	stop := make(chan struct{})
	dialling.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			nc, err := net.Dial("unix", path)
			if errors.Is(err, syscall.ECONNREFUSED) { // the kernel had looked the path up, and the old one was closed before it took the socket
				nc, err = net.Dial("unix", path)
			}
			if err != nil && !errors.Is(err, syscall.EAGAIN) { // EAGAIN: nobody accepts here
				t.Errorf("the path was missing: %v", err)
				return
			}
			if err == nil {
				_ = nc.Close()
			}
		}
	})
	var last net.Listener
	for range 50 {
		last = listenAt(t, path)
		_ = old.Close()
		old = last
	}
	close(stop)
	dialling.Wait()
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	_ = last.Close()
}

func TestListenRefuses(t *testing.T) {
	dir := shortDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		file:                               "there is a file that is not a socket",
		dir:                                "there is a file that is not a socket",
		dir + "/none/s":                    "no such file or directory",
		"unix@s":                           "must begin with /",
		"/tmp/" + strings.Repeat("x", 103): "path is 1 bytes too long",
		"":                                 "neither /path, unix@/path nor host:port",
		"abns@vertex":                      "neither /path, unix@/path nor host:port",
		":0":                               "a loopback address, or configure TLS",
		"0.0.0.0:0":                        "a loopback address, or configure TLS",
		"[::]:0":                           "a loopback address, or configure TLS",
		"127.0.0.1:port":                   "unknown port",
	} {
		l, err := Listen(t.Context(), address, ListenOptions{})
		if err == nil || l != nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "spoe: listen on ") {
			t.Errorf("%q: got %v and error %v, want %q", address, l, err, want)
		}
	}
	if b, err := os.ReadFile(file); string(b) != "precious" {
		t.Errorf("got %q, %v: the file is lost", b, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("got %v left, want the file alone", left)
	}
}

func TestListenBeyondLoopbackWithTLS(t *testing.T) {
	l, err := Listen(t.Context(), ":0", ListenOptions{TLS: &tls.Config{MinVersion: tls.VersionTLS13}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		nc, _ := l.Accept()
		accepted <- nc
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	nc, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	got := <-accepted
	if _, ok := got.(*tls.Conn); !ok {
		t.Errorf("got a %T, want TLS", got)
	}
	_ = got.Close()
}

func TestServeOutlivesLackOfDescriptors(t *testing.T) {
	r := newRig(t, Config{})
	r.path = filepath.Join(shortDir(t), "s")
	l := brokenListener{listenAt(t, r.path), make(chan error, 2)}
	l.fail <- &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	l.fail <- &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.ECONNABORTED)}
	close(l.fail)
	r.serve(l)
	p := r.dial()
	p.hello("")
	if got := r.counted()[ReasonAccept]; got != 2 {
		t.Errorf("got %d failed accepts, want 2", got)
	}
	_ = r.srv.Close()
	if err := <-r.served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}

// What accept(2) says of one connection, or of the network, is no reason to serve nobody any more, nor to end a connection that is idle.
func TestServeOutlivesTheFailureOfOneConnection(t *testing.T) {
	failures := []syscall.Errno{
		syscall.ECONNABORTED, syscall.EPROTO, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EHOSTDOWN, syscall.ENONET,
		syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH, syscall.EPERM,
	}
	r := newRig(t, Config{Timeout: time.Minute})
	old := r.pipe()
	old.hello("")
	r.path = filepath.Join(shortDir(t), "s")
	l := brokenListener{listenAt(t, r.path), make(chan error, len(failures))}
	for _, failure := range failures {
		l.fail <- &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", failure)}
	}
	close(l.fail)
	r.serve(l)
	p := r.dial()
	p.hello("")
	old.works()
	if diff := cmp.Diff(map[Reason]int{ReasonAccept: len(failures)}, r.counted()); diff != "" {
		t.Error(diff)
	}
	_ = r.srv.Close()
	if err := <-r.served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}

// What waits for a drain to end is not lost for lack of descriptors either.
func TestDrainOutlivesLackOfDescriptors(t *testing.T) {
	r := newRig(t, Config{Timeout: time.Minute})
	l := slowAccept{listenOn(t, shortDir(t)+"/s").(drainer), make(chan struct{}, 1), make(chan struct{})}
	broken := brokenDrainer{l, make(chan error, 3)}
	for range 3 {
		broken.fail <- &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	close(broken.fail)
	r.serve(broken)
	p := dialTo(t, l.Addr())
	p.asks() // a drain does not wait for a test that is slow
	r.awaitError(ReasonAccept, 1)
	done := make(chan error, 1)
	go func() { done <- r.srv.Shutdown(t.Context()) }()
	<-r.srv.quit
	close(l.may)
	p.answered()
	p.closed()
	_ = p.nc.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-r.served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}

// brokenDrainer is a brokenListener that can be drained.
type brokenDrainer struct {
	drainer
	fail chan error
}

func (l brokenDrainer) Accept() (net.Conn, error) {
	return brokenListener{l.drainer, l.fail}.Accept()
}

// The process that leaves and the one that stays have the same socket when it is systemd's: what waits on it is the other one's.
func TestTheBacklogOfASharedSocketIsLeftToTheOther(t *testing.T) {
	systemds, err := net.Listen("unix", shortDir(t)+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = systemds.Close() }()
	file, err := systemds.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	leaving, err := net.FileListener(file) // as listenSystemd does
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	p := dialTo(t, systemds.Addr())
	stopListening(leaving)
	if _, err := leaving.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got error %v, want ErrClosed", err)
	}
	p2 := dialTo(t, systemds.Addr())
	r := newRig(t, Config{})
	r.serve(systemds)
	p.hello("")
	p2.hello("")
	_ = r.srv.Close()
	if err := <-r.served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}

// A unix socket that is to be left lets nobody in any more, from one moment to the next: who has connected is accepted, and all others know
// at once that they have not.
func TestNobodyIsLostWhenAUnixSocketIsLeft(t *testing.T) {
	l := listenAt(t, filepath.Join(shortDir(t), "s"))
	var connected, lost int
	var dialling sync.WaitGroup
	begun := make(chan struct{})
	dialling.Go(func() {
		for connected < 400 { // no more than there may be descriptors for, however long the socket is not left
			nc, err := net.Dial("unix", l.Addr().String())
			if errors.Is(err, syscall.EAGAIN) { // the backlog is full
				continue
			}
			if err != nil {
				return
			}
			defer func() { _ = nc.Close() }()
			if connected++; connected == 100 {
				close(begun)
			}
		}
	})
	<-begun
	stopListening(l)
	accepted := 0
	for {
		nc, err := l.Accept()
		if err != nil {
			break
		}
		_ = nc.Close()
		accepted++
	}
	_ = l.Close()
	dialling.Wait()
	if lost = connected - accepted; lost != 0 || accepted < 100 {
		t.Errorf("%d accepted, %d lost", accepted, lost)
	}
}

// TestAListenerWithTLSLeavesNobodyWaiting: TLS hides the socket from the server, and not that it can be drained.
func TestAListenerWithTLSLeavesNobodyWaiting(t *testing.T) {
	l, err := Listen(t.Context(), "127.0.0.1:0", ListenOptions{TLS: &tls.Config{MinVersion: tls.VersionTLS13}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p := dialTo(t, l.Addr())
	p.send([]byte{0x16})
	p.waits()
	stopListening(l)
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
	if _, ok := nc.(*tls.Conn); !ok {
		t.Errorf("got a %T, want TLS", nc)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got error %v, want ErrClosed", err)
	}
}

// A successor that takes the path over while the old process looks whose it is keeps its socket.
func TestTheSocketOfASuccessorIsPutBack(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "s")
	old := listenAt(t, path).(*unixListener)
	successor := listenAt(t, path)
	defer func() { _ = successor.Close() }()
	old.takeAway() // it has found its own there a moment ago
	dialTo(t, successor.Addr())
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("got %v, want the socket alone", left)
	}
	_ = old.Close()
	dialTo(t, successor.Addr())
}

func TestServeEndsWithItsListener(t *testing.T) {
	r := newRig(t, Config{})
	l := listenAt(t, filepath.Join(shortDir(t), "s"))
	r.serve(l)
	_ = l.Close()
	if err := <-r.served; !errors.Is(err, net.ErrClosed) || errors.Is(err, ErrServerClosed) {
		t.Errorf("got error %v, want ErrClosed", err)
	}
}
