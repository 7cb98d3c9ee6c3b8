// Package config reads the configuration of the program: one YAML file and flags, which win. It is strict, it is data only, and it
// reports every problem at once with file, line and key. The policy is not part of it.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"vertex-spoa/policy/strictyaml"
)

// Config is a complete configuration: what was not written has its default. Only Load makes one.
type Config struct {
	SPOE     SPOE
	Policy   Policy
	Identity Identity
	Google   Google
	Audit    Audit
	Closing  Closing
	Misuse   Misuse
	Trace    Trace
	Metrics  Metrics
	Admin    Admin
	Log      Log
}

// SPOE is about the socket HAProxy connects to.
type SPOE struct {
	Listen                   string
	Mode                     fs.FileMode
	PeerUIDs                 []uint32
	TLSCert                  string
	TLSKey                   string
	TLSClientCA              string
	Timeout                  time.Duration
	Pipelining               string
	MaxConnections           int
	MaxInFlight              int
	MaxInFlightPerConnection int
	MaxFrameSize             int // bytes
	Drain                    time.Duration
	Processors               int // 0 is auto
}

// Policy is about the policy files.
type Policy struct {
	Dir  string
	Poll time.Duration
}

// Identity is about the callers.
type Identity struct {
	Callers     int
	Revocations string
}

// Google is about the tokens.
type Google struct {
	Credentials        string
	Endpoint           string
	STSEndpoint        string
	UniverseDomain     string
	CA                 string
	ExchangesPerMinute int
	RequestReason      string
	RequestReasonKey   string
	WarmUp             time.Duration
}

// Audit is about the audit log.
type Audit struct {
	Path     string
	Syslog   string
	Chain    bool
	ChainKey string
	Mask     string
	MaskKey  string
}

// Closing is about HAProxy's log, which ends the records of the calls.
type Closing struct {
	Listen     string // empty for none
	Wait       time.Duration
	MaxPending int
}

// Misuse is about the signs of misuse.
type Misuse struct {
	Signals    bool
	Thresholds string
	State      string // file; empty for none
}

// Trace is about OpenTelemetry.
type Trace struct {
	Endpoint string // empty for none
	Sample   float64
	Subject  bool
}

// Metrics is about /metrics.
type Metrics struct{ NativeHistograms bool }

// Admin is about the admin listener.
type Admin struct {
	Listen      string // empty for none
	TLSCert     string
	TLSKey      string
	TLSClientCA string
	Pprof       bool
}

// Log is about the program's own log.
type Log struct {
	Level  slog.Level
	Format string
}

// Load reads the file, unless its name is empty, and puts the overrides, texts by key, over it. The error holds every problem.
func Load(file string, overrides map[string]string) (*Config, error) {
	c := &Config{}
	for _, f := range fields {
		if err := f.set(c, f.Default); err != nil {
			panic(fmt.Sprintf("default of %s: %v", f.Key, err))
		}
	}
	var problems []error
	if file != "" {
		problems = append(problems, c.readFile(file))
	}
	for _, f := range fields {
		text, given := overrides[f.Key]
		if !given {
			continue
		}
		if err := f.set(c, text); err != nil {
			problems = append(problems, fmt.Errorf("flag --%s=%s: %w", f.Key, text, err))
		}
	}
	if err := errors.Join(append(problems, c.check())...); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Config) readFile(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var problems strictyaml.Problems
	if root := strictyaml.Parse(file, data, &problems); root != nil {
		root.Object(&problems, c.sections(&problems))
	}
	return problems.Err()
}

// sections makes the two levels of the file, section and key, of the flat table.
func (c *Config) sections(p *strictyaml.Problems) []strictyaml.Field {
	var names []string
	inner := map[string][]strictyaml.Field{}
	for _, f := range fields {
		section, key, _ := strings.Cut(f.Key, ".")
		if !slices.Contains(names, section) {
			names = append(names, section)
		}
		inner[section] = append(inner[section], strictyaml.Field{Name: key, Read: func(n *strictyaml.Node) {
			text, ok := n.Text(p)
			if !ok {
				return
			}
			if err := f.set(c, text); err != nil {
				p.Addf(n, "%s: %v", f.Key, err)
			}
		}})
	}
	var to []strictyaml.Field
	for _, name := range names {
		to = append(to, strictyaml.Field{Name: name, Read: func(n *strictyaml.Node) { n.Object(p, inner[name]) }})
	}
	return to
}

// check finds what only shows when all is read.
func (c *Config) check() error {
	var problems []error
	if (c.SPOE.TLSCert == "") != (c.SPOE.TLSKey == "") {
		problems = append(problems, errors.New("spoe.tls_cert and spoe.tls_key: set both or neither"))
	}
	if c.SPOE.TLSClientCA != "" && c.SPOE.TLSCert == "" {
		problems = append(problems, errors.New("spoe.tls_client_ca: needs spoe.tls_cert and spoe.tls_key"))
	}
	if c.Audit.Syslog != "" && c.Audit.Path != "-" {
		problems = append(problems, errors.New("audit.path and audit.syslog: set one of them"))
	}
	if c.Audit.ChainKey != "" && !c.Audit.Chain {
		problems = append(problems, errors.New("audit.chain_key: needs audit.chain: on"))
	}
	if (c.Admin.TLSCert == "") != (c.Admin.TLSKey == "") {
		problems = append(problems, errors.New("admin.tls_cert and admin.tls_key: set both or neither"))
	}
	if c.Admin.TLSClientCA != "" && c.Admin.TLSCert == "" {
		problems = append(problems, errors.New("admin.tls_client_ca: needs admin.tls_cert and admin.tls_key"))
	}
	if (c.Google.RequestReason == "hmac") != (c.Google.RequestReasonKey != "") {
		problems = append(problems, errors.New("google.request_reason: hmac needs google.request_reason_key, and nothing else does"))
	}
	return errors.Join(problems...)
}

// Flags adds a flag for every key to flags. After they have been parsed, the returned function has the texts of those that were given.
func Flags(flags *flag.FlagSet) func() map[string]string {
	texts := map[string]*string{}
	for _, f := range fields {
		texts[f.Key] = flags.String(f.Key, f.Default, f.Doc)
	}
	return func() map[string]string {
		given := map[string]string{}
		flags.Visit(func(f *flag.Flag) {
			if text, ours := texts[f.Name]; ours {
				given[f.Name] = *text
			}
		})
		return given
	}
}
