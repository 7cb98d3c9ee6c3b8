package fake

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// A Fault makes a party misbehave. First the Delay and the Gate hold the request back; then Down, Reset or Status answer for it; with none
// of them, the party answers as it would have, only late. The zero Fault is no fault.
type Fault struct {
	Down       bool            // close the connection (over HTTP/2: reset the stream) without an answer
	Reset      bool            // reset the TCP connection (RST) under whatever it carries
	Status     int             // answer with this HTTP status, 400 to 599, in the party's own error shape; 0 for none
	Page       string          // with Status: answer with this HTML in place of the party's own shape, as what stands in front of it does
	RetryAfter string          // value of the Retry-After header that goes with Status; empty for none
	Delay      time.Duration   // hold the request back for this long
	Gate       <-chan struct{} // hold the request back until a receive succeeds: a send lets one pass, close lets all pass
	Only       string          // spoil only requests whose target contains this; empty for all
	Times      int             // spoil so many requests and then heal; 0 for all until Heal
}

// spoils reports whether f is meant for a request target.
func (f Fault) spoils(target string) bool { return strings.Contains(target, f.Only) }

// hold waits out the Delay and the Gate. It reports false when the client left, or the party was closed, first.
func (f Fault) hold(r *http.Request) bool {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return false
		}
	}
	if f.Gate != nil {
		select {
		case <-f.Gate:
		case <-r.Context().Done():
			return false
		}
	}
	return true
}

// page answers with the fault's Page.
func (f Fault) page(w http.ResponseWriter, no *refusal) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(no.status)
	_, _ = io.WriteString(w, f.Page)
}

// status returns the status to answer with. One that is no error status would make the fault look like a success.
func (f Fault) status() int {
	if f.Status < 400 || f.Status > 599 {
		return http.StatusInternalServerError
	}
	return f.Status
}
