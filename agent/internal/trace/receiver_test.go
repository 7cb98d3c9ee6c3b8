package trace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// receiver is the OpenTelemetry Collector's own OTLP receiver, in a process of its own.
type receiver struct {
	url   string
	lines *bufio.Scanner
	stop  func() error
}

func startReceiver(t *testing.T) *receiver {
	t.Helper()
	binary, err := filepath.Abs(filepath.Join("..", "..", "..", ".cache", "otlp", "otlp"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		if os.Getenv("TEST_ALL") != "" {
			t.Fatalf("otlp: %v: `make otlp` builds it where its modules can be had", err)
		}
		t.Skipf("NOT RUN: otlp: not installed: `make otlp` builds it where its modules can be had")
	}
	// An address of this process: on 127.0.0.1 another one might take the port meanwhile.
	pid := os.Getpid()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16&0x3f, pid>>8&0xff, pid&0xff))
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.CommandContext(t.Context(), binary, "-listen", addr)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &receiver{url: "http://" + addr, lines: bufio.NewScanner(out), stop: in.Close}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	r.lines.Buffer(nil, 16<<20)
	if !r.lines.Scan() || r.lines.Text() != "listening" {
		t.Fatalf("the receiver says %q", r.lines.Text())
	}
	return r
}

// received are the lines of the receiver, in OTLP/JSON: ids are hexadecimal, and numbers of 64 bits are texts.
type received struct {
	ResourceSpans []struct {
		Resource   struct{ Attributes []keyValue }
		SchemaURL  string
		ScopeSpans []struct {
			Scope struct{ Name string }
			Spans []struct {
				TraceID, SpanID, ParentSpanID, Name string

				Kind       int
				Attributes []keyValue
				Status     struct{ Code int }
			}
		}
	}
}

type keyValue struct {
	Key   string
	Value map[string]any
}

func TestTheCollectorsReceiverTakesWhatIsSent(t *testing.T) {
	r := startReceiver(t)
	tracer := newTracer(t, r.url, func(c *Config) { c.Calls, c.Sample, c.Instance = true, 0, "host-1" })
	tracer.Decided(anAllow())
	refused := anAllow()
	refused.ID, refused.Decision, refused.Status, refused.Reason = callID+"-2", "deny", 503, "MINT_UNAVAILABLE"
	tracer.Decided(refused)
	tracer.Closed(aClosing(), sampledBy)
	hostile := anAllow()
	hostile.ID, hostile.Model = callID+"-3", "gemini-\xff\xfe"
	tracer.Decided(hostile)
	flush(t, tracer)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	got := map[string]string{}
	ids := map[string]string{}
	for r.lines.Scan() {
		var in received
		if err := json.Unmarshal(r.lines.Bytes(), &in); err != nil {
			t.Fatalf("%v: %s", err, r.lines.Bytes())
		}
		for _, rs := range in.ResourceSpans {
			if rs.SchemaURL != schemaURL || textOf(rs.Resource.Attributes, keyServiceInstance) != "host-1" {
				t.Errorf("got schema %q and resource %v", rs.SchemaURL, rs.Resource.Attributes)
			}
			for _, span := range rs.ScopeSpans[0].Spans {
				if span.TraceID != callersTrace {
					t.Errorf("%s is in trace %s, want the caller's", span.Name, span.TraceID)
				}
				key := span.Name + " of " + textOf(span.Attributes, "vertex_spoa.id")
				ids[span.SpanID] = key
				got[key+" "+span.SpanID] = fmt.Sprintf("kind %d status %d parent %s model %s tokens %s", span.Kind, span.Status.Code, span.ParentSpanID,
					textOf(span.Attributes, keyModel), textOf(span.Attributes, keyInputTokens))
			}
		}
	}
	if len(got) != 4+4+1+4 {
		t.Fatalf("got %d spans, want 13: %v", len(got), got)
	}
	self, call := spanIDOf("decision", 1, callID), spanIDOf(callSpan, 0, callID)
	other, third := spanIDOf("decision", 1, callID+"-2"), spanIDOf("decision", 1, callID+"-3")
	want := map[string]string{
		fmt.Sprintf("generate_content gemini-2.5-flash of %s %x", callID, call): "kind 3 status 0 parent " + callersSpan + " model gemini-2.5-flash tokens 100",
		fmt.Sprintf("vertex-spoa decide of %s %x", callID, self):                fmt.Sprintf("kind 2 status 0 parent %x model gemini-2.5-flash tokens ", call),
		fmt.Sprintf("vertex-spoa decide of %s-2 %x", callID, other):             "kind 2 status 2 parent " + callersSpan + " model gemini-2.5-flash tokens ",
		fmt.Sprintf("vertex-spoa decide of %s-3 %x", callID, third): fmt.Sprintf("kind 2 status 0 parent %x model gemini-\ufffd tokens ",
			spanIDOf(callSpan, 0, callID+"-3")),
	}
	for _, id := range []string{callID, callID + "-2", callID + "-3"} {
		for _, stage := range []string{"verify", "policy", "mint"} {
			want[fmt.Sprintf("%s of  %x", stage, spanIDOf(stage, 1, id))] = fmt.Sprintf("kind 1 status 0 parent %x model  tokens ", spanIDOf("decision", 1, id))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(ids) != 13 {
		t.Errorf("got %d different span ids, want 13", len(ids))
	}
}

func textOf(all []keyValue, key string) string {
	for _, kv := range all {
		if kv.Key == key {
			for _, v := range kv.Value {
				return fmt.Sprint(v)
			}
		}
	}
	return ""
}
