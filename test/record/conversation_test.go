package main

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What goes through the tap arrives as it was, but for what is spoiled, and is written down as the README of the recordings says.
func TestTapWritesDownWhatIsSaid(t *testing.T) {
	dir := t.TempDir()
	if len(dir) > 80 {
		t.Fatalf("%q leaves no room for the name of a socket", dir)
	}
	agent, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	tap, err := newTap(t.Context(), filepath.Join(dir, "tap"), filepath.Join(dir, "agent"), func(said []byte) []byte {
		if bytes.Equal(said, []byte("lie")) {
			return []byte("truth")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	haproxy, err := net.Dial("unix", filepath.Join(dir, "tap"))
	if err != nil {
		t.Fatal(err)
	}
	served, err := agent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("q", 33)
	say(t, haproxy, long, served, long)
	say(t, served, "answer", haproxy, "answer")
	say(t, served, "lie", haproxy, "truth")
	if err := haproxy.Close(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(served); err != nil || len(rest) > 0 {
		t.Errorf("got %q and error %v, want the end", rest, err)
	}
	if err := served.Close(); err != nil {
		t.Fatal(err)
	}
	tap.close()
	heard := tap.heard()
	if len(heard) != 1 || !heard[0].ended() || heard[0].isHealthcheck() {
		t.Fatalf("got %v, want one conversation that has ended", heard)
	}
	want := `# a test
haproxy 9.9
pipelining on
> ` + strings.Repeat("71", 32) + `
  71
< 616e73776572
< 6c6965
! 7472757468
> close
`
	if diff := cmp.Diff(want, string(heard[0].text("9.9", scenario{about: "a test", pipelining: "on"}))); diff != "" {
		t.Error(diff)
	}
}

func say(t *testing.T, from net.Conn, said string, to net.Conn, want string) {
	t.Helper()
	if _, err := io.WriteString(from, said); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != want {
		t.Fatalf("got %q and error %v, want %q", got, err, want)
	}
}
