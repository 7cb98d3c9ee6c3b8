package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"vertex-spoa/spoe"
)

// Metrics are the Prometheus metrics of the program. No label takes a value from a caller: roles and rules are the policy's, reasons a
// closed set, accounts and issuers the policy's.
type Metrics struct {
	Registry *prometheus.Registry

	decisions    *prometheus.CounterVec
	stages       *prometheus.HistogramVec
	auditErrors  prometheus.Counter
	withheld     prometheus.Counter
	mints        *prometheus.CounterVec
	mintDuration prometheus.Histogram
	keyFetches   *prometheus.CounterVec
	keys         *prometheus.GaugeVec
	reloads      *prometheus.CounterVec
	reloadTime   prometheus.Gauge

	connections prometheus.Gauge
	frames      *prometheus.CounterVec
	spopErrors  *prometheus.CounterVec
}

// NewMetrics returns metrics in a registry of their own, beside those of the Go runtime and the process.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "vertex_spoa", Name: name, Help: help}, labels)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "vertex_spoa", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "vertex_spoa", Name: name, Help: help})
	}
	m := &Metrics{
		Registry:  prometheus.NewRegistry(),
		decisions: counter("decisions_total", "Answers to HAProxy by decision, reason, role and rule.", "decision", "reason", "role", "rule"),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "vertex_spoa", Name: "stage_duration_seconds", Help: "Time a decision spent in a stage.",
			Buckets: prometheus.ExponentialBuckets(2e-6, 4, 10),
		}, []string{"stage"}),
		auditErrors: single("audit_errors_total", "Audit lines that could not be written."),
		withheld:    single("undelivered_total", "Answers that came too late or whose connection was gone."),
		mints:       counter("mints_total", "Tokens asked of IAM Credentials by account and result.", "account", "result"),
		mintDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "vertex_spoa", Name: "mint_duration_seconds", Help: "Time IAM Credentials took to mint a token.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 10),
		}),
		keyFetches: counter("key_fetches_total", "Fetches of an issuer's keys by result.", "issuer", "result"),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "vertex_spoa", Name: "issuer_keys", Help: "Usable keys of an issuer after the last good fetch.",
		}, []string{"issuer"}),
		reloads:     counter("policy_reloads_total", "Attempts to load the policy by result.", "result"),
		reloadTime:  gauge("policy_loaded_timestamp_seconds", "Time of the last successful load of the policy."),
		connections: gauge("spop_connections", "Open connections from HAProxy."),
		frames:      counter("spop_frames_total", "SPOP frames received by type.", "type"),
		spopErrors:  counter("spop_errors_total", "SPOP errors by kind.", "kind"),
	}
	m.Registry.MustRegister(m.decisions, m.stages, m.auditErrors, m.withheld, m.mints, m.mintDuration, m.keyFetches, m.keys, m.reloads,
		m.reloadTime, m.connections, m.frames, m.spopErrors,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) decided(a *answer) {
	verdict := "deny"
	if a.allowed() {
		verdict = "allow"
	}
	m.decisions.WithLabelValues(verdict, string(a.reason), a.decision.Role, a.decision.Rule).Inc()
	for _, s := range [...]struct {
		name string
		d    time.Duration
	}{{"verify", a.verify}, {"policy", a.decide}, {"mint", a.mint}} {
		if s.d > 0 {
			m.stages.WithLabelValues(s.name).Observe(s.d.Seconds())
		}
	}
}

func (m *Metrics) auditFailed() { m.auditErrors.Inc() }
func (m *Metrics) undelivered() { m.withheld.Inc() }

func (m *Metrics) reloaded(err error) {
	m.reloads.WithLabelValues(result(err)).Inc()
	if err == nil {
		m.reloadTime.SetToCurrentTime()
	}
}

func (m *Metrics) keysFetched(issuer string, keys int, err error) {
	m.keyFetches.WithLabelValues(issuer, result(err)).Inc()
	if err == nil {
		m.keys.WithLabelValues(issuer).Set(float64(keys))
	}
}

// Minted counts one request to IAM Credentials; it has the shape of google.Config.OnMint.
func (m *Metrics) Minted(account string, d time.Duration, err error) {
	m.mints.WithLabelValues(account, result(err)).Inc()
	m.mintDuration.Observe(d.Seconds())
}

// SPOE returns the hooks of the SPOP server.
func (m *Metrics) SPOE() spoe.Hooks {
	return spoe.Hooks{
		Connection: func(delta int) { m.connections.Add(float64(delta)) },
		Frame:      func(kind string) { m.frames.WithLabelValues(kind).Inc() },
		Error:      func(kind string) { m.spopErrors.WithLabelValues(kind).Inc() },
	}
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}
