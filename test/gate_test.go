package test

import (
	"context"
	wire "encoding/binary" // binary is the program
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"vertex-spoa/test/sandbox"
)

// response answers one NOTIFY, whose stream id and frame id are given as they stood on the wire.
type response func(conn net.Conn, ids []byte)

// wrongAgent shakes hands and answers health checks as SPOE.txt has it, and answers NOTIFYs as its test says. It writes its frames by hand,
// because the agent's own server does not write what this one has to.
type wrongAgent struct {
	path string

	mu        sync.Mutex
	responses []response // to the next NOTIFYs; the last one is for all that come after
	asked     []string   // the messages of the NOTIFYs so far
}

func startWrongAgent(t *testing.T) *wrongAgent {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate") // a name that is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	a := &wrongAgent{path: filepath.Join(dir, "agent.sock")}
	l, err := net.Listen("unix", a.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			all.Go(func() {
				defer stop()
				defer conn.Close()
				a.converse(conn)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		all.Wait()
		_ = os.RemoveAll(dir)
	})
	return a
}

// Types of frames (SPOE.txt section 3.2).
const (
	haproxyHello      = 1
	haproxyDisconnect = 2
	notify            = 3
	agentHello        = 101
	agentDisconnect   = 102
	ackFrame          = 103
	fin               = 1
)

// converse serves a connection until either side has enough of it.
func (a *wrongAgent) converse(conn net.Conn) {
	for {
		kind, ids, payload, err := readFrame(conn)
		if err != nil {
			return
		}
		switch kind {
		case haproxyHello:
			capabilities := "" // as the agent does where it cannot guard the connection
			if strings.Contains(string(payload), "async") {
				capabilities = "pipelining"
			}
			hello := slices.Concat(pair("version", "2.0"), lengthed("max-frame-size"), []byte{3}, varint(16380), pair("capabilities", capabilities))
			_, err = conn.Write(spopFrame(agentHello, fin, ids, hello))
		case haproxyDisconnect:
			_, _ = conn.Write(disconnect())
			return
		case notify:
			a.next(payload)(conn, ids)
		}
		if err != nil {
			return
		}
	}
}

// next notes what is asked, and returns what to do about it.
func (a *wrongAgent) next(payload []byte) response {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, string(payload[1:1+payload[0]])) // a short name has one byte of length
	r := a.responses[0]
	if len(a.responses) > 1 {
		a.responses = a.responses[1:]
	}
	return r
}

// will says how the next NOTIFYs are answered, and forgets those so far.
func (a *wrongAgent) will(responses ...response) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.responses, a.asked = responses, nil
}

// was tells the messages it was asked.
func (a *wrongAgent) was() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.asked, " ")
}

func readFrame(conn net.Conn) (kind byte, ids, payload []byte, err error) {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return 0, nil, nil, err
	}
	body := make([]byte, wire.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return 0, nil, nil, err
	}
	end := 5 // after type and flags
	for range 2 {
		end += varintLen(body[end:])
	}
	return body[0], body[5:end], body[end:], nil
}

// varint is the encoding of SPOE.txt section 3.1.
func varint(n uint64) []byte {
	if n < 240 {
		return []byte{byte(n)}
	}
	b := []byte{byte(n) | 240}
	for n = (n - 240) >> 4; n >= 128; n = (n - 128) >> 7 {
		b = append(b, byte(n)|128)
	}
	return append(b, byte(n))
}

func varintLen(b []byte) int {
	if b[0] < 240 {
		return 1
	}
	n := 2
	for b[n-1] >= 128 {
		n++
	}
	return n
}

func lengthed(s string) []byte { return append(varint(uint64(len(s))), s...) }

// pair is an item of a HELLO whose value is a string.
func pair(name, value string) []byte {
	return slices.Concat(lengthed(name), []byte{8}, lengthed(value))
}

func spopFrame(kind byte, flags uint32, ids []byte, payload ...[]byte) []byte {
	b := wire.BigEndian.AppendUint32([]byte{kind}, flags)
	b = slices.Concat(b, ids, slices.Concat(payload...))
	return append(wire.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func disconnect() []byte {
	return spopFrame(agentDisconnect, fin, []byte{0, 0}, lengthed("status-code"), []byte{3, 0}, pair("message", "normal"))
}

// Scopes of variables (SPOE.txt section 3.4).
const (
	scopeSession     = 1
	scopeTransaction = 2
	scopeRequest     = 3
)

// setting is the action that sets a variable to a text.
func setting(scope byte, name, value string) []byte {
	return slices.Concat([]byte{1, 3, scope}, lengthed(name), []byte{8}, lengthed(value))
}

// counting sets a variable of the transaction to a number.
func counting(name string, value uint64) []byte {
	return slices.Concat([]byte{1, 3, scopeTransaction}, lengthed(name), []byte{4}, varint(value))
}

// writing answers with what text makes of the ids.
func writing(text func(ids []byte) []byte) response {
	return func(conn net.Conn, ids []byte) { _, _ = conn.Write(text(ids)) }
}

func ack(actions ...[]byte) response {
	return writing(func(ids []byte) []byte { return spopFrame(ackFrame, fin, ids, actions...) })
}

// deciding is an ACK that sets the decision, and nothing else.
func deciding(decision string) response {
	return ack(setting(scopeTransaction, "decision", decision))
}

// thenClosing closes the connection after the first n bytes of the response.
func thenClosing(r response, n int) response {
	return func(conn net.Conn, ids []byte) {
		r(&cutting{conn, n}, ids)
		_ = conn.Close()
	}
}

// cutting writes the beginning of what it is given.
type cutting struct {
	net.Conn
	n int
}

func (c *cutting) Write(b []byte) (int, error) { return c.Conn.Write(b[:c.n]) }

func silent(net.Conn, []byte) {}

func parting(conn net.Conn, _ []byte) {
	_, _ = conn.Write(disconnect())
	_ = conn.Close()
}

// proof is what lets a request through, action by action.
type proof struct{ token, uri, host, decision, rest []byte }

// proofFor is the whole proof for an ordinary call, with a token that Vertex AI takes.
func proofFor(t *testing.T, s *sandbox.Sandbox) (p proof, token string) {
	t.Helper()
	for text, grant := range s.World.Ledger.Tokens() {
		if grant.Account == sandbox.Search {
			token = text
		}
	}
	if token == "" {
		t.Fatal("there is no token of the account yet")
	}
	return proof{
		token:    setting(scopeRequest, "token", token),
		uri:      setting(scopeTransaction, "uri", generatePath),
		host:     setting(scopeTransaction, "host", "europe-west1-aiplatform.googleapis.com"),
		decision: setting(scopeTransaction, "decision", "allow"),
		rest:     slices.Concat(setting(scopeTransaction, "location", "europe-west1"), counting("status", 200)),
	}, token
}

func (p proof) actions() []byte { return slices.Concat(p.rest, p.token, p.uri, p.host, p.decision) }

// decided is the proof with another action in the place of the decision.
func (p proof) decided(action ...byte) []byte {
	return slices.Concat(p.rest, p.token, p.uri, p.host, action)
}

// wrongAnswer is a way to answer that lets nothing through.
type wrongAnswer struct {
	name      string
	responses []response
	want      string
	asked     string // the messages; not checked if empty, where it depends on the version of HAProxy
}

const (
	noDecision  = "503 NO_DECISION"
	unavailable = "503 AGENT_UNAVAILABLE"
)

// badLists are answers whose list of actions is no proof.
func badLists(p proof) []wrongAnswer {
	var all []wrongAnswer
	for _, tt := range []struct {
		name    string
		actions []byte
	}{
		{"an empty ACK", nil},
		{"a token and no decision", p.decided()},
		{"a list that is torn within the decision", p.actions()[:len(p.actions())-3]},
		{"a list that is torn after the name of the decision", p.actions()[:len(p.actions())-len("allow")-2]},
		{"a list that is torn within the token", slices.Concat(p.rest, p.token[:len(p.token)-1])},
		{"an unknown action before the others", append([]byte{9, 3, scopeTransaction}, p.actions()...)},
		{"an action with too few arguments before the others", append([]byte{1, 2, scopeTransaction}, p.actions()...)},
		{"a scope that there is not before the others", slices.Concat(setting(7, "x", "y"), p.actions())},
		{"allow and no token", slices.Concat(p.rest, p.uri, p.host, p.decision)},
		{"allow and an empty token", slices.Concat(p.rest, setting(scopeRequest, "token", ""), p.uri, p.host, p.decision)},
		{"allow and the token in another scope", slices.Concat(p.rest, setting(scopeTransaction, "token", "x"), p.uri, p.host, p.decision)},
		{"allow and no target", slices.Concat(p.rest, p.token, p.host, p.decision)},
		{"allow and a target that is no path", slices.Concat(p.rest, p.token, setting(scopeTransaction, "uri", "https://evil.example.com/"), p.host, p.decision)},
		{"allow and no host", slices.Concat(p.rest, p.token, p.uri, p.decision)},
		{"allow and an empty host", slices.Concat(p.rest, p.token, p.uri, setting(scopeTransaction, "host", ""), p.decision)},
		{"ALLOW", p.decided(setting(scopeTransaction, "decision", "ALLOW")...)},
		{"allow and a space", p.decided(setting(scopeTransaction, "decision", "allow ")...)},
		{"allow after a space", p.decided(setting(scopeTransaction, "decision", " allow")...)},
		{"allow in another scope", p.decided(setting(scopeSession, "decision", "allow")...)},
		{"true in the place of allow", p.decided(slices.Concat([]byte{1, 3, scopeTransaction}, lengthed("decision"), []byte{0x11})...)},
		{"an allow that is taken back", append(p.actions(), slices.Concat([]byte{2, 2, scopeTransaction}, lengthed("decision"))...)},
		{"a decision that there is not", p.decided(setting(scopeTransaction, "decision", "maybe")...)},
		{"deny with status 418", slices.Concat(p.token, p.uri, p.host, counting("status", 418), setting(scopeTransaction, "decision", "deny"))},
		{"deny with status 200", slices.Concat(p.token, p.uri, p.host, counting("status", 200), setting(scopeTransaction, "decision", "deny"))},
		{"deny without a status", slices.Concat(p.token, p.uri, p.host, setting(scopeTransaction, "decision", "deny"))},
	} {
		all = append(all, wrongAnswer{tt.name, []response{ack(tt.actions)}, noDecision, "authorize"})
	}
	return all
}

// badTalk are answers that HAProxy cannot make an ACK of, and none.
func badTalk(p proof) []wrongAnswer {
	good, needBody := ack(p.actions()), deciding("need_body")
	cut := thenClosing(good, 0)
	return []wrongAnswer{
		{"no answer", []response{silent}, unavailable, "authorize"},
		{"the connection closed", []response{cut}, unavailable, "authorize authorize"},
		{"the connection closed within an ACK", []response{thenClosing(good, 40)}, unavailable, ""},
		{"a DISCONNECT", []response{parting}, unavailable, "authorize authorize"},
		{"no SPOP", []response{writing(func([]byte) []byte { return []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") })}, unavailable, ""},
		{"an ACK for another stream", []response{writing(func(ids []byte) []byte {
			return spopFrame(ackFrame, fin, append(varint(1<<30), ids[len(ids)-1]), p.actions())
		})}, unavailable, "authorize"},
		{"a fragment of an ACK", []response{writing(func(ids []byte) []byte { return spopFrame(ackFrame, 0, ids, p.actions()) })}, unavailable, ""},
		{"need_body, and again", []response{needBody}, noDecision, "authorize authorize-body"},
		{"need_body, then an empty ACK", []response{ack(p.decided(setting(scopeTransaction, "decision", "need_body")...)), ack()},
			noDecision, "authorize authorize-body"},
		{"need_body, then no answer", []response{ack(p.decided(setting(scopeTransaction, "decision", "need_body")...)), silent},
			unavailable, "authorize authorize-body"},
		{"need_body, then the connection closed", []response{ack(p.decided(setting(scopeTransaction, "decision", "need_body")...)), cut},
			unavailable, "authorize authorize-body authorize-body"},
		{"the connection closed, then an empty ACK", []response{cut, ack()}, noDecision, "authorize authorize"},
	}
}

// gateSeries are the HAProxies that these tests take: what they look at is HAProxy.
func gateSeries() []string {
	if everything() {
		return haproxySeries()
	}
	return oldestAndNewest()
}

// HAProxy goes on after whatever an agent answers, and after nothing. The gate of the example lets a request through on one proof alone:
// each answer that falls short of it ends in an explicit refusal, and Vertex AI receives nothing. The next request on the same connection,
// which is answered properly, is let through.
func TestWrongAnswersLetNothingThrough(t *testing.T) {
	onEach(t, gateSeries(), func(t *testing.T, haproxy string) {
		agent := startWrongAgent(t)
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: []string{"VERTEX_AGENT=unix@" + agent.path}})
		p, token := proofFor(t, s)
		good := ack(p.actions())
		agent.will(good)
		if got, want := ask(t, s, false), "200 as vx-search"; got != want { // opens the connection that all others use
			t.Fatalf("got %s, want %s: what follows would prove nothing%s", got, want, s.Logs())
		}
		for _, tt := range append(badLists(p), badTalk(p)...) {
			t.Run(tt.name, func(t *testing.T) {
				agent.will(tt.responses...)
				if got, want := ask(t, s, true), tt.want+refused; got != want {
					t.Errorf("got %s, want %s%s", got, want, s.Logs())
				}
				if got := agent.was(); tt.asked != "" && got != tt.asked {
					t.Errorf("the agent was asked %q, want %q", got, tt.asked)
				}
				agent.will(good)
				if got, want := ask(t, s, true), "200 as vx-search"; got != want {
					t.Errorf("the next request on the connection: got %s, want %s%s", got, want, s.Logs())
				}
			})
		}
		if strings.Contains(string(s.Answers()), token) {
			t.Error("a caller was sent the token")
		}
	})
}

// ask makes the ordinary call and tells what came of it. An error must be explicit: HAProxy's own 503, with when to come again. The
// connection to HAProxy must be the one of the call before, if reused.
func ask(t *testing.T, s *sandbox.Sandbox, reused bool) string {
	t.Helper()
	s.World.Vertex.Take()
	var conn httptrace.GotConnInfo
	ctx := httptrace.WithClientTrace(limited(t), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conn = i }})
	r, err := s.Do(ctx, sandbox.Call{Target: generatePath, Token: callerOf(t, s, "search-eng"), Body: promptBody})
	if err != nil {
		t.Fatal(err)
	}
	if conn.Reused != reused {
		t.Errorf("the connection was used before: %t, want %t", conn.Reused, reused)
	}
	told := r.String()
	if r.Status != http.StatusOK && (r.Header.Get("Retry-After") == "" || r.Header.Get("X-Request-Id") == "") {
		told += fmt.Sprintf(" with the headers %v", r.Header)
	}
	received := s.World.Vertex.Take()
	if len(received) == 0 {
		return told + refused
	}
	for _, one := range received {
		name, _, _ := strings.Cut(one.Account, "@")
		told += " as " + name
	}
	return told
}

// HAProxy mutes an engine for the rest of a transaction after an error, without a word: its later calls do nothing and leave no error.
// The example has "option continue-on-error" against that, which makes the second try after a lost connection one. Without it the gate
// still holds, because it does not ask for errors.
func TestAMutedEngineLetsNothingThrough(t *testing.T) {
	const option = "    option      continue-on-error"
	onEach(t, gateSeries(), func(t *testing.T, haproxy string) {
		for _, tt := range []struct {
			name, want, asked string
			change            func(string) string
		}{
			{"as the example has it", "200 as vx-search", "authorize authorize", func(text string) string { return text }},
			{"muted", noDecision + refused, "authorize", func(text string) string { return strings.ReplaceAll(text, option, "    #") }},
		} {
			t.Run(tt.name, func(t *testing.T) {
				agent := startWrongAgent(t)
				text, err := os.ReadFile(filepath.Join(example(t), "vertex-spoe.conf"))
				if err != nil {
					t.Fatal(err)
				}
				if strings.Count(string(text), option) != 2 {
					t.Fatalf("the example's engines do not have %q", option)
				}
				spoe := filepath.Join(t.TempDir(), "vertex-spoe.conf")
				if err := os.WriteFile(spoe, []byte(tt.change(string(text))), 0o600); err != nil {
					t.Fatal(err)
				}
				s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: []string{"VERTEX_AGENT=unix@" + agent.path, "VERTEX_SPOE=" + spoe}})
				p, _ := proofFor(t, s)
				good := ack(p.actions())
				agent.will(thenClosing(good, 0), good)
				if got := ask(t, s, false); got != tt.want {
					t.Errorf("got %s, want %s%s", got, tt.want, s.Logs())
				}
				if got := agent.was(); got != tt.asked {
					t.Errorf("the agent was asked %q, want %q", got, tt.asked)
				}
				if got, want := ask(t, s, true), "200 as vx-search"; got != want {
					t.Errorf("the next request on the connection: got %s, want %s%s", got, want, s.Logs())
				}
			})
		}
	})
}

// HAProxy drops, without a word, a variable that stands neither in its configuration nor in register-var-names, and cuts a name of 64
// characters.
func TestTheVariablesOfTheAgentAreRegistered(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(example(t), "vertex-spoe.conf"))
	if err != nil {
		t.Fatal(err)
	}
	registered := map[string]string{} // by name, its prefix
	prefix := ""
	for line := range strings.Lines(string(text)) {
		switch words := strings.Fields(line); {
		case len(words) > 2 && words[1] == "var-prefix":
			prefix = words[2]
		case len(words) > 1 && words[0] == "register-var-names":
			for _, name := range words[1:] {
				registered[name] = prefix
			}
		}
	}
	set := variablesOfTheAgent(t)
	for _, name := range set {
		if registered[name] == "" {
			t.Errorf("the agent sets %q, which is not registered", name)
		}
	}
	for name, prefix := range registered {
		if !slices.Contains(set, name) && !slices.Contains(reserved, name) {
			t.Errorf("%q is registered, and the agent never sets it", name)
		}
		if full := "txn." + prefix + "." + name; len(full) >= 64 {
			t.Errorf("%s has %d characters, want less than 64", full, len(full))
		}
	}
}

// reserved are the variables that the agent may set by the contract with HAProxy, and does not.
var reserved = []string{"max_concurrent"} // never written

// variablesOfTheAgent are the names in the calls of package agent that make actions, and in its lists of texts.
func variablesOfTheAgent(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../agent/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			name, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				variablesOf(call, add)
			}
			return true
		})
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// variablesOf tells the names of a call of spoe.SetString and its like, and of one of appendTexts.
func variablesOf(call *ast.CallExpr, add func(ast.Expr)) {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		if room, ok := f.X.(*ast.Ident); ok && room.Name == "spoe" && (strings.HasPrefix(f.Sel.Name, "Set") || f.Sel.Name == "Unset") {
			add(call.Args[1])
		}
	case *ast.Ident:
		if f.Name != "appendTexts" {
			return
		}
		for _, pair := range call.Args[1].(*ast.CompositeLit).Elts {
			add(pair.(*ast.CompositeLit).Elts[0])
		}
	}
}
