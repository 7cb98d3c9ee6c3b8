package agent

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	console "vertex-spoa/agent/internal/status"
)

// SetListening tells the agent that its SPOP socket is open, or closed again.
func (a *Agent) SetListening(on bool) { a.listening.Store(on) }

// readiness is the body of /readyz.
type readiness struct {
	Ready     bool                    `json:"ready"`
	Listening bool                    `json:"listening"`
	WarmedUp  bool                    `json:"warmed_up"`
	WarmingUp bool                    `json:"warming_up"` // for a policy that was loaded meanwhile: not a reason to take a node out
	Policy    string                  `json:"policy"`
	Reload    ReloadStatus            `json:"reload"`
	Issuers   []identity.IssuerStatus `json:"issuers"`
	Identity  google.AccountStatus    `json:"identity"` // the agent's own
	Accounts  []google.AccountStatus  `json:"accounts"`
	Time      time.Time               `json:"time"`
}

// ready is true once a policy is loaded, the socket listens and the warm-up has ended, the first one or that of a policy put in force
// since, which is when its bound is over at the latest. What is degraded afterwards, an issuer that is down or a reload that was refused,
// stands in the body and not in the status: one dead issuer must not take every node out.
func (a *Agent) readiness() readiness {
	s := a.current.Load()
	r := readiness{
		Listening: a.listening.Load(), WarmedUp: a.warm.Load(), WarmingUp: a.warming.Load() > 0, Policy: s.policy.Digest(), Reload: *a.reload.Load(),
		Issuers: s.issuers.Status(), Identity: a.cfg.Tokens.Own(), Accounts: a.cfg.Tokens.Status(), Time: time.Now().UTC(),
	}
	r.Ready = r.Listening && r.WarmedUp
	return r
}

// reloadNow answers POST /reload: 200 with the digest of the policy now in force, or 422 with everything that is wrong with the files, and
// the policy before stays.
func (a *Agent) reloadNow(ctx context.Context) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if err := a.Reload(); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		a.WarnOfRevocations()
		a.warmUpMeanwhile(ctx)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"policy": a.current.Load().policy.Digest()})
	}
}

// Admin returns the handler of the admin listener for programs: /livez (200 while the process runs), /readyz (200 or 503, with the details
// in JSON), /metrics (Prometheus) and POST /reload. It serves no secrets. ctx ends what a reload has begun.
func (a *Agent) Admin(ctx context.Context) http.Handler {
	return console.Guard(a.adminMux(ctx))
}

func (a *Agent) adminMux(ctx context.Context) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", a.serveReadiness)
	mux.HandleFunc("POST /reload", a.reloadNow(ctx))
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.cfg.Metrics.Registry, promhttp.HandlerOpts{}))
	return mux
}

func (a *Agent) serveReadiness(w http.ResponseWriter, _ *http.Request) {
	r := a.readiness()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !r.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(r)
}
