package trail

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// TailOptions are what Tail shows.
type TailOptions struct {
	Lines  int  // of the end of the files, at most MaxTail
	Follow bool // go on with what is written from now on
	Filter Filter

	Poll time.Duration // how often files are looked at when following; 0: 200 ms
}

// MaxTail is the most that Tail shows of the end of files.
const MaxTail = 100_000

// Tail shows the last lines of the files that are chosen, in order of time, and with Follow those that are written from then on until ctx
// ends, which is no error. Files that are not packed are read from their end. A line that tells little of its decision is completed with
// what that said, where it is among the last 65,536 that Tail has read. An error of show ends Tail.
//
// A file is followed by its name: when another one takes the name, that is read from its beginning, and the one before for another while,
// because who writes to it needs a moment to notice. A file that has become shorter is read from its beginning. One that was cut and has
// grown past its old length within Poll is not noticed. A pipe that is followed has to be the only file, and ends Tail when it ends.
func Tail(ctx context.Context, files *Files, o TailOptions, show func(*Event) error) (*Notes, error) {
	t := &tail{
		files: files, parser: newParser(), filter: newFilter(&o.Filter), everything: o.Filter.everything(), known: memory{events: map[string]*Event{}},
		lines: min(o.Lines, MaxTail), show: show,
	}
	defer t.close()
	if o.Follow && slices.ContainsFunc(files.list, func(f file) bool { return f.pipe }) {
		return &t.notes, t.stream(ctx)
	}
	for i := range files.list {
		if err := t.end(ctx, i, o.Follow); err != nil {
			return &t.notes, err
		}
	}
	slices.SortStableFunc(t.last, func(a, b *Event) int { return a.Time.Compare(b.Time) })
	for _, e := range t.last[max(0, len(t.last)-t.lines):] {
		if err := show(e); err != nil {
			return &t.notes, err
		}
	}
	t.last = nil
	if len(t.followed) == 0 { // nothing is written to a packed file
		return &t.notes, nil
	}
	return &t.notes, t.follow(ctx, cmp.Or(o.Poll, 200*time.Millisecond))
}

func (f *Filter) everything() bool {
	return f.Since.IsZero() && f.Until.IsZero() && f.Decision == "" && len(f.Match) == 0
}

type tail struct {
	files      *Files
	parser     *parser
	filter     *filter
	everything bool // the filter chooses all lines
	known      memory
	lines      int
	show       func(*Event) error
	notes      Notes

	last     []*Event // of the files that are read, the last lines of each
	followed []*follower
}

// take returns what a line of a file shows, nil if it is nothing.
func (t *tail) take(name string, b []byte, err error) *Event {
	t.notes.Lines++
	var l *line
	if err == nil {
		if b = trimLine(b); len(b) == 0 {
			t.notes.Empty++
			return nil
		}
		l, err = t.parser.parse(b)
	}
	switch {
	case errors.Is(err, errVersion):
		t.notes.Versions++
	case err != nil:
		t.notes.Broken++
	}
	if err != nil {
		if len(t.notes.Examples) < maxExamples {
			t.notes.Examples = append(t.notes.Examples, fmt.Sprintf("%s: %v", name, err))
		}
		return nil
	}
	before := t.known.events[bounded(l.id)]
	if before == nil && !t.chosen(l) || l.kind == decision && !t.chosen(l) {
		return nil
	}
	e := eventOf(l)
	if l.kind == decision {
		t.known.add(e)
	} else if before != nil {
		e.complete(before)
	}
	return e
}

// chosen reports whether the filter chooses a line by what that itself says.
func (t *tail) chosen(l *line) bool {
	switch l.kind {
	case decision, closing, missing:
		if !l.unjoined {
			return t.filter.takes(l)
		}
	case undelivered, other:
	}
	return t.everything
}

// end gathers the last lines of a file, and with follow keeps it open.
func (t *tail) end(ctx context.Context, i int, follow bool) error {
	name := t.files.list[i].name
	f, packed, err := t.plain(i)
	if err != nil {
		return err
	}
	if packed {
		r, err := t.files.open(i, nil)
		if err != nil {
			return err
		}
		err = t.gather(ctx, name, r)
		_ = r.Close() // it was only read
		if err != nil && ctx.Err() == nil {
			t.notes.Damaged = append(t.notes.Damaged, fmt.Errorf("%s: %w", name, err))
			err = nil
		}
		return err
	}
	o := &follower{name: name, file: f}
	t.followed = append(t.followed, o)
	from, to, err := t.back(f)
	if err == nil {
		err = t.gather(ctx, name, io.NewSectionReader(f, from, to-from))
	}
	o.offset = to
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !follow {
		t.close()
	}
	return nil
}

// plain opens a file that can be read from its end.
func (t *tail) plain(i int) (f *os.File, packed bool, err error) {
	if t.files.list[i].pipe {
		return nil, true, nil
	}
	if f, err = os.Open(t.files.list[i].name); err != nil {
		return nil, false, err
	}
	var head [2]byte
	if n, _ := f.ReadAt(head[:], 0); n == 2 && head == [2]byte{0x1f, 0x8b} {
		return nil, true, f.Close()
	}
	return f, false, nil
}

// gather keeps the last lines of what it reads.
func (t *tail) gather(ctx context.Context, name string, r io.Reader) error {
	before := len(t.last)
	return eachLine(ctx, r, func(b []byte, err error) error {
		if e := t.take(name, b, err); e != nil && t.lines > 0 {
			t.last = append(t.last, e)
			if len(t.last)-before >= 2*t.lines { // half of them are too many
				t.last = append(t.last[:before], t.last[len(t.last)-t.lines:]...)
			}
		}
		return nil
	})
}

// back looks back from the end of a file until enough lines are chosen. What is written is whole lines from from to to.
func (t *tail) back(f *os.File) (from, to int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	const block = 256 << 10
	to = info.Size()
	if n, err := lastNewline(f, to); err != nil {
		return 0, 0, err
	} else if n >= 0 {
		to = n + 1
	} else {
		return 0, 0, nil
	}
	from = to
	for found := 0; found < t.lines && from > 0; {
		start := max(0, from-block)
		if start > 0 {
			// The block begins where a line does, or before it if that is longer than a block.
			n, err := lastNewline(f, start)
			if err != nil {
				return 0, 0, err
			}
			start = n + 1
		}
		b := make([]byte, from-start)
		if _, err := f.ReadAt(b, start); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		for one := range bytes.Lines(b) {
			if l, err := t.parser.parse(trimLine(one)); err == nil && t.chosen(l) {
				found++
			}
		}
		from = start
	}
	return from, to, nil
}

// lastNewline returns where the last newline before an offset stands, -1 if there is none. It looks back at most as far as a line may be
// long, and takes the place where it stops for one.
func lastNewline(f *os.File, before int64) (int64, error) {
	b := make([]byte, min(before, maxLine))
	if _, err := f.ReadAt(b, before-int64(len(b))); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if at := bytes.LastIndexByte(b, '\n'); at >= 0 || int64(len(b)) == before {
		return before - int64(len(b)) + int64(at), nil
	}
	return before - int64(len(b)) - 1, nil
}

// stream shows the lines of pipes as they come.
func (t *tail) stream(ctx context.Context) error {
	if len(t.files.list) > 1 {
		return errors.New("a pipe can be followed only if it is the only file")
	}
	name := t.files.list[0].name
	r, err := t.files.open(0, nil)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	err = eachLine(ctx, r, func(b []byte, err error) error {
		if e := t.take(name, b, err); e != nil {
			return t.show(e)
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// eachLine calls line with every line, without its end; b is good until it returns. For one that is too long it is called with errLong.
func eachLine(ctx context.Context, r io.Reader, line func(b []byte, err error) error) error {
	from := bufio.NewReaderSize(r, maxLine)
	skipping := false
	for ctx.Err() == nil {
		b, err := from.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			skipping = true
			continue
		}
		if skipping || len(b) > 0 {
			var why error
			if skipping {
				why, skipping = errLong, false
			}
			if err := line(b, why); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// memorySize is how many decisions Tail remembers.
const memorySize = 1 << 16

// memory is the last decisions that were chosen, by id.
type memory struct {
	events map[string]*Event
	ids    []string
	oldest int
}

func (m *memory) add(e *Event) {
	if _, ok := m.events[e.ID]; !ok {
		if len(m.ids) < memorySize {
			m.ids = append(m.ids, e.ID)
		} else {
			delete(m.events, m.ids[m.oldest])
			m.ids[m.oldest] = e.ID
			m.oldest = (m.oldest + 1) % memorySize
		}
	}
	m.events[e.ID] = e
}

// complete fills in what the decision has said.
func (e *Event) complete(d *Event) {
	e.Model = d.Model // the body may have named it
	for _, of := range [...]struct {
		to   *string
		from string
	}{
		{&e.Issuer, d.Issuer}, {&e.Subject, d.Subject}, {&e.Role, d.Role}, {&e.Rule, d.Rule}, {&e.Account, d.Account},
		{&e.Project, d.Project}, {&e.Location, d.Location}, {&e.Method, d.Method},
	} {
		if *of.to == "" {
			*of.to = of.from
		}
	}
}
