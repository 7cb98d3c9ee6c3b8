// Package provider runs real identity providers for the end-to-end tests, and programs for Node that use real clients of Vertex AI:
// oidc-provider and the clients from npm, Dex from its own Go module. Nothing of them is a part of the program. `make node-deps` and
// `make dex` bring them; where they cannot be had, what is returned says [ErrMissing].
package provider

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// ErrMissing is in the error of everything that needs a program which this machine does not have.
var ErrMissing = errors.New("not installed")

// Node is the Node that npm has installed into this folder, beside the modules it runs.
type Node struct {
	folder string
	binary string
}

// FindNode looks for Node in folder, the path of test/provider.
func FindNode(folder string) (*Node, error) {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	binary, err := filepath.Abs(filepath.Join(folder, "node_modules", "node-linux-"+arch, "bin", "node"))
	if err != nil {
		return nil, err
	}
	// npm writes this file last, so a folder that was filled halfway has none.
	for _, path := range []string{binary, filepath.Join(folder, "node_modules", ".package-lock.json")} {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("node: %w: `make node-deps` fetches it where it can be had", ErrMissing)
		}
	}
	return &Node{folder: folder, binary: binary}, nil
}

// Program is a running program of another's. What it writes to standard error goes to a file.
type Program struct {
	name   string
	log    string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *os.File
	lines  *bufio.Reader
	exited chan struct{}
}

// Start runs a script of the folder with further environment, NAME=VALUE. Its standard error goes to the end of the file at log. The
// program is killed when ctx ends, or this process.
func (n *Node) Start(ctx context.Context, log string, env []string, script string, args ...string) (*Program, error) {
	return start(ctx, log, env, n.folder, n.binary, append([]string{script}, args...)...)
}

func start(ctx context.Context, log string, env []string, folder, binary string, args ...string) (*Program, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Stderr = folder, file
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing outlives the tests
	// A pipe of its own: that of the command is closed by Wait, whether or not everything was read.
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	cmd.Stdout = in
	p := &Program{name: filepath.Base(binary), log: log, cmd: cmd, stdout: out, lines: bufio.NewReader(out), exited: make(chan struct{})}
	if p.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait()
	}()
	return p, nil
}

// Line reads one line of JSON from the program's standard output into v. It waits for as long as the program runs.
func (p *Program) Line(v any) error {
	line, err := p.lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s said nothing more: %w%s", p.name, err, p.said())
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("%s said %q: %w", p.name, line, err)
	}
	return nil
}

// Send writes a line to the program's standard input.
func (p *Program) Send(line string) error {
	_, err := io.WriteString(p.stdin, line+"\n")
	return err
}

// Close ends the program: with the end of its standard input and SIGTERM, and 5 seconds later with SIGKILL.
func (p *Program) Close() {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	_ = p.stdout.Close()
}

// said is the end of what the program wrote to standard error.
func (p *Program) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	return "\n" + string(text[max(0, len(text)-2<<10):])
}
