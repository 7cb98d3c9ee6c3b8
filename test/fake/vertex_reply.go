package fake

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// reply writes the answer to one call that was found in order.
type reply struct {
	w       http.ResponseWriter
	r       *http.Request
	call    call
	members fields
	script  Script
	models  []string
	id      string
	prompt  int // tokens, at four bytes of body each: no tokenizer, but never 0 and larger for larger prompts
}

func newReply(w http.ResponseWriter, r *http.Request, c call, f fields, size int, s Script, models []string) *reply {
	if len(s.Chunks) == 0 {
		s.Chunks = []string{"This is the sandbox:", " no model", " has been", " asked."}
	}
	return &reply{w: w, r: r, call: c, members: f, script: s, models: models, id: randomID(), prompt: size/4 + 1}
}

// text returns the whole answer.
func (a *reply) text() string { return strings.Join(a.script.Chunks, "") }

// spent returns the tokens of the answer: one for each chunk.
func (a *reply) spent() int { return len(a.script.Chunks) }

// thoughts returns the tokens of thinking, seven for each of the answer, if the body asks for it as Gemini or as OpenAI is asked.
func (a *reply) thoughts() int {
	var config struct {
		ThinkingConfig json.RawMessage
	}
	asked := json.Unmarshal(a.members["generationConfig"], &config) == nil && config.ThinkingConfig != nil
	if asked || a.members.filled("reasoning_effort") {
		return 7 * a.spent()
	}
	return 0
}

// cached returns how many tokens of the prompt come from a cache: half of them, if the body names one as Gemini or as Anthropic is told.
func (a *reply) cached() int {
	if a.members.filled("cachedContent") || bytes.Contains(a.members["system"], []byte(`"cache_control"`)) {
		return a.prompt / 2
	}
	return 0
}

// write answers in the shape that the verb and the publisher have.
func (a *reply) write() {
	switch a.call.verb {
	case "streamGenerateContent":
		a.streamGemini()
	case "streamRawPredict", "rawPredict":
		a.writeRaw()
	case verbChat:
		a.writeChat()
	case "list":
		a.writeModels()
	default:
		writeJSON(a.w, http.StatusOK, a.unary())
	}
}

// writeRaw answers rawPredict and streamRawPredict, whose bodies are the publisher's own.
func (a *reply) writeRaw() {
	switch {
	case a.call.countsForAnthropic():
		writeJSON(a.w, http.StatusOK, map[string]any{"input_tokens": a.prompt})
	case a.call.anthropic():
		a.writeMessage()
	case a.members.filled("messages"):
		a.writeChat()
	default:
		writeJSON(a.w, http.StatusOK, map[string]any{"predictions": []string{a.text()}})
	}
}

// unary returns the answer of the verbs that answer with one JSON object of Google's.
func (a *reply) unary() any {
	switch a.call.verb {
	case "generateContent":
		return a.gemini(a.text(), true)
	case "countTokens":
		return map[string]any{"totalTokens": a.prompt, "totalBillableCharacters": 4 * a.prompt}
	case "computeTokens":
		info := map[string]any{"role": "user", "tokens": []string{"c2FuZGJveA=="}, "tokenIds": []string{"1"}}
		return map[string]any{"tokensInfo": []any{info}}
	case "embedContent":
		return map[string]any{
			"embedding":     map[string]any{"values": embedding()},
			"usageMetadata": map[string]int{"promptTokenCount": a.prompt, "totalTokenCount": a.prompt},
		}
	case "predictLongRunning":
		return map[string]any{"name": a.resource() + "/operations/" + a.id}
	case "fetchPredictOperation":
		return map[string]any{"name": a.members.text("operationName"), "done": true, "response": map[string]any{}}
	case verbEmbeddings:
		return a.embeddings()
	case "get":
		return publisherModel(a.call.model)
	}
	return a.predictions()
}

// predictions is a PredictResponse with one text embedding for each instance.
func (a *reply) predictions() any {
	var instances []json.RawMessage
	if json.Unmarshal(a.members["instances"], &instances) != nil || len(instances) == 0 {
		instances = make([]json.RawMessage, 1)
	}
	all := make([]any, len(instances))
	for i := range all {
		all[i] = map[string]any{"embeddings": map[string]any{
			"values":     embedding(),
			"statistics": map[string]any{"token_count": a.prompt, "truncated": false},
		}}
	}
	return map[string]any{"predictions": all, "metadata": map[string]int{"billableCharacterCount": 4 * a.prompt}}
}

// embedding is a very short vector of length 1.
func embedding() []float64 { return []float64{0.6, 0, -0.8} }

// resource returns the name of the model or endpoint that was called.
func (a *reply) resource() string {
	parent := "projects/" + a.call.project + "/locations/" + a.call.location
	if a.call.endpoint != "" {
		return parent + "/endpoints/" + a.call.endpoint
	}
	return parent + "/publishers/" + a.call.publisher + "/models/" + a.call.model
}

func (a *reply) writeModels() {
	list := make([]any, len(a.models))
	for i, m := range a.models {
		list[i] = publisherModel(m)
	}
	writeJSON(a.w, http.StatusOK, map[string]any{"publisherModels": list})
}

func publisherModel(id string) any {
	return map[string]any{
		"name": "publishers/google/models/" + id, "versionId": "default", "launchStage": "GA", "openSourceCategory": "PROPRIETARY",
	}
}

// gemini returns a GenerateContentResponse: a whole one, a middle chunk, or with last the final chunk, which alone counts tokens.
func (a *reply) gemini(text string, last bool) map[string]any {
	model, _, _ := strings.Cut(a.call.model, "@")
	if a.call.endpoint != "" {
		model = a.call.endpoint
	}
	candidate := map[string]any{
		"content": map[string]any{"role": "model", "parts": []any{map[string]string{"text": text}}},
	}
	usage := map[string]any{"trafficType": "ON_DEMAND"}
	if last {
		candidate["finishReason"] = "STOP"
		usage["promptTokenCount"] = a.prompt
		usage["candidatesTokenCount"] = a.spent()
		usage["totalTokenCount"] = a.prompt + a.spent() + a.thoughts()
		for name, n := range map[string]int{"thoughtsTokenCount": a.thoughts(), "cachedContentTokenCount": a.cached()} {
			if n > 0 { // as proto3 leaves out zeros
				usage[name] = n
			}
		}
	}
	return map[string]any{
		"candidates": []any{candidate}, "usageMetadata": usage, "modelVersion": model,
		"createTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), "responseId": a.id,
	}
}

// streamGemini streams one GenerateContentResponse for each chunk: as server-sent events when asked to, else as one JSON array.
func (a *reply) streamGemini() {
	sse := a.r.URL.RawQuery == "alt=sse"
	kind, before, between, after := "application/json; charset=UTF-8", "[", ",\r\n", "]"
	if sse {
		kind, before, between, after = "text/event-stream", "", "", ""
	}
	s := newStream(a, kind)
	s.send(before)
	for i, text := range a.script.Chunks {
		last := i == len(a.script.Chunks)-1
		body := s.encode(a.gemini(text, last))
		switch {
		case sse:
			body = "data: " + body + "\r\n\r\n"
		case !last:
			body += between
		}
		s.chunk(a.r.Context(), body)
	}
	s.send(after)
}
