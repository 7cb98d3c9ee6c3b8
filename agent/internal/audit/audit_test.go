package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeSink is a file that can be slow, short or full.
type fakeSink struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	writes int
	take   int           // bytes accepted before failing; -1 is no limit
	gate   chan struct{} // if set, each write waits for one value
	inside chan struct{} // if set, told when a write has begun
}

func newSink() *fakeSink { return &fakeSink{take: -1} }

func (s *fakeSink) Write(p []byte) (int, error) {
	if s.inside != nil {
		s.inside <- struct{}{}
	}
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.take >= 0 && len(p) > s.take {
		n := s.take
		s.take = 0
		s.buf.Write(p[:n])
		return n, errors.New("no space left on device")
	}
	if s.take >= 0 {
		s.take -= len(p)
	}
	return s.buf.Write(p)
}

func (s *fakeSink) Close() error { return nil }

func (s *fakeSink) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSuffix(s.buf.String(), "\n"), "\n")
}

func record(id string) *Record {
	return &Record{Time: time.Unix(1, 2000).UTC(), ID: id, Attempt: 1, Decision: "allow", Status: 200}
}

func TestLinesOfABatchShareOneWrite(t *testing.T) {
	s := newSink()
	l := newPatient(s)
	var done int
	for i := range 5 {
		l.Append(record(fmt.Sprint(i)), func(err error) {
			if err != nil {
				t.Errorf("done(%v), want nil", err)
			}
			done++
		})
	}
	if done != 0 || s.writes != 0 {
		t.Fatalf("%d lines are done after %d writes before Flush, want none", done, s.writes)
	}
	l.Flush()
	if done != 5 || s.writes != 1 || len(s.lines()) != 5 {
		t.Errorf("done %d, writes %d, lines %d; want 5, 1, 5", done, s.writes, len(s.lines()))
	}
	l.Flush()
	if s.writes != 1 {
		t.Errorf("an empty Flush wrote")
	}
}

func TestDoneComesAfterTheLineIsInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := openPatient(path)
	if err != nil {
		t.Fatal(err)
	}
	var seen []byte
	l.Append(record("a"), func(error) { seen, _ = os.ReadFile(path) })
	l.Flush()
	if !bytes.Contains(seen, []byte(`"id":"a"`)) {
		t.Errorf("the file holds %q when done is called, want the line", seen)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFlushDuringAWriteDoesNotWait(t *testing.T) {
	s := newSink()
	s.gate, s.inside = make(chan struct{}), make(chan struct{})
	l := newPatient(s)
	var wg sync.WaitGroup
	wg.Add(3)
	l.Append(record("first"), func(error) { wg.Done() })
	go l.Flush()
	<-s.inside
	for _, id := range []string{"second", "third"} {
		l.Append(record(id), func(error) { wg.Done() })
		l.Flush() // would hang here if it waited for the disk
	}
	s.gate <- struct{}{}
	<-s.inside
	s.gate <- struct{}{}
	wg.Wait()
	if s.writes != 2 || len(s.lines()) != 3 {
		t.Errorf("writes %d, lines %d; want 2 (the waiting lines share one) and 3", s.writes, len(s.lines()))
	}
}

func TestAFailedWriteIsToldToEveryLineOfItsBatch(t *testing.T) {
	s := newSink()
	s.take = 30
	l := newPatient(s)
	var errs []error
	for range 2 {
		l.Append(record("lost"), func(err error) { errs = append(errs, err) })
	}
	l.Flush()
	if len(errs) != 2 || errs[0] == nil || errs[1] == nil {
		t.Fatalf("done was told %v, want two errors", errs)
	}
	s.mu.Lock()
	s.take = -1
	s.mu.Unlock()
	if err := waitFor(t, l, record("kept")); err != nil {
		t.Fatalf("done after recovery was told %v, want nil", err)
	}
	last := s.lines()[len(s.lines())-1]
	var got map[string]any
	if err := json.Unmarshal([]byte(last), &got); err != nil || got["id"] != "kept" {
		t.Errorf("the line after a torn one is %q (%v), want a whole line", last, err)
	}
}

func TestAStuckSinkRefusesFurtherLinesInsteadOfKeepingThem(t *testing.T) {
	s := newSink()
	s.gate, s.inside = make(chan struct{}), make(chan struct{}, 1)
	l := newLog(s, Options{Patience: time.Minute})
	ignore := func(error) {}
	l.Append(record("stuck"), ignore)
	go l.Flush()
	<-s.inside
	big := record("big")
	big.URI = strings.Repeat("x", 64<<10)
	var refused error
	for i := 0; refused == nil && i < 2*MaxPending/(64<<10); i++ {
		l.Append(big, func(err error) { refused = err })
	}
	if !errors.Is(refused, ErrFull) {
		t.Errorf("got %v, want ErrFull", refused)
	}
	close(s.gate)
	go func() { <-s.inside }()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Append(record("late"), func(err error) { refused = err })
	if !errors.Is(refused, ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", refused)
	}
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	s := newSink()
	l := newPatient(s)
	const writers, each = 16, 200
	var answered, wg sync.WaitGroup
	answered.Add(writers * each)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				l.Append(record(fmt.Sprintf("%d-%d", w, i)), func(err error) {
					if err != nil {
						t.Error(err)
					}
					answered.Done()
				})
				l.Flush()
			}
		})
	}
	wg.Wait()
	answered.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, text := range s.lines() {
		var got struct{ ID string }
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("line %q: %v", text, err)
		}
		ids[got.ID] = true
	}
	if len(ids) != writers*each {
		t.Errorf("%d different ids, want %d", len(ids), writers*each)
	}
}

func TestReopenFollowsARotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	l, err := openPatient(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(id string) {
		if err := waitFor(t, l, record(id)); err != nil {
			t.Error(err)
		}
	}
	put("before")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	put("between")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	// The rotation may compress the file now: nobody writes to it any more.
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(open) == 0 {
		t.Fatalf("descriptors: %v, %v", open, err)
	}
	for _, fd := range open {
		if to, _ := os.Readlink(fd); to == path+".1" {
			t.Errorf("%s is still open", to)
		}
	}
	put("after")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{path + ".1": 2, path: 1} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Count(data, []byte("\n")); got != want {
			t.Errorf("%s holds %d lines, want %d", filepath.Base(name), got, want)
		}
	}
}

// An agent that was killed inside a line leaves half of it; the next one, and one that runs beside it, start on lines of their own.
func TestATornLineOfAnotherProcessCostsNoLineOfOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	tear := func() {
		other, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.WriteString(`{"id":"torn`); err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	}
	tear()
	l, err := openPatient(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"after a torn line", "after a whole line"} {
		if err := waitFor(t, l, record(id)); err != nil {
			t.Fatal(err)
		}
	}
	tear()
	l.Append(record("after another torn line"), func(error) {})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		var r struct{ ID string }
		if json.Unmarshal([]byte(line), &r) == nil {
			got = append(got, r.ID)
		}
	}
	if diff := cmp.Diff([]string{"after a torn line", "after a whole line", "after another torn line"}, got); diff != "" {
		t.Errorf("readable lines (-want +got):\n%s", diff)
	}
}

// Two agents share the file while one takes over from the other.
func TestTwoProcessesShareTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var group sync.WaitGroup
	const each = 2000
	for i := range 2 {
		l, err := openPatient(path) // each has a file of its own, as two processes do
		if err != nil {
			t.Fatal(err)
		}
		long := record(fmt.Sprint(i))
		long.URI = strings.Repeat("x", 9000) // more than a page of the kernel's
		group.Go(func() {
			written := make(chan error, 1)
			for range each {
				l.Append(long, func(err error) { written <- err })
				l.Flush()
				if err := <-written; err != nil {
					t.Error(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(text) {
		if len(line) == 1 {
			continue // where the two have met
		}
		n++
		if !json.Valid(line) {
			t.Fatalf("line %d is broken: %.80q", n, line)
		}
	}
	if n != 2*each {
		t.Errorf("%d lines, want %d", n, 2*each)
	}
}

func TestALineCannotBeBrokenFromOutside(t *testing.T) {
	r := record("a\nb")
	r.Subject = "eve\"},\n{\"decision\":\"allow\u2028\x00\xff"
	b := r.appendTo(nil)
	if got := bytes.Count(b, []byte("\n")); got != 1 {
		t.Errorf("%d newlines, want 1: %q", got, b)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if want := "eve\"},\n{\"decision\":\"allow\u2028\x00\ufffd"; got["subject"] != want {
		t.Errorf("subject %q, want %q", got["subject"], want)
	}
}

func TestTheLineHasTheseFields(t *testing.T) {
	r := &Record{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), ID: "id", Attempt: 2, Decision: "allow", Status: 200, Reason: "R", Detail: "d",
		Issuer: "corp", Subject: "alice", TokenID: "j", Source: "192.0.2.1", HTTPMethod: "POST", URI: "/v1/x", Project: "p", Location: "l",
		Publisher: "google", Model: "m", Endpoint: "e", Method: "generateContent", Stream: true, Role: "role", Rule: "rule", Account: "a@b",
		Policy: "digest", TokenFingerprint: "0011", TokenExpiry: time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC), UserAgent: "ua", TraceParent: "tp",
		VerifyMicros: 1, PolicyMicros: 2, MintMicros: 3,
	}
	want := `{"v":1,"event":"decision","time":"2026-01-02T03:04:05.000006Z","id":"id","attempt":2,"decision":"allow","status":200,"reason":"R","detail":"d",` +
		`"issuer":"corp","subject":"alice","jti":"j","src":"192.0.2.1","http_method":"POST","uri":"/v1/x","project":"p","location":"l",` +
		`"publisher":"google","model":"m","endpoint":"e","method":"generateContent","stream":true,"role":"role","rule":"rule","account":"a@b",` +
		`"policy":"digest","token_fingerprint":"0011","token_expiry":"2026-01-02T04:00:00.000000Z","user_agent":"ua","traceparent":"tp",` +
		`"t_verify":1,"t_policy":2,"t_mint":3}` + "\n"
	if diff := cmp.Diff(want, string(r.appendTo(nil))); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestOpenSaysWhichFile(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "missing", "audit.jsonl"))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "missing/audit.jsonl") {
		t.Errorf("got %v, want a not-exist error that names the file", err)
	}
}

// Every text reads back as encoding/json would write it.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"quoted\\", "\x00\x1f\x7f", "\u2028\u2029\ufffd", "caf\u00e9 \U0001f600", "\xff\xc0\xaf", "a\xe2\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString(nil, s)
		var got, want string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q: %v in %s", s, err, b)
		}
		oracle, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(oracle, &want); err != nil {
			t.Fatal(err)
		}
		if got != want || bytes.ContainsAny(b, "\n\r\u2028\u2029") {
			t.Errorf("%q reads back as %q, want %q", s, got, want)
		}
	})
}
