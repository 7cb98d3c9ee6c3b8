package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"vertex-spoa/agent/internal/trail"
	"vertex-spoa/policy/strictyaml"
)

// auditCommand is a sub-command of audit.
type auditCommand struct {
	name, arguments, summary string
	run                      func(c *auditCommand, args []string, s streams) error
}

// auditCommands are the sub-commands in the order in which the usage tells them.
func auditCommands() []auditCommand {
	return []auditCommand{
		{"who", "FILE ...", "say who used what was asked for: calls, denials and tokens by subject", auditWho},
		{"what", "FILE ...", "say what was used: calls, denials and tokens by model, location, role and account", auditWhat},
		{"top", "FILE ...", "say who or what comes first", auditTop},
		{"tail", "FILE ...", "show the last events, and those that follow", auditTail},
		{"unused", "FILE ...", "say which grants of a policy nobody has used", auditUnused},
		{"verify", "FILE ...", "say whether the lines are those that were written, where they are chained", auditVerify},
	}
}

const aboutAuditFiles = `A FILE is an audit log, packed by gzip or not; a pattern as 'audit.jsonl*' stands for
those it matches, and - for standard input. They are read in the order in which they
were written. Exit codes: 0 ok, 1 an answer that is refused or incomplete, 2 wrong usage.
`

// runAudit runs a sub-command of audit.
func runAudit(args []string, s streams) error {
	if len(args) == 0 {
		return usageError("audit: which of these?\n\n" + auditUsage())
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		if len(args) == 1 {
			return helpText(auditUsage())
		}
		args = []string{args[1], "-h"}
	}
	var names []string
	for _, c := range auditCommands() {
		if c.name == args[0] {
			return clean(c.run(&c, args[1:], s))
		}
		names = append(names, c.name)
	}
	return usageError(fmt.Sprintf("audit: unknown command %q%s\n\n%s", args[0], strictyaml.Suggest(args[0], names), auditUsage()))
}

// cleanError is an error that does nothing to a terminal: it may name files that a pattern has found.
type cleanError struct{ error }

func (e cleanError) Error() string {
	lines := strings.Split(e.error.Error(), "\n")
	for i := range lines {
		lines[i] = trail.Clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

func (e cleanError) Unwrap() error { return e.error }

func clean(err error) error {
	if err == nil {
		return nil
	}
	return cleanError{err}
}

func auditUsage() string {
	var b strings.Builder
	b.WriteString("usage: vertex-spoa audit COMMAND [flags] FILE ...\n\ncommands:\n")
	for _, c := range auditCommands() {
		fmt.Fprintf(&b, "  %-7s %s\n", c.name, c.summary)
	}
	b.WriteString("\n" + aboutAuditFiles + "\n\"vertex-spoa audit COMMAND -h\" lists the flags of a command.\n")
	return b.String()
}

// flags returns the empty set of flags of a sub-command.
func (c *auditCommand) flags() *flag.FlagSet {
	return flag.NewFlagSet("audit "+c.name, flag.ContinueOnError)
}

// parse parses flags and files in any order, and returns the files.
func (c *auditCommand) parse(flags *flag.FlagSet, args []string) ([]string, error) {
	like := &policyCommand{arguments: c.arguments, summary: c.summary}
	return like.parse(flags, args, 1, -1)
}

// filterFlags are the flags that choose lines.
type filterFlags struct {
	filter       trail.Filter
	since, until string
	match        map[trail.Dimension]*string
}

func addFilterFlags(flags *flag.FlagSet) *filterFlags {
	f := &filterFlags{match: map[trail.Dimension]*string{}}
	flags.StringVar(&f.since, "since", "", "only decisions from then on: a `time` as 2026-11-23 or 2026-11-23T12:00:00Z, or how long ago as 30d, 12h or 90m")
	flags.StringVar(&f.until, "until", "", "only decisions before that `time`")
	flags.StringVar(&f.filter.Decision, "decision", "", "only decisions of that kind, `allow|deny`")
	for _, d := range trail.Dimensions() {
		usage := "only where the " + d.String() + " matches the `pattern`, in which * stands for any text"
		if d == trail.Model {
			usage = "only where the model matches the `pattern`, as claude-*, anthropic/claude-* or endpoints/*"
		}
		f.match[d] = flags.String(d.String(), "", usage)
	}
	return f
}

// parsed returns the filter that the flags stand for.
func (f *filterFlags) parsed(command string, now time.Time) (trail.Filter, error) {
	var err error
	if f.filter.Since, err = moment(f.since, now); err != nil {
		return trail.Filter{}, usageError(fmt.Sprintf("%s: --since: %v", command, err))
	}
	if f.filter.Until, err = moment(f.until, now); err != nil {
		return trail.Filter{}, usageError(fmt.Sprintf("%s: --until: %v", command, err))
	}
	if !f.filter.Until.IsZero() && !f.filter.Until.After(f.filter.Since) {
		return trail.Filter{}, usageError(command + ": --until: is not after --since")
	}
	if d := f.filter.Decision; d != "" && d != "allow" && d != "deny" {
		return trail.Filter{}, usageError(fmt.Sprintf("%s: --decision: want allow or deny, got %q", command, d))
	}
	f.filter.Match = map[trail.Dimension]string{}
	for d, pattern := range f.match {
		if *pattern != "" {
			f.filter.Match[d] = *pattern
		}
	}
	return f.filter, nil
}

// moment parses a time, or how long before now it was. An empty text is the zero time.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	unit, number := time.Duration(0), text
	for _, u := range []struct {
		name string
		is   time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			unit, number = u.is, n
		}
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || unit == 0 || time.Duration(n) > (1<<63-1)/unit {
		return time.Time{}, fmt.Errorf("want a time as 2026-11-23 or 2026-11-23T12:00:00Z, or how long ago as 30d, 12h or 90m, got %q", text)
	}
	return now.Add(-time.Duration(n) * unit).UTC(), nil
}

// finishAudit tells what was not counted, and ends with an error if the answer is therefore not whole.
func finishAudit(s streams, notes *trail.Notes, strict bool) error {
	if _, err := io.WriteString(s.err, paint(s.err, notes.Text())); err != nil {
		return err
	}
	switch {
	case notes.Unreadable():
		return exitError{exitFailed, "no line could be read: are these audit logs?"}
	case len(notes.Damaged) > 0:
		return exitError{exitFailed, "not all files could be read"}
	case strict && !notes.Whole():
		return exitError{exitFailed, "not all lines could be read"}
	}
	return nil
}

// progress draws how far a reader has come, on a terminal.
type progress struct {
	w     io.Writer
	total int64
	start time.Time
	drawn time.Time
	width int // of what is drawn
}

// newProgress returns what Question.Progress is to be: nil where there is nobody to look, or nothing to tell.
func newProgress(w io.Writer, total int64) *progress {
	if !isTerminal(w) || os.Getenv("TERM") == "dumb" || total == 0 {
		return nil
	}
	return &progress{w: w, total: total, start: time.Now()}
}

// show draws the bar, at most ten times in a second, and nothing in the first half of one.
func (p *progress) show(read int64) {
	now := time.Now()
	if now.Sub(p.start) < 500*time.Millisecond || now.Sub(p.drawn) < 100*time.Millisecond {
		return
	}
	p.drawn = now
	p.draw(progressText(read, p.total, now.Sub(p.start)))
}

func (p *progress) draw(text string) {
	_, _ = fmt.Fprintf(p.w, "\r%-*s\r%s", p.width, "", text) // a bar that cannot be drawn is none
	p.width = len([]rune(text))
}

// done wipes the bar away.
func (p *progress) done() {
	if p != nil && p.width > 0 {
		p.draw("")
		p.width = 0
	}
}

func progressText(read, total int64, since time.Duration) string {
	const width = 30
	part := min(float64(read)/float64(total), 1)
	full := int(part * width)
	left := time.Duration(0)
	if part > 0 {
		left = time.Duration(float64(since) * (1 - part) / part).Round(time.Second)
	}
	return fmt.Sprintf("reading [%s%s] %3.0f%%  %s of %s  %s left", strings.Repeat("#", full), strings.Repeat(".", width-full),
		part*100, megabytes(read), megabytes(total), left)
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }
