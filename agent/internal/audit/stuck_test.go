package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// answers collects what owners are told.
type answers struct {
	mu   sync.Mutex
	errs map[string]error
	at   map[string]time.Time
	n    int
}

func (a *answers) owner(t *testing.T, id string) func(error) {
	return func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.errs == nil {
			a.errs, a.at = map[string]error{}, map[string]time.Time{}
		}
		if _, twice := a.errs[id]; twice {
			t.Errorf("the owner of %q was told twice", id)
		}
		a.errs[id], a.at[id] = err, time.Now()
		a.n++
	}
}

func (a *answers) told(id string) (error, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	err, ok := a.errs[id]
	return err, ok
}

// state is how many were told, and when the owner of id was.
func (a *answers) state(id string) (n int, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n, a.at[id]
}

// outline is the ids of the lines, with the event before those that are no decisions.
func outline(t *testing.T, lines []string) []string {
	t.Helper()
	var all []string
	for _, line := range lines {
		var r struct{ Event, ID string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if r.Event != EventDecision {
			r.ID = r.Event + " " + r.ID
		}
		all = append(all, r.ID)
	}
	return all
}

// A write hangs: everybody who waits is told in time, everybody who comes is refused at once, and what was written after all is marked.
func TestAHangingWriteIsGivenUp(t *testing.T) {
	for _, first := range []struct {
		name string
		slow bool // whether the writes before were slow, so that Flush does not hang with this one
	}{{"on the caller's goroutine", false}, {"on a goroutine of the log's own", true}} {
		t.Run(first.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSink()
				s.gate, s.inside = make(chan struct{}), make(chan struct{}, 10)
				l := New(s)
				l.slow = first.slow
				var got answers
				began := time.Now()
				put := func(r *Record) { l.Append(r, got.owner(t, r.ID)) }
				put(record("allowed"))
				denied := record("denied")
				denied.Decision = "deny"
				put(denied)
				go l.Flush()
				<-s.inside
				<-time.After(100 * time.Millisecond)
				put(record("waiting"))
				l.Flush()
				<-time.After(399 * time.Millisecond)
				synctest.Wait()
				if n, _ := got.state(""); n != 0 {
					t.Fatalf("%d owners were told before the patience was over", n)
				}
				<-time.After(time.Millisecond)
				synctest.Wait()
				for _, id := range []string{"allowed", "denied", "waiting"} {
					if err, ok := got.told(id); !errors.Is(err, ErrStuck) {
						t.Errorf("%s was told %v (%t), want ErrStuck", id, err, ok)
					}
					if _, at := got.state(id); at.Sub(began) != Patience {
						t.Errorf("%s was told after %s, want %s", id, at.Sub(began), Patience)
					}
				}
				put(record("refused"))
				if err, _ := got.told("refused"); !errors.Is(err, ErrStuck) || !l.State().Stuck {
					t.Errorf("while the sink hangs a line was told %v, want ErrStuck at once", err)
				}
				s.gate <- struct{}{} // the lines arrive after all
				<-s.inside
				s.gate <- struct{}{} // and what is owed
				synctest.Wait()
				put(record("after"))
				go l.Flush()
				<-s.inside
				s.gate <- struct{}{}
				synctest.Wait()
				if err, ok := got.told("after"); err != nil || !ok {
					t.Errorf("after the sink came back a line was told %v (%t), want nil", err, ok)
				}
				want := []string{"allowed", "denied", EventUndelivered + " allowed", "after"}
				if diff := cmp.Diff(want, outline(t, s.lines())); diff != "" {
					t.Errorf("the log (-want +got):\n%s", diff)
				}
				state := l.State()
				if state.Stuck || state.Err != nil || state.Refused != 4 || state.Written != 3 {
					t.Errorf("state %+v, want 4 refused and 3 written", state)
				}
				go func() { s.gate <- struct{}{} }()
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				<-s.gate
			})
		})
	}
}

// What is owed is neither lost nor does it grow while the sink fails.
func TestWhatIsOwedIsWrittenFirstWhenTheSinkWorksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		s.gate, s.inside = make(chan struct{}), make(chan struct{}, 10)
		l := New(s)
		ignore := func(error) {}
		l.Append(record("in vain"), ignore)
		go l.Flush()
		<-s.inside
		<-time.After(Patience)
		synctest.Wait()
		s.gate <- struct{}{}
		<-s.inside
		s.mu.Lock()
		s.take = 0 // the disk is full now
		s.mu.Unlock()
		close(s.gate)
		synctest.Wait()
		for i := range 3 {
			var refused error
			l.Append(record(fmt.Sprint(i)), func(err error) { refused = err })
			l.Flush()
			synctest.Wait()
			if refused == nil {
				t.Fatalf("a line was told nil though the disk is full")
			}
		}
		s.mu.Lock()
		s.take = -1
		s.mu.Unlock()
		l.Append(record("after"), ignore)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		want := []string{"in vain", EventUndelivered + " in vain", "after"}
		if diff := cmp.Diff(want, outline(t, s.lines())); diff != "" {
			t.Errorf("the log (-want +got):\n%s", diff)
		}
	})
}

// Of a write that ends in the middle, the whole lines are written, and their owners are told so.
func TestTheWholeLinesOfAPartialWriteAreWritten(t *testing.T) {
	for _, chained := range []bool{false, true} {
		s := newSink()
		l := newLog(s, Options{Chain: chained, Patience: patient})
		var got answers
		for _, id := range []string{"a", "b", "c"} {
			l.Append(record(id), got.owner(t, id))
		}
		s.take = len(record("a").appendTo(nil)) * 3 / 2
		if chained {
			s.take *= 2
		}
		l.Flush()
		a, _ := got.told("a")
		b, _ := got.told("b")
		if c, _ := got.told("c"); a != nil || b == nil || c == nil {
			t.Fatalf("told %v, %v, %v; want nil and two errors", a, b, c)
		}
		s.take = -1
		l.Append(record("d"), got.owner(t, "d"))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if d, _ := got.told("d"); d != nil {
			t.Error(d)
		}
		lines := s.lines()
		if diff := cmp.Diff([]string{"a", "d"}, outline(t, []string{lines[0], lines[2]})); diff != "" || len(lines) != 3 {
			t.Errorf("of %d lines the first and the last (-want +got):\n%s", len(lines), diff)
		}
		if !chained {
			continue
		}
		report := verified(t, s.buf.String(), VerifyOptions{})
		if report.First != nil || report.Torn != 1 || report.Chained != 2 {
			t.Errorf("verification found %+v, want two lines in a chain and a torn one", report)
		}
	}
}

// Close does not wait for a sink that hangs.
func TestCloseDoesNotHangWithTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		s.gate, s.inside = make(chan struct{}), make(chan struct{}, 1)
		l := New(s)
		var got answers
		l.Append(record("stuck"), got.owner(t, "stuck"))
		go l.Flush()
		<-s.inside
		l.Append(record("queued"), got.owner(t, "queued"))
		began := time.Now()
		err := l.Close()
		synctest.Wait()
		if !errors.Is(err, ErrStuck) || time.Since(began) != Patience {
			t.Errorf("Close returned %v after %s, want ErrStuck after %s", err, time.Since(began), Patience)
		}
		for _, id := range []string{"stuck", "queued"} {
			if err, ok := got.told(id); err == nil || !ok {
				t.Errorf("%s was told %v (%t), want an error", id, err, ok)
			}
		}
		close(s.gate)
	})
}

// An owner that does not return holds up nobody else.
func TestASlowOwnerHoldsUpNobody(t *testing.T) {
	l := newPatient(newSink())
	hold, held := make(chan struct{}), make(chan struct{})
	l.Append(record("slow"), func(error) { close(held); <-hold })
	go l.Flush()
	<-held
	if err := waitFor(t, l, record("quick")); err != nil {
		t.Errorf("while another line's owner was busy a line was told %v", err)
	}
	close(hold)
}

// Nor does it hold up those who have waited for its write.
func TestASlowOwnerHoldsUpNobodyWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		s.gate, s.inside = make(chan struct{}), make(chan struct{}, 2)
		l := New(s)
		hold := make(chan struct{})
		l.Append(record("slow"), func(error) { <-hold })
		go l.Flush()
		<-s.inside
		var got answers
		l.Append(record("waiting"), got.owner(t, "waiting"))
		l.Flush()
		close(s.gate)
		synctest.Wait()
		if err, ok := got.told("waiting"); err != nil || !ok {
			t.Errorf("who waited was told %v (%t), want nil", err, ok)
		}
		close(hold)
	})
}

// When Close returns, everybody has been told.
func TestCloseWaitsForOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(newSink())
		done := false
		l.Append(record("slow"), func(error) { <-time.After(Patience / 2); done = true })
		go l.Flush()
		synctest.Wait()
		if err := l.Close(); err != nil || !done {
			t.Errorf("Close returned %v; the owner was told: %t", err, done)
		}
	})
}

// A look that comes far too late tells of a process without a processor, and not of the sink. The writer gets a grace, once.
func TestAStarvedProcessIsNoHangingSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		s.gate, s.inside = make(chan struct{}), make(chan struct{}, 1)
		l := New(s)
		var got answers
		l.Append(record("a"), got.owner(t, "a"))
		go l.Flush()
		<-s.inside
		l.mu.Lock()
		l.since -= 2 * Patience // so long it took until somebody looked
		l.mu.Unlock()
		l.look()
		if _, told := got.told("a"); told {
			t.Fatal("the owner was told at once")
		}
		<-time.After(grace)
		synctest.Wait()
		if err, _ := got.told("a"); !errors.Is(err, ErrStuck) {
			t.Errorf("after the grace the owner was told %v, want ErrStuck", err)
		}
		close(s.gate)
	})
}

// A pipe takes lines in pieces that nobody else gets into.
func TestPiecesOfAPipe(t *testing.T) {
	line := func(n int) string { return strings.Repeat("x", n-1) + "\n" }
	for _, tt := range []struct {
		name  string
		lines []int
		want  []int
	}{
		{"nothing", nil, nil},
		{"one line", []int{100}, []int{100}},
		{"as much as fits", []int{2000, 2096}, []int{4096}},
		{"a byte more", []int{2000, 2097}, []int{2000, 2097}},
		{"many", []int{1000, 1000, 1000, 1000, 1000, 1000}, []int{4000, 2000}},
		{"a line that is too long", []int{10, 9000, 10, 10}, []int{10, 9000, 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var text string
			for _, n := range tt.lines {
				text += line(n)
			}
			var got []int
			n, err := inPieces([]byte(text), func(p []byte) (int, error) {
				got = append(got, len(p))
				return len(p), nil
			})
			if diff := cmp.Diff(tt.want, got); diff != "" || n != len(text) || err != nil {
				t.Errorf("wrote %d of %d (%v), pieces (-want +got):\n%s", n, len(text), err, diff)
			}
		})
	}
}

func TestALineThatIsTooLongIsRefusedAlone(t *testing.T) {
	s := newSink()
	l := newPatient(s)
	long := record("long")
	long.URI = strings.Repeat("x", MaxLine)
	var got answers
	l.Append(record("before"), got.owner(t, "before"))
	l.Append(long, got.owner(t, "long"))
	l.Append(record("after"), got.owner(t, "after"))
	l.Flush()
	if err, _ := got.told("long"); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v, want ErrTooLong", err)
	}
	if diff := cmp.Diff([]string{"before", "after"}, outline(t, s.lines())); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}

// The reader of a FIFO stops, comes back, goes away, and another one comes.
func TestAFIFOWhoseReaderHangsAndGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, syscall.ENXIO) {
		t.Fatalf("without a reader: got %v, want ENXIO at once", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := OpenWith(Options{Path: path, Patience: Patience}) // long enough that nothing but the pipe uses it up
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// Nobody reads; the pipe fills up, and then somebody is told.
	stuck := 0
	for i := 0; stuck == 0; i++ {
		r := record(fmt.Sprintf("%d %s", i, strings.Repeat("x", 3000)))
		if err := waitFor(t, l, r); errors.Is(err, ErrStuck) {
			stuck = i
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := waitFor(t, l, record("refused")); !errors.Is(err, ErrStuck) {
		t.Errorf("while it hangs: got %v, want ErrStuck", err)
	}
	// It reads again: everything comes, and the line that was given up is marked.
	lines := make(chan string)
	go func() {
		in := json.NewDecoder(reader)
		for {
			var r struct{ Event, ID string }
			if in.Decode(&r) != nil {
				close(lines)
				return
			}
			number, _, _ := strings.Cut(r.ID, " ")
			lines <- r.Event + " " + number
		}
	}()
	for i := range stuck + 1 {
		if got, want := <-lines, fmt.Sprintf("%s %d", EventDecision, i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if got, want := <-lines, fmt.Sprintf("%s %d", EventUndelivered, stuck); got != want {
		t.Fatalf("after the line that was given up: got %q, want %q", got, want)
	}
	if err := waitFor(t, l, record("again")); err != nil {
		t.Errorf("after it came back: %v", err)
	}
	if got, want := <-lines, EventDecision+" again"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// It goes.
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, l, record("nobody")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("without a reader: got %v, want EPIPE", err)
	}
	if reader, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := waitFor(t, l, record("new reader")); err != nil {
		t.Errorf("with another reader: %v", err)
	}
	var r struct{ ID string }
	if err := json.NewDecoder(reader).Decode(&r); err != nil || r.ID != "new reader" {
		t.Errorf("another reader got %q (%v), want the line that was written for it", r.ID, err)
	}
}

// waitFor puts a line and waits until its owner is told.
func waitFor(t *testing.T, l *Log, line Line) error {
	t.Helper()
	told := make(chan error, 1)
	l.Append(line, func(err error) { told <- err })
	l.Flush()
	select {
	case err := <-told:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("the owner was not told within 10 s")
		return nil
	}
}

// A rotation gets out of a hang: what the old pipe did not take is refused, and the new one gets what follows.
func TestReopenEndsAHangOfAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	l, err := OpenWith(Options{Path: path, Patience: Patience})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	long := record(strings.Repeat("x", 30_000))
	for err = nil; err == nil; {
		err = waitFor(t, l, long)
	}
	if !errors.Is(err, ErrStuck) {
		t.Fatalf("got %v, want ErrStuck", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := time.After(10*time.Second), 0
	for err = ErrStuck; errors.Is(err, ErrStuck); cancel++ {
		select {
		case <-ctx:
			t.Fatal("it still hangs after 10 s")
		default:
			err = waitFor(t, l, record("after"))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(text), "\n") || strings.Count(string(text), "\n") != 1 {
		t.Errorf("the file in the place of the pipe holds %q (%v), want one line", text, err)
	}
}
