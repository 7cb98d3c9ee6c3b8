package policy

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"vertex-spoa/policy/body"
)

func TestBodyShapeFollowsFromTheCall(t *testing.T) {
	tests := []struct {
		httpMethod, target string
		want               body.Shape
	}{
		{"POST", flash + ":generateContent", body.Gemini},
		{"POST", flash + ":streamGenerateContent", body.Gemini},
		{"POST", flash + ":countTokens", body.Gemini},
		{"POST", flash + ":computeTokens", body.Gemini},
		{"POST", flash + ":embedContent", body.Gemini},
		{"POST", flash + ":predict", body.Predict},
		{"POST", flash + ":predictLongRunning", body.Predict},
		{"POST", flash + ":fetchPredictOperation", body.Predict},
		{"POST", flash + ":rawPredict", body.Custom},
		{"POST", flash + ":serverStreamingPredict", body.Custom},
		{"POST", parentP1 + "/publishers/anthropic/models/x:rawPredict", body.Anthropic},
		{"POST", parentP1 + "/publishers/anthropic/models/x:streamRawPredict", body.Anthropic},
		{"POST", parentP1 + "/publishers/anthropic/models/count-tokens:rawPredict", body.Anthropic},
		{"POST", parentP1 + "/publishers/anthropic/models/x:predict", body.Custom},
		{"POST", parentP1 + "/publishers/mistralai/models/x:rawPredict", body.OpenAI},
		{"POST", parentP1 + "/publishers/ai21/models/x:streamRawPredict", body.OpenAI},
		{"POST", parentP1 + "/publishers/other/models/x:rawPredict", body.Custom},
		{"POST", parentP1 + "/endpoints/1:generateContent", body.Gemini},
		{"POST", parentP1 + "/endpoints/1:predict", body.Custom},
		{"POST", parentP1 + "/endpoints/1:rawPredict", body.Custom},
		{"POST", parentP1 + "/endpoints/1:explain", body.Custom},
		{"POST", parentP1 + "/endpoints/openapi/chat/completions", body.OpenAI},
		{"POST", parentP1 + "/endpoints/openapi/embeddings", body.OpenAI},
		{"POST", parentP1 + "/endpoints/openapi/responses", body.Job},
		{"POST", parentP1 + "/endpoints/openapi/completions", body.OpenAI},
		{"POST", parentP1 + "/endpoints/1/chat/completions", body.OpenAI},
		{"GET", "/v1/publishers/google/models", body.None},
		{"GET", "/v1/publishers/google/models/x", body.None},
		{"POST", parentP1 + "/cachedContents", body.Gemini},
		{"PATCH", parentP1 + "/cachedContents/1", body.Custom},
		{"GET", parentP1 + "/cachedContents/1", body.None},
		{"DELETE", parentP1 + "/cachedContents/1", body.None},
		{"POST", parentP1 + "/batchPredictionJobs", body.Job},
		{"POST", parentP1 + "/tuningJobs", body.Job},
		{"POST", parentP1 + "/reasoningEngines/1:query", body.Custom},
	}
	for _, tt := range tests {
		if got := anyCall(t, tt.httpMethod, tt.target).BodyShape(); got != tt.want {
			t.Errorf("%s %s: got %v, want %v", tt.httpMethod, tt.target, got, tt.want)
		}
	}
	if got := (Call{}).BodyShape(); got != body.None {
		t.Errorf("the zero Call: got %v", got)
	}
}

func TestAsked(t *testing.T) {
	const (
		chat    = parentP1 + "/endpoints/openapi/chat/completions"
		claude  = parentP1 + "/publishers/anthropic/models/claude-sonnet-4@20250514:rawPredict"
		counted = parentP1 + "/publishers/anthropic/models/count-tokens:rawPredict"
		flashIs = "google/gemini-2.5-flash"
	)
	tests := []struct {
		name, target, body string
		want               string // publisher/model; empty for an error
	}{
		{"a model in the path alone", flash + ":generateContent", `{}`, flashIs},
		{"the same model in the body", flash + ":countTokens", `{"model":"gemini-2.5-flash"}`, flashIs},
		{"the same model of the publisher", flash + ":countTokens", `{"model":"google/gemini-2.5-flash"}`, flashIs},
		{"the same model by its short resource name", flash + ":countTokens", `{"model":"publishers/google/models/gemini-2.5-flash"}`, flashIs},
		{"the same model by its resource name", flash + ":countTokens", `{"model":"projects/p1/locations/us-central1/publishers/google/models/gemini-2.5-flash"}`, flashIs},
		{"the project by its number", flash + ":countTokens", `{"model":"projects/77/locations/us-central1/publishers/google/models/gemini-2.5-flash"}`, flashIs},
		{"another model in the body", flash + ":countTokens", `{"model":"gemini-2.5-pro"}`, ""},
		{"a longer model in the body", flash + ":countTokens", `{"model":"gemini-2.5-flash-lite"}`, ""},
		{"two prefixes", flash + ":countTokens", `{"model":"publishers/google/models/google/gemini-2.5-flash"}`, ""},
		{"an empty model in the body", flash + ":countTokens", `{"model":""}`, ""},
		{"the model of another publisher", flash + ":countTokens", `{"model":"publishers/other/models/gemini-2.5-flash"}`, ""},
		{"the model of another project", flash + ":countTokens", `{"model":"projects/p2/locations/us-central1/publishers/google/models/gemini-2.5-flash"}`, ""},
		{"the model of no project", flash + ":countTokens", `{"model":"projects//locations/us-central1/publishers/google/models/gemini-2.5-flash"}`, ""},
		{"the model of another location", flash + ":countTokens", `{"model":"projects/p1/locations/us/publishers/google/models/gemini-2.5-flash"}`, ""},
		{"another model that answers", flash + ":generateContent", `{"generationConfig":{"routingConfig":{"manualMode":{"modelName":"gemini-2.5-pro"}}}}`, ""},
		{"the same model that answers", flash + ":generateContent", `{"generationConfig":{"routingConfig":{"manualMode":{"modelName":"gemini-2.5-flash"}}}}`, flashIs},
		{"any model that answers", flash + ":generateContent", `{"generationConfig":{"routingConfig":{"autoMode":{}}}}`, ""},
		{"the project's own cache", flash + ":generateContent", `{"cachedContent":"projects/p1/locations/us-central1/cachedContents/1"}`, flashIs},
		{"the project's own cache by number", flash + ":generateContent", `{"cachedContent":"projects/77/locations/us-central1/cachedContents/1"}`, flashIs},
		{"a cache by its short name", flash + ":generateContent", `{"cachedContent":"cachedContents/1"}`, flashIs},
		{"the cache of another project", flash + ":generateContent", `{"cachedContent":"projects/p2/locations/us-central1/cachedContents/1"}`, ""},
		{"what is no cache", flash + ":generateContent", `{"cachedContent":"cachedContents/../x"}`, ""},
		{"the model's own operation", flash + ":fetchPredictOperation", `{"operationName":"projects/p1/locations/us-central1/publishers/google/models/gemini-2.5-flash/operations/1"}`, flashIs},
		{"the operation of another model", flash + ":fetchPredictOperation", `{"operationName":"projects/p1/locations/us-central1/publishers/google/models/x/operations/1"}`, ""},
		{"a version in the path alone", claude, `{"model":"claude-sonnet-4"}`, "anthropic/claude-sonnet-4@20250514"},
		{"another version in the body", claude, `{"model":"claude-sonnet-4@20250101"}`, ""},
		{"a chat", chat, `{"model":"meta/llama-4@1"}`, "meta/llama-4@1"},
		{"a chat without a model", chat, `{}`, ""},
		{"a chat without a publisher", chat, `{"model":"gemini-2.5-flash"}`, ""},
		{"a chat with too many parts", chat, `{"model":"a/b/c"}`, ""},
		{"a chat with a model in capitals", chat, `{"model":"google/Gemini-2.5-flash"}`, ""},
		{"a chat with a blank", chat, `{"model":"google/gemini-2.5-flash "}`, ""},
		{"a response", parentP1 + "/endpoints/openapi/responses", `{"model":"google/gemini-2.5-flash"}`, flashIs},
		{"a response without a publisher", parentP1 + "/endpoints/openapi/responses", `{"model":"gemini-2.5-flash"}`, ""},
		{"tokens of a model", counted, `{"model":"claude-opus-4"}`, "anthropic/claude-opus-4"},
		{"tokens of no model", counted, `{}`, ""},
		{"tokens of another publisher's model", counted, `{"model":"google/gemini-2.5-flash"}`, ""},
		{"the model of a cache", parentP1 + "/cachedContents", `{"model":"projects/p1/locations/us-central1/publishers/google/models/gemini-2.5-flash"}`, flashIs},
		{"the model of a cache of another project", parentP1 + "/cachedContents", `{"model":"projects/p2/locations/us-central1/publishers/google/models/gemini-2.5-flash"}`, ""},
		{"the model of a batch", parentP1 + "/batchPredictionJobs", `{"model":"publishers/meta/models/llama-4"}`, "meta/llama-4"},
		{"the project's own model", parentP1 + "/batchPredictionJobs", `{"model":"projects/p1/locations/us-central1/models/1"}`, ""},
		{"the model of a tuning job", parentP1 + "/tuningJobs", `{"baseModel":"gemini-2.5-flash"}`, flashIs},
		{"an endpoint alone", parentP1 + "/endpoints/7:countTokens", `{}`, "/"},
		{"the same endpoint in the body", parentP1 + "/endpoints/7:countTokens", `{"model":"projects/p1/locations/us-central1/endpoints/7"}`, "/"},
		{"another endpoint in the body", parentP1 + "/endpoints/7:countTokens", `{"model":"projects/p1/locations/us-central1/endpoints/8"}`, ""},
		{"a model in the body of an endpoint", parentP1 + "/endpoints/7:countTokens", `{"model":"publishers/google/models/gemini-2.5-pro"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := anyCall(t, "POST", tt.target)
			f, err := body.Read(c.BodyShape(), []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			publisher, model, err := c.Asked(f, "77")
			got := publisher + "/" + model
			if err != nil {
				if got != "/" || len(err.Error()) > 300 {
					t.Errorf("got %q beside the error %v", got, err)
				}
				got = ""
			}
			if got != tt.want {
				t.Errorf("got %q, error %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestAskedWithoutABody(t *testing.T) {
	if _, _, err := anyCall(t, "POST", parentP1+"/endpoints/openapi/embeddings").Asked(nil, ""); err == nil {
		t.Error("a model in a body that was not read: got no error")
	}
	if publisher, model, err := anyCall(t, "POST", flash+":rawPredict").Asked(nil, ""); publisher != "google" || model != "gemini-2.5-flash" || err != nil {
		t.Errorf("got %q, %q, %v, want those of the path", publisher, model, err)
	}
}

// What client libraries send is read, and asks for a model that they name.
func TestBodiesOfClientLibrariesAreRead(t *testing.T) {
	for _, row := range rows(t, "client-bodies.tsv") {
		c, err := ParseAny(row[0], row[1])
		if err != nil {
			continue // TestParseCallOnClientRequests knows which
		}
		f, err := body.Read(c.BodyShape(), []byte(row[2]))
		if err != nil {
			t.Errorf("%s of %s: %v", row[2], row[1], err)
			continue
		}
		if _, model, err := c.Asked(f, ""); err != nil || model == "" && c.Publisher+c.Model != "" {
			t.Errorf("%s of %s: got model %q, %v", row[2], row[1], model, err)
		}
	}
}

// Each hostile body is refused, asks for what the call does not, or shows in the facts, by which a rule refuses it.
func TestHostileBodies(t *testing.T) {
	data, err := os.ReadFile("testdata/hostile-bodies.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ ID, Target, Body, Why string }
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) != 15 {
		t.Fatalf("%d cases, error %v", len(cases), err)
	}
	outcome := map[string]string{
		"body-00": "refused DUPLICATE", "body-01": "google/gemini-2.5-pro", "body-02": "refused MISSPELLED", "body-04": "refused SYNTAX",
		"body-07": "refused WRONG_TYPE", "body-11": "not asked", "body-12": "not asked", "body-13": "not asked", "body-14": "files gs://other-team",
		"body-15": "tools retrieval.externalApi", "body-17": "tools googleSearch", "body-19": "tools codeExecution",
		"body-20": "armor projects/p2/locations/us-central1/templates/lax", "body-22": "anthropic/claude-opus-4", "body-23": "google/gemini-2.5-flash stream",
	}
	for _, tt := range cases {
		c := anyCall(t, "POST", tt.Target)
		if got := outcomeOf(c, tt.Body); got != outcome[tt.ID] {
			t.Errorf("%s (%s): got %q, want %q", tt.ID, tt.Why, got, outcome[tt.ID])
		}
	}
}

func outcomeOf(c Call, text string) string {
	f, err := body.Read(c.BodyShape(), []byte(text))
	if err != nil {
		return "refused " + string(err.(*body.Error).Cause) //nolint:errorlint // it is this very type
	}
	publisher, model, err := c.Asked(f, "")
	parts := []string{publisher + "/" + model}
	if err != nil {
		return "not asked"
	}
	if f.Stream.Value {
		parts = append(parts, "stream")
	}
	for name, list := range map[string][]string{"files": f.Files, "tools": f.Tools, "armor": f.ArmorTemplates} {
		if len(list) > 0 {
			return strings.Join(append([]string{name}, list...), " ")
		}
	}
	return strings.Join(slices.Compact(parts), " ")
}

func FuzzAsked(f *testing.F) {
	f.Add(flash+":countTokens", "projects/p1/locations/us-central1/publishers/google/models/gemini-2.5-flash")
	f.Add(parentP1+"/endpoints/openapi/embeddings", "google/gemini-embedding-001")
	f.Add(parentP1+"/cachedContents", "publishers/google/models/x")
	f.Fuzz(func(t *testing.T, target, name string) {
		c, err := ParseAny("POST", target)
		if err != nil {
			return
		}
		publisher, model, err := c.Asked(&body.Facts{Shape: body.Gemini, Model: body.Opt[string]{Value: name, Set: true}}, "")
		switch {
		case err != nil && publisher+model != "":
			t.Errorf("got %q, %q beside the error %v", publisher, model, err)
		case err != nil:
		case c.ModelInBody && (!isName(publisher, "-") || !isModel(model) || !strings.HasSuffix(name, model)):
			t.Errorf("%q of %q: got %q, %q", name, target, publisher, model)
		case !c.ModelInBody && (publisher != c.Publisher || model != c.Model):
			t.Errorf("%q of %q: got %q, %q, want those of the path", name, target, publisher, model)
		}
	})
}
