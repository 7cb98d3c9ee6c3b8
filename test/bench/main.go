// Command bench measures the whole program at work through a real HAProxy, with the files of haproxy-example, beside what one would
// compare it with: the same HAProxy without any authentication, HAProxy's own jwt_verify, and agents that answer constants. The variants
// take turns, so that all of them meet the same machine; what counts are the ratios. It prints each figure beside its target and never
// fails on one.
//
// `make bench-e2e` runs it. It needs wrk, and HAProxy.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vertex-spoa/test/sandbox"
)

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/vertex-spoa", "the built program")
	flag.StringVar(&o.example, "example", "haproxy-example", "the folder with HAProxy's files")
	flag.StringVar(&o.cache, "cache", ".cache/haproxy", "the folder of HAProxys that are not installed")
	flag.StringVar(&o.versions, "versions", "2.6 3.0 3.2 3.4", "the versions of HAProxy, of which those that are here are measured; the installed one if empty")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each variant has its turn")
	flag.IntVar(&o.seconds, "seconds", 3, "how long a turn takes, for each number of connections")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	binary, example, cache, versions string
	rounds, seconds                  int
}

func run(ctx context.Context, w io.Writer, o options) (err error) {
	if o.rounds < 1 || o.seconds < 1 {
		return fmt.Errorf("%d rounds of %d seconds measure nothing", o.rounds, o.seconds)
	}
	for _, path := range []*string{&o.binary, &o.example} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	haproxys, err := find(ctx, w, o)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r := &rig{options: o, dir: dir}
	defer r.close()
	if err := r.start(ctx, haproxys[0].path); err != nil {
		return fmt.Errorf("%w%s", err, r.said())
	}
	for _, h := range haproxys {
		if err := r.measure(ctx, w, h); err != nil {
			return fmt.Errorf("HAProxy %s: %w%s", h.version, err, r.said())
		}
	}
	return nil
}

// haproxy is a HAProxy to measure with.
type haproxy struct{ path, version string }

// find returns the HAProxys that are there, of which there must be one.
func find(ctx context.Context, w io.Writer, o options) (all []haproxy, err error) {
	if o.versions == "" {
		path, err := sandbox.HAProxyBinary("")
		if err != nil {
			return nil, err
		}
		said, err := exec.CommandContext(ctx, path, "-v").Output()
		if err != nil {
			return nil, fmt.Errorf("ask %q for its version: %w", path, err)
		}
		version, _, _ := strings.Cut(strings.TrimPrefix(string(said), "HAProxy version "), " ")
		return []haproxy{{path, version}}, nil
	}
	for series := range strings.FieldsSeq(o.versions) {
		path, version, err := sandbox.HAProxySeries(ctx, series, o.cache)
		if err != nil {
			fmt.Fprintln(w, "NOT MEASURED:", err)
			continue
		}
		all = append(all, haproxy{path, version})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("none of the versions %q is there", o.versions)
	}
	return all, nil
}

// connections are the numbers of clients that are measured: throughput shows with many, added latency with one.
var connections = [...]int{64, 1}

// measure starts a HAProxy for each variant, lets them take turns, and prints what came of it.
func (r *rig) measure(ctx context.Context, w io.Writer, h haproxy) error {
	fronts, err := r.fronts(ctx, h.path)
	defer func() {
		for _, f := range fronts {
			f.haproxy.stop()
		}
	}()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "HAProxy %s, one thread; %d rounds, %d s for each cell\n", h.version, r.options.rounds, r.options.seconds)
	all := results{}
	for _, f := range fronts {
		if _, err := r.load(ctx, f, connections[0], 1); err != nil { // warm
			return err
		}
	}
	for round := range r.options.rounds {
		for i := range fronts {
			f := fronts[(round+i)%len(fronts)]
			for _, n := range connections {
				got, err := r.load(ctx, f, n, r.options.seconds)
				if err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
				all.add(f.name, n, got)
			}
		}
		fmt.Fprintf(w, "  round %d of %d: %s\n", round+1, r.options.rounds, time.Now().Format(time.TimeOnly))
	}
	return all.print(w, h.version)
}
