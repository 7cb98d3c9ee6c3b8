package main

import (
	"fmt"
	"io"
)

// check loads the configuration and then the policy it names, and reports every problem of the one that does not load.
func check(args []string, stdout io.Writer) error {
	cfg, err := load("check", args)
	if err != nil {
		return err
	}
	p, err := loadPolicy(cfg.Policy.Dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "ok: policy %s: %d issuers, %d roles, digest %s\n", cfg.Policy.Dir, len(p.Issuers()), len(p.Grants()), p.Digest())
	return err
}
