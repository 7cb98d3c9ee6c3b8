package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// hostile is one case of the collection: a raw request target with headers and a body.
type hostile struct {
	ID       string
	Category string
	Method   string
	Target   string
	Headers  map[string]string
	Body     string
	Expect   string // reject | strip | allow-account
	Why      string
}

// TestHostileRequests sends each hostile request, byte for byte, to a real HAProxy, with a valid token of a caller who may make the
// honest twin of it. Nothing of a request to be rejected may reach Vertex AI; of one to be stripped, the header may not.
func TestHostileRequests(t *testing.T) {
	onEach(t, gateSeries(), func(t *testing.T, haproxy string) {
		playHostiles(t, startSandbox(t, sandbox.Options{HAProxy: haproxy}))
	})
}

func playHostiles(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	const another = "version: 1\nrules:\n  not-pro: { deny: \"*\", models: gemini-2.5-pro* }\n"
	admit(t, s, another)
	text, err := os.ReadFile("testdata/hostile-requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Cases []hostile }
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	played := 0
	for _, c := range all.Cases {
		played++
		t.Run(c.ID, func(t *testing.T) { playHostile(t, s, c) })
	}
	if played < 100 {
		t.Errorf("only %d cases were played", played)
	}
}

func playHostile(t *testing.T, s *sandbox.Sandbox, c hostile) {
	t.Helper()
	c.Target = strings.NewReplacer("projects/p1", "projects/"+sandbox.Project, "locations/us-central1", "locations/europe-west1").Replace(c.Target)
	if c.Expect == "strip" {
		c.Body = `{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}]}` // one that Vertex AI answers
	}
	group := "search-eng"
	if c.Category == "body" && !strings.Contains(c.Target, "openapi") && !strings.Contains(c.Target, "count-tokens") {
		group = "support" // whose rule reads the body
	}
	token, err := s.Caller(group)
	if err != nil {
		t.Fatal(err)
	}
	s.World.Vertex.Take()
	status, err := sendRaw(t.Context(), s, token, c)
	if err != nil && c.Expect != "reject" { // HAProxy may just close the connection on what is no HTTP
		t.Fatal(err)
	}
	received := s.World.Vertex.Take()
	switch c.Expect {
	case "reject":
		if len(received) > 0 || status/100 == 2 {
			t.Errorf("%s: status %d, forwarded %d requests; want a refusal", c.Why, status, len(received))
		}
	case "strip":
		if status/100 == 4 && len(received) == 0 {
			return // refused, which is more
		}
		if status != http.StatusOK || len(received) != 1 {
			t.Fatalf("status %d, forwarded %d requests; want one allowed", status, len(received))
		}
		for name, value := range c.Headers {
			if strings.EqualFold(name, "X-Goog-Request-Reason") && !slices.Contains(received[0].Header.Values(name), value) {
				continue // the agent's own
			}
			if got := received[0].Header.Values(name); len(got) > 0 {
				t.Errorf("%s: %s reached Vertex AI with %q", c.Why, name, got)
			}
			if hasField(received[0].Header, name) {
				t.Errorf("%s: %s reached Vertex AI under another spelling", c.Why, name)
			}
		}
	}
}

func hasField(h http.Header, name string) bool {
	return slices.ContainsFunc(slices.Collect(func(yield func(string) bool) {
		for got := range h {
			if !yield(got) {
				return
			}
		}
	}), func(got string) bool {
		return strings.EqualFold(strings.ReplaceAll(got, "-", "_"), strings.ReplaceAll(name, "-", "_"))
	})
}

// sendRaw writes the request as it stands, over HTTP/1.1 and TLS, and returns the status of the answer.
func sendRaw(ctx context.Context, s *sandbox.Sandbox, token string, c hostile) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: s.World.CA.Pool(), NextProtos: []string{"http/1.1"}}}
	var conn net.Conn
	conn, err := dialer.DialContext(ctx, "tcp", strings.TrimPrefix(s.URL, "https://"))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return 0, err
		}
	}
	fields := map[string]string{"Host": "gateway.example.com", "Authorization": "Bearer " + token, "Content-Type": "application/json",
		"Content-Length": fmt.Sprint(len(c.Body))}
	for name, value := range c.Headers {
		fields[name] = value
	}
	if _, chunked := c.Headers["Transfer-Encoding"]; chunked {
		delete(fields, "Content-Length")
		c.Body = fmt.Sprintf("%x\r\n%s\r\n0\r\nAuthorization: Bearer evil\r\n\r\n", len(c.Body), c.Body)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", c.Method, c.Target)
	for name, value := range fields {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	fmt.Fprintf(&b, "\r\n%s", c.Body)
	if _, err := conn.Write([]byte(b.String())); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: c.Method})
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, nil
}
