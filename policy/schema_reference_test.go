package policy

import (
	commandline "flag" // the package has a function of that name
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = commandline.Bool("update", false, "write the README's reference of the language anew")

// The README's reference of the language is the one that Reference writes.
func TestTheReadmeHasTheReference(t *testing.T) {
	const (
		readme     = "../README.md"
		begin, end = "<!-- keys: kept by a test of the package policy -->\n", "<!-- end of keys -->"
	)
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, hasBegin := strings.Cut(string(text), begin)
	got, tail, hasEnd := strings.Cut(rest, end)
	if !hasBegin || !hasEnd {
		t.Fatalf("%s has no reference between %q and %q", readme, begin, end)
	}
	want := "\n" + Reference() + "\n"
	if *update {
		if err := os.WriteFile(readme, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: the reference is not that of the language; run this test with -update (-want +got):\n%s", readme, diff)
	}
}

// Every key that a policy may have stands in the reference of its mapping, and says there what it means.
func TestTheReferenceHasEveryKey(t *testing.T) {
	tables := map[string]map[string]string{}
	title := ""
	for line := range strings.Lines(Reference()) {
		if name, ok := strings.CutPrefix(line, "#### "); ok {
			title = strings.Trim(strings.TrimSpace(name), "`")
			tables[title] = map[string]string{}
			continue
		}
		cells := strings.Split(line, " | ")
		if key, ok := strings.CutPrefix(cells[0], "| `"); ok && len(cells) == 3 {
			tables[title][strings.TrimSuffix(key, "`")] = strings.TrimSuffix(cells[2], " |\n")
		}
	}
	visited := map[string]bool{}
	var walk func(path string, s *valueShape)
	walk = func(path string, s *valueShape) {
		table := path
		if path == "" {
			table = "A file"
		}
		visited[table] = true
		for i := range s.keys {
			k := &s.keys[i]
			meaning := tables[table][k.name]
			if strings.Trim(meaning, " .") == "" {
				t.Errorf("key %q of %q has no meaning in the reference", k.name, table)
			}
			if got := strings.Contains(meaning, "Not enforced"); got != k.unenforced {
				t.Errorf("key %q of %q: the reference says that it is not enforced: %t, want %t", k.name, table, got, k.unenforced)
			}
			for _, inner := range mappingsOf(join(path, k.name), &k.shape) {
				walk(inner.path, inner.shape)
			}
		}
	}
	root := documentTable.valueShape()
	walk("", &root)
	if len(visited) != len(tables) {
		t.Errorf("the reference has %d tables, the language %d mappings", len(tables), len(visited))
	}
}

// mappingAt is a mapping and where it stands.
type mappingAt struct {
	path  string
	shape *valueShape
}

// mappingsOf returns the mappings that a value of s can be or hold.
func mappingsOf(path string, s *valueShape) []mappingAt {
	switch {
	case s.keys != nil:
		return []mappingAt{{path, s}}
	case s.kind == dictionaryShape:
		return mappingsOf(join(path, "X"), s.element)
	case s.kind == listShape:
		return mappingsOf(path, s.element)
	}
	var all []mappingAt
	for i := range s.either {
		all = append(all, mappingsOf(path, &s.either[i])...)
	}
	return all
}
