package policy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLocationsAreThoseOfTheClientLibraries(t *testing.T) {
	want := map[string]string{"global": "aiplatform.googleapis.com"}
	for _, row := range rows(t, "vertex-locations.tsv") {
		if !strings.Contains(row[1], "preprod") {
			want[row[0]] = row[1]
		}
	}
	if diff := cmp.Diff(want, Locations()); diff != "" {
		t.Errorf("locations (-want +got):\n%s", diff)
	}
}

func TestLocationsAreSortedForSearching(t *testing.T) {
	if !slices.IsSortedFunc(locations[:], func(a, b location) int { return strings.Compare(a.name, b.name) }) {
		t.Error("the table of locations is not sorted by name")
	}
	for i, l := range locations {
		if got, ok := locationIndex(l.name); !ok || got != i {
			t.Errorf("locationIndex(%q): got %d, %v, want %d", l.name, got, ok, i)
		}
	}
}

func TestLocationsReturnsACopy(t *testing.T) {
	clear(Locations())
	if len(Locations()) != len(locations) {
		t.Error("a caller could change the table")
	}
}

func TestHostComesFromTheTable(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(Locations())) {
		c, err := ParseCall("POST", "/v1/projects/p1/locations/"+name+"/endpoints/1:predict")
		if err != nil {
			t.Errorf("location %q: %v", name, err)
		} else if got, want := c.Host(), Locations()[name]; got != want {
			t.Errorf("host of %q: got %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"", "evil.example", "us-central1.evil", "Global", "us-central1-aiplatform.googleapis.com"} {
		if got := (Call{Location: name}).Host(); got != "" {
			t.Errorf("host of %q: got %q, want none", name, got)
		}
	}
}
