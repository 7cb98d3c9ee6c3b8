package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain is the child of some tests, too: what is tried there would end, or hamper, the process of the tests.
func TestMain(m *testing.M) {
	switch os.Getenv("AUDIT_TEST_CHILD") {
	case "stdout":
		os.Exit(childStdout())
	case "limit":
		os.Exit(childLimit(os.Args[1]))
	}
	os.Exit(m.Run())
}

func child(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), "AUDIT_TEST_CHILD="+what)
	return cmd
}

// put writes one line and says on standard error what its owner was told.
func put(l *Log, id string) {
	told := make(chan error, 1)
	l.Append(&Record{ID: id, Decision: "allow"}, func(err error) { told <- err })
	l.Flush()
	err := <-told
	switch {
	case errors.Is(err, syscall.EPIPE):
		err = syscall.EPIPE
	case errors.Is(err, syscall.EFBIG):
		err = syscall.EFBIG
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", id, err)
}

// childStdout writes a line to standard output for each line that it reads.
func childStdout() int {
	l, err := openPatient("-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		put(l, in.Text())
	}
	if err := l.Close(); err != nil {
		return 1
	}
	return 0
}

// The reader of standard output goes away: lines are refused, and the process lives.
func TestAReaderOfStandardOutputThatGoesDoesNotEndTheProcess(t *testing.T) {
	cmd := child(t, "stdout")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = writer
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	messages, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	said := bufio.NewReader(messages)
	ask := func(id, want string) {
		t.Helper()
		fmt.Fprintln(in, id)
		if got, err := said.ReadString('\n'); got != id+": "+want+"\n" {
			t.Errorf("said %q (%v), want %s: %s", got, err, id, want)
		}
	}
	ask("first", "<nil>")
	if line, err := bufio.NewReader(reader).ReadString('\n'); err != nil || !strings.Contains(line, `"id":"first"`) {
		t.Errorf("standard output says %q (%v), want the line", line, err)
	}
	reader.Close()
	ask("second", "broken pipe")
	ask("third", "broken pipe")
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the process ended with %v", err)
	}
}

// A FIFO that nobody reads cannot be opened again. It is written to as it is.
func TestStandardOutputThatCannotBeOpenedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	reader.Close()
	cmd := child(t, "stdout")
	cmd.Stdout, cmd.Stdin = writer, strings.NewReader("a\nb\n")
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil || said.String() != "a: broken pipe\nb: broken pipe\n" {
		t.Errorf("the process ended with %v and said %q", err, said.String())
	}
}

// Standard output may be a socket, as that of a service of systemd is, or a file.
func TestStandardOutputOfAnyKind(t *testing.T) {
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(ends[0]), "theirs"), os.NewFile(uintptr(ends[1]), "ours")
	defer ours.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, tt := range []struct {
		name   string
		stdout *os.File
		read   io.Reader
	}{{"socket", theirs, ours}, {"file", file, file}} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := child(t, "stdout")
			cmd.Stdout, cmd.Stdin = tt.stdout, strings.NewReader("a\nb\n")
			if out, err := cmd.StderrPipe(); err != nil {
				t.Fatal(err)
			} else if err := cmd.Start(); err != nil {
				t.Fatal(err)
			} else if text, _ := io.ReadAll(out); string(text) != "a: <nil>\nb: <nil>\n" {
				t.Errorf("said %q", text)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			if tt.stdout == file {
				_, _ = file.Seek(0, io.SeekStart)
			} else {
				theirs.Close()
			}
			text, err := io.ReadAll(tt.read)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"a", "b"}, outline(t, strings.Split(strings.TrimSpace(string(text)), "\n"))); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

// childLimit writes to a file that may grow by so much only, and then by more: a full disk that becomes free again, without a disk.
func childLimit(path string) int {
	signal.Ignore(syscall.SIGXFSZ)
	l, err := OpenWith(Options{Path: path, Chain: true, Patience: patient})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return 1
	}
	before := limit.Cur
	limit.Cur = 1000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return 1
	}
	for i := range 5 {
		put(l, strconv.Itoa(i))
	}
	limit.Cur = before
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return 1
	}
	put(l, "5")
	if err := l.Close(); err != nil {
		return 1
	}
	return 0
}

// The disk is full in the middle of a line: what was told to be written is there, nothing else is, and it goes on without a restart.
func TestAFullDiskAndRecovery(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	out, err := child(t, "limit", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want []string
	refused := 0
	for line := range strings.Lines(string(out)) {
		id, told, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if told == "<nil>" {
			want = append(want, id)
		} else if refused++; told != "file too large" {
			t.Errorf("%s was told %q", id, told)
		}
	}
	if refused < 2 || len(want) < 3 {
		t.Fatalf("the test proves nothing: told\n%s", out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var whole []string
	for line := range strings.Lines(string(text)) {
		if strings.HasSuffix(line, "}\n") {
			whole = append(whole, line)
		}
	}
	if diff := cmp.Diff(want, outline(t, whole)); diff != "" {
		t.Errorf("whole lines (-want +got):\n%s", diff)
	}
	if r := verified(t, string(text), VerifyOptions{}); r.First != nil || r.Torn != 1 || r.Chained != len(want) {
		t.Errorf("verification found %+v, first break %v; want one torn line and no break", r, r.First)
	}
}

// A file that somebody deletes takes no further line with it.
func TestADeletedFileIsReplaced(t *testing.T) {
	for _, how := range []struct {
		name   string
		remove func(path string) error
	}{
		{"removed", os.Remove},
		{"replaced by another", func(path string) error {
			if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}},
	} {
		t.Run(how.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			l, err := openPatient(path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := waitFor(t, l, record("before")); err != nil {
				t.Fatal(err)
			}
			if err := how.remove(path); err != nil {
				t.Fatal(err)
			}
			if err := waitFor(t, l, record("after")); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), `"id":"after"`) {
				t.Errorf("the file holds %q (%v), want the line after", text, err)
			}
		})
	}
}

// Where there can be no new file, lines are refused until there can.
func TestADeletedFileWhoseFolderIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := openPatient(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, l, record("refused")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the folder does not exist", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, l, record("after")); err != nil {
		t.Error(err)
	}
}

// logrotate's copytruncate: what follows the cut begins the file anew, without a gap of zeros.
func TestATruncatedFileGoesOnAtItsBeginning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := OpenWith(Options{Path: path, Chain: true, Patience: patient})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, id := range []string{"a", "b", "c"} {
		if err := waitFor(t, l, record(id)); err != nil {
			t.Fatal(err)
		}
	}
	copied, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, l, record("between copy and cut")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, l, record("d")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"d"}, outline(t, strings.Split(strings.TrimSpace(string(text)), "\n"))); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
	r := verified(t, string(copied)+string(text), VerifyOptions{})
	if r.Breaks != 1 || r.First.What != Missing || r.First.Line != 4 {
		t.Errorf("verification found %d breaks, the first %v; want what was lost to be missing before line 4", r.Breaks, r.First)
	}
}

func TestDevicesAreSinks(t *testing.T) {
	for path, want := range map[string]error{"/dev/null": nil, "/dev/full": syscall.ENOSPC} {
		l, err := openPatient(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := waitFor(t, l, record("a")); !errors.Is(got, want) {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefusesWhatCannotBe(t *testing.T) {
	key, err := NewKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		o          Options
	}{
		{"a folder", "is a directory", Options{Path: t.TempDir()}},
		{"two sinks", "not to both", Options{Path: "/dev/null", Syslog: "127.0.0.1:1"}},
		{"a port alone", "neither unix@PATH nor HOST:PORT", Options{Syslog: "514"}},
		{"no path", "without a path", Options{Syslog: "unix@"}},
		{"negative patience", "patience of -1ns", Options{Path: "/dev/null", Patience: -1}},
		{"a key without a chain", "and no chain", Options{Path: "/dev/null", ChainKey: key}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := OpenWith(tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) || l != nil {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
