package main

import (
	"fmt"
	"io"

	"vertex-spoa/policy"
	"vertex-spoa/policy/compare"
)

// policyWhoCan lists who may make calls, as whom, by which rules and under which conditions.
func policyWhoCan(c *policyCommand, args []string, s streams) error {
	flags := c.flags()
	var q compare.Query
	var claims, issuer string
	for _, f := range []struct {
		to          *string
		name, usage string
	}{
		{&q.Model, "model", "`pattern` of the models, as claude-* or anthropic/claude-*"},
		{&q.Endpoint, "endpoint", "`pattern` of the ids of endpoints"},
		{&q.Method, "method", "`method`, or group of methods"},
		{&q.Location, "location", "`pattern` of the locations"},
		{&q.Project, "project", "`pattern` of the projects"},
		{&claims, "claims", "`file` with the claims (JSON) of one caller; - is standard input"},
		{&issuer, "issuer", "`name` of their issuer, in the policy"},
	} {
		flags.StringVar(f.to, f.name, "", f.usage)
	}
	asJSON := flags.Bool("json", false, "write one JSON array in place of a table")
	rest, err := c.parse(flags, args, 1, 1)
	switch {
	case err != nil:
		return err
	case q == compare.Query{}:
		return usageError("policy who-can: do what? write at least one of --model, --endpoint, --method, --location and --project")
	case (claims == "") != (issuer == ""):
		return usageError("policy who-can: --claims and --issuer belong together")
	}
	p, err := loadPolicy(rest[0])
	if err != nil {
		return err
	}
	if claims != "" {
		e := explainer{flags: &explainFlags{claims: claims, issuer: issuer}, policy: p, streams: s}
		caller, err := e.claimed()
		if err != nil {
			return err
		}
		q.Caller = &caller
	}
	return writePermissions(s, p, q, *asJSON)
}

func writePermissions(s streams, p *policy.Policy, q compare.Query, asJSON bool) error {
	list, whole := compare.WhoCan(p, q)
	if !whole {
		if _, err := io.WriteString(s.err, "warning: the rules have too many patterns, and not all samples of calls were looked at\n"); err != nil {
			return err
		}
	}
	var err error
	switch {
	case asJSON && list == nil:
		_, err = io.WriteString(s.out, "[]\n")
	case asJSON:
		err = writeJSON(s.out, list)
	case len(list) == 0:
		_, err = fmt.Fprintln(s.out, "nobody")
	default:
		err = compare.WritePermissions(s.out, list)
	}
	return err
}
