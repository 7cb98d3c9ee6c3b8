package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Audit returns the audit lines written so far.
func (s *Sandbox) Audit() ([]map[string]any, error) { return readLines(s.auditPath()) }

// AuditAfterKill returns the audit lines written so far, without those that an agent had not written to their end when it was killed. It
// tells how many these were.
func (s *Sandbox) AuditAfterKill() (lines []map[string]any, torn int, err error) {
	text, err := os.ReadFile(s.auditPath())
	if err != nil {
		return nil, 0, err
	}
	for line := range bytes.Lines(text) {
		if len(line) == 1 { // where two agents have met
			continue
		}
		var fields map[string]any
		if json.Unmarshal(line, &fields) != nil {
			torn++
			continue
		}
		lines = append(lines, fields)
	}
	return lines, torn, nil
}

// AuditPath is the path of the audit log.
func (s *Sandbox) AuditPath() string { return s.auditPath() }

// HAProxyLogPath is the path of HAProxy's output.
func (s *Sandbox) HAProxyLogPath() string { return s.haproxyLog() }

// HAProxyLog returns HAProxy's own JSON log lines written so far.
func (s *Sandbox) HAProxyLog() ([]map[string]any, error) {
	return readLines(s.haproxyLog())
}

// AgentLog returns the agent's own log.
func (s *Sandbox) AgentLog() (string, error) {
	text, err := os.ReadFile(filepath.Join(s.Dir, "agent.log"))
	return string(text), err
}

// readLines returns the JSON lines of a file and leaves out what is no JSON object, such as HAProxy's notices, and a last line that is still
// being written.
func readLines(path string) ([]map[string]any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lines []map[string]any
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("{")) || !bytes.HasSuffix(line, []byte("\n")) {
			continue
		}
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			return nil, fmt.Errorf("%s: %w in %q", path, err, line)
		}
		lines = append(lines, fields)
	}
	return lines, nil
}

// notices returns the lines of a file that are no JSON objects.
func notices(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var others []byte
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("{")) {
			others = append(others, line...)
		}
	}
	return string(others), nil
}

// Notices returns what HAProxy has said beside its log lines.
func (s *Sandbox) Notices() (string, error) { return notices(s.haproxyLog()) }
