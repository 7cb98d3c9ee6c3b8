// Package sandbox runs the built program between a real HAProxy and the fakes of the other parties, with the very files of
// haproxy-example, and plays scenarios through it. The end-to-end tests and the demonstration share it.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"vertex-spoa/test/fake"
)

// Accounts and names of the example policy.
const (
	Project   = "acme-ai"
	Issuer    = "https://login.example.com"
	Audience  = "vertex"
	AgentMail = "vertex-spoa@acme-ai.iam.gserviceaccount.com"
	Search    = "vx-search@acme-ai.iam.gserviceaccount.com"
	Research  = "vx-research@acme-ai.iam.gserviceaccount.com"
	Support   = "vx-support@acme-ai.iam.gserviceaccount.com"
	CI        = "vx-ci@acme-ai.iam.gserviceaccount.com"
	Indexer   = "vx-indexer@acme-ai.iam.gserviceaccount.com"
	OnCall    = "vx-breakglass@acme-ai.iam.gserviceaccount.com"
)

// Options say what to run. Binary and Example are required.
type Options struct {
	Binary  string // the built vertex-spoa
	Example string // the folder haproxy-example
	Dir     string // working folder; a temporary one, removed by Close, if empty
	HAProxy string // binary; found on the PATH or in /usr/sbin if empty
	TCP     bool   // HAProxy reaches the agent over loopback TCP, not over a unix socket
	Passed  bool   // the unix socket is passed to the agent, as systemd does it
	Base    string // the user's own haproxy.cfg; a minimal one if empty
	After   string // a further file of HAProxy's configuration, loaded after the example's; none if empty
	Policy  string // the text of the only policy file, policy.yaml; those of the example if empty

	Parties func(*fake.Options)    // changes what the other parties are made of; may be nil
	Prepare func(s *Sandbox) error // is called when the other parties are up and nothing else is; may be nil

	HAProxyEnv []string // further environment of HAProxy, NAME=VALUE
	AgentEnv   []string // further environment of the agent, likewise
	AgentFlags []string // further flags of `vertex-spoa serve`
	AgentUnder []string // program that the agent is started by, such as prlimit, and its arguments; none if empty
	TokenBytes int      // size of Google's tokens; 1,024 when 0
	NoAudit    bool     // the audit log goes where the agent's flags say, and not to a file of the sandbox
	Closings   Closings // how HAProxy's log lines come to the agent, which ends the records of the calls with them; not at all if empty
	Workers    bool     // HAProxy runs as master and worker, as Debian's service does, and can be reloaded
}

// Closings are the ways of HAProxy's log to the agent.
type Closings string

// The ways there are.
const (
	ByDatagram Closings = "datagram" // on a unix socket
	ByRing     Closings = "ring"     // from a ring of HAProxy's, on a unix socket
)

// Sandbox is a running whole. Its methods are safe for one scenario at a time.
type Sandbox struct {
	World *fake.World
	URL   string // of HAProxy, https
	Dir   string // everything this sandbox wrote

	options Options
	remove  bool
	clients map[Protocol]*http.Client
	admin   string // host:port of the agent's admin listener
	socket  string // where the agent listens, as the agent writes it
	log     string // where it listens for HAProxy's log, likewise
	haproxy *process

	passed *os.File // the unix socket, if the agent does not open it itself

	mu      sync.Mutex
	agent   *process
	issued  []string // what Caller has returned
	answers []byte   // what Do has got
}

// Accounts are the service accounts of the example's policy, which the agent may impersonate.
func Accounts() map[string]fake.Account {
	accounts := map[string]fake.Account{}
	for _, mail := range []string{Search, Research, Support, CI, Indexer, OnCall} {
		accounts[mail] = fake.Account{Impersonators: []string{AgentMail}, Projects: []string{Project}}
	}
	return accounts
}

// Start starts the parties, the agent and HAProxy, and returns when requests can be let through.
func Start(ctx context.Context, o Options) (_ *Sandbox, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("the sandbox did not come up in 30 s"))
	defer cancel()
	s := &Sandbox{options: o, Dir: o.Dir}
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp("", "vertex-spoa-"); err != nil {
			return nil, err
		}
		s.remove = true
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start sandbox: %w%s", err, s.postMortem())
			s.Close()
		}
	}()
	if s.World, err = fake.Start(s.parties()); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	if o.Prepare != nil {
		if err := o.Prepare(s); err != nil {
			return nil, err
		}
	}
	if err := s.StartAgent(ctx); err != nil {
		return nil, err
	}
	if err := s.startHAProxy(); err != nil {
		return nil, err
	}
	return s, s.waitForHAProxy(ctx)
}

// parties describes the other parties.
func (s *Sandbox) parties() fake.Options {
	o := fake.Options{
		Dir: filepath.Join(s.Dir, "ca"), Issuer: Issuer, Audience: Audience, Project: Project, Agent: AgentMail,
		TokenBytes: s.options.TokenBytes,
		Accounts:   Accounts(),
	}
	if s.options.Parties != nil {
		s.options.Parties(&o)
	}
	return o
}

// prepare writes what is not there yet: the server certificate, a copy of the policy, and the ports to use.
func (s *Sandbox) prepare() error {
	cert, err := s.World.CA.Server("localhost", "gateway.example.com")
	if err != nil {
		return err
	}
	if _, err := s.World.CA.Write("haproxy", cert); err != nil {
		return err
	}
	if err := s.writePolicy(); err != nil {
		return err
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	s.URL = "https://" + ports[0]
	s.admin = ports[1]
	s.socket = "unix@" + filepath.Join(s.Dir, "spoa.sock")
	if s.options.TCP {
		s.socket = ports[2]
	}
	switch s.options.Closings {
	case ByDatagram:
		s.log = "unix@" + filepath.Join(s.Dir, "log.sock")
	case ByRing:
		s.log = "stream+unix@" + filepath.Join(s.Dir, "log.sock")
	}
	s.clients = map[Protocol]*http.Client{HTTP1: s.Client(HTTP1), HTTP2: s.Client(HTTP2)}
	if s.options.Passed {
		return s.openSocket()
	}
	return nil
}

func (s *Sandbox) writePolicy() error {
	if s.options.Policy == "" {
		return os.CopyFS(s.PolicyDir(), os.DirFS(filepath.Join(s.options.Example, "policy.d")))
	}
	if err := os.Mkdir(s.PolicyDir(), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.PolicyDir(), "policy.yaml"), []byte(s.options.Policy), 0o600)
}

// openSocket opens the unix socket that is passed to the agent.
func (s *Sandbox) openSocket() error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.SocketPath(), Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	s.passed, err = l.File()
	return err
}

// freePorts returns loopback addresses that nobody listens on at the moment. Somebody else listens on them later, so they are not among
// those that the kernel gives to whoever asks it for any, on Linux from 32768 on.
func freePorts(n int) ([]string, error) {
	const least, most, tries = 15_000, 32_000, 1000
	var addrs []string
	var last error
	for range tries {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", least+rand.IntN(most-least)))
		if err != nil {
			last = err
			continue
		}
		defer l.Close() // all are held until all are found, so that they differ
		if addrs = append(addrs, l.Addr().String()); len(addrs) == n {
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports after %d tries: %w", n, tries, last)
}

// FreeAddr returns a loopback address that nobody listens on at the moment.
func FreeAddr() (string, error) {
	addrs, err := freePorts(1)
	if err != nil {
		return "", err
	}
	return addrs[0], nil
}

// PolicyDir is the agent's policy: a copy of the example's, there to be edited.
func (s *Sandbox) PolicyDir() string { return filepath.Join(s.Dir, "policy.d") }

func (s *Sandbox) auditPath() string { return filepath.Join(s.Dir, "audit.jsonl") }

const minimalBase = `# What stands in for the user's own haproxy.cfg.
global
    log stdout format raw local0
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
`

// HAProxyBinary returns the path of HAProxy, which Debian keeps out of an ordinary user's PATH.
func HAProxyBinary(configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	if path, err := exec.LookPath("haproxy"); err == nil {
		return path, nil
	}
	if _, err := os.Stat("/usr/sbin/haproxy"); err == nil {
		return "/usr/sbin/haproxy", nil
	}
	return "", errors.New("haproxy is not installed: run `make haproxy`")
}

// HAProxyEnv is the environment in which the example's files lead to this sandbox instead of to the real parties.
func (s *Sandbox) HAProxyEnv() []string {
	env := []string{
		"VERTEX_BIND=" + strings.TrimPrefix(s.URL, "https://"),
		"VERTEX_CERT=" + filepath.Join(s.Dir, "ca", "haproxy.pem"),
		"VERTEX_SPOE=" + filepath.Join(s.options.Example, "vertex-spoe.conf"),
		"VERTEX_LUA=" + filepath.Join(s.options.Example, "vertex-usage.lua"),
		"VERTEX_AGENT=" + s.socket,
		"VERTEX_CA=" + s.World.CA.File(),
	}
	for _, location := range []string{"GLOBAL", "US", "EU", "US_CENTRAL1", "EUROPE_WEST1", "EUROPE_WEST4"} {
		env = append(env, "VERTEX_UPSTREAM_"+location+"="+s.World.Vertex.Addr())
	}
	switch s.options.Closings {
	case ByDatagram:
		env = append(env, "VERTEX_CLOSING_LOG="+s.log)
	case ByRing:
		env = append(env, "VERTEX_CLOSING_RING="+strings.TrimPrefix(s.log, "stream+"))
	}
	return append(env, s.options.HAProxyEnv...)
}

func (s *Sandbox) startHAProxy() error {
	binary, err := HAProxyBinary(s.options.HAProxy)
	if err != nil {
		return err
	}
	if s.options.Base == "" {
		s.options.Base = filepath.Join(s.Dir, "haproxy.cfg")
		if err := os.WriteFile(s.options.Base, []byte(minimalBase), 0o600); err != nil {
			return err
		}
	}
	args := append([]string{"-db"}, s.HAProxyFiles()...)
	if s.options.Workers {
		args = append(args, "-W", "-S", s.masterSocket())
	}
	s.haproxy, err = start("haproxy", s.haproxyLog(), s.HAProxyEnv(), nil, binary, args...)
	return err
}

// waitForHAProxy waits until HAProxy has found the agent.
func (s *Sandbox) waitForHAProxy(ctx context.Context) error {
	err := until(ctx, "HAProxy has found the agent", func() bool {
		if !s.haproxy.running() {
			return true
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/healthz", nil)
		if err != nil {
			return false
		}
		res, err := s.clients[HTTP1].Do(req)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	if err == nil && !s.haproxy.running() {
		return fmt.Errorf("HAProxy has ended: %s", s.haproxy.tail(1<<10))
	}
	return err
}

// postMortem is what the programs said last, for an error message.
func (s *Sandbox) postMortem() string {
	var b strings.Builder
	for _, p := range []*process{s.agent, s.haproxy} {
		if p != nil {
			fmt.Fprintf(&b, "\n--- %s (running: %t)\n%s", p.name, p.running(), p.tail(4<<10))
		}
	}
	return b.String()
}

// Logs are the ends of what the programs said, without HAProxy's log of requests, to explain a failure.
func (s *Sandbox) Logs() string {
	said, err := s.Notices()
	if err != nil {
		said = err.Error()
	}
	return fmt.Sprintf("\n--- vertex-spoa\n%s\n--- HAProxy\n%s", s.agent.tail(2<<10), said[max(0, len(said)-2<<10):])
}

// Close ends everything and removes the temporary folder.
func (s *Sandbox) Close() {
	for _, c := range s.clients {
		c.CloseIdleConnections()
	}
	for _, p := range []*process{s.haproxy, s.agent} {
		if p != nil {
			p.stop(5 * time.Second)
		}
	}
	if s.passed != nil {
		_ = s.passed.Close()
	}
	if s.World != nil {
		_ = s.World.Close()
	}
	if s.remove {
		_ = os.RemoveAll(s.Dir)
	}
}
