package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent"
	"vertex-spoa/agent/internal/config"
	"vertex-spoa/agent/internal/doctor"
	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/policy"
	"vertex-spoa/policy/strictyaml"
)

// doctorFlags are the flags of the command besides those of the configuration.
type doctorFlags struct {
	vertex, json bool
	roles        []string
	token, model string
	timeout      time.Duration
}

// runDoctor tries out the agent's identity, the issuers and the roles, and says what does not work and what mends it.
func runDoctor(ctx context.Context, args []string, stdout io.Writer) error {
	var f doctorFlags
	cfg, err := f.load(args)
	if err != nil {
		return err
	}
	c := doctor.Config{
		Base: google.BaseConfig{
			File: credentialFile(cfg), STSEndpoint: cfg.Google.STSEndpoint, IAMEndpoint: cfg.Google.Endpoint, UniverseDomain: cfg.Google.UniverseDomain,
		},
		Endpoint: cfg.Google.Endpoint, STSEndpoint: cfg.Google.STSEndpoint, CAFile: cfg.Google.CA,
		Roles: f.roles, Vertex: f.vertex, Model: f.model, Timeout: f.timeout,
	}
	if c.Policy, err = loadPolicy(cfg.Policy.Dir); err != nil {
		return err
	}
	if err := servable(c.Policy, false); err != nil {
		return err
	}
	c.Issuers = agent.Issuers(c.Policy)
	if err := knownRoles(f.roles, c.Policy); err != nil {
		return err
	}
	if c.Caller, err = readCaller(f.token); err != nil {
		return err
	}
	if c.Client, err = (google.Egress{CAFile: cfg.Google.CA}).Client(); err != nil {
		return loadError{fmt.Errorf("google.ca: %w", err)}
	}
	defer c.Client.CloseIdleConnections()
	report, err := doctor.Run(ctx, c)
	if err != nil {
		return loadError{err}
	}
	return f.show(&report, stdout)
}

// load parses args and reads the configuration that they name.
func (f *doctorFlags) load(args []string) (*config.Config, error) {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	file := flags.String("config", "", "configuration `file`; without it the defaults and the other flags hold")
	flags.BoolVar(&f.vertex, "vertex", false, "also make a countTokens call of Vertex AI with a token of each role; it costs nothing")
	flags.StringVar(&f.model, "model", "", "model of that call; without it one that a rule of the role names, or else "+doctor.DefaultModel)
	flags.Func("role", "role to try, may be given several times; without it all of the policy", func(name string) error {
		f.roles = append(f.roles, name)
		return nil
	})
	flags.StringVar(&f.token, "token", "", "file with a caller's token, for roles that exchange it; - is standard input")
	flags.BoolVar(&f.json, "json", false, "write one JSON object in place of text")
	flags.DurationVar(&f.timeout, "timeout", doctor.DefaultTimeout, "how long each check may take")
	overrides := config.Flags(flags)
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	switch {
	case f.timeout < time.Millisecond || f.timeout > 10*time.Minute:
		return nil, usageError(fmt.Sprintf("doctor: --timeout %v is not between 1ms and 10m0s", f.timeout))
	case f.model != "" && !f.vertex:
		return nil, usageError("doctor: --model is for --vertex")
	}
	cfg, err := config.Load(*file, overrides())
	if err != nil {
		return nil, loadError{err}
	}
	return cfg, nil
}

func knownRoles(asked []string, p *policy.Policy) error {
	var names []string
	for _, g := range p.Grants() {
		names = append(names, g.Role)
	}
	for _, name := range asked {
		if !slices.Contains(names, name) {
			return usageError(fmt.Sprintf("doctor: the policy has no role %q%s", name, strictyaml.Suggest(name, names)))
		}
	}
	return nil
}

const maxTokenFile = 64 << 10 // bytes

// readCaller reads the token of a caller, with or without "Bearer" before it. The name "-" is standard input, the empty one no token.
func readCaller(name string) (secret.Text, error) {
	if name == "" {
		return secret.Text{}, nil
	}
	from := io.Reader(os.Stdin)
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return secret.Text{}, usageError("doctor: --token: " + err.Error())
		}
		defer func() { _ = file.Close() }()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, maxTokenFile+1))
	if err != nil {
		return secret.Text{}, usageError("doctor: --token: " + err.Error())
	}
	token := strings.TrimSpace(string(text))
	if scheme, rest, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(rest)
	}
	if token == "" || len(text) > maxTokenFile || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return secret.Text{}, usageError(fmt.Sprintf("doctor: --token: %q does not hold one token", name))
	}
	return secret.New(token), nil
}

// show writes the report. Checks that failed are its error.
func (f *doctorFlags) show(r *doctor.Report, stdout io.Writer) error {
	var err error
	if f.json {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(r)
	} else {
		err = r.Write(stdout, styleFor(stdout))
	}
	if err != nil {
		return fmt.Errorf("doctor: write the report: %w", err)
	}
	if failed := r.Count(doctor.Failed); failed > 0 {
		return exitError{exitFailed, fmt.Sprintf("doctor: %d of %d checks failed", failed, len(r.Checks))}
	}
	return nil
}

// styleFor is how people see the report on w.
func styleFor(w io.Writer) doctor.Style {
	plain := os.Getenv("NO_COLOR") != ""
	return doctor.Style{ASCII: plain || !isUTF8(os.Getenv), Colour: !plain && isTerminal(w) && os.Getenv("TERM") != "dumb"}
}

// isUTF8 reports whether the locale's characters are those of Unicode; the first variable that is set says so (POSIX.1-2024 section 8.2).
func isUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := strings.ToLower(getenv(name)); value != "" {
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return false
}
