package trail

import (
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Screen shows events, one line each.
type Screen struct {
	w      io.Writer
	colour bool
}

// NewScreen returns a screen that writes to w; with colour for a terminal that knows those of ECMA-48. A call's lines have the colour of
// its id then.
func NewScreen(w io.Writer, colour bool) *Screen { return &Screen{w, colour} }

// Select Graphic Rendition (ECMA-48 section 8.3.117).
const (
	red, green, yellow, blue, magenta = "31", "32", "33", "34", "35"
	faint                             = "2"
)

// Show writes one event.
func (s *Screen) Show(e *Event) error {
	_, err := io.WriteString(s.w, s.line(e))
	return err
}

func (s *Screen) line(e *Event) string {
	var b strings.Builder
	b.WriteString(s.paint(faint, e.Time.Format("2006-01-02 15:04:05.000Z")))
	b.WriteString(" " + s.paint(kindColour(e.Kind), padded(string(e.Kind), 6)))
	b.WriteString(" " + s.paint(statusColour(e.Status), padded(statusText(e.Status), 3)))
	b.WriteString(" " + padded(who(e), 24))
	b.WriteString(" " + padded(what(e), 32))
	if text := outcome(e); text != "" {
		b.WriteString(" " + text)
	}
	for _, flag := range e.Flags {
		b.WriteString(" " + s.paint(yellow, "!"+Clean(flag)))
	}
	id := Clean(e.ID)
	if e.Attempt > 1 {
		id += fmt.Sprintf("#%d", e.Attempt)
	}
	b.WriteString(" " + s.paint(idColour(e.ID), "id="+id) + "\n")
	return b.String()
}

func (s *Screen) paint(code, text string) string {
	if !s.colour || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func kindColour(k Kind) string {
	switch k {
	case Allowed:
		return green
	case Denied:
		return red
	case Undelivered, Missing:
		return yellow
	case Closed:
		return blue
	case Other:
	}
	return faint
}

func statusColour(status int64) string {
	switch {
	case status >= 500 || status < 0:
		return magenta
	case status >= 400:
		return red
	}
	return ""
}

// idColour gives each id one of the colours that tell ids apart from the rest of the line.
func idColour(id string) string {
	h := fnv.New32a()
	_, _ = io.WriteString(h, id) // which never fails
	return [...]string{"36", "35", "34", "96", "95", "94"}[h.Sum32()%6]
}

func statusText(status int64) string {
	if status < 0 {
		return "-"
	}
	return fmt.Sprint(status)
}

// padded fills up text with spaces to a width.
func padded(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

func who(e *Event) string {
	text := cell(e.Subject)
	if e.Issuer != "" {
		text += " (" + cell(e.Issuer) + ")"
	}
	return text
}

func what(e *Event) string {
	text := cell(e.Model)
	if e.Location != "" {
		text += "@" + cell(e.Location)
	}
	if e.Method != "" {
		text += ":" + cell(e.Method)
	}
	return text
}

// outcome is what is special to the kind of event.
func outcome(e *Event) string {
	var words []string
	add := func(name, value string) {
		if value != "" {
			words = append(words, name+cell(value))
		}
	}
	switch e.Kind {
	case Allowed:
		add("role=", e.Role)
		add("rule=", e.Rule)
		add("as=", e.Account)
		if e.Mint >= time.Millisecond {
			add("mint=", e.Mint.Round(time.Millisecond).String())
		}
	case Denied:
		add("", e.Reason)
		add("", e.Detail)
		add("role=", e.Role)
		add("rule=", e.Rule)
		add("from=", e.Source)
	case Closed:
		words = closed(e)
	case Undelivered:
		words = append(words, "HAProxy has not had the answer")
	case Missing:
		words = append(words, "HAProxy has not told the end of the call")
	case Other:
		words = append(words, "an event that is not known")
	}
	return strings.Join(words, " ")
}

func closed(e *Event) []string {
	words := []string{"took=" + Unknown, "in=" + tokens(e.TokensIn), "out=" + tokens(e.TokensOut)}
	if e.Duration >= 0 {
		words[0] = "took=" + e.Duration.String()
	}
	if e.Bytes >= 0 {
		words = append(words, fmt.Sprintf("bytes=%d", e.Bytes))
	}
	if e.Termination != "" && e.Termination != "--" {
		words = append(words, "term="+cell(e.Termination))
	}
	return words
}

func tokens(n int64) string {
	if n < 0 {
		return Unknown
	}
	return fmt.Sprint(n)
}
