package test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// span is what a test looks at of a span in OTLP/JSON.
type span struct {
	TraceID, SpanID, ParentSpanID, Name string

	Attributes []struct {
		Key   string
		Value map[string]any
	}
}

func (s *span) attribute(key string) any {
	for _, a := range s.Attributes {
		if a.Key == key {
			for _, v := range a.Value {
				return v
			}
		}
	}
	return nil
}

// startReceiver starts the OpenTelemetry Collector's OTLP receiver, and returns its address and the spans it gets.
func startReceiver(t *testing.T) (url string, spans <-chan span) {
	t.Helper()
	binary, err := filepath.Abs("../.cache/otlp/otlp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		if everything() {
			t.Fatalf("otlp: %v: run `make otlp`", err)
		}
		t.Skip("NOT RUN: otlp: not built: run `make otlp`")
	}
	addr, err := sandbox.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-listen", addr)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil || cmd.Start() != nil {
		t.Fatal("the receiver does not start")
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	if !lines.Scan() || lines.Text() != "listening" {
		t.Fatalf("the receiver says %q", lines.Text())
	}
	got := make(chan span, 1000)
	go func() {
		defer close(got)
		for lines.Scan() {
			var batch struct {
				ResourceSpans []struct{ ScopeSpans []struct{ Spans []span } }
			}
			if json.Unmarshal(lines.Bytes(), &batch) != nil {
				return
			}
			for _, r := range batch.ResourceSpans {
				for _, s := range r.ScopeSpans {
					for _, each := range s.Spans {
						got <- each
					}
				}
			}
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		for range got { // until it has ended
		}
		_ = cmd.Wait()
	})
	return "http://" + addr, got
}

// A call is seen where its caller's trace is seen: below the caller's span the call, with what it has used, and below that the decision.
func TestTracesOfACall(t *testing.T) {
	url, spans := startReceiver(t)
	s := startSandbox(t, sandbox.Options{Closings: sandbox.ByDatagram, AgentFlags: []string{"--trace.endpoint=" + url, "--trace.sample=0"}})
	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	if got := outcome(t, s, callerOf(t, s, "search-eng"), promptBody, http.Header{"Traceparent": {"00-" + trace + "-" + parent + "-01"}}); got != "200" {
		t.Fatalf("got %s", got)
	}
	if got := outcome(t, s, callerOf(t, s, "search-eng"), promptBody, nil); got != "200" { // not sampled
		t.Fatalf("got %s", got)
	}
	var call, decision span
	for late := time.After(30 * time.Second); call.Name == "" || decision.Name == ""; {
		select {
		case got := <-spans:
			if got.TraceID != trace {
				t.Errorf("span %q is of trace %q", got.Name, got.TraceID)
			}
			switch got.Name {
			case "generate_content gemini-2.5-flash":
				call = got
			case "vertex-spoa decide":
				decision = got
			}
		case <-late:
			t.Fatalf("after half a minute there are %+v and %+v", call, decision)
		}
	}
	if call.ParentSpanID != parent || decision.ParentSpanID != call.SpanID {
		t.Errorf("the call's parent is %q, the decision's %q; want %q and %q", call.ParentSpanID, decision.ParentSpanID, parent, call.SpanID)
	}
	if call.attribute("gen_ai.request.model") != "gemini-2.5-flash" || call.attribute("gen_ai.usage.input_tokens") == nil {
		t.Errorf("the call's attributes are %v", call.Attributes)
	}
}
