package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"vertex-spoa/policy"
	"vertex-spoa/policy/strictyaml"
)

// streams is what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// policyCommand is a sub-command of policy.
type policyCommand struct {
	name, arguments, summary string
	run                      func(c *policyCommand, args []string, s streams) error
}

// policyCommands are the sub-commands in the order in which the usage tells them.
func policyCommands() []policyCommand {
	return []policyCommand{
		{"check", "DIR", "say whether the policy loads, and what is wrong or odd about it", policyCheck},
		{"test", "DIR", "run the tests *_test.yaml beside the policy", policyTest},
		{"fmt", "[FILE|DIR ...]", "write files of a policy in their one form", policyFmt},
		{"explain", "DIR", "say what is decided about a call, and why", policyExplain},
		{"diff", "DIR DIR", "say who gains and who loses what between two policies", policyDiff},
		{"replay", "DIR", "decide an audit log again, and say what comes out otherwise", policyReplay},
		{"who-can", "DIR", "say who may make a call, as whom, and under which conditions", policyWhoCan},
		{"schema", "", "print the JSON Schema of a policy's files, for editors", policySchema},
	}
}

// runPolicy runs a sub-command of policy.
func runPolicy(args []string, s streams) error {
	if len(args) == 0 {
		return usageError("policy: which of these?\n\n" + policyUsage())
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		return helpText(policyUsage())
	}
	for _, c := range policyCommands() {
		if c.name == args[0] {
			return c.run(&c, args[1:], s)
		}
	}
	var names []string
	for _, c := range policyCommands() {
		names = append(names, c.name)
	}
	return usageError(fmt.Sprintf("policy: unknown command %q%s\n\n%s", args[0], strictyaml.Suggest(args[0], names), policyUsage()))
}

func policyUsage() string {
	var b strings.Builder
	b.WriteString("usage: vertex-spoa policy COMMAND [flags]\n\ncommands:\n")
	for _, c := range policyCommands() {
		fmt.Fprintf(&b, "  %-9s %s\n", c.name, c.summary)
	}
	b.WriteString("\n\"vertex-spoa policy COMMAND -h\" lists the flags of a command.\n")
	return b.String()
}

// flags returns the empty set of flags of a sub-command.
func (c *policyCommand) flags() *flag.FlagSet {
	return flag.NewFlagSet("policy "+c.name, flag.ContinueOnError)
}

// parse parses flags and other arguments in any order, and returns the others: least to most of them, any number when most is negative.
func (c *policyCommand) parse(flags *flag.FlagSet, args []string, least, most int) ([]string, error) {
	flags.SetOutput(io.Discard)
	var rest []string
	for {
		err := flags.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			return nil, helpText(c.help(flags))
		case err != nil:
			return nil, usageError(fmt.Sprintf("%s: %v (see vertex-spoa %s -h)", flags.Name(), err, flags.Name()))
		}
		if flags.NArg() == 0 {
			break
		}
		if n := len(args) - flags.NArg(); n > 0 && args[n-1] == "--" {
			rest = append(rest, flags.Args()...)
			break
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
	switch {
	case len(rest) < least:
		return nil, usageError(fmt.Sprintf("%s: missing argument %s (see vertex-spoa %s -h)", flags.Name(), c.arguments, flags.Name()))
	case most >= 0 && len(rest) > most:
		return nil, usageError(fmt.Sprintf("%s: unexpected argument %q", flags.Name(), rest[most]))
	}
	return rest, nil
}

func (c *policyCommand) help(flags *flag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: vertex-spoa %s [flags] %s\n\n%s\n\n", flags.Name(), c.arguments, c.summary)
	flags.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		name := "--" + f.Name
		if value != "" {
			name += " " + value
		}
		fmt.Fprintf(&b, "  %s\n        %s\n", name, text)
	})
	return b.String()
}

// exitError is an end with an exit code of its own, after everything there is to say but one line.
type exitError struct {
	code int
	text string
}

func (e exitError) Error() string { return e.text }

// loadPolicy loads the policy in a folder. What is wrong with it is a loadError.
func loadPolicy(dir string) (*policy.Policy, error) {
	p, err := policy.Load(dir)
	var wrong *strictyaml.Error
	switch {
	case errors.As(err, &wrong):
		return nil, loadError{fmt.Errorf("%w; the running policy is unchanged", wrong)}
	case err != nil:
		return nil, loadError{err}
	}
	return p, nil
}

// paint colours what is written as error and warning, with its place, for a terminal. Other writers get the text as it is.
func paint(w io.Writer, text string) string {
	if !isTerminal(w) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return colour(text)
}

// isTerminal reports whether w is a terminal, as far as its kind of file tells.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// The colours of a terminal (ECMA-48 section 8.3.117).
const (
	red, yellow, blue, green = "\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[1;32m"
	plainAgain               = "\x1b[0m"
)

// colour colours the lines of messages by how they begin.
func colour(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		for _, mark := range []struct{ text, colour string }{
			{"error:", red}, {"warning:", yellow}, {"  -->", blue}, {"      | ", red}, {"FAIL", red}, {"ok", green},
		} {
			if rest, ok := strings.CutPrefix(line, mark.text); ok {
				if strings.TrimSpace(mark.text) == "|" { // the mark below the place
					line = mark.text + mark.colour + strings.TrimSuffix(rest, "\n") + plainAgain + "\n"
				} else {
					line = mark.colour + mark.text + plainAgain + rest
				}
				break
			}
		}
		b.WriteString(line)
	}
	return b.String()
}
