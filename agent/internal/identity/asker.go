package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"vertex-spoa/agent/internal/secret"
)

// asker asks for the documents of one fetch.
type asker struct {
	client *http.Client
	token  secret.Text // sent as a bearer token, or empty
}

// ownClient is the client of a source that has a CA file or a proxy. The zero value is none yet.
type ownClient struct {
	client *http.Client
	pem    []byte // of the CA file it was made with
}

// asker reads the files that the source names, which may have been replaced since the last time.
func (f *fetcher) asker() (asker, error) {
	a := asker{client: f.client}
	if f.caFile != "" || f.proxy != "" {
		client, err := f.own.renew(f.client, f.source)
		if err != nil {
			return asker{}, err
		}
		a.client = client
	}
	if f.tokenFile == "" {
		return a, nil
	}
	var err error
	a.token, err = readToken(f.tokenFile)
	return a, err
}

// renew returns a client like base with the source's CA and proxy. It makes a new one when the CA file has changed.
func (o *ownClient) renew(base *http.Client, s source) (*http.Client, error) {
	var pem []byte
	if s.caFile != "" {
		var err error
		if pem, err = readFile(s.caFile); err != nil {
			return nil, fmt.Errorf("read CA file: %w", err)
		}
	}
	if o.client != nil && bytes.Equal(pem, o.pem) {
		return o.client, nil
	}
	transport, err := transportOf(base)
	if err != nil {
		return nil, err
	}
	if s.caFile != "" {
		if transport.TLSClientConfig == nil {
			transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %q has no certificate", s.caFile)
		}
	}
	if s.proxy != "" {
		through, err := url.Parse(s.proxy)
		if err != nil {
			return nil, errors.New("proxy is not a URL")
		}
		transport.Proxy = http.ProxyURL(through)
	}
	o.close()
	o.client, o.pem = &http.Client{Transport: transport, Timeout: base.Timeout, CheckRedirect: base.CheckRedirect}, pem
	return o.client, nil
}

// close gives idle connections back.
func (o *ownClient) close() {
	if o.client != nil {
		o.client.CloseIdleConnections()
	}
}

// transportOf returns a copy of the transport that base uses.
func transportOf(base *http.Client) (*http.Transport, error) {
	used := base.Transport
	if used == nil {
		used = http.DefaultTransport
	}
	transport, ok := used.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("a transport of type %T cannot have a CA file or proxy of its own", used)
	}
	return transport.Clone(), nil
}

// readToken reads a bearer token for the issuer itself (RFC 6750 section 2.1).
func readToken(name string) (secret.Text, error) {
	content, err := readFile(name)
	if err != nil {
		return secret.Text{}, fmt.Errorf("read token file: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return secret.Text{}, fmt.Errorf("token file %q does not hold one token", name)
	}
	return secret.New(token), nil
}

// get returns the body of a 200 response, which must not be longer than 512 KiB.
func (a asker) get(ctx context.Context, from string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, nil, errors.New("not a URL")
	}
	request.Header.Set("Accept", "application/json, application/jwk-set+json")
	if a.token.Len() > 0 {
		request.Header.Set("Authorization", "Bearer "+a.token.Reveal())
	}
	response, err := a.client.Do(request)
	if err != nil {
		// A *url.Error repeats the address, which after a redirect is foreign text.
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, nil, fmt.Errorf("from host %q: %w", request.URL.Host, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("from host %q: status %d", request.URL.Host, response.StatusCode)
	}
	body, err := readBounded(response.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("from host %q: %w", request.URL.Host, err)
	}
	return body, response.Header, nil
}
