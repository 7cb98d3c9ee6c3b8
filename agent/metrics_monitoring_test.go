package agent

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
)

// monitoring reads a file that users give to Prometheus or Grafana.
func monitoring(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../haproxy-example/monitoring", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// registered returns the names of all metrics of the program, those without a series included.
func registered(t *testing.T) []string {
	t.Helper()
	m := NewMetrics()
	if err := m.watch(newWorld(t).Agent); err != nil {
		t.Fatal(err)
	}
	to := make(chan *prometheus.Desc)
	go func() {
		m.Registry.Describe(to)
		close(to)
	}()
	var names []string
	for d := range to {
		if found := regexp.MustCompile(`fqName: "(vertex_spoa_\w+)"`).FindStringSubmatch(d.String()); found != nil {
			names = append(names, found[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Alerts and dashboard name metrics that exist, and every metric is to be seen in one of them.
func TestMonitoringNamesTheMetricsThatExist(t *testing.T) {
	var named []string
	text := monitoring(t, "vertex-alerts.yml") + monitoring(t, "vertex-dashboard.json")
	for _, name := range regexp.MustCompile(`\bvertex_spoa_\w+\b`).FindAllString(text, -1) {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		named = append(named, name)
	}
	slices.Sort(named)
	if diff := cmp.Diff(registered(t), slices.Compact(named)); diff != "" {
		t.Errorf("metrics of the program (-) and those of alerts and dashboard (+):\n%s", diff)
	}
}

// The alert on calls that get 503 knows every reason for one.
func TestTheAlertOnUnavailabilityKnowsItsReasons(t *testing.T) {
	_, rule, _ := strings.Cut(monitoring(t, "vertex-alerts.yml"), "alert: VertexUnavailable")
	found := regexp.MustCompile(`reason=~"([A-Z_|]+)"`).FindStringSubmatch(rule)
	if found == nil {
		t.Fatal("the alert names no reasons")
	}
	var want []string
	for _, r := range slices.Concat(texts(Reasons()), texts(identity.Reasons()), texts(policy.Reasons()), texts(google.Reasons())) {
		if explain(Reason(r)).status == serviceUnavailable {
			want = append(want, r)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(slices.Compact(want), strings.Split(found[1], "|")); diff != "" {
		t.Errorf("reasons for a 503 (-) and those of the alert (+):\n%s", diff)
	}
}

func texts[R ~string](all []R) (to []string) {
	for _, r := range all {
		to = append(to, string(r))
	}
	return to
}
