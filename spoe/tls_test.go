package spoe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// The drain of a connection wakes its read, which TLS must survive.
func TestConversationOverTLS(t *testing.T) {
	certified := httptest.NewTLSServer(http.NotFoundHandler())
	defer certified.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	l, err := Listen(t.Context(), ":0", ListenOptions{TLS: &tls.Config{Certificates: certified.TLS.Certificates}})
	if err != nil {
		t.Fatal(err)
	}
	h := newHoarder()
	r := newRig(t, Config{Handler: h, Timeout: time.Minute})
	r.serve(l)
	nc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	p := &peer{t, nc}
	p.hello("pipelining,async")
	p.send(wireNotify(1, 1))
	first := <-h.replies
	done := make(chan error, 1)
	go func() { done <- r.srv.Shutdown(t.Context()) }()
	<-r.srv.quit
	p.send(wireNotify(2, 1)) // after the read was woken
	second := <-h.replies
	_ = first(allow)
	p.ack(1, 1)
	_ = second(allow)
	p.ack(2, 1)
	p.closed()
	_ = nc.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-r.served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}
