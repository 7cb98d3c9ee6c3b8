package doctor

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Style says how Write shows a Report.
type Style struct {
	ASCII  bool // no other characters than those of ASCII
	Colour bool // for a terminal (ECMA-48 section 8.3.117)
}

// mark is how a status is shown.
type mark struct{ sign, word, colour string }

func markOf(s Status) mark {
	switch s {
	case OK:
		return mark{"✓", "ok  ", "\x1b[1;32m"}
	case Warning:
		return mark{"!", "warn", "\x1b[1;33m"}
	case Skipped:
		return mark{"-", "skip", ""}
	}
	return mark{"✗", "FAIL", "\x1b[1;31m"}
}

func (s Style) mark(status Status) string {
	m := markOf(status)
	text := m.sign
	if s.ASCII {
		text = m.word
	}
	if !s.Colour || m.colour == "" {
		return text
	}
	return m.colour + text + "\x1b[0m"
}

// Write shows the report to people: a line for each check and, below the first one that is not in order for its reason, what to
// do about it.
func (r *Report) Write(w io.Writer, s Style) error {
	var b strings.Builder
	fmt.Fprintf(&b, "policy  %s, %s, digest %.12s\n", plural(r.Policy.Roles, "role"), plural(r.Policy.Rules, "rule"), r.Policy.Digest)
	b.WriteString("egress  " + r.Egress.describe() + "\n\n")
	width := 0
	for i := range r.Checks {
		width = max(width, len(r.Checks[i].title()))
	}
	told := map[string]bool{}
	for i := range r.Checks {
		r.Checks[i].write(&b, s, width, told)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (e Egress) describe() string {
	way, trusted := "direct", "the system's authorities"
	if e.Proxy != "" {
		way = "by proxy " + e.Proxy
	}
	if e.Authorities != "" {
		trusted = "the authorities of " + e.Authorities
	}
	return clean(way + ", trusting " + trusted)
}

// title is what a check is about.
func (c *Check) title() string {
	return strings.TrimSpace(string(c.Kind) + " " + c.Name)
}

// write writes the line of a check and what to do about it, unless told says that this stands above already.
func (c *Check) write(b *strings.Builder, s Style, width int, told map[string]bool) {
	took := ""
	if c.Latency > 0 {
		took = fmt.Sprintf("%d ms", time.Duration(c.Latency).Milliseconds())
	}
	fmt.Fprintf(b, "%s %-*s %8s  %s\n", s.mark(c.Status), width, c.title(), took, c.Summary)
	const indent = "    "
	help := string(c.Reason) + c.Advice + c.Fix
	switch {
	case told[help] && c.Status == Skipped:
		return
	case told[help]:
		b.WriteString(indent + string(c.Reason) + ": see above\n")
		return
	}
	told[help] = c.Advice != ""
	if c.Advice != "" {
		for _, line := range wrap(string(c.Reason)+": "+c.Advice, 116) {
			b.WriteString(indent + line + "\n")
		}
	}
	for line := range strings.Lines(c.Fix) {
		b.WriteString(indent + "$ " + strings.TrimSuffix(line, "\n") + "\n")
	}
}

// wrap breaks a text between words so that no line has more than width bytes, unless one word has.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
