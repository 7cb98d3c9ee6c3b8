package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"vertex-spoa/agent/internal/trail"
)

// auditUnused says which grants of a policy nobody has used.
func auditUnused(c *auditCommand, args []string, s streams) error {
	flags := c.flags()
	dir := flags.String("policy", "", "the `folder` of the policy")
	days := flags.Int("days", 90, "the length of the period, `n` days")
	until := flags.String("until", "", "the end of the period, a `time`; now if not given")
	partial := flags.Bool("partial", false, "answer also if the files do not reach back to the beginning of the period")
	asJSON := flags.Bool("json", false, "write one JSON object in place of text")
	strict := flags.Bool("strict", false, "fail if a line is broken or of another version")
	names, err := c.parse(flags, args)
	switch {
	case err != nil:
		return err
	case *dir == "":
		return usageError("audit unused: of which policy? write --policy DIR")
	case *days < 1 || *days > 36500:
		return usageError("audit unused: --days: want 1 to 36500")
	}
	end, err := moment(*until, time.Now())
	if err != nil {
		return usageError("audit unused: --until: " + err.Error())
	}
	if end.IsZero() {
		end = time.Now().UTC()
	}
	p, err := loadPolicy(*dir)
	if err != nil {
		return err
	}
	files, err := trail.Open(names, s.in)
	if err != nil {
		return err
	}
	bar := newProgress(s.err, files.Size())
	var q trail.Question
	if bar != nil {
		q.Progress = bar.show
	}
	u, err := trail.Unused(context.Background(), files, p, end.AddDate(0, 0, -*days), end, q)
	bar.done()
	if err != nil {
		return err
	}
	if err := reaches(u, *days, *partial, s); err != nil {
		return err
	}
	if *asJSON {
		err = u.WriteJSON(s.out)
	} else {
		err = u.WriteText(s.out)
	}
	if err != nil {
		return err
	}
	return finishAudit(s, &u.Notes, *strict)
}

// reaches refuses an answer for a period that the files do not cover, unless such a one was asked for.
func reaches(u *trail.Usage, days int, partial bool, s streams) error {
	switch {
	case u.Ended():
		if err := finishAudit(s, &u.Notes, false); err != nil {
			return err
		}
		return exitError{exitFailed, fmt.Sprintf("nothing can be said of the time from %s on: the last line in the files is of %s",
			u.Since.Format(time.RFC3339), u.Last.Format(time.RFC3339))}
	case u.Reaches():
		return nil
	}
	why := "there is no line in the files"
	if !u.First.IsZero() {
		why = "the files reach back to " + u.First.Format(time.RFC3339) + " only"
	}
	if partial {
		_, err := io.WriteString(s.err, paint(s.err, "warning: "+why+"; what is used less often may be needed\n"))
		return err
	}
	if err := finishAudit(s, &u.Notes, false); err != nil {
		return err
	}
	return exitError{exitFailed, fmt.Sprintf("nothing can be called unused in %d days: %s; add older files, ask for fewer --days, or write --partial", days, why)}
}
