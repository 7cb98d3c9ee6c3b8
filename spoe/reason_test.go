package spoe

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReasonsAreAllOfThem(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []Reason
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok {
					text, _ := strconv.Unquote(lit.Value)
					declared = append(declared, Reason(text))
				}
			}
		}
		return true
	})
	slices.Sort(declared)
	if diff := cmp.Diff(declared, Reasons()); diff != "" || len(slices.Compact(declared)) != len(Reasons()) {
		t.Error(diff)
	}
	for _, r := range Reasons() {
		if !regexp.MustCompile(`^[A-Z]+(_[A-Z]+)*$`).MatchString(string(r)) {
			t.Errorf("%q is not UPPER_SNAKE", r)
		}
	}
}
