package trial

import (
	"fmt"
	"slices"
	"strings"
)

// Report is what came of tests.
type Report struct {
	Policy string // the policy's digest
	Suites []SuiteResult

	coverage *coverage
}

// SuiteResult is what came of the tests of one file.
type SuiteResult struct {
	File    string
	Results []Result
}

// Count returns how many tests ran, and how many of them failed.
func (r *Report) Count() (run, failed int) {
	for _, s := range r.Suites {
		run += len(s.Results)
		failed += s.failed()
	}
	return run, failed
}

func (s *SuiteResult) failed() int {
	n := 0
	for i := range s.Results {
		if s.Results[i].Failed() {
			n++
		}
	}
	return n
}

// Failed reports whether a decision was not as wanted.
func (r *Result) Failed() bool { return len(r.Wrong) > 0 }

// Coverage returns how far the tests that ran tried the rules, by place. The result is the caller's own.
func (r *Report) Coverage() []RuleCoverage { return slices.Clone(r.coverage.rules) }

// Failures returns the tests that failed as text: the place and the name, what was wanted and what came, and the rule that came nearest.
// It is empty when none failed.
func (r *Report) Failures() string {
	var b strings.Builder
	for _, s := range r.Suites {
		for i := range s.Results {
			if t := &s.Results[i]; t.Failed() {
				fmt.Fprintf(&b, "FAIL %s:%d:%d %s\n", t.Test.File, t.Test.Line, t.Test.Column, t.Test.Name)
				b.WriteString(t.text("  "))
			}
		}
	}
	return b.String()
}

// text returns what is wrong, in indented lines.
func (r *Result) text(indent string) string {
	var b strings.Builder
	for _, line := range r.Wrong {
		b.WriteString(indent + line + "\n")
	}
	if r.Nearest != "" {
		b.WriteString(indent + "near " + r.Nearest + "\n")
	}
	return b.String()
}

// CoverageText returns how much of the policy the tests tried, and below it what they did not: rules that never applied, and conditions
// that were never true or never false.
func (r *Report) CoverageText() string {
	var b strings.Builder
	applied, rules, seen, outcomes := r.coverage.counts()
	fmt.Fprintf(&b, "coverage: %d of %d rules applied, %d of %d outcomes of conditions seen\n", applied, rules, seen, outcomes)
	for _, rule := range r.coverage.rules {
		var missing []string
		if rule.Applied == 0 {
			missing = append(missing, "never applied")
		}
		for _, c := range rule.Conditions {
			switch {
			case c.True == 0 && c.False == 0:
				missing = append(missing, c.Condition+" never tried")
			case c.True == 0:
				missing = append(missing, c.Condition+" never true")
			case c.False == 0:
				missing = append(missing, c.Condition+" never false")
			}
		}
		if missing != nil {
			fmt.Fprintf(&b, "  %s at %s: %s\n", rule.Rule, rule.At, strings.Join(missing, ", "))
		}
	}
	return b.String()
}
