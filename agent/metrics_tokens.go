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

	ownFailing, failing, stsDown, iamDown *prometheus.Desc
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

		ownFailing: desc("own_token_failing", "1, by reason, while the last attempt to get the agent's own token has failed.", "reason"),
		failing: desc("token_failing", "1, by account and reason, while the last attempt to mint a token of an account of the policy has failed.",
			"account", "reason"),
		stsDown: desc("sts_down", "1 while no token is exchanged because the last calls to the Security Token Service have failed."),
		iamDown: desc("exchange_iam_down", "1 while no exchanged token is made one of an account because the last calls for that have failed."),
	}
}

func (m *tokenMetrics) all() []*prometheus.Desc {
	return []*prometheus.Desc{m.own, m.expiry, m.held, m.bytes, m.underWay, m.ownFailing, m.failing, m.stsDown, m.iamDown}
}

// Describe implements prometheus.Collector.
func (m *tokenMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range m.all() {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *tokenMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	own := m.tokens.Own()
	gauge(m.own, timestamp(own.Expiry))
	if own.Reason != "" {
		gauge(m.ownFailing, 1, string(own.Reason))
	}
	m.collectAccounts(gauge)
	x := m.tokens.Exchanges()
	gauge(m.held, float64(x.Held))
	gauge(m.bytes, float64(x.Bytes))
	gauge(m.underWay, float64(x.UnderWay))
	gauge(m.stsDown, truth(x.STSDown))
	gauge(m.iamDown, truth(x.IAMDown))
}

// collectAccounts tells of each account once, although it may have several tokens.
func (m *tokenMetrics) collectAccounts(gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	first, failing := map[string]float64{}, map[[2]string]bool{}
	for _, s := range m.tokens.Status() {
		at := timestamp(s.Expiry)
		if at == 0 && !s.Kept {
			continue // of a policy before
		}
		if known, ok := first[s.Account]; !ok || at < known {
			first[s.Account] = at
		}
		if s.Kept && s.Reason != "" {
			failing[[2]string{s.Account, string(s.Reason)}] = true
		}
	}
	for account, at := range first {
		gauge(m.expiry, at, account)
	}
	for k := range failing {
		gauge(m.failing, 1, k[:]...)
	}
}

// timestamp is the Unix time of t, 0 for none.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}

// truth is 1 for true.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
