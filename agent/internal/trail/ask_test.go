package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/audit"
)

// ask answers a question about files.
func ask(t testing.TB, q Question, names ...string) *Answer {
	t.Helper()
	files, err := Open(names, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Ask(context.Background(), files, q)
	if err != nil {
		t.Fatal(err)
	}
	a.Sort(ByCalls)
	return a
}

// askText answers a question about one file with a content.
func askText(t testing.TB, q Question, content string) *Answer {
	t.Helper()
	return ask(t, q, write(t, t.TempDir(), "audit.jsonl", content))
}

// short says what a row has counted: name, calls, denials, tokens in and out with how many have told them, closings that are missing.
func short(a *Answer) []string {
	var list []string
	for _, r := range a.Rows {
		list = append(list, fmt.Sprintf("%s %d/%d in %d(%d) out %d(%d) missing %d", strings.Join(r.Names, ","), r.Calls, r.Denials,
			r.TokensIn.Sum, r.TokensIn.Known, r.TokensOut.Sum, r.TokensOut.Known, r.Missing))
	}
	return list
}

func TestWhatCounts(t *testing.T) {
	bySubject := Question{By: []Dimension{Subject}}
	a1, a2, b1 := allow("a1", 1), allow("a2", 2), allow("b1", 3, subject("bob"))
	lost := &audit.Undelivered{Time: at(9), ID: "a1", Attempt: 1}
	late := end(a1, used(10, 20))
	late.Unjoined, late.Subject, late.DecisionTime = true, "", time.Time{}
	never := &audit.Closing{Time: at(900), ID: "a1", Attempt: 1, DecisionTime: a1.Time, Subject: "alice", Missing: true}
	openAI := func(r *audit.Record) {
		r.Publisher, r.Model, r.Endpoint, r.Method, r.Body = "", "", "openapi", "chat.completions", []byte(`{"shape":"openai","bytes":9,"model":"google/gemini-2.5-flash"}`)
	}
	for _, c := range []struct {
		name  string
		q     Question
		lines string
		want  []string
		notes Notes
	}{
		{"calls and denials of each subject", bySubject, text(t, a1, a2, b1, allow("b2", 4, subject("bob"), denied("NO_RULE"))),
			[]string{"alice 2/0 in 0(0) out 0(0) missing 0", "bob 1/1 in 0(0) out 0(0) missing 0"}, Notes{Lines: 4}},
		{"tokens come from closings, and what is unknown stays so", bySubject, text(t, a1, a2, end(a1, used(10, 20)), end(a2, nil)),
			[]string{"alice 2/0 in 10(1) out 20(1) missing 0"}, Notes{Lines: 4}},
		{"thoughts are paid for like answers", bySubject, text(t, a1, end(a1, &audit.Usage{Input: 1, Output: 2, Thoughts: 3, Cached: 4, Total: 6})),
			[]string{"alice 1/0 in 1(1) out 5(1) missing 0"}, Notes{Lines: 2}},
		{"a part of the usage may be known", bySubject, text(t, a1, end(a1, &audit.Usage{Input: 0, Output: unknown, Thoughts: 3, Cached: unknown, Total: unknown})),
			[]string{"alice 1/0 in 0(1) out 0(0) missing 0"}, Notes{Lines: 2}},
		{"what was not delivered is no use", bySubject, text(t, a1, lost, b1),
			[]string{"bob 1/0 in 0(0) out 0(0) missing 0"}, Notes{Lines: 3, Undelivered: 1}},
		{"HAProxy asks again, and the later decision counts", bySubject, text(t, a1, allow("a1", 2, attempt(2), denied("DENIED"))),
			[]string{"alice 0/1 in 0(0) out 0(0) missing 0"}, Notes{Lines: 2, Superseded: 1}},
		{"whichever was written first", bySubject, text(t, allow("a1", 2, attempt(2)), a1),
			[]string{"alice 1/0 in 0(0) out 0(0) missing 0"}, Notes{Lines: 2, Superseded: 1}},
		{"a first attempt that was not delivered does not take the second one along", bySubject, text(t, a1, allow("a1", 2, attempt(2)), lost),
			[]string{"alice 1/0 in 0(0) out 0(0) missing 0"}, Notes{Lines: 3, Superseded: 1}},
		{"the same line twice", bySubject, text(t, a1, a1, end(a1, used(1, 2)), end(a1, used(1, 2))),
			[]string{"alice 1/0 in 1(1) out 2(1) missing 0"}, Notes{Lines: 4, Repeated: 2}},
		{"calls without an id are each one of their own", bySubject, text(t, allow("", 1), allow("", 1)),
			[]string{"alice 2/0 in 0(0) out 0(0) missing 0"}, Notes{Lines: 2}},
		{"a closing that is missing", bySubject, text(t, a1, never),
			[]string{"alice 1/0 in 0(0) out 0(0) missing 1"}, Notes{Lines: 2}},
		{"one that comes after all is joined here", bySubject, text(t, a1, never, late),
			[]string{"alice 1/0 in 10(1) out 20(1) missing 0"}, Notes{Lines: 3}},
		{"one whose decision is not in the files has nobody", bySubject, text(t, b1, late),
			[]string{"bob 1/0 in 0(0) out 0(0) missing 0"}, Notes{Lines: 2, Unjoined: 1}},
		{"one that says itself whose it is does", bySubject, text(t, end(a1, used(1, 2))),
			[]string{"alice 0/0 in 1(1) out 2(1) missing 0"}, Notes{Lines: 1}},
		{"an undelivered decision that is not in the files", bySubject, text(t, b1, lost),
			[]string{"bob 1/0 in 0(0) out 0(0) missing 0"}, Notes{Lines: 2, Unmatched: 1}},
		{"the model in a body, also for the tokens", Question{By: []Dimension{Model}}, text(t, allow("o", 1, openAI), end(allow("o", 1, openAI), used(3, 4))),
			[]string{"gemini-2.5-flash 1/0 in 3(1) out 4(1) missing 0"}, Notes{Lines: 2}},
		{"an endpoint", Question{By: []Dimension{Model}}, text(t, allow("o", 1, func(r *audit.Record) { r.Publisher, r.Model, r.Endpoint = "", "", "123" })),
			[]string{"endpoints/123 1/0 in 0(0) out 0(0) missing 0"}, Notes{Lines: 1}},
		{"beyond the window a line is taken by its word", Question{By: []Dimension{Subject}, window: 1}, text(t, a1, b1, end(a1, used(1, 2)), lost),
			[]string{"alice 1/0 in 1(1) out 2(1) missing 0", "bob 1/0 in 0(0) out 0(0) missing 0"}, Notes{Lines: 4, Unmatched: 1}},
		{"no dimension", Question{}, text(t, a1, b1), []string{" 2/0 in 0(0) out 0(0) missing 0"}, Notes{Lines: 2}},
		{"nothing at all", bySubject, "\n\n", nil, Notes{Lines: 2, Empty: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := askText(t, c.q, c.lines)
			if diff := cmp.Diff(c.want, short(a)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.notes, a.Notes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheWindowHoldsTheLastDecisions(t *testing.T) {
	var settled []uint64
	w := newWindow(3, func(e *entry) { settled = append(settled, e.id) })
	for id := uint64(1); id <= 8; id++ {
		w.add(entry{id: id})
		for was := uint64(1); was <= id; was++ {
			if got := w.find(was) != nil; got != (was+3 > id) {
				t.Errorf("after %d: %d is there: %v", id, was, got)
			}
		}
	}
	w.finish()
	if diff := cmp.Diff([]uint64{1, 2, 3, 4, 5, 6, 7, 8}, settled); diff != "" {
		t.Error(diff)
	}
}

func TestFilters(t *testing.T) {
	a1 := allow("a1", 10)
	claude := allow("c1", 20, func(r *audit.Record) { r.Publisher, r.Model, r.Location = "anthropic", "claude-opus-4", "us-east5" })
	no := allow("d1", 30, subject("bob"), denied("NO_RULE"))
	open := allow("o1", 40, func(r *audit.Record) {
		r.Publisher, r.Model, r.Endpoint, r.Body = "", "", "openapi", []byte(`{"shape":"openai","bytes":9,"model":"meta/llama"}`)
	})
	late := end(a1, used(5, 6))
	late.Time = at(5000) // the period is that of the decision
	path := write(t, t.TempDir(), "audit.jsonl", text(t, a1, claude, no, open, late, end(claude, used(1, 1)), end(open, used(2, 2))))
	for _, c := range []struct {
		name string
		f    Filter
		want string // calls, denials, tokens in
	}{
		{"everything", Filter{}, "3 1 8"},
		{"since", Filter{Since: at(20)}, "2 1 3"},
		{"until", Filter{Until: at(20)}, "1 0 5"},
		{"allow", Filter{Decision: "allow"}, "3 0 8"},
		{"deny", Filter{Decision: "deny"}, "0 1 0"},
		{"model", Filter{Match: map[Dimension]string{Model: "claude-opus-4"}}, "1 0 1"},
		{"pattern of models", Filter{Match: map[Dimension]string{Model: "gemini-*-pro"}}, "1 1 5"},
		{"publisher and model", Filter{Match: map[Dimension]string{Model: "anthropic/*"}}, "1 0 1"},
		{"publisher and model of a body", Filter{Match: map[Dimension]string{Model: "meta/ll*a"}}, "1 0 2"},
		{"model of a body", Filter{Match: map[Dimension]string{Model: "llama"}}, "1 0 2"},
		{"another publisher", Filter{Match: map[Dimension]string{Model: "google/claude*"}}, "0 0 0"},
		{"subject", Filter{Match: map[Dimension]string{Subject: "b*b"}}, "0 1 0"},
		{"reason", Filter{Match: map[Dimension]string{Reason: "NO_*"}}, "0 1 0"},
		{"two of them", Filter{Match: map[Dimension]string{Subject: "alice", Location: "us-*"}}, "1 0 1"},
		{"nothing", Filter{Match: map[Dimension]string{Project: "acme"}}, "0 0 0"},
	} {
		a := ask(t, Question{Filter: c.f}, path)
		if got := fmt.Sprint(a.Total.Calls, a.Total.Denials, a.Total.TokensIn.Sum); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestBrokenLinesAreCountedAndTheOthersStand(t *testing.T) {
	content := text(t, allow("a", 1)) + "\nrsyslogd: hello\n" + `{"v":2,"new":true}` + "\n" + strings.Repeat("x", maxLine+5) + "\n" + text(t, allow("b", 2)) +
		`{"v":1,"event":"hint","time":"2026-11-23T00:00:00Z"}` + "\n" + `{"v":1,"event":"deci`
	dir := t.TempDir()
	plain, zipped := write(t, dir, "audit.jsonl", content), write(t, dir, "audit.jsonl.gz", content)
	for _, path := range []string{plain, zipped} {
		a := ask(t, Question{}, path)
		if a.Total.Calls != 2 || a.Notes.Lines != 8 || a.Notes.Broken != 3 || a.Notes.Versions != 1 || a.Notes.Others != 1 || a.Notes.Whole() {
			t.Errorf("got %d calls, %+v", a.Total.Calls, a.Notes)
		}
		want := []string{path + ":3: not a JSON object", path + ":4: a line of another version", path + ":5: longer than 1 MiB", path + ":8: not a JSON object"}
		if diff := cmp.Diff(want, a.Notes.Examples); diff != "" {
			t.Error(diff)
		}
	}
}

func TestFilesAreReadInTheOrderInWhichTheyWereWritten(t *testing.T) {
	dir := t.TempDir()
	first := allow("a", 1)
	write(t, dir, "audit.jsonl", text(t, &audit.Undelivered{Time: at(20), ID: "a", Attempt: 1}, allow("c", 21)))
	write(t, dir, "audit.jsonl.1", "torn\n"+text(t, first))
	write(t, dir, "audit.jsonl.2.gz", text(t, allow("z", 0)))
	a := ask(t, Question{By: []Dimension{Subject}}, dir+"/audit.jsonl*", dir+"/audit.jsonl")
	if a.Total.Calls != 2 || a.Notes.Undelivered != 1 || a.Notes.Unmatched != 0 {
		t.Errorf("got %d calls, %+v", a.Total.Calls, a.Notes)
	}
	if !a.First.Equal(at(0)) || !a.Last.Equal(at(21)) || !a.Total.First().Equal(at(0)) || !a.Total.Last().Equal(at(21)) || len(a.Days) != 1 {
		t.Errorf("got %v to %v, %v to %v, %v", a.First, a.Last, a.Total.First(), a.Total.Last(), a.Days)
	}
}

func TestDamagedFilesAreTold(t *testing.T) {
	dir := t.TempDir()
	whole := packed(t, strings.Repeat(text(t, allow("", 1)), 2000))
	cut := dir + "/cut.gz"
	write(t, dir, "cut", whole[:len(whole)/2])
	a := ask(t, Question{}, dir+"/cut")
	if a.Total.Calls == 0 || a.Total.Calls >= 2000 || len(a.Notes.Damaged) != 1 || !errors.Is(a.Notes.Damaged[0], io.ErrUnexpectedEOF) {
		t.Errorf("got %d calls, %v", a.Total.Calls, a.Notes.Damaged)
	}
	if text := a.Notes.Text(); !strings.HasPrefix(text, "error: the file could not be read to its end: "+dir+"/cut: unexpected EOF\n") {
		t.Errorf("got %q", text)
	}
	for _, c := range []struct{ name, want string }{
		{cut, "no such file"}, {dir, "is a folder"}, {dir + "/*.jsonl", "no file matches"}, {dir + "/[", "no such file"},
	} {
		if c.name == dir+"/[" {
			c.want = "syntax error in pattern"
		}
		if _, err := Open([]string{c.name}, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestARotationMeanwhileIsTold(t *testing.T) {
	dir := t.TempDir()
	newer, older := write(t, dir, "audit.jsonl", text(t, allow("b", 2))), write(t, dir, "audit.jsonl.1", text(t, allow("a", 1)))
	files, err := Open([]string{newer, older}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, older+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(newer, older); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "audit.jsonl", "")
	a, err := Ask(context.Background(), files, Question{})
	if err != nil || len(a.Notes.Damaged) != 2 || !errors.Is(a.Notes.Damaged[0], errReplaced) || a.Total.Calls != 0 {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestStandardInputMayBePacked(t *testing.T) {
	content := text(t, allow("a", 1), allow("b", 2))
	for _, in := range []string{content, packed(t, content)} {
		files, err := Open([]string{"-", "-"}, strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		a, err := Ask(context.Background(), files, Question{})
		if err != nil || a.Total.Calls != 2 || files.Size() != 0 {
			t.Errorf("got %+v, %v", a, err)
		}
	}
}

func TestTooManyRowsAreRefused(t *testing.T) {
	var lines []audit.Line
	for i := range 11 {
		lines = append(lines, allow(fmt.Sprint(i), i, subject(fmt.Sprint(i))))
	}
	path := write(t, t.TempDir(), "audit.jsonl", text(t, lines...))
	files, err := Open([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int]error{10: ErrTooMany, 11: nil} {
		a, err := Ask(context.Background(), files, Question{By: []Dimension{Subject}, MaxRows: limit})
		if !errors.Is(err, want) || (a == nil) != (want != nil) {
			t.Errorf("%d rows: got %v, want %v", limit, err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Ask(ctx, files, Question{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNamesMayHoldAnything(t *testing.T) {
	names := []string{"", "a\x00b", "\x1b[31m", "é", strings.Repeat("x", 300)}
	var lines []audit.Line
	for i, name := range names {
		lines = append(lines, allow(fmt.Sprint(i), i, subject(name)))
	}
	a := askText(t, Question{By: []Dimension{Subject, Issuer}}, text(t, lines...))
	var got []string
	for _, r := range a.Rows {
		got = append(got, r.Names[0])
		if r.Names[1] != "corp" {
			t.Errorf("got %q", r.Names)
		}
	}
	if diff := cmp.Diff([]string{"", "\x1b[31m", "a\x00b", strings.Repeat("x", 300), "é"}, got); diff != "" {
		t.Error(diff)
	}
}

// plainly answers like Ask, for lines of one file, in the plainest way: of each id the decision with the highest attempt.
func plainly(lines []audit.Line) map[string][3]int64 {
	type key struct {
		id      string
		attempt int64
	}
	last, lost, closed := map[string]*audit.Record{}, map[key]bool{}, map[string]bool{}
	for _, l := range lines {
		switch l := l.(type) {
		case *audit.Record:
			if old := last[l.ID]; old == nil || l.Attempt > old.Attempt {
				last[l.ID] = l
			}
		case *audit.Undelivered:
			lost[key{l.ID, l.Attempt}] = true
		}
	}
	got := map[string][3]int64{}
	for id, r := range last {
		if lost[key{id, r.Attempt}] {
			continue
		}
		n := got[r.Subject]
		if r.Decision == "allow" {
			n[0]++
		} else {
			n[1]++
		}
		got[r.Subject] = n
	}
	for _, l := range lines {
		if c, ok := l.(*audit.Closing); ok && !closed[c.ID] {
			closed[c.ID] = true
			n := got[last[c.ID].Subject]
			n[2] += c.Usage.Input
			got[last[c.ID].Subject] = n
		}
	}
	return got
}

// Whatever the order and the chunks, the answer is the plain one.
func TestAnswersAreThoseOfThePlainWay(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		lines := shuffledLog(r, 4000)
		want := plainly(lines)
		a := askText(t, Question{By: []Dimension{Subject}, Workers: 1 + int(seed%4)}, text(t, lines...))
		got := map[string][3]int64{}
		for _, row := range a.Rows {
			got[row.Names[0]] = [3]int64{int64(row.Calls), int64(row.Denials), row.TokensIn.Sum}
		}
		for name, n := range want {
			if n == [3]int64{} {
				delete(want, name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

// shuffledLog returns calls whose lines are mixed with those of others, each decision before what follows from it.
func shuffledLog(r *rand.Rand, calls int) []audit.Line {
	var open [][]audit.Line // lines of a call that are still to come
	var lines []audit.Line
	for i := 0; i < calls || len(open) > 0; {
		if i < calls && (len(open) == 0 || r.IntN(2) == 0) {
			open = append(open, oneCall(r, i))
			i++
			continue
		}
		at := r.IntN(len(open))
		lines, open[at] = append(lines, open[at][0]), open[at][1:]
		if len(open[at]) == 0 {
			open = append(open[:at], open[at+1:]...)
		}
	}
	return lines
}

func oneCall(r *rand.Rand, i int) []audit.Line {
	id, who := fmt.Sprint(i), subject(fmt.Sprint("user", r.IntN(20)))
	first := allow(id, i, who)
	if r.IntN(5) == 0 {
		denied("NO_RULE")(first)
	}
	call := []audit.Line{first}
	if r.IntN(4) == 0 {
		first = allow(id, i, who, attempt(2))
		call = append(call, first)
	}
	switch r.IntN(6) {
	case 0:
		call = append(call, &audit.Undelivered{Time: first.Time, ID: id, Attempt: int64(1 + r.IntN(2))})
	case 1, 2:
		call = append(call, end(first, used(int64(r.IntN(100)), 1)))
	case 3:
		c := end(first, used(int64(r.IntN(100)), 1))
		c.Unjoined, c.Subject = true, ""
		call = append(call, c, c)
	}
	return call
}

// Lines are cut where they end, however the reader hands them out.
func FuzzCut(f *testing.F) {
	f.Add([]byte("a\nb\n\nccc"), byte(3))
	f.Fuzz(func(t *testing.T, b []byte, step byte) {
		c := cutter{from: &slow{b, int(step%7) + 1}}
		var got []byte
		one := &chunk{data: make([]byte, 0, 16)}
		for !c.ended {
			one.data = one.data[:0]
			if err := c.fill(one); err != nil {
				t.Fatal(err)
			}
			if !c.ended && len(one.data) > 0 && one.data[len(one.data)-1] != '\n' {
				t.Fatalf("a chunk ends with %q", one.data)
			}
			got = append(got, one.data...)
			one.long = false
		}
		var want []byte
		for l := range bytes.Lines(b) {
			if len(l) <= 16 {
				want = append(want, l...)
			}
		}
		if !bytes.Equal(kept(got), kept(want)) {
			t.Fatalf("%q: got %q, want %q", b, got, want)
		}
	})
}

// kept leaves the lines that are surely shorter than a chunk.
func kept(b []byte) (list []byte) {
	for l := range bytes.Lines(b) {
		if len(bytes.TrimSuffix(l, []byte("\n"))) < 16 {
			list = append(list, l...)
		}
	}
	return list
}

// slow hands out a few bytes at once.
type slow struct {
	b    []byte
	step int
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b[:min(s.step, len(s.b))])
	s.b = s.b[n:]
	return n, nil
}
