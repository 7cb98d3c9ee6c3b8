package test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/provider"
	"vertex-spoa/test/sandbox"
)

// jsClients are the clients from npm, in one process that carries out one order after the other.
type jsClients struct {
	t       *testing.T
	s       *sandbox.Sandbox
	program *provider.Program
}

// order is what clients.mjs is asked to do.
type order struct {
	Client  string `json:"client"`
	Action  string `json:"action"`
	Model   string `json:"model"`
	Token   string `json:"token"`
	Retries *int   `json:"retries,omitempty"` // the client's own default when nil
}

// said is one line of clients.mjs.
type said struct {
	Chunk  *string
	Done   *string
	Failed *struct {
		Class  string
		Status int
		Reason string
	}
}

// String is what a scenario is compared by.
func (s said) String() string {
	switch {
	case s.Failed != nil:
		return strings.TrimSpace(fmt.Sprintf("%s %d %s", s.Failed.Class, s.Failed.Status, s.Failed.Reason))
	case s.Done != nil:
		return *s.Done
	case s.Chunk != nil:
		return "a chunk: " + *s.Chunk
	}
	return "nothing"
}

func startClients(t *testing.T, s *sandbox.Sandbox) *jsClients {
	t.Helper()
	p, err := findNode(t).Start(t.Context(), filepath.Join(s.Dir, "clients.log"), []string{
		"GATEWAY=" + s.URL, "PROJECT=" + sandbox.Project, "LOCATION=europe-west1", "NODE_EXTRA_CA_CERTS=" + s.World.CA.File(),
	}, "clients.mjs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return &jsClients{t: t, s: s, program: p}
}

// send gives an order on behalf of a member of the group.
func (c *jsClients) send(group string, o order) {
	c.t.Helper()
	token, err := c.s.Caller(group)
	if err != nil {
		c.t.Fatal(err)
	}
	o.Token = token
	line, err := json.Marshal(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.s.World.Vertex.Take()
	if err := c.program.Send(string(line)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *jsClients) next() said {
	c.t.Helper()
	var line said
	if err := c.program.Line(&line); err != nil {
		c.t.Fatal(err)
	}
	return line
}

// do gives an order and tells what came of it, with how many requests and as whom.
func (c *jsClients) do(group string, o order) string {
	c.t.Helper()
	c.send(group, o)
	last := c.next()
	for last.Chunk != nil {
		last = c.next()
	}
	received := c.s.World.Vertex.Take()
	if len(received) == 0 {
		return last.String() + ", nothing forwarded"
	}
	account, _, _ := strings.Cut(received[0].Account, "@")
	return fmt.Sprintf("%s, %d × as %s", last, len(received), account)
}

const sandboxText = "This is the sandbox: no model has been asked."

// Each client from npm, by its own options and no others, gets what it asks for through HAProxy, or is told why not in its own terms.
func TestClientsFromNPM(t *testing.T) {
	findNode(t)
	s := startSandbox(t, sandbox.Options{})
	c := startClients(t, s)
	const flash, claude, openFlash = "gemini-2.5-flash", "claude-sonnet-4@20250514", "google/gemini-2.5-flash"
	for _, test := range []struct {
		client, action, model, group, want string
	}{
		{"genai", "unary", flash, "search-eng", sandboxText + ", 1 × as vx-search"},
		{"genai", "stream", flash, "search-eng", sandboxText + ", 1 × as vx-search"},
		{"genai", "count", flash, "search-eng", "*, 1 × as vx-search"},
		{"genai", "embed", "text-embedding-005", "search-eng", "3, 1 × as vx-search"},
		{"genai", "unary", "gemini-2.5-flash-preview", "search-eng", "ApiError 403 DENIED, nothing forwarded"},
		{"genai", "stream", "gemini-2.5-flash-preview", "search-eng", "ApiError 403 DENIED, nothing forwarded"},
		{"anthropic", "unary", claude, "research", sandboxText + ", 1 × as vx-research"},
		{"anthropic", "stream", claude, "research", sandboxText + ", 1 × as vx-research"},
		{"anthropic", "count", claude, "research", "*, 1 × as vx-research"},
		{"anthropic", "unary", claude, "search-eng", "PermissionDeniedError 403 NOT_ALLOWED, nothing forwarded"},
		{"anthropic", "stream", claude, "search-eng", "PermissionDeniedError 403 NOT_ALLOWED, nothing forwarded"},
		{"openai", "unary", openFlash, "search-eng", sandboxText + ", 1 × as vx-search"},
		{"openai", "stream", openFlash, "search-eng", sandboxText + ", 1 × as vx-search"},
		{"openai", "embed", "google/text-embedding-005", "search-eng", "3, 1 × as vx-search"},
		{"openai", "unary", "anthropic/claude-sonnet-4", "search-eng", "PermissionDeniedError 403 NOT_ALLOWED, nothing forwarded"},
	} {
		t.Run(strings.Join([]string{test.client, test.action, strings.ReplaceAll(test.model, "/", " "), test.group}, " "), func(t *testing.T) {
			c.t = t
			got := c.do(test.group, order{Client: test.client, Action: test.action, Model: test.model})
			if test.want[0] == '*' { // a number of tokens
				got = "*" + strings.TrimLeft(got, "0123456789")
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	t.Run("an expired token", func(t *testing.T) {
		for client, want := range map[string]string{
			"genai": "ApiError 401 TOKEN_EXPIRED", "anthropic": "AuthenticationError 401 TOKEN_EXPIRED", "openai": "AuthenticationError 401 TOKEN_EXPIRED",
		} {
			if got := expired(t, c, client); got != want {
				t.Errorf("%s: got %s, want %s", client, got, want)
			}
		}
	})
	checkNoSecrets(t, s)
}

// expired tells what a client sees whose token has expired.
func expired(t *testing.T, c *jsClients, client string) string {
	t.Helper()
	token, err := c.s.Caller("search-eng", fake.Expired())
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(order{Client: client, Action: "unary", Model: "gemini-2.5-flash", Token: token})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.program.Send(string(line)); err != nil {
		t.Fatal(err)
	}
	return c.next().String()
}

// Vertex AI sends the next chunk of an answer when the client has handed the one before to its program.
func TestClientsFromNPMStreamChunkByChunk(t *testing.T) {
	findNode(t)
	s := startSandbox(t, sandbox.Options{})
	c := startClients(t, s)
	streams := []order{
		{Client: "genai", Action: "stream", Model: "gemini-2.5-flash"},
		{Client: "anthropic", Action: "stream", Model: "claude-sonnet-4@20250514"},
		{Client: "openai", Action: "stream", Model: "google/gemini-2.5-flash"},
	}
	for _, o := range streams {
		t.Run(o.Client, func(t *testing.T) {
			c.t = t
			gate := make(chan struct{})
			chunks := []string{"one ", "two ", "three ", "four ", "five"}
			s.World.Vertex.Play(fake.Script{Chunks: chunks, Gate: gate})
			defer s.World.Vertex.Play(fake.Script{})
			c.send("research", o)
			ctx := limited(t)
			for _, want := range chunks {
				select {
				case gate <- struct{}{}:
				case <-ctx.Done():
					t.Fatalf("Vertex AI was not asked for %q", want)
				}
				// A chunk that is held back never comes: the program is ended then.
				late := context.AfterFunc(ctx, c.program.Close)
				got := c.next()
				if !late() || got.Chunk == nil || *got.Chunk != want {
					t.Fatalf("got %s, want the chunk %q", got, want)
				}
			}
			close(gate)
			if got, want := c.next().String(), strings.Join(chunks, ""); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// What is worth another try is tried again: by Anthropic's and OpenAI's clients twice unless they are told otherwise, by Google's when it
// is told to. A denial is tried once.
func TestClientsFromNPMTryAgain(t *testing.T) {
	findNode(t)
	s := startSandbox(t, sandbox.Options{})
	c := startClients(t, s)
	const flash, claude, openFlash = "gemini-2.5-flash", "claude-sonnet-4@20250514", "google/gemini-2.5-flash"
	two, none := 2, 0
	type attempt struct {
		name  string
		order order
		fault fake.Fault
		want  string
	}
	busy, away := fake.Fault{Status: 429, RetryAfter: "0"}, fake.Fault{Status: 503, RetryAfter: "0"}
	times := func(f fake.Fault, n int) fake.Fault { f.Times = n; return f }
	served := func(n int) string { return fmt.Sprintf("%s, %d × as vx-research", sandboxText, n) }
	for _, test := range []attempt{
		{"genai by itself gives up on 429", order{Client: "genai", Model: flash}, times(busy, 1), "ApiError 429, 1 × as vx-research"},
		{"genai told to tries 429 again", order{Client: "genai", Model: flash, Retries: &two}, times(busy, 2), served(3)},
		{"genai told to tries 503 again", order{Client: "genai", Model: flash, Retries: &two}, times(away, 1), served(2)},
		{"anthropic by itself tries 429 again", order{Client: "anthropic", Model: claude}, times(busy, 2), served(3)},
		{"anthropic by itself tries 503 again", order{Client: "anthropic", Model: claude}, times(away, 1), served(2)},
		{"anthropic gives up after two", order{Client: "anthropic", Model: claude}, times(busy, 3), "RateLimitError 429, 3 × as vx-research"},
		{"anthropic told not to does not", order{Client: "anthropic", Model: claude, Retries: &none}, times(away, 1),
			"ServiceUnavailableError 503, 1 × as vx-research"},
		{"openai by itself tries 429 again", order{Client: "openai", Model: openFlash}, times(busy, 2), served(3)},
		{"openai by itself tries 503 again", order{Client: "openai", Model: openFlash}, times(away, 1), served(2)},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.t = t
			test.order.Action = "unary"
			s.World.Vertex.Fail(test.fault)
			defer s.World.Vertex.Heal()
			if got := c.do("research", test.order); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	t.Run("a denial is tried once", func(t *testing.T) {
		c.t = t
		for client, model := range map[string]string{"genai": claude, "anthropic": claude, "openai": "anthropic/claude-sonnet-4"} {
			before := denials(t, s)
			got := c.do("search-eng", order{Client: client, Action: "unary", Model: model, Retries: &two})
			if n := denials(t, s) - before; n != 1 || !strings.Contains(got, " 403 ") {
				t.Errorf("%s: got %s after %d denied requests, want one", client, got, n)
			}
		}
	})
}

// denials is the number of requests that were denied so far.
func denials(t *testing.T, s *sandbox.Sandbox) int {
	t.Helper()
	if err := s.Warm(limited(t)); err != nil { // an allow is recorded before it is answered, and so is what came before it
		t.Fatal(err)
	}
	records, err := s.Audit()
	if err != nil {
		t.Fatal(err)
	}
	denied := map[any]bool{}
	for _, r := range records {
		if r["decision"] == "deny" {
			denied[r["id"]] = true
		}
	}
	return len(denied)
}
