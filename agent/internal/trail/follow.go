package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	lingerFor = 10 * time.Second // how long a file is read on after it has lost its name and was written to last
	maxOld    = 4                // files without their name that are read; of more, the oldest is left
)

// follower reads on in a file, whichever has its name.
type follower struct {
	name     string
	file     *os.File
	offset   int64
	rest     []byte // a line whose end is still to come
	skipping bool   // that line is too long

	old   []*follower // files that have had the name
	quiet time.Time   // since when nothing was written to an old one
}

// follow shows what is written to the files until ctx ends.
func (t *tail) follow(ctx context.Context, poll time.Duration) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		for _, f := range t.followed {
			if err := f.look(t, time.Now()); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// close closes all files.
func (t *tail) close() {
	for _, f := range t.followed {
		for _, old := range f.old {
			_ = old.file.Close() // it was only read
		}
		_ = f.file.Close()
	}
	t.followed = nil
}

// look reads what is new, and changes to the file that has the name now.
func (f *follower) look(t *tail, now time.Time) error {
	if err := f.lookBack(t, now); err != nil {
		return err
	}
	named, err := os.Stat(f.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mine, err2 := f.file.Stat()
	if err2 != nil {
		return err2
	}
	if mine.Size() < f.offset {
		f.offset, f.rest, f.skipping = 0, nil, false // it was cut
	}
	if _, err := f.read(t); err != nil {
		return err
	}
	if err != nil || os.SameFile(named, mine) { // nothing has taken the name, or nothing else
		return nil
	}
	file, err := os.Open(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f.old = append(f.old, &follower{name: f.name, file: f.file, offset: f.offset, rest: f.rest, skipping: f.skipping, quiet: now})
	if len(f.old) > maxOld {
		err = f.old[0].leave(t)
		f.old = f.old[1:]
	}
	f.file, f.offset, f.rest, f.skipping = file, 0, nil, false
	if err != nil {
		return err
	}
	_, err = f.read(t)
	return err
}

// lookBack reads on in the files that have had the name.
func (f *follower) lookBack(t *tail, now time.Time) error {
	kept := f.old[:0]
	for _, old := range f.old {
		n, err := old.read(t)
		if err != nil {
			return err
		}
		if n > 0 {
			old.quiet = now
		}
		if now.Sub(old.quiet) > lingerFor {
			if err := old.leave(t); err != nil {
				return err
			}
			continue
		}
		kept = append(kept, old)
	}
	f.old = kept
	return nil
}

// leave closes an old file. What stands after its last newline is a line that lacks its own, or a torn one.
func (f *follower) leave(t *tail) error {
	_ = f.file.Close() // it was only read
	if len(f.rest) == 0 {
		return nil
	}
	if e := t.take(f.name, f.rest, nil); e != nil {
		return t.show(e)
	}
	return nil
}

// read shows the lines that are new, and returns how many bytes were.
func (f *follower) read(t *tail) (n int64, err error) {
	b := make([]byte, 64<<10)
	for {
		got, err := f.file.ReadAt(b, f.offset)
		f.offset += int64(got)
		n += int64(got)
		if err2 := f.lines(t, b[:got]); err2 != nil {
			return n, err2
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("%s: %w", f.name, err)
		}
	}
}

func (f *follower) lines(t *tail, b []byte) error {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		part := b[:max(end, 0)]
		if end < 0 {
			part = b
		}
		if !f.skipping {
			f.rest = append(f.rest, part...)
		}
		if len(f.rest) > maxLine {
			f.rest, f.skipping = nil, true
		}
		if end < 0 {
			return nil
		}
		b = b[end+1:]
		var why error
		if f.skipping {
			why = errLong
		}
		e := t.take(f.name, f.rest, why)
		f.rest, f.skipping = f.rest[:0], false
		if e == nil {
			continue
		}
		if err := t.show(e); err != nil {
			return err
		}
	}
	return nil
}
