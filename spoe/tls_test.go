package spoe

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
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

// A peer of TLS 1.3 may ask for new keys, which is answered inside of the read.
// One that does not read the answer holds nobody up.
func TestKeyUpdateThatIsNotRead(t *testing.T) {
	certified := httptest.NewTLSServer(http.NotFoundHandler())
	defer certified.Close()
	for name, greet := range map[string]bool{"before the HELLO": false, "after the HELLO": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				ours, theirs := net.Pipe()
				r.srv.admit(tls.Server(theirs, &tls.Config{Certificates: certified.TLS.Certificates, SessionTicketsDisabled: true}))
				var keys bytes.Buffer
				secured := tls.Client(ours, &tls.Config{InsecureSkipVerify: true, KeyLogWriter: &keys})
				if err := secured.Handshake(); err != nil {
					t.Fatal(err)
				}
				sent := byte(0)
				if greet {
					(&peer{t, secured}).hello("")
					sent++
				}
				if _, err := ours.Write(keyUpdate(t, keys.Bytes(), sent)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if !greet {
					pass(3 * helloTimeout) // and those in which TLS would say goodbye
					synctest.Wait()
					if r.conns != 0 {
						t.Error("the connection outlives its HELLO timeout")
					}
				}
				start := time.Now()
				_ = r.srv.Close()
				if took := time.Since(start); took != 0 {
					t.Errorf("the server's end waited for %v", took)
				}
			})
		})
	}
}

// keyUpdate returns the record of a client that asks for new keys after a number
// of others (RFC 8446 sections 4.6.3 and 5.2), given the log of its keys.
func keyUpdate(t *testing.T, log []byte, sent byte) []byte {
	t.Helper()
	_, line, _ := bytes.Cut(log, []byte("CLIENT_TRAFFIC_SECRET_0 "))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	_, secret, _ := bytes.Cut(line, []byte(" "))
	secret, err := hex.AppendDecode(nil, secret)
	if err != nil || len(secret) != sha256.Size {
		t.Fatalf("got a secret of %d bytes and error %v, want the one of TLS_AES_128_GCM_SHA256", len(secret), err)
	}
	expand := func(label string, n int) []byte {
		label = "tls13 " + label
		b, err := hkdf.Expand(sha256.New, secret, string([]byte{0, byte(n), byte(len(label))})+label+"\x00", n)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	block, err := aes.NewCipher(expand("key", 16))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := expand("iv", 12)
	nonce[11] ^= sent
	message := []byte{24, 0, 0, 1, 1, 22} // key_update, update_requested; a handshake record
	header := []byte{23, 3, 3, 0, byte(len(message) + aead.Overhead())}
	return aead.Seal(header, nonce, message, header)
}
