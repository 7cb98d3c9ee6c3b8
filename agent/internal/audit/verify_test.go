package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func key(t testing.TB, fill byte) Key {
	t.Helper()
	k, err := NewKey(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// chained returns n lines of a new chain.
func chained(t testing.TB, k Key, n int) []string {
	t.Helper()
	s := newSink()
	l := newLog(s, Options{Chain: true, ChainKey: k, Patience: patient})
	for i := range n {
		l.Append(record(fmt.Sprint(i+1)), func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
		if i%2 == 0 {
			l.Flush()
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, line := range s.lines() {
		lines = append(lines, line+"\n")
	}
	return lines
}

// without returns the lines but for those with the numbers from to to.
func without(lines []string, from, to int) []string {
	return append(append([]string{}, lines[:from-1]...), lines[to:]...)
}

func TestVerifyNamesTheFirstBreak(t *testing.T) {
	for _, k := range []Key{{}, key(t, 1)} {
		a, b := chained(t, k, 8), chained(t, k, 4)
		edited := append([]string{}, a...)
		edited[3] = strings.Replace(a[3], `"decision":"allow"`, `"decision":"deny"`, 1)
		renumbered := append([]string{}, a...)
		renumbered[3] = strings.Replace(a[3], `"seq":4`, `"seq":5`, 1)
		swapped := append([]string{}, a...)
		swapped[3], swapped[4] = swapped[4], swapped[3]
		torn := append([]string{}, a...)
		torn[3] = a[3][:len(a[3])/2] + "\n"
		plain := string(record("forged").appendTo(nil))
		forger := newChain(k) // who has the key, if there is one
		forger.id, forger.seq = chainName(t, a[0]), 3
		copy(forger.prev[:], hashOf([]byte(a[2])))
		resealed := append([]string{}, a...)
		resealed[3] = string(forger.seal(nil, []byte(plain)))
		for _, tt := range []struct {
			name  string
			lines []string
			o     VerifyOptions
			line  int // 0 for no break
			what  What
		}{
			{"nothing", nil, VerifyOptions{}, 0, ""},
			{"a whole chain", a, VerifyOptions{}, 0, ""},
			{"two chains one after the other", append(append([]string{}, a...), b...), VerifyOptions{}, 0, ""},
			{"two chains between each other", []string{a[0], b[0], b[1], a[1], a[2], b[2], a[3], b[3]}, VerifyOptions{}, 0, ""},
			{"empty lines", []string{"\n", a[0], "\n", "\n", a[1]}, VerifyOptions{}, 0, ""},
			{"lines from before there was a chain", append([]string{plain, plain}, a...), VerifyOptions{}, 0, ""},
			{"half a line at the end", append(append([]string{}, a...), a[7][:40]), VerifyOptions{}, 0, ""},
			{"half a line before a whole one, on one line", []string{a[0], a[3][:50] + a[1]}, VerifyOptions{}, 0, ""},
			{"a line edited", edited, VerifyOptions{}, 4, Changed},
			{"a line replaced, with a hash of its own", resealed, VerifyOptions{}, 5, Unlinked},
			{"a line numbered anew", renumbered, VerifyOptions{}, 4, Missing},
			{"a line taken out", without(a, 4, 4), VerifyOptions{}, 4, Missing},
			{"lines taken out", without(a, 3, 6), VerifyOptions{}, 3, Missing},
			{"the beginning taken out", without(a, 1, 3), VerifyOptions{}, 1, UnknownStart},
			{"the beginning is elsewhere", without(a, 1, 3), VerifyOptions{Continued: true}, 0, ""},
			{"a line twice", append(append([]string{}, a[:4]...), a[3:]...), VerifyOptions{}, 5, Duplicated},
			{"two lines swapped", swapped, VerifyOptions{}, 4, Missing},
			{"a line torn in the middle", torn, VerifyOptions{}, 5, Missing},
			{"a line put in that is of no chain", append(append([]string{}, a[:4]...), plain), VerifyOptions{}, 5, Unchained},
			{"the beginning of a chain between others", append(append([]string{}, a...), b[1:]...), VerifyOptions{}, 9, UnknownStart},
		} {
			t.Run(fmt.Sprintf("%s, %s", tt.name, k), func(t *testing.T) {
				tt.o.Key = k
				r := verified(t, strings.Join(tt.lines, ""), tt.o)
				if tt.line == 0 {
					if r.First != nil || r.Breaks != 0 {
						t.Errorf("found %v, want no break", r.First)
					}
					return
				}
				if r.First == nil || r.First.Line != tt.line || r.First.What != tt.what || r.Breaks == 0 {
					t.Errorf("found %v, want %s at line %d", r.First, tt.what, tt.line)
				}
			})
		}
	}
}

func chainName(t *testing.T, line string) string {
	t.Helper()
	l, ok := readSealed([]byte(strings.TrimSpace(line)))
	if !ok {
		t.Fatalf("%q is not of a chain", line)
	}
	return string(l.chain)
}

func TestOneEditIsOneBreak(t *testing.T) {
	a := chained(t, Key{}, 9)
	a[3] = strings.Replace(a[3], `"id":"4"`, `"id":"x"`, 1)
	if r := verified(t, strings.Join(a, ""), VerifyOptions{}); r.Breaks != 1 {
		t.Errorf("%d breaks, want 1", r.Breaks)
	}
}

// Whoever has no key cannot make a chain that passes for one with a key, nor read it as one without.
func TestTheKeyDecides(t *testing.T) {
	right, wrong := key(t, 1), key(t, 2)
	a := strings.Join(chained(t, right, 3), "")
	forged := strings.Join(chained(t, Key{}, 3), "")
	for _, tt := range []struct {
		name, text string
		k          Key
		breaks     int
	}{
		{"the right one", a, right, 0}, {"another one", a, wrong, 3}, {"none", a, Key{}, 3}, {"made without", forged, right, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r := verified(t, tt.text, VerifyOptions{Key: tt.k}); r.Breaks != tt.breaks {
				t.Errorf("%d breaks, the first %v; want %d", r.Breaks, r.First, tt.breaks)
			}
		})
	}
}

// Heads find what the lines themselves cannot tell.
func TestHeads(t *testing.T) {
	a := chained(t, Key{}, 8)
	head := func(n int) []Head { return verified(t, strings.Join(a[:n], ""), VerifyOptions{}).Heads }
	other := verified(t, strings.Join(chained(t, Key{}, 5), ""), VerifyOptions{}).Heads
	rewritten := head(5)
	rewritten[0].Hash = strings.Repeat("0", hashSize)
	for _, tt := range []struct {
		name  string
		lines []string
		o     VerifyOptions
		what  What // empty for no break
	}{
		{"the end is gone", a[:5], VerifyOptions{Heads: head(8)}, Cut},
		{"nobody has noted the end down", a[:5], VerifyOptions{Heads: head(5)}, ""},
		{"it has grown since", a, VerifyOptions{Heads: head(5)}, ""},
		{"only what follows", a[5:], VerifyOptions{Heads: head(5)}, ""},
		{"a line is gone between", a[6:], VerifyOptions{Heads: head(5), Continued: true}, Missing},
		{"all hashes were made anew", a, VerifyOptions{Heads: rewritten}, Changed},
		{"all hashes of what follows were made anew", a[5:], VerifyOptions{Heads: rewritten}, Unlinked},
		{"a whole chain is gone", a, VerifyOptions{Heads: other}, Cut},
		{"an old chain is not among the files", a, VerifyOptions{Heads: other, Continued: true}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := verified(t, strings.Join(tt.lines, ""), tt.o)
			var got What
			if r.First != nil {
				got = r.First.What
			}
			if got != tt.what {
				t.Errorf("found %v, want %q", r.First, tt.what)
			}
		})
	}
	if r := verified(t, strings.Join(a, ""), VerifyOptions{Heads: other, Continued: true}); len(r.Heads) != 2 {
		t.Errorf("heads %+v, want the one of which nothing was seen kept", r.Heads)
	}
}

// A chain goes on from file to file, and a process that starts names the line it comes after.
func TestChainsAcrossFilesAndProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	open := func() *Log {
		t.Helper()
		l, err := OpenWith(Options{Path: path, Chain: true, Patience: patient})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := open()
	for i := range 3 {
		if err := waitFor(t, first, record(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := first.Reopen(); err != nil {
		t.Fatal(err)
	}
	second := open()
	for _, l := range []*Log{first, second, first, second} {
		if err := waitFor(t, l, record("together")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	read := func(cut int) Report {
		t.Helper()
		v := NewVerifier(VerifyOptions{})
		for _, name := range []string{path + ".1", path} {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if name == path {
				text = text[endOf(text, cut):]
			}
			if err := v.Read(filepath.Base(name), bytes.NewReader(text)); err != nil {
				t.Fatal(err)
			}
		}
		return v.Report()
	}
	if r := read(0); r.First != nil || r.Chained != 7 || len(r.Chains) != 2 {
		t.Errorf("found %v in %d lines of %d chains; want no break in 7 of 2", r.First, r.Chained, len(r.Chains))
	}
	text, err := os.ReadFile(path)
	if err != nil || bytes.Count(text, []byte(`"after":"`)) != 1 || bytes.Count(text, []byte(`"seq":1,`)) != 1 {
		t.Errorf("the second chain does not say what it comes after: %s (%v)", text, err)
	}
	// The line it comes after is taken out.
	if r := read(1); r.First == nil || r.First.What != Missing || r.First.File != "audit.jsonl" || r.First.Line != 1 {
		t.Errorf("found %v, want something missing before audit.jsonl:1", r.First)
	}
}

// Two logs write to one file at once, as they do while one agent takes over from another.
func TestChainsOfProcessesThatWriteAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var group sync.WaitGroup
	for i := range 3 {
		l, err := OpenWith(Options{Path: path, Chain: true, ChainKey: key(t, 3), Patience: patient})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			for n := range 300 {
				l.Append(record(fmt.Sprint(i, n)), func(err error) {
					if err != nil {
						t.Error(err)
					}
				})
				if n%7 == 0 {
					l.Flush()
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
	if r := verified(t, string(text), VerifyOptions{Key: key(t, 3)}); r.First != nil || r.Chained != 900 || len(r.Chains) != 3 {
		t.Errorf("found %v in %d lines of %d chains; want no break in 900 of 3", r.First, r.Chained, len(r.Chains))
	}
}

func TestTornLinesAreNamed(t *testing.T) {
	a := chained(t, Key{}, 3)
	text := a[0] + strings.Repeat("{\"torn\n", 20) + a[1] + a[2] + strings.Repeat("x", 2*MaxLine) + "\n" + `{"last`
	r := verified(t, text, VerifyOptions{})
	if r.First != nil || r.Torn != 22 || r.Lines != 25 {
		t.Errorf("found %v, %d torn of %d lines; want no break, 22 of 25", r.First, r.Torn, r.Lines)
	}
	if n := len(r.TornAt); n != maxPlaces+1 || r.TornAt[0].Line != 2 || r.TornAt[n-1].Line != 25 {
		t.Errorf("named %v, want the first %d and the last", r.TornAt, maxPlaces)
	}
}

func TestABreakReadsAsASentence(t *testing.T) {
	a := chained(t, Key{}, 4)
	r := verified(t, strings.Join(without(a, 2, 3), ""), VerifyOptions{})
	if got := regexp.MustCompile(`[0-9a-f]{16}`).ReplaceAllString(r.First.String(), "ID"); got != "log:2: missing: lines 2 to 3 (chain ID)" {
		t.Errorf("got %q", got)
	}
}

func TestVerifyTellsWhatCannotBeRead(t *testing.T) {
	broken := errors.New("broken")
	if r, err := Verify(iotest.ErrReader(broken), VerifyOptions{}); !errors.Is(err, broken) || r.Lines != 0 {
		t.Errorf("got %v, want the reader's error", err)
	}
}

func TestTheNumberOfChainsIsBounded(t *testing.T) {
	line := strings.TrimSpace(chained(t, Key{}, 1)[0])
	l, _ := readSealed([]byte(line))
	v := NewVerifier(VerifyOptions{})
	for i := range maxChains {
		v.chains[fmt.Sprint(i)] = &chainSeen{}
	}
	if err := v.sealed(&l); err == nil || !strings.Contains(err.Error(), "more than 65536 chains") {
		t.Errorf("got %v, want that there are too many chains", err)
	}
}

// Whatever the bytes, what is read as a sealed line is put together again as it was, and reading ends without a panic.
func FuzzVerify(f *testing.F) {
	lines := chained(f, Key{}, 3)
	f.Add([]byte(strings.Join(lines, "")))
	f.Add([]byte(lines[1]))
	f.Add([]byte("{}\n{\"a\":1}\n\n\x00"))
	f.Add([]byte(`{"chain":"0000000000000000","seq":0,"hash":"` + strings.Repeat("0", 64) + `"}`))
	f.Add([]byte(`{"v":1,"chain":"0000000000000000","seq":18446744073709551615,"prev":"` + strings.Repeat("0", 64) + `","hash":"` + strings.Repeat("0", 64) + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Verify(bytes.NewReader(text), VerifyOptions{Continued: true})
		if err != nil {
			t.Fatal(err)
		}
		if rest := r.Lines - r.Chained - r.Unchained - r.Torn; rest < 0 || rest > r.Breaks {
			t.Errorf("%d lines, of which %d are chained, %d unchained, %d torn; and %d breaks", r.Lines, r.Chained, r.Unchained, r.Torn, r.Breaks)
		}
		for line := range bytes.Lines(text) {
			line = bytes.TrimRight(line, "\r\n")
			l, ok := readSealed(line)
			if !ok {
				if diff := cmp.Diff(sealed{}, l, cmp.AllowUnexported(sealed{})); diff != "" {
					t.Errorf("of no sealed line something was read: %s", diff)
				}
				continue
			}
			if got := fmt.Sprintf(`%s,"hash":"%x"}`, l.text, l.hash); got != string(line) || !bytes.HasSuffix(l.text, ending(&l)) {
				t.Errorf("%q reads back as %q", line, got)
			}
		}
	})
}

func ending(l *sealed) []byte {
	switch {
	case l.seq > 1:
		return fmt.Appendf(nil, `,"chain":"%s","seq":%d,"prev":"%x"`, l.chain, l.seq, l.before)
	case l.hasAfter:
		return fmt.Appendf(nil, `,"chain":"%s","seq":1,"after":"%x"`, l.chain, l.before)
	}
	return fmt.Appendf(nil, `,"chain":"%s","seq":1`, l.chain)
}
