package trial

import (
	"bytes"
	"encoding/json"
	"strconv"

	"vertex-spoa/policy/strictyaml"
)

// values reads YAML as the data of JSON. The reader of YAML keeps all scalars as texts; which of them are numbers follows from how they
// are written.
type values struct {
	problems *strictyaml.Problems
	lines    []string
}

// of returns the value of a node: string, bool, nil, int64, float64, []any or map[string]any, as the claims of a verified token are.
func (v *values) of(n *strictyaml.Node) any {
	switch n.Kind {
	case strictyaml.List:
		list := []any{}
		if n.Len() == 0 {
			return list
		}
		for _, item := range n.Items(v.problems) {
			list = append(list, v.of(item))
		}
		return list
	case strictyaml.Mapping:
		object := map[string]any{}
		for _, e := range n.Entries(v.problems) {
			object[e.Name()] = v.of(e.Value)
		}
		return object
	}
	text, ok := n.Text(&strictyaml.Problems{}) // an empty text and null are values here
	switch plain := v.plain(n); {
	case !ok && plain:
		return nil
	case plain:
		return scalar(text)
	}
	return text
}

// plain reports whether a scalar is written without quotes, and not as a block.
func (v *values) plain(n *strictyaml.Node) bool {
	if n.Line > len(v.lines) {
		return true
	}
	line := []rune(v.lines[n.Line-1])
	if n.Column > len(line) {
		return true
	}
	switch line[n.Column-1] {
	case '"', '\'', '|', '>':
		return false
	}
	return true
}

// scalar returns the value of a text without quotes: true, false and the numbers of JSON are no texts.
func scalar(text string) any {
	switch {
	case text == "true", text == "false":
		return text == "true"
	case text[0] != '-' && (text[0] < '0' || text[0] > '9'), !json.Valid([]byte(text)):
		return text
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	return n
}

// json returns a mapping as JSON.
func (v *values) json(n *strictyaml.Node) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v.of(n)); err != nil {
		v.problems.Addf(n, "it cannot be written as JSON: %v", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// ofType reports whether a claim is of a declared type.
func ofType(v any, declared string) bool {
	switch v.(type) {
	case string:
		return declared == "string"
	case bool:
		return declared == "bool"
	case int64:
		return declared == "int" || declared == "number"
	case float64:
		return declared == "number"
	case []any:
		return declared == "list"
	case map[string]any:
		return declared == "map"
	}
	return false
}
