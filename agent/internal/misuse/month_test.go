package misuse

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// month is a synthetic month of an organisation, four weeks of history before it, with planted anomalies. Everything follows from the seed.
//
// The organisation has eight teams in six time zones (for four of them the clocks change by an hour in the month), each with two to four
// models of a catalogue of fourteen. Its callers are:
//
//   - 80 office people: they begin at 9:00 and end at 17:30, each with an offset of its own (deviations of 45 and 60 minutes) and another one
//     each day (35 minutes). Calls a day are log-normal around 25 (deviation 0.8 among people, 0.5 among days). Every third one works late now
//     and then: until up to midnight, on 6 days of 100 (the others: 0.3). 4 of 100 weekend days are worked for some hours. One in seven goes
//     on holiday for one or two weeks, each team has a public holiday, two of the people travel to another time zone for some days.
//   - 14 who code with agents: 100 to 600 calls on a day, in sessions in which the context grows with every call.
//   - 8 on call: office people who have a week of night duty out of three, in which a quarter of the nights has an incident of one to three hours.
//   - 8 joiners, who are first seen in the middle; 6 who use it on one or two days a week.
//   - 16 services around the clock with 5 to 600 calls a day, more by day; a release changes their tokens by a factor of 0.6 to 1.8.
//   - 10 jobs by the clock, hourly or at one to four times of the day. 3 of 100 runs begin one to three hours late, 0.7 are repeated by hand
//     in the office hours.
//   - 8 batch jobs that people start twice a week, log-normal around 300,000 tokens an hour (deviation 1).
//   - 20 subjects a day that are seen once, as the jobs of pull requests are.
//
// Tokens of a call are log-normal with a median and a deviation of each caller (0.4 to 1.0); 3 of 100 calls of people carry a document of
// around 25,000 tokens (deviation 0.8). 2 of 100 calls have no usage, 1 of 200 has no closing record.
//
// People now and then take up a model of their team; one in ten tries out whatever the catalogue has every few days. One or two teams move
// to a new model in the month, each member some days (log-normal) after the first, one in four of these teams to two models; half of the new models are
// releases that nobody has used. Services move by themselves as well.
//
// Denials come in retries of three: mistakes of people (one in ten days, a geometric number of attempts), a tool that is stuck (5 to 48
// denials, once in 1,000 days), a service whose release has lost its permission, until somebody sees it (once in 300 days), a scan by night
// that has 3 to 15 of them every day, and an outage of twenty minutes in which all get 503. Unknown callers are denied at the addresses of the
// offices, whose tokens are stale on Monday mornings, and at thousands of addresses of the internet.
//
// The anomalies are planted in the month, at most one in a caller, in callers who have been there for four weeks and active on ten days. See plant.
type month struct {
	*rand.Rand
	t         testing.TB
	callers   []*caller
	events    []event
	anomalies []*anomaly
	teams     []*team
}

const (
	history     = 28 // days
	wholeRun    = history + 30
	firstDay    = 20499 // 2026-02-15, a Sunday
	clockDay    = 42
	passingADay = 20
	office      = "office"
	agentic     = "agentic"
	onCall      = "on call"
	joiner      = "joiner"
	rare        = "rare"
	service     = "service"
	scheduled   = "scheduled"
	batch       = "batch"
	passing     = "passing"
)

var catalogue = []string{
	"google/gemini-2.5-flash", "google/gemini-2.5-pro", "google/gemini-2.5-flash-lite", "google/gemini-3-pro", "google/gemini-3-flash",
	"google/text-embedding-005", "google/gemini-embedding-001", "anthropic/claude-sonnet-4@20250514", "anthropic/claude-opus-4-1@20250805",
	"anthropic/claude-haiku-4-5@20251001", "meta/llama-4-maverick", "mistralai/mistral-medium-3", "mistralai/codestral-2@001", "google/veo-3.0",
}

// exotic are models that nobody uses.
var exotic = []string{"google/imagen-4.0", "google/lyria-002", "meta/llama-4-scout", "deepseek-ai/deepseek-r1", "qwen/qwen3-coder"}

type team struct {
	role    string
	zone    float64 // hours ahead of UTC
	summer  bool    // clocks change on clockDay
	models  []string
	holiday int
}

type caller struct {
	kind, name, role string
	team             *team
	models           []string // now in use, the usual one first
	every            []string // that it ever uses by itself

	start, end  float64 // local hours of the day
	perDay      float64 // median
	spread      float64 // of perDay, logarithmic
	median      float64 // tokens of a call
	deviation   float64
	late        float64 // share of days
	from, until int     // days
	away        [2]int  // holidays
	travel      [2]int
	shift       float64 // hours, while travelling
	times       []int   // of scheduled runs, UTC hours
	duty        int     // week of three on call
	explorer    bool
	scan        bool
	release     int // day on which the tokens of a service change
	change      float64
	active      map[int]bool
	own         []event // what it does by itself, for plant
	takeUp      map[int][]string
}

type event struct {
	at     int64
	who    *caller // nil for an unknown one
	source string
	model  string
	status int
	tokens int64 // negative if unknown, below -1 without a closing
	plant  *anomaly
}

type anomaly struct {
	signal, subject, what string
	from, until           int64
	found                 bool
}

func newMonth(t testing.TB, seed uint64) *month {
	m := &month{t: t, events: make([]event, 0, 800_000), Rand: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15))}
	m.makeTeams()
	m.makeCallers()
	m.migrate()
	for _, c := range m.callers {
		for day := c.from; day < min(c.until, wholeRun); day++ {
			m.live(c, day)
		}
	}
	m.outage()
	m.strangers()
	m.plant()
	slices.SortFunc(m.events, func(a, b event) int { return int(a.at - b.at) })
	return m
}

func (m *month) normal(mean, deviation float64) float64 { return mean + deviation*m.NormFloat64() }
func (m *month) logNormal(median, deviation float64) float64 {
	return median * math.Exp(deviation*m.NormFloat64())
}
func (m *month) between(low, high float64) float64 { return low + (high-low)*m.Float64() }
func (m *month) logBetween(low, high float64) float64 {
	return math.Exp(m.between(math.Log(low), math.Log(high)))
}
func (m *month) chance(p float64) bool     { return m.Float64() < p }
func (m *month) pick(from []string) string { return from[m.IntN(len(from))] }
func (m *month) poisson(mean float64) (n int) {
	if mean > 30 {
		return max(0, int(m.normal(mean, math.Sqrt(mean))+0.5))
	}
	for p := m.Float64(); p > math.Exp(-mean); p *= m.Float64() {
		n++
	}
	return n
}

func (m *month) makeTeams() {
	zones := []float64{-8, -5, 0, 1, 1, 1, 5.5, 9}
	for i, zone := range zones {
		t := &team{role: fmt.Sprintf("team-%d", i), zone: zone, summer: zone == 0 || zone == 1, holiday: m.IntN(wholeRun)}
		for len(t.models) < 2+i%3 {
			// The first ones of the catalogue are the most popular.
			if model := catalogue[min(int(m.ExpFloat64()*4), len(catalogue)-1)]; !slices.Contains(t.models, model) {
				t.models = append(t.models, model)
			}
		}
		m.teams = append(m.teams, t)
	}
}

func (m *month) makeCallers() {
	for _, g := range []struct {
		kind string
		n    int
	}{{office, 80}, {agentic, 14}, {onCall, 8}, {joiner, 8}, {rare, 6}, {service, 16}, {scheduled, 10}, {batch, 8}} {
		for i := range g.n {
			m.callers = append(m.callers, m.makeCaller(g.kind, i))
		}
	}
	for day := range wholeRun {
		for i := range passingADay {
			c := m.makeCaller(passing, day*passingADay+i)
			c.from, c.until = day, day+1
			m.callers = append(m.callers, c)
		}
	}
}

func (m *month) makeCaller(kind string, i int) *caller {
	t := m.teams[m.IntN(len(m.teams))]
	c := &caller{kind: kind, name: fmt.Sprintf("%s %d", kind, i), role: t.role, team: t, until: wholeRun, active: map[int]bool{}, takeUp: map[int][]string{},
		start: m.normal(9, 0.75), end: m.normal(17.5, 1), perDay: m.logNormal(25, 0.8), spread: 0.5,
		median: m.logNormal(1500, 0.7), deviation: m.between(0.6, 1), late: 0.003, release: -1, change: 1}
	if m.chance(0.33) {
		c.late = 0.06
	}
	for _, model := range t.models {
		if len(c.models) == 0 || m.chance(0.4) {
			c.models = append(c.models, model)
		}
	}
	switch kind {
	case office, agentic, onCall, joiner:
		if m.chance(0.14) {
			first := m.IntN(wholeRun)
			c.away = [2]int{first, first + 7 + m.IntN(8)}
		}
	}
	switch kind {
	case office:
		if i < 2 {
			first := m.IntN(wholeRun)
			c.travel, c.shift = [2]int{first, first + 4 + m.IntN(5)}, m.between(3, 9)*float64(1-2*m.IntN(2))
		}
	case agentic:
		c.perDay, c.median, c.deviation = m.logBetween(100, 600), m.logNormal(9000, 0.4), 0.6
	case onCall:
		c.duty = m.IntN(3)
	case joiner:
		c.from = 14 + m.IntN(36)
	case rare:
		c.perDay = 6
	case service:
		c.perDay, c.spread, c.deviation = m.logBetween(5, 600), 0.15, m.between(0.4, 1)
		if m.chance(0.5) {
			c.release, c.change = m.IntN(wholeRun), m.logBetween(0.6, 1.8)
		}
		if m.chance(0.5) {
			c.role = c.name
		}
	case scheduled:
		c.deviation, c.scan = 0.4, i == 0
		c.perDay = m.logBetween(20, 300)
		if i%3 == 0 {
			for hour := range 24 {
				c.times = append(c.times, hour)
			}
		} else {
			for range 1 + m.IntN(4) {
				c.times = append(c.times, m.IntN(24))
			}
		}
		c.role = c.name
	case batch:
		c.perDay, c.spread, c.median, c.deviation = m.logNormal(150, 0.4), 1, 2500, 0.6
	case passing:
		c.perDay, c.role = 3, "ci"
	}
	c.every = slices.Clone(c.models)
	m.interests(c)
	return c
}

// interests plans which models a person takes up by itself.
func (m *month) interests(c *caller) {
	if c.kind != office && c.kind != agentic && c.kind != onCall {
		return
	}
	c.explorer = m.chance(0.1)
	for day := range wholeRun {
		if c.explorer && m.chance(0.2) {
			m.takes(c, day, m.pick(catalogue))
		}
		if m.chance(0.0035) {
			m.takes(c, day, m.pick(c.team.models))
		}
	}
}

func (m *month) takes(c *caller, day int, model string) {
	c.takeUp[day] = append(c.takeUp[day], model)
	if !slices.Contains(c.every, model) {
		c.every = append(c.every, model)
	}
}

// migrate moves teams to new models.
func (m *month) migrate() {
	for n := range 1 + m.IntN(2) {
		t, first := m.teams[(n*3+m.IntN(3))%len(m.teams)], history+m.IntN(24)
		moved := 1
		if m.chance(0.25) {
			moved = 2
		}
		for i := range moved {
			model := m.pick(catalogue)
			if m.chance(0.5) {
				model = fmt.Sprintf("google/gemini-4-%d-%d", n, i)
			}
			t.models = append(t.models, model)
			for _, c := range m.callers {
				if c.team == t && c.kind != passing {
					m.takes(c, first+i*m.IntN(5)+int(m.logNormal(2, 0.8)), model)
				}
			}
		}
	}
	for _, c := range m.callers {
		if c.kind == service && m.chance(0.1) {
			m.takes(c, history+m.IntN(30), m.pick(c.team.models))
		}
	}
}

// live makes what a caller does by itself on a day.
func (m *month) live(c *caller, day int) {
	for _, model := range c.takeUp[day] {
		at := m.IntN(len(c.models) + 1) // becomes the usual model, or one of the others
		c.models = slices.Insert(c.models, at, model)
		if m.chance(0.3) && len(c.models) > 3 {
			c.models = c.models[:len(c.models)-1]
		}
	}
	switch c.kind {
	case service:
		m.serve(c, day)
	case scheduled:
		m.run(c, day)
	case batch:
		if !m.weekend(day) && m.chance(0.4) {
			m.work(c, day, m.between(9, 16), m.between(0.5, 4))
		}
	default:
		m.person(c, day)
	}
}

func (m *month) weekend(day int) bool { return (day+firstDay+3)%7 >= 5 } // 1970-01-01 was a Thursday

// local returns the second of an hour of the caller's day.
func (m *month) local(c *caller, day int, hour float64) int64 {
	zone := c.team.zone
	if c.team.summer && day >= clockDay {
		zone++
	}
	if day >= c.travel[0] && day < c.travel[1] {
		zone += c.shift
	}
	return int64((float64(firstDay+day)*24 + hour - zone) * 3600)
}

func (m *month) person(c *caller, day int) {
	off := m.weekend(day) || day == c.team.holiday || day >= c.away[0] && day < c.away[1]
	switch {
	case off && m.weekend(day) && m.chance(0.04):
		m.work(c, day, m.between(9, 18), m.between(1, 4))
	case off, c.kind == rare && !m.chance(0.3), m.chance(0.06): // meetings all day, or ill
		return
	case c.kind == passing:
		m.work(c, day, m.between(8, 18), 0.3)
	default:
		start := m.normal(c.start, 0.6)
		m.work(c, day, start, max(3, m.normal(c.end, 0.6)-start))
	}
	if m.chance(c.late) {
		m.work(c, day, c.end+m.between(0, 2), m.between(1, 4))
	}
	if m.chance(0.1) {
		m.mistakes(c, m.local(c, day, m.between(c.start, c.end)), 1+int(m.ExpFloat64()*1.5))
	}
	if m.chance(0.001) {
		m.mistakes(c, m.local(c, day, m.between(c.start, c.end)), 5+m.IntN(12))
	}
	if c.kind == onCall && day/7%3 == c.duty && m.chance(0.25) {
		m.work(c, day, m.between(22, 29), m.between(1, 3))
	}
}

// work makes the calls of some hours, in little groups.
func (m *month) work(c *caller, day int, start, hours float64) {
	n := m.poisson(m.logNormal(c.perDay, c.spread) * min(1, hours/8+0.1))
	if c.kind == batch {
		n = m.poisson(m.logNormal(c.perDay*hours, c.spread))
	}
	context := 1.0
	at := m.local(c, day, start)
	for n > 0 {
		group := min(n, 1+int(m.ExpFloat64()*5))
		begin := at + int64(m.Float64()*hours*3600)
		for range group {
			begin += int64(m.ExpFloat64() * 40)
			if c.kind == agentic {
				if context = min(context*m.between(1, 1.1), 15); m.chance(0.02) {
					context = 1
				}
			}
			m.call(c, begin, m.tokens(c, day)*context)
		}
		n -= group
	}
}

func (m *month) tokens(c *caller, day int) float64 {
	x := m.logNormal(c.median, c.deviation)
	if c.release >= 0 && day >= c.release {
		x *= c.change
	}
	if c.kind != service && c.kind != scheduled && c.kind != batch && m.chance(0.03) {
		x += m.logNormal(25_000, 0.8)
	}
	return x
}

func (m *month) serve(c *caller, day int) {
	busy := m.logNormal(1, c.spread)
	for hour := range 24 {
		rate := c.perDay / 24 * busy * (1 + 0.6*math.Sin(float64(hour)/24*2*math.Pi-2))
		for range m.poisson(rate) {
			m.call(c, m.local(c, day, float64(hour)+m.Float64()), m.tokens(c, day))
		}
	}
	if m.chance(0.0033) { // a release without permission
		from, hours := m.local(c, day, m.between(9, 16)), m.between(1, 6)
		for i := 0.0; i < hours*3600; i += 86400 / c.perDay / 3 {
			m.denied(c, from+int64(i))
		}
	}
}

func (m *month) run(c *caller, day int) {
	for _, hour := range c.times {
		start := float64(hour) + c.team.zone // they go by UTC
		if c.team.summer && day >= clockDay {
			start++
		}
		if m.chance(0.03) {
			start += m.between(1, 3)
		}
		again := m.chance(0.007)
		for {
			for range m.poisson(c.perDay / float64(len(c.times))) {
				m.call(c, m.local(c, day, start+m.Float64()*0.4), m.tokens(c, day))
			}
			if !again {
				break
			}
			again, start = false, m.between(9, 17)
		}
	}
	if c.scan {
		m.mistakes(c, m.local(c, day, float64(c.times[0])+c.team.zone), 3+m.IntN(3))
	}
}

// call makes a call that is let through.
func (m *month) call(c *caller, at int64, tokens float64) {
	model := c.models[min(int(m.ExpFloat64()*0.8), len(c.models)-1)]
	m.callTo(c, at, tokens, model, nil)
}

func (m *month) callTo(c *caller, at int64, tokens float64, model string, plant *anomaly) {
	n := int64(min(tokens, 1_000_000)) + 8
	switch x := m.Float64(); {
	case x < 0.02:
		n = -1
	case x < 0.025:
		n = -2
	}
	c.active[int(at/86400)-firstDay] = true
	m.events = append(m.events, event{at: at, who: c, source: "10.0.0.1", model: model, status: 200, tokens: n, plant: plant})
}

// mistakes makes attempts that are denied, each with up to two retries.
func (m *month) mistakes(c *caller, at int64, attempts int) {
	for range attempts {
		at += 2 + int64(m.ExpFloat64()*30)
		for try := range 1 + m.IntN(3) {
			m.denied(c, at+int64(2*try))
		}
	}
}

func (m *month) denied(c *caller, at int64) {
	c.active[int(at/86400)-firstDay] = true
	m.events = append(m.events, event{at: at, who: c, source: "10.0.0.1", model: m.pick(catalogue), status: 403})
}

// outage makes twenty minutes in which nobody gets a token: everybody who is there tries again and again.
func (m *month) outage() {
	from := int64(firstDay+history+m.IntN(30))*86400 + int64(m.IntN(86400))
	for _, e := range slices.Clone(m.events) {
		if e.at >= from && e.at < from+1200 && e.status == 200 {
			for i := range 20 {
				m.events = append(m.events, event{at: e.at + int64(i), who: e.who, model: e.model, status: 503})
			}
		}
	}
}

// strangers makes the denials of those who are not verified.
func (m *month) strangers() {
	for i, t := range m.teams {
		gate := fmt.Sprintf("203.0.113.%d", i+1) // all of an office come from one address
		c := &caller{team: t}
		for day := range wholeRun {
			if m.weekend(day) {
				continue
			}
			for range m.poisson(20) {
				at := m.local(c, day, m.between(8, 18))
				for try := range 1 + m.IntN(3) {
					m.stranger(gate, at+int64(try), nil)
				}
			}
			if (day+firstDay+3)%7 == 0 {
				for range 5 + m.IntN(25) {
					m.stranger(gate, m.local(c, day, m.between(8.8, 9.2)), nil)
				}
			}
		}
	}
	for range 4000 {
		from := fmt.Sprintf("198.51.%d.%d", m.IntN(256), m.IntN(256))
		if m.chance(0.3) {
			from = fmt.Sprintf("2001:db8:%x:%x::%x", m.IntN(65536), m.IntN(65536), m.IntN(65536))
		}
		at := int64(firstDay)*86400 + int64(m.IntN(wholeRun*86400))
		for range 1 + m.IntN(6) {
			m.stranger(from, at+int64(m.IntN(120)), nil)
		}
	}
}

func (m *month) stranger(from string, at int64, plant *anomaly) {
	m.events = append(m.events, event{at: at, source: from, status: 401, plant: plant})
}

func timeOf(at int64) time.Time { return time.Unix(at, 0).UTC() }
