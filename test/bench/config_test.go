package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The variants without an agent are the example's own file, but for the question and what hangs on it.
func TestVariantsDifferFromTheExampleOnlyWhereTheyShould(t *testing.T) {
	text, err := os.ReadFile("../../haproxy-example/vertex.cfg")
	if err != nil {
		t.Fatal(err)
	}
	example := string(text)
	for _, variant := range variants {
		t.Run(variant, func(t *testing.T) {
			got, err := configure(example, variant, "/key.pem", "ya29.test")
			if err != nil {
				t.Fatal(err)
			}
			if variant != none && variant != jwt {
				if got != example {
					t.Error(cmp.Diff(example, got))
				}
				return
			}
			for _, gone := range []string{"filter spoe", "send-spoe-group"} {
				if !strings.Contains(example, gone) || strings.Contains(got, gone) {
					t.Errorf("%q is not in the example, or still in the variant", gone)
				}
			}
			head, _, _ := strings.Cut(example, filter)
			_, tail, _ := strings.Cut(example, answering)
			if !strings.HasPrefix(got, head) || !strings.HasSuffix(got, withoutQuestions(tail)) {
				t.Error("what stands before the filter or after the question is not as in the example")
			}
			if gate := strings.Contains(got, "jwt_verify"); gate != (variant == jwt) {
				t.Errorf("got a signature verified: %t", gate)
			}
		})
	}
}

func TestAnExampleThatHasChangedIsAnError(t *testing.T) {
	for _, variant := range []string{none, jwt} {
		if got, err := configure("frontend vertex\n", variant, "/key.pem", "ya29.test"); err == nil || got != "" {
			t.Errorf("%s: got %q and error %v, want an error", variant, got, err)
		}
	}
}

// A ratio is taken within a round, and the median over the rounds: one bad round changes nothing.
func TestRatiosAreTakenWithinARound(t *testing.T) {
	r := results{}
	for _, perSecond := range []float64{100, 10, 1000} { // of a machine with moods
		r.add(none, 64, cell{perSecond: perSecond})
		r.add(product, 64, cell{perSecond: perSecond / 2})
	}
	r.add(none, 64, cell{perSecond: 100})
	r.add(product, 64, cell{perSecond: 1})
	if got := r.against(product, none, 64, throughput, ratio); got != 0.5 {
		t.Errorf("got %v of none, want 0.5", got)
	}
	if got := r.median(none, 64, throughput); got != 100 {
		t.Errorf("got a median of %v, want 100", got)
	}
}

func TestMuxIsHAProxy31AndLater(t *testing.T) {
	for version, want := range map[string]bool{"2.6.12-1+deb12u4": false, "3.0.11": false, "3.1.0": true, "3.4.7-1": true, "4.0.0": true, "": false} {
		if got := mux(version); got != want {
			t.Errorf("%q: got %t, want %t", version, got, want)
		}
	}
}
