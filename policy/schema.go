package policy

import (
	"encoding/json"
	"strings"
)

// Schema returns the JSON Schema (draft 2020-12) of a policy's file, with which editors complete keys and mark mistakes. What it refuses
// does not load either; the reverse is not so, since it sees one file alone and knows no names.
func Schema() []byte {
	shape := documentTable.valueShape()
	root := shape.schema()
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Policy of vertex-spoa"
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil // it cannot be: the tables hold plain data
	}
	return append(data, '\n')
}

// object is a JSON object. Its keys are written in order.
type object = map[string]any

// schema returns the schema of the values that s describes.
func (s *valueShape) schema() object {
	switch s.kind {
	case integerShape:
		return object{"type": "integer", "minimum": s.least, "maximum": s.most}
	case numberShape:
		return object{"type": "number", "minimum": 0}
	case boolShape:
		return object{"type": "boolean"}
	case versionShape:
		return object{"const": 1}
	case listShape:
		return object{"type": "array", "minItems": 1, "items": s.element.schema()}
	case mappingShape:
		return s.mappingSchema()
	case dictionaryShape:
		o := object{"type": "object", "additionalProperties": s.element.schema()}
		if s.names != "" {
			o["propertyNames"] = object{"pattern": s.names}
		}
		if s.minKeys > 0 {
			o["minProperties"] = s.minKeys
		}
		return o
	case eitherShape:
		var list []any
		for i := range s.either {
			list = append(list, s.either[i].schema())
		}
		return object{"anyOf": list}
	}
	return s.textSchema()
}

func (s *valueShape) textSchema() object {
	o := object{"type": "string", "minLength": 1}
	switch {
	case s.words != nil:
		return object{"enum": s.words}
	case s.scalar:
		o = object{"type": []string{"string", "number", "boolean"}}
	}
	if s.pattern != "" {
		o["pattern"] = s.pattern
	}
	if s.examples != nil {
		o["examples"] = s.examples
	}
	return o
}

func (s *valueShape) mappingSchema() object {
	properties := object{}
	var required []string
	for i := range s.keys {
		k := &s.keys[i]
		p := k.shape.schema()
		p["description"] = plain(k.doc)
		if k.unenforced {
			p["deprecated"] = true
			p["description"] = plain(k.doc) + " This version does not enforce it: a policy with it does not load."
		}
		properties[k.name] = p
		if k.required {
			required = append(required, k.name)
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		o["required"] = required
	}
	if s.minKeys > 0 {
		o["minProperties"] = s.minKeys
	}
	return o
}

// plain takes the marks of Markdown from a text.
func plain(doc string) string { return strings.ReplaceAll(doc, "`", "") }
