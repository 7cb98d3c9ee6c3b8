package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var errMoody = errors.New("moody")

// moody is a sink that takes all, some or nothing of a write, at once or after a while, as chance will have it. Of each line that it takes
// wholly it knows how often.
type moody struct {
	mu     sync.Mutex
	chance *rand.Rand
	calm   bool // it works from now on
	taken  bytes.Buffer
	writes int // under way: more than one is a fault of the log's
	faults []string
}

func (m *moody) begin(p []byte) (n int, wait time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writes++; m.writes > 1 {
		m.faults = append(m.faults, "two writes at once")
	}
	if m.calm {
		return len(p), 0, nil
	}
	if m.chance.IntN(10) == 0 {
		wait = time.Duration(m.chance.IntN(25)) * time.Millisecond // the log's patience ends in the middle
	}
	switch m.chance.IntN(7) {
	case 0:
		return m.chance.IntN(len(p) + 1), wait, errMoody
	case 1:
		n := m.chance.IntN(len(p) + 1)
		return bytes.LastIndexByte(p[:n], '\n') + 1, wait, errMoody
	case 2:
		n := m.chance.IntN(len(p) + 1)
		return bytes.LastIndexByte(p[:n], '\n') + 1, wait, ErrTooLong
	case 3:
		n := m.chance.IntN(len(p)) // a line but for its end
		return n + bytes.IndexByte(p[n:], '\n'), wait, errMoody
	}
	return len(p), wait, nil
}

func (m *moody) Write(p []byte) (int, error) {
	n, wait, err := m.begin(p)
	if wait > 0 {
		<-time.After(wait)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken.Write(p[:n])
	m.writes--
	return n, err
}

func (m *moody) Close() error { return nil }

// trying is a moody sink that can be asked not to wait.
type trying struct{ moody }

func (s *trying) TryWrite(p []byte) (int, error) {
	s.mu.Lock()
	n := s.chance.IntN(len(p) + 1)
	if s.chance.IntN(3) == 0 || s.calm {
		n = len(p)
	}
	s.taken.Write(p[:n])
	s.mu.Unlock()
	return n, nil
}

// promises are what the owners of lines were told.
type promises struct {
	mu    sync.Mutex
	told  map[string][]error
	asked int
}

func (p *promises) owner(id string) func(error) {
	p.mu.Lock()
	p.asked++
	p.mu.Unlock()
	return func(err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told[id] = append(p.told[id], err)
	}
}

// await waits until every owner was told something.
func (p *promises) await(t *testing.T) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
		p.mu.Lock()
		told, asked := len(p.told), p.asked
		p.mu.Unlock()
		if told == asked {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%d owners of %d were told within 10 s of the end", told, asked)
		}
	}
}

// Whatever the sink does and whoever flushes meanwhile, each owner is told once, is told that all is well only of a line that is whole in
// what the sink took, and finds every allow that it was not told of marked.
func TestAnySinkAndAnyOrder(t *testing.T) {
	for seed := range uint64(12) {
		for _, chained := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d chain %v", seed, chained), func(t *testing.T) {
				t.Parallel()
				storm(t, seed, chained)
			})
		}
	}
}

func storm(t *testing.T, seed uint64, chained bool) {
	s := &trying{moody{chance: rand.New(rand.NewPCG(seed, 1))}}
	l := newLog(s, Options{Chain: chained, Patience: 10 * time.Millisecond})
	if seed%2 == 0 {
		l = newLog(&s.moody, Options{Chain: chained, Patience: 10 * time.Millisecond})
	}
	p := &promises{told: map[string][]error{}}
	var working sync.WaitGroup
	for g := range 8 {
		working.Go(func() {
			chance := rand.New(rand.NewPCG(seed, uint64(100+g)))
			for i := range 150 {
				id := fmt.Sprintf("%d-%d", g, i)
				l.Append(&Record{ID: id, Attempt: 1, Decision: "allow", Detail: strings.Repeat("x", chance.IntN(300))}, p.owner(id))
				if chance.IntN(3) == 0 {
					l.Flush()
				}
				if chance.IntN(20) == 0 {
					<-time.After(time.Duration(chance.IntN(2000)) * time.Microsecond)
				}
			}
		})
	}
	working.Wait()
	s.mu.Lock()
	s.calm = true
	s.mu.Unlock()
	for err, end := ErrStuck, time.Now().Add(10*time.Second); err != nil && time.Now().Before(end); {
		if err = waitFor(t, l, record("last")); errors.Is(err, ErrStuck) {
			<-time.After(time.Millisecond)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	p.await(t) // Close waits no longer than the patience
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fault := range s.faults {
		t.Error(fault)
	}
	p.check(t, s.taken.Bytes())
	if !chained {
		return
	}
	r, err := Verify(bytes.NewReader(s.taken.Bytes()), VerifyOptions{})
	if err != nil || r.Breaks > 0 || r.Unchained > 0 || len(r.Chains) != 1 {
		t.Errorf("verify: %+v, %v (%v)", r, r.First, err)
	}
}

// check compares what was promised with what the sink took.
func (p *promises) check(t *testing.T, taken []byte) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	written, marked := map[string]int{}, map[string]int{}
	torn := 0
	for line := range bytes.Lines(taken) {
		var r struct{ Event, ID string }
		switch err := json.Unmarshal(line, &r); {
		case len(line) == 1:
		case err != nil:
			torn++
		case r.Event == EventUndelivered:
			if marked[r.ID]++; written[r.ID] == 0 {
				t.Errorf("%s is marked before it is written", r.ID)
			}
		default:
			written[r.ID]++
		}
	}
	good, stuck := 0, 0
	for id, told := range p.told {
		switch {
		case len(told) != 1:
			t.Errorf("the owner of %s was told %d times", id, len(told))
		case written[id] > 1 || marked[id] > 1:
			t.Errorf("%s is written %d times and marked %d times", id, written[id], marked[id])
		case told[0] == nil && (written[id] != 1 || marked[id] != 0):
			t.Errorf("the owner of %s was told that all is well; it is written %d times and marked %d times", id, written[id], marked[id])
		case told[0] != nil && written[id] != marked[id]:
			t.Errorf("the owner of %s was told %v; it is written %d times and marked %d times", id, told[0], written[id], marked[id])
		case told[0] == nil:
			good++
		case errors.Is(told[0], ErrStuck):
			stuck++
		}
	}
	if len(p.told) != p.asked {
		t.Errorf("%d owners of %d were told", len(p.told), p.asked)
	}
	t.Logf("%d well, %d stuck, %d lines are torn", good, stuck, torn)
}

// The file is moved away again and again, and the log ends in the middle of it all.
func TestRotationsAndAnEndInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	l, err := OpenWith(Options{Path: path, Chain: true, Patience: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	p := &promises{told: map[string][]error{}}
	ended := make(chan struct{})
	var working, rotating, ending sync.WaitGroup
	for g := range 4 {
		working.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-ended:
					return
				default:
				}
				id := fmt.Sprintf("%d-%d", g, i)
				l.Append(&Record{ID: id, Attempt: 1, Decision: "allow"}, p.owner(id))
				if i%3 == 0 {
					l.Flush()
				}
			}
		})
	}
	names, turned := []string{}, make(chan struct{})
	rotating.Go(func() {
		for err := error(nil); !errors.Is(err, ErrClosed); err = l.Reopen() {
			names = append(names, fmt.Sprint(path, ".", len(names)))
			_ = os.Rename(path, names[len(names)-1])
			if len(names) == 4 {
				close(turned)
			}
			<-time.After(time.Millisecond)
		}
	})
	<-turned
	for range 2 {
		ending.Go(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	ending.Wait()
	close(ended)
	working.Wait()
	rotating.Wait()
	var taken []byte
	for _, name := range append(names, path) {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		taken = append(taken, text...)
	}
	p.check(t, taken)
	r, err := Verify(bytes.NewReader(taken), VerifyOptions{})
	if err != nil || r.Breaks > 0 || r.Torn > 0 {
		t.Errorf("after %d rotations: %+v, %v (%v)", len(names), r, r.First, err)
	}
}

// A file that is opened anew twice while a write hangs, which ends the write where it can be ended, leaves no descriptor behind.
func TestEveryReopenDuringAHangIsWell(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	synctest.Test(t, func(t *testing.T) { // where Close is as patient as it takes
		s := &stubborn{release: make(chan struct{})}
		l := newLog(s, Options{Path: path, Patience: time.Millisecond})
		told := make(chan error, 1)
		l.Append(record("first"), func(err error) { told <- err })
		var flushing sync.WaitGroup
		flushing.Go(l.Flush)
		if err := <-told; !errors.Is(err, ErrStuck) {
			t.Fatalf("got %v, want ErrStuck", err)
		}
		before := descriptors(t, path)
		for range 5 {
			if err := l.Reopen(); err != nil {
				t.Errorf("reopen: %v", err)
			}
		}
		if n := descriptors(t, path) - before; n != 1 {
			t.Errorf("%d further descriptors, want 1", n)
		}
		close(s.release)
		flushing.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if s.closed != 1 {
			t.Errorf("the sink before was closed %d times", s.closed)
		}
	})
}

// stubborn is a sink whose writes hang although it is closed, as those to a file do.
type stubborn struct {
	release chan struct{}
	closed  int
}

func (s *stubborn) Write(p []byte) (int, error) {
	<-s.release
	return len(p), nil
}

func (s *stubborn) Close() error {
	if s.closed++; s.closed > 1 {
		return os.ErrClosed
	}
	return nil
}

// descriptors is how many descriptors of a file the process has. Others may come and go meanwhile, as those that a test before has left to the
// garbage collector.
func descriptors(t *testing.T, path string) int {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(all) == 0 {
		t.Fatalf("descriptors: %v, %v", all, err)
	}
	n := 0
	for _, fd := range all {
		if to, _ := os.Readlink(fd); to == path {
			n++
		}
	}
	return n
}

// A line that is too long for the sink says nothing of the sink, wherever it stands.
func TestALineThatIsTooLongIsNoFailureOfTheSink(t *testing.T) {
	l := newLog(picky{}, Options{})
	for _, ids := range [][]string{{"long"}, {"a", "long"}, {"long", "a"}} {
		var telling sync.WaitGroup
		telling.Add(len(ids))
		for _, id := range ids {
			l.Append(record(id), func(err error) {
				defer telling.Done()
				if errors.Is(err, ErrTooLong) != (id == "long") {
					t.Errorf("%s: %v", id, err)
				}
			})
		}
		l.Flush()
		telling.Wait()
		if s := l.State(); s.Err != nil {
			t.Errorf("after %v the state has error %v", ids, s.Err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// picky takes no line of the id long.
type picky struct{}

func (picky) Write(p []byte) (int, error) {
	if at := bytes.Index(p, []byte(`"id":"long"`)); at >= 0 {
		return bytes.LastIndexByte(p[:at], '\n') + 1, ErrTooLong
	}
	return len(p), nil
}

func (picky) Close() error { return nil }
