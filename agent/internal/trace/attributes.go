package trace

import (
	"strings"

	common "go.opentelemetry.io/proto/otlp/common/v1"
)

// The names of OpenTelemetry's semantic conventions that are used here, in the last version that has those of generative AI
// (semantic-conventions 1.41.0, docs/gen-ai/gen-ai-spans.md).
const (
	schemaURL = "https://opentelemetry.io/schemas/1.41.0"

	keyOperation       = "gen_ai.operation.name"
	keyProvider        = "gen_ai.provider.name"
	keyModel           = "gen_ai.request.model"
	keyStream          = "gen_ai.request.stream"
	keyInputTokens     = "gen_ai.usage.input_tokens"
	keyOutputTokens    = "gen_ai.usage.output_tokens"
	keyReasoningTokens = "gen_ai.usage.reasoning.output_tokens"
	keyCachedTokens    = "gen_ai.usage.cache_read.input_tokens"

	keyErrorType       = "error.type"
	keyHTTPMethod      = "http.request.method"
	keyHTTPStatus      = "http.response.status_code"
	keyRegion          = "cloud.region"
	keyUser            = "enduser.id"
	keyPseudonym       = "enduser.pseudo.id"
	keyServiceName     = "service.name"
	keyServiceVersion  = "service.version"
	keyServiceInstance = "service.instance.id"

	provider = "gcp.vertex_ai"
)

// own is where the names begin that are this program's; what follows is the name of the audit line's field.
const own = "vertex_spoa."

// attributes are those of one span. What is empty or unknown is left out.
type attributes []*common.KeyValue

func (a *attributes) add(key string, v *common.AnyValue) {
	*a = append(*a, &common.KeyValue{Key: key, Value: v})
}

func (a *attributes) text(key, value string) {
	if value != "" {
		a.add(key, textValue(value))
	}
}

// number adds n unless it is negative, which is unknown.
func (a *attributes) number(key string, n int64) {
	if n >= 0 {
		a.add(key, &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: n}})
	}
}

// is adds what is true.
func (a *attributes) is(key string, yes bool) {
	if yes {
		a.add(key, &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: true}})
	}
}

func (a *attributes) list(key string, list []string) {
	if len(list) == 0 {
		return
	}
	values := make([]*common.AnyValue, len(list))
	for i, s := range list {
		values[i] = textValue(s)
	}
	a.add(key, &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: &common.ArrayValue{Values: values}}})
}

// textValue returns s as a value. One text that is not UTF-8 would cost the whole batch.
func textValue(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: validText(s)}}
}

func validText(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
