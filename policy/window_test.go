package policy

import (
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	const workdays = 1<<time.Monday | 1<<time.Tuesday | 1<<time.Wednesday | 1<<time.Thursday | 1<<time.Friday
	office := Window{Days: workdays, Hours: true, Start: 7 * 60, End: 20 * 60, Zone: berlin}
	night := Window{Days: 1 << time.Friday, Hours: true, Start: 22 * 60, End: 6 * 60, Zone: berlin}
	tests := []struct {
		name   string
		window Window
		at     string
		want   bool
	}{
		{"open on a working day", office, "2026-11-23T12:00:00+01:00", true},
		{"open from its first minute", office, "2026-11-23T07:00:00+01:00", true},
		{"closed the minute before", office, "2026-11-23T06:59:59+01:00", false},
		{"closed from its last minute", office, "2026-11-23T20:00:00+01:00", false},
		{"closed on Saturday", office, "2026-11-28T12:00:00+01:00", false},
		{"by the clock of its zone", office, "2026-11-23T06:30:00Z", true},
		{"which is another in summer", office, "2026-07-06T05:30:00Z", true},
		{"and not that of the caller", office, "2026-07-06T05:30:00+02:00", false},
		{"by the day of its zone", office, "2026-11-22T23:30:00-08:00", true},
		{"over midnight, in the evening", night, "2026-11-27T23:00:00+01:00", true},
		{"over midnight, in the morning", night, "2026-11-28T05:59:00+01:00", true},
		{"over midnight, at its end", night, "2026-11-28T06:00:00+01:00", false},
		{"over midnight, the evening of the next day", night, "2026-11-28T23:00:00+01:00", false},
		{"over midnight, the morning of its day", night, "2026-11-27T05:00:00+01:00", false},
		{"when the clock is put forward the hour before", Window{Hours: true, Start: 60, End: 3 * 60, Zone: berlin}, "2026-03-29T00:59:00Z", true},
		{"when the clock is put forward the hours left out do not come", Window{Hours: true, Start: 2 * 60, End: 3 * 60, Zone: berlin}, "2026-03-29T01:00:00Z", false},
		{"when the clock is put back the hour comes", Window{Hours: true, Start: 2 * 60, End: 3 * 60, Zone: berlin}, "2026-10-25T00:30:00Z", true},
		{"and comes again", Window{Hours: true, Start: 2 * 60, End: 3 * 60, Zone: berlin}, "2026-10-25T01:30:00Z", true},
		{"until midnight", Window{Hours: true, Start: 0, End: 1440, Zone: berlin}, "2026-11-23T23:59:59+01:00", true},
		{"days alone", Window{Days: 1 << time.Sunday, Zone: berlin}, "2026-11-22T00:00:00+01:00", true},
		{"days alone, the second before", Window{Days: 1 << time.Sunday, Zone: berlin}, "2026-11-21T23:59:59+01:00", false},
		{"from", Window{From: baseTime}, "2026-11-23T10:00:00Z", true},
		{"before from", Window{From: baseTime}, "2026-11-23T09:59:59Z", false},
		{"until", Window{Until: baseTime}, "2026-11-23T10:00:00Z", false},
		{"before until", Window{Until: baseTime}, "2026-11-23T09:59:59Z", true},
		{"without a zone it is UTC", Window{Hours: true, Start: 600, End: 601}, "2026-11-23T10:00:59Z", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, tt.at)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.window.open(at); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if (&Window{}).open(time.Time{}) || anyOpen([]Window{{}}, time.Time{}) {
		t.Error("a window is open without a time")
	}
	if !anyOpen(nil, time.Time{}) || !anyOpen([]Window{{Until: baseTime}, {From: baseTime}}, baseTime) || anyOpen([]Window{{Until: baseTime}}, baseTime) {
		t.Error("of several windows one is to be open, and without any every time is right")
	}
}

var baseTime = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC) // a Monday
