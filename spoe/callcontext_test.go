package spoe

import (
	"bytes"
	"context"
	"errors"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallContextEnds(t *testing.T) {
	const timeout = time.Second
	type parts struct {
		ctx    *callContext
		cancel context.CancelFunc // of the connection
		others *sync.WaitGroup
	}
	ends := map[string]struct {
		end  func(p parts)
		want error
	}{
		"at its deadline":     {func(parts) { pass(timeout) }, context.DeadlineExceeded},
		"by its reply":        {func(p parts) { p.ctx.end() }, context.Canceled},
		"with its connection": {func(p parts) { p.cancel() }, context.Canceled},
		"by its reply before its deadline": {func(p parts) {
			p.ctx.end()
			pass(2 * timeout)
		}, context.Canceled},
	}
	// Whoever looks, at whatever time, sees the same end.
	looks := map[string]func(p parts, end func(parts)) error{
		"Err after the end": func(p parts, end func(parts)) error {
			end(p)
			return p.ctx.Err()
		},
		"Done before the end": func(p parts, end func(parts)) error {
			done := p.ctx.Done()
			p.others.Go(func() { end(p) })
			<-done
			return p.ctx.Err()
		},
		"Done after the end": func(p parts, end func(parts)) error {
			end(p)
			<-p.ctx.Done()
			return p.ctx.Err()
		},
		"Err and Done after the end": func(p parts, end func(parts)) error {
			end(p)
			err := p.ctx.Err()
			p.cancel()
			<-p.ctx.Done()
			if again := p.ctx.Err(); !errors.Is(again, err) {
				return again
			}
			return err
		},
		"a child": func(p parts, end func(parts)) error {
			child, cancel := context.WithCancel(p.ctx)
			defer cancel()
			p.others.Go(func() { end(p) })
			<-child.Done()
			return child.Err()
		},
		"AfterFunc": func(p parts, end func(parts)) error {
			ended := make(chan error, 1)
			context.AfterFunc(p.ctx, func() { ended <- context.Cause(p.ctx) })
			end(p)
			return <-ended
		},
	}
	for name, tt := range ends {
		for how, look := range looks {
			t.Run(name+", seen by "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, cancel := context.WithCancel(t.Context())
					defer cancel()
					p := parts{&callContext{parent: parent, deadline: time.Now().Add(timeout)}, cancel, new(sync.WaitGroup)}
					defer p.ctx.end()
					defer p.others.Wait()
					if err := p.ctx.Err(); err != nil {
						t.Errorf("got %v before the end", err)
					}
					if d, ok := p.ctx.Deadline(); !ok || time.Until(d) != timeout {
						t.Errorf("got deadline in %v, %v, want %v", time.Until(d), ok, timeout)
					}
					if got := look(p, tt.end); !errors.Is(got, tt.want) {
						t.Errorf("got %v, want %v", got, tt.want)
					}
				})
			})
		}
	}
}

// Children hang on it as on a context of package context, which needs a
// goroutine for each child of those that it does not know.
func TestChildrenOfACallContextNeedNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := &callContext{parent: t.Context(), deadline: time.Now().Add(time.Hour)}
		child, cancel := context.WithCancel(ctx)
		defer cancel()
		synctest.Wait()
		var stacks bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		if strings.Contains(stacks.String(), "propagateCancel") {
			t.Errorf("a goroutine waits for the child:\n%s", stacks.String())
		}
		ctx.end()
		<-child.Done()
	})
}

func TestCallContextThatNobodyWaitsForCostsNothing(t *testing.T) {
	ctx := &callContext{parent: t.Context(), deadline: time.Now().Add(time.Hour)}
	if got := testing.AllocsPerRun(100, func() { _ = ctx.Err() }); got != 0 {
		t.Errorf("got %v allocations for Err, want 0", got)
	}
	if ctx.full != nil {
		t.Error("a context was made that nobody wants")
	}
	ctx.end()
	if got := context.Cause(ctx); !errors.Is(got, context.Canceled) {
		t.Errorf("got cause %v, want canceled", got)
	}
}
