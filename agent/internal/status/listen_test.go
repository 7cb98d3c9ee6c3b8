package status

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert, a.key = a.issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, a.file, filepath.Join(t.TempDir(), "ca.key"))
	return a
}

// issue writes a certificate and its key; the first certificate signs itself.
func (a *authority) issue(t *testing.T, template *x509.Certificate, certFile, keyFile string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = serial, pkix.Name{CommonName: "test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func (a *authority) leaf(t *testing.T, usage x509.ExtKeyUsage) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a.issue(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, certFile, keyFile)
	return certFile, keyFile
}

func TestListenRefusesToBeReachedByOthers(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.leaf(t, x509.ExtKeyUsageServerAuth)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		o    Options
		want string // part of the error; empty for none
	}{
		{"loopback", Options{Listen: "127.0.0.1:0"}, ""},
		{"all of loopback", Options{Listen: "127.8.9.10:0"}, ""},
		{"localhost", Options{Listen: "localhost:0"}, ""},
		{"loopback with TLS alone", Options{Listen: "127.0.0.1:0", TLSCert: cert, TLSKey: key}, ""},
		{"every address with TLS and clients' certificates", Options{Listen: "0.0.0.0:0", TLSCert: cert, TLSKey: key, ClientCA: ca.file}, ""},

		{"every IPv4 address", Options{Listen: "0.0.0.0:0"}, "others than this host can reach it"},
		{"every address", Options{Listen: ":0"}, "others than this host can reach it"},
		{"every IPv6 address", Options{Listen: "[::]:0"}, "others than this host can reach it"},
		{"a public address", Options{Listen: "192.0.2.7:9902"}, "others than this host can reach it"},
		{"a mapped public address", Options{Listen: "[::ffff:192.0.2.7]:9902"}, "others than this host can reach it"},
		{"every address with TLS alone", Options{Listen: ":0", TLSCert: cert, TLSKey: key}, "others than this host can reach it"},
		{"clients' authorities without TLS", Options{Listen: "127.0.0.1:0", ClientCA: ca.file}, "needs a certificate and its key"},
		{"a certificate without its key", Options{Listen: "127.0.0.1:0", TLSCert: cert}, "needs a certificate and its key"},
		{"a key that is not there", Options{Listen: "127.0.0.1:0", TLSCert: cert, TLSKey: "/nowhere/key.pem"}, "/nowhere/key.pem"},
		{"another one's key", Options{Listen: "127.0.0.1:0", TLSCert: ca.file, TLSKey: key}, "private key does not match"},
		{"authorities that are none", Options{Listen: ":0", TLSCert: cert, TLSKey: key, ClientCA: file}, "no certificate in"},
		{"nothing", Options{}, "neither /path, unix@/path nor host:port"},
		{"no port", Options{Listen: "127.0.0.1"}, "neither /path, unix@/path nor host:port"},
		{"a path that is relative", Options{Listen: "unix@run/admin.sock"}, "must begin with /"},
		{"a socket with TLS", Options{Listen: "unix@/tmp/a", TLSCert: cert, TLSKey: key}, "takes no TLS"},
		{"the path of a file", Options{Listen: file}, "which is no socket"},
		{"a folder that is not there", Options{Listen: "unix@/nowhere/admin.sock"}, "/nowhere"},
		{"a path that is too long", Options{Listen: filepath.Join(t.TempDir(), strings.Repeat("x", 120))}, "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Listen(t.Context(), tt.o)
			if l != nil {
				defer l.Close()
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) || (l == nil) != (err != nil) {
				t.Errorf("got %v, %v; want an error with %q", l, err, tt.want)
			}
		})
	}
	if data, err := os.ReadFile(file); err != nil || len(data) != 0 {
		t.Errorf("the file has changed: %q, %v", data, err)
	}
}

func TestAnAddressInUseCanBeTold(t *testing.T) {
	l, err := Listen(t.Context(), Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(t.Context(), Options{Listen: l.Addr().String()}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
}

// answer serves one text on l until the test ends.
func answer(t *testing.T, l net.Listener, text string) *http.Server {
	t.Helper()
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }), ErrorLog: discard()}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return s
}

func overUnix(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

func ask(t *testing.T, c *http.Client, url string) (string, error) {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

func TestASocketIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	first, err := Listen(t.Context(), Options{Listen: "unix@" + path})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != DefaultMode {
		t.Fatalf("mode %v, %v; want %v", info.Mode().Perm(), err, DefaultMode)
	}
	answer(t, first, "first")
	client := overUnix(path)
	if got, err := ask(t, client, "http://localhost/"); got != "first" {
		t.Fatalf("got %q, %v; want first", got, err)
	}
	second, err := Listen(t.Context(), Options{Listen: path, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	answer(t, second, "second")
	_ = first.Close() // the path is no longer its own
	if got, err := ask(t, client, "http://localhost/"); got != "second" {
		t.Errorf("got %q, %v; want second", got, err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	_ = second.Close()
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestClientsNeedACertificate(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	cert, key := ca.leaf(t, x509.ExtKeyUsageServerAuth)
	l, err := Listen(t.Context(), Options{Listen: "127.0.0.1:0", TLSCert: cert, TLSKey: key, ClientCA: ca.file})
	if err != nil {
		t.Fatal(err)
	}
	answer(t, l, "hello")
	url := "https://" + l.Addr().String()
	client := func(issuer *authority) *http.Client {
		secured := &tls.Config{RootCAs: x509.NewCertPool()}
		secured.RootCAs.AddCert(ca.cert)
		if issuer != nil {
			pair, err := tls.LoadX509KeyPair(issuer.leaf(t, x509.ExtKeyUsageClientAuth))
			if err != nil {
				t.Fatal(err)
			}
			secured.Certificates = []tls.Certificate{pair}
		}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: secured, DisableKeepAlives: true}}
	}
	for name, c := range map[string]*http.Client{"none": client(nil), "another authority's": client(other)} {
		if got, err := ask(t, c, url); err == nil {
			t.Errorf("with %s certificate: got %q, want an error", name, got)
		}
	}
	if got, err := ask(t, client(ca), url); got != "hello" {
		t.Errorf("with a certificate: got %q, %v", got, err)
	}
	if got, err := ask(t, client(ca), "http://"+l.Addr().String()); got == "hello" {
		t.Errorf("without TLS: got %q, %v", got, err)
	}

	ca.issue(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{"renewed.example"}}, cert, key)
	renewed := client(ca)
	renewed.Transport.(*http.Transport).TLSClientConfig.ServerName = "renewed.example"
	if got, err := ask(t, renewed, url); got != "hello" {
		t.Errorf("with a renewed certificate: got %q, %v", got, err)
	}
	if err := os.Remove(ca.file); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(t, renewed, url); err == nil {
		t.Errorf("without authorities: got %q, want an error", got)
	}
}
