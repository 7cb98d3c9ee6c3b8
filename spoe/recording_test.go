package spoe

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

var updateRecordings = flag.Bool("update", false, "write anew what is expected of the recordings")

// recording is a conversation of a real HAProxy with an agent; the README of testdata/recordings describes the files.
type recording struct {
	path       string
	version    string // the folder: 2.6
	name       string // the scenario: kinds
	pipelining Pipelining
	turns      []turn
}

// turn is what one read brought from one side, or the end of the connection.
type turn struct {
	mark byte // '>' from HAProxy, '<' from the agent, '!' what HAProxy got instead of the agent's
	data []byte
	end  bool
}

func readRecording(t testing.TB, path string) recording {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(filepath.Base(path), ".txt")
	r := recording{path: path, version: filepath.Base(filepath.Dir(path)), name: base[:strings.LastIndex(base, "-")]}
	for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		key, rest, _ := strings.Cut(line, " ")
		switch {
		case key == "#", key == "haproxy":
		case key == "pipelining":
			r.pipelining = Pipelining(rest)
		case (key == ">" || key == "<") && rest == "close":
			r.turns = append(r.turns, turn{mark: key[0], end: true})
		case key == ">" || key == "<" || key == "!":
			r.turns = append(r.turns, turn{mark: key[0]})
			fallthrough
		case key == "" && len(r.turns) > 0:
			data, err := hex.DecodeString(strings.TrimSpace(rest))
			if err != nil {
				t.Fatalf("%s:%d: %v", path, n+1, err)
			}
			last := &r.turns[len(r.turns)-1]
			last.data = append(last.data, data...)
		default:
			t.Fatalf("%s:%d: %q", path, n+1, line)
		}
	}
	return r
}

// recordings returns all of them.
func recordings(t testing.TB) []recording {
	t.Helper()
	paths, err := filepath.Glob("testdata/recordings/*/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	var all []recording
	for _, path := range paths {
		all = append(all, readRecording(t, path))
	}
	return all
}

// said returns all the bytes of one side.
func (r recording) said(mark byte) []byte {
	var all []byte
	for _, turn := range r.turns {
		if turn.mark == mark {
			all = append(all, turn.data...)
		}
	}
	return all
}

// cutFrames cuts b into frames, with their length prefixes, and leaves out what is not a whole frame.
func cutFrames(b []byte) [][]byte {
	var all [][]byte
	for len(b) >= lenPrefix {
		n := lenPrefix + int(binary.BigEndian.Uint32(b))
		if n > len(b) {
			break
		}
		all = append(all, b[:n:n])
		b = b[n:]
	}
	return all
}

// recordedFrames returns the frames that real HAProxys have sent, each with its length prefix: seeds for fuzzing.
func recordedFrames(t testing.TB) [][]byte {
	t.Helper()
	var all [][]byte
	for _, r := range recordings(t) {
		all = append(all, cutFrames(r.said('>'))...)
	}
	return all
}

// spoken parses what an agent has said.
func spoken(t testing.TB, b []byte) []agentFrame {
	t.Helper()
	var all []agentFrame
	for _, raw := range cutFrames(b) {
		f, err := parseAgent(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("recorded %x: %v", raw, err)
		}
		all = append(all, f)
	}
	return all
}

// outline is what an answer to a recording must share with the recorded one; the actions are the handler's.
func outline(f agentFrame) string {
	switch f.kind {
	case 103:
		return fmt.Sprintf("ACK %d %d", f.streamID, f.frameID)
	case 102:
		return fmt.Sprintf("AGENT-DISCONNECT %d %d %v %q", f.streamID, f.frameID, f.items["status-code"], f.items["message"])
	}
	return fmt.Sprintf("AGENT-HELLO %d %d %v %v %q", f.streamID, f.frameID, f.items["version"], f.items["max-frame-size"], f.items["capabilities"])
}

// outlines are sorted: a pipelined connection is answered in any order.
func outlines(all []agentFrame) []string {
	var out []string
	for _, f := range all {
		out = append(out, outline(f))
	}
	slices.Sort(out)
	return out
}

// listener is a handler that writes down what it is asked. It answers everything but what the recorded agent did not answer.
type listener struct{ heard []string }

func (l *listener) ServeSPOE(ctx context.Context, n *Notify, reply Reply) {
	l.heard = append(l.heard, describe(n))
	for i := range n.Messages() {
		if path, _ := n.Messages()[i].Arg("path"); path.Equal(Text("/never")) {
			context.AfterFunc(ctx, func() { _ = reply(allow) })
			return
		}
	}
	_ = reply(allow)
}

// describe tells all there is in n.
func describe(n *Notify) string {
	var b strings.Builder
	fmt.Fprintf(&b, "NOTIFY stream %d frame %d engine %q\n", n.StreamID(), n.FrameID(), n.EngineID())
	for i := range n.Messages() {
		fmt.Fprintf(&b, "  message %q\n", n.Messages()[i].Name)
		for _, a := range n.Messages()[i].Args {
			fmt.Fprintf(&b, "    %s = %s\n", a.Name, spell(a.Value))
		}
	}
	return b.String()
}

// spell tells a value with its content, which a recording may show.
func spell(v Value) string {
	if b, ok := v.Bool(); ok {
		return fmt.Sprintf("%v %t", v.Kind(), b)
	}
	if i, ok := v.Int(); ok {
		return fmt.Sprintf("%v %d", v.Kind(), i)
	}
	if a, ok := v.Addr(); ok {
		return fmt.Sprintf("%v %v", v.Kind(), a)
	}
	if s, ok := v.Text(); ok {
		return fmt.Sprintf("%v %q", v.Kind(), s)
	}
	if b, ok := v.Bytes(); ok {
		return fmt.Sprintf("%v %x", v.Kind(), b)
	}
	return v.String()
}

// replay plays HAProxy's side over nc, in pieces of at most piece bytes, and returns what the server said until it closed the connection.
// It speaks only after the server has said what the recorded agent had said by then.
func (r recording) replay(t *testing.T, nc net.Conn, piece int) []agentFrame {
	t.Helper()
	_ = nc.SetDeadline(time.Now().Add(patience))
	came := make(chan agentFrame, 256)
	failed := make(chan error, 1)
	go func() {
		defer close(came)
		for {
			f, err := parseAgent(nc)
			if err != nil {
				failed <- err
				return
			}
			came <- f
		}
	}()
	var got []agentFrame
	wait := func(n int) {
		for len(got) < n {
			f, ok := <-came
			if !ok {
				t.Fatalf("got %q, then %v, want %d frames", outlines(got), <-failed, n)
			}
			got = append(got, f)
		}
	}
	var agent []byte
	for _, turn := range r.turns {
		switch {
		case turn.mark == '<':
			agent = append(agent, turn.data...)
		case turn.mark == '>' && !turn.end:
			wait(len(cutFrames(agent)))
			for data := range slices.Chunk(turn.data, piece) {
				if _, err := nc.Write(data); err != nil {
					t.Fatalf("write: %v", err)
				}
			}
		case turn.mark == '>':
			if half, ok := nc.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
				break
			}
			wait(len(cutFrames(r.said('<'))))
			_ = nc.Close()
		}
	}
	for f := range came {
		got = append(got, f)
	}
	if err := <-failed; !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after %q: %v, want the end", outlines(got), err)
	}
	_ = nc.Close()
	return got
}

// Whatever real HAProxys have said is understood as it was, and answered as it was, however the bytes arrive.
func TestRecordings(t *testing.T) {
	for _, r := range recordings(t) {
		t.Run(r.version+"/"+filepath.Base(r.path), func(t *testing.T) {
			want := outlines(spoken(t, r.said('<')))
			golden := strings.TrimSuffix(r.path, ".txt") + ".golden"
			t.Run("as it came", func(t *testing.T) {
				l := new(listener)
				s := serveUnix(t, Config{Handler: l, Pipelining: r.pipelining})
				got := outlines(r.replay(t, s.dial().nc, math.MaxInt))
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("answers (-want +got):\n%s", diff)
				}
				s.faults(r)
				l.compare(t, golden)
			})
			t.Run("byte by byte", func(t *testing.T) {
				l := new(listener)
				var s *rig
				var nc net.Conn
				if r.guarded(t) { // which takes a socket
					s = serveUnix(t, Config{Handler: l, Pipelining: r.pipelining})
					nc = s.dial().nc
				} else {
					s = newRig(t, Config{Handler: l, Pipelining: r.pipelining, Timeout: time.Minute})
					nc = s.pipe().nc
				}
				got := outlines(r.replay(t, nc, 1))
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("answers (-want +got):\n%s", diff)
				}
				if err := s.srv.Close(); err != nil {
					t.Error(err)
				}
				s.faults(r)
				l.compare(t, golden)
			})
		})
	}
}

// guarded reports whether the recorded agent has guarded the connection: it pipelined by its own choice with a HAProxy that does not offer
// async.
func (r recording) guarded(t *testing.T) bool {
	t.Helper()
	agent := spoken(t, r.said('<'))
	return r.pipelining == PipeliningAuto && len(agent) > 0 && agent[0].items["capabilities"] == "pipelining" &&
		!bytes.Contains(r.said('>'), wireText("pipelining,async"))
}

// faults compares what the server counted with what it must: nothing, unless HAProxy has given up a request.
func (r *rig) faults(of recording) {
	r.t.Helper()
	want := map[Reason]int{}
	if of.asks("/never") {
		reason := ReasonConnGone
		if of.asks("/after") {
			reason = ReasonSuperseded
		}
		r.awaitError(reason, 1)
		want[reason] = 1
	}
	if diff := gocmp.Diff(want, r.counted()); diff != "" {
		r.t.Errorf("errors (-want +got):\n%s", diff)
	}
}

// asks reports whether HAProxy asks about a path on this connection.
func (r recording) asks(path string) bool { return bytes.Contains(r.said('>'), wireText(path)) }

// compare compares what was asked with what stands beside the recording. The rig has ended.
func (l *listener) compare(t *testing.T, golden string) {
	t.Helper()
	got := strings.Join(l.heard, "")
	if *updateRecordings {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

// The types of SPOP as HAProxy writes them, against what its configuration says.
func TestRecordedKinds(t *testing.T) {
	want := []Message{{Name: "kinds", Args: []Arg{
		{"absent", Value{}}, {"yes", Bool(true)}, {"no", Bool(false)}, {"int", Int(10)}, {"negative", Int(-7)},
		{"least", Int(-math.MaxInt64)}, {"most", Int(math.MaxInt64)},
		{"v4", Addr(netip.MustParseAddr("192.0.2.1"))}, {"v6", Addr(netip.MustParseAddr("2001:db8::1"))},
		{"text", Text("text")}, {"empty", Text("")}, {"binary", Binary([]byte{0x00, 0xff, 0x80})}, {"method", Text("POST")},
		{"body", Binary([]byte(`{"contents":[]}`))}, {"path", Text("/kinds")}, {"", Text("unnamed")},
	}}, {Name: "none"}}
	for _, r := range recordings(t) {
		if r.name != "kinds" {
			continue
		}
		t.Run(r.version, func(t *testing.T) {
			asked := 0
			for _, raw := range cutFrames(r.said('>')) {
				if raw[lenPrefix] != 3 {
					continue
				}
				n, err := decodeNotify(raw, "E")
				if err != nil {
					t.Fatal(err)
				}
				asked++
				if diff := gocmp.Diff(want, n.Messages()); diff != "" {
					t.Error(diff)
				}
			}
			if asked != 1 {
				t.Errorf("got %d NOTIFYs, want 1", asked)
			}
		})
	}
}

// HAProxy sends whole frames of three types, and nothing between them.
func TestRecordedFrames(t *testing.T) {
	for _, raw := range recordedFrames(t) {
		h, _, err := splitFrame(raw)
		if err != nil || h.kind < 1 || h.kind > 3 || h.flags != flagFin {
			t.Errorf("got %+v, %v of %x", h, err, raw)
		}
	}
	for _, r := range recordings(t) {
		if said := r.said('>'); !bytes.Equal(slices.Concat(cutFrames(said)...), said) {
			t.Errorf("%s: HAProxy sent a piece of a frame", r.path)
		}
	}
}

// What the recordings are there for is in them, for each version.
func TestRecordingsHoldWhatTheyAreNamedAfter(t *testing.T) {
	held := map[string]map[string]bool{}
	hold := func(version, what string) {
		if held[version] == nil {
			held[version] = map[string]bool{}
		}
		held[version][what] = true
	}
	connections := map[string]int{}
	for _, r := range recordings(t) {
		connections[r.version+r.name]++
		hold(r.version, r.name)
		for _, raw := range cutFrames(r.said('>')) {
			switch raw[lenPrefix] {
			case 1:
				h, err := decodeHello(raw)
				if err != nil {
					t.Fatal(err)
				}
				hold(r.version, fmt.Sprintf("%s: HELLO %q, healthcheck %t", r.name, *h.capabilities, h.healthcheck))
				hold(r.version, fmt.Sprintf("%s: frames of %d", r.name, *h.maxFrameSize))
			case 2:
				s, text, err := decodeDisconnect(raw)
				if err != nil {
					t.Fatal(err)
				}
				hold(r.version, fmt.Sprintf("%s: DISCONNECT %d %q", r.name, s, text))
			}
		}
		if r.guarded(t) {
			hold(r.version, r.name+": guarded")
		}
		if r.mostInFlight() > 1 {
			hold(r.version, fmt.Sprintf("%s: several in flight", r.name))
		}
	}
	common := []string{
		"authorize", "concurrent", "crowd", "disconnect", "healthcheck", "idle", "kinds", "pipelined", "plain", "reload", "sequence", "stop", "unanswered",
		`healthcheck: HELLO "", healthcheck true`, "pipelined: several in flight", "crowd: several in flight", "authorize: frames of 65532", "crowd: frames of 65532",
	}
	applet := append([]string{
		`kinds: HELLO "pipelining,async", healthcheck false`, `authorize: HELLO "pipelining,async", healthcheck false`, `plain: HELLO "async", healthcheck false`, `idle: DISCONNECT 2 "a timeout occurred"`,
		`stop: DISCONNECT 0 "normal"`, `disconnect: DISCONNECT 3 "frame is too big"`,
	}, common...)
	mux := append([]string{
		`kinds: HELLO "pipelining", healthcheck false`, `authorize: HELLO "pipelining", healthcheck false`, `plain: HELLO "", healthcheck false`,
		"authorize: guarded", "crowd: guarded", "unanswered: several in flight",
	}, common...)
	for version, want := range map[string][]string{"2.6": applet, "3.0": applet, "3.2": mux, "3.4": mux} {
		for _, what := range want {
			if !held[version][what] {
				t.Errorf("no recording of HAProxy %s holds %s; there are %q", version, what, slices.Sorted(maps.Keys(held[version])))
			}
		}
		if connections[version+"reload"] < 2 {
			t.Errorf("the reload of HAProxy %s has %d connections, want those of the old and of the new process", version, connections[version+"reload"])
		}
	}
}

// The recorded question is that of the example: with every argument that this one names, in its order.
func TestRecordedQuestionIsThatOfTheExample(t *testing.T) {
	text, err := os.ReadFile("../haproxy-example/vertex-spoe.conf")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "\nspoe-message authorize\n")
	block, _, _ = strings.Cut(block, "\n\n")
	var want []string
	for _, word := range strings.Fields(block) {
		if name, _, ok := strings.Cut(word, "="); ok {
			want = append(want, name)
		}
	}
	for _, r := range recordings(t) {
		if r.name != "authorize" && r.name != "crowd" {
			continue
		}
		for _, raw := range cutFrames(r.said('>')) {
			if raw[lenPrefix] != 3 {
				continue
			}
			n, err := decodeNotify(raw, "E")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range n.Messages()[0].Args {
				got = append(got, a.Name)
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("%s is not of this example; `make record` renews it (-want +got):\n%s", r.path, diff)
			}
		}
	}
}

// mostInFlight returns how many NOTIFYs were once without an answer.
func (r recording) mostInFlight() int {
	most, asked := 0, 0
	for i := range r.turns {
		so := recording{turns: r.turns[:i+1]}
		asked = 0
		for _, raw := range cutFrames(so.said('>')) {
			if raw[lenPrefix] == 3 {
				asked++
			}
		}
		for _, raw := range cutFrames(so.said('<')) {
			if raw[lenPrefix] == 103 {
				asked--
			}
		}
		most = max(most, asked)
	}
	return most
}

// Each recording has its expectation, and nothing is expected that is not recorded.
func TestRecordingsAreExpectedOneByOne(t *testing.T) {
	var want []string
	for _, r := range recordings(t) {
		want = append(want, strings.TrimSuffix(r.path, ".txt")+".golden")
	}
	got, err := filepath.Glob("testdata/recordings/*/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// No credential has slipped into a file that everybody can read.
func TestRecordingsHoldNoCredential(t *testing.T) {
	for _, r := range recordings(t) {
		all := append(r.said('>'), r.said('<')...)
		for _, secret := range []string{"eyJ", "ya29.", "AIza", "Basic "} {
			if bytes.Contains(all, []byte(secret)) {
				t.Errorf("%s holds %q", r.path, secret)
			}
		}
	}
}
