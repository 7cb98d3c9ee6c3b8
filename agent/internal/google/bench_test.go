package google

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vertex-spoa/agent/internal/secret"
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

// cannedSTS grants what it is asked for, with tokens of 1,100 bytes.
type cannedSTS struct{ n atomic.Int64 }

func (c *cannedSTS) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	token := fmt.Sprintf("ya29.d.%01093d", c.n.Add(1))
	body := `{"access_token":"` + token + `","issued_token_type":"` + accessTokenType + `","token_type":"Bearer","expires_in":3600}`
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// caller is the request of the n-th caller, whose token has about 900 bytes.
func caller(n int) Request {
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	now := time.Now().Unix()
	return direct(secret.New(encode(`{"alg":"RS256","kid":"1"}`) + "." +
		encode(fmt.Sprintf(`{"iss":"https://login.example.com","sub":"user-%d","aud":"vertex","iat":%d,"exp":%d}`, n, now, now+36_000)) + "." +
		strings.Repeat("x", 683)))
}

func exchangeSource(tb testing.TB) *Source {
	tb.Helper()
	s, err := New(Config{Base: newFakeBase().token, Client: &http.Client{Transport: &cannedSTS{}}, ExchangesPerMinute: 1_000_000_000})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

func BenchmarkExchangedToken(b *testing.B) {
	s := exchangeSource(b)
	rs := make([]Request, 1024)
	for i := range rs {
		rs[i] = caller(i)
		if _, err := s.Token(b.Context(), rs[i]); err != nil {
			b.Fatal(err)
		}
	}
	ctx := done()
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.Token(ctx, rs[i%len(rs)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, err := s.Token(ctx, rs[i%len(rs)]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkMemory tells what it costs to hold tokens, which have 1,100 bytes where they are exchanged and 60 where they are minted.
func BenchmarkMemory(b *testing.B) {
	b.Run("10,000 accounts", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			s, err := New(Config{Base: newFakeBase().token, Endpoint: "https://iam.test", Client: &http.Client{Transport: inProcess{newFakeIAM(nil)}}})
			if err != nil {
				b.Fatal(err)
			}
			rs := make([]Request, 10_000)
			for i := range rs {
				rs[i] = request(fmt.Sprintf("account-%d@team.iam.gserviceaccount.com", i))
			}
			s.Keep(rs)
			if err := s.Warm(b.Context(), rs); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric((heap()-before)/1e6, "MB")
			s.Close()
		}
	})
	b.Run("100,000 callers", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			s := exchangeSource(b)
			var group sync.WaitGroup
			for worker := range 16 {
				group.Go(func() {
					for i := worker; i < 100_000; i += 16 {
						if _, err := s.Token(b.Context(), caller(i)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			if got := s.Exchanges(); got.Held != 100_000 {
				b.Errorf("%+v are held", got)
			}
			b.ReportMetric((heap()-before)/1e6, "MB")
			b.ReportMetric(float64(s.Exchanges().Bytes)/1e6, "counted-MB")
			s.Close()
		}
	})
}

func TestAnExchangedTokenAtHandCostsNoAllocation(t *testing.T) {
	s := exchangeSource(t)
	r := caller(1)
	if _, err := s.Token(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx := done()
	if got := testing.AllocsPerRun(1000, func() { _, _ = s.Token(ctx, r) }); got > 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}
