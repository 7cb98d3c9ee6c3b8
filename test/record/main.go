// Command record writes down what HAProxy says to an agent, for the tests of package spoe to hear again for ever.
//
// For each HAProxy that is there it plays the scenarios of this package: it starts that HAProxy, an agent of package spoe that answers
// constants, and between the two, on unix sockets, a tap that copies every byte and notes it. Each connection becomes one file; their
// format stands beside them, in the README of the folder. Nothing secret goes over these connections: what looks like a token is a
// test's own.
//
// `make record` runs it. The recordings of versions that are not there stay as they are.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"vertex-spoa/test/sandbox"
)

func main() {
	out := flag.String("out", "spoe/testdata/recordings", "the folder of the recordings")
	example := flag.String("example", "haproxy-example", "the folder with HAProxy's files")
	versions := flag.String("versions", "2.6 3.0 3.2 3.4", "the versions of HAProxy to record")
	cache := flag.String("cache", ".cache/haproxy", "the folder of those that are not installed")
	only := flag.String("only", "", "a regular expression of the scenarios to play; the others keep their files")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Stdout, options{*out, *example, *cache, *only, strings.Fields(*versions)})
	if err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	out, example, cache, only string
	versions                  []string
}

func run(ctx context.Context, w io.Writer, o options) error {
	wanted, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	if o.example, err = filepath.Abs(o.example); err != nil {
		return err
	}
	for _, series := range o.versions {
		binary, full, err := sandbox.HAProxySeries(ctx, series, o.cache)
		if err != nil {
			fmt.Fprintln(w, "NOT RECORDED:", err)
			continue
		}
		fmt.Fprintf(w, "HAProxy %s\n", full)
		for _, sc := range scenarios() {
			if !wanted.MatchString(sc.name) {
				continue
			}
			if err := record(ctx, w, filepath.Join(o.out, series), o.example, binary, full, sc); err != nil {
				return fmt.Errorf("HAProxy %s, %s: %w", full, sc.name, err)
			}
		}
	}
	return nil
}

// record plays one scenario and replaces its files. What was expected of the old ones goes with them.
func record(ctx context.Context, w io.Writer, dir, example, binary, full string, sc scenario) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 45*time.Second, errors.New("not done after 45 s"))
	defer cancel()
	conversations, err := play(ctx, example, binary, sc)
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, sc.name+"-*"))
	if err != nil {
		return err
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, c := range conversations {
		name := fmt.Sprintf("%s-%d.txt", sc.name, i+1)
		if err := os.WriteFile(filepath.Join(dir, name), c.text(full, sc), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(w, "  %-20s %s\n", name, c)
	}
	return nil
}
