package fake

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// stream sends an answer piece by piece; each piece leaves at once. After the first error it sends nothing more.
type stream struct {
	w      http.ResponseWriter
	out    *http.ResponseController
	script Script
	err    error
}

// newStream sends the head of the answer, so that a client sees it before the first chunk's gate opens.
func newStream(a *reply, contentType string) *stream {
	a.w.Header().Set("Content-Type", contentType)
	s := &stream{w: a.w, out: http.NewResponseController(a.w), script: a.script}
	a.w.WriteHeader(http.StatusOK)
	s.err = s.out.Flush()
	return s
}

// send sends text, which may be empty, without waiting for the gate.
func (s *stream) send(text string) {
	if s.err != nil || text == "" {
		return
	}
	if _, s.err = s.w.Write([]byte(text)); s.err == nil {
		s.err = s.out.Flush()
	}
}

// chunk waits for the interval and the gate, and sends text. The context is the request's: it ends when the client leaves.
func (s *stream) chunk(ctx context.Context, text string) {
	if s.err == nil {
		s.err = s.wait(ctx)
	}
	s.send(text)
}

func (s *stream) wait(ctx context.Context) error {
	if s.script.Interval > 0 {
		timer := time.NewTimer(s.script.Interval)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.script.Gate != nil {
		select {
		case <-s.script.Gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// encode returns v as compact JSON, or "" and ends the stream.
func (s *stream) encode(v any) string {
	body, err := json.Marshal(v)
	if err != nil && s.err == nil {
		s.err = err
	}
	return string(body)
}
