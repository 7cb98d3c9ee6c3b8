// Command demo plays every scenario through a real HAProxy and prints what came of it. With -stay it then stays up and prints commands
// to play with.
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
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"vertex-spoa/test/sandbox"
)

func main() {
	binary := flag.String("binary", "bin/vertex-spoa", "the built program")
	example := flag.String("example", "haproxy-example", "the folder with HAProxy's files")
	stay := flag.Bool("stay", false, "stay up afterwards")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *binary, *example, *stay); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

var errFailed = errors.New("not everything came out as expected")

func run(ctx context.Context, w io.Writer, binary, example string, stay bool) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	if example, err = filepath.Abs(example); err != nil {
		return err
	}
	s, err := sandbox.Start(ctx, sandbox.Options{Binary: binary, Example: example})
	if err != nil {
		return err
	}
	defer s.Close()
	passed, failed := play(ctx, w, s)
	if err := printAudit(w, s); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d passed, %d failed\n", passed, failed)
	if stay && ctx.Err() == nil {
		if err := s.PrintCommands(w); err != nil {
			return err
		}
		<-ctx.Done()
	}
	if failed > 0 {
		return errFailed
	}
	return nil
}

// play runs every scenario and prints the table.
func play(ctx context.Context, w io.Writer, s *sandbox.Sandbox) (passed, failed int) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SCENARIO\tEXPECTED\tGOT\t")
	for _, scenario := range sandbox.Scenarios() {
		limited, cancel := context.WithTimeout(ctx, 30*time.Second)
		got, err := scenario.Run(limited, s)
		cancel()
		if err != nil {
			got = strings.TrimSpace(got + " error: " + err.Error())
		}
		verdict := "ok"
		if err != nil || got != scenario.Want {
			verdict = "FAIL"
			failed++
		} else {
			passed++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", scenario.Name, scenario.Want, got, verdict)
	}
	_ = table.Flush()
	return passed, failed
}

// printAudit prints the audit lines that the scenarios caused, the columns an auditor reads first.
func printAudit(w io.Writer, s *sandbox.Sandbox) error {
	lines, err := s.Audit()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d audit lines:\n", len(lines))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DECISION\tREASON\tSUBJECT\tROLE\tRULE\tACCOUNT\tMETHOD\tMODEL\tLOCATION\tTOKEN\tID")
	for _, line := range lines {
		for _, field := range []string{"decision", "reason", "subject", "role", "rule", "account", "method", "model", "location", "token_fingerprint", "id"} {
			value := "-"
			if v, ok := line[field]; ok {
				value = fmt.Sprint(v)
			}
			fmt.Fprintf(table, "%s\t", value)
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}
