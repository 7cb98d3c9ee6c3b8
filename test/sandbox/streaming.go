package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"

	"vertex-spoa/test/fake"
)

func streamScenarios() []Scenario {
	var all []Scenario
	for _, p := range []Protocol{HTTP1, HTTP2} {
		all = append(all, Scenario{
			Name: fmt.Sprintf("a streamed answer, chunk by chunk, over %s", p),
			Want: "200, 5 chunks, each before the next was sent as vx-search",
			Run:  func(ctx context.Context, s *Sandbox) (string, error) { return s.stream(ctx, p) },
		})
	}
	return all
}

// stream lets Vertex AI send a chunk only after the caller has the one before, so that a proxy that holds chunks back cannot finish.
func (s *Sandbox) stream(ctx context.Context, p Protocol) (string, error) {
	s.World.Vertex.Take()
	gate := make(chan struct{})
	chunks := []string{"one ", "two ", "three ", "four ", "five"}
	s.World.Vertex.Play(fake.Script{Chunks: chunks, Gate: gate})
	defer s.World.Vertex.Play(fake.Script{})
	token, err := s.Caller("search-eng")
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+stream, strings.NewReader(prompt))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.clients[p].Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	seen := 0
	for _, text := range chunks {
		select {
		case gate <- struct{}{}:
		case <-ctx.Done():
			return "", fmt.Errorf("after %d chunks: %w", seen, ctx.Err())
		}
		if !find(lines, strings.TrimSpace(text)) {
			return fmt.Sprintf("%d, no chunk after %d", res.StatusCode, seen), nil
		}
		seen++
	}
	close(gate)
	for lines.Scan() { // to the end, so that the connection can be used again
	}
	return fmt.Sprintf("%d, %d chunks, each before the next was sent%s", res.StatusCode, seen, s.forwarded(token)), lines.Err()
}

// find reads events until one has the text.
func find(lines *bufio.Scanner, text string) bool {
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data:") && strings.Contains(lines.Text(), text) {
			return true
		}
	}
	return false
}
