package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vertex-spoa/test/sandbox"
)

// haproxySeries are the series of HAProxy to test with: those of $HAPROXY_VERSIONS, or the oldest and the newest that are supported.
func haproxySeries() []string {
	if series := strings.Fields(os.Getenv("HAPROXY_VERSIONS")); len(series) > 0 {
		return series
	}
	return []string{"2.6", "3.4"}
}

// oldestAndNewest are the first and the last of haproxySeries.
func oldestAndNewest() []string {
	all := haproxySeries()
	if len(all) == 1 {
		return all
	}
	return []string{all[0], all[len(all)-1]}
}

// everything reports whether the long forms of the tests are wanted too ($TEST_ALL).
func everything() bool { return os.Getenv("TEST_ALL") != "" }

// onEach runs the test with a HAProxy of each series, given as the path of the program. A series that is not to be had on this machine is
// skipped; `make test` says so at its end.
func onEach(t *testing.T, series []string, test func(t *testing.T, haproxy string)) {
	t.Helper()
	folder, err := filepath.Abs("../.cache/haproxy")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range series {
		t.Run("HAProxy "+s, func(t *testing.T) {
			path, version, err := sandbox.HAProxySeries(t.Context(), s, folder)
			if err != nil {
				t.Skipf("NOT RUN: %v", err)
			}
			t.Log("HAProxy", version)
			test(t, path)
		})
	}
}
