package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"time"

	"vertex-spoa/agent/internal/trail"
)

// askFlags are the flags of the questions that are answered with a table.
type askFlags struct {
	*filterFlags
	json, strict *bool
}

func addAskFlags(flags *flag.FlagSet) askFlags {
	return askFlags{
		addFilterFlags(flags),
		flags.Bool("json", false, "write one JSON object in place of a table"),
		flags.Bool("strict", false, "fail if a line is broken or of another version; they are counted anyway"),
	}
}

// ask reads the files and answers a question.
func (f askFlags) ask(command string, names []string, s streams, by ...trail.Dimension) (*trail.Answer, error) {
	filter, err := f.parsed(command, time.Now())
	if err != nil {
		return nil, err
	}
	files, err := trail.Open(names, s.in)
	if err != nil {
		return nil, err
	}
	q := trail.Question{By: by, Filter: filter}
	bar := newProgress(s.err, files.Size())
	defer bar.done()
	if bar != nil {
		q.Progress = bar.show
	}
	return trail.Ask(context.Background(), files, q)
}

// write writes an answer.
func (f askFlags) write(a *trail.Answer, s streams, columns ...trail.Column) error {
	var err error
	switch {
	case *f.json:
		err = a.WriteJSON(s.out)
	case len(a.Rows) == 0:
		if !a.Notes.Unreadable() {
			_, err = fmt.Fprintln(s.out, a.Nothing())
		}
	default:
		err = a.WriteText(s.out, columns...)
	}
	if err != nil {
		return err
	}
	return finishAudit(s, &a.Notes, *f.strict)
}

// auditWho says who made the calls that are chosen.
func auditWho(c *auditCommand, args []string, s streams) error {
	return c.table(args, s, trail.Subject, trail.Issuer)
}

// auditWhat says what the calls that are chosen were.
func auditWhat(c *auditCommand, args []string, s streams) error {
	return c.table(args, s, trail.Model, trail.Location, trail.Role, trail.Account)
}

func (c *auditCommand) table(args []string, s streams, by ...trail.Dimension) error {
	flags := c.flags()
	asked := addAskFlags(flags)
	names, err := c.parse(flags, args)
	if err != nil {
		return err
	}
	a, err := asked.ask(flags.Name(), names, s, by...)
	if err != nil {
		return err
	}
	a.Sort(trail.ByCalls)
	return asked.write(a, s, trail.Calls, trail.Denials, trail.In, trail.Out, trail.First, trail.Last)
}

// auditTop says who or what comes first.
func auditTop(c *auditCommand, args []string, s streams) error {
	flags := c.flags()
	asked := addAskFlags(flags)
	by := flags.String("by", string(trail.ByCalls), "what is compared, `calls|denials|tokens|bytes|seconds`; denials where only these are asked for")
	of := flags.String("of", trail.Subject.String(), "what is counted, `subject|issuer|model|location|project|role|rule|account|reason|method`")
	n := flags.Int("n", 10, "how many are shown, `n`")
	names, err := c.parse(flags, args)
	if err != nil {
		return err
	}
	measure := trail.Measure(*by)
	dimension, known := trail.ParseDimension(*of)
	switch {
	case !slices.Contains(trail.Measures(), measure):
		return usageError(fmt.Sprintf("audit top: --by: want one of %v, got %q", trail.Measures(), *by))
	case !known:
		return usageError(fmt.Sprintf("audit top: --of: want one of %v, got %q", trail.Dimensions(), *of))
	case *n < 1:
		return usageError("audit top: -n: at least 1")
	}
	if !isSet(flags, "by") && (dimension == trail.Reason || isSet(flags, "reason") || asked.filter.Decision == "deny") {
		measure = trail.ByDenials // calls that were let through have no reason, or are not asked for
	}
	a, err := asked.ask(flags.Name(), names, s, dimension)
	if err != nil {
		return err
	}
	a.Sort(measure)
	a.Top(*n, measure)
	return asked.write(a, s, trail.Calls, trail.Denials, trail.In, trail.Out, trail.Bytes, trail.Seconds)
}

// isSet reports whether a flag was given.
func isSet(flags *flag.FlagSet, name string) (set bool) {
	flags.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}
