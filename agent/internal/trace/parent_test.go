package trace

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

func TestParseTraceParent(t *testing.T) {
	const rest = callersTrace + "-" + callersSpan
	for _, c := range []struct {
		name, in       string
		valid, sampled bool
	}{
		{"sampled", "00-" + rest + "-01", true, true},
		{"not sampled", "00-" + rest + "-00", true, false},
		{"sampled and random", "00-" + rest + "-03", true, true},
		{"an unknown flag", "00-" + rest + "-04", false, false},
		{"something after version 00", "00-" + rest + "-01-x", false, false},
		{"a later version", "01-" + rest + "-01", true, true},
		{"a later version with something after it", "cc-" + rest + "-09-what-ever", true, true},
		{"a later version with something stuck to it", "cc-" + rest + "-01x", false, false},
		{"version ff", "ff-" + rest + "-01", false, false},
		{"upper case", "00-" + strings.ToUpper(rest) + "-01", false, false},
		{"no trace id", "00-" + strings.Repeat("0", 32) + "-" + callersSpan + "-01", false, false},
		{"no span id", "00-" + callersTrace + "-" + strings.Repeat("0", 16) + "-01", false, false},
		{"nothing", "", false, false},
		{"cut short", "00-" + rest + "-0", false, false},
		{"a space before", " 00-" + rest + "-01", false, false},
		{"two headers", "00-" + rest + "-01,00-" + rest + "-01", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parseTraceParent(c.in); got.valid() != c.valid || got.sampled != c.sampled {
				t.Errorf("got %+v, want valid %v, sampled %v", got, c.valid, c.sampled)
			}
			compare(t, c.in)
		})
	}
}

// compare asks OpenTelemetry's own reader.
func compare(t *testing.T, in string) {
	t.Helper()
	got := parseTraceParent(in)
	ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": in})
	want := trace.SpanContextFromContext(ctx)
	if len(in) == len(sampledBy)+1 && strings.HasPrefix(in, "00-") && strings.HasSuffix(in, "-") { // OpenTelemetry takes a dash at the end for nothing
		want = trace.SpanContext{}
	}
	if got.valid() != want.IsValid() || got.sampled != want.IsSampled() ||
		trace.TraceID(got.trace) != want.TraceID() || trace.SpanID(got.span) != want.SpanID() {
		t.Errorf("%q: got %+v, OpenTelemetry has %v %v %v", in, got, want.TraceID(), want.SpanID(), want.TraceFlags())
	}
}

func FuzzParseTraceParent(f *testing.F) {
	f.Add(sampledBy)
	f.Add(unsampledBy)
	f.Add(sampledBy + "-")
	f.Add("cc" + sampledBy[2:] + "-x")
	f.Add("ff" + sampledBy[2:])
	f.Add(strings.ToUpper(sampledBy))
	f.Fuzz(func(t *testing.T, in string) { compare(t, in) })
}
