package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"vertex-spoa/agent"
	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/misuse"
	"vertex-spoa/policy"
)

// check loads the configuration and then the policy it names, and reports every problem of the one that does not load. Whatever serve
// would refuse before it asks anybody is refused, but for what is in the way of its sockets and files.
func check(args []string, stdout io.Writer) error {
	cfg, err := load("check", args)
	if err != nil {
		return err
	}
	if err := google.CheckEnvironment(); err != nil {
		return err
	}
	p, err := loadPolicy(cfg.Policy.Dir)
	if err != nil {
		return err
	}
	if err := servable(p, true); err != nil {
		return err
	}
	if _, err := stamp(cfg); err != nil {
		return loadError{err}
	}
	if _, err := auditOptions(cfg, nil); err != nil {
		return loadError{err}
	}
	if _, err := misuse.Parse(cfg.Misuse.Thresholds); err != nil {
		return loadError{fmt.Errorf("misuse.thresholds: %w", err)}
	}
	if _, err := (google.Egress{CAFile: cfg.Google.CA}).Client(); err != nil {
		return loadError{fmt.Errorf("google.ca: %w", err)}
	}
	_, err = fmt.Fprintf(stdout, "ok: policy %s: %d issuers, %d roles, digest %s\n", cfg.Policy.Dir, len(p.Issuers()), len(p.Grants()), p.Digest())
	return err
}

// servable returns a loadError if an agent would refuse a policy that has loaded. Files of authorities that it names are looked at where
// files is true. Each line of the error is one problem.
func servable(p *policy.Policy, files bool) error {
	err := agent.CheckPolicy(p, files)
	if err == nil {
		return nil
	}
	var problems []error
	for line := range strings.Lines(err.Error()) { // one of each
		problems = append(problems, errors.New("error: "+strings.TrimSuffix(line, "\n")))
	}
	return loadError{errors.Join(problems...)}
}
