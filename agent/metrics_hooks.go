package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vertex-spoa/spoe"
)

// googleMetrics tell of the calls to Google.
type googleMetrics struct {
	mints            *counters[[2]string]
	mintDuration     prometheus.Histogram
	exchanges        *counters[[2]string]
	exchangeDuration prometheus.Histogram
}

func newGoogleMetrics(k maker) googleMetrics {
	buckets := prometheus.ExponentialBuckets(0.01, 2, 10)
	return googleMetrics{
		mints:            newPairs(k.counters("mints_total", "Tokens asked of IAM Credentials by account and result.", "account", "result")),
		mintDuration:     k.histogram("mint_duration_seconds", "Time IAM Credentials took to mint a token.", buckets),
		exchanges:        newPairs(k.counters("exchanges_total", "Callers' tokens exchanged at Google by audience and result.", "audience", "result")),
		exchangeDuration: k.histogram("exchange_duration_seconds", "Time Google took to exchange a caller's token.", buckets),
	}
}

// Minted counts one request to IAM Credentials; it has the shape of google.Config.OnMint.
func (m *Metrics) Minted(account string, d time.Duration, err error) {
	count(m.google.mints, account, err)
	m.google.mintDuration.Observe(d.Seconds())
}

// Exchanged counts one exchange of a caller's token; it has the shape of google.Config.OnExchange.
func (m *Metrics) Exchanged(audience string, d time.Duration, err error) {
	count(m.google.exchanges, audience, err)
	m.google.exchangeDuration.Observe(d.Seconds())
}

// count counts by name and result. The child of the other result is made too: a counter that begins with its first event does not show it.
func count(c *counters[[2]string], name string, err error) {
	ok, failed := c.of([2]string{name, "ok"}), c.of([2]string{name, "error"})
	if err != nil {
		ok = failed
	}
	ok.Inc()
}

func (m *Metrics) keysFetched(issuer string, _ int, err error) { count(m.fetches, issuer, err) }

// policyMetrics tell of the loads of the policy and of the deny list.
type policyMetrics struct {
	reloads     *prometheus.CounterVec
	time        prometheus.Gauge
	good        prometheus.Gauge
	revocations *prometheus.CounterVec
	revoked     prometheus.Gauge
}

func newPolicyMetrics(k maker) policyMetrics {
	p := policyMetrics{
		reloads:     k.counters("policy_reloads_total", "Attempts to load the policy by result.", "result"),
		time:        k.gauge("policy_loaded_timestamp_seconds", "Time of the last successful load of the policy."),
		good:        k.gauge("policy_last_reload_successful", "1 if the last attempt to load the policy was successful, 0 if the policy before it is in force."),
		revocations: k.counters("revocation_reloads_total", "Attempts to load a changed deny list by result.", "result"),
		revoked:     k.gauge("revocations_last_reload_successful", "1 if the last attempt to load the deny list was successful, 0 if the one before is in force."),
	}
	p.revoked.Set(1) // the program does not start without
	for _, r := range []string{"ok", "error"} {
		p.reloads.WithLabelValues(r)
		p.revocations.WithLabelValues(r)
	}
	return p
}

func (m *Metrics) reloaded(err error) {
	m.policies.reloads.WithLabelValues(result(err)).Inc()
	m.policies.good.Set(truth(err == nil))
	if err == nil {
		m.policies.time.SetToCurrentTime()
	}
}

// Revoked counts an attempt to load a changed deny list.
func (m *Metrics) Revoked(err error) {
	m.policies.revocations.WithLabelValues(result(err)).Inc()
	m.policies.revoked.Set(truth(err == nil))
}

// spopMetrics tell of the connections of HAProxy.
type spopMetrics struct {
	connections prometheus.Gauge
	opened      prometheus.Counter
	frames      *prometheus.CounterVec
	errors      *prometheus.CounterVec
}

func newSPOPMetrics(k maker) spopMetrics {
	s := spopMetrics{
		connections: k.gauge("spop_connections", "Open connections from HAProxy."),
		opened:      k.counter("spop_connections_opened_total", "Connections from HAProxy that were accepted."),
		frames:      k.counters("spop_frames_total", "SPOP frames received and sent by type.", "type"),
		errors:      k.counters("spop_errors_total", "SPOP errors by kind.", "kind"),
	}
	for _, r := range spoe.Reasons() {
		s.errors.WithLabelValues(string(r)) // so that the first one shows
	}
	return s
}

// SPOE returns the hooks of the SPOP server.
func (m *Metrics) SPOE() spoe.Hooks {
	notify, ack := m.spop.frames.WithLabelValues("NOTIFY"), m.spop.frames.WithLabelValues("ACK") // all others are rare
	return spoe.Hooks{
		Connection: func(delta int) {
			m.spop.connections.Add(float64(delta))
			if delta > 0 {
				m.spop.opened.Add(float64(delta))
			}
		},
		Frame: func(kind string) {
			switch kind {
			case "NOTIFY":
				notify.Inc()
			case "ACK":
				ack.Inc()
			default:
				m.spop.frames.WithLabelValues(kind).Inc()
			}
		},
		Error:    func(kind string) { m.spop.errors.WithLabelValues(kind).Inc() },
		Notify:   func(d time.Duration) { m.answers.Observe(d.Seconds()) },
		InFlight: func(delta int) { m.inFlight.Add(int64(delta)) },
	}
}
