package agent

import (
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"vertex-spoa/policy"
)

// Metrics are the Prometheus metrics of the program. No label takes a value from a caller: roles and rules are the policy's, reasons and
// signals closed sets, accounts and issuers the policy's. Counters of what a policy brings along stay until the process ends, also when a
// later policy has it no longer; there are so many and no more, see counters. Gauges tell of the policy in force alone. Its methods are safe
// for concurrent use.
type Metrics struct {
	Registry *prometheus.Registry

	decisions *counters[decision]
	verify    prometheus.Observer
	decide    prometheus.Observer
	mint      prometheus.Observer
	answers   prometheus.Histogram
	inFlight  atomic.Int64
	waits     prometheus.Counter
	found     prometheus.Counter
	sought    prometheus.Counter
	withheld  prometheus.Counter
	rejected  prometheus.Counter

	google   googleMetrics
	fetches  *counters[[2]string]
	policies policyMetrics
	spop     spopMetrics
	audit    auditMetrics
	calls    callMetrics
	flags    *counters[string]
	spans    prometheus.Counter

	pending, subjects atomic.Pointer[func() int] // what is asked for, nil for 0
}

// A MetricsOption changes what NewMetrics returns.
type MetricsOption func(*maker)

// NativeHistograms adds native histograms to the classic ones where on is true. Only a Prometheus that asks for them gets them, see its
// feature flag native-histograms.
func NativeHistograms(on bool) MetricsOption { return func(k *maker) { k.native = on } }

// Build names the version of the program.
func Build(version string) MetricsOption { return func(k *maker) { k.version = version } }

// NewMetrics returns metrics in a registry of their own, beside those of the Go runtime and the process.
func NewMetrics(options ...MetricsOption) *Metrics {
	k := maker{to: prometheus.NewRegistry(), version: "unknown"}
	for _, option := range options {
		option(&k)
	}
	stages := k.histograms("stage_duration_seconds", "Time a decision spent in a stage.", prometheus.ExponentialBuckets(2e-6, 4, 10), "stage")
	lookups := k.counters("caller_lookups_total", "Credentials looked up among the remembered callers by result: hit or miss.", "result")
	m := &Metrics{
		Registry: k.to,
		decisions: newCounters(k.counters("decisions_total", "Answers to HAProxy by decision (need_body is none yet), reason, role and rule.",
			"decision", "reason", "role", "rule"), maxDecisions, decision.labels, decision.rest),
		verify: stages.WithLabelValues("verify"), decide: stages.WithLabelValues("policy"), mint: stages.WithLabelValues("mint"),
		answers: k.histogram("answer_duration_seconds", "Time from the read that brought a question of HAProxy's to its answer, the audit line included.",
			prometheus.ExponentialBuckets(50e-6, 2, 15)),
		waits:    k.counter("waits_total", "Requests that had to wait for keys or a token."),
		found:    lookups.WithLabelValues("hit"),
		sought:   lookups.WithLabelValues("miss"),
		withheld: k.counter("undelivered_total", "Answers that came too late or whose connection was gone."),
		rejected: k.counter("upstream_rejections_total", "Tokens that Google refused (401) although they were good."),
		google:   newGoogleMetrics(k),
		fetches:  newPairs(k.counters("key_fetches_total", "Fetches of an issuer's keys by result.", "issuer", "result")),
		policies: newPolicyMetrics(k),
		spop:     newSPOPMetrics(k),
		audit:    newAuditMetrics(k),
		calls:    newCallMetrics(k),
		flags:    newStrings(k.counters("misuse_flags_total", "Signs of misuse in decisions and closings by signal.", "signal")),
		spans:    k.counter("trace_spans_dropped_total", "Spans that could not be exported."),
	}
	for _, r := range Reasons() {
		m.decisions.of(decision{policy.Deny, string(r), "", ""}) // so that the first one shows
	}
	k.read("spop_in_flight", "Questions of HAProxy's without an answer.", func() float64 { return float64(m.inFlight.Load()) })
	k.read("closings_pending", "Calls that were let through and whose closing has not come yet.", ask(&m.pending))
	k.read("misuse_subjects", "Callers whose habits are remembered.", ask(&m.subjects))
	k.read("time_seconds", "The clock of this machine, to be compared with another one.", func() float64 { return float64(time.Now().UnixMilli()) / 1000 })
	k.gauges("build_info", "1, by version of the program and of Go.", "version", "goversion").WithLabelValues(k.version, goVersion()).Set(1)
	k.to.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func goVersion() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		return build.GoVersion
	}
	return "unknown"
}

// decision is the labels of decisions_total.
type decision struct {
	effect             policy.Effect
	reason, role, rule string
}

// maxDecisions bounds the children of decisions_total. Decisions beyond keep their reason and are counted as of the role and the rule "other".
const maxDecisions = 10_000

func (d decision) labels() []string { return []string{d.effect.String(), d.reason, d.role, d.rule} }
func (d decision) rest() decision   { return decision{d.effect, d.reason, others, others} }

func (m *Metrics) decided(a *answer) {
	m.decisions.of(decision{a.effect, string(a.reason), a.decision.Role, a.decision.Rule}).Inc()
	observe(m.verify, a.verify)
	observe(m.decide, a.decide)
	observe(m.mint, a.mint)
}

// observe leaves out the stages that a request did not reach.
func observe(o prometheus.Observer, d time.Duration) {
	if d > 0 {
		o.Observe(d.Seconds())
	}
}

func (m *Metrics) auditFailed() { m.audit.errors.Inc() }
func (m *Metrics) undelivered() { m.withheld.Inc() }
func (m *Metrics) refused()     { m.rejected.Inc() }

// waited counts a request that left the connection's goroutine.
func (m *Metrics) waited() { m.waits.Inc() }

// identified counts a look for credentials among the remembered callers.
func (m *Metrics) identified(remembered bool) {
	if remembered {
		m.found.Inc()
		return
	}
	m.sought.Inc()
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}
