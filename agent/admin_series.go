package agent

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	console "vertex-spoa/agent/internal/status"
)

// maxFigures bounds the counters that the status page shows; the metrics have them all.
const maxFigures = 300

// series is one counter or gauge of the program.
type series struct {
	name   string // without the namespace
	help   string
	labels map[string]string
	value  float64
}

// readSeries reads the program's counters and gauges. What could be read is returned beside an error.
func readSeries(from prometheus.Gatherer) ([]series, error) {
	families, err := from.Gather()
	var all []series
	for _, f := range families {
		name, ours := strings.CutPrefix(f.GetName(), namespace+"_")
		if !ours {
			continue
		}
		for _, m := range f.GetMetric() {
			x := series{name: name, help: f.GetHelp(), labels: map[string]string{}}
			switch {
			case m.GetCounter() != nil:
				x.value = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				x.value = m.GetGauge().GetValue()
			default:
				continue
			}
			for _, l := range m.GetLabel() {
				x.labels[l.GetName()] = l.GetValue()
			}
			all = append(all, x)
		}
	}
	return all, err
}

// sum adds up the series of a name that have the label, and says whether there are any. An empty label is any.
func sum(all []series, name, label, value string) (total float64, found bool) {
	for i := range all {
		if x := &all[i]; x.name == name && (label == "" || x.labels[label] == value) {
			total, found = total+x.value, true
		}
	}
	return total, found
}

// figures are the series that the page does not show elsewhere. Of those of several kinds, the kinds that are 0 are left out.
func figures(all []series) []console.Counter {
	var shown []console.Counter
	for i := range all {
		x := &all[i]
		if x.name == "decisions_total" || x.value == 0 && len(x.labels) > 0 {
			continue
		}
		if len(shown) == maxFigures {
			return append(shown, console.Counter{Name: "…", Help: "There are more in the metrics."})
		}
		var labels []string
		for _, name := range slices.Sorted(maps.Keys(x.labels)) {
			labels = append(labels, name+" "+x.labels[name])
		}
		shown = append(shown, console.Counter{Name: x.name, Labels: strings.Join(labels, ", "), Value: x.text(), Help: x.help})
	}
	return shown
}

// text writes the value: a time as such, and a number without an exponent.
func (x *series) text() string {
	if strings.HasSuffix(x.name, "_timestamp_seconds") {
		if x.value == 0 {
			return "never"
		}
		return time.Unix(int64(x.value), 0).UTC().Format(time.DateTime)
	}
	return strconv.FormatFloat(x.value, 'f', -1, 64)
}

// tiles are the figures that come first. One whose metric does not exist is left out.
func (a *Agent) tiles(all []series) []console.Tile {
	var tiles []console.Tile
	add := func(title, note string, bad bool, metric, label, value string) {
		if n, ok := sum(all, metric, label, value); ok {
			tiles = append(tiles, console.Tile{Name: title, Value: strconv.FormatFloat(n, 'f', -1, 64), Note: note, Bad: bad && n > 0})
		}
	}
	tiles = append(tiles, decisionTile(all, "allowed", "allow"), decisionTile(all, "denied", "deny"))
	add("connections", "from HAProxy", false, "spop_connections", "", "")
	add("in flight", "unanswered yet", false, "spop_in_flight", "", "")
	tiles = append(tiles, console.Tile{Name: "waiting", Value: strconv.Itoa(len(a.waiting)), Note: "for keys or tokens",
		Bad: len(a.waiting) == cap(a.waiting)})
	add("audit errors", "lines not written", true, "audit_errors_total", "", "")
	add("undelivered", "answers too late", true, "undelivered_total", "", "")
	add("closings pending", "calls under way", false, "closings_pending", "", "")
	add("closings missing", "calls without an end", true, "closings_total", "result", "missing")
	add("tokens refused", "by Google, though good", true, "upstream_rejections_total", "", "")
	add("SPOP errors", "since the start", true, "spop_errors_total", "", "")
	return tiles
}

// decisionTile counts decisions, of which there may be none yet.
func decisionTile(all []series, title, decision string) console.Tile {
	n, _ := sum(all, "decisions_total", "decision", decision)
	return console.Tile{Name: title, Value: strconv.FormatFloat(n, 'f', -1, 64), Note: "since the start"}
}
