package misuse

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkDecision(b *testing.B) {
	d := newDetector(b, Config{})
	b.Run("of a known caller", func(b *testing.B) {
		r := allow(monday, "repo:acme/search:ref:refs/heads/main", "gemini-2.5-flash")
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			r.Time = r.Time.Add(time.Millisecond)
			d.Decision(r)
		}
	})
	b.Run("of 5,000 callers in turn", func(b *testing.B) {
		names := make([]string, 5_000)
		for i := range names {
			names[i] = fmt.Sprint("subject ", i)
		}
		r := allow(monday, "", "gemini-2.5-flash")
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			r.Subject = names[i%len(names)]
			d.Decision(r)
		}
	})
	b.Run("denied, of an unknown caller", func(b *testing.B) {
		r := deny(monday, "", "192.0.2.1", 401)
		b.ReportAllocs()
		for b.Loop() {
			d.Decision(r)
		}
	})
	b.Run("in parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			r := allow(monday, "repo:acme/search:ref:refs/heads/main", "gemini-2.5-flash")
			for pb.Next() {
				d.Decision(r)
			}
		})
	})
}

func BenchmarkClosing(b *testing.B) {
	d := newDetector(b, Config{})
	c := used(monday, "repo:acme/search:ref:refs/heads/main", 1500)
	b.ReportAllocs()
	for b.Loop() {
		c.Time = c.Time.Add(time.Second)
		d.Closing(c)
	}
}
