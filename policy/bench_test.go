package policy

import "testing"

func BenchmarkDecideInParallel(b *testing.B) {
	p := loadText(b, companyPolicy)
	s := p.Bind(corp("search-eng", "everyone"))
	call := parsed(b, model("europe-west4", "google", "gemini-2.5-flash", "generateContent"))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if d := s.Decide(call, Request{}); d.Effect != Allow {
				b.Errorf("got %v %v", d.Effect, d.Reason)
				return
			}
		}
	})
}

// A decision that allows allocates nothing, whatever the order of the caller's groups.
func TestDecideDoesNotAllocate(t *testing.T) {
	s := loadText(t, companyPolicy).Bind(corp("everyone", "research", "search-eng"))
	for _, target := range []string{
		model("europe-west4", "google", "gemini-2.5-flash", "generateContent"),
		model("us-central1", "anthropic", "claude-opus-4@20250514", "rawPredict"),
		"/v1beta1/publishers/google/models",
	} {
		call := parsed(t, target)
		if n := testing.AllocsPerRun(1000, func() {
			if d := s.Decide(call, Request{Role: ""}); d.Effect != Allow {
				t.Fatalf("got %v %v", d.Effect, d.Reason)
			}
		}); n >= 1 { // a collection may empty the pool
			t.Errorf("%s: got %v allocations, want 0", target, n)
		}
	}
}
