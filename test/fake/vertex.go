package fake

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// VertexOptions describe a Vertex AI.
type VertexOptions struct {
	Addr   string            // HOST:PORT to listen on; a free port of 127.0.0.1 when empty
	CA     *CA               // signs the certificate; required: Vertex AI is not to be had without TLS
	Ledger *Ledger           // knows the access tokens; required
	Hosts  map[string]string // locations of further host names, such as those of dedicated endpoints; may be nil
	Models []string          // what the listing of Google's models shows; three of them when nil. Every model can be called
}

// A Script is what the models say, and how fast. The zero Script says one sentence in four chunks, at once.
type Script struct {
	Chunks   []string        // the text of an answer; a streamed one sends them one by one
	Gate     <-chan struct{} // a streamed chunk waits for a receive from it: a send lets one go, close lets all go; nil: no wait
	Interval time.Duration   // pause before each streamed chunk
}

// Vertex is Vertex AI's REST interface over TLS, HTTP/1.1 and HTTP/2, under all its public host names. It answers only calls of
// inference, made canonically, to the host of their location, with an unexpired token that [IAM] minted for an account, or [STS] for a
// principal, that may use the project, and remembers every request: see [Vertex.Requests], [Vertex.Take] and [Vertex.Next]. It is safe for concurrent use.
type Vertex struct {
	server
	journal
	options VertexOptions

	scriptMu sync.Mutex
	script   Script
}

// maxBody is the largest request body that Vertex reads, in bytes.
const maxBody = 32 << 20

// NewVertex starts a Vertex AI.
func NewVertex(o VertexOptions) (*Vertex, error) {
	if o.CA == nil || o.Ledger == nil {
		return nil, errors.New("new Vertex: CA and Ledger are required")
	}
	if o.Models == nil {
		o.Models = []string{"gemini-2.5-flash", "gemini-2.5-pro", "gemini-embedding-001"}
	}
	names := []string{"*.googleapis.com", hostUS, hostEU}
	for host := range o.Hosts {
		names = append(names, host)
	}
	cert, err := o.CA.Server(names...)
	if err != nil {
		return nil, fmt.Errorf("new Vertex: %w", err)
	}
	v := &Vertex{options: o}
	if err := v.listen(o.Addr); err != nil {
		return nil, fmt.Errorf("new Vertex: %w", err)
	}
	v.serve(&tls.Config{Certificates: []tls.Certificate{cert}}, v.answer)
	return v, nil
}

// Play puts s in force for the answers that begin from now on.
func (v *Vertex) Play(s Script) {
	v.scriptMu.Lock()
	defer v.scriptMu.Unlock()
	v.script = s
}

func (v *Vertex) answer(w http.ResponseWriter, r *http.Request) {
	record := Request{
		Time: time.Now(), Proto: r.Proto, Method: r.Method, Target: r.RequestURI, Host: r.Host, SNI: r.TLS.ServerName,
		Header: r.Header.Clone(), ContentLength: r.ContentLength, TransferEncoding: slices.Clone(r.TransferEncoding),
		Status: http.StatusOK,
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	record.Body = body
	c, members, no := v.decide(r, &record, err)
	if no != nil {
		record.Status, record.Reason = no.status, no.reason
		v.add(record)
		v.note(r, no.reason, no.status)
		writeRPC(w, no)
		return
	}
	fault := v.takeFault(r.RequestURI)
	switch {
	case fault.Down, fault.Reset:
		record.Status, record.Reason = 0, Injected
	case fault.Status != 0:
		record.Status, record.Reason = fault.status(), Injected
	}
	// The record comes first, so that a test can wait for a request that a fault or a gate then holds back.
	v.add(record)
	if v.apply(fault, w, r, writeRPC) {
		return
	}
	v.scriptMu.Lock()
	script := v.script
	v.scriptMu.Unlock()
	newReply(w, r, c, members, len(body), script, v.options.Models).write()
}

// decide returns what to answer, or the refusal. It fills in the account. readErr is what reading the body ended with.
func (v *Vertex) decide(r *http.Request, record *Request, readErr error) (call, fields, *refusal) {
	if tooLarge := new(http.MaxBytesError); errors.As(readErr, &tooLarge) {
		return call{}, nil, refuse(BodyTooLarge, http.StatusRequestEntityTooLarge, "body is too large")
	}
	if readErr != nil {
		return call{}, nil, refuse(BodyInvalid, http.StatusBadRequest, "body is incomplete")
	}
	c, no := parseCall(r.Method, r.RequestURI)
	if no == nil {
		no = v.checkHost(r, c)
	}
	if no != nil {
		return call{}, nil, no
	}
	grant, no := v.options.Ledger.bearer(r.Header.Values("Authorization"), hostGlobal, FromIAM, FromSTS)
	if no != nil {
		return call{}, nil, no
	}
	record.Account = grant.Account
	if no := permit(r, c, grant); no != nil {
		return call{}, nil, no
	}
	members, no := c.parseBody(r.Header, record.Body)
	return c, members, no
}

// checkHost checks that handshake, Host and path agree on where the call goes.
func (v *Vertex) checkHost(r *http.Request, c call) *refusal {
	host := strings.TrimSuffix(r.Host, ":443")
	location, ok := v.options.Hosts[host]
	if !ok {
		location, ok = locationOf(host)
	}
	if !ok {
		return refuse(HostUnknown, http.StatusNotFound, "no such host")
	}
	if r.TLS.ServerName != host {
		return refuse(HostMismatch, http.StatusNotFound, "host is not the name of the TLS handshake")
	}
	if c.location != "" && c.location != location {
		return refuse(LocationMismatch, http.StatusNotFound, "location is not served by this host")
	}
	return nil
}

// permit checks what the token's account may do.
func permit(r *http.Request, c call, g Grant) *refusal {
	if !g.hasScope(c.scopes()...) {
		return insufficient(hostGlobal)
	}
	if c.project != "" && !slices.Contains(g.Projects, c.project) {
		no := denied("aiplatform.googleapis.com", "aiplatform.endpoints.predict", "project "+c.project)
		no.info["resource"] = "projects/" + c.project + "/locations/" + c.location
		return no
	}
	for _, project := range r.Header.Values("X-Goog-User-Project") {
		if !slices.Contains(g.Projects, project) {
			return refuse(UserProjectDenied, http.StatusForbidden, "the account may not bill this project").
				withInfo("googleapis.com", map[string]string{"consumer": "projects/" + project, "service": hostGlobal})
		}
	}
	return nil
}
