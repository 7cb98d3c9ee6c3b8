package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vertex-spoa/agent/internal/secret"
)

const (
	maxAnswer       = 16 << 10 // bytes
	maxClientSecret = 4 << 10  // bytes
)

// answer is what an issuer said of an active token. It is immutable.
type answer struct {
	claims
	until time.Time // when it must be asked again
}

// question asks the endpoint once. An inactive token is an *Error with Reason TokenInactive; every other error is one with
// IntrospectionUnavailable.
func (n *introspector) question(ctx context.Context, token secret.Text, now time.Time) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	body, err := n.post(ctx, token)
	if err != nil {
		return nil, &Error{Reason: IntrospectionUnavailable, Detail: fmt.Sprintf("host %q", n.host), Err: plain(err)}
	}
	return n.read(body, now)
}

// post returns the body of a good response. Its errors hold nothing of the token and the client's secret.
func (n *introspector) post(ctx context.Context, token secret.Text) ([]byte, error) {
	password, err := readClientSecret(n.config.ClientSecretFile)
	if err != nil {
		return nil, err
	}
	form := url.Values{"token": {token.Reveal()}, "token_type_hint": {"access_token"}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, n.config.URL, strings.NewReader(form))
	if err != nil {
		return nil, errors.New("not a URL")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	// RFC 6749 section 2.3.1: both are form-encoded before they are joined.
	request.SetBasicAuth(url.QueryEscape(n.config.ClientID), url.QueryEscape(password.Reveal()))
	// A question changes nothing, so that it can be repeated where the other side closes an idle connection. The header is not sent:
	// see the documentation of http.Transport.
	request.Header["Idempotency-Key"] = []string{}
	response, err := n.client.Do(request)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK { // 401 says that our own credential is wrong, 3xx that somebody else should have it
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, errors.New("content type is not application/json")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("answer is longer than %d bytes", maxAnswer)
	}
	return body, nil
}

func readClientSecret(file string) (secret.Text, error) {
	data, err := readSmall(file, maxClientSecret)
	if err != nil {
		return secret.Text{}, fmt.Errorf("read client secret: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return secret.Text{}, fmt.Errorf("client secret file %q is empty", file)
	}
	return secret.New(text), nil
}

// read reads a response of RFC 7662 section 2.2. Its registered members have the types of the claims of the same names.
func (n *introspector) read(body []byte, now time.Time) (*answer, error) {
	unusable := func(err error) error {
		return &Error{Reason: IntrospectionUnavailable, Detail: fmt.Sprintf("answer of host %q", n.host), Err: err}
	}
	all, err := parseObject(body, jsonLimits{depth: 16, values: 4096})
	if err != nil {
		return nil, unusable(err)
	}
	active, ok := all["active"].(bool)
	if !ok {
		return nil, unusable(errors.New("member \"active\" is not true or false"))
	}
	if !active {
		return nil, refuse(TokenInactive, "host %q says that the token is not active", n.host)
	}
	a := &answer{claims: claims{all: all}, until: now.Add(n.config.CacheFor)}
	if err := a.typed(); err != nil {
		return nil, unusable(err)
	}
	if a.expiry != nil && a.expiry.Before(a.until) {
		a.until = a.expiry.Time
	}
	return a, nil
}

// introspectionClient returns a client of its own that follows no redirects: they would carry token and secret to another place.
func introspectionClient(base *http.Client, caFile string) (*http.Client, error) {
	client := &http.Client{
		Transport:     base.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	transport, ok := client.Transport.(*http.Transport)
	switch {
	case !ok && caFile != "":
		return nil, fmt.Errorf("introspection: a %T cannot be given a CA file", client.Transport)
	case !ok:
		return client, nil
	}
	transport = transport.Clone()
	transport.MaxIdleConnsPerHost = maxQuestions
	client.Transport = transport
	if caFile == "" {
		return client, nil
	}
	roots, err := readAuthorities(caFile)
	if err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	if transport.TLSClientConfig == nil {
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	transport.TLSClientConfig.RootCAs = roots
	return client, nil
}
