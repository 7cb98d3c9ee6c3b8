package policy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// compiledSchema compiles Schema with a library that knows nothing of ours.
func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("policy.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// validate reads a text as an editor's YAML reader does, and validates it.
func validate(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(doc)
}

func TestSchemaAcceptsWhatLoads(t *testing.T) {
	schema := compiledSchema(t)
	texts := []string{companyPolicy, delegatingPolicy, searchTeam, "version: 1\n"}
	for _, name := range []string{"testdata/example/policy.yaml", "testdata/full/policy.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(data))
	}
	// The largest texts of other tests stand for all keys.
	for _, name := range []string{"load_model_test.go", "load_test.go"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range regexp.MustCompile("(?s)(?:modelOf|loadText)\\(t, `\n?(version.*?)`\\)").FindAllSubmatch(data, -1) {
			texts = append(texts, string(part[1]))
		}
	}
	if len(texts) < 10 {
		t.Fatalf("only %d texts were found", len(texts))
	}
	for _, text := range texts {
		if err := validate(t, schema, text); err != nil {
			t.Errorf("%v in:\n%s", err, text)
		}
	}
}

// The schema sees no names and no other files; these are the files of testdata/bad whose mistakes it need not see.
var invisibleToSchema = []string{
	"defaults", "duplicate-keys", "keys-of-later-versions-top", "overrides", "project-by-number", "no-version", "empty-sections", "hidden-direction",
	"merge-keys-and-aliases", "nothing-is-silently-everything", "two-documents",
}

func TestSchemaRefusesMistakes(t *testing.T) {
	schema := compiledSchema(t)
	names, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no files to test: %v", err)
	}
	for _, name := range names {
		base := strings.TrimSuffix(filepath.Base(name), ".yaml")
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if yaml.Unmarshal(data, &v) != nil || slices.Contains(invisibleToSchema, base) {
			continue
		}
		if err := validate(t, schema, string(data)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestSchemaDescribesEachKey(t *testing.T) {
	var walk func(path string, s *valueShape)
	keys := 0
	walk = func(path string, s *valueShape) {
		for i := range s.keys {
			k := &s.keys[i]
			keys++
			if len(k.doc) < 8 || !strings.HasSuffix(k.doc, ".") {
				t.Errorf("%s.%s is described as %q, want a sentence", path, k.name, k.doc)
			}
			walk(strings.TrimPrefix(path+"."+k.name, "."), &k.shape)
		}
		if s.element != nil {
			walk(path, s.element)
		}
		for i := range s.either {
			walk(path, &s.either[i])
		}
	}
	root := documentTable.valueShape()
	walk("", &root)
	if keys < 100 {
		t.Errorf("the schema has %d keys, want all of the language", keys)
	}
}

func TestPatternsOfTheSchemaFitTheirExamples(t *testing.T) {
	var walk func(s *valueShape)
	walk = func(s *valueShape) {
		for _, example := range s.examples {
			if s.pattern != "" && !regexp.MustCompile(s.pattern).MatchString(example) {
				t.Errorf("%q does not fit %s", example, s.pattern)
			}
		}
		for i := range s.keys {
			walk(&s.keys[i].shape)
		}
		if s.element != nil {
			walk(s.element)
		}
		for i := range s.either {
			walk(&s.either[i])
		}
	}
	root := documentTable.valueShape()
	walk(&root)
}

func TestReferenceNamesEachKeyOnce(t *testing.T) {
	text := Reference()
	for _, want := range []string{
		"#### A file\n", "#### `rules.X`\n", "#### `rules.X.body`\n", "#### `rules.X.active`\n", "#### `issuers.X.certificate`\n", "#### `roles.X.exchange`\n",
		"| `when` |", "| `limit` |", "not enforced by this version", "`generate`",
	} {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(want)) {
			t.Errorf("the reference does not hold %q", want)
		}
	}
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#### ") {
			if seen[line] {
				t.Errorf("%q stands twice", line)
			}
			seen[line] = true
		}
		if strings.HasPrefix(line, "| `") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 4 {
			t.Errorf("a row of a table is broken: %s", line)
		}
	}
}
