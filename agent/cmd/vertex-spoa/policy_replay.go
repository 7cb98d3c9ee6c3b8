package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"vertex-spoa/policy"
	"vertex-spoa/policy/compare"
)

// policyReplay decides audit logs again under a policy and says what comes out otherwise.
func policyReplay(c *policyCommand, args []string, s streams) error {
	flags := c.flags()
	var logs []string
	flags.Func("log", "audit log, may be given several times; .gz is unpacked, and - is standard input", func(name string) error {
		logs = append(logs, name)
		return nil
	})
	was := flags.String("was", "", "the `folder` of the policy under which the log was written: what it used and a line does not hold was absent")
	samples := flags.Int("samples", 3, "how many ids of each group are shown, `n`")
	asJSON := flags.Bool("json", false, "write one JSON object in place of text")
	rest, err := c.parse(flags, args, 1, 1)
	switch {
	case err != nil:
		return err
	case len(logs) == 0:
		return usageError("policy replay: which log? write --log FILE")
	case *samples < 1:
		return usageError("policy replay: --samples: at least 1")
	}
	p, err := loadPolicy(rest[0])
	if err != nil {
		return err
	}
	options := compare.Options{Samples: *samples}
	if *was != "" {
		if options.Was, err = loadPolicy(*was); err != nil {
			return err
		}
	}
	report, err := replay(p, options, logs, s.in)
	if err != nil {
		return err
	}
	if *asJSON {
		err = writeJSON(s.out, report)
	} else {
		err = report.WriteText(s.out)
	}
	if err != nil {
		return err
	}
	if report.Changed > 0 {
		return exitError{exitFailed, plural(report.Changed, "decision") + " would come out otherwise"}
	}
	return nil
}

func replay(p *policy.Policy, o compare.Options, logs []string, in io.Reader) (*compare.Replayed, error) {
	r := compare.NewReplay(p, o)
	for _, name := range logs {
		log, err := openLog(name, in)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(r.Read(name, log), log.Close()); err != nil {
			return nil, err
		}
	}
	return r.Report(), nil
}

// logFile is an audit log that is open, unpacked if need be.
type logFile struct {
	io.Reader
	file *os.File // nil for standard input
}

// openLog opens an audit log; one whose name ends with .gz is unpacked.
func openLog(name string, in io.Reader) (*logFile, error) {
	if name == "-" {
		return &logFile{Reader: in}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(name, ".gz") {
		return &logFile{f, f}, nil
	}
	unpacked, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	return &logFile{unpacked, f}, nil
}

// Close closes the file.
func (f *logFile) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// findRecord returns a line of an audit log: the one that is given itself, or the last one of a file that has the id.
func findRecord(log, id string, in io.Reader) (*compare.Record, error) {
	if strings.HasPrefix(strings.TrimSpace(log), "{") {
		return compare.ParseRecord([]byte(log))
	}
	from, err := openLog(log, in)
	if err != nil {
		return nil, err
	}
	defer func() { _ = from.Close() }()
	var found *compare.Record
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// Most lines are of another id, and need not be read for that.
		if id != "" && !strings.Contains(lines.Text(), id) {
			continue
		}
		r, err := compare.ParseRecord(lines.Bytes())
		switch {
		case errors.Is(err, compare.ErrNoDecision):
		case id == "" && err != nil:
			return nil, fmt.Errorf("%s: %w", log, err)
		case id == "" && found != nil:
			return nil, usageError("policy explain: the log has more than one line: write --id ID")
		case err == nil && (id == "" || r.ID == id):
			found = r
		}
	}
	switch {
	case lines.Err() != nil:
		return nil, fmt.Errorf("%s: %w", log, lines.Err())
	case found == nil && id == "":
		return nil, fmt.Errorf("%s: no line in it", log)
	case found == nil:
		return nil, fmt.Errorf("%s: no line has the id %q", log, id)
	}
	return found, nil
}
