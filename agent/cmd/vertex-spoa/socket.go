package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"
)

// socketPoll is how often the path of the unix socket is looked at.
const socketPoll = time.Second

// guardSocket listens again when the path of the unix socket has vanished, by the hand of a person or of a cleaner of /run: connections
// that stand go on, but no new one can come, HAProxy's health checks among them. A path that another agent has taken over is its own.
func (p *program) guardSocket(ctx context.Context, serve func(net.Listener)) {
	addr, ok := p.spoeListener.Addr().(*net.UnixAddr)
	if !ok || p.cfg.SPOE.Listen == "systemd" {
		return
	}
	var group sync.WaitGroup
	defer group.Wait()
	ticker := time.NewTicker(socketPoll)
	defer ticker.Stop()
	for current := p.spoeListener; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if _, err := os.Lstat(addr.Name); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		l, err := listenSPOE(ctx, p.cfg)
		if err != nil {
			p.log.Error("the socket has vanished and cannot be opened again", "error", err)
			continue
		}
		p.log.Warn("the socket had vanished, and is there again", "path", addr.Name)
		group.Go(func() { serve(l) })
		_ = current.Close() // nobody can reach it
		current = l
	}
}
