package agent

import (
	"context"
	"net/http"
	"net/http/pprof"
	"time"

	console "vertex-spoa/agent/internal/status"
	"vertex-spoa/policy"
)

// Console is what the admin listener shows a person, besides what Admin serves programs. Only Recorder is required.
type Console struct {
	Recorder *console.Recorder // has the last decisions; the caller has it told of them by Config.Decided
	// Explain says what the policy in force decides about a question; see console.Config. Nil for a page without that form.
	Explain func(ctx context.Context, q console.Question) (string, error)
	// Warnings returns what is wrong besides what the agent itself knows of, a line each. It is called once per request. Nil for nothing.
	Warnings func() []string

	Version string
	Started time.Time // of the process

	Names []string // host names that the listener is asked by, besides localhost and addresses; see console.Guard
	Pprof bool     // serve the profiles of the Go runtime below /debug/pprof/; they tell of the program's memory, so that they are off unless asked for
}

// AdminConsole is Admin with the status page at /, /debug/decisions (JSON) and, where they are switched on, the profiles. It fails if a
// part is missing.
func (a *Agent) AdminConsole(ctx context.Context, c Console) (http.Handler, error) {
	page, err := console.New(console.Config{State: func() console.State { return a.state(&c) }, Recorder: c.Recorder, Explain: c.Explain})
	if err != nil {
		return nil, err
	}
	mux := a.adminMux(ctx)
	mux.Handle("GET /{$}", page)
	mux.Handle("GET /debug/decisions", c.Recorder)
	if c.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return console.Guard(mux, c.Names...), nil
}

// Policy returns the policy in force, for whoever explains it.
func (a *Agent) Policy() *policy.Policy { return a.current.Load().policy }
