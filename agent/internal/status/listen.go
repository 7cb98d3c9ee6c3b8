package status

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// DefaultMode is the mode of a unix socket: its owner and group may connect.
const DefaultMode fs.FileMode = 0o660

// Options say where the admin listener is, and who may connect. Only Listen is required.
type Options struct {
	Listen string      // unix@/path, /path or host:port
	Mode   fs.FileMode // of a unix socket; DefaultMode for 0

	TLSCert  string // certificate chain, PEM file
	TLSKey   string // its private key, PEM file
	ClientCA string // authorities of the clients' certificates, PEM file; clients without one are refused then
}

// Listen opens the admin listener. An address that others than this host can reach needs TLS and the certificates of clients: there is no
// other way to tell who asks. The host is resolved once, so that what was checked is what is listened on.
//
// A unix socket replaces one that is there, which is how a new process takes over from an old one, and no other file. A TCP address that
// is in use is an error for which errors.Is(err, syscall.EADDRINUSE).
//
// Certificates, the key and the authorities are read anew for each connection: one that was renewed needs no restart.
func Listen(ctx context.Context, o Options) (net.Listener, error) {
	l, err := o.listen(ctx)
	if err != nil {
		return nil, fmt.Errorf("admin listener on %q: %w", o.Listen, err)
	}
	return l, nil
}

func (o *Options) listen(ctx context.Context) (net.Listener, error) {
	secured, err := o.tls()
	if err != nil {
		return nil, err
	}
	path := strings.TrimPrefix(o.Listen, "unix@")
	if filepath.IsAbs(path) {
		if secured != nil {
			return nil, errors.New("a unix socket takes no TLS: its mode says who may connect")
		}
		return listenUnix(ctx, path, o.Mode)
	}
	if path != o.Listen {
		return nil, errors.New("the path of a unix socket must begin with /")
	}
	address, err := resolve(ctx, o.Listen)
	if err != nil {
		return nil, err
	}
	if !address.IP.IsLoopback() && (secured == nil || secured.ClientAuth != tls.RequireAndVerifyClientCert) {
		return nil, errors.New("others than this host can reach it: listen on a loopback address or a unix socket, " +
			"or configure TLS and the authorities of the clients' certificates")
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address.String())
	if err != nil || secured == nil {
		return l, err
	}
	return tls.NewListener(l, secured), nil
}

// resolve returns the address that a listener on text is bound to. No host is every address there is.
func resolve(ctx context.Context, text string) (*net.TCPAddr, error) {
	host, service, err := net.SplitHostPort(text)
	if err != nil {
		return nil, fmt.Errorf("neither /path, unix@/path nor host:port: %w", err)
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	if host == "" {
		return &net.TCPAddr{Port: port}, nil
	}
	all, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, a := range all { // as net.Listen prefers it
		if a.IP.To4() != nil {
			return &net.TCPAddr{IP: a.IP, Port: port}, nil
		}
	}
	return &net.TCPAddr{IP: all[0].IP, Zone: all[0].Zone, Port: port}, nil
}

// tls returns the TLS configuration, nil without one.
func (o *Options) tls() (*tls.Config, error) {
	switch {
	case o.TLSCert == "" && o.TLSKey == "" && o.ClientCA == "":
		return nil, nil
	case o.TLSCert == "" || o.TLSKey == "":
		return nil, errors.New("TLS needs a certificate and its key")
	}
	now, err := o.loadTLS()
	if err != nil {
		return nil, err
	}
	now.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return o.loadTLS() }
	return now, nil
}

func (o *Options) loadTLS() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("certificate %q and key %q: %w", o.TLSCert, o.TLSKey, err)
	}
	// HTTP/2 is not offered: nobody here needs it.
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if o.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(o.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("authorities of clients: %w", err)
	}
	c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("authorities of clients: no certificate in %q", o.ClientCA)
	}
	return c, nil
}
