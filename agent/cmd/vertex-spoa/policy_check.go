package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"vertex-spoa/policy"
	"vertex-spoa/policy/strictyaml"
)

// policyCheck loads a policy and says everything that is wrong with it, or what is odd about it and what it holds.
func policyCheck(c *policyCommand, args []string, s streams) error {
	flags := c.flags()
	strict := flags.Bool("strict", false, "fail when there are warnings")
	rest, err := c.parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	p, err := loadPolicy(rest[0])
	if err != nil {
		return err
	}
	if err := servable(p, false); err != nil {
		return err
	}
	warnings := p.Model().Warnings()
	if err := printWarnings(s.err, warnings); err != nil {
		return err
	}
	if _, err := io.WriteString(s.out, paint(s.out, summary(rest[0], p))); err != nil {
		return err
	}
	if n := len(warnings); *strict && n > 0 {
		return exitError{exitFailed, plural(n, "warning") + ", and with --strict that is a failure"}
	}
	return nil
}

// summary says what a policy holds.
func summary(dir string, p *policy.Policy) string {
	m := p.Model()
	denies := 0
	for i := range m.Rules {
		if m.Rules[i].Effect == policy.Deny {
			denies++
		}
	}
	name, rules, conditions := worstRole(m)
	return fmt.Sprintf("ok: policy %s: %s, %s, %s (%d allow, %d deny)\n    worst role %s: %s to compare with, %d of them with a condition in CEL\n    digest %s\n",
		dir, plural(len(m.Issuers), "issuer"), plural(len(m.Roles), "role"), plural(len(m.Rules), "rule"), len(m.Rules)-denies, denies,
		name, plural(rules, "rule"), conditions, p.Digest())
}

// worstRole returns the role that has most rules with conditions in CEL, and then most rules.
func worstRole(m *policy.Model) (name string, rules, conditions int) {
	rules = -1
	for i := range m.Roles {
		r, c := 0, 0
		for j := range m.Rules {
			rule := &m.Rules[j]
			if rule.Roles != nil && !slices.Contains(rule.Roles, m.Roles[i].Name) || slices.Contains(rule.Except, m.Roles[i].Name) {
				continue
			}
			r++
			if rule.When != nil {
				c++
			}
		}
		if c > conditions || c == conditions && r > rules {
			name, rules, conditions = m.Roles[i].Name, r, c
		}
	}
	return name, rules, conditions
}

// printWarnings prints warnings as errors are printed, with the lines they are about.
func printWarnings(w io.Writer, warnings []policy.Warning) error {
	files := map[string][]string{}
	for _, warning := range warnings {
		at := warning.At
		lines, read := files[at.File]
		if !read {
			data, err := os.ReadFile(at.File)
			if err == nil {
				lines = strings.Split(string(data), "\n")
			}
			files[at.File] = lines
		}
		problem := strictyaml.Problem{File: at.File, Line: at.Line, Column: at.Column, Message: warning.Message}
		if at.Line <= len(lines) {
			problem.Excerpt = strings.TrimRight(strings.ReplaceAll(lines[at.Line-1], "\t", " "), "\r")
		}
		text := "warning: " + strings.TrimPrefix(problem.String(), "error: ") + "\n"
		if _, err := io.WriteString(w, paint(w, text)); err != nil {
			return err
		}
	}
	return nil
}

// plural writes a number of things.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
