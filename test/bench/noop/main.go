// Command noop is an agent that looks at nothing and answers constants: what asking any agent costs. It serves with the agent package of
// haproxy-spoe-go or with package spoe, so that the two can be compared, and the latter with the whole program.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"

	"github.com/negasus/haproxy-spoe-go/action"
	libagent "github.com/negasus/haproxy-spoe-go/agent"
	"github.com/negasus/haproxy-spoe-go/logger"
	"github.com/negasus/haproxy-spoe-go/request"

	"vertex-spoa/spoe"
)

func main() {
	server := flag.String("server", "library", "library (haproxy-spoe-go) or spoe (ours)")
	path := flag.String("listen", "", "the path of a unix socket")
	uri := flag.String("uri", "", "the answer's uri")
	host := flag.String("host", "", "the answer's host")
	location := flag.String("location", "", "the answer's location")
	flag.Parse()
	serve := serveLibrary
	if *server == "spoe" {
		serve = serveOurs
	}
	if err := serve(*path, answers(*uri, *host, *location)); err != nil {
		fmt.Fprintln(os.Stderr, "noop:", err)
		os.Exit(1)
	}
}

// variable is one that the answer sets.
type variable struct {
	scope spoe.Scope
	name  string
	value string
}

// answers are of the size that an allow has.
func answers(uri, host, location string) []variable {
	return []variable{
		{spoe.ScopeRequest, "token", "ya29." + strings.Repeat("n", 1019)},
		{spoe.ScopeTransaction, "uri", uri},
		{spoe.ScopeTransaction, "host", host},
		{spoe.ScopeTransaction, "location", location},
		{spoe.ScopeTransaction, "subject", "search-eng@example.com"},
		{spoe.ScopeTransaction, "account", "vx-search@acme-ai.iam.gserviceaccount.com"},
		{spoe.ScopeTransaction, "rule", "search-gemini"},
		{spoe.ScopeTransaction, "decision", "allow"},
	}
}

func serveLibrary(path string, all []variable) error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err != nil {
		return err
	}
	return libagent.New(func(r *request.Request) {
		for _, v := range all {
			r.Actions.SetVar(action.Scope(v.scope), v.name, v.value)
		}
	}, logger.NewNop()).Serve(l)
}

func serveOurs(path string, all []variable) error {
	runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/4)) // as the program does
	var actions []spoe.Action
	for _, v := range all {
		actions = append(actions, spoe.SetString(v.scope, v.name, v.value))
	}
	srv, err := spoe.New(spoe.Config{
		Handler:  spoe.HandlerFunc(func(_ context.Context, _ *spoe.Notify, reply spoe.Reply) { _ = reply(actions) }),
		Overload: func(*spoe.Notify) []spoe.Action { return actions[len(actions)-1:] },
		Log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	l, err := spoe.Listen(context.Background(), path, spoe.ListenOptions{})
	if err != nil {
		return err
	}
	return srv.Serve(l)
}
