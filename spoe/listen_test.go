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

func TestServeEndsWithItsListener(t *testing.T) {
	r := newRig(t, Config{})
	l := listenAt(t, filepath.Join(shortDir(t), "s"))
	r.serve(l)
	_ = l.Close()
	if err := <-r.served; !errors.Is(err, net.ErrClosed) || errors.Is(err, ErrServerClosed) {
		t.Errorf("got error %v, want ErrClosed", err)
	}
}
