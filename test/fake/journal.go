package fake

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A Request is one request as Vertex AI received it. Its maps and slices belong to the reader.
type Request struct {
	Time             time.Time
	Proto            string // HTTP/1.1 or HTTP/2.0
	Method           string
	Target           string // as received, neither decoded nor cleaned
	Host             string // Host header or :authority, as received
	SNI              string // server name of the TLS handshake; empty when the client sent none
	Header           http.Header
	ContentLength    int64    // -1 when not given
	TransferEncoding []string // outermost first; HTTP/1.1 only
	Body             []byte
	Account          string // email behind the access token; empty when there is no good one
	Status           int    // of the answer; 0 where the connection was closed without one
	Reason           Reason // empty when the request was answered
}

const (
	maxRequests = 10_000
	maxBodies   = 64 << 20
)

// journal keeps requests in the order of their arrival: 10,000 of them, with bodies of 64 MiB together. When it is full the oldest go.
type journal struct {
	mu       sync.Mutex
	requests []Request
	bodies   int
	arrived  chan struct{} // closed at the next arrival; nil while nobody waits
}

func (j *journal) add(r Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.requests = append(j.requests, r)
	j.bodies += len(r.Body)
	for len(j.requests) > maxRequests || (j.bodies > maxBodies && len(j.requests) > 1) {
		j.pop()
	}
	if j.arrived != nil {
		close(j.arrived)
		j.arrived = nil
	}
}

// pop takes the oldest request out. The caller holds the lock and knows that there is one.
func (j *journal) pop() Request {
	r := j.requests[0]
	j.requests[0] = Request{}
	j.requests = j.requests[1:]
	j.bodies -= len(r.Body)
	return r
}

// Requests returns the requests that arrived and were not taken yet, oldest first. It does not take them. The result shares headers and
// bodies with later results.
func (j *journal) Requests() []Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.requests)
}

// Take returns what Requests returns, and takes all of it.
func (j *journal) Take() []Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.requests
	j.requests, j.bodies = nil, 0
	return all
}

// Next takes the oldest request, waiting for one to arrive. It fails only with the context's error.
func (j *journal) Next(ctx context.Context) (Request, error) {
	for {
		j.mu.Lock()
		if len(j.requests) > 0 {
			r := j.pop()
			j.mu.Unlock()
			return r, nil
		}
		if j.arrived == nil {
			j.arrived = make(chan struct{})
		}
		arrived := j.arrived
		j.mu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
			return Request{}, ctx.Err()
		}
	}
}
