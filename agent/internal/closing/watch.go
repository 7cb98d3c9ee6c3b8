package closing

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"
)

// lookPeriod is how often the socket and the waiting decisions are looked at, at most.
const lookPeriod = time.Second

// watch reads HAProxy's lines until ctx is done. It gives up decisions that have waited for too long, and opens the socket again where
// its path has vanished, reading it has failed, or the process that had taken it over is gone.
func (c *Closings) watch(ctx context.Context) {
	r := c.receive()
	look := time.NewTicker(min(lookPeriod, max(c.cfg.Wait/16, time.Millisecond)))
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			r.stop()
			return
		case <-look.C:
		}
		standing := c.socket.stands()
		if standing == replaced && c.socket.deserted(ctx) {
			standing = vanished
		}
		if standing == replaced && !c.table.replaced.Load() && c.socket.streams != nil {
			r.endStreams()
		}
		if standing == vanished || standing == ours && r.hasFailed() {
			r = c.reopen(ctx, r)
		}
		c.table.replaced.Store(standing == replaced)
		for _, missing := range c.table.expire(c.out.room()) {
			c.emit(missing)
		}
	}
}

func (c *Closings) receive() *receiver { return receive(c.socket, c.message, c.garbage) }

// reopen opens the socket again, and returns what reads it. On error it is tried again at the next look.
func (c *Closings) reopen(ctx context.Context, old *receiver) *receiver {
	s, err := open(ctx, c.cfg.Listen)
	if err != nil {
		c.cfg.Log.Error("the socket of HAProxy's log is gone and cannot be opened again", "listen", c.cfg.Listen, "error", err)
		return old
	}
	c.cfg.Log.Warn("the socket of HAProxy's log was gone, and is there again", "listen", c.cfg.Listen)
	c.socket = s
	r := c.receive()
	old.stop() // nobody can reach it
	return r
}

func (r *receiver) hasFailed() bool {
	select {
	case <-r.failed:
		return true
	default:
		return false
	}
}

// shortQueue is below what a burst of log lines needs.
const shortQueue = 256

// warnOfQueue warns where the kernel holds so few datagrams for a unix socket that lines will be lost.
func (c *Closings) warnOfQueue() {
	if c.socket.path == "" || c.socket.datagrams == nil {
		return
	}
	text, err := os.ReadFile("/proc/sys/net/unix/max_dgram_qlen")
	if err != nil {
		return // another kernel
	}
	if n, err := strconv.Atoi(string(bytes.TrimSpace(text))); err == nil && n < shortQueue {
		c.cfg.Log.Warn("the kernel queues few datagrams: lines of HAProxy's log can be lost in bursts; raise net.unix.max_dgram_qlen and start again",
			"max_dgram_qlen", n, "enough", shortQueue)
	}
}
