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
	{"spoe.max_connections", "4096", "Connections from HAProxy, or fewer if the process may not open so many files. One more takes the place of one that has not said HELLO or has been idle for longest, or is closed.",
		func(c *Config, s string) error { return number(&c.SPOE.MaxConnections, s, 1) }},
	{"spoe.max_in_flight", "8192", "Requests without an answer in all; one more is denied OVERLOADED.",
		func(c *Config, s string) error { return number(&c.SPOE.MaxInFlight, s, 1) }},
	{"spoe.max_in_flight_per_connection", "128", "Requests without an answer on one connection; one more is denied OVERLOADED.",
		func(c *Config, s string) error { return number(&c.SPOE.MaxInFlightPerConnection, s, 1) }},
	{"spoe.max_frame_size", "262140", "Longest question of HAProxy, in bytes: its tune.bufsize less 4, or more. A body that is to be judged goes along.",
		func(c *Config, s string) error { return number(&c.SPOE.MaxFrameSize, s, 256) }},
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
	{"audit.syslog", "", "If set, the lines go to syslog (RFC 5424) instead: unix@/dev/log, or host:port for TCP.",
		func(c *Config, s string) error { return optional(&c.Audit.Syslog, s, socket) }},
	{"audit.chain", "off", "on chains the lines by their hashes, so that `vertex-spoa audit verify` finds what was changed or taken out.",
		func(c *Config, s string) error { return onOff(&c.Audit.Chain, s) }},
	{"audit.chain_key", "", "File with a key of at least 32 bytes for these hashes: nobody without it can mend a chain.",
		func(c *Config, s string) error { c.Audit.ChainKey = s; return nil }},
	{"audit.mask", "", "What is masked in the lines, such as subject=hmac,src=drop.",
		func(c *Config, s string) error { c.Audit.Mask = s; return nil }},
	{"audit.mask_key", "", "File with the key of hmac in audit.mask, at least 32 bytes.",
		func(c *Config, s string) error { c.Audit.MaskKey = s; return nil }},

	{"closing.listen", "none",
		"Where HAProxy's log comes in, to be joined with the decisions: unix@/path (datagrams), stream+unix@/path or host:port on this host (from a ring section), or none.",
		func(c *Config, s string) error { return logListener(&c.Closing.Listen, s) }},
	{"closing.wait", "15m", "How long the log line of an allowed call may take before it counts as missing: longer than the longest call.",
		func(c *Config, s string) error { return duration(&c.Closing.Wait, s, time.Second, 24*time.Hour) }},
	{"closing.max_pending", "65536", "Allowed calls that are remembered until their log line comes; one more ends the oldest, as missing.",
		func(c *Config, s string) error { return number(&c.Closing.MaxPending, s, 1) }},

	{"misuse.signals", "off", "on flags signs of misuse in the audit lines and counts them.",
		func(c *Config, s string) error { return onOff(&c.Misuse.Signals, s) }},
	{"misuse.thresholds", "", "Those that differ from their defaults, such as denials=30,spike_factor=4.",
		func(c *Config, s string) error { c.Misuse.Thresholds = s; return nil }},
	{"misuse.state", "", "File that keeps what was learned of the callers across restarts, names as hashes; without it each start learns anew, for four weeks.",
		func(c *Config, s string) error { c.Misuse.State = s; return nil }},

	{"trace.endpoint", "", "If set, decisions are traced by OTLP over HTTP to this address, such as http://127.0.0.1:4318.",
		func(c *Config, s string) error { return optional(&c.Trace.Endpoint, s, collector) }},
	{"trace.sample", "0.01", "Share of the requests without a traceparent that is traced, 0 to 1; with one, the caller's choice holds.",
		func(c *Config, s string) error { return share(&c.Trace.Sample, s) }},
	{"trace.subject", "off", "on adds the caller's subject to the traces.",
		func(c *Config, s string) error { return onOff(&c.Trace.Subject, s) }},

	{"metrics.native_histograms", "off", "on adds native histograms to the classic ones.",
		func(c *Config, s string) error { return onOff(&c.Metrics.NativeHistograms, s) }},

	{"admin.listen", "127.0.0.1:9902",
		"Address of the status page, /livez, /readyz and /metrics: host:port, unix@/path, or none. A host that is not loopback needs TLS and certificates of the clients.",
		func(c *Config, s string) error { return listener(&c.Admin.Listen, s) }},
	{"admin.tls_cert", "", "Certificate chain (PEM file) of the admin listener.",
		func(c *Config, s string) error { c.Admin.TLSCert = s; return nil }},
	{"admin.tls_key", "", "Private key (PEM file) of admin.tls_cert.",
		func(c *Config, s string) error { c.Admin.TLSKey = s; return nil }},
	{"admin.tls_client_ca", "", "Who may connect must show a certificate of these authorities (PEM file).",
		func(c *Config, s string) error { c.Admin.TLSClientCA = s; return nil }},
	{"admin.pprof", "off", "on serves Go's profiles below /debug/pprof/.",
		func(c *Config, s string) error { return onOff(&c.Admin.Pprof, s) }},

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

// optional reads what may be empty.
func optional(to *string, s string, read func(*string, string) error) error {
	if s == "" {
		*to = ""
		return nil
	}
	return read(to, s)
}

func onOff(to *bool, s string) error {
	if s != "on" && s != "off" {
		return fmt.Errorf("%q is neither on nor off", s)
	}
	*to = s == "on"
	return nil
}

func share(to *float64, s string) error {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= 1) { // NaN is neither
		return fmt.Errorf("%q is not a number between 0 and 1", s)
	}
	*to = f
	return nil
}

// socket reads unix@/path or host:port.
func socket(to *string, s string) error {
	path, unix := strings.CutPrefix(s, "unix@")
	_, _, err := net.SplitHostPort(s)
	if unix && !strings.HasPrefix(path, "/") || !unix && err != nil {
		return fmt.Errorf("%q is neither unix@/path nor host:port", s)
	}
	*to = s
	return nil
}

// listener reads a socket, or none.
func listener(to *string, s string) error {
	if s == "none" {
		*to = ""
		return nil
	}
	if err := socket(to, s); err != nil {
		return fmt.Errorf("%w nor none", err)
	}
	return nil
}

// logListener reads a listener, which may say how it is spoken to.
func logListener(to *string, s string) error {
	rest, streamed := strings.CutPrefix(s, "stream+")
	if streamed && !strings.HasPrefix(rest, "unix@") {
		return fmt.Errorf("%q: stream+ is for unix@/path", s)
	}
	if err := listener(to, rest); err != nil {
		return err
	}
	if streamed {
		*to = s
	}
	return nil
}

// collector reads the address of an OTLP receiver. No token goes there: it may be http on another host.
func collector(to *string, s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is not an address such as http://127.0.0.1:4318", s)
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
