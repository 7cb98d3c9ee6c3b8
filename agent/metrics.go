package agent

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"vertex-spoa/policy"
	"vertex-spoa/spoe"
)

// Metrics are the Prometheus metrics of the program. No label takes a value from a caller: roles and rules are the policy's, reasons a
// closed set, accounts and issuers the policy's.
type Metrics struct {
	Registry *prometheus.Registry

	decisions    *prometheus.CounterVec
	known        sync.Map // decision -> prometheus.Counter: a child is found faster than its labels are compared
	stages       *prometheus.HistogramVec
	verify       prometheus.Observer
	decide       prometheus.Observer
	mint         prometheus.Observer
	auditErrors  prometheus.Counter
	withheld     prometheus.Counter
	rejected     prometheus.Counter
	mints        *prometheus.CounterVec
	mintDuration prometheus.Histogram
	exchanges    *prometheus.CounterVec
	keyFetches   *prometheus.CounterVec
	keys         *prometheus.GaugeVec
	keysTime     *prometheus.GaugeVec
	reloads      *prometheus.CounterVec
	reloadTime   prometheus.Gauge
	revocations  *prometheus.CounterVec

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
		decisions: counter("decisions_total", "Answers to HAProxy by decision (need_body is none yet), reason, role and rule.", "decision", "reason", "role", "rule"),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "vertex_spoa", Name: "stage_duration_seconds", Help: "Time a decision spent in a stage.",
			Buckets: prometheus.ExponentialBuckets(2e-6, 4, 10),
		}, []string{"stage"}),
		auditErrors: single("audit_errors_total", "Audit lines that could not be written."),
		withheld:    single("undelivered_total", "Answers that came too late or whose connection was gone."),
		rejected:    single("upstream_rejections_total", "Tokens that Google refused (401) although they were good."),
		mints:       counter("mints_total", "Tokens asked of IAM Credentials by account and result.", "account", "result"),
		mintDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "vertex_spoa", Name: "mint_duration_seconds", Help: "Time IAM Credentials took to mint a token.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 10),
		}),
		exchanges:  counter("exchanges_total", "Callers' tokens exchanged at Google by audience and result.", "audience", "result"),
		keyFetches: counter("key_fetches_total", "Fetches of an issuer's keys by result.", "issuer", "result"),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "vertex_spoa", Name: "issuer_keys", Help: "Usable keys of an issuer after the last good fetch.",
		}, []string{"issuer"}),
		keysTime: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "vertex_spoa", Name: "issuer_keys_fetched_timestamp_seconds", Help: "Time of the last good fetch of an issuer's keys.",
		}, []string{"issuer"}),
		reloads:     counter("policy_reloads_total", "Attempts to load the policy by result.", "result"),
		reloadTime:  gauge("policy_loaded_timestamp_seconds", "Time of the last successful load of the policy."),
		revocations: counter("revocation_reloads_total", "Attempts to load a changed deny list by result.", "result"),
		connections: gauge("spop_connections", "Open connections from HAProxy."),
		frames:      counter("spop_frames_total", "SPOP frames received by type.", "type"),
		spopErrors:  counter("spop_errors_total", "SPOP errors by kind.", "kind"),
	}
	m.verify, m.decide, m.mint = m.stages.WithLabelValues("verify"), m.stages.WithLabelValues("policy"), m.stages.WithLabelValues("mint")
	m.Registry.MustRegister(m.decisions, m.stages, m.auditErrors, m.withheld, m.rejected, m.mints, m.mintDuration, m.exchanges, m.keyFetches, m.keys, m.keysTime, m.reloads,
		m.reloadTime, m.revocations, m.connections, m.frames, m.spopErrors,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// decision is the labels of decisions_total.
type decision struct {
	effect             policy.Effect
	reason, role, rule string
}

func (m *Metrics) decided(a *answer) {
	d := decision{a.effect, string(a.reason), a.decision.Role, a.decision.Rule}
	m.counter(d).Inc()
	observe(m.verify, a.verify)
	observe(m.decide, a.decide)
	observe(m.mint, a.mint)
}

func (m *Metrics) counter(d decision) prometheus.Counter {
	if c, ok := m.known.Load(d); ok {
		return c.(prometheus.Counter)
	}
	c := m.decisions.WithLabelValues(d.effect.String(), d.reason, d.role, d.rule)
	m.known.Store(d, c)
	return c
}

// observe leaves out the stages that a request did not reach.
func observe(o prometheus.Observer, d time.Duration) {
	if d > 0 {
		o.Observe(d.Seconds())
	}
}

func (m *Metrics) auditFailed() { m.auditErrors.Inc() }
func (m *Metrics) undelivered() { m.withheld.Inc() }
func (m *Metrics) refused()     { m.rejected.Inc() }

func (m *Metrics) reloaded(err error) {
	m.reloads.WithLabelValues(result(err)).Inc()
	if err == nil {
		m.reloadTime.SetToCurrentTime()
	}
}

// Revoked counts an attempt to load a changed deny list.
func (m *Metrics) Revoked(err error) { m.revocations.WithLabelValues(result(err)).Inc() }

func (m *Metrics) keysFetched(issuer string, keys int, err error) {
	m.keyFetches.WithLabelValues(issuer, result(err)).Inc()
	if err == nil {
		m.keys.WithLabelValues(issuer).Set(float64(keys))
		m.keysTime.WithLabelValues(issuer).SetToCurrentTime()
	}
}

// Minted counts one request to IAM Credentials; it has the shape of google.Config.OnMint.
func (m *Metrics) Minted(account string, d time.Duration, err error) {
	m.mints.WithLabelValues(account, result(err)).Inc()
	m.mintDuration.Observe(d.Seconds())
}

// Exchanged counts one exchange of a caller's token; it has the shape of google.Config.OnExchange.
func (m *Metrics) Exchanged(audience string, _ time.Duration, err error) {
	m.exchanges.WithLabelValues(audience, result(err)).Inc()
}

// SPOE returns the hooks of the SPOP server.
func (m *Metrics) SPOE() spoe.Hooks {
	notify, ack := m.frames.WithLabelValues("NOTIFY"), m.frames.WithLabelValues("ACK") // all others are rare
	return spoe.Hooks{
		Connection: func(delta int) { m.connections.Add(float64(delta)) },
		Frame: func(kind string) {
			switch kind {
			case "NOTIFY":
				notify.Inc()
			case "ACK":
				ack.Inc()
			default:
				m.frames.WithLabelValues(kind).Inc()
			}
		},
		Error: func(kind string) { m.spopErrors.WithLabelValues(kind).Inc() },
	}
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}
