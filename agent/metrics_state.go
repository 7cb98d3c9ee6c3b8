package agent

import (
	"cmp"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// watch has what the agent holds told, when somebody asks. It fails if these metrics tell of another agent already.
func (m *Metrics) watch(a *Agent) error {
	for _, c := range []prometheus.Collector{newTokenMetrics(a.cfg.Tokens), newStateMetrics(a)} {
		if err := m.Registry.Register(c); err != nil {
			return fmt.Errorf("agent: these metrics are another agent's: %w", err)
		}
	}
	return nil
}

// stateMetrics tells of the policy in force and of what is held under it. It names what is in force now and nothing else, so that an alert
// on an issuer ends when the policy no longer has it.
type stateMetrics struct {
	agent *Agent

	ready, policy, waiting, waitingLimit, revocations *prometheus.Desc
	callers, callerBytes                              *prometheus.Desc
	usable, keys, fetched, until, unusable, unknown   *prometheus.Desc
}

func newStateMetrics(a *Agent) *stateMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	return &stateMetrics{
		agent:        a,
		ready:        desc("ready", "1 while /readyz says so."),
		policy:       desc("policy_info", "1, by digest of the policy in force.", "digest"),
		waiting:      desc("waiting_requests", "Requests that wait for keys or a token."),
		waitingLimit: desc("waiting_requests_limit", "Requests that may wait; more are denied OVERLOADED."),
		revocations:  desc("revocations", "Entries of the deny list."),
		callers:      desc("remembered_callers", "Callers who are taken again without another look at their signature."),
		callerBytes:  desc("remembered_caller_bytes", "Memory that the remembered callers take, about."),
		usable:       desc("issuer_usable", "1 if callers of an issuer of the policy can be verified.", "issuer"),
		keys:         desc("issuer_keys", "Usable keys of an issuer, 0 also for one that needs none.", "issuer"),
		fetched:      desc("issuer_keys_fetched_timestamp_seconds", "Time of the last good fetch of an issuer's keys.", "issuer"),
		until: desc("issuer_keys_expiry_timestamp_seconds",
			"Time at which the keys of an issuer may no longer serve unless they are fetched before, 0 without keys.", "issuer"),
		unusable: desc("issuer_unusable_keys", "Keys that an issuer publishes and that cannot be used.", "issuer"),
		unknown:  desc("issuer_unknown_keys_total", "Tokens that named a key which their issuer had not published before.", "issuer"),
	}
}

// Describe implements prometheus.Collector.
func (m *stateMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.ready, m.policy, m.waiting, m.waitingLimit, m.revocations, m.callers, m.callerBytes,
		m.usable, m.keys, m.fetched, m.until, m.unusable, m.unknown} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *stateMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	s := m.agent.current.Load()
	gauge(m.ready, truth(m.agent.listening.Load() && m.agent.warm.Load()))
	gauge(m.policy, 1, s.policy.Digest())
	gauge(m.waiting, float64(len(m.agent.waiting)))
	gauge(m.waitingLimit, float64(cap(m.agent.waiting)))
	gauge(m.revocations, float64(s.revocations.Current().Len()))
	if s.callers != nil {
		gauge(m.callers, float64(s.callers.entries.Len()))
		gauge(m.callerBytes, float64(s.callers.bytes.Load()))
	}
	m.collectIssuers(to, s, gauge)
}

// defaultStale is what identity.Issuer.MaxStale is where nobody sets it.
const defaultStale = 24 * time.Hour

func (m *stateMetrics) collectIssuers(to chan<- prometheus.Metric, s *snapshot, gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	stale := map[string]time.Duration{}
	for _, i := range s.policy.Issuers() {
		stale[i.Name] = cmp.Or(i.MaxStale, defaultStale)
	}
	now := time.Now()
	for _, i := range s.issuers.Status() {
		gauge(m.usable, truth(i.Usable), i.Name)
		gauge(m.keys, float64(i.Keys), i.Name)
		switch fetched := now.Add(-i.Age); {
		case i.Keys > 0:
			gauge(m.fetched, precise(fetched), i.Name)
			gauge(m.until, precise(fetched.Add(stale[i.Name])), i.Name)
		case !i.Usable:
			gauge(m.until, 0, i.Name)
		}
		gauge(m.unusable, float64(i.Dropped), i.Name)
		to <- prometheus.MustNewConstMetric(m.unknown, prometheus.CounterValue, float64(i.UnknownKeys), i.Name)
	}
}

// precise is the Unix time of t in milliseconds. A time that is worked out anew each time would now and then be another second.
func precise(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
