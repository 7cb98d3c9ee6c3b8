package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the example configuration anew")

const exampleFile = "../../../haproxy-example/vertex-spoa.yaml"

// example is the file that documents every key: those with a default are set to it, the others are commented out.
func example() string {
	var b strings.Builder
	b.WriteString("# The configuration of vertex-spoa. Every key is here with its default. The same keys are flags of `vertex-spoa serve`,\n" +
		"# such as --policy.dir=DIR, and flags win. `vertex-spoa check --config FILE` tries it.\n")
	section := ""
	for _, f := range Fields() {
		head, key, _ := strings.Cut(f.Key, ".")
		if head != section {
			fmt.Fprintf(&b, "\n%s:\n", head)
			section = head
		}
		line := fmt.Sprintf("%s: %s", key, f.Default)
		switch f.Default {
		case "":
			line = fmt.Sprintf("# %s:", key)
		case "-":
			line = key + `: "-"`
		}
		fmt.Fprintf(&b, "  # %s\n  %s\n", f.Doc, line)
	}
	return b.String()
}

func TestTheExampleDocumentsEveryKey(t *testing.T) {
	if *update {
		if err := os.WriteFile(exampleFile, []byte(example()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), string(got)); diff != "" {
		t.Errorf("%s is not what the keys make it; run this test with -update (-want +got):\n%s", exampleFile, diff)
	}
}

func TestTheExampleMeansTheDefaults(t *testing.T) {
	want, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(exampleFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}
