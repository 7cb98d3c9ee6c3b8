package main

import "vertex-spoa/policy"

// policySchema prints the JSON Schema of a policy's files.
func policySchema(c *policyCommand, args []string, s streams) error {
	if _, err := c.parse(c.flags(), args, 0, 0); err != nil {
		return err
	}
	_, err := s.out.Write(policy.Schema())
	return err
}
