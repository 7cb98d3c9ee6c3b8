package sandbox

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// HAProxySeries returns the path and the exact version of a HAProxy of the series, such as "3.4": the installed one, or one that
// test/haproxy.sh has put into the folder.
func HAProxySeries(ctx context.Context, series, folder string) (path, version string, err error) {
	var found []string
	if installed, err := HAProxyBinary(""); err == nil {
		found = append(found, installed)
	}
	for _, path := range append(found, filepath.Join(folder, "haproxy-"+series)) {
		version, err := haproxyVersion(ctx, path)
		if err == nil && strings.HasPrefix(version, series+".") {
			return path, version, nil
		}
	}
	return "", "", fmt.Errorf("no HAProxy %s here: `make haproxy-versions` fetches it where it can be had", series)
}

var versionLine = regexp.MustCompile(`^HAProxy version (\S+)`)

func haproxyVersion(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, path, "-v").Output()
	if err != nil {
		return "", fmt.Errorf("%s -v: %w", path, err)
	}
	line := versionLine.FindSubmatch(out)
	if line == nil {
		return "", fmt.Errorf("%s -v says no version: %q", path, out)
	}
	return string(line[1]), nil
}

// RestartHAProxy ends HAProxy and starts it again, and returns when it has found the agent.
func (s *Sandbox) RestartHAProxy(ctx context.Context) error {
	s.haproxy.stop(5 * time.Second)
	if err := s.startHAProxy(); err != nil {
		return err
	}
	return s.waitForHAProxy(ctx)
}

// RestartHAProxyWith is RestartHAProxy with another environment, NAME=VALUE, in the place of that of the options. HAProxy's log begins
// anew.
func (s *Sandbox) RestartHAProxyWith(ctx context.Context, env []string) error {
	s.haproxy.stop(5 * time.Second)
	if err := os.Remove(s.haproxyLog()); err != nil {
		return err
	}
	s.options.HAProxyEnv = env
	if err := s.startHAProxy(); err != nil {
		return err
	}
	return s.waitForHAProxy(ctx)
}

// HAProxyFiles are the options of the command line that name the configuration.
func (s *Sandbox) HAProxyFiles() []string {
	files := []string{"-f", s.options.Base, "-f", filepath.Join(s.options.Example, "vertex.cfg")}
	if s.options.After != "" {
		files = append(files, "-f", s.options.After)
	}
	return files
}

func (s *Sandbox) haproxyLog() string { return filepath.Join(s.Dir, "haproxy.log") }

// ReloadHAProxy makes HAProxy start new workers (SIGUSR2), and returns when they have taken over from the old ones, which may still be
// finishing. The sandbox must have been started with Workers.
func (s *Sandbox) ReloadHAProxy(ctx context.Context) error {
	var before []string
	if err := until(ctx, "HAProxy tells its workers", func() bool {
		var err error
		before, err = s.workers(ctx)
		return err == nil && len(before) > 0
	}); err != nil {
		return err
	}
	if err := s.haproxy.signal(syscall.SIGUSR2); err != nil {
		return err
	}
	return until(ctx, "HAProxy has new workers", func() bool {
		now, err := s.workers(ctx) // the master is away for a moment
		return err == nil && len(now) > 0 && !slices.ContainsFunc(now, func(pid string) bool { return slices.Contains(before, pid) })
	})
}

func (s *Sandbox) masterSocket() string { return filepath.Join(s.Dir, "m.sock") }

var currentWorker = regexp.MustCompile(`(?m)^(\d+)\s+worker\s`)

// workers returns the process ids of the current workers. The table of the master's "show proc" lists the old ones below a heading.
func (s *Sandbox) workers(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", s.masterSocket())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if _, err := io.WriteString(conn, "show proc; quit\n"); err != nil {
		return nil, err
	}
	table, err := io.ReadAll(conn)
	if err != nil {
		return nil, err
	}
	current, _, _ := strings.Cut(string(table), "# old workers")
	var pids []string
	for _, row := range currentWorker.FindAllStringSubmatch(current, -1) {
		pids = append(pids, row[1])
	}
	return pids, nil
}
