package test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is a fenced block of the README.
type block struct {
	line     int    // of its first line
	language string // after the fence
	mark     string // of the comment on the line above, which readers do not see
	text     string
	before   *block // the block before it
}

// What the tests of this package do with a block.
const (
	readsPicture  = "nothing: it is a picture, or measured by hand"
	runsMake      = "the target is there; make demo is run by a test of its own"
	runsCommands  = "the commands are run on the example's policy"
	readsOutput   = "it is what comes out of the commands above"
	readsMistake  = "it is what comes out after a mistake"
	readsReport   = "it is a report that the doctor gives"
	runsCloud     = "the commands are run on a model of Google's IAM"
	loadsPolicy   = "the policy loads"
	includesFile  = "the policy above includes it"
	loadsList     = "the deny list loads"
	runsTests     = "the tests pass on the example's policy"
	runsWorkflow  = "its commands are run"
	runsGo        = "it is compiled and run"
	runsNode      = "it is run by Node"
	runsClaude    = "the variables are those of the documentation, and the path is one that is judged"
	readsRecord   = "it is what a call leaves behind"
	asksAudit     = "the commands are run on an audit log"
	readsSettings = "the configuration loads"
	readsTheUnits = "its socket is that of the service"
)

// purpose returns what is done with a block, and "" for one that no test knows.
func (b *block) purpose() string {
	mark, _, _ := strings.Cut(b.mark, ":")
	switch b.language + " " + mark {
	case " picture", " figures":
		return readsPicture
	case "sh run":
		return runsCommands
	case "sh audit":
		return asksAudit
	case "json record":
		return readsRecord
	case "yaml configuration":
		return readsSettings
	case "sh cloud":
		return runsCloud
	case "sh claude code":
		return runsClaude
	case " mistake":
		return readsMistake
	case " report of the doctor":
		return readsReport
	case "yaml policy":
		return loadsPolicy
	case "yaml included":
		return includesFile
	case "yaml revocations":
		return loadsList
	case "yaml policy tests":
		return runsTests
	case "yaml workflow":
		return runsWorkflow
	case "ini unit":
		return readsTheUnits
	case "go ":
		return runsGo
	case "js ":
		return runsNode
	case "sh ":
		if strings.HasPrefix(b.text, "make ") {
			return runsMake
		}
	case " ":
		if b.before != nil && (b.before.purpose() == runsCommands || b.before.purpose() == runsMake) {
			return readsOutput
		}
	}
	return ""
}

var (
	fence   = regexp.MustCompile("^```(\\S*)$")
	comment = regexp.MustCompile(`^<!-- (.*) -->$`)
)

// readmeBlocks returns the fenced blocks of the README in their order.
func readmeBlocks(t *testing.T) []*block {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []*block
	var open, last *block
	mark := ""
	for i, line := range strings.Split(string(text), "\n") {
		match := fence.FindStringSubmatch(line)
		switch {
		case open != nil && match != nil:
			all, last, open = append(all, open), open, nil
		case open != nil:
			open.text += line + "\n"
		case match != nil:
			open = &block{line: i + 2, language: match[1], mark: mark, before: last}
		}
		mark = ""
		if found := comment.FindStringSubmatch(line); found != nil {
			mark = found[1]
		}
	}
	if open != nil {
		t.Fatalf("README.md:%d: the block does not end", open.line)
	}
	return all
}

// blocksFor returns the blocks for a purpose, of which there is at least one.
func blocksFor(t *testing.T, purpose string) []*block {
	t.Helper()
	all := readmeBlocks(t)
	some := slices.DeleteFunc(all, func(b *block) bool { return b.purpose() != purpose })
	if len(some) == 0 {
		t.Fatalf("the README has no block of which to say: %s", purpose)
	}
	return some
}

// Nothing stands in the README as a thing to copy that no test looks at.
func TestEveryBlockOfTheReadmeIsTested(t *testing.T) {
	for _, b := range readmeBlocks(t) {
		if b.purpose() == "" {
			t.Errorf("README.md:%d: no test knows a block of language %q marked %q:\n%s", b.line, b.language, b.mark, b.text)
		}
	}
}

// Each link of the README leads to a file or a heading that is there.
func TestTheLinksOfTheReadmeLeadSomewhere(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(string(text), -1)
	if len(links) < 10 {
		t.Fatalf("the README has %d links", len(links))
	}
	for _, link := range links {
		file, heading, _ := strings.Cut(link[1], "#")
		if strings.Contains(file, "://") {
			continue
		}
		file = filepath.Join("..", file)
		if heading == "" {
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", link[1], err)
			}
			continue
		}
		if file == ".." {
			file = "../README.md"
		}
		if !slices.Contains(anchors(t, file), heading) {
			t.Errorf("%s: %s has no such heading", link[1], file)
		}
	}
}

// anchors are the names under which the headings of a file can be reached.
func anchors(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		name := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// workbench is a folder in which commands of the README are run.
type workbench struct {
	dir string
	env []string
}

// newWorkbench returns a folder that holds the example's policy and configuration, as an operator's folder would, and in which the program
// is found by its name. Of the outside world commands see nothing but what env names.
func newWorkbench(t *testing.T, env ...string) *workbench {
	t.Helper()
	w := &workbench{dir: t.TempDir()}
	path := filepath.Dir(binary) + ":" + filepath.Join(w.dir, "stubs") + ":/usr/bin:/bin"
	w.env = append([]string{"PATH=" + path, "HOME=" + w.dir, "LC_ALL=C.UTF-8"}, env...)
	if err := os.CopyFS(filepath.Join(w.dir, "policy.d"), os.DirFS(filepath.Join(example(t), "policy.d"))); err != nil {
		t.Fatal(err)
	}
	return w
}

// write writes a file, and the folders it is in.
func (w *workbench) write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// edit replaces a text that the file holds.
func (w *workbench) edit(t *testing.T, name, old, with string) {
	t.Helper()
	file := filepath.Join(w.dir, name)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s does not hold %q", name, old)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, with, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a command in the folder and returns its exit code and everything it wrote.
func (w *workbench) run(t *testing.T, name string, args ...string) (code int, output string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(limited(t), name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &out, &out
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// shell runs commands in bash, which stops at the first that fails and at a variable that is not set.
func (w *workbench) shell(t *testing.T, commands string) (code int, output string) {
	t.Helper()
	return w.run(t, "bash", "-eu", "-c", commands)
}

// comesOut checks that the lines of a block come out in their order; a line with nothing but … stands for any.
func (b *block) comesOut(t *testing.T, output string, same func(string) string) {
	t.Helper()
	rest := same(output)
	for line := range strings.Lines(b.text) {
		line = strings.TrimSpace(same(line))
		if line == "" || line == "…" {
			continue
		}
		_, after, found := strings.Cut(rest, line)
		if !found {
			t.Errorf("README.md:%d: this line does not come out where it stands: %s\nwhat comes out:\n%s", b.line, line, output)
			return
		}
		rest = after
	}
}
