package spoe

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// agreement is what a handshake settled.
type agreement struct {
	engineID     string
	maxFrameSize uint32
	pipelining   bool // announced: HAProxy may have several NOTIFYs in flight
	healthcheck  bool // HAProxy wants the answer to its HELLO, and nothing else
}

// capabilities returns what the AGENT-HELLO announces. Async is not among it:
// it makes HAProxy up to 3.0 wait for the whole processing timeout when a
// connection is lost. Fragmentation is not supported.
func (a agreement) capabilities() string {
	if a.pipelining {
		return "pipelining"
	}
	return ""
}

// negotiate answers a HELLO (SPOE.txt section 3.2.4). Guarded is asked with
// HAProxy's largest frame whether its connection can be guarded.
func negotiate(h hello, ceiling uint32, p Pipelining, guarded func(uint32) bool) (agreement, error) {
	refuse := func(s status, cause error) (agreement, error) {
		return agreement{}, &violation{ReasonHelloRefused, s, cause}
	}
	if h.versions == nil {
		return refuse(statusNoVersion, nil)
	}
	if h.maxFrameSize == nil {
		return refuse(statusNoFrameSize, nil)
	}
	if h.capabilities == nil {
		return refuse(statusNoCapability, nil)
	}
	if !offers(*h.versions, isVersion2) {
		return refuse(statusBadVersion, fmt.Errorf("versions %q", clip(*h.versions)))
	}
	if *h.maxFrameSize < minFrameSize {
		return refuse(statusBadFrameSize, fmt.Errorf("max-frame-size %d", *h.maxFrameSize))
	}
	if len(h.engineID) > maxEngineID {
		return refuse(statusInvalid, errors.New("engine-id is too long"))
	}
	return agreement{
		engineID:     h.engineID,
		maxFrameSize: min(*h.maxFrameSize, ceiling),
		pipelining:   announcePipelining(h, p, guarded),
		healthcheck:  h.healthcheck,
	}, nil
}

// offeredMore warns, once, of a HAProxy that would send longer frames. Up to
// 3.0 it cannot give up a message that is longer than what was agreed: it loses
// the connection that was to carry it, for all callers.
func (s *Server) offeredMore(n uint32) {
	s.offersMore.Do(func() {
		s.cfg.Log.Warn("HAProxy has larger buffers than the longest frame that is accepted, and a large body can cost it the agent: raise max_frame_size",
			"offered", n, "max_frame_size", s.cfg.MaxFrameSize)
	})
}

// maxEngineID bounds an engine-id, which lives as long as its connection and
// appears in logs. HAProxy's has 36 characters.
const maxEngineID = 256

// announcePipelining decides it by what HAProxy can do.
func announcePipelining(h hello, p Pipelining, guarded func(uint32) bool) bool {
	if h.healthcheck || !offers(*h.capabilities, func(s string) bool { return s == "pipelining" }) {
		return false
	}
	switch p {
	case PipeliningOn:
		return true
	case PipeliningAuto:
		return offers(*h.capabilities, func(s string) bool { return s == "async" }) || guarded(*h.maxFrameSize)
	}
	return false
}

// offers reports whether one item of a comma-separated list is wanted.
func offers(list string, wanted func(string) bool) bool {
	for s := range strings.SplitSeq(list, ",") {
		if wanted(strings.TrimSpace(s)) {
			return true
		}
	}
	return false
}

// isVersion2 reports whether s is SPOP 2: whoever speaks 2.1 speaks 2.0.
func isVersion2(s string) bool {
	minor, ok := strings.CutPrefix(s, "2.")
	_, err := strconv.ParseUint(minor, 10, 16)
	return ok && err == nil
}
