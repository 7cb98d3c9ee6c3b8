package sandbox

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Protocol is the version of HTTP a client speaks to HAProxy.
type Protocol string

// The protocols HAProxy is asked over.
const (
	HTTP1 Protocol = "http/1.1"
	HTTP2 Protocol = "h2"
)

// Client returns a client of HAProxy that trusts the sandbox's authority and speaks exactly the protocol.
func (s *Sandbox) Client(p Protocol) *http.Client {
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: s.World.CA.Pool(), MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 64,
		DisableCompression:  true,
		Protocols:           new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(p == HTTP1)
	transport.Protocols.SetHTTP2(p == HTTP2)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// Call is one request to HAProxy. The zero value of a field is what an ordinary client would send.
type Call struct {
	Protocol Protocol
	Method   string
	Target   string // path and query
	Token    string // bearer token; none when empty
	Header   http.Header
	Body     string
	NoLength bool // send the body without a Content-Length

	Client *http.Client // who calls, such as one with a certificate; one of the sandbox's own if nil
}

// Result is what came back.
type Result struct {
	Status int
	Header http.Header
	Body   string
	Told   string // ErrorInfo's reason, if the body is a google.rpc.Status
	Reason string // the reason in the agent's record of the request; Told where the agent was not asked
}

// String is the status, followed by the reason where there is one: what a scenario is compared by.
func (r Result) String() string {
	if r.Reason == "" {
		return fmt.Sprint(r.Status)
	}
	return fmt.Sprintf("%d %s", r.Status, r.Reason)
}

// Do makes the call through HAProxy. A refusal may come, and the connection end, while the client still writes a body that is long or of
// unknown length: then the client has not seen the answer and asks again.
func (s *Sandbox) Do(ctx context.Context, c Call) (Result, error) {
	for attempt := 1; ; attempt++ {
		r, err := s.do(ctx, c)
		if !c.NoLength && len(c.Body) < 16<<10 || attempt == 5 || !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			return r, err
		}
	}
}

func (s *Sandbox) do(ctx context.Context, c Call) (Result, error) {
	if c.Protocol == "" {
		c.Protocol = HTTP1
	}
	if c.Method == "" {
		c.Method = http.MethodPost
	}
	var body io.Reader
	if c.Method == http.MethodPost {
		body = strings.NewReader(c.Body)
		if c.NoLength {
			body = struct{ io.Reader }{body} // the type hides the length
		}
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, s.URL, body)
	if err != nil {
		return Result{}, err
	}
	// Byte for byte, and not as net/url would write it.
	req.URL.RawPath, req.URL.RawQuery, _ = strings.Cut(c.Target, "?")
	if req.URL.Path, err = url.PathUnescape(req.URL.RawPath); err != nil {
		return Result{}, err
	}
	if c.Method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for name, values := range c.Header {
		if name == "Authorization" { // beside the caller's own
			values = append(req.Header[name], values...)
		}
		req.Header[name] = values
	}
	client := c.Client
	if client == nil {
		client = s.clients[c.Protocol]
	}
	res, err := client.Do(req)
	if err != nil {
		return Result{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return Result{}, err
	}
	r := Result{Status: res.StatusCode, Header: res.Header, Body: string(text), Told: reasonOf(text)}
	s.keep(r)
	r.Reason = r.Told
	if r.Told != "" {
		err = s.findReason(&r)
	}
	return r, err
}

// maxAnswers bounds what is kept of answers.
const maxAnswers = 64 << 20

func (s *Sandbox) keep(r Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers)+len(r.Body) < maxAnswers {
		s.answers = fmt.Appendf(s.answers, "%v\n%s\n", r.Header, r.Body)
	}
}

// findReason looks the request up in the agent's audit log, by its id.
func (s *Sandbox) findReason(r *Result) error {
	lines, _, err := s.AuditAfterKill()
	if errors.Is(err, fs.ErrNotExist) { // the agent writes elsewhere
		return nil
	}
	if err != nil {
		return err
	}
	for _, line := range lines {
		if reason, ok := line["reason"].(string); ok && line["id"] == r.Header.Get("X-Request-Id") {
			r.Reason = reason // of the last attempt
		}
	}
	return nil
}

// reasonOf returns the reason of the ErrorInfo in a google.rpc.Status.
func reasonOf(body []byte) string {
	var status struct {
		Error struct {
			Code    int
			Status  string
			Details []struct {
				Type   string `json:"@type"`
				Reason string
			}
		}
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&status); err != nil {
		return ""
	}
	for _, d := range status.Error.Details {
		if strings.HasSuffix(d.Type, "google.rpc.ErrorInfo") {
			return d.Reason
		}
	}
	return ""
}
