package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"vertex-spoa/agent/internal/trail"
)

// auditTail shows the last events, and those that follow.
func auditTail(c *auditCommand, args []string, s streams) error {
	flags := c.flags()
	chosen := addFilterFlags(flags)
	follow := flags.Bool("f", false, "go on with what is written from now on, until interrupted; files are followed by name through rotations")
	n := flags.Int("n", 20, "how many of the last events are shown, `n`")
	colour := flags.String("color", "auto", "whether to write in colour, `auto|always|never`; auto is on a terminal, unless NO_COLOR is set")
	strict := flags.Bool("strict", false, "fail if a line is broken or of another version")
	names, err := c.parse(flags, args)
	switch {
	case err != nil:
		return err
	case !slices.Contains([]string{"auto", "always", "never"}, *colour):
		return usageError(fmt.Sprintf("audit tail: --color: want auto, always or never, got %q", *colour))
	case *n < 0 || *n > trail.MaxTail:
		return usageError(fmt.Sprintf("audit tail: -n: want 0 to %d", trail.MaxTail))
	}
	o := trail.TailOptions{Lines: *n, Follow: *follow}
	if o.Filter, err = chosen.parsed("audit tail", time.Now()); err != nil {
		return err
	}
	files, err := trail.Open(names, s.in)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if *follow && !slices.Contains(names, trail.Stdin) { // a read of standard input ends with the program alone
		var stop func()
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
	}
	screen := trail.NewScreen(s.out, coloured(*colour, s))
	notes, err := trail.Tail(ctx, files, o, screen.Show)
	if err != nil {
		return err
	}
	return finishAudit(s, notes, *strict)
}

func coloured(when string, s streams) bool {
	switch when {
	case "always":
		return true
	case "never":
		return false
	}
	return isTerminal(s.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
