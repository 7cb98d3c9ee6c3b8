package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"vertex-spoa/policy"
	"vertex-spoa/policy/trial"
)

// policyTest runs the unit tests beside a policy.
func policyTest(c *policyCommand, args []string, s streams) error {
	flags := c.flags()
	run := flags.String("run", "", "run the tests whose names match this `regexp`")
	coverage := flags.Bool("coverage", false, "say which rules and conditions the tests tried")
	junit := flags.String("junit", "", "write a report in JUnit's XML to this `file`")
	rest, err := c.parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	match, err := regexp.Compile(*run)
	if err != nil {
		return usageError(fmt.Sprintf("policy test: --run: %v", err))
	}
	p, suites, err := loadTests(rest[0])
	if err != nil {
		return err
	}
	report := trial.Run(p, suites, match)
	if *junit != "" {
		if err := writeJUnit(*junit, report); err != nil {
			return err
		}
	}
	return printReport(s.out, report, *coverage)
}

func loadTests(dir string) (*policy.Policy, []trial.Suite, error) {
	p, err := loadPolicy(dir)
	if err != nil {
		return nil, nil, err
	}
	suites, err := trial.Load(dir, p)
	switch {
	case err != nil:
		return nil, nil, loadError{err}
	case len(suites) == 0:
		return nil, nil, fmt.Errorf("no tests: there is no file *_test.yaml in %q", dir)
	}
	return p, suites, nil
}

func printReport(w io.Writer, report *trial.Report, coverage bool) error {
	tests, failed := report.Count()
	if tests == 0 {
		return errors.New("no test has such a name")
	}
	text := report.Failures()
	if failed == 0 {
		text += fmt.Sprintf("ok: %s passed, policy %s\n", plural(tests, "test"), report.Policy)
	}
	if coverage {
		text += report.CoverageText()
	}
	if _, err := io.WriteString(w, paint(w, text)); err != nil {
		return err
	}
	if failed > 0 {
		return exitError{exitTests, fmt.Sprintf("%d of %s failed", failed, plural(tests, "test"))}
	}
	return nil
}

func writeJUnit(name string, report *trial.Report) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteJUnit(f), f.Close())
}
