package body

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// record is the JSON form of Facts. What a body does not say is left out.
type record struct {
	Shape             string   `json:"shape"`
	Bytes             int      `json:"bytes"`
	Model             *string  `json:"model"`
	RoutingModel      *string  `json:"routing_model"`
	RoutingAuto       bool     `json:"routing_auto"`
	Operation         *string  `json:"operation"`
	Stream            *bool    `json:"stream"`
	MaxOutputTokens   *int64   `json:"max_output_tokens"`
	Candidates        *int64   `json:"candidates"`
	Temperature       *float64 `json:"temperature"`
	TopP              *float64 `json:"top_p"`
	TopK              *float64 `json:"top_k"`
	Instances         *int64   `json:"instances"`
	Tools             []string `json:"tools"`
	SystemInstruction bool     `json:"system_instruction"`
	Safety            []safety `json:"safety"`
	MediaTypes        []string `json:"media_types"`
	Files             []string `json:"files"`
	CachedContent     *string  `json:"cached_content"`
	ModelArmor        bool     `json:"model_armor"`
	ArmorTemplates    []string `json:"armor_templates"`
	Labels            []string `json:"labels"`
	Betas             []string `json:"betas"`
}

type safety struct {
	Category  string `json:"category"`
	Threshold string `json:"threshold"`
}

// AppendJSON appends the facts as one JSON object, which ParseFacts reads: numbers, names and kinds, as they are. What the body does not
// say is left out. Bytes that are not UTF-8, as at the end of a name that was cut, become U+FFFD. Nil Facts are null.
func (f *Facts) AppendJSON(b []byte) []byte {
	if f == nil {
		return append(b, "null"...)
	}
	b = append(append(append(b, `{"shape":"`...), f.Shape.String()...), `","bytes":`...)
	b = strconv.AppendInt(b, int64(f.Bytes), 10)
	b = appendText(b, "model", f.Model)
	b = appendText(b, "routing_model", f.RoutingModel)
	b = appendTrue(b, "routing_auto", f.RoutingAuto)
	b = appendText(b, "operation", f.Operation)
	if f.Stream.Set {
		b = strconv.AppendBool(appendName(b, "stream"), f.Stream.Value)
	}
	b = appendCount(b, "max_output_tokens", f.MaxOutputTokens)
	b = appendCount(b, "candidates", f.Candidates)
	b = appendNumber(b, "temperature", f.Temperature)
	b = appendNumber(b, "top_p", f.TopP)
	b = appendNumber(b, "top_k", f.TopK)
	b = appendCount(b, "instances", f.Instances)
	b = appendList(b, "tools", f.Tools)
	b = appendTrue(b, "system_instruction", f.SystemInstruction)
	b = appendSafety(b, f.Safety)
	b = appendList(b, "media_types", f.MediaTypes)
	b = appendList(b, "files", f.Files)
	b = appendText(b, "cached_content", f.CachedContent)
	b = appendTrue(b, "model_armor", f.ModelArmor)
	b = appendList(b, "armor_templates", f.ArmorTemplates)
	b = appendList(b, "labels", f.Labels)
	b = appendList(b, "betas", f.Betas)
	return append(b, '}')
}

func appendName(b []byte, name string) []byte {
	return append(append(append(b, ',', '"'), name...), '"', ':')
}

func appendTrue(b []byte, name string, v bool) []byte {
	if !v {
		return b
	}
	return append(appendName(b, name), "true"...)
}

func appendText(b []byte, name string, v Opt[string]) []byte {
	if !v.Set {
		return b
	}
	return appendQuoted(appendName(b, name), v.Value)
}

func appendCount(b []byte, name string, v Opt[int64]) []byte {
	if !v.Set {
		return b
	}
	return strconv.AppendInt(appendName(b, name), v.Value, 10)
}

func appendNumber(b []byte, name string, v Opt[float64]) []byte {
	if !v.Set || math.IsNaN(v.Value) || math.IsInf(v.Value, 0) { // the last two are no numbers of JSON, and no body has them
		return b
	}
	return strconv.AppendFloat(appendName(b, name), v.Value, 'g', -1, 64)
}

func appendList(b []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(appendName(b, name), '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, s)
	}
	return append(b, ']')
}

func appendSafety(b []byte, list []Safety) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(appendName(b, "safety"), '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(append(b, `{"category":`...), s.Category)
		b = appendQuoted(append(b, `,"threshold":`...), s.Threshold)
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendQuoted appends a JSON string. U+2028 and U+2029, at which some readers break lines, are escaped.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			text, _ := json.Marshal(s) // of a text there is no error
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

var errNoShape = errors.New("body facts: there is no such shape") // never written

// ParseFacts reads what AppendJSON wrote. A field that it does not know is an error: what it says about the body could decide. On error
// the Facts are nil.
func ParseFacts(data []byte) (*Facts, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var r *record
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("body facts: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("body facts: something follows them")
	}
	if r == nil || r.Bytes < 0 {
		return nil, errors.New("body facts: they do not say how long the body is")
	}
	shape := slices.Index(shapes[:], r.Shape)
	if shape <= int(None) {
		return nil, errNoShape
	}
	return &Facts{
		Shape: Shape(shape), Bytes: r.Bytes, Model: optOf(r.Model), RoutingModel: optOf(r.RoutingModel), RoutingAuto: r.RoutingAuto,
		Operation: optOf(r.Operation), Stream: optOf(r.Stream), MaxOutputTokens: optOf(r.MaxOutputTokens), Candidates: optOf(r.Candidates),
		Temperature: optOf(r.Temperature), TopP: optOf(r.TopP), TopK: optOf(r.TopK), Instances: optOf(r.Instances),
		Tools: orNil(r.Tools), SystemInstruction: r.SystemInstruction, Safety: safetyOf(r.Safety), MediaTypes: orNil(r.MediaTypes),
		Files: orNil(r.Files), CachedContent: optOf(r.CachedContent), ModelArmor: r.ModelArmor, ArmorTemplates: orNil(r.ArmorTemplates),
		Labels: orNil(r.Labels), Betas: orNil(r.Betas),
	}, nil
}

func optOf[T any](v *T) Opt[T] {
	if v == nil {
		return Opt[T]{}
	}
	return Opt[T]{*v, true}
}

// orNil returns a list that is nil when it is empty, as those of Read are.
func orNil(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

func safetyOf(list []safety) []Safety {
	var to []Safety
	for _, s := range list {
		to = append(to, Safety(s))
	}
	return to
}
