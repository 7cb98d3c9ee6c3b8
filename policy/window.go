package policy

import "time"

// open reports whether the window is open at the time. A day is over at midnight, but for hours that go past it: those belong to the day
// on which they began. Hours are those of the clock on the wall: when the clock is put forward the hours it leaves out do not come, and
// when it is put back those it repeats come twice. Without a time no window is open.
func (w *Window) open(now time.Time) bool {
	if now.IsZero() || !w.From.IsZero() && now.Before(w.From) || !w.Until.IsZero() && !now.Before(w.Until) {
		return false
	}
	if w.Days == 0 && !w.Hours {
		return true
	}
	zone := w.Zone
	if zone == nil {
		zone = time.UTC
	}
	local := now.In(zone)
	today := local.Weekday()
	if !w.Hours {
		return w.on(today)
	}
	hour, minute, _ := local.Clock()
	at := hour*60 + minute
	if w.Start < w.End {
		return w.on(today) && w.Start <= at && at < w.End
	}
	yesterday := (today + 6) % 7
	return w.on(today) && w.Start <= at || w.on(yesterday) && at < w.End
}

// on reports whether the window opens on the day.
func (w *Window) on(day time.Weekday) bool { return w.Days == 0 || w.Days&(1<<day) != 0 }

func anyOpen(windows []Window, now time.Time) bool {
	for i := range windows {
		if windows[i].open(now) {
			return true
		}
	}
	return len(windows) == 0
}
