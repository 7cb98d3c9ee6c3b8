package trail

import (
	"bytes"
	"errors"
	"hash/maphash"
)

// item is what one line adds to an answer, or takes away from it.
type item struct {
	kind     kind
	allow    bool
	unjoined bool   // a closing that its writer could not join
	id       uint64 // hash of the id, 0 if there is none
	attempt  int32
	row      int32 // none if the line was not chosen
	time     int64
	in, out  int64 // tokens, unknown if so
	bytes    int64 // likewise
	micros   int64 // likewise
}

// none is the row of what does not belong to the answer.
const none = -1

// worker turns chunks into items.
type worker struct {
	parser *parser
	filter *filter
	rows   *rowCache
	seed   maphash.Seed
}

// work fills in what its lines make of a chunk. An error is one of the question and not of the files: there are too many rows.
func (w *worker) work(c *chunk) error {
	if c.long {
		c.lines++
		c.note(errLong)
	}
	rest := c.data
	for len(rest) > 0 {
		var one []byte
		if end := bytes.IndexByte(rest, '\n'); end >= 0 {
			one, rest = rest[:end], rest[end+1:]
		} else {
			one, rest = rest, nil
		}
		c.lines++
		if one = trimLine(one); len(one) == 0 {
			c.tally.empty++
			continue
		}
		l, err := w.parser.parse(one)
		if err != nil {
			c.note(err)
			continue
		}
		if err := w.item(c, l); err != nil {
			return err
		}
	}
	return nil
}

// note counts a line that is not taken.
func (c *chunk) note(why error) {
	if errors.Is(why, errVersion) {
		c.tally.versions++
	} else {
		c.tally.broken++
	}
	if len(c.broken) < maxBroken {
		c.broken = append(c.broken, broken{c.lines, why})
	}
}

func (w *worker) item(c *chunk, l *line) error {
	i := item{
		kind: l.kind, allow: l.allow, unjoined: l.unjoined, attempt: int32(min(max(l.attempt, 0), 1<<31-1)), row: none, time: l.time,
		in: unknown, out: unknown, bytes: unknown, micros: unknown,
	}
	if len(l.id) > 0 {
		i.id = maphash.Bytes(w.seed, l.id)
	}
	switch l.kind {
	case other:
		c.tally.others++
	case undelivered:
	case decision, closing, missing:
		if l.unjoined || !w.filter.takes(l) {
			break
		}
		row, err := w.rows.row(l)
		if err != nil {
			return err
		}
		i.row = row
	}
	if l.kind == closing {
		i.in, i.out = l.usage.in(), l.usage.out()
		if l.bytesIn.amount() != unknown && l.bytesOut.amount() != unknown {
			i.bytes = plus(l.bytesIn.n, l.bytesOut.n)
		}
		if ms := l.active.amount(); ms != unknown {
			i.micros = min(ms, 1<<40) * 1000
		}
	}
	c.items = append(c.items, i)
	return nil
}

// plus adds two amounts that are not negative. What is too large stays the largest number.
func plus(a, b int64) int64 {
	if a > 1<<63-1-b {
		return 1<<63 - 1
	}
	return a + b
}
