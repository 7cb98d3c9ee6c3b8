package main

import (
	"io"

	"vertex-spoa/policy/compare"
)

// policyDiff says what one policy does otherwise than another.
func policyDiff(c *policyCommand, args []string, s streams) error {
	flags := c.flags()
	asJSON := flags.Bool("json", false, "write one JSON object in place of text")
	rest, err := c.parse(flags, args, 2, 2)
	if err != nil {
		return err
	}
	before, err := loadPolicy(rest[0])
	if err != nil {
		return err
	}
	after, err := loadPolicy(rest[1])
	if err != nil {
		return err
	}
	d := compare.Diff(before, after)
	switch {
	case *asJSON:
		err = writeJSON(s.out, d)
	case d.Empty():
		_, err = io.WriteString(s.out, paint(s.out, "ok: both policies decide alike\n"))
	default:
		err = d.WriteText(s.out)
	}
	if err != nil {
		return err
	}
	if !d.Empty() {
		return exitError{exitFailed, "the policies differ"}
	}
	return nil
}
