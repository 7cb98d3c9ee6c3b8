package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Field is one key: its name in the file (section.key) and on the command line (--section.key), what it means, and its default.
type Field struct {
	Key     string
	Default string
	Doc     string
	set     func(c *Config, text string) error
}

// Fields returns every key in the order of the documentation.
func Fields() []Field { return append([]Field(nil), fields...) }

var fields = []Field{ // a table, never written
	{"spoe.listen", "unix@/run/vertex-spoa/spoa.sock",
		"Where HAProxy connects: unix@/path, host:port, or systemd for the socket that systemd passes. Tokens cross this wire: a host that is not loopback needs TLS.",
		func(c *Config, s string) error { return notEmpty(&c.SPOE.Listen, s) }},
	{"spoe.mode", "0660", "Mode of the unix socket, octal. Its group is that of the process: run it with HAProxy's group.",
		func(c *Config, s string) error { return mode(&c.SPOE.Mode, s) }},
	{"spoe.peer_uids", "", "If set, only processes of these numeric users may connect to the unix socket; separate them by commas.",
		func(c *Config, s string) error { return uids(&c.SPOE.PeerUIDs, s) }},
	{"spoe.tls_cert", "", "Certificate chain (PEM file) for a TCP listener; with spoe.tls_key it speaks TLS.",
		func(c *Config, s string) error { c.SPOE.TLSCert = s; return nil }},
	{"spoe.tls_key", "", "Private key (PEM file) of spoe.tls_cert.",
		func(c *Config, s string) error { c.SPOE.TLSKey = s; return nil }},
	{"spoe.tls_client_ca", "", "If set, HAProxy must show a certificate of these authorities (PEM file).",
		func(c *Config, s string) error { c.SPOE.TLSClientCA = s; return nil }},
	{"spoe.timeout", "800ms", "How long a decision may take. Keep it below HAProxy's `timeout processing`: a later answer is not written.",
		func(c *Config, s string) error { return duration(&c.SPOE.Timeout, s, 10*time.Millisecond, time.Minute) }},
	{"spoe.pipelining", "auto", "auto announces pipelining where it is safe with that HAProxy; on and off force it.",
		func(c *Config, s string) error { return oneOf(&c.SPOE.Pipelining, s, "auto", "on", "off") }},
	{"spoe.max_connections", "4096", "Connections from HAProxy; one more is closed at once.",
		func(c *Config, s string) error { return number(&c.SPOE.MaxConnections, s, 1) }},
	{"spoe.max_in_flight", "8192", "Requests without an answer in all; one more is denied OVERLOADED.",
		func(c *Config, s string) error { return number(&c.SPOE.MaxInFlight, s, 1) }},
	{"spoe.max_in_flight_per_connection", "128", "Requests without an answer on one connection; one more is denied OVERLOADED.",
		func(c *Config, s string) error { return number(&c.SPOE.MaxInFlightPerConnection, s, 1) }},
	{"spoe.drain", "10s", "On SIGTERM: how long connections may take to become idle before they are closed.",
		func(c *Config, s string) error { return duration(&c.SPOE.Drain, s, 0, time.Hour) }},

	{"spoe.processors", "auto",
		"Processors to use at once. auto is a quarter of the machine's, or what the environment variable GOMAXPROCS says: HAProxy needs the others more.",
		func(c *Config, s string) error {
			if s == "auto" {
				c.SPOE.Processors = 0
				return nil
			}
			return number(&c.SPOE.Processors, s, 1)
		}},

	{"policy.dir", "/etc/vertex-spoa/policy.d", "Directory of the policy files.",
		func(c *Config, s string) error { return notEmpty(&c.Policy.Dir, s) }},
	{"policy.poll", "5s", "How often the directory is compared with the policy in force, besides when the kernel tells of a change. SIGHUP and POST /reload reload at once.",
		func(c *Config, s string) error { return duration(&c.Policy.Poll, s, 50*time.Millisecond, time.Hour) }},

	{"identity.remembered_callers", "10000", "Verified tokens whose signature is not looked at again for a minute at most; 0 for none.",
		func(c *Config, s string) error { return number(&c.Identity.Callers, s, 0) }},

	{"identity.revocations", "", "Deny list of tokens, callers and certificates; empty for revoked.yaml in policy.dir. It is followed within a second.",
		func(c *Config, s string) error { c.Identity.Revocations = s; return nil }},

	{"google.credentials", "",
		"The agent's own identity: a credential file (workload identity federation, or a service account key if it must be); empty for the metadata server of GKE and GCE.",
		func(c *Config, s string) error { c.Google.Credentials = s; return nil }},
	{"google.credentials_endpoint", "https://iamcredentials.googleapis.com",
		"Address of the IAM Credentials API; another one for Private Service Connect or a restricted address.",
		func(c *Config, s string) error { return address(&c.Google.Endpoint, s) }},
	{"google.sts_endpoint", "https://sts.googleapis.com", "Address of the Security Token Service, likewise.",
		func(c *Config, s string) error { return address(&c.Google.STSEndpoint, s) }},
	{"google.universe_domain", "googleapis.com", "Domain of the cloud, where the credential file does not say it.",
		func(c *Config, s string) error { return notEmpty(&c.Google.UniverseDomain, s) }},
	{"google.ca", "", "If set, only these authorities (PEM file) are trusted for calls to Google and to issuers without a ca of their own.",
		func(c *Config, s string) error { c.Google.CA = s; return nil }},
	{"google.exchanges_per_minute", "5000", "Callers' tokens that are exchanged per minute; more are denied EXCHANGE_LIMIT. Google's quota is 6,000 a project.",
		func(c *Config, s string) error { return number(&c.Google.ExchangesPerMinute, s, 1) }},
	{"google.request_reason", "id",
		"What Google's audit logs are told in X-Goog-Request-Reason: off, id (of the decision), plain (and the caller's subject) or hmac (and its HMAC).",
		func(c *Config, s string) error {
			return oneOf(&c.Google.RequestReason, s, "off", "id", "plain", "hmac")
		}},
	{"google.request_reason_key", "", "File with the key of that HMAC, at least 32 bytes.",
		func(c *Config, s string) error { c.Google.RequestReasonKey = s; return nil }},
	{"google.warm_up", "10s", "How long readiness waits for the first keys and tokens.",
		func(c *Config, s string) error { return duration(&c.Google.WarmUp, s, time.Millisecond, time.Minute) }},

	{"audit.path", "-", "File of the audit lines, reopened on SIGHUP; - is standard output.",
		func(c *Config, s string) error { return notEmpty(&c.Audit.Path, s) }},

	{"admin.listen", "127.0.0.1:9902", "Address of /livez, /readyz and /metrics; none for no such listener.",
		func(c *Config, s string) error { return hostPort(&c.Admin.Listen, s) }},

	{"log.level", "info", "debug, info, warn or error. The program's log goes to standard error.",
		func(c *Config, s string) error { return c.Log.Level.UnmarshalText([]byte(s)) }},
	{"log.format", "json", "json or text.",
		func(c *Config, s string) error { return oneOf(&c.Log.Format, s, "json", "text") }},
}

func notEmpty(to *string, s string) error {
	if s == "" {
		return errors.New("must not be empty")
	}
	*to = s
	return nil
}

func oneOf(to *string, s string, allowed ...string) error {
	for _, a := range allowed {
		if s == a {
			*to = s
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", s, strings.Join(allowed, ", "))
}

func duration(to *time.Duration, s string, least, most time.Duration) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 800ms or 10s", s)
	}
	if d < least || d > most {
		return fmt.Errorf("%s is not between %s and %s", d, least, most)
	}
	*to = d
	return nil
}

func number(to *int, s string, least int) error {
	const most = 1_000_000
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return fmt.Errorf("%q is not a number between %d and %d", s, least, most)
	}
	*to = n
	return nil
}

func mode(to *fs.FileMode, s string) error {
	m, err := strconv.ParseUint(s, 8, 32)
	if err != nil || m > 0o777 {
		return fmt.Errorf("%q is not an octal file mode such as 0660", s)
	}
	*to = fs.FileMode(m)
	return nil
}

func uids(to *[]uint32, s string) error {
	*to = nil
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		uid, err := strconv.ParseUint(strings.TrimSpace(part), 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a numeric user id", part)
		}
		*to = append(*to, uint32(uid))
	}
	return nil
}

func hostPort(to *string, s string) error {
	if s == "none" {
		*to = ""
		return nil
	}
	if _, _, err := net.SplitHostPort(s); err != nil {
		return fmt.Errorf("%q is neither host:port nor none", s)
	}
	*to = s
	return nil
}

func address(to *string, s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "", strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("%q is not an address such as https://host", s)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		*to = s
		return nil
	}
	return fmt.Errorf("%q must be https: tokens cross it", s)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
