package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	chunkSize = 1 << 20
	maxLine   = chunkSize // longer lines are broken
)

var errLong = errors.New("longer than 1 MiB")

// chunk is a run of whole lines of one file, and what a worker made of them.
type chunk struct {
	number int // of the chunk, from 0
	file   int
	data   []byte // whole lines; the last one of a file may lack its newline
	long   bool   // a line that is too long comes before data
	err    error  // the file ends here, and not as it should

	lines  int
	items  []item
	broken []broken // the first ones
	tally  struct{ empty, broken, versions, others int }
}

// broken is a line that is not taken.
type broken struct {
	line int // in its chunk, from 1
	why  error
}

const maxBroken = 4 // that a chunk tells of

func (c *chunk) reset() {
	*c = chunk{data: c.data[:0], items: c.items[:0], broken: c.broken[:0]}
}

// feed cuts files into chunks.
type feed struct {
	files    *Files
	progress func(read int64)
	read     atomic.Int64 // from the disk
	free     chan *chunk
	full     chan *chunk
	number   int
}

// run sends the chunks of all files in order, and closes full. It ends early when ctx does. What is wrong with a file is told in its last
// chunk.
func (f *feed) run(ctx context.Context) {
	defer close(f.full)
	for i := range f.files.list {
		r, err := f.files.open(i, &f.read)
		if err != nil {
			if c := f.take(ctx, i); c != nil {
				c.err = err
				f.send(c)
			}
			continue
		}
		more := f.cut(ctx, i, r)
		_ = r.Close() // it was only read
		if !more {
			return
		}
	}
}

// take returns an empty chunk, nil when ctx has ended.
func (f *feed) take(ctx context.Context, file int) *chunk {
	select {
	case c := <-f.free:
		c.reset()
		c.file = file
		return c
	case <-ctx.Done():
		return nil
	}
}

// send sends a chunk. There is always room: as many fit in as there are chunks.
func (f *feed) send(c *chunk) {
	c.number = f.number
	f.number++
	f.full <- c
	if f.progress != nil {
		f.progress(f.read.Load())
	}
}

// cut sends the chunks of one file. It reports whether to go on with the next one.
func (f *feed) cut(ctx context.Context, file int, r io.Reader) bool {
	lines := cutter{from: r}
	for !lines.ended {
		c := f.take(ctx, file)
		if c == nil {
			return false
		}
		if err := lines.fill(c); err != nil {
			c.err = fmt.Errorf("%s: %w", f.files.list[file].name, err)
		}
		f.send(c)
	}
	return true
}

// cutter cuts what it reads between lines.
type cutter struct {
	from     io.Reader
	rest     []byte // the beginning of a line whose end is still to come
	skipping bool   // that line is too long
	ended    bool   // there is no more
}

// fill reads whole lines into an empty chunk; there may be none in it. The error is one of reading, and the file ends there.
func (r *cutter) fill(c *chunk) error {
	if cap(c.data) == 0 {
		c.data = make([]byte, 0, chunkSize)
	}
	data, err := readFull(r.from, append(c.data, r.rest...))
	r.rest, r.ended = r.rest[:0], err != nil
	if r.skipping {
		at := bytes.IndexByte(data, '\n')
		if at < 0 && !r.ended {
			return nil
		}
		// The one that was too long ends here.
		r.skipping, c.long = false, true
		data = data[:copy(data, data[at+1:])]
		if at < 0 {
			data = data[:0]
		}
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	switch {
	case r.ended:
		end = len(data)
	case end == 0 && len(data) == cap(data):
		r.skipping = true
	default:
		r.rest = append(r.rest, data[end:]...)
	}
	c.data = data[:end]
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// readFull reads until the capacity of b is full. The error is that of the last Read.
func readFull(r io.Reader, b []byte) ([]byte, error) {
	for len(b) < cap(b) {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err != nil {
			return b, err
		}
	}
	return b, nil
}
