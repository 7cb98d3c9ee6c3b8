package fake

import (
	"slices"
	"strings"
)

const (
	hostGlobal     = "aiplatform.googleapis.com"
	hostUS         = "aiplatform.us.rep.googleapis.com"
	hostEU         = "aiplatform.eu.rep.googleapis.com"
	regionalSuffix = "-aiplatform.googleapis.com"
)

// regions are the locations with a host of their own, from the endpoints of Vertex AI's discovery documents.
const regions = `
	africa-south1
	asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3
	asia-south1 asia-south2 asia-southeast1 asia-southeast2 asia-southeast3
	australia-southeast1 australia-southeast2
	europe-central2 europe-north1 europe-north2 europe-southwest1
	europe-west1 europe-west2 europe-west3 europe-west4 europe-west6 europe-west8 europe-west9
	europe-west10 europe-west12 europe-west15
	me-central1 me-central2 me-west1
	northamerica-northeast1 northamerica-northeast2
	southamerica-east1 southamerica-west1
	us-central1 us-central2 us-east1 us-east4 us-east5 us-east7 us-south1
	us-west1 us-west2 us-west3 us-west4 us-west8`

// locationOf returns the one location that a public host name of Vertex AI serves.
func locationOf(host string) (string, bool) {
	switch host {
	case hostGlobal:
		return "global", true
	case hostUS:
		return "us", true
	case hostEU:
		return "eu", true
	}
	region, ok := strings.CutSuffix(host, regionalSuffix)
	return region, ok && slices.Contains(strings.Fields(regions), region)
}

// publicHosts returns every public host name of Vertex AI.
func publicHosts() []string {
	hosts := []string{hostGlobal, hostUS, hostEU}
	for region := range strings.FieldsSeq(regions) {
		hosts = append(hosts, region+regionalSuffix)
	}
	return hosts
}
