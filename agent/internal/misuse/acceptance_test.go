package misuse

import (
	"fmt"
	"strings"
	"testing"

	"vertex-spoa/agent/internal/audit"
)

// The seeds from firstSeed on were not looked at while the thresholds and the constants were chosen, which was done with those from 1 to 20.
const (
	firstSeed = 1001
	seeds     = 10
)

func TestAMonthOfMisuseIsFoundWithoutCryingWolf(t *testing.T) {
	found, planted := map[string]int{}, map[string]int{}
	flags, callers := 0, 0
	for seed := range uint64(seeds) {
		d, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		m := newMonth(t, firstSeed+seed)
		wrong := replay(d, m)
		for _, a := range m.anomalies {
			planted[a.signal]++
			if a.found {
				found[a.signal]++
			}
		}
		for name, all := range wrong {
			flags += len(all)
			if len(all) > 1 {
				t.Errorf("seed %d: %s has %d false flags, want at most one in the month: %v", firstSeed+seed, name, len(all), all)
			}
		}
		callers += len(m.callers) - passingADay*wholeRun
	}
	total, all := 0, 0
	for _, signal := range Signals() {
		total, all = total+found[signal], all+planted[signal]
		t.Logf("%s: %d of %d", signal, found[signal], planted[signal])
		if got := float64(found[signal]) / float64(planted[signal]); !(got >= 0.9) {
			t.Errorf("recall of %s is %.3f, want at least 0.9", signal, got)
		}
	}
	if float64(total) < 0.9*float64(all) {
		t.Errorf("%d of %d anomalies are found, want at least 0.9", total, all)
	}
	if flags > callers/5 {
		t.Errorf("%d false flags in %d months of callers, want at most one in five", flags, callers)
	}
	t.Logf("all: %d of %d; %d false flags in %d months of callers", total, all, flags, callers)
}

// replay gives a month to the detector and returns the flags of the month that no anomaly explains, by caller.
func replay(d *Detector, m *month) map[string][]string {
	wrong := map[string][]string{}
	var record audit.Record // the detector keeps neither
	var closing audit.Closing
	var closings []event // by time of closing, which the order of decisions is close enough to
	for _, e := range m.events {
		for len(closings) > 0 && closings[0].at <= e.at-10 {
			m.judge(wrong, closings[0], d.Closing(closings[0].end(&closing)))
			closings = closings[1:]
		}
		m.judge(wrong, e, d.Decision(e.decision(&record)))
		if e.status == 200 && e.tokens > -2 {
			closings = append(closings, e)
		}
	}
	return wrong
}

func (e *event) decision(r *audit.Record) *audit.Record {
	*r = audit.Record{Time: timeOf(e.at), Decision: "allow", Status: e.status, Source: e.source}
	if e.status != 200 {
		r.Decision = "deny"
	}
	if e.who != nil {
		r.Issuer, r.Subject, r.Role = "corp", e.who.name, e.who.role
		r.Publisher, r.Model, _ = strings.Cut(e.model, "/")
	}
	return r
}

func (e *event) end(c *audit.Closing) *audit.Closing {
	*c = audit.Closing{Time: timeOf(e.at + 10), Issuer: "corp", Subject: e.who.name}
	if e.tokens >= 0 {
		c.Usage = &audit.Usage{Input: e.tokens - 8, Output: 8, Thoughts: -1, Cached: -1, Total: e.tokens}
	}
	return c
}

// judge marks the anomaly that the flags of an event have found. What an anomaly has set off by its end, and for tokens by the end of its
// day, is its own.
func (m *month) judge(wrong map[string][]string, e event, flags []string) {
	name := e.source
	if e.who != nil {
		name = e.who.name
	}
	for _, f := range flags {
		explained := false
		for _, a := range m.anomalies {
			same := a.subject == name || e.plant == a && strings.HasSuffix(a.subject, "::")
			until := a.until + 60
			if f == TokenSpike {
				until = (until/86400 + 1) * 86400
			}
			if same && a.signal == f && e.at >= a.from && e.at <= until {
				explained, a.found = true, true
			}
		}
		if !explained && e.at >= (firstDay+history)*86400 {
			wrong[name] = append(wrong[name], fmt.Sprintf("%s at %s", f, timeOf(e.at).Format("2006-01-02 15:04")))
		}
	}
}
