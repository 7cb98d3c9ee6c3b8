package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are known wherever the program runs

	"vertex-spoa/policy/strictyaml"
)

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// windowText is a window that is being read.
type windowText struct {
	Window
	from, until *strictyaml.Node
}

var windowTable = newTable(
	custom("tz", "The time zone of all that follows; UTC when not written.",
		textOf("a time zone", "Europe/Berlin"), func(l *loader, n *strictyaml.Node, w *windowText) {
			text, ok := n.Text(&l.problems)
			zone, err := time.LoadLocation(text)
			switch {
			case !ok:
			case err != nil || text == "Local":
				l.problems.Addf(n, "%s is not a time zone such as Europe/Berlin", strictyaml.Quote(text))
			default:
				w.Zone = zone
			}
		}),
	custom("days", "Days of the week, or spans of them.",
		severalOf(patternOf(`^(sun|mon|tue|wed|thu|fri|sat)(-(sun|mon|tue|wed|thu|fri|sat))?$`, "a day or a span of days", "mon-fri",
			"sat")),
		readDays),
	custom("hours", "Hours of each of these days, the end not included. When it ends before it begins, it ends on the next day.",
		patternOf(`^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$`, "hours", "07:00-20:00"), readHours),
	custom("from", "The first day, or the moment it begins.",
		patternOf(datePattern, "a day or a moment", "2026-12-01", "2026-12-01T08:00:00+01:00"),
		func(_ *loader, n *strictyaml.Node, w *windowText) { w.from = n }),
	custom("until", "The last day, or the moment it ends.",
		patternOf(datePattern, "a day or a moment", "2026-12-24", "2026-12-24T18:00:00+01:00"),
		func(_ *loader, n *strictyaml.Node, w *windowText) { w.until = n }),
)

func (l *loader) readWindows(n *strictyaml.Node) []Window {
	var list []Window
	for _, item := range n.Elements(&l.problems) {
		before := l.problems.Len()
		w := windowText{Window: Window{Zone: time.UTC}}
		if !windowTable.read(l, item, &w) {
			continue
		}
		if item.Len() == 0 {
			l.problems.Addf(item, "the window is empty: write days, hours, from or until")
		}
		w.From = l.readMoment(w.from, w.Zone, 0)
		w.Until = l.readMoment(w.until, w.Zone, 1)
		if !w.From.IsZero() && !w.Until.IsZero() && !w.From.Before(w.Until) && l.problems.Len() == before {
			l.problems.Addf(w.until, "the window ends before it begins")
		}
		w.Written = describeWindow(item)
		list = append(list, w.Window)
	}
	return list
}

// describeWindow returns the window as it was written.
func describeWindow(n *strictyaml.Node) string {
	var parts []string
	for _, name := range windowTable.names {
		if value := n.Get(name); value != nil {
			parts = append(parts, name+": "+value.String())
		}
	}
	return strings.Join(parts, ", ")
}

func readDays(l *loader, n *strictyaml.Node, w *windowText) {
	for _, item := range n.Elements(&l.problems) {
		text, ok := item.Text(&l.problems)
		first, last, span := strings.Cut(text, "-")
		if !span {
			last = first
		}
		from, to := slices.Index(weekdays, first), slices.Index(weekdays, last)
		switch {
		case !ok:
		case from < 0 || to < 0:
			l.problems.Addf(item, "%s is not a day or a span of days: %s, or mon-fri", strictyaml.Quote(text), strings.Join(weekdays, ", "))
		default:
			for day := from; ; day = (day + 1) % 7 {
				w.Days |= 1 << day
				if day == to {
					break
				}
			}
		}
	}
}

func readHours(l *loader, n *strictyaml.Node, w *windowText) {
	text, ok := n.Text(&l.problems)
	first, last, _ := strings.Cut(text, "-")
	start, ok1 := minutes(first)
	end, ok2 := minutes(last)
	switch {
	case !ok:
	case !ok1 || !ok2 || start == 24*60:
		l.problems.Addf(n, "%s is not a span of hours such as 07:00-20:00", strictyaml.Quote(text))
	case start == end:
		l.problems.Addf(n, "%s is no time at all: leave hours out for the whole day", strictyaml.Quote(text))
	default:
		w.Start, w.End, w.Hours = start, end, true
	}
}

// minutes reads hh:mm, up to 24:00.
func minutes(s string) (int, bool) {
	h, m, ok := strings.Cut(s, ":")
	hours, err1 := strconv.Atoi(h)
	mins, err2 := strconv.Atoi(m)
	ok = ok && err1 == nil && err2 == nil && hours >= 0 && mins >= 0 && mins < 60 && hours*60+mins <= 24*60
	return hours*60 + mins, ok && s == fmt.Sprintf("%02d:%02d", hours, mins)
}

// readMoment reads a day or a moment. Of a day it is the beginning, or that of the day `later` days after it.
func (l *loader) readMoment(n *strictyaml.Node, zone *time.Location, later int) time.Time {
	if n == nil {
		return time.Time{}
	}
	text, ok := n.Text(&l.problems)
	if !ok {
		return time.Time{}
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		l.problems.Addf(n, "%s is not a day such as 2026-12-01, nor a moment such as 2026-12-01T08:00:00+01:00", strictyaml.Quote(text))
		return time.Time{}
	}
	return beginning(day.AddDate(0, 0, later), zone)
}

// beginning returns when the date of day begins in a zone. That is not midnight where clocks are put forward at midnight: such a day
// begins when they are, at one o'clock.
func beginning(day time.Time, zone *time.Location) time.Time {
	at := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	before, after := at.ZoneBounds()
	switch {
	case at.Day() != day.Day(): // the hour before midnight
		return after
	case at.Hour() != 0:
		return before
	}
	return at
}
