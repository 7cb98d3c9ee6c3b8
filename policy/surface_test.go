package policy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	placeholder = regexp.MustCompile(`\{[^}]*\}`)
	fillPath    = strings.NewReplacer("{projectsId}", "p1", "{locationsId}", "us-central1", "{publishersId}", "google", "{modelsId}", "gemini-2.5-flash")
)

// neverOn are the methods below a location that no policy can switch on: they hand out credentials, upload media or pass any path on.
var neverOn = []string{
	"aiplatform.media.upload",
	"aiplatform.projects.locations.endpoints.deployedModels.invoke.invoke",
	"aiplatform.projects.locations.endpoints.invoke.invoke",
	"aiplatform.projects.locations.featureOnlineStores.featureViews.generateFetchAccessToken",
	"aiplatform.projects.locations.notebookExecutionJobs.generateAccessToken",
	"aiplatform.projects.locations.notebookRuntimes.generateAccessToken",
	"aiplatform.projects.locations.publishers.models.invoke.invoke",
}

// surfaceName is the name by which a policy switches a method of the API on; empty for one that it cannot.
func surfaceName(path, id string) string {
	name, ok := strings.CutPrefix(id, "aiplatform.projects.locations.")
	if !ok || !strings.Contains(path, "/locations/{locationsId}/") && !strings.Contains(path, "/locations/{locationsId}:") || slices.Contains(neverOn, id) {
		return ""
	}
	if strings.HasPrefix(name, "models.") {
		return "projects." + name
	}
	return name
}

// Every method of the API is an inference call, a listing, a surface under its own name, or refused. All are counted, so that the parser
// cannot become laxer or stricter unnoticed.
func TestEveryMethodOfTheAPIIsClassified(t *testing.T) {
	inference, surfaces, streaming := map[string]int{}, map[string]int{}, map[string]bool{}
	refusals := 0
	for _, row := range rows(t, "vertex-methods.tsv") {
		httpMethod, path, id := row[0], row[1], row[2]
		target := placeholder.ReplaceAllString(fillPath.Replace(path), "123")
		c, err := ParseAny(httpMethod, target)
		switch {
		case err != nil:
			refusals++
			if got := refused(t, httpMethod, target); got != SurfaceOff {
				t.Errorf("%s %s: got reason %s, want %s", httpMethod, target, got, SurfaceOff)
			}
			if name := surfaceName(path, id); name != "" {
				t.Errorf("%s %s: refused, want the surface method %s", httpMethod, target, name)
			}
			continue
		case c.Surface == "":
			inference[c.Method+" "+string(c.Group)]++
		default:
			surfaces[c.Surface]++
			if c.Stream {
				streaming[c.Method] = true
			}
			if want := surfaceName(path, id); c.Method != want || c.Group != GroupAdmin {
				t.Errorf("%s %s: got method %q of group %q, want %q of group %q", httpMethod, target, c.Method, c.Group, want, GroupAdmin)
			}
			if got := refused(t, httpMethod, target); got != SurfaceOff {
				t.Errorf("ParseCall of %s %s: got reason %s, want %s", httpMethod, target, got, SurfaceOff)
			}
		}
		if c.URI() != target {
			t.Errorf("URI: got %q, want %q", c.URI(), target)
		}
		checkRoundTrip(t, c)
	}
	wantInference := map[string]int{
		"generateContent generate": 4, "streamGenerateContent stream": 4, "countTokens count": 4, "computeTokens count": 4,
		"embedContent embed": 1, "predict predict": 4, "predictLongRunning predict": 4, "fetchPredictOperation predict": 4,
		"rawPredict predict": 4, "streamRawPredict stream": 4, "serverStreamingPredict stream": 4, "explain predict": 2,
		"directPredict predict": 2, "directRawPredict predict": 2, "embeddings embed": 1, "models.list list": 1, "models.get list": 2,
	}
	if diff := cmp.Diff(wantInference, inference); diff != "" {
		t.Errorf("inference calls (-want +got):\n%s", diff)
	}
	wantStreaming := map[string]bool{
		"featureOnlineStores.featureViews.streamingFetchFeatureValues": true, "featurestores.entityTypes.streamingReadFeatureValues": true,
		"interactions.createStream": true, "reasoningEngines.runtimeRevisions.streamQuery": true, "reasoningEngines.streamQuery": true,
	}
	if diff := cmp.Diff(wantStreaming, streaming); diff != "" {
		t.Errorf("surface methods that stream (-want +got):\n%s", diff)
	}
	total := 0
	for _, n := range surfaces {
		total += n
	}
	for surface, want := range map[string]int{
		onLocation: 22, "cachedContents": 10, "batchPredictionJobs": 10, "tuningJobs": 17, "ragCorpora": 38, "reasoningEngines": 128, "interactions": 3,
	} {
		if surfaces[surface] != want {
			t.Errorf("methods of the surface %s: got %d, want %d", surface, surfaces[surface], want)
		}
	}
	if got, want := []int{total, refusals}, []int{1477, 421}; !slices.Equal(got, want) {
		t.Errorf("methods of surfaces and refused ones: got %d, want %d", got, want)
	}
}

func TestSurfaceMethodsAreThoseOfTheAPI(t *testing.T) {
	want := map[string]bool{}
	for _, row := range rows(t, "vertex-methods.tsv") {
		target := placeholder.ReplaceAllString(fillPath.Replace(row[1]), "123")
		if _, err := ParseCall(row[0], target); err != nil && surfaceName(row[1], row[2]) != "" {
			want[surfaceName(row[1], row[2])] = true
		}
	}
	names := SurfaceMethods()
	if !slices.IsSorted(names) {
		t.Error("the names are not sorted")
	}
	got := map[string]bool{}
	for _, name := range names {
		got[name] = true
		if methodBits(name) != 0 {
			t.Errorf("%q is also the name of an inference call or a group", name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestParseAnyReadsSurfaces(t *testing.T) {
	base := Call{Version: "v1beta1", Project: "p1", Location: "us-central1", Group: GroupAdmin}
	const parent = "/v1beta1/projects/p1/locations/us-central1"
	tests := []struct {
		httpMethod, target string
		want               Call
	}{
		{"POST", "/cachedContents", Call{Method: "cachedContents.create", Surface: "cachedContents", Resource: "cachedContents", ModelInBody: true}},
		{"GET", "/cachedContents?pageSize=5", Call{Method: "cachedContents.list", Surface: "cachedContents", Resource: "cachedContents", Query: "pageSize=5"}},
		{"PATCH", "/cachedContents/1", Call{Method: "cachedContents.patch", Surface: "cachedContents", Resource: "cachedContents/1"}},
		{"PATCH", "/cachedContents/1?updateMask=ttl,expireTime", Call{Method: "cachedContents.patch", Surface: "cachedContents", Resource: "cachedContents/1", Query: "updateMask=ttl,expireTime"}},
		{"DELETE", "/cachedContents/1", Call{Method: "cachedContents.delete", Surface: "cachedContents", Resource: "cachedContents/1"}},
		{"POST", "/batchPredictionJobs/1:cancel", Call{Method: "batchPredictionJobs.cancel", Surface: "batchPredictionJobs", Resource: "batchPredictionJobs/1:cancel"}},
		{"GET", "/models?filter=labels.tune-type:*&pageSize=5", Call{Method: "projects.models.list", Surface: "models", Resource: "models", Query: "filter=labels.tune-type:*&pageSize=5"}},
		{"GET", "/models/123@2", Call{Method: "projects.models.get", Surface: "models", Resource: "models/123@2"}},
		{"POST", ":evaluateInstances", Call{Method: "evaluateInstances", Surface: onLocation, Resource: ":evaluateInstances"}},

		{"GET", "/endpoints/7", Call{Method: "endpoints.get", Surface: "endpoints", Resource: "endpoints/7", Endpoint: "7"}},
		{"POST", "/endpoints/7/chat/completions", Call{Method: "endpoints.chat.completions", Surface: "endpoints", Resource: "endpoints/7/chat/completions", Endpoint: "7"}},
		{"POST", "/publishers/google/models/x:export", Call{Method: "publishers.models.export", Surface: "publishers", Resource: "publishers/google/models/x:export", Publisher: "google", Model: "x"}},
		{"POST", "/reasoningEngines/1/sessions/a_B.c:appendEvent", Call{Method: "reasoningEngines.sessions.appendEvent", Surface: "reasoningEngines", Resource: "reasoningEngines/1/sessions/a_B.c:appendEvent"}},
		{"POST", "/reasoningEngines/1:streamQuery?alt=sse", Call{Method: "reasoningEngines.streamQuery", Surface: "reasoningEngines", Resource: "reasoningEngines/1:streamQuery", Query: "alt=sse", Stream: true}},
		{"GET", "/ragEngineConfig", Call{Method: "getRagEngineConfig", Surface: "ragEngineConfig", Resource: "ragEngineConfig"}},
	}
	for _, tt := range tests {
		t.Run(tt.httpMethod+" "+tt.target, func(t *testing.T) {
			got, err := ParseAny(tt.httpMethod, parent+tt.target)
			if tt.want.Method == "" {
				if err == nil {
					t.Fatalf("got %+v, want a refusal: the method is not in this version", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			want.HTTPMethod, want.Version, want.Project, want.Location, want.Group = tt.httpMethod, base.Version, base.Project, base.Location, base.Group
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("call (-want +got):\n%s", diff)
			}
			checkRoundTrip(t, got)
			if got.Host() != "us-central1-aiplatform.googleapis.com" {
				t.Errorf("host: got %q", got.Host())
			}
		})
	}
}

func TestParseAnyRefuses(t *testing.T) {
	tests := []struct {
		name, httpMethod, target string
		want                     Reason
	}{
		{"a path the API does not have", "GET", parentP1 + "/cachedContents/1/x", SurfaceOff},
		{"another HTTP method", "PUT", parentP1 + "/cachedContents/1", SurfaceOff},
		{"a verb the resource does not have", "POST", parentP1 + "/cachedContents/1:cancel", SurfaceOff},
		{"a collection in another case", "GET", parentP1 + "/CachedContents", SurfaceOff},
		{"a dash for all resources", "GET", parentP1 + "/ragCorpora/-/ragFiles", BadTarget},
		{"a version of what has none", "GET", parentP1 + "/cachedContents/1@2", BadTarget},
		{"an empty version", "GET", parentP1 + "/models/1@", BadTarget},
		{"a resource that begins with a dot", "GET", parentP1 + "/cachedContents/.1", BadTarget},
		{"an unknown location", "GET", "/v1/projects/p1/locations/mars/cachedContents", UnknownLocation},
		{"a dash as project", "GET", "/v1/projects/-/locations/us-central1/cachedContents", BadTarget},
		{"no project", "POST", "/v1/batchPredictionJobs", SurfaceOff},
		{"a project without a location", "GET", "/v1/projects/p1/cacheConfig", SurfaceOff},
		{"credentials", "POST", "/v1beta1/projects/p1/locations/us-central1/notebookRuntimes/1:generateAccessToken", SurfaceOff},
		{"any path passed on", "POST", parentP1 + "/endpoints/1/invoke/x", SurfaceOff},
		{"an upload", "POST", "/upload/v1/projects/p1/locations/us-central1/ragCorpora/1/ragFiles:upload", SurfaceOff},
		{"a method of v1beta1 in v1", "POST", parentP1 + "/publishers/google/models/x:export", SurfaceOff},
		{"capitals in a publisher's model", "POST", "/v1beta1/projects/p1/locations/us-central1/publishers/google/models/X:export", BadTarget},
		{"the placeholder itself", "GET", parentP1 + "/cachedContents/*", BadTarget},
		{"more than the longest path", "GET", parentP1 + strings.Repeat("/a", 20), SurfaceOff},
		{"a Live call", "GET", "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent", SurfaceOff},
		{"a mask of what is not changed", "DELETE", parentP1 + "/cachedContents/1?updateMask=ttl", BadQuery},
		{"force", "DELETE", parentP1 + "/reasoningEngines/1?force=true", BadQuery},
		{"fields of an answer", "GET", parentP1 + "/cachedContents?fields=x", BadQuery},
		{"a filter with a quote", "GET", parentP1 + "/models?filter=a%22b", BadQuery},
		{"two masks", "PATCH", parentP1 + "/cachedContents/1?updateMask=a&updateMask=b", BadQuery},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			call, err := ParseAny(tt.httpMethod, tt.target)
			refusal, ok := err.(*Refusal) //nolint:errorlint // it is this very type
			if !ok || call != (Call{}) {
				t.Fatalf("got %+v, error %v, want a *Refusal", call, err)
			}
			if refusal.Reason != tt.want {
				t.Errorf("got reason %s, want %s", refusal.Reason, tt.want)
			}
		})
	}
}

func BenchmarkParseAnySurface(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseAny("POST", parentP1+"/batchPredictionJobs/1:cancel"); err != nil {
			b.Fatal(err)
		}
	}
}
