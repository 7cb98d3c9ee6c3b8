package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vertex-spoa/agent/internal/google"
)

// tokenMetrics tells of the tokens at hand, when somebody asks. The accounts are those of the policy, so that there is a bounded number of
// them.
type tokenMetrics struct {
	tokens *google.Source

	own, expiry, held, bytes, underWay *prometheus.Desc
}

func newTokenMetrics(tokens *google.Source) *tokenMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("vertex_spoa_"+name, help, labels, nil)
	}
	return &tokenMetrics{
		tokens: tokens,
		own:    desc("own_token_expiry_timestamp_seconds", "Time at which the agent's own token expires, 0 without one."),
		expiry: desc("token_expiry_timestamp_seconds",
			"Time at which the token of an account expires, the first one of several, 0 if a token of the policy is missing.", "account"),
		held:     desc("exchanged_tokens", "Callers whose exchange is remembered."),
		bytes:    desc("exchanged_token_bytes", "Memory that the callers' exchanged tokens take, about."),
		underWay: desc("exchanges_under_way", "Exchanges of callers' tokens that have not ended."),
	}
}

// Describe implements prometheus.Collector.
func (m *tokenMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.own, m.expiry, m.held, m.bytes, m.underWay} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *tokenMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(m.own, timestamp(m.tokens.Own().Expiry))
	first := map[string]float64{}
	for _, s := range m.tokens.Status() {
		at := timestamp(s.Expiry)
		if at == 0 && !s.Kept {
			continue // of a policy before
		}
		if known, ok := first[s.Account]; !ok || at < known {
			first[s.Account] = at
		}
	}
	for account, at := range first {
		gauge(m.expiry, at, account)
	}
	x := m.tokens.Exchanges()
	gauge(m.held, float64(x.Held))
	gauge(m.bytes, float64(x.Bytes))
	gauge(m.underWay, float64(x.UnderWay))
}

// timestamp is the Unix time of t, 0 for none.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
