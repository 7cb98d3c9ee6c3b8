package trace

import "strings"

// operation returns the value of gen_ai.operation.name for a method of Vertex AI, empty for one that asks no model anything. Vertex AI's
// predict and rawPredict mean what their models make of them.
func (t *target) operation() string {
	switch t.method {
	case "generateContent", "streamGenerateContent":
		return "generate_content"
	case "chat.completions":
		return "chat"
	case "embeddings", "embedContent":
		return "embeddings"
	case "countTokens", "computeTokens":
		return "count_tokens"
	case "rawPredict", "streamRawPredict":
		return t.rawOperation()
	case "predict", "predictLongRunning", "serverStreamingPredict", "directPredict", "directRawPredict":
		return t.predictOperation()
	}
	return ""
}

// rawOperation is that of the partners' own APIs, which are chats.
func (t *target) rawOperation() string {
	switch {
	case t.model == "count-tokens": // of Anthropic
		return "count_tokens"
	case t.publisher != "" && t.publisher != "google":
		return "chat"
	}
	return t.predictOperation()
}

func (t *target) predictOperation() string {
	if strings.Contains(t.model, "embedding") {
		return "embeddings"
	}
	for _, generates := range [...]string{"imagen", "imagetext", "imagegeneration", "veo", "lyria", "gemini"} {
		if strings.HasPrefix(t.model, generates) {
			return "generate_content"
		}
	}
	return "predict"
}

// methodOf returns the value of http.request.method: what is not a method that everybody knows is "_OTHER".
func methodOf(method string) string {
	switch method {
	case "GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "CONNECT", "QUERY", "":
		return method
	}
	return "_OTHER"
}
