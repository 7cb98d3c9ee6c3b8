package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// cell is what one turn of a variant came to.
type cell struct {
	perSecond      float64
	p50, p99       time.Duration
	haproxy, agent time.Duration // of processor time, for each request
	failed         int           // requests that got no answer, or another than 200
	requests       int
}

// script makes wrk send the caller's request and print numbers.
const script = `
wrk.method = "POST"
wrk.body = %q
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Host"] = "gateway.example.com"
wrk.headers["Authorization"] = "Bearer %s"
function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format("requests=%%d us=%%d p50=%%d p99=%%d failed=%%d\n", summary.requests, summary.duration,
		latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
`

var scriptLine = regexp.MustCompile(`requests=(\d+) us=(\d+) p50=(\d+) p99=(\d+) failed=(\d+)`)

// load lets n clients ask a front again and again for some seconds, each on a connection of its own.
func (r *rig) load(ctx context.Context, f front, n, seconds int) (cell, error) {
	file := filepath.Join(r.dir, "wrk.lua")
	if err := os.WriteFile(file, fmt.Appendf(nil, script, body, r.caller), 0o600); err != nil {
		return cell{}, err
	}
	before, err := f.cpu()
	if err != nil {
		return cell{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(n), "-d"+strconv.Itoa(seconds)+"s", "--timeout", "5s",
		"-s", file, f.url+target).CombinedOutput()
	if err != nil {
		return cell{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	after, err := f.cpu()
	if err != nil {
		return cell{}, err
	}
	if err := os.Truncate(r.auditFile(), 0); err != nil { // it would fill the disk
		return cell{}, err
	}
	found := scriptLine.FindSubmatch(out)
	if found == nil {
		return cell{}, fmt.Errorf("wrk did not say what came of it:\n%s", out)
	}
	var v [5]int64
	for i := range v {
		if v[i], err = strconv.ParseInt(string(found[i+1]), 10, 64); err != nil {
			return cell{}, err
		}
	}
	if v[0] == 0 || v[1] == 0 {
		return cell{}, fmt.Errorf("wrk made no request:\n%s", out)
	}
	return cell{
		perSecond: float64(v[0]) / (time.Duration(v[1]) * time.Microsecond).Seconds(),
		p50:       time.Duration(v[2]) * time.Microsecond,
		p99:       time.Duration(v[3]) * time.Microsecond,
		haproxy:   (after[0] - before[0]) / time.Duration(v[0]),
		agent:     (after[1] - before[1]) / time.Duration(v[0]),
		failed:    int(v[4]),
		requests:  int(v[0]),
	}, nil
}

// cpu returns the processor time that HAProxy and the agent have used.
func (f front) cpu() (used [2]time.Duration, err error) {
	if used[0], err = f.haproxy.cpu(); err != nil || f.agent == nil {
		return used, err
	}
	used[1], err = f.agent.cpu()
	return used, err
}
