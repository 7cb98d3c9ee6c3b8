package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"vertex-spoa/spoe"
)

// together is how many requests to /together are answered at once.
const together = 4

// agent answers constants: the fixed side of every recording.
type agent struct {
	mu      sync.Mutex
	waiting []spoe.Reply // of requests to /together
}

// short is the answer to most requests.
func short() []spoe.Action {
	return []spoe.Action{spoe.SetString(spoe.ScopeTransaction, "decision", "deny")}
}

// long has every type, and a value whose length takes two bytes.
func long() []spoe.Action {
	return append([]spoe.Action{
		spoe.SetString(spoe.ScopeRequest, "token", strings.Repeat("t", 250)),
		spoe.SetInt(spoe.ScopeTransaction, "status", 403),
		spoe.SetInt(spoe.ScopeTransaction, "minus", -7),
		spoe.SetBool(spoe.ScopeTransaction, "yes", true),
		spoe.Unset(spoe.ScopeRequest, "token"),
	}, short()...)
}

// ServeSPOE answers at once, but for requests to /together and crowdPath, which it answers when all have come, the last first, and to
// /never.
func (a *agent) ServeSPOE(ctx context.Context, n *spoe.Notify, reply spoe.Reply) {
	switch pathOf(n) {
	case "/together", crowdPath:
		a.gather(reply)
	case "/never":
		context.AfterFunc(ctx, func() { _ = reply(short()) }) // too late to be written
	case "/kinds":
		_ = reply(long())
	default:
		_ = reply(short())
	}
}

func pathOf(n *spoe.Notify) string {
	if len(n.Messages()) == 0 {
		return ""
	}
	path, ok := n.Messages()[0].Arg("path")
	if !ok {
		path, _ = n.Messages()[0].Arg("uri") // of the example
	}
	text, _ := path.Text()
	return text
}

func (a *agent) gather(reply spoe.Reply) {
	a.mu.Lock()
	a.waiting = append(a.waiting, reply)
	var all []spoe.Reply
	if len(a.waiting) == together {
		all, a.waiting = a.waiting, nil
	}
	a.mu.Unlock()
	for i := len(all) - 1; i >= 0; i-- {
		_ = all[i](short())
	}
}

// serveAgent starts the agent at path. The function it returns stops the agent and waits for it.
func serveAgent(ctx context.Context, path string, p spoe.Pipelining, log *slog.Logger) (stop func(), err error) {
	srv, err := spoe.New(spoe.Config{
		Handler:    new(agent),
		Overload:   func(*spoe.Notify) []spoe.Action { return short() },
		Log:        log,
		Timeout:    600 * time.Millisecond,
		Pipelining: p,
	})
	if err != nil {
		return nil, err
	}
	l, err := spoe.Listen(ctx, path, spoe.ListenOptions{})
	if err != nil {
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	return func() {
		_ = srv.Close()
		if err := <-served; !errors.Is(err, spoe.ErrServerClosed) {
			log.Error("the agent did not serve to the end", "error", err)
		}
	}, nil
}
