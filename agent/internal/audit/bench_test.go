package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// usual is a record as most are.
func usual() *Record {
	r := record("0198f3c2-9d3c-7cc1-a4f0-5b0f3c1d2e3f")
	r.Issuer, r.Subject, r.TokenID, r.Source = "corp", "service-account-7f3a@corp.example.com", "a1b2c3d4-0000-1111-2222-333344445555", "10.20.30.40"
	r.HTTPMethod, r.URI = "POST", "/v1/projects/acme-ai/locations/europe-west4/publishers/google/models/gemini-2.5-pro:generateContent"
	r.Project, r.Location, r.Publisher, r.Model, r.Method = "acme-ai", "europe-west4", "google", "gemini-2.5-pro", "generateContent"
	r.Role, r.Rule, r.Account, r.Policy = "search", "search-models", "vx-search@acme-ai.iam.gserviceaccount.com", "7b0f3c1d2e3f4a5b"
	r.TokenFingerprint, r.TokenExpiry, r.UserAgent = "0123456789abcdef", r.Time, "google-genai-sdk/1.30.0 gl-python/3.13"
	return r
}

func BenchmarkAppendFlush(b *testing.B) {
	for _, path := range []string{"/dev/null", "file"} {
		for _, batch := range []int{1, 64} {
			for _, more := range []string{"plain", "chain", "keyed chain", "mask"} {
				b.Run(fmt.Sprintf("%s/%d a write/%s", strings.TrimPrefix(path, "/dev/"), batch, more), func(b *testing.B) {
					o := Options{Path: path, Patience: time.Minute}
					if path == "file" {
						o.Path = filepath.Join(b.TempDir(), "audit.jsonl")
					}
					switch more {
					case "chain":
						o.Chain = true
					case "keyed chain":
						o.Chain, o.ChainKey = true, key(b, 1)
					case "mask":
						o.Masker = masker(b, "subject=hmac,src=drop,jti=drop,user_agent=drop")
					}
					benchmarkAppendFlush(b, o, batch)
				})
			}
		}
	}
}

func benchmarkAppendFlush(b *testing.B, o Options, batch int) {
	l, err := OpenWith(o)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	r := usual()
	b.SetBytes(int64(len(r.appendTo(nil))))
	var told atomic.Int64
	check := func(err error) {
		if told.Add(1); err != nil {
			b.Error(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Append(r, check)
		if i%batch == batch-1 {
			l.Flush()
			for told.Load() <= int64(i) { // as an owner does who has nothing else to do
				runtime.Gosched()
			}
		}
		if i%200_000 == 199_999 && o.Path != "/dev/null" {
			_ = os.Truncate(o.Path, 0) // so that no disk fills up
		}
	}
	l.Flush()
}

// Many goroutines with lines of their own, as connections of HAProxy are.
func BenchmarkAppendFlushTogether(b *testing.B) {
	path := filepath.Join(b.TempDir(), "audit.jsonl")
	l, err := OpenWith(Options{Path: path, Patience: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	r := usual()
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		told := make(chan error, 1)
		done := func(err error) { told <- err }
		for pb.Next() {
			l.Append(r, done)
			l.Flush()
			if err := <-told; err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, k := range []Key{{}, key(b, 1)} {
		b.Run(k.String(), func(b *testing.B) {
			s := newSink()
			l := newLog(s, Options{Chain: true, ChainKey: k, Patience: time.Minute})
			r := usual()
			told := make(chan error, 1)
			for range 10_000 {
				l.Append(r, func(err error) { told <- err })
				l.Flush()
				if err := <-told; err != nil {
					b.Fatal(err)
				}
			}
			text := s.buf.String()
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if r, err := Verify(strings.NewReader(text), VerifyOptions{Key: k}); err != nil || r.First != nil || r.Chained != 10_000 {
					b.Fatal(r.First, err)
				}
			}
		})
	}
}
