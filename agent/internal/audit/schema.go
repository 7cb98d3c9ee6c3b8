package audit

import (
	"encoding/json"
	"slices"
)

// schemaID names the schema and its version.
const schemaID = "urn:vertex-spoa:audit:v1"

// Schema returns the JSON Schema (2020-12) of a line, made of Fields. What it does not name is not written: it takes no further fields.
func Schema() []byte {
	var events []map[string]any
	for _, event := range Events() {
		events = append(events, eventSchema(event))
	}
	text, _ := json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": schemaID,
		"title": "A line of vertex-spoa's audit log", "oneOf": events,
	}, "", "  ")
	return append(text, '\n')
}

// eventSchema is the schema of the lines of one event.
func eventSchema(event string) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range Fields() {
		if !f.In(event) {
			continue
		}
		if slices.Contains(f.Always, event) {
			required = append(required, f.Name)
		}
		properties[f.Name] = f.schema(event)
	}
	// The members of the chain come together; its first line has no line before.
	sealed := map[string]any{"required": []string{"chain", "seq", "hash"}}
	return map[string]any{
		"title": event, "type": "object", "properties": properties, "required": required, "additionalProperties": false,
		"dependentSchemas": map[string]any{"chain": sealed, "seq": sealed, "hash": sealed, "prev": sealed, "after": sealed},
	}
}

// schema is the schema of the field's value in lines of the event.
func (f *Field) schema(event string) map[string]any {
	s := f.Type.schema()
	s["description"] = f.Doc
	switch {
	case f.Name == "v":
		s["const"] = Version
	case f.Name == "event":
		s["const"] = event
	case f.Values != nil:
		s["enum"] = f.Values
	case f.Name == "seq":
		s["minimum"] = 1
	}
	return s
}

func (t Type) schema() map[string]any {
	switch t {
	case TypeInteger:
		return map[string]any{"type": "integer"}
	case TypeTrue:
		return map[string]any{"const": true}
	case TypeTime:
		return map[string]any{"type": "string", "pattern": `^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$`}
	case TypeTexts:
		return map[string]any{"type": "array", "items": map[string]any{"type": "string"}, "minItems": 1}
	case TypeHash:
		return map[string]any{"type": "string", "pattern": `^[0-9a-f]{64}$`}
	case TypeClaims:
		return objectOr(map[string]any{}, "unreadable")
	case TypeBody:
		return objectOr(map[string]any{}, "none", "truncated", "unreadable")
	case TypeUsage:
		number := map[string]any{"type": "integer", "minimum": 0}
		return objectOr(map[string]any{
			"properties":           map[string]any{"input": number, "output": number, "thoughts": number, "cached": number, "total": number},
			"additionalProperties": false,
		}, "unknown")
	case TypeText:
	}
	return map[string]any{"type": "string"}
}

// objectOr is an object, or one of the texts.
func objectOr(object map[string]any, texts ...string) map[string]any {
	object["type"] = "object"
	return map[string]any{"oneOf": []any{object, map[string]any{"enum": texts}}}
}
