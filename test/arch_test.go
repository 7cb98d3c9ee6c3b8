// Package test holds what looks at the whole: the end-to-end tests of the built program and the tests of its structure.
package test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "vertex-spoa"

// arrows says which rooms a room may import; a room that is not listed may not exist. "*" is every room.
var arrows = map[string][]string{
	"agent/cmd/vertex-spoa": {"*"},
	"agent": {"spoe", "policy", "policy/body", "agent/internal/identity", "agent/internal/google", "agent/internal/audit",
		"agent/internal/status", "agent/internal/secret"},
	"agent/internal/identity": {"agent/internal/secret", "policy/strictyaml"}, // the list of what is revoked is YAML too
	"agent/internal/google":   {"agent/internal/secret"},
	"agent/internal/audit":    {},
	"agent/internal/trail":    {"agent/internal/audit", "policy"},
	"agent/internal/closing":  {"agent/internal/audit"},
	"agent/internal/misuse":   {"agent/internal/audit"},
	"agent/internal/trace":    {"agent/internal/audit"},
	"agent/internal/status":   {"agent/internal/audit"},
	"agent/internal/config":   {"policy/strictyaml"},
	"agent/internal/doctor":   {"policy", "agent/internal/identity", "agent/internal/google", "agent/internal/secret"},
	"agent/internal/secret":   {},
	"spoe":                    {},
	"policy":                  {"policy/strictyaml", "policy/body"},
	"policy/body":             {},
	"policy/trial":            {"policy", "policy/body", "policy/strictyaml"},
	"policy/format":           {"policy/strictyaml"},
	"policy/compare":          {"policy", "policy/body"},
	"policy/strictyaml":       {},
	"test/fake":               {},
	"test/sandbox":            {"test/fake"},
	"test/sandbox/cmd/demo":   {"test/sandbox"},
	"test/record":             {"spoe", "test/sandbox"},
	"test/bench":              {"test/fake", "test/sandbox"},
	"test/bench/noop":         {"spoe"},
	"test/provider":           {"test/fake"},
	"test/otlp":               {},
	"test":                    {"test/fake", "test/sandbox", "test/provider"},
}

func TestRoomsImportOnlyAlongTheArrows(t *testing.T) {
	seen := map[string]bool{}
	for file, imports := range goImports(t) {
		room := filepath.ToSlash(filepath.Dir(file))
		allowed, known := arrows[room]
		seen[room] = true
		if !known {
			t.Errorf("%s: the room %q is not on the plan", file, room)
			continue
		}
		for _, path := range imports {
			to, ours := strings.CutPrefix(path, module+"/")
			if !ours || to == room {
				continue
			}
			if !slices.Contains(allowed, to) && !slices.Contains(allowed, "*") {
				t.Errorf("%s imports %s: no arrow leads from %s to it", file, path, room)
			}
			if strings.HasPrefix(to, "test/") && !strings.HasPrefix(room, "test") {
				t.Errorf("%s imports %s: fakes must not be linked into the program", file, path)
			}
		}
	}
	for _, room := range slices.Sorted(maps.Keys(arrows)) {
		if !seen[room] {
			t.Errorf("the room %q of the plan does not exist", room)
		}
	}
}

// Some libraries are known to one room alone.
func TestLibrariesStayInTheirRooms(t *testing.T) {
	homes := map[string][]string{
		"github.com/negasus/haproxy-spoe-go":  {"spoe", "test/bench/noop"},
		"github.com/golang-jwt/jwt":           {"agent/internal/identity", "test/fake"},
		"cloud.google.com/go":                 {"agent/internal/google", "test/fake"},
		"google.golang.org/api":               {"agent/internal/google", "test/fake"},
		"github.com/hashicorp/golang-lru":     {"agent", "agent/internal/google", "agent/internal/misuse"},
		"go.yaml.in/yaml":                     {"policy/strictyaml"},
		"github.com/prometheus/client_golang": {"agent"},
		"go.opentelemetry.io":                 {"agent/internal/trace", "test/otlp"},
		"github.com/chromedp":                 {},
		"google.golang.org/genai":             {"test/fake", "test/sandbox", "test"},
		"github.com/lestrrat-go/jwx":          {},
		"github.com/spiffe/go-spiffe":         {"agent/internal/identity"},
		"github.com/fsnotify/fsnotify":        {"agent"},
		"cel.dev/cel-go":                      {"policy"},
		"github.com/rogpeppe/go-internal":     {"agent/cmd/vertex-spoa"},
		"google.golang.org/genproto":          {"agent/internal/google", "test/fake"},
		"github.com/googleapis/gax-go":        {"agent/internal/google", "test/fake"},
	}
	used := map[string]bool{}
	for file, imports := range goImports(t) {
		room := filepath.ToSlash(filepath.Dir(file))
		for _, path := range imports {
			for library, rooms := range homes {
				if path != library && !strings.HasPrefix(path, library+"/") {
					continue
				}
				if !strings.HasPrefix(room, "test") && !strings.HasSuffix(file, "_test.go") {
					used[library] = true
				}
				if !slices.Contains(rooms, room) && !strings.HasSuffix(file, "_test.go") { // tests may ask for a second opinion
					t.Errorf("%s imports %s, which belongs to %v", file, path, rooms)
				}
			}
		}
	}
	for _, library := range []string{"github.com/negasus/haproxy-spoe-go", "github.com/golang-jwt/jwt", "cloud.google.com/go", "github.com/hashicorp/golang-lru"} {
		if !used[library] {
			t.Errorf("%s is not used by the program", library)
		}
	}
}

// goImports returns the imports of every Go file of the project by its path from the project's root.
func goImports(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (slices.Contains([]string{".git", "testdata", ".cache", "node_modules"}, d.Name())) {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		files[rel] = []string{}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			files[rel] = append(files[rel], imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// The top level is what users know their way around in.
func TestTopLevelHoldsNothingElse(t *testing.T) {
	entries, err := filepath.Glob("../*")
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"agent", "spoe", "policy", "haproxy-example", "test", "go.mod", "go.sum", "Dockerfile", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "bin"}
	for _, entry := range entries {
		if name := filepath.Base(entry); !strings.HasPrefix(name, ".") && !slices.Contains(allowed, name) {
			t.Errorf("%s stands at the top level, which holds %v", name, allowed)
		}
	}
}
