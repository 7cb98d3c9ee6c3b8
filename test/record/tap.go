package main

import (
	"context"
	"net"
	"slices"
	"sync"
)

// tap stands between HAProxy and the agent. It copies what they say and notes it.
type tap struct {
	listener net.Listener
	agent    string // path of the agent's socket
	spoil    func(said []byte) []byte

	mu            sync.Mutex
	conversations []*conversation
	working       sync.WaitGroup
}

// newTap listens at path and leads to agent. What spoil returns, unless that is nil, reaches HAProxy in the place of bytes of the agent.
func newTap(ctx context.Context, path, agent string, spoil func([]byte) []byte) (*tap, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	t := &tap{listener: l, agent: agent, spoil: spoil}
	t.working.Go(t.accept)
	return t, nil
}

func (t *tap) accept() {
	for {
		haproxy, err := t.listener.Accept()
		if err != nil {
			return // closed
		}
		agent, err := net.Dial("unix", t.agent)
		if err != nil {
			_ = haproxy.Close()
			continue
		}
		c := newConversation()
		t.mu.Lock()
		t.conversations = append(t.conversations, c)
		t.mu.Unlock()
		t.working.Go(func() { t.copy(c, fromHAProxy, haproxy, agent) })
		t.working.Go(func() { t.copy(c, fromAgent, agent, haproxy) })
	}
}

// copy leads one direction until its end, and then closes that direction at the other side.
func (t *tap) copy(c *conversation, mark byte, from, to net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !t.pass(c, mark, buf[:n], to) {
			_ = from.Close()
			break
		}
		if err != nil {
			break
		}
	}
	c.end(mark)
	if c.ended() {
		_, _ = from.Close(), to.Close()
		return
	}
	if half, ok := to.(*net.UnixConn); ok {
		_ = half.CloseWrite()
	}
}

// pass notes what was said and says it. It reports whether anybody listens.
func (t *tap) pass(c *conversation, mark byte, said []byte, to net.Conn) bool {
	c.note(mark, said)
	if mark == fromAgent && t.spoil != nil {
		if other := t.spoil(said); other != nil {
			c.note(instead, other)
			said = other
		}
	}
	_, err := to.Write(said)
	return err == nil
}

// heard returns the conversations so far, in the order in which they began.
func (t *tap) heard() []*conversation {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.conversations)
}

// close ends the tap; it waits until HAProxy and the agent have closed their connections.
func (t *tap) close() {
	_ = t.listener.Close()
	t.working.Wait()
}
