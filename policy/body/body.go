// Package body reads the JSON body of a Vertex AI call for what rules can be about: numbers, names and kinds, and never a prompt.
//
// The reader is strict, because its answer is only worth something if the server cannot read the same bytes otherwise. A body is one
// JSON object (RFC 8259) in valid UTF-8 without a byte order mark and without lone surrogates; nothing follows it; no object at any
// depth has a name twice, nor beside its other spelling, since the JSON form of protocol buffers takes maxOutputTokens and
// max_output_tokens alike; a name that differs from a known one in its case or its underscores alone is refused; a value of another type
// than the field's is refused, and a null is an absent field. Size, depth and the number of values are bounded.
//
// What was read is right for every name this package knows; names it does not know it passes over.
package body

import (
	"slices"
	"strconv"
)

// Bounds of what is read. A body beyond one of them is refused.
const (
	MaxBytes  = 1 << 20 // of the whole body
	MaxDepth  = 64      // of nested objects and arrays; the body itself has depth 1
	MaxValues = 1 << 17 // names and values together, at any depth
	MaxNames  = 1024    // entries of one list of Facts, before equal ones are put together
	MaxName   = 512     // bytes of one text in Facts
)

// Shape says whose request a body is. It follows from the call and is never guessed from the body. The zero Shape is none, and nothing
// can be read as it.
type Shape uint8

// The shapes.
const (
	None      Shape = iota
	Gemini          // generateContent, streamGenerateContent, countTokens, computeTokens, embedContent; cachedContents
	Anthropic       // the Messages API by rawPredict and streamRawPredict, and count-tokens
	OpenAI          // chat completions and embeddings, and the partners whose rawPredict is alike
	Predict         // predict and predictLongRunning on Google's own models: instances and parameters
	Job             // a job or another request of which only the model, files and labels are known
	Custom          // JSON of which nothing is known but that it is well formed
)

var shapes = [...]string{"none", "gemini", "anthropic", "openai", "predict", "job", "custom"}

// String returns the shape's name in lower case.
func (s Shape) String() string {
	if int(s) < len(shapes) {
		return shapes[s]
	}
	return "shape(" + strconv.Itoa(int(s)) + ")"
}

// Opt is a value that may be absent. Absent is not zero, and not small.
type Opt[T any] struct {
	Value T
	Set   bool
}

// Safety is one entry of safetySettings, as written. A threshold that is not of the API's names is none that a rule knows.
type Safety struct {
	Category  string
	Threshold string // empty when it is absent
}

// Facts is what a body says. It holds no prompt, no answer of a tool and no other free text, and shares no memory with the body. Lists
// are sorted and have no equal entries, but for Safety. Facts are only read once they are made.
type Facts struct {
	Shape Shape
	Bytes int // of the whole body

	// Model is the model that the body itself names, as written: google/gemini-2.5-flash, projects/…/models/M, claude-sonnet-4-5. In
	// calls that name a model in their path as well, both have to be the same.
	Model Opt[string]

	// RoutingModel is generationConfig.routingConfig.manualMode.modelName: a model that answers in place of the one of the path.
	RoutingModel Opt[string]
	RoutingAuto  bool        // generationConfig.routingConfig.autoMode is there: Google chooses the model
	Operation    Opt[string] // operationName of fetchPredictOperation

	Stream          Opt[bool]
	MaxOutputTokens Opt[int64] // at least 1; where a body has several such bounds, the widest of them
	Candidates      Opt[int64] // candidateCount, n, sampleCount; at least 1
	Temperature     Opt[float64]
	TopP            Opt[float64]
	TopK            Opt[float64]
	Instances       Opt[int64] // how many inputs: instances of predict, inputs of embeddings

	// Tools has a name for each kind of tool: googleSearch, urlContext, codeExecution, computerUse, whatever else a Gemini tool object
	// has, retrieval.vertexAiSearch and the like; fn:NAME for each function the model may call; for Anthropic's own tools their type, as
	// web_search_20250305, and mcp:NAME for each MCP server; type:KIND for other tools of OpenAI, and googleSearch for its
	// web_search_options.
	Tools []string

	SystemInstruction bool     // there is one that is not empty
	Safety            []Safety // in the order written
	MediaTypes        []string // of all parts that are not text: image/png, in lower case; "unknown" for a part that does not say it
	Files             []string // where files come from or go to: gs://bucket, https://host, else the scheme: or "unknown:"
	CachedContent     Opt[string]
	ModelArmor        bool     // modelArmorConfig is there
	ArmorTemplates    []string // the names of its templates
	Labels            []string // the keys of labels
	Betas             []string // anthropic_beta
}

// Opaque reports whether most of the body is not known: then an absent field says nothing, and no condition on the body but on its size
// may hold, not even that something is not there.
func (f *Facts) Opaque() bool {
	return f == nil || f.Shape == None || f.Shape == Job || f.Shape >= Custom
}

// Read reads a whole body as the request of the shape. Data is only read. On error the Facts are nil and the error is an *Error.
func Read(shape Shape, data []byte) (*Facts, error) {
	facts, err := read(shape, data)
	if err != nil {
		return nil, err // not the typed nil
	}
	return facts, nil
}

func read(shape Shape, data []byte) (*Facts, *Error) {
	if len(data) > MaxBytes {
		return nil, &Error{Cause: TooLarge}
	}
	d, err := parse(data)
	if err != nil {
		return nil, err
	}
	f := &Facts{Shape: shape, Bytes: len(data)}
	switch shape {
	case Gemini:
		d.gemini(f)
	case Anthropic:
		d.anthropic(f)
	case OpenAI:
		d.openAI(f)
	case Predict:
		d.predict(f)
	case Job:
		d.job(f)
	case Custom:
	default:
		return nil, &Error{Cause: WrongShape}
	}
	if d.err != nil {
		return nil, d.err
	}
	f.finish()
	return f, nil
}

// finish sorts the lists.
func (f *Facts) finish() {
	for _, list := range []*[]string{&f.Tools, &f.MediaTypes, &f.Files, &f.ArmorTemplates, &f.Labels, &f.Betas} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}
