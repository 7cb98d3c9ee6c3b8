package trail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/audit"
)

// tailed returns the ids that Tail shows, with their kinds.
func tailed(t *testing.T, o TailOptions, names ...string) ([]string, *Notes) {
	t.Helper()
	files, err := Open(names, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	notes, err := Tail(context.Background(), files, o, func(e *Event) error {
		got = append(got, string(e.Kind)+" "+e.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, notes
}

// many returns a log of n calls by two subjects, with their closings.
func many(t *testing.T, n int) string {
	var lines []audit.Line
	for i := range n {
		r := allow(fmt.Sprint(i), i, subject([]string{"alice", "bob"}[i%2]))
		lines = append(lines, r, end(r, used(1, 2)))
	}
	return text(t, lines...)
}

func TestTailShowsTheLastLines(t *testing.T) {
	dir := t.TempDir()
	content := many(t, 3000) // more than is read back at once
	plain := write(t, dir, "audit.jsonl", content)
	zipped := write(t, dir, "audit.jsonl.gz", content)
	torn := write(t, dir, "torn.jsonl", content+`{"v":1,"ev`)
	bob := Filter{Match: map[Dimension]string{Subject: "bob"}, Decision: "allow"}
	for _, c := range []struct {
		name, path string
		o          TailOptions
		want       []string
	}{
		{"two", plain, TailOptions{Lines: 2}, []string{"allow 2999", "closed 2999"}},
		{"two of a packed file", zipped, TailOptions{Lines: 2}, []string{"allow 2999", "closed 2999"}},
		{"a torn line at the end is still being written", torn, TailOptions{Lines: 1}, []string{"closed 2999"}},
		{"none", plain, TailOptions{}, nil},
		{"those chosen", plain, TailOptions{Lines: 3, Filter: bob}, []string{"closed 2997", "allow 2999", "closed 2999"}},
		{"one far away", plain, TailOptions{Lines: 1, Filter: Filter{Until: at(1)}}, []string{"closed 0"}},
	} {
		if got, _ := tailed(t, c.o, c.path); !cmp.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got, _ := tailed(t, TailOptions{Lines: MaxTail}, plain); len(got) != 6000 {
		t.Errorf("got %d lines", len(got))
	}
}

func TestTailMergesFiles(t *testing.T) {
	dir := t.TempDir()
	one := write(t, dir, "one", text(t, allow("a", 1), allow("c", 3)))
	two := write(t, dir, "two", text(t, allow("b", 2), allow("d", 4)))
	if got, _ := tailed(t, TailOptions{Lines: 3}, two, one); !cmp.Equal(got, []string{"allow b", "allow c", "allow d"}) {
		t.Errorf("got %q", got)
	}
}

func TestTailCompletesWhatHasLostItsDecision(t *testing.T) {
	r := allow("a", 1)
	late := end(r, used(5, 6))
	late.Unjoined, late.Subject, late.Issuer, late.Model, late.DecisionTime = true, "", "", "", time.Time{}
	other := *late
	other.ID = "x"
	path := write(t, t.TempDir(), "audit.jsonl", text(t, allow("b", 0, subject("bob")), r, late, &other, &audit.Undelivered{Time: at(9), ID: "a", Attempt: 1}))
	files, err := Open([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	o := TailOptions{Lines: 10, Filter: Filter{Match: map[Dimension]string{Subject: "alice"}}}
	if _, err := Tail(context.Background(), files, o, func(e *Event) error {
		got = append(got, fmt.Sprintf("%s %s %s %s %d", e.Kind, e.ID, e.Subject, e.Model, e.TokensIn))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"allow a alice gemini-2.5-pro -1", "closed a alice gemini-2.5-pro 5", "undelivered a alice gemini-2.5-pro -1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTailCountsBrokenLines(t *testing.T) {
	path := write(t, t.TempDir(), "audit.jsonl", "hello\n"+text(t, allow("a", 1))+`{"v":9}`+"\n"+strings.Repeat("x", maxLine+1)+"\n")
	got, notes := tailed(t, TailOptions{Lines: 10}, path)
	if !cmp.Equal(got, []string{"allow a"}) || notes.Broken != 2 || notes.Versions != 1 || len(notes.Examples) != 3 {
		t.Errorf("got %q, %+v", got, notes)
	}
}

// watch follows files and returns a channel of what is shown.
func watch(t *testing.T, names ...string) <-chan string {
	t.Helper()
	files, err := Open(names, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	shown, done := make(chan string, 1000), make(chan error, 1)
	go func() {
		_, err := Tail(ctx, files, TailOptions{Lines: 1, Follow: true, Poll: 2 * time.Millisecond}, func(e *Event) error {
			shown <- e.ID
			return nil
		})
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return shown
}

func expect(t *testing.T, shown <-chan string, want ...string) {
	t.Helper()
	for _, id := range want {
		select {
		case got := <-shown:
			if got != id {
				t.Fatalf("got %q, want %q", got, id)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q is not shown", id)
		}
	}
}

func add(t *testing.T, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, content); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFollowGoesOnThroughRotations(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "audit.jsonl", many(t, 2)+text(t, allow("last", 9)))
	shown := watch(t, path)
	expect(t, shown, "last")

	add(t, path, text(t, allow("new", 10)))
	expect(t, shown, "new")

	// A line comes in pieces.
	whole := text(t, allow("pieces", 11))
	add(t, path, whole[:40])
	add(t, path, whole[40:]+text(t, allow("next", 12)))
	expect(t, shown, "pieces", "next")

	// The file is renamed. Its writer goes on with it, also after the new one is there.
	old := path + ".1"
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	add(t, old, text(t, allow("renamed", 13)))
	expect(t, shown, "renamed")
	add(t, path, text(t, allow("fresh", 15)))
	expect(t, shown, "fresh")
	add(t, old, text(t, allow("behind", 14)))
	expect(t, shown, "behind")
	add(t, path, text(t, allow("on", 16)))
	expect(t, shown, "on")

	// It is cut, as copytruncate does.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	add(t, path, text(t, allow("cut", 17)))
	expect(t, shown, "cut")
}

func TestOldFilesAreLeftAfterAWhile(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "audit.jsonl", "")
	var got []string
	tl := &tail{parser: newParser(), filter: newFilter(&Filter{}), everything: true, known: memory{events: map[string]*Event{}}, show: func(e *Event) error {
		got = append(got, e.ID)
		return nil
	}}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	o := &follower{name: path, file: f}
	tl.followed = []*follower{o}
	defer tl.close()
	look := func(now time.Time) {
		t.Helper()
		if err := o.look(tl, now); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxOld + 3 {
		add(t, path, strings.TrimSuffix(text(t, allow(fmt.Sprint(i), i)), "\n")) // its newline never comes
		look(at(0))
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, i)); err != nil {
			t.Fatal(err)
		}
		write(t, dir, "audit.jsonl", "")
		look(at(0))
		if len(o.old) > maxOld {
			t.Fatalf("%d old files are open", len(o.old))
		}
	}
	look(at(11))
	if len(o.old) != 0 || !cmp.Equal(got, []string{"0", "1", "2", "3", "4", "5", "6"}) {
		t.Errorf("got %q, %d old files", got, len(o.old))
	}
}

func TestFollowShowsAPipeAsItComes(t *testing.T) {
	r, w := io.Pipe()
	files, err := Open([]string{"-"}, r)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		_, err := Tail(context.Background(), files, TailOptions{Follow: true}, func(e *Event) error {
			shown <- e.ID
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		close(shown)
	}()
	for _, id := range []string{"a", "b"} {
		if _, err := io.WriteString(w, text(t, allow(id, 1))); err != nil {
			t.Fatal(err)
		}
		if got := <-shown; got != id {
			t.Errorf("got %q, want %q", got, id)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if id, more := <-shown; more {
		t.Errorf("got %q after the end", id)
	}

	files, err = Open([]string{"-", write(t, t.TempDir(), "x", "")}, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Tail(context.Background(), files, TailOptions{Follow: true}, nil); err == nil || err.Error() != "a pipe can be followed only if it is the only file" {
		t.Errorf("got %v", err)
	}
}

func TestTailEndsWhenNobodyLooks(t *testing.T) {
	gone := errors.New("gone")
	files, err := Open([]string{write(t, t.TempDir(), "x", many(t, 3))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Tail(context.Background(), files, TailOptions{Lines: 3}, func(*Event) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
