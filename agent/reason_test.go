package agent

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
)

// allReasons are the reasons of every room.
func allReasons() []Reason {
	all := Reasons()
	for _, r := range identity.Reasons() {
		all = append(all, Reason(r))
	}
	for _, r := range policy.Reasons() {
		all = append(all, Reason(r))
	}
	for _, r := range google.Reasons() {
		all = append(all, Reason(r))
	}
	return all
}

// statuses are those the contract knows.
var statuses = []status{badRequest, unauthenticated, forbidden, contentTooLarge, tooManyRequests, serviceUnavailable}

func TestEveryReasonStandsInTheTable(t *testing.T) {
	fallback := explain("NO_SUCH_REASON")
	seen := map[Reason]bool{}
	shape := regexp.MustCompile(`^[A-Z]+(_[A-Z]+)*$`)
	for _, r := range allReasons() {
		if seen[r] {
			t.Errorf("%s is a reason of two rooms", r)
		}
		seen[r] = true
		if !shape.MatchString(string(r)) {
			t.Errorf("%q is not in upper snake case", r)
		}
		told := explain(r)
		code, text := told.status, told.message
		if told == fallback && r != Internal {
			t.Errorf("%s is not in the table", r)
		}
		if !slices.Contains(statuses, code) {
			t.Errorf("%s has status %d, which the contract does not know", r, code)
		}
		if !shape.MatchString(told.public) {
			t.Errorf("%s is told as %q", r, told.public)
		}
		if strings.ContainsAny(text, "\"\\\r\n") {
			t.Errorf("%s has a text that a header or JSON would have to escape: %q", r, text)
		}
	}
}

// HAProxy answers with the statuses the table gives, and has reasons of its own; no two parties may mean different things by one word.
func TestHAProxyKnowsTheStatusesAndItsReasonsAreItsOwn(t *testing.T) {
	text, err := os.ReadFile("../haproxy-example/vertex.cfg")
	if err != nil {
		t.Fatal(err)
	}
	cfg := string(text)
	for _, code := range statuses {
		if !strings.Contains(cfg, fmt.Sprintf("{ var(txn.vertex.status) -m int %d }", code)) {
			t.Errorf("vertex.cfg does not answer with status %d", code)
		}
	}
	used := regexp.MustCompile(`(?:set-var\(txn\.vertex\.reason\) str\(|"|')([A-Z]+(?:_[A-Z]+)+)[)"']`).FindAllStringSubmatch(cfg, -1)
	if len(used) < 8 {
		t.Fatalf("found only %d reasons in vertex.cfg", len(used))
	}
	listed := cfg[:strings.Index(cfg, "\nglobal")]
	for _, match := range used {
		if strings.HasPrefix(match[1], "VERTEX") {
			continue
		}
		if slices.Contains(allReasons(), Reason(match[1])) {
			t.Errorf("%s is a reason of vertex.cfg and of the agent", match[1])
		}
		if !strings.Contains(listed, match[1]) && !slices.Contains([]string{"INVALID_ARGUMENT", "PERMISSION_DENIED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}, match[1]) {
			t.Errorf("vertex.cfg gives the reason %s without listing it at its top", match[1])
		}
	}
}

var update = flag.Bool("update", false, "write the README's table of reasons anew")

// The README's table of reasons is the one in explain.
func TestTheReadmeListsEveryReason(t *testing.T) {
	var table strings.Builder
	table.WriteString("| reason, in the logs | status | reason, to the caller | what the caller is told |\n|---|---|---|---|\n")
	for _, r := range allReasons() {
		told := explain(r)
		fmt.Fprintf(&table, "| `%s` | %d | `%s` | %s |\n", r, told.status, told.public, told.message)
	}
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "of the package agent -->\n", "<!-- end of reasons -->"
	head, rest, ok := strings.Cut(string(text), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the README has no table of reasons")
	}
	if *update {
		if err := os.WriteFile("../README.md", []byte(head+begin+table.String()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != table.String() {
		t.Errorf("the README's table of reasons is not that of the code; run this test with -update")
	}
}
