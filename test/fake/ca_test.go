package fake

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA(filepath.Join(t.TempDir(), "made", "on", "demand"))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func leaf(t *testing.T, c tls.Certificate) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestServerCertificateIsGoodForItsNamesAlone(t *testing.T) {
	ca := newCA(t)
	issued, err := ca.Server("login.example.com", "*.googleapis.com")
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf(t, issued)
	tests := []struct {
		name string
		want bool
	}{
		{"login.example.com", true},
		{"us-central1-aiplatform.googleapis.com", true},
		{"127.0.0.1", true},
		{"aiplatform.us.rep.googleapis.com", false},
		{"example.com", false},
	}
	for _, test := range tests {
		_, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: test.name})
		if (err == nil) != test.want {
			t.Errorf("%s: got %v, want good %v", test.name, err, test.want)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: newCA(t).Pool(), DNSName: "login.example.com"}); err == nil {
		t.Error("another authority vouches for the certificate")
	}
}

func TestClientCertificateCarriesItsURIAndServesNoServer(t *testing.T) {
	ca := newCA(t)
	issued, err := ca.Client("batch", "spiffe://example.com/batch")
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf(t, issued)
	if len(cert.URIs) != 1 || cert.URIs[0].String() != "spiffe://example.com/batch" {
		t.Errorf("got URIs %v", cert.URIs)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool()}); err == nil {
		t.Error("a client certificate is good for a server")
	}
	use := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: use}); err != nil {
		t.Error(err)
	}
	if _, err := ca.Client("bad", "spiffe://%zz"); err == nil {
		t.Error("a URI that is none gets a certificate")
	}
}

func TestFilesCanBeLoadedByOthers(t *testing.T) {
	ca := newCA(t)
	issued, err := ca.Server("login.example.com")
	if err != nil {
		t.Fatal(err)
	}
	file, err := ca.Write("haproxy", issued)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(issued.Certificate, pair.Certificate); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
	}
	text, err := os.ReadFile(ca.File())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) || !pool.Equal(ca.Pool()) {
		t.Error("ca.pem does not hold the authority's certificate")
	}
}

func TestWriteStaysInItsDirectory(t *testing.T) {
	ca := newCA(t)
	issued, err := ca.Server("login.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "ca", "../x", "a/b", "/x"} {
		if file, err := ca.Write(name, issued); err == nil {
			t.Errorf("%q: got %q", name, file)
		}
	}
	if _, err := ca.Write("empty", tls.Certificate{}); err == nil {
		t.Error("an empty certificate is written")
	}
	if _, err := ca.Server(); err == nil {
		t.Error("a certificate without names is issued")
	}
}
