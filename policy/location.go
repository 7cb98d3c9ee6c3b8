package policy

import (
	"slices"
	"strings"
)

type location struct{ name, host string }

// locations is the table of all locations and their hosts, sorted by name; it is never written to. The hosts are those of the client
// libraries' service configuration: one per region, one for the location global, and those of the two multi-regions us and eu.
var locations = [...]location{
	{"africa-south1", "africa-south1-aiplatform.googleapis.com"},
	{"asia-east1", "asia-east1-aiplatform.googleapis.com"},
	{"asia-east2", "asia-east2-aiplatform.googleapis.com"},
	{"asia-northeast1", "asia-northeast1-aiplatform.googleapis.com"},
	{"asia-northeast2", "asia-northeast2-aiplatform.googleapis.com"},
	{"asia-northeast3", "asia-northeast3-aiplatform.googleapis.com"},
	{"asia-south1", "asia-south1-aiplatform.googleapis.com"},
	{"asia-south2", "asia-south2-aiplatform.googleapis.com"},
	{"asia-southeast1", "asia-southeast1-aiplatform.googleapis.com"},
	{"asia-southeast2", "asia-southeast2-aiplatform.googleapis.com"},
	{"asia-southeast3", "asia-southeast3-aiplatform.googleapis.com"},
	{"australia-southeast1", "australia-southeast1-aiplatform.googleapis.com"},
	{"australia-southeast2", "australia-southeast2-aiplatform.googleapis.com"},
	{"eu", "aiplatform.eu.rep.googleapis.com"},
	{"europe-central2", "europe-central2-aiplatform.googleapis.com"},
	{"europe-north1", "europe-north1-aiplatform.googleapis.com"},
	{"europe-north2", "europe-north2-aiplatform.googleapis.com"},
	{"europe-southwest1", "europe-southwest1-aiplatform.googleapis.com"},
	{"europe-west1", "europe-west1-aiplatform.googleapis.com"},
	{"europe-west10", "europe-west10-aiplatform.googleapis.com"},
	{"europe-west12", "europe-west12-aiplatform.googleapis.com"},
	{"europe-west15", "europe-west15-aiplatform.googleapis.com"},
	{"europe-west2", "europe-west2-aiplatform.googleapis.com"},
	{"europe-west3", "europe-west3-aiplatform.googleapis.com"},
	{"europe-west4", "europe-west4-aiplatform.googleapis.com"},
	{"europe-west6", "europe-west6-aiplatform.googleapis.com"},
	{"europe-west8", "europe-west8-aiplatform.googleapis.com"},
	{"europe-west9", "europe-west9-aiplatform.googleapis.com"},
	{"global", "aiplatform.googleapis.com"},
	{"me-central1", "me-central1-aiplatform.googleapis.com"},
	{"me-central2", "me-central2-aiplatform.googleapis.com"},
	{"me-west1", "me-west1-aiplatform.googleapis.com"},
	{"northamerica-northeast1", "northamerica-northeast1-aiplatform.googleapis.com"},
	{"northamerica-northeast2", "northamerica-northeast2-aiplatform.googleapis.com"},
	{"southamerica-east1", "southamerica-east1-aiplatform.googleapis.com"},
	{"southamerica-west1", "southamerica-west1-aiplatform.googleapis.com"},
	{"us", "aiplatform.us.rep.googleapis.com"},
	{"us-central1", "us-central1-aiplatform.googleapis.com"},
	{"us-central2", "us-central2-aiplatform.googleapis.com"},
	{"us-east1", "us-east1-aiplatform.googleapis.com"},
	{"us-east4", "us-east4-aiplatform.googleapis.com"},
	{"us-east5", "us-east5-aiplatform.googleapis.com"},
	{"us-east7", "us-east7-aiplatform.googleapis.com"},
	{"us-south1", "us-south1-aiplatform.googleapis.com"},
	{"us-west1", "us-west1-aiplatform.googleapis.com"},
	{"us-west2", "us-west2-aiplatform.googleapis.com"},
	{"us-west3", "us-west3-aiplatform.googleapis.com"},
	{"us-west4", "us-west4-aiplatform.googleapis.com"},
	{"us-west8", "us-west8-aiplatform.googleapis.com"},
}

// Locations returns every known location with the host that serves it. The map is the caller's own.
func Locations() map[string]string {
	m := make(map[string]string, len(locations))
	for _, l := range locations {
		m[l.name] = l.host
	}
	return m
}

// locationIndex returns the place of a location in the table.
func locationIndex(name string) (int, bool) {
	return slices.BinarySearchFunc(locations[:], name, func(l location, name string) int { return strings.Compare(l.name, name) })
}

// locationSet has one bit for each location of the table; the array type below fails to compile when they are too many for it.
type locationSet uint64

const allLocations = ^locationSet(0)

var _ [64 - len(locations)]struct{}
