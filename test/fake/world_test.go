package fake

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	chat   = "chat@acme-ai.iam.gserviceaccount.com"
	batch  = "batch@acme-ai.iam.gserviceaccount.com"
	middle = "middle@acme-ai.iam.gserviceaccount.com"

	central  = "https://us-central1-aiplatform.googleapis.com"
	flash    = "/v1/projects/acme-ai/locations/us-central1/publishers/google/models/gemini-2.5-flash"
	claude   = "/v1/projects/acme-ai/locations/us-central1/publishers/anthropic/models/claude-sonnet-4@20250514"
	prompt   = `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`
	messages = `{"anthropic_version":"vertex-2023-10-16","max_tokens":16,"messages":[{"role":"user","content":"hi"}]}`
)

// startWorld starts a sandbox with three accounts: the agent may use chat; middle, which the agent may use, may use batch.
func startWorld(t testing.TB, edit ...func(*Options)) *World {
	t.Helper()
	o := Options{
		Dir: t.TempDir(),
		Accounts: map[string]Account{
			chat:   {Impersonators: []string{DefaultAgent}, Projects: []string{"acme-ai"}, LongLived: true},
			middle: {Impersonators: []string{DefaultAgent}},
			batch:  {Impersonators: []string{middle}, Projects: []string{"acme-ai"}},
		},
		Clients: map[string]Client{"ci": {Secret: "s3cret", Claims: map[string]any{"sub": "ci@example.com"}}},
	}
	for _, f := range edit {
		f(&o)
	}
	w, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return w
}

// grant issues a token as a party would, without asking it.
func grant(t testing.TB, w *World, g Grant) string {
	t.Helper()
	if g.Expiry.IsZero() {
		g.Expiry = time.Now().Add(time.Hour)
	}
	if g.Scopes == nil {
		g.Scopes = []string{ScopeCloudPlatform}
	}
	token, err := w.Ledger.issue(g, 64)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func agentToken(t testing.TB, w *World) string {
	return grant(t, w, Grant{Source: FromMetadata, Account: DefaultAgent})
}

func chatToken(t testing.TB, w *World) string {
	return grant(t, w, Grant{Source: FromIAM, Account: chat, Projects: []string{"acme-ai"}})
}

// ask is one request. Its answer is read whole.
type ask struct {
	method string // POST when empty
	url    string
	token  string // none when empty
	body   string
	header [][2]string // added; Content-Type is application/json unless given
}

type answer struct {
	Status int
	Header http.Header
	Body   string
}

func (a ask) send(t testing.TB, client *http.Client) answer {
	t.Helper()
	res, err := client.Do(a.request(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func (a ask) request(t testing.TB) *http.Request {
	t.Helper()
	method := a.method
	if method == "" {
		method = http.MethodPost
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, a.url, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if a.body == "" {
		req.Body, req.ContentLength = nil, 0
	}
	if a.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	for _, h := range a.header {
		if h[0] == "Content-Type" {
			req.Header.Del(h[0])
		}
		req.Header.Add(h[0], h[1])
	}
	return req
}

// client returns a client through the egress proxy that is closed with the test.
func client(t testing.TB, w *World) *http.Client {
	c := w.Client()
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// raw sends bytes to Vertex over TLS for a server name (none when empty) and reads one answer.
func raw(t *testing.T, w *World, serverName, text string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{RootCAs: w.CA.Pool(), ServerName: serverName}}
	if serverName == "" {
		d.Config = &tls.Config{RootCAs: w.CA.Pool()} // dials an address, for which no name is sent
	}
	conn, err := d.DialContext(ctx, "tcp", w.Vertex.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

// decode reads JSON into a generic value.
func decode(t testing.TB, text string) map[string]any {
	t.Helper()
	var v map[string]any
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("decode %q: %v", text, err)
	}
	return v
}

func TestStartLeavesNothingRunningAfterAnError(t *testing.T) {
	first := startWorld(t)
	_, err := Start(Options{Dir: t.TempDir(), Addrs: Addrs{Egress: first.Egress.Addr()}})
	if err == nil {
		t.Fatal("two proxies on one address")
	}
	if !strings.Contains(err.Error(), first.Egress.Addr()) {
		t.Errorf("got %v, want the address in it", err)
	}
}

func TestStartNamesWhatIsMissing(t *testing.T) {
	tests := []struct {
		name string
		make func() error
		want string
	}{
		{"world without directory", func() error { _, err := Start(Options{}); return err }, "start sandbox: new CA: no directory"},
		{"provider without audience", func() error { _, err := NewIDP(IDPOptions{}); return err },
			"new identity provider: no audience"},
		{"provider whose client has no secret", func() error {
			_, err := NewIDP(IDPOptions{Audience: "a", Clients: map[string]Client{"c": {}}})
			return err
		}, `new identity provider: client "c" has no secret`},
		{"https provider without CA", func() error {
			_, err := NewIDP(IDPOptions{Audience: "a", Issuer: "https://login.example.com"})
			return err
		}, `new identity provider: issuer "https://login.example.com": https needs a CA, http must have none`},
		{"provider whose issuer ends in a slash", func() error {
			_, err := NewIDP(IDPOptions{Audience: "a", Issuer: "http://login.example.com/"})
			return err
		}, `new identity provider: issuer "http://login.example.com/": want scheme://host[/path]`},
		{"metadata server without ledger", func() error { _, err := NewMetadata(MetadataOptions{}); return err },
			"new metadata server: Ledger, Account and Project are required"},
		{"IAM without ledger", func() error { _, err := NewIAM(IAMOptions{}); return err }, "new IAM: no Ledger"},
		{"Vertex without CA", func() error { _, err := NewVertex(VertexOptions{Ledger: NewLedger()}); return err },
			"new Vertex: CA and Ledger are required"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.make()
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCloseTwiceIsOneClose(t *testing.T) {
	w := startWorld(t)
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Client().Get(DefaultIssuer + "/keys"); err == nil {
		t.Error("a closed sandbox answers")
	}
}
