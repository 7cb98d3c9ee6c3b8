package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"vertex-spoa/agent/internal/audit"
	"vertex-spoa/agent/internal/trail"
)

// auditVerify checks the chain of hashes.
func auditVerify(c *auditCommand, args []string, s streams) error {
	flags := c.flags()
	keyFile := flags.String("key", "", "the `file` of the chain's key, if it has one")
	headsFile := flags.String("heads", "", "a `file` that --json wrote earlier and that whoever can write the log cannot write: what was there then must be there still")
	continued := flags.Bool("continued", false, "the files begin in the middle, as after the deletion of old ones")
	asJSON := flags.Bool("json", false, "write one JSON object in place of text")
	names, err := c.parse(flags, args)
	if err != nil {
		return err
	}
	o := audit.VerifyOptions{Continued: *continued}
	if o.Key, err = auditKey("audit verify: --key", *keyFile); err != nil {
		return err
	}
	if o.Heads, err = readHeads(*headsFile); err != nil {
		return err
	}
	files, err := trail.Open(names, s.in)
	if err != nil {
		return err
	}
	bar := newProgress(s.err, files.Size())
	var show func(int64)
	if bar != nil {
		show = bar.show
	}
	v := audit.NewVerifier(o)
	err = files.Each(show, v.Read)
	bar.done()
	if err != nil {
		return err
	}
	return writeVerified(s, v.Report(), *asJSON)
}

// readHeads reads the heads of an earlier report.
func readHeads(file string) ([]audit.Head, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r audit.Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("--heads: %s: %w", file, err)
	}
	if len(r.Heads) == 0 {
		return nil, fmt.Errorf("--heads: %s: there are none in it", file)
	}
	return r.Heads, nil
}

func writeVerified(s streams, r audit.Report, asJSON bool) error {
	var err error
	if asJSON {
		err = trail.WriteJSON(s.out, r)
	} else {
		_, err = io.WriteString(s.out, verifiedText(&r))
	}
	switch {
	case err != nil:
		return err
	case r.First != nil:
		return exitError{exitFailed, fmt.Sprintf("the log is not what was written: %s", trail.Clean(r.First.String()))}
	case r.Chained == 0:
		return exitError{exitFailed, "no line is tied to another: the log was written without audit.chain, and nothing is known of it"}
	}
	return nil
}

func verifiedText(r *audit.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "read %s: %d in %s, %d without one before them, %d torn\n", plural(r.Lines, "line"), r.Chained, plural(len(r.Chains), "chain"), r.Unchained, r.Torn)
	for _, c := range r.Chains {
		fmt.Fprintf(&b, "  chain %s: lines %d to %d\n", trail.Clean(c.Chain), c.From, c.To)
	}
	for _, p := range r.TornAt {
		fmt.Fprintf(&b, "  torn: %s:%d\n", trail.Clean(p.File), p.Line)
	}
	switch {
	case r.First != nil:
		fmt.Fprintf(&b, "%s, the first one: %s\n", plural(r.Breaks, "break"), trail.Clean(r.First.String()))
	case r.Chained > 0:
		b.WriteString("every line is what was written; note the heads down, for what is cut off behind them leaves no other trace:\n")
	}
	for _, h := range r.Heads {
		fmt.Fprintf(&b, "  head %s %d %s\n", trail.Clean(h.Chain), h.Seq, trail.Clean(h.Hash))
	}
	return b.String()
}
