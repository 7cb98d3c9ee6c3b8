package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vertex-spoa": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			// An address of this process: on 127.0.0.1 another one might take the port before the agent does.
			pid := os.Getpid()
			l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16&0x3f, pid>>8&0xff, pid&0xff))
			if err != nil {
				return err
			}
			e.Setenv("ADMIN", l.Addr().String())
			e.Setenv("GCE_METADATA_HOST", "127.0.0.1:1") // nobody is there
			return l.Close()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"eventually": eventually, "lines": lines},
	})
}

// eventually runs a command until it succeeds, for at most ten seconds; with "!" until it fails.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var out []byte
	for {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
		cmd.Dir = ts.MkAbs(".")
		var err error
		if out, err = cmd.CombinedOutput(); (err == nil) != neg {
			return
		}
		select {
		case <-deadline:
			ts.Fatalf("%v: still not as wanted: %s", args, out)
		case <-tick.C:
		}
	}
}

// lines FILE N checks that a file has N lines.
func lines(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	if got := bytes.Count([]byte(ts.ReadFile(args[0])), []byte("\n")); got != want {
		ts.Fatalf("%s has %d lines, want %d", args[0], got, want)
	}
}
