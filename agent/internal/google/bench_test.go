package google

import (
	"context"
	"fmt"
	"net/http"
	"testing"
)

func benchSource(b *testing.B) (*Source, Request, Request) {
	b.Helper()
	s, err := New(Config{Base: newFakeBase().token, Endpoint: "https://iam.test", Client: &http.Client{Transport: inProcess{newFakeIAM(nil)}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	var rs []Request
	for i := range 100 {
		rs = append(rs, request(fmt.Sprintf("a%d@team.iam.gserviceaccount.com", i)))
	}
	s.Keep(rs[:50])
	if err := s.Warm(b.Context(), rs); err != nil {
		b.Fatal(err)
	}
	return s, rs[0], rs[99]
}

// done is what the agent's reading goroutine passes: it must not wait.
func done() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func BenchmarkToken(b *testing.B) {
	s, kept, used := benchSource(b)
	ctx := done()
	for _, bench := range []struct {
		name string
		r    Request
	}{{"kept", kept}, {"used", used}} {
		b.Run(bench.name+"/alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Token(ctx, bench.r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bench.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Token(ctx, bench.r); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkMint(b *testing.B) {
	s, _, _ := benchSource(b)
	r := request(alice)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.iam.mint(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestATokenAtHandCostsNoAllocation(t *testing.T) {
	w := onLoopback(t)
	w.Keep([]Request{request(alice)})
	w.mustGet(t, request(alice))
	w.mustGet(t, request(bob))
	ctx := done()
	for _, r := range []Request{request(alice), request(bob)} {
		if got := testing.AllocsPerRun(1000, func() { _, _ = w.Token(ctx, r) }); got > 0 {
			t.Errorf("%v allocations, want 0", got)
		}
	}
}
