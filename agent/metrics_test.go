package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const fetchFailed = `vertex_spoa_key_fetches_total{issuer="gone",result="error"}`

// An issuer that is down from the beginning costs its own callers the service, and nobody else; what is known of its keys can be seen.
func TestAnIssuerThatIsDownHurtsItsCallersAlone(t *testing.T) {
	w := newWorld(t)
	down := httptest.NewServer(http.NotFoundHandler()) // which keeps its port: another process could listen on one that was given back
	defer down.Close()
	keys := filepath.Join(filepath.Dir(filepath.Dir(w.policy)), "keys.json")
	w.writePolicy(t, strings.Replace(fmt.Sprintf(policyText, keys), "issuers:\n", "issuers:\n  gone: { url: "+down.URL+", audience: vertex }\n", 1))
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	w.SetListening(true)
	w.WarmUp(t.Context())
	get := func(path string) (int, string) {
		rec := httptest.NewRecorder()
		w.Admin(t.Context()).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec.Code, rec.Body.String()
	}
	code, body := get("/readyz")
	var r struct {
		Issuers []struct {
			Name        string
			Usable      bool
			Keys        int
			Error       string
			Age         *int `json:"age_seconds"`
			NextRefresh int  `json:"next_refresh_seconds"`
		}
	}
	if err := json.Unmarshal([]byte(body), &r); err != nil || code != 200 || len(r.Issuers) != 2 {
		t.Fatalf("/readyz: %d, %v, want 200 and two issuers in\n%s", code, err, body)
	}
	for _, i := range r.Issuers {
		if up := i.Name == "corp"; i.Usable != up || (i.Error == "") != up || (i.Keys == 1) != up || i.Age == nil || up && (i.NextRefresh < 30 || i.NextRefresh > 120) {
			t.Errorf("/readyz says %+v", i)
		}
	}
	p := dial(t, w.socket)
	theirs := w.token(t, "search-eng", func(c map[string]any) { c["iss"] = down.URL })
	for token, want := range map[string]any{theirs: "ISSUER_UNAVAILABLE", w.token(t, "search-eng"): nil} {
		if got := value(p.ask(question(token)), "reason"); got != want {
			t.Errorf("reason %v, want %v", got, want)
		}
	}
	_, metrics := get("/metrics")
	// A fetch is counted a moment after those who wait for it go on.
	for end := time.Now().Add(30 * time.Second); !strings.Contains(metrics, fetchFailed) && time.Now().Before(end); <-time.After(time.Millisecond) {
		_, metrics = get("/metrics")
	}
	for _, want := range []string{
		`vertex_spoa_issuer_keys{issuer="corp"} 1`, fetchFailed,
		`vertex_spoa_issuer_keys_fetched_timestamp_seconds{issuer="corp"} 1.`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	if strings.Contains(metrics, `fetched_timestamp_seconds{issuer="gone"}`) {
		t.Error("/metrics tells when keys were fetched that never were")
	}
}
