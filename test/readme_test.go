package test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// foreign is a configuration of somebody else, whose defaults would break every expectation of ours if they reached our sections.
const foreign = `global
    log stdout format raw local0
    maxconn 500
    %s
    stats socket %s/stats.sock mode 600 level admin

defaults
    mode tcp
    log global
    option dontlognull
    balance source
    retries 7
    timeout connect 100ms
    timeout client 300ms
    timeout server 300ms

frontend their-own
    mode http
    bind %s
    http-request return status 200 content-type text/plain string "theirs"
`

// install plays the steps of haproxy-example/README.md in a folder that stands for the root of the file system.
type install struct {
	t       *testing.T
	root    string
	world   *fake.World
	bind    string // of our listener
	theirs  string // of the other frontend
	running []*exec.Cmd
}

// TestTheStepsOfTheReadme runs each command of haproxy-example/README.md beside a configuration that is not ours. Paths are moved below
// a folder of the test's own; the few commands that would change the machine, users and services, are played instead: the agent and
// HAProxy are started with exactly the command lines that the steps have written.
func TestTheStepsOfTheReadme(t *testing.T) {
	in := newInstall(t)
	text, err := os.ReadFile("../haproxy-example/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 7 {
		t.Fatalf("the README has %d blocks of commands, and this test knows 7", len(blocks))
	}
	for _, block := range blocks {
		switch commands := block[1]; {
		case strings.HasPrefix(commands, "systemctl daemon-reload"):
			in.startAgent()
		case strings.HasPrefix(commands, "systemctl restart haproxy"):
			in.startHAProxy()
			in.curls(commands)
		default:
			in.shell(commands)
		}
	}
	in.call()
}

func newInstall(t *testing.T) *install {
	t.Helper()
	in := &install{t: t, root: t.TempDir(), bind: freeAddr(t), theirs: freeAddr(t)}
	for _, dir := range []string{"etc/haproxy", "etc/default", "etc/systemd/system", "usr/local/bin", "var/lib/haproxy", "tmp", "run"} {
		if err := os.MkdirAll(filepath.Join(in.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(binary, filepath.Join(in.root, "usr/local/bin/vertex-spoa")); err != nil {
		t.Fatal(err)
	}
	chroot := "" // only root may change its root; others try the rest of the steps
	if os.Getuid() == 0 {
		chroot = "chroot " + filepath.Join(in.root, "var/lib/haproxy")
	}
	cfg := fmt.Sprintf(foreign, chroot, filepath.Join(in.root, "run"), in.theirs)
	if err := os.WriteFile(filepath.Join(in.root, "etc/haproxy/haproxy.cfg"), []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	in.world, err = fake.Start(fake.Options{Dir: filepath.Join(in.root, "ca"), Issuer: sandbox.Issuer, Audience: sandbox.Audience,
		Project: sandbox.Project, Agent: sandbox.AgentMail,
		Accounts: map[string]fake.Account{sandbox.Search: {Impersonators: []string{sandbox.AgentMail}, Projects: []string{sandbox.Project}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, cmd := range in.running {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		_ = in.world.Close()
	})
	return in
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := sandbox.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// moved is the text with every path of the machine below the test's root.
func (in *install) moved(text string) string {
	return regexp.MustCompile(`(/etc/|/usr/local/bin/|/var/lib/haproxy|/tmp/|/run/haproxy)`).ReplaceAllString(text, in.root+"$1")
}

// unit is the part of the steps that names users and services of the machine.
var unit = regexp.MustCompile(`(?m)^useradd .*\n| -o vertex-spoa -g haproxy`)

func (in *install) shell(commands string) {
	in.t.Helper()
	commands = in.moved(unit.ReplaceAllString(commands, ""))
	// The installed configuration holds paths of the machine too.
	commands = strings.Replace(commands, "vertex-spoa check", fmt.Sprintf("sed -i 's#/etc/#%s/etc/#' %s\nvertex-spoa check", in.root, in.moved("/etc/vertex-spoa/vertex-spoa.yaml")), 1)
	cmd := exec.CommandContext(in.t.Context(), "sh", "-eu", "-c", commands)
	cmd.Dir = example(in.t)
	cmd.Env = append(in.env(), "PATH="+filepath.Join(in.root, "usr/local/bin")+":"+os.Getenv("PATH")+":/usr/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		in.t.Fatalf("%s\n%v\n%s", commands, err, out)
	}
	if strings.HasPrefix(commands, "haproxy -c") && strings.Contains(strings.ToUpper(string(out)), "WARNING") {
		in.t.Errorf("%s\nwarns:\n%s", commands, out)
	}
}

// env is the machine's environment, and the addresses of this test's parties in the place of the real ones.
func (in *install) env() []string {
	env := slices.Concat(os.Environ(), sandbox.Unset(), in.world.AgentEnv())
	env = append(env, "VERTEX_BIND="+in.bind, "VERTEX_CA="+in.world.CA.File(), "VERTEX_UPSTREAM_EUROPE_WEST1="+in.world.Vertex.Addr())
	return append(env, "VERTEX_CERT="+in.moved("/etc/haproxy/vertex.pem"), "VERTEX_SPOE="+in.moved("/etc/haproxy/vertex-spoe.conf"),
		"VERTEX_LUA="+in.moved("/etc/haproxy/vertex-usage.lua"),
		"VERTEX_AGENT="+in.socket())
}

// socket is where HAProxy finds the agent: the default, below the chroot; without a chroot the path as it is.
func (in *install) socket() string {
	if os.Getuid() == 0 {
		return "unix@/run/vertex-spoa/spoa.sock"
	}
	return "unix@" + in.moved("/var/lib/haproxy") + "/run/vertex-spoa/spoa.sock"
}

// startAgent runs the command line of the unit that the steps have written.
func (in *install) startAgent() {
	in.t.Helper()
	text, err := os.ReadFile(in.moved("/etc/systemd/system/vertex-spoa.service"))
	if err != nil {
		in.t.Fatal(err)
	}
	_, line, found := strings.Cut(strings.ReplaceAll(string(text), "\\\n", ""), "\nExecStart=")
	if !found {
		in.t.Fatalf("the unit has no ExecStart:\n%s", text)
	}
	line, _, _ = strings.Cut(line, "\n")
	in.start(append(strings.Fields(line), "--admin.listen=none"))
}

// startHAProxy runs HAProxy as Debian's service does: with its own file, and with the options of /etc/default/haproxy.
func (in *install) startHAProxy() {
	in.t.Helper()
	text, err := os.ReadFile(in.moved("/etc/default/haproxy"))
	if err != nil {
		in.t.Fatal(err)
	}
	options := regexp.MustCompile(`EXTRAOPTS="(.*)"`).FindStringSubmatch(string(text))
	if options == nil {
		in.t.Fatalf("no EXTRAOPTS in %q", text)
	}
	haproxy, err := sandbox.HAProxyBinary("")
	if err != nil {
		in.t.Fatal(err)
	}
	args := []string{haproxy, "-Ws", "-f", in.moved("/etc/haproxy/haproxy.cfg"), "-p", filepath.Join(in.root, "haproxy.pid")}
	in.start(append(args, strings.Fields(options[1])...))
}

func (in *install) start(args []string) {
	in.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = in.env()
	log, err := os.Create(filepath.Join(in.root, filepath.Base(args[0])+".log"))
	if err != nil {
		in.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	in.running = append(in.running, cmd)
}

// curls plays the curl commands of the last step, which come out as the README says.
func (in *install) curls(commands string) {
	in.t.Helper()
	want := map[string]string{"/healthz": "200", "/v1/publishers/google/models": "401 TOKEN_MISSING"}
	urls := regexp.MustCompile(`curl --insecure https://localhost:8443(\S+)`).FindAllStringSubmatch(commands, -1)
	if len(urls) != len(want) {
		in.t.Fatalf("%d curl commands, want %d:\n%s", len(urls), len(want), commands)
	}
	for _, url := range urls {
		in.eventually(want[url[1]], func(ctx context.Context) (string, error) { return in.get(ctx, url[1], "") })
	}
}

func (in *install) get(ctx context.Context, path, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+in.bind+path, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if reason := regexp.MustCompile(`"reason":"(\w+)"`).FindSubmatch(body); reason != nil {
		return fmt.Sprintf("%d %s", res.StatusCode, reason[1]), err
	}
	return fmt.Sprint(res.StatusCode), err
}

// call lists the models with a token of the issuer, and looks whether the other configuration still does what it did.
func (in *install) call() {
	in.t.Helper()
	token, err := in.world.IDP.Token("alice", fake.Groups("search-eng"))
	if err != nil {
		in.t.Fatal(err)
	}
	in.eventually("200", func(ctx context.Context) (string, error) { return in.get(ctx, "/v1/publishers/google/models", token) })
	req, err := http.NewRequestWithContext(in.t.Context(), http.MethodGet, "http://"+in.theirs, nil)
	if err != nil {
		in.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); string(body) != "theirs" {
		in.t.Errorf("the other frontend says %q", body)
	}
}

// eventually waits until ask says want; services take a moment to find each other.
func (in *install) eventually(want string, ask func(context.Context) (string, error)) {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(in.t.Context(), 15*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := ask(ctx)
		if err == nil && got == want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			in.t.Fatalf("got %q (%v), want %q%s", got, err, want, in.logs())
		}
	}
}

func (in *install) logs() string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(in.root, "*.log"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		fmt.Fprintf(&all, "\n--- %s\n%s", filepath.Base(file), text)
	}
	return all.String()
}
