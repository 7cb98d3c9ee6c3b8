package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// place is where a figure stands: a variant at a number of connections.
type place struct {
	variant     string
	connections int
}

// results are the cells of each place, one for each round.
type results map[place][]cell

func (r results) add(variant string, connections int, c cell) {
	p := place{variant, connections}
	r[p] = append(r[p], c)
}

// median is of one figure over the rounds.
func (r results) median(variant string, connections int, figure func(cell) float64) float64 {
	var all []float64
	for _, c := range r[place{variant, connections}] {
		all = append(all, figure(c))
	}
	return middle(all)
}

// against is the median of what f makes of a figure of two variants in the same round, which the machine's moods disturb least.
func (r results) against(variant, other string, connections int, figure func(cell) float64, f func(a, b float64) float64) float64 {
	var all []float64
	for i, c := range r[place{variant, connections}] {
		all = append(all, f(figure(c), figure(r[place{other, connections}][i])))
	}
	return middle(all)
}

func middle(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

func ratio(a, b float64) float64 { return a / b }
func minus(a, b float64) float64 { return a - b }

func throughput(c cell) float64  { return c.perSecond }
func haproxyTime(c cell) float64 { return micro(c.haproxy) }
func agentTime(c cell) float64   { return micro(c.agent) }
func half(c cell) float64        { return micro(c.p50) }
func worst(c cell) float64       { return micro(c.p99) }
func micro(d time.Duration) float64 {
	return float64(d) / float64(time.Microsecond)
}

func (r results) failed(variant string) (failed, requests int) {
	for _, n := range connections {
		for _, c := range r[place{variant, n}] {
			failed += c.failed
			requests += c.requests
		}
	}
	return failed, requests
}

// print prints the medians of all variants, and what is wanted of ours.
func (r results) print(w io.Writer, version string) error {
	for _, n := range connections {
		fmt.Fprintf(w, "\nconnections: %d\n", n)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "requests/s\tof none\tHAProxy µs/req\tagent µs/req\tp50 µs\tp50 added\tp99 µs\tof none\t  \t")
		for _, v := range variants {
			agent := "-"
			if v != none && v != jwt {
				agent = fmt.Sprintf("%.1f", r.median(v, n, agentTime))
			}
			fmt.Fprintf(t, "%.0f\t%.2f\t%.1f\t%s\t%.0f\t%.0f\t%.0f\t%.2f\t  %s\n",
				r.median(v, n, throughput), r.against(v, none, n, throughput, ratio), r.median(v, n, haproxyTime), agent,
				r.median(v, n, half), r.against(v, none, n, half, minus), r.median(v, n, worst), r.against(v, none, n, worst, ratio), v)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return r.printTargets(w, version)
}

// printTargets prints each figure beside what is wanted.
func (r results) printTargets(w io.Writer, version string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nvertex-spoa\twanted\tgot\t")
	row := func(what string, limit float64, atLeast bool, got float64, format string) {
		sign, reached := "≤", got <= limit
		if atLeast {
			sign, reached = "≥", got >= limit
		}
		verdict := "reached"
		if !reached {
			verdict = "missed"
		}
		fmt.Fprintf(t, "%s\t%s "+format+"\t"+format+"\t%s\n", what, sign, limit, got, verdict)
	}
	ofNone, ofLibrary := 0.55, 1.2
	if mux(version) {
		ofNone, ofLibrary = 0.50, 1.1
	}
	const many, one = 64, 1
	row("throughput, of none", ofNone, true, r.against(product, none, many, throughput, ratio), "%.2f")
	row("throughput, of a no-op agent of haproxy-spoe-go", ofLibrary, true, r.against(product, library, many, throughput, ratio), "%.2f")
	row("throughput, of HAProxy's own jwt_verify", 1.6, true, r.against(product, jwt, many, throughput, ratio), "%.2f")
	row("agent, µs of processor time for each request", 12, false, r.median(product, many, agentTime), "%.1f")
	row("of which SPOP, by the no-op agent of package spoe", 6, false, r.median(floor, many, agentTime), "%.1f")
	row("p50 added with 1 connection, µs", 110, false, r.against(product, none, one, half, minus), "%.0f")
	row("p99 with 64 connections, of none", 1.6, false, r.against(product, none, many, worst, ratio), "%.2f")
	failed, requests := r.failed(product)
	row(fmt.Sprintf("requests failed, of %d", requests), 0, false, float64(failed), "%.0f")
	if err := t.Flush(); err != nil {
		return err
	}
	for _, v := range variants {
		if failed, requests := r.failed(v); failed > 0 && v != product {
			fmt.Fprintf(w, "%s: %d of %d requests failed\n", v, failed, requests)
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// mux reports whether a HAProxy is 3.1 or later, of which less is wanted.
func mux(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a > 3 || a == 3 && b >= 1)
}
