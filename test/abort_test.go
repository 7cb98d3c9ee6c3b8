package test

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// Callers who go away while HAProxy asks about them, by the thousand, do not hurt the others: HAProxy forgets what it asked, and the
// answers wait on the agent's connection all the same.
func TestAbortedCallsHurtNobodyElse(t *testing.T) {
	long := 2 * time.Second
	if everything() {
		long = 15 * time.Second
	}
	onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, TokenBytes: 2048})
		l := startLoad(t, s, 16)
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		var fickle sync.WaitGroup
		var aborted sync.Map
		for i := range 30 {
			fickle.Go(func() {
				protocol := sandbox.HTTP2
				if i%3 == 0 {
					protocol = sandbox.HTTP1
				}
				client := s.Client(protocol)
				defer client.CloseIdleConnections()
				next := time.NewTicker(10 * time.Millisecond) // a storm of handshakes would take the processors from everybody else here
				defer next.Stop()
				for n := 0; ctx.Err() == nil; n++ {
					if abort(ctx, client, s, n) {
						aborted.Store(i, true)
					}
					<-next.C
				}
			})
		}
		fickle.Wait()
		cancel()
		began := time.Now()
		l.wait(500)
		l.report(l.stop())
		l.allSucceeded(time.Time{})
		gone := 0
		aborted.Range(func(any, any) bool { gone++; return true })
		if gone < 30 {
			t.Errorf("only %d of 30 clients have aborted a call", gone)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("500 calls took %v after the storm", d)
		}
	})
}

// abort makes a call of somebody whom the agent refuses, so that it is not counted, and goes away within some milliseconds.
func abort(ctx context.Context, client *http.Client, s *sandbox.Sandbox, n int) (gone bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent",
		strings.NewReader("{}"))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 900+n%100))
	res, err := client.Do(req)
	if err != nil {
		return true
	}
	_, err = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return err != nil
}
