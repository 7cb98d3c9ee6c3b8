package misuse

import (
	"fmt"
	"math"
	"slices"
)

// plantedOfAKind is how many anomalies of each signal a month has.
const plantedOfAKind = 10

// plant puts the anomalies in:
//
//   - DENIAL_BURST: somebody probes what a caller may do, 30 to 400 denials (uniform in the logarithm) within 1 to 8 minutes; three of the
//     ten are unknown callers, who make 120 to 1,000 within 5 to 10 minutes, one of them at changing addresses of one IPv6 network.
//   - NEW_MODEL: 1 to 40 calls within an hour, in the caller's own hours, to a model that neither the caller nor its team has, half of them
//     of the models that other teams use. Callers who try out models are left out: for them it is nothing unusual.
//   - UNUSUAL_HOUR: 1 to 40 calls (uniform in the logarithm) of an office person in one to three hours that are at least 4 hours before the usual start and after the
//     usual end, or, two of the ten, of a job by the clock at least 4 hours from each of its times; and within two hours of which it was active on no day before.
//   - TOKEN_SPIKE: in turn, one to five calls of 4 to 30 times the largest of the caller's own, 80,000 to 1,000,000 tokens; a loop that for one to
//     four hours makes 4 to 20 times as many as the caller's highest hour, at least 300,000; a day, within the usual hours, of 4 to 15 times
//     its highest day, at least 1,500,000.
func (m *month) plant() {
	for _, e := range m.events {
		if e.who != nil {
			e.who.own = append(e.who.own, e)
		}
	}
	for i := range plantedOfAKind {
		m.probe(i)
		m.newModel()
		m.oddHour(i)
		m.spend(i)
	}
}

// victim returns a caller that suits, that has been there for longer than anything takes to learn, has been active on ten days before the
// day and has no anomaly yet, and the day, one on which it is active by itself if it must be.
func (m *month) victim(signal string, active bool, suits func(*caller, int) bool) (*caller, int) {
	for range 100_000 {
		c, day := m.callers[m.IntN(124+26)], history+m.IntN(30)
		before := 0
		for d := range c.active {
			if d < day {
				before++
			}
		}
		first := slices.Min(append(keysOf(c.active), wholeRun))
		if before < 10 || day-first <= history || active && !c.active[day] || !suits(c, day) {
			continue
		}
		if slices.ContainsFunc(m.anomalies, func(a *anomaly) bool { return a.subject == c.name }) {
			continue
		}
		return c, day
	}
	m.t.Fatalf("no caller suits %s", signal)
	return nil, 0
}

func keysOf(days map[int]bool) (all []int) {
	for d := range days {
		all = append(all, d)
	}
	return all
}

func (m *month) anomaly(signal, subject, what string, from, until int64) *anomaly {
	a := &anomaly{signal: signal, subject: subject, what: what, from: from, until: until}
	m.anomalies = append(m.anomalies, a)
	return a
}

// moment is one at which the caller is active by itself on the day.
func (m *month) moment(c *caller, day int) int64 {
	var all []int64
	for _, e := range c.own {
		if e.status == 200 && int(e.at/86400)-firstDay == day {
			all = append(all, e.at)
		}
	}
	if len(all) == 0 {
		return 0
	}
	return all[m.IntN(len(all))]
}

func (m *month) probe(i int) {
	if i < 3 {
		from, at := fmt.Sprintf("192.0.2.%d", m.IntN(256)), int64(firstDay+history+m.IntN(30))*86400+int64(m.IntN(80000))
		if i == 0 {
			from = fmt.Sprintf("2001:db8:ffff:%x::", m.IntN(65536))
		}
		n, length := int(m.logBetween(120, 1000)), m.between(300, 600)
		a := m.anomaly(DenialBurst, from, fmt.Sprintf("%d denials within %.0f s", n, length), at, at+int64(length))
		for range n {
			address := from
			if i == 0 {
				address = fmt.Sprintf("%s%x", from, m.IntN(65536))
			}
			m.stranger(address, at+int64(m.Float64()*length), a)
		}
		return
	}
	var at int64
	c, _ := m.victim(DenialBurst, true, func(c *caller, day int) bool { at = m.moment(c, day); return at != 0 })
	n, length := int(m.logBetween(30, 400)), m.between(60, 480)
	a := m.anomaly(DenialBurst, c.name, fmt.Sprintf("%d denials within %.0f s", n, length), at, at+int64(length))
	for range n {
		m.events = append(m.events, event{at: at + int64(m.Float64()*length), who: c, source: "10.9.9.9", model: m.pick(catalogue), status: 403, plant: a})
	}
}

func (m *month) newModel() {
	var at int64
	c, _ := m.victim(NewModel, true, func(c *caller, day int) bool {
		at = m.moment(c, day)
		return at != 0 && !c.explorer
	})
	from := exotic
	if m.chance(0.5) {
		from = catalogue
	}
	model := m.pick(from)
	for range 100 {
		if !slices.Contains(c.every, model) && !slices.Contains(c.team.models, model) {
			break
		}
		model = m.pick(catalogue)
	}
	a := m.anomaly(NewModel, c.name, model, at, at+3600)
	for range int(m.logBetween(1, 40)) {
		m.callTo(c, at+int64(m.ExpFloat64()*300), m.tokens(c, 0), model, a)
	}
}

func (m *month) oddHour(i int) {
	kind := office
	if i < 2 {
		kind = scheduled
	}
	hour := 0.0
	c, day := m.victim(UnusualHour, false, func(c *caller, day int) bool {
		if c.kind != kind {
			return false
		}
		if kind == office {
			hour = m.between(c.end+4, c.start+24-4)
			return c.start+24-4 > c.end+4 && !m.wasActive(c, day, hour)
		}
		for range 20 {
			hour = m.between(0, 24)
			if !slices.ContainsFunc(c.times, func(t int) bool {
				off := math.Abs(hour - float64(t) - 0.5)
				return min(off, 24-off) < 4.5
			}) {
				hour += c.team.zone
				return !m.wasActive(c, day, hour)
			}
		}
		return false
	})
	shift := c.shift
	c.shift = 0 // whoever it is has not travelled along
	at := m.local(c, day, hour)
	c.shift = shift
	length := m.between(600, 3*3600)
	a := m.anomaly(UnusualHour, c.name, fmt.Sprintf("%s for %.0f min, works %.1f to %.1f in zone %+g, runs %v", timeOf(at).Format("15:04"), length/60, c.start, c.end, c.team.zone, c.times),
		at, at+int64(length))
	for range int(m.logBetween(1, 40)) {
		m.callTo(c, at+int64(m.Float64()*length), m.tokens(c, 0), c.models[0], a)
	}
}

// wasActive tells whether the caller has been active within two hours around the hour on any day before.
func (m *month) wasActive(c *caller, day int, hour float64) bool {
	shift := c.shift
	c.shift = 0
	at := m.local(c, day, hour)
	c.shift = shift
	return slices.ContainsFunc(c.own, func(e event) bool {
		off := (at - e.at) % 86400
		return e.at < at && min(off, 86400-off) < 7200
	})
}

// usage returns the highest tokens of the caller's own calls, hours and days.
func (m *month) usage(c *caller) (call, hour, day float64) {
	var calls []float64
	hours, days := map[int64]float64{}, map[int64]float64{}
	for _, e := range c.own {
		if e.tokens > 0 {
			calls = append(calls, float64(e.tokens))
			hours[e.at/3600] += float64(e.tokens)
			days[e.at/86400] += float64(e.tokens)
		}
	}
	return highest(calls), highest(valuesOf(hours)), highest(valuesOf(days))
}

func valuesOf(m map[int64]float64) (all []float64) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

func highest(all []float64) float64 { return slices.Max(append(all, 0)) }

func (m *month) spend(i int) {
	var at int64
	var call, hour, whole float64
	c, day := m.victim(TokenSpike, true, func(c *caller, day int) bool {
		at = m.moment(c, day)
		call, hour, whole = m.usage(c)
		return at != 0 && (i%3 != 0 || call*4 < 1_000_000)
	})
	switch i % 3 {
	case 0:
		size := min(max(80_000, call*m.logBetween(4, 30)), 1_000_000)
		n := 1 + m.IntN(5)
		a := m.anomaly(TokenSpike, c.name, fmt.Sprintf("%d calls of %.0f, its own have at most %.0f", n, size, call), at, at+1800)
		for range n {
			m.callTo(c, at+int64(m.IntN(1200)), size*m.between(0.8, 1.2), c.models[0], a)
		}
	case 1:
		rate := max(300_000, hour*m.logBetween(4, 20))
		length := m.between(1, 4) * 3600
		a := m.anomaly(TokenSpike, c.name, fmt.Sprintf("%.0f an hour for %.1f hours, its own have at most %.0f", rate, length/3600, hour), at, at+int64(length))
		m.burn(c, a, rate*length/3600, length)
	case 2:
		total := max(1_500_000, whole*m.logBetween(4, 15))
		start := m.local(c, day, c.start)
		length := (c.end - c.start) * 3600
		a := m.anomaly(TokenSpike, c.name, fmt.Sprintf("%.0f in a day, its own have at most %.0f", total, whole), start, start+int64(length))
		m.burn(c, a, total, length)
	}
}

// burn makes calls of usual size that have the total within the time, or as large ones as it takes 5,000 of.
func (m *month) burn(c *caller, a *anomaly, total, length float64) {
	size := max(c.median*2, total/5000)
	for sum := 0.0; sum < total; {
		x := m.logNormal(size, 0.3)
		m.callTo(c, a.from+int64(m.Float64()*length), x, c.models[0], a)
		sum += x
	}
}
