package fake

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// certLife is the validity of all certificates: longer than any demo, short enough that a forgotten CA file does no harm.
const certLife = 30 * 24 * time.Hour

// CA is the certificate authority of a sandbox. Its key lives in memory only. It is immutable and safe for concurrent use.
type CA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a new authority and writes its certificate to ca.pem in dir, which it creates when missing.
func NewCA(dir string) (*CA, error) {
	if dir == "" {
		return nil, errors.New("new CA: no directory")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("new CA: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("new CA: %w", err)
	}
	template, err := certTemplate("vertex-spoa sandbox CA")
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("new CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("new CA: %w", err)
	}
	ca := &CA{dir: dir, cert: cert, key: key}
	if err := os.WriteFile(ca.File(), encodePEM("CERTIFICATE", der), 0o644); err != nil {
		return nil, fmt.Errorf("new CA: %w", err)
	}
	return ca, nil
}

func certTemplate(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("certificate serial: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(certLife),
	}, nil
}

// File returns the path of the authority's certificate, in PEM.
func (ca *CA) File() string { return filepath.Join(ca.dir, "ca.pem") }

// Pool returns a new pool that trusts this authority and no other.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Server issues a server certificate for the DNS names (a leading "*." is a wildcard) and for 127.0.0.1.
func (ca *CA) Server(names ...string) (tls.Certificate, error) {
	if len(names) == 0 {
		return tls.Certificate{}, errors.New("server certificate: no DNS name")
	}
	template, err := certTemplate(names[0])
	if err != nil {
		return tls.Certificate{}, err
	}
	template.DNSNames = names
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return ca.sign(template)
}

// Client issues a client certificate with the common name and, if not empty, one URI name such as spiffe://example.com/batch.
func (ca *CA) Client(name, uri string) (tls.Certificate, error) {
	template, err := certTemplate(name)
	if err != nil {
		return tls.Certificate{}, err
	}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("client certificate for %q: %w", uri, err)
		}
		template.URIs = []*url.URL{u}
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return ca.sign(template)
}

func (ca *CA) sign(template *x509.Certificate) (tls.Certificate, error) {
	template.KeyUsage = x509.KeyUsageDigitalSignature
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate for %q: %w", template.Subject.CommonName, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate for %q: %w", template.Subject.CommonName, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Write writes a certificate that this authority issued, followed by its private key, to NAME.pem in the authority's directory, in the
// one-file form HAProxy's crt takes, and returns the path. Only the owner can read the file. name must be a plain file name.
func (ca *CA) Write(name string, cert tls.Certificate) (string, error) {
	if name == "" || filepath.Base(name) != name || name == "ca" {
		return "", fmt.Errorf("write certificate: bad file name %q", name)
	}
	if len(cert.Certificate) == 0 {
		return "", fmt.Errorf("write certificate %q: empty", name)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return "", fmt.Errorf("write certificate %q: %w", name, err)
	}
	file := filepath.Join(ca.dir, name+".pem")
	text := bytes.Join([][]byte{encodePEM("CERTIFICATE", cert.Certificate[0]), encodePEM("PRIVATE KEY", key)}, nil)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", fmt.Errorf("write certificate: %w", err)
	}
	return file, nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
