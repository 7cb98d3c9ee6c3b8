package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"vertex-spoa/agent"
	"vertex-spoa/agent/internal/audit"
	"vertex-spoa/agent/internal/config"
	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/status"
	"vertex-spoa/policy"
	"vertex-spoa/spoe"
)

// load reads the configuration from the flags in args and the file they name.
func load(command string, args []string) (*config.Config, error) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	file := flags.String("config", "", "configuration `file`; without it the defaults and the other flags hold")
	overrides := config.Flags(flags)
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	cfg, err := config.Load(*file, overrides())
	if err != nil {
		return nil, loadError{err}
	}
	return cfg, nil
}

func serve(ctx context.Context, args []string, stderr io.Writer) error {
	started := time.Now()
	cfg, err := load("serve", args)
	if err != nil {
		return err
	}
	log := newLogger(cfg, stderr)
	useProcessors(cfg.SPOE.Processors)
	p, err := assemble(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer p.close()
	return p.run(ctx, started)
}

// useProcessors sets how many processors run the program at once. More than it needs cost it dearly: goroutines that hand work to each
// other wake up sleeping threads.
func useProcessors(n int) {
	if n == 0 && os.Getenv("GOMAXPROCS") == "" {
		n = max(1, runtime.GOMAXPROCS(0)/4)
	}
	if n > 0 {
		runtime.GOMAXPROCS(n)
	}
}

// affordable returns n, or fewer if the process may not open so many files and those that the policy, Google and the issuers take: without
// these there would soon be no token for anybody. They are left 256, or half of what there is.
func affordable(n int, log *slog.Logger) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur > math.MaxInt {
		return n
	}
	limit := int(files.Cur)
	most := max(limit/2, limit-256)
	if n <= most {
		return n
	}
	log.Warn("fewer connections than spoe.max_connections, for the process may not open so many files: raise its limit (LimitNOFILE=, ulimit -n)",
		"max_connections", n, "files", limit, "connections", most)
	return most
}

func newLogger(cfg *config.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Log.Level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// program is the running agent and what it owns, in the order it is taken down.
type program struct {
	cfg     *config.Config
	log     *slog.Logger
	audit   *audit.Log
	tokens  *google.Source
	revoked *identity.RevocationFile
	agent   *agent.Agent
	server  *spoe.Server
	admin   *http.Server
	sight   sight

	spoeListener, adminListener net.Listener
}

// assemble makes the parts and opens the sockets. What it has made before an error it takes down again.
func assemble(ctx context.Context, cfg *config.Config, log *slog.Logger) (_ *program, err error) {
	p := &program{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	metrics := agent.NewMetrics(agent.NativeHistograms(cfg.Metrics.NativeHistograms), agent.Build(version))
	if err := p.openAudit(metrics); err != nil {
		return nil, err
	}
	if err := p.look(ctx, metrics); err != nil {
		return nil, err
	}
	var client *http.Client
	if p.tokens, client, err = tokenSource(ctx, cfg, log, metrics); err != nil {
		return nil, err
	}
	stamp, err := stamp(cfg)
	if err != nil {
		return nil, loadError{err}
	}
	if p.revoked, err = p.openRevocations(metrics); err != nil {
		return nil, loadError{err}
	}
	its := agent.Config{
		PolicyDir: cfg.Policy.Dir, Keys: client, Revoked: p.revoked, Tokens: p.tokens, Audit: p.audit, Metrics: metrics, Log: log,
		Callers: cfg.Identity.Callers, WarmUp: cfg.Google.WarmUp, Stamp: stamp,
	}
	p.sight.tell(&its)
	if p.agent, err = agent.New(its); err != nil {
		return nil, loadError{err}
	}
	if p.server, err = spoe.New(spoe.Config{
		Handler: p.agent, Overload: p.agent.Overload, EndBatch: p.agent.EndBatch, Withheld: p.agent.Withheld, Log: log, Hooks: metrics.SPOE(),
		Timeout: cfg.SPOE.Timeout, MaxConns: affordable(cfg.SPOE.MaxConnections, log), MaxInFlight: cfg.SPOE.MaxInFlight,
		MaxInFlightPerConn: cfg.SPOE.MaxInFlightPerConnection, Pipelining: spoe.Pipelining(cfg.SPOE.Pipelining), PeerUIDs: cfg.SPOE.PeerUIDs,
		MaxFrameSize: uint32(cfg.SPOE.MaxFrameSize),
	}); err != nil {
		return nil, err
	}
	return p, p.listen(ctx)
}

// revocationPeriod is how often the deny list is looked at. A change is effective after two looks at the latest.
const revocationPeriod = 500 * time.Millisecond

// openRevocations reads the deny list, and has what becomes of it later logged and counted.
func (p *program) openRevocations(metrics *agent.Metrics) (*identity.RevocationFile, error) {
	file := p.cfg.Identity.Revocations
	if file == "" {
		file = filepath.Join(p.cfg.Policy.Dir, policy.RevocationsFile)
	}
	return identity.OpenRevocations(file, func(list *identity.Revocations, err error) {
		metrics.Revoked(err)
		if err != nil {
			p.log.Error("deny list not loaded, the one before stays in force", "file", file, "error", err)
			return
		}
		p.log.Info("deny list loaded", "file", file, "entries", list.Len(), "digest", list.Digest())
		p.agent.WarnOfRevocations()
	})
}

func (p *program) listen(ctx context.Context) error {
	var err error
	if p.cfg.Admin.Listen != "" {
		p.adminListener, err = listenAdmin(ctx, p.cfg)
		if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		// No WriteTimeout: a profile takes as long as it is asked to.
		p.admin = &http.Server{ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
	}
	p.spoeListener, err = listenSPOE(ctx, p.cfg)
	return err
}

func listenSPOE(ctx context.Context, cfg *config.Config) (net.Listener, error) {
	secured, err := serverTLS(cfg)
	if err != nil {
		return nil, err
	}
	l, err := spoe.Listen(ctx, cfg.SPOE.Listen, spoe.ListenOptions{Mode: cfg.SPOE.Mode, TLS: secured})
	if err != nil {
		return nil, fmt.Errorf("spoe.listen: %w", err)
	}
	return l, nil
}

func listenAdmin(ctx context.Context, cfg *config.Config) (net.Listener, error) {
	a := &cfg.Admin
	l, err := status.Listen(ctx, status.Options{Listen: a.Listen, TLSCert: a.TLSCert, TLSKey: a.TLSKey, ClientCA: a.TLSClientCA})
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %w", err)
	}
	return l, nil
}

// serveAdmin serves the admin listener. An address in use is most likely that of the agent which this one replaces: HAProxy's questions
// are answered meanwhile, and the address is taken over when the other agent has drained.
func (p *program) serveAdmin(ctx context.Context) error {
	if p.adminListener == nil {
		p.log.Warn("admin address is in use, trying until it is free", "listen", p.cfg.Admin.Listen)
	}
	for p.adminListener == nil {
		select {
		case <-ctx.Done():
			return http.ErrServerClosed
		case <-time.After(100 * time.Millisecond):
		}
		var err error
		if p.adminListener, err = listenAdmin(ctx, p.cfg); err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return p.admin.Serve(p.adminListener)
}

// serverTLS returns the TLS configuration of the SPOP listener, nil where none is configured. A client CA makes a certificate of HAProxy's
// mandatory.
func serverTLS(cfg *config.Config) (*tls.Config, error) {
	if cfg.SPOE.TLSCert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(cfg.SPOE.TLSCert, cfg.SPOE.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("spoe.tls_cert: %w", err)
	}
	secured := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if cfg.SPOE.TLSClientCA == "" {
		return secured, nil
	}
	pem, err := os.ReadFile(cfg.SPOE.TLSClientCA)
	if err != nil {
		return nil, fmt.Errorf("spoe.tls_client_ca: %w", err)
	}
	secured.ClientCAs, secured.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !secured.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("spoe.tls_client_ca: no certificate in %q", cfg.SPOE.TLSClientCA)
	}
	return secured, nil
}

// run serves until SIGTERM or SIGINT, or until a listener fails, and then drains.
func (p *program) run(ctx context.Context, started time.Time) error {
	signal.Ignore(syscall.SIGPIPE) // who reads the log may go
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	serve := func(l net.Listener) {
		if err := p.server.Serve(l); !errors.Is(err, spoe.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			cancel(fmt.Errorf("spoe listener: %w", err))
		}
	}
	group.Go(func() { serve(p.spoeListener) })
	group.Go(func() { p.guardSocket(ctx, serve) })
	if p.admin != nil {
		handler, err := p.console(ctx, started)
		if err != nil {
			return err
		}
		p.admin.Handler = handler
		group.Go(func() {
			if err := p.serveAdmin(ctx); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("admin listener: %w", err))
			}
		})
	}
	group.Go(func() { p.agent.WarmUp(ctx) })
	group.Go(func() { p.agent.Watch(ctx, p.cfg.Policy.Poll) })
	group.Go(func() { p.revoked.Watch(ctx, revocationPeriod) })
	group.Go(func() { p.onHangup(ctx, hangup) })
	group.Go(func() { p.saveHabits(ctx) })
	joining := p.joinClosings(ctx)
	p.agent.SetListening(true)
	p.log.Info("serving", "version", version, "listen", p.cfg.SPOE.Listen, "admin", p.cfg.Admin.Listen, "start_ms", time.Since(started).Milliseconds())

	<-ctx.Done()
	cause := context.Cause(ctx)
	p.drain()
	joining()
	if errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}

func (p *program) onHangup(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		if err := p.audit.Reopen(); err != nil {
			p.log.Error("audit log not reopened", "error", err)
		}
		p.agent.ReloadAndLog(ctx)
	}
}

// drain stops taking work and finishes what is under way.
func (p *program) drain() {
	p.log.Info("draining")
	p.agent.SetListening(false)
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.SPOE.Drain)
	defer cancel()
	if err := p.server.Shutdown(ctx); err != nil {
		p.log.Warn("connections closed before they were idle", "error", err)
	}
	if p.admin != nil {
		_ = p.admin.Shutdown(ctx)
	}
}

// close takes down what was made, in an order in which nobody misses what it needs.
func (p *program) close() {
	for _, l := range []net.Listener{p.spoeListener, p.adminListener} {
		if l != nil {
			_ = l.Close()
		}
	}
	if p.agent != nil {
		p.agent.Close()
	}
	if p.tokens != nil {
		p.tokens.Close()
	}
	if err := p.sight.close(); err != nil {
		p.log.Warn("not everything was closed cleanly", "error", err)
	}
	if p.audit != nil {
		if err := p.audit.Close(); err != nil {
			p.log.Error("audit log not closed cleanly", "error", err)
		}
	}
}
