package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vertex-spoa/test/sandbox"
)

// Each target of make that the README names is there. What comes out of make demo is compared by TestMakeDemo.
func TestTheTargetsOfTheReadme(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("(?m)(?:^|`)make ([a-z0-9-]+)").FindAllStringSubmatch(string(readme), -1)
	if len(named) < len(blocksFor(t, runsMake)) {
		t.Fatalf("the README names %d targets", len(named))
	}
	for _, match := range named {
		if !regexp.MustCompile(`(?m)^` + match[1] + `:`).Match(makefile) {
			t.Errorf("the Makefile has no target %s", match[1])
		}
	}
}

// exits are the exit codes of commands that say by them what they found.
var exits = map[string]int{"policy explain": 1, "policy diff": 1, "policy replay": 1}

// The commands of the README work on the example's policy, and what the README shows comes out.
func TestTheCommandsOfTheReadme(t *testing.T) {
	s := startSandbox(t, sandbox.Options{})
	if _, err := s.Search(limited(t)); err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(filepath.Join(s.Dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := readmeBlocks(t)
	for i, b := range blocks {
		if b.purpose() != runsCommands {
			continue
		}
		w := newWorkbench(t)
		w.write(t, "sam.json", `{"sub": "sam", "groups": ["search-eng"]}`, 0o600)
		w.write(t, "audit.jsonl", string(lines), 0o600)
		if err := os.CopyFS(filepath.Join(w.dir, "next.d"), os.DirFS(filepath.Join(w.dir, "policy.d"))); err != nil {
			t.Fatal(err)
		}
		w.edit(t, "next.d/20-rules.yaml", "models: [gemini-2.5-*, text-embedding-*]", "models: text-embedding-*")
		var all strings.Builder
		for line := range strings.Lines(b.text) {
			fields := strings.Fields(line)
			if len(fields) < 3 || fields[0] != "vertex-spoa" {
				t.Fatalf("README.md:%d: %q is not a command of vertex-spoa", b.line, line)
			}
			code, out := w.shell(t, line)
			if want := exits[fields[1]+" "+fields[2]]; code != want {
				t.Errorf("%sexit %d, want %d\n%s", line, code, want, out)
			}
			if out == "" && !strings.Contains(line, ">") && !strings.Contains(line, "--check") {
				t.Errorf("%ssays nothing", line)
			}
			if fields[2] == "replay" && !strings.Contains(out, "=> deny NO_RULE") {
				t.Errorf("%sfinds no call that would be denied:\n%s", line, out)
			}
			all.WriteString(out)
		}
		if i+1 < len(blocks) && blocks[i+1].purpose() == readsOutput {
			blocks[i+1].comesOut(t, all.String(), plain)
		}
	}
}

// A mistake in the policy is shown as the README shows it.
func TestTheMistakesOfTheReadme(t *testing.T) {
	for _, b := range blocksFor(t, readsMistake) {
		edit := regexp.MustCompile(`^mistake: (\S+) in the place of (\S+)$`).FindStringSubmatch(b.mark)
		if edit == nil {
			t.Fatalf("README.md:%d: which mistake is %q?", b.line, b.mark)
		}
		w := newWorkbench(t)
		w.edit(t, "policy.d/20-rules.yaml", edit[2], edit[1])
		code, out := w.run(t, binary, "policy", "check", "policy.d")
		if code != 3 {
			t.Errorf("exit %d, want 3\n%s", code, out)
		}
		b.comesOut(t, out, func(s string) string { return s })
	}
}

// The doctor's report is one that it gives: its lines are those of testdata/doctor, but for numbers and places.
func TestTheReportOfTheReadme(t *testing.T) {
	golden, err := os.ReadFile("testdata/doctor/an-account-is-forbidden.golden")
	if err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`\d+ ms|N ms`)
	place := regexp.MustCompile(`(?m)^egress .*$|digest \w+|\d+s old, wanted again in \w+`)
	for _, b := range blocksFor(t, readsReport) {
		b.comesOut(t, string(golden), func(s string) string { return plain(place.ReplaceAllString(number.ReplaceAllString(s, "N ms"), "…")) })
	}
}

// The socket that systemd holds is the one that the service of haproxy-example/README.md opens by itself.
func TestTheUnitOfTheReadme(t *testing.T) {
	text, err := os.ReadFile("../haproxy-example/README.md")
	if err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile(`--spoe\.listen unix@(\S+)`).FindSubmatch(text)
	if path == nil {
		t.Fatal("the service has no --spoe.listen")
	}
	for _, b := range blocksFor(t, readsTheUnits) {
		for _, line := range []string{"[Socket]", "ListenStream=" + string(path[1]), "SocketGroup=haproxy", "WantedBy=sockets.target"} {
			if !strings.Contains(b.text, line+"\n") {
				t.Errorf("README.md:%d: the unit lacks %q", b.line, line)
			}
		}
	}
}

// Each command and flag that the README's tables name is one of the program's.
func TestTheTablesOfCommandsInTheReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorkbench(t)
	rows := regexp.MustCompile("(?m)^\\| `vertex-spoa ([^`]+)`").FindAllStringSubmatch(string(readme), -1)
	named := map[string]bool{}
	for _, row := range rows {
		fields := strings.Fields(row[1])
		command := fields[:1]
		if fields[0] == "policy" || fields[0] == "audit" {
			command = fields[:2]
		}
		named[strings.Join(command, " ")] = true
		code, help := w.run(t, binary, append(command, "-h")...)
		if code != 0 && command[0] != "version" {
			t.Errorf("vertex-spoa %s -h: exit %d\n%s", strings.Join(command, " "), code, help)
		}
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(row[1], -1) {
			if !strings.Contains(help, "  "+flag) {
				t.Errorf("vertex-spoa %s has no flag %s", strings.Join(command, " "), flag)
			}
		}
	}
	_, usage := w.run(t, binary, "help")
	_, more := w.run(t, binary, "policy", "help")
	_, yetMore := w.run(t, binary, "audit", "help")
	for prefix, text := range map[string]string{"": usage, "policy ": more, "audit ": yetMore} {
		for _, match := range regexp.MustCompile(`(?m)^  ([a-z-]+) {2,}`).FindAllStringSubmatch(text, -1) {
			if name := prefix + match[1]; name != "policy" && name != "audit" && !named[name] {
				t.Errorf("the README does not name the command %s", name)
			}
		}
	}
	if len(named) < 10 {
		t.Errorf("the README names %d commands", len(named))
	}
}
