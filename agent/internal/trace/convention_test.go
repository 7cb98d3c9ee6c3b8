package trace

import (
	"testing"

	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
)

func TestTheNamesAreThoseOfTheConventions(t *testing.T) {
	if schemaURL != semconv.SchemaURL {
		t.Errorf("got schema %q, want %q", schemaURL, semconv.SchemaURL)
	}
	for got, want := range map[string]string{
		keyOperation: string(semconv.GenAIOperationNameKey), keyProvider: string(semconv.GenAIProviderNameKey),
		keyModel: string(semconv.GenAIRequestModelKey), keyStream: string(semconv.GenAIRequestStreamKey),
		keyInputTokens: string(semconv.GenAIUsageInputTokensKey), keyOutputTokens: string(semconv.GenAIUsageOutputTokensKey),
		keyReasoningTokens: string(semconv.GenAIUsageReasoningOutputTokensKey), keyCachedTokens: string(semconv.GenAIUsageCacheReadInputTokensKey),
		keyErrorType: string(semconv.ErrorTypeKey), keyHTTPMethod: string(semconv.HTTPRequestMethodKey),
		keyHTTPStatus: string(semconv.HTTPResponseStatusCodeKey), keyRegion: string(semconv.CloudRegionKey), keyUser: string(semconv.EnduserIDKey),
		keyPseudonym: string(semconv.EnduserPseudoIDKey), keyServiceName: string(semconv.ServiceNameKey),
		keyServiceVersion: string(semconv.ServiceVersionKey), keyServiceInstance: string(semconv.ServiceInstanceIDKey),
		provider: semconv.GenAIProviderNameGCPVertexAI.Value.AsString(),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestOperations(t *testing.T) {
	for _, c := range []struct{ publisher, model, method, want string }{
		{"google", "gemini-2.5-flash", "generateContent", "generate_content"},
		{"google", "gemini-2.5-flash", "streamGenerateContent", "generate_content"},
		{"", "", "chat.completions", "chat"},
		{"", "", "embeddings", "embeddings"},
		{"google", "gemini-embedding-001", "embedContent", "embeddings"},
		{"google", "text-embedding-005", "predict", "embeddings"},
		{"google", "multimodalembedding@001", "predict", "embeddings"},
		{"google", "imagen-4.0-generate-001", "predict", "generate_content"},
		{"google", "veo-3.0-generate-001", "predictLongRunning", "generate_content"},
		{"anthropic", "claude-sonnet-4-5@20250929", "rawPredict", "chat"},
		{"anthropic", "claude-sonnet-4-5@20250929", "streamRawPredict", "chat"},
		{"anthropic", "count-tokens", "rawPredict", "count_tokens"},
		{"mistralai", "mistral-medium-3", "streamRawPredict", "chat"},
		{"google", "gemini-2.5-flash", "countTokens", "count_tokens"},
		{"", "", "predict", "predict"}, // of an endpoint, whose model nobody knows
		{"", "", "explain", ""},
		{"google", "veo-3.0-generate-001", "fetchPredictOperation", ""},
		{"google", "", "models.list", ""},
		{"", "", "cachedContents.create", ""},
		{"", "", "", ""},
	} {
		of := target{publisher: c.publisher, model: c.model, method: c.method}
		if got := of.operation(); got != c.want {
			t.Errorf("%+v: got %q, want %q", c, got, c.want)
		}
	}
	for operation, want := range map[string]string{
		"chat": semconv.GenAIOperationNameChat.Value.AsString(), "embeddings": semconv.GenAIOperationNameEmbeddings.Value.AsString(),
		"generate_content": semconv.GenAIOperationNameGenerateContent.Value.AsString(),
	} {
		if operation != want {
			t.Errorf("got %q, want %q", operation, want)
		}
	}
}
