package trace

import (
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	proto "go.opentelemetry.io/proto/otlp/trace/v1"
	protobuf "google.golang.org/protobuf/proto"
)

// BenchmarkDecided is what a decision pays: nothing where there is no tracer, and little where it is not traced.
func BenchmarkDecided(b *testing.B) {
	for _, c := range []struct {
		name   string
		off    bool
		share  float64
		header string
	}{
		{"off", true, 0, sampledBy},
		{"no_parent_share_0", false, 0, ""},
		{"no_parent_share_0.001", false, 0.001, ""},
		{"parent_not_sampled", false, 1, unsampledBy},
		{"parent_sampled", false, 0, sampledBy},
		{"no_parent_share_1", false, 1, ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			var tracer *Tracer
			if !c.off {
				tracer = &Tracer{sampler: newSampler(c.share), queue: newQueue(2048, 128), count: func(Outcome, int) {}}
				go func() {
					for range tracer.queue.wake { // nothing is sent
						tracer.queue.take()
					}
				}()
				defer close(tracer.queue.wake)
			}
			r := anAllow()
			r.TraceParent = c.header
			b.ReportAllocs()
			for b.Loop() {
				tracer.Decided(r)
			}
		})
	}
}

// BenchmarkSpans is what the sender does for each decision.
func BenchmarkSpans(b *testing.B) {
	tracer := &Tracer{}
	p := parseTraceParent(sampledBy)
	d := tracer.newDecision(anAllow(), &p)
	b.ReportAllocs()
	for b.Loop() {
		spans := d.appendSpans(nil)
		_, err := protobuf.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: []*proto.ResourceSpans{{ScopeSpans: []*proto.ScopeSpans{{Spans: spans}}}}})
		if err != nil {
			b.Fatal(err)
		}
	}
}
