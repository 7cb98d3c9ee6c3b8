package misuse

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The README has each threshold as it is.
func TestTheThresholdsInTheReadme(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, x := range Thresholds() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", x.Name, x.Default, x.Doc)
	}
	if !strings.Contains(string(readme), "|---|---|---|\n"+b.String()+"\n") {
		t.Errorf("the README does not have this table:\n%s", b.String())
	}
}
