package main

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// What the example's policy allows.
const (
	sandboxIssuer   = sandbox.Issuer
	sandboxAudience = sandbox.Audience
	group           = "search-eng"
	location        = "europe-west1"
	host            = "europe-west1-aiplatform.googleapis.com"
	target          = "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent"
	body            = `{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}]}`
)

// callerBytes is the least size of the caller's token.
const callerBytes = 900

// rig is what all variants share: the other parties, the agents and the upstream.
type rig struct {
	options options
	dir     string
	world   *fake.World
	caller  string // a token of the identity provider
	key     string // file of the identity provider's RSA key
	agents  map[string]*process
	vertex  string // address of the upstream
	running []*process
}

// front is a HAProxy of one variant.
type front struct {
	name    string
	url     string
	haproxy *process
	agent   *process // nil if there is none
}

// start starts everything but the fronts.
func (r *rig) start(ctx context.Context, haproxy string) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 60*time.Second, errors.New("not started after 60 s"))
	defer cancel()
	r.world, err = fake.Start(fake.Options{
		Dir: filepath.Join(r.dir, "ca"), Issuer: sandbox.Issuer, Audience: sandbox.Audience, Project: sandbox.Project, Agent: sandbox.AgentMail,
		Accounts:   sandbox.Accounts(),
		CallerLife: time.Hour,
	})
	if err != nil {
		return err
	}
	if err := r.startUpstream(haproxy); err != nil {
		return err
	}
	if err := r.issue(ctx); err != nil {
		return err
	}
	return r.startAgents(ctx)
}

func (r *rig) startUpstream(haproxy string) error {
	cert, err := r.world.CA.Server(host)
	if err != nil {
		return err
	}
	file, err := r.world.CA.Write("upstream", cert)
	if err != nil {
		return err
	}
	if r.vertex, err = sandbox.FreeAddr(); err != nil {
		return err
	}
	config := filepath.Join(r.dir, "upstream.cfg")
	text := strings.NewReplacer("ADDR", r.vertex, "CERT", file).Replace(upstream)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	_, err = r.run("upstream", nil, haproxy, "-db", "-f", config)
	return err
}

// run starts a process that ends with the rig.
func (r *rig) run(name string, env []string, program string, args ...string) (*process, error) {
	p, err := start(filepath.Join(r.dir, name+".log"), env, program, args...)
	if err == nil {
		r.running = append(r.running, p)
	}
	return p, err
}

// issue gets a token of the usual size for the caller, and the key that verifies it.
func (r *rig) issue(ctx context.Context) (err error) {
	claims := []fake.TokenOption{fake.Groups(group)}
	for pad := 0; ; pad += 30 {
		r.caller, err = r.world.IDP.Token(group+"@example.com", append(claims, fake.Claim("name", strings.Repeat("n", pad)))...)
		if err != nil {
			return err
		}
		if len(r.caller) >= callerBytes {
			break
		}
	}
	client := r.world.Client()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.world.IDP.JWKSURL(), nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var set struct {
		Keys []struct{ Kty, N, E string }
	}
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		return fmt.Errorf("keys of the identity provider: %w", err)
	}
	for _, k := range set.Keys {
		if k.Kty == "RSA" {
			r.key = filepath.Join(r.dir, "key.pem")
			return writeKey(r.key, k.N, k.E)
		}
	}
	return errors.New("the identity provider has no RSA key")
}

// writeKey writes a key of RFC 7518 section 6.3.1 in the form that HAProxy reads.
func writeKey(file, modulus, exponent string) error {
	n, err1 := base64.RawURLEncoding.DecodeString(modulus)
	e, err2 := base64.RawURLEncoding.DecodeString(exponent)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
}

func (r *rig) socket(variant string) string {
	if variant == none || variant == jwt {
		variant = floor // up, so that HAProxy's health checks are as with an agent; never asked
	}
	return filepath.Join(r.dir, slugs[variant]+".sock")
}

func (r *rig) auditFile() string { return filepath.Join(r.dir, "audit.jsonl") }

// startAgents starts the program with the example's configuration, and the agents that answer constants.
func (r *rig) startAgents(ctx context.Context) (err error) {
	noop := filepath.Join(r.dir, "noop")
	if said, err := exec.CommandContext(ctx, "go", "build", "-o", noop, "vertex-spoa/test/bench/noop").CombinedOutput(); err != nil {
		return fmt.Errorf("build the agent that answers constants: %w\n%s", err, said)
	}
	r.agents = map[string]*process{}
	for variant, server := range map[string]string{library: "library", floor: "spoe"} {
		r.agents[variant], err = r.run("agent-"+server, nil, noop, "-server="+server, "-listen="+r.socket(variant),
			"-uri="+target, "-host="+host, "-location="+location)
		if err != nil {
			return err
		}
	}
	admin, err := sandbox.FreeAddr()
	if err != nil {
		return err
	}
	r.agents[product], err = r.run("agent-product", r.world.AgentEnv(), r.options.binary, "serve",
		"--config="+filepath.Join(r.options.example, "vertex-spoa.yaml"), "--policy.dir="+filepath.Join(r.options.example, "policy.d"),
		"--spoe.listen=unix@"+r.socket(product), "--admin.listen="+admin, "--audit.path="+r.auditFile())
	if err != nil {
		return err
	}
	return until(ctx, "the agent is ready", r.agents[product], func() bool {
		return status(ctx, http.MethodGet, "http://"+admin+"/readyz", "") == http.StatusOK
	})
}

// fronts starts a HAProxy for each variant and returns those that it started, also with an error.
func (r *rig) fronts(ctx context.Context, haproxy string) (all []front, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("not up after 20 s"))
	defer cancel()
	text, err := os.ReadFile(filepath.Join(r.options.example, "vertex.cfg"))
	if err != nil {
		return nil, err
	}
	for _, variant := range variants {
		config, err := configure(string(text), variant, r.key, "ya29."+strings.Repeat("s", 1019))
		if err != nil {
			return all, err
		}
		f, err := r.front(haproxy, variant, config)
		if err != nil {
			return all, err
		}
		all = append(all, f)
		if err := check(ctx, f, r.caller); err != nil {
			return all, fmt.Errorf("%s: %w", variant, err)
		}
	}
	return all, nil
}

func (r *rig) front(haproxy, variant, config string) (front, error) {
	name := slugs[variant]
	file, own := filepath.Join(r.dir, name+".cfg"), filepath.Join(r.dir, "base.cfg")
	if err := errors.Join(os.WriteFile(file, []byte(config), 0o600), os.WriteFile(own, []byte(base), 0o600)); err != nil {
		return front{}, err
	}
	bind, err := sandbox.FreeAddr()
	if err != nil {
		return front{}, err
	}
	spoe, err := r.spoeFile(variant)
	if err != nil {
		return front{}, err
	}
	env := []string{
		"VERTEX_PLAIN_BIND=" + bind, "VERTEX_AGENT=unix@" + r.socket(variant), "VERTEX_CA=" + r.world.CA.File(),
		"VERTEX_SPOE=" + spoe, "VERTEX_LUA=" + filepath.Join(r.options.example, "vertex-usage.lua"), "VERTEX_UPSTREAM_EUROPE_WEST1=" + r.vertex,
	}
	p, err := start(filepath.Join(r.dir, "haproxy-"+name+".log"), env, haproxy, "-db", "-f", own, "-f", file)
	return front{name: variant, url: "http://" + bind, haproxy: p, agent: r.agents[variant]}, err
}

// spoeFile is the example's, or for the agent of haproxy-spoe-go one without the pipelining that HAProxy from 3.1 on cannot bear from it.
func (r *rig) spoeFile(variant string) (string, error) {
	file := filepath.Join(r.options.example, "vertex-spoe.conf")
	if variant != library {
		return file, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	const agent = "spoe-agent vertex\n"
	changed := strings.Replace(string(text), agent, agent+".if version_atleast(3.1)\n    no option pipelining\n.endif\n", 1)
	if changed == string(text) {
		return "", fmt.Errorf("the example's vertex-spoe.conf has changed: %q is not there", agent)
	}
	file = filepath.Join(r.dir, "library-spoe.conf")
	return file, os.WriteFile(file, []byte(changed), 0o600)
}

// check waits until a front lets the caller through, and looks whether those that verify let nobody else through.
func check(ctx context.Context, f front, caller string) error {
	got := 0
	err := until(ctx, "HAProxy lets a request through", f.haproxy, func() bool {
		got = status(ctx, http.MethodPost, f.url+target, caller)
		return got == http.StatusOK
	})
	if err != nil {
		return fmt.Errorf("%w; the last got status %d", err, got)
	}
	forged := caller[:len(caller)-8] + "AAAAAAAA"
	got = status(ctx, http.MethodPost, f.url+target, forged)
	if verifies := f.name == jwt || f.name == product; verifies && got != http.StatusUnauthorized || !verifies && got != http.StatusOK {
		return fmt.Errorf("a forged token gets status %d", got)
	}
	return nil
}

// status returns the status that a request gets, and 0 for none.
func status(ctx context.Context, method, url, token string) int {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// until waits until ok, unless the process exits before.
func until(ctx context.Context, what string, p *process, ok func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		case <-p.exited:
			return fmt.Errorf("waiting until %s: the process has exited", what)
		case <-tick.C:
		}
	}
	return nil
}

// said is what the processes complained about, for an error.
func (r *rig) said() string {
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(r.dir, "*.log"))
	for _, file := range files {
		if text, _ := os.ReadFile(file); len(text) > 0 {
			fmt.Fprintf(&b, "\n--- %s\n%s", filepath.Base(file), text[max(0, len(text)-2000):])
		}
	}
	return b.String()
}

func (r *rig) close() {
	for _, p := range r.running {
		p.stop()
	}
	if r.world != nil {
		_ = r.world.Close()
	}
}
