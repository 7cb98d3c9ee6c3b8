package trace

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func TestTheParentDecides(t *testing.T) {
	sampled, unsampled, none := parseTraceParent(sampledBy), parseTraceParent(unsampledBy), parent{}
	for _, c := range []struct {
		name   string
		share  float64
		parent *parent
		want   bool
	}{
		{"a sampled parent is followed", 0, &sampled, true},
		{"a parent that is not sampled is followed too", 1, &unsampled, false},
		{"without a parent none of a share of 0", 0, &none, false},
		{"without a parent all of a share of 1", 1, &none, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSampler(c.share)
			for i := range 1000 {
				if got := s.samples(c.parent, fmt.Sprint(i), true); got != c.want {
					t.Fatalf("got %v, want %v", got, c.want)
				}
			}
		})
	}
}

func TestWhatHasNoIDIsNotTraced(t *testing.T) {
	s, p := newSampler(1), parseTraceParent(sampledBy)
	if s.samples(&p, "", true) || s.samples(&parent{}, "", true) {
		t.Error("a decision without an id is traced, in one trace with all others")
	}
}

func TestTheShareIsThatOfASamplerByTraceID(t *testing.T) {
	const n, share = 20000, 0.25
	s, theirs := newSampler(share), sdk.TraceIDRatioBased(share)
	taken := 0
	for i := range n {
		id := fmt.Sprint("call-", i)
		got := s.samples(&parent{}, id, true)
		want := theirs.ShouldSample(sdk.SamplingParameters{TraceID: trace.TraceID(rootID(id))}).Decision == sdk.RecordAndSample
		if got != want {
			t.Fatalf("%s: got %v, want %v", id, got, want)
		}
		if got {
			taken++
		}
	}
	if got := float64(taken) / n; got < share-0.02 || got > share+0.02 {
		t.Errorf("got a share of %v, want about %v", got, share)
	}
}

func TestStrangersDoNotDecideHowMuchIsTraced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSampler(0)
		p := parseTraceParent(sampledBy)
		count := func() (n int) {
			for range 1000 {
				if s.samples(&p, callID, false) {
					n++
				}
			}
			return n
		}
		if got := count(); got != 10 {
			t.Errorf("got %d of a burst, want 10", got)
		}
		<-time.After(500 * time.Millisecond)
		if got := count(); got != 5 {
			t.Errorf("got %d after half a second, want 5", got)
		}
		<-time.After(time.Hour)
		if got := count(); got != 10 {
			t.Errorf("got %d after an hour, want 10", got)
		}
		if !s.samples(&p, callID, true) {
			t.Error("a verified caller is held back by strangers")
		}
	})
}
