package trail

import (
	"cmp"
	"context"
	"hash/maphash"
	"runtime"
	"sync"
)

// Question is what is asked of files.
type Question struct {
	By     []Dimension // what makes a row; none: one row for everything
	Filter Filter

	Workers  int              // how many read lines at once; 0: one for each processor
	MaxRows  int              // 0: MaxRows
	Progress func(read int64) // is told how many bytes were read from the disk, of Files.Size; nil for nobody

	window int // decisions that are looked back upon; 0: windowSize
}

// Ask reads the files and answers the question. The rows come in no order. An error is ErrTooMany or why ctx has ended; what is wrong with
// the files stands in the notes of the answer.
func Ask(ctx context.Context, files *Files, q Question) (*Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := cmp.Or(q.Workers, runtime.GOMAXPROCS(0))
	chunks := 2*workers + 2
	f := &feed{files: files, progress: q.Progress, free: make(chan *chunk, chunks), full: make(chan *chunk, chunks)}
	for range chunks {
		f.free <- &chunk{}
	}
	all := newRows(q.By, cmp.Or(q.MaxRows, MaxRows))
	done := make(chan *chunk, chunks)

	var group, crew sync.WaitGroup
	group.Go(func() { f.run(ctx) })
	seed := maphash.MakeSeed()
	for range workers {
		w := &worker{parser: newParser(), filter: newFilter(&q.Filter), rows: newRowCache(all), seed: seed}
		crew.Go(func() {
			for c := range f.full {
				if err := w.work(c); err != nil {
					cancel(err)
				}
				done <- c
			}
		})
	}
	group.Go(func() {
		crew.Wait()
		close(done)
	})
	collected := newCollector(files, cmp.Or(q.window, windowSize))
	collected.run(done, f.free)
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return collected.answer(all), nil
}
