package google

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// Egress says how calls leave this machine. The zero Egress is a good one.
type Egress struct {
	// CAFile is a file of PEM certificates, the only authorities that are trusted; empty for those of the system, which the variables
	// SSL_CERT_FILE and SSL_CERT_DIR name.
	CAFile string
}

// Client returns a client for all calls to Google and to identity providers: HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment are
// honoured, TLS is 1.2 at least, connections are reused, HTTP/2 is spoken where the other side does. Each stage of a call has a bound of
// its own besides the deadline that its context brings.
func (e Egress) Client() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile == "" {
		// Read now: were it first tried in a moment without a free descriptor, crypto/x509 would never try again.
		var err error
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("read certificate authorities: %w", err)
		}
	}
	if e.CAFile != "" {
		pem, err := os.ReadFile(e.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read certificate authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificate authorities: no certificate in %q", e.CAFile)
		}
	}
	return &http.Client{Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  15 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    maxParallel,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}}, nil
}

// carrierOf returns the transport of c, or one of ours, and what closes its idle connections if it is ours.
func carrierOf(c *http.Client) (carrier http.RoundTripper, idle func(), err error) {
	if c != nil && c.Transport != nil {
		return c.Transport, func() {}, nil
	}
	own, err := Egress{}.Client()
	if err != nil {
		return nil, nil, err
	}
	return own.Transport, own.CloseIdleConnections, nil
}
