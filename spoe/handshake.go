package spoe

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/negasus/haproxy-spoe-go/frame"
)

// handshake reads the HELLO and answers it. Afterwards agreed is set.
func (c *conn) handshake() error {
	deadline := c.born.Add(helloTimeout)
	_ = c.nc.SetWriteDeadline(deadline) // TLS also writes in a read; fails only where the read will
	raw, err := c.firstFrame(deadline)
	_ = c.nc.SetWriteDeadline(time.Time{})
	if err != nil {
		return err
	}
	c.greeted.Store(true)
	h, err := decodeHello(raw)
	if err != nil {
		return &violation{ReasonHelloRefused, statusInvalid, err}
	}
	c.agreed, err = negotiate(h, c.srv.cfg.MaxFrameSize, c.srv.cfg.Pipelining,
		c.guarded)
	if err != nil {
		return err
	}
	if *h.maxFrameSize > c.agreed.maxFrameSize {
		c.srv.offeredMore(*h.maxFrameSize)
	}
	answer, err := encodeHello(c.agreed.maxFrameSize, c.agreed.capabilities())
	if err != nil {
		return err
	}
	c.srv.cfg.Hooks.frame(frameName(frame.TypeAgentHello))
	c.out.put(answer)
	c.out.flush()
	if c.agreed.healthcheck {
		return errHealthcheck
	}
	c.in.allow(c.agreed.maxFrameSize)
	c.log = c.log.With("engine_id", c.agreed.engineID)
	return nil
}

// guarded guards the connection, and reports whether that is possible.
func (c *conn) guarded(offered uint32) bool {
	g := newGuard(c.nc, offered)
	if g == nil {
		return false
	}
	c.out.guarded(g)
	c.srv.watch()
	return true
}

// firstFrame reads a frame, which has to be a HELLO to be returned.
func (c *conn) firstFrame(deadline time.Time) ([]byte, error) {
	for {
		raw, err := c.in.next()
		if err != nil {
			return nil, &violation{ReasonNotSPOP, statusNormal, err}
		}
		if raw == nil {
			if err := c.fillFirst(deadline); err != nil {
				return nil, err
			}
			continue
		}
		h, _, err := splitFrame(raw)
		if err != nil {
			return nil, &violation{ReasonNotSPOP, statusNormal, err}
		}
		c.srv.cfg.Hooks.frame(frameName(h.kind))
		switch {
		case h.kind == frame.TypeHaproxyHello && h.flags&flagFin == 0:
			return nil, &violation{ReasonFragmented, statusFragmentation, nil}
		case h.kind == frame.TypeHaproxyHello:
			return raw, nil
		case h.kind == frame.TypeHaproxyDisconnect:
			return nil, errDisconnect
		case h.kind == frame.TypeNotify:
			return nil, invalid("NOTIFY before HELLO")
		}
		return nil, &violation{ReasonNotSPOP, statusNormal, fmt.Errorf("frame of type %d", h.kind)}
	}
}

// fillFirst reads on before the handshake. It is woken when a drain has waited
// long enough for the HELLO.
func (c *conn) fillFirst(deadline time.Time) error {
	err := c.in.fill(deadline)
	if errors.Is(err, errWoken) {
		return errDrained
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &violation{ReasonHelloTimeout, statusNormal, err}
	}
	return err
}
