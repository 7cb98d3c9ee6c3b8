package main

import (
	"context"
	"slices"
	"syscall"

	"vertex-spoa/spoe"
)

// scenario is a story that HAProxy plays to the agent.
type scenario struct {
	name       string
	about      string
	pipelining spoe.Pipelining
	example    bool                     // with the files of haproxy-example, not with our own
	checks     bool                     // what is recorded are the health checks, else everything but them
	master     bool                     // HAProxy is a master and its worker
	plain      bool                     // HAProxy must not pipeline
	impatient  bool                     // HAProxy gives up a connection after a second without use
	spoil      func(said []byte) []byte // see newTap
	run        func(ctx context.Context, s *stage) error
}

func scenarios() []scenario {
	return []scenario{
		{name: "healthcheck", about: "a health check", pipelining: spoe.PipeliningAuto, checks: true, run: untilChecked},
		{name: "authorize", about: "the question of haproxy-example, asked twice", pipelining: spoe.PipeliningAuto, example: true, run: authorize},
		{name: "crowd", about: "four questions of haproxy-example at once after others; their ACKs in reverse order", pipelining: spoe.PipeliningAuto, example: true, run: crowd},
		{name: "kinds", about: "arguments of every type", pipelining: spoe.PipeliningAuto, run: asking("/kinds")},
		{name: "sequence", about: "three requests one after the other", pipelining: spoe.PipeliningAuto, run: asking("/one", "/two", "/three")},
		{name: "plain", about: "three requests one after the other, of a HAProxy with `no option pipelining`", pipelining: spoe.PipeliningAuto, plain: true, run: asking("/one", "/two", "/three")},
		{name: "pipelined", about: "four requests at once after others; their ACKs in reverse order", pipelining: spoe.PipeliningOn, run: burst("/together")},
		{name: "concurrent", about: "four requests at once after others, without pipelining", pipelining: spoe.PipeliningOff, run: burst("/soon")},
		{name: "unanswered", about: "a request that gets no answer, and another", pipelining: spoe.PipeliningOff, run: asking("/never", "/after")},
		{name: "idle", about: "HAProxy ends a connection that it does not need", pipelining: spoe.PipeliningAuto, impatient: true, run: idle},
		{name: "stop", about: "HAProxy stops softly", pipelining: spoe.PipeliningAuto, run: stop},
		{name: "reload", about: "HAProxy reloads between two requests", pipelining: spoe.PipeliningAuto, master: true, impatient: true, run: reload},
		{name: "disconnect", about: "HAProxy is sent a frame that is too long, and says so", pipelining: spoe.PipeliningAuto, spoil: tooLong, run: disconnected},
	}
}

// asking makes requests one after the other.
func asking(paths ...string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		for _, path := range paths {
			if err := s.ask(ctx, path); err != nil {
				return err
			}
		}
		return nil
	}
}

func untilChecked(ctx context.Context, s *stage) error {
	return s.until(ctx, "there was a health check", func(all []*conversation) bool {
		return len(all) > 0 && all[0].ended()
	})
}

// authorize asks what the example's HAProxy asks. The agent denies.
func authorize(ctx context.Context, s *stage) error {
	if err := s.up(ctx); err != nil {
		return err
	}
	return asking(examplePath, examplePath)(ctx, s)
}

// crowd asks many of the example's questions at once.
func crowd(ctx context.Context, s *stage) error {
	if err := s.up(ctx); err != nil {
		return err
	}
	for range warmth {
		if err := s.ask(ctx, examplePath); err != nil {
			return err
		}
	}
	return s.askAtOnce(ctx, together, crowdPath)
}

// warmth is how many requests make HAProxy up to 3.0 believe that one connection will do for the few to come.
const warmth = 8

// burst makes requests at once.
func burst(path string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		for range warmth {
			if err := s.ask(ctx, "/warm"); err != nil {
				return err
			}
		}
		return s.askAtOnce(ctx, together, path)
	}
}

// idle waits until HAProxy has ended the connection.
func idle(ctx context.Context, s *stage) error {
	if err := s.ask(ctx, "/one"); err != nil {
		return err
	}
	return s.until(ctx, "HAProxy ends the idle connection", allEnded)
}

func stop(ctx context.Context, s *stage) error {
	if err := s.ask(ctx, "/one"); err != nil {
		return err
	}
	if err := s.haproxy.Process.Signal(syscall.SIGUSR1); err != nil {
		return err
	}
	return s.until(ctx, "HAProxy ends its connection", allEnded)
}

// reload asks the old worker and then the new one. HAProxy up to 3.0 lets its idle connections time out before the old one ends.
func reload(ctx context.Context, s *stage) error {
	if err := s.ask(ctx, "/before"); err != nil {
		return err
	}
	if err := s.haproxy.Process.Signal(syscall.SIGUSR2); err != nil {
		return err
	}
	if err := s.until(ctx, "the old worker ends its connection", allEnded); err != nil {
		return err
	}
	return s.ask(ctx, "/after")
}

// disconnected makes a request whose answer is spoiled. HAProxy goes on without, and ends the connection.
func disconnected(ctx context.Context, s *stage) error {
	if err := s.ask(ctx, "/one"); err != nil {
		return err
	}
	return s.until(ctx, "HAProxy ends the connection", allEnded)
}

// tooLong puts the beginning of an ACK of 1 MiB in the place of an ACK: length, type, flags, stream id, frame id.
func tooLong(said []byte) []byte {
	const ack = 103
	if len(said) < 5 || said[4] != ack {
		return nil
	}
	return []byte{0x00, 0x10, 0x00, 0x00, ack, 0x00, 0x00, 0x00, 0x01, 0x01, 0x01}
}

func allEnded(all []*conversation) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(c *conversation) bool { return !c.ended() })
}
