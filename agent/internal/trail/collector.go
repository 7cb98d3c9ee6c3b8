package trail

import (
	"fmt"
	"slices"
	"time"
)

// collector adds up items in the order of their lines. It is for one goroutine.
type collector struct {
	files  *Files
	window *window
	counts []Counts // by number of the row
	notes  Notes

	first, last int64 // times of lines
	days        map[int64]struct{}
	day         int64 // the last one that was noted

	file, before int // lines of the file that is read
}

func newCollector(files *Files, size int) *collector {
	c := &collector{files: files, first: 1<<63 - 1, last: -1 << 63, days: map[int64]struct{}{}, day: -1 << 63, file: -1}
	c.window = newWindow(size, c.settle)
	return c
}

// run takes chunks as they are ready, and puts them into order.
func (c *collector) run(done <-chan *chunk, free chan<- *chunk) {
	waiting := map[int]*chunk{}
	next := 0
	for one := range done {
		waiting[one.number] = one
		for waiting[next] != nil {
			c.chunk(waiting[next])
			free <- waiting[next]
			delete(waiting, next)
			next++
		}
	}
	c.window.finish()
}

func (c *collector) chunk(one *chunk) {
	if one.file != c.file {
		c.file, c.before = one.file, 0
	}
	for i := range one.items {
		c.item(&one.items[i])
	}
	for _, b := range one.broken {
		if len(c.notes.Examples) < maxExamples {
			c.notes.Examples = append(c.notes.Examples, fmt.Sprintf("%s:%d: %v", c.files.list[one.file].name, c.before+b.line, b.why))
		}
	}
	if one.err != nil {
		c.notes.Damaged = append(c.notes.Damaged, one.err)
	}
	c.before += one.lines
	c.notes.Lines += one.lines
	c.notes.Empty += one.tally.empty
	c.notes.Broken += one.tally.broken
	c.notes.Versions += one.tally.versions
	c.notes.Others += one.tally.others
}

func (c *collector) item(i *item) {
	c.first, c.last = min(c.first, i.time), max(c.last, i.time)
	if day := floorDay(i.time); day != c.day && len(c.days) < maxDays {
		c.days[day] = struct{}{}
		c.day = day
	}
	switch i.kind {
	case other:
	case decision:
		c.decision(i)
	case undelivered:
		c.undelivered(i)
	case closing, missing:
		c.closing(i)
	}
}

func (c *collector) decision(i *item) {
	e := entry{id: i.id, attempt: i.attempt, time: i.time, row: i.row, allow: i.allow}
	if i.id == 0 {
		c.settle(&e)
		return
	}
	old := c.window.find(i.id)
	switch {
	case old == nil:
		c.window.add(e)
	case i.attempt > old.attempt:
		c.notes.Superseded++
		*old = e
	case i.attempt < old.attempt:
		c.notes.Superseded++
	default:
		c.notes.Repeated++
	}
}

func (c *collector) undelivered(i *item) {
	e := c.window.find(i.id)
	switch {
	case e == nil:
		c.notes.Unmatched++
	case e.attempt == i.attempt:
		e.lost = true
	}
}

// settle counts a decision, about which nothing more is to come.
func (c *collector) settle(e *entry) {
	if e.row == none {
		return
	}
	if e.lost {
		c.notes.Undelivered++
		return
	}
	n := c.at(e.row)
	if e.allow {
		n.Calls++
	} else {
		n.Denials++
	}
	n.seen(e.time)
}

// closing adds what a closing tells to the row of its decision.
func (c *collector) closing(i *item) {
	row := i.row
	if e := c.window.find(i.id); e != nil {
		row = e.row
		switch {
		case e.closed, e.missing && i.kind == missing:
			c.notes.Repeated++
			return
		case i.kind == closing:
			if e.missing && row != none { // it came late
				c.at(row).Missing--
			}
			e.closed = true
		default:
			e.missing = true
		}
	} else if i.unjoined {
		c.notes.Unjoined++
		return
	}
	if row == none {
		return
	}
	n := c.at(row)
	if i.kind == missing {
		n.Missing++
		return
	}
	n.TokensIn.add(i.in)
	n.TokensOut.add(i.out)
	n.Bytes.add(i.bytes)
	n.Micros.add(i.micros)
}

// at returns the counts of a row.
func (c *collector) at(row int32) *Counts {
	if n := int(row) + 1; n > len(c.counts) {
		c.counts = append(c.counts, make([]Counts, n-len(c.counts))...)
	}
	return &c.counts[row]
}

// answer returns what came of everything that was read. Rows that nothing was counted in are left out.
func (c *collector) answer(all *rows) *Answer {
	all.number = nil // to make room
	a := &Answer{By: all.by, Notes: c.notes, Rows: make([]Row, 0, len(c.counts))}
	if c.first <= c.last {
		a.First, a.Last = timeOf(c.first), timeOf(c.last)
	}
	for row := range c.counts {
		n := &c.counts[row]
		if *n == (Counts{}) {
			continue
		}
		a.Rows = append(a.Rows, Row{Names: all.names(all.keys[row]), Counts: *n})
		a.Total.merge(n)
	}
	for day := range c.days {
		a.Days = append(a.Days, time.Unix(day*86400, 0).UTC())
	}
	slices.SortFunc(a.Days, time.Time.Compare)
	return a
}

const (
	maxExamples = 5
	maxDays     = 36600 // that are remembered
)

// floorDay returns the day of a time, counted from 1970.
func floorDay(micros int64) int64 {
	const day = 86400e6
	n := micros / day
	if micros%day < 0 {
		n--
	}
	return n
}
