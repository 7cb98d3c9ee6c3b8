package trail

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Answer is what came of a question.
type Answer struct {
	By    []Dimension
	Rows  []Row
	Total Counts

	First, Last time.Time   // times of the first and the last line of the files, chosen or not; zero if there is none
	Days        []time.Time // the days on which there is a line, in order; at most 36,600
	Notes       Notes
}

// Row is what was counted under one name for each dimension.
type Row struct {
	Names []string // in the order of Answer.By; empty where the lines say nothing
	Counts
}

// Counts is what was counted.
type Counts struct {
	Calls   int // that were let through
	Denials int

	TokensIn  Sum // of prompts
	TokensOut Sum // of answers, thoughts included
	Bytes     Sum // in both directions
	Micros    Sum // from the first byte of the request to the last one of the answer, in µs
	Missing   int // calls whose end HAProxy has not told

	first, last int64 // 0 when nothing was seen
}

// Sum adds up amounts that not all calls have told.
type Sum struct {
	Sum   int64 // of those that are known
	Known int   // calls that have told one
}

func (s *Sum) add(n int64) {
	if n != unknown {
		s.Sum, s.Known = plus(s.Sum, n), s.Known+1
	}
}

func (s *Sum) merge(other Sum) { s.Sum, s.Known = plus(s.Sum, other.Sum), s.Known+other.Known }

// Unknown returns how many of the calls have not told their amount.
func (c *Counts) Unknown(s Sum) int { return max(c.Calls-s.Known, 0) }

// First returns the time of the first decision that counts, zero if there is none.
func (c *Counts) First() time.Time { return timeOrZero(c.first) }

// Last returns that of the last one.
func (c *Counts) Last() time.Time { return timeOrZero(c.last) }

func timeOrZero(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return timeOf(micros)
}

func (c *Counts) seen(at int64) {
	if c.first == 0 || at < c.first {
		c.first = at
	}
	if c.last == 0 || at > c.last {
		c.last = at
	}
}

func (c *Counts) merge(other *Counts) {
	c.Calls += other.Calls
	c.Denials += other.Denials
	c.TokensIn.merge(other.TokensIn)
	c.TokensOut.merge(other.TokensOut)
	c.Bytes.merge(other.Bytes)
	c.Micros.merge(other.Micros)
	c.Missing += other.Missing
	if other.first != 0 {
		c.seen(other.first)
		c.seen(other.last)
	}
}

// Measure is what rows are ordered by.
type Measure string

// The measures.
const (
	ByCalls   Measure = "calls"
	ByDenials Measure = "denials"
	ByTokens  Measure = "tokens"
	ByBytes   Measure = "bytes"
	BySeconds Measure = "seconds"
)

// Measures returns all measures.
func Measures() []Measure { return []Measure{ByCalls, ByDenials, ByTokens, ByBytes, BySeconds} }

// of returns the measure of a row, and how much of it is not known.
func (m Measure) of(c *Counts) (n int64, unknown int) {
	switch m {
	case ByCalls:
		return int64(c.Calls), 0
	case ByDenials:
		return int64(c.Denials), 0
	case ByTokens:
		return plus(c.TokensIn.Sum, c.TokensOut.Sum), max(c.Unknown(c.TokensIn), c.Unknown(c.TokensOut))
	case ByBytes:
		return c.Bytes.Sum, c.Unknown(c.Bytes)
	case BySeconds:
		return c.Micros.Sum, c.Unknown(c.Micros)
	}
	return 0, 0
}

// Sort puts the largest rows first: by the measure, then by how much of it is unknown, then by calls and denials, then by name.
func (a *Answer) Sort(by Measure) {
	slices.SortFunc(a.Rows, func(x, y Row) int {
		nx, ux := by.of(&x.Counts)
		ny, uy := by.of(&y.Counts)
		return cmp.Or(cmp.Compare(ny, nx), cmp.Compare(uy, ux), cmp.Compare(y.Calls, x.Calls), cmp.Compare(y.Denials, x.Denials), slices.Compare(x.Names, y.Names))
	})
}

// Top leaves the first n rows of an answer that is sorted by a measure, without those that have nothing of it.
func (a *Answer) Top(n int, by Measure) {
	a.Rows = slices.DeleteFunc(a.Rows, func(r Row) bool {
		amount, unknown := by.of(&r.Counts)
		return amount == 0 && unknown == 0
	})
	a.Rows = a.Rows[:min(n, len(a.Rows))]
}

// Notes tells what was not counted as it stands.
type Notes struct {
	Lines    int      // that were read, also empty ones
	Empty    int      // of them
	Broken   int      // lines that are torn, are not JSON, or contradict the schema
	Versions int      // lines of another version
	Others   int      // lines of an event that is not known
	Examples []string // the first of the broken lines and of those of another version: file:line: why
	Damaged  []error  // files that could not be read to their end

	Undelivered int // chosen decisions that HAProxy has not had
	Superseded  int // decisions about a request that was asked about again
	Repeated    int // lines that stand in the files twice
	Unmatched   int // "undelivered" of a decision that is not in the files, or too far away
	Unjoined    int // closings of which nobody knows whose they are
}

// Whole reports whether every line was understood.
func (n *Notes) Whole() bool {
	return n.Broken == 0 && n.Versions == 0 && n.Others == 0 && len(n.Damaged) == 0
}

// Unreadable reports whether there are lines and none of them was understood: the files are something else.
func (n *Notes) Unreadable() bool {
	none := n.Broken + n.Versions
	return none > 0 && none == n.Lines-n.Empty
}

// Text returns what whoever reads the answer should know, one sentence a line; it is empty if there is nothing.
func (n *Notes) Text() string {
	var b strings.Builder
	for _, err := range n.Damaged {
		fmt.Fprintf(&b, "error: the file could not be read to its end: %s\n", Clean(err.Error()))
	}
	for _, of := range []struct {
		n    int
		what string
	}{
		{n.Broken, "broken, and not counted"},
		{n.Versions, "of another version, and not counted"},
		{n.Others, "about an event that is not known, and not counted"},
		{n.Repeated, "in the files more than once, and counted once"},
		{n.Unmatched, "about a decision that was not delivered and is not in the files"},
		{n.Unjoined, "about the end of a call that is not in the files, and not counted"},
	} {
		if of.n > 0 {
			fmt.Fprintf(&b, "warning: %s %s\n", numbered(of.n, "line is", "lines are"), of.what)
		}
	}
	for _, example := range n.Examples {
		fmt.Fprintf(&b, "  --> %s\n", Clean(example))
	}
	if n.Undelivered > 0 {
		fmt.Fprintf(&b, "note: %s delivered, and not counted\n", numbered(n.Undelivered, "decision was not", "decisions were not"))
	}
	return b.String()
}

func numbered(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
