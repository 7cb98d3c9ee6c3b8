package closing

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// shards is how many parts the table has, each with a lock of its own.
const shards = 16

// keptClosed is how long a call that is closed is remembered, and an early line kept; the agent decides far faster.
const keptClosed = time.Minute

// table remembers calls by their ids: decisions that wait for their lines, and for a short while the calls that are closed and the lines
// that came before their decisions.
//
// Memory is bounded by the number of calls of each kind, and for each by the lengths of its texts, which the agent bounds. Slots are kept
// for the next call, texts included up to maxSlotText.
type table struct {
	seed     maphash.Seed
	start    time.Time // times in the table count from here, by the monotonic clock
	wait     time.Duration
	parts    []shard
	replaced atomic.Bool // another process gets the lines
}

func newTable(wait time.Duration, maxPending int) *table {
	n := shards
	if maxPending < 64*shards {
		n = 1 // the bound is exact where it is small
	}
	t := &table{seed: maphash.MakeSeed(), start: time.Now(), wait: wait, parts: make([]shard, n)}
	for i := range t.parts {
		t.parts[i].init(maxPending / n)
	}
	return t
}

func (t *table) part(hash uint64) *shard { return &t.parts[hash%uint64(len(t.parts))] }

func (t *table) now() time.Duration { return time.Since(t.start) }

// decided keeps an allow until its line comes. It returns a closing if the line has come before, or if the oldest decision had to make room.
func (t *table) decided(r *audit.Record) *audit.Closing {
	hash := maphash.String(t.seed, r.ID)
	s, now := t.part(hash), t.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	i, taken := s.find(hash, r.ID)
	if i != none {
		return s.again(i, r, now)
	}
	if taken { // there is no place for it: it is given up at once
		var c call
		c.describe(r)
		return c.closing(nil)
	}
	c, missing := s.take(hash, waiting, now)
	c.describe(r)
	return missing
}

// closed finds what belongs to a line, and says what became of it. The closing is nil where there is nothing to write.
func (t *table) closed(l *line) (*audit.Closing, string) {
	id := l.text[fieldID]
	hash := maphash.Bytes(t.seed, id)
	s, now := t.part(hash), t.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	i, taken := s.find(hash, string(id))
	if i != none {
		c := &s.slots[i]
		if c.state != waiting {
			return nil, Repeated
		}
		closing := c.closing(l)
		s.close(i, now)
		return closing, Joined
	}
	result, as := Refused, free
	switch {
	case string(l.text[fieldDecision]) == "allow":
		result, as = Unjoined, closed
	case l.number[fieldSPOEError] > 0:
		result, as = Early, early
	}
	if as != free && !taken {
		s.remember(hash, l, as, now)
	}
	if result == Unjoined {
		return l.unjoined(), result
	}
	return nil, result
}

// undelivered takes back a decision.
func (t *table) undelivered(id string, attempt int64) {
	hash := maphash.String(t.seed, id)
	s := t.part(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, _ := s.find(hash, id); i != none && s.slots[i].state == waiting && s.slots[i].attempt == attempt {
		s.drop(i)
	}
}

// answered notes that Google has answered, and when.
func (t *table) answered(id string, status int, at time.Time) {
	hash := maphash.String(t.seed, id)
	s := t.part(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, _ := s.find(hash, id); i != none && s.slots[i].state == waiting {
		c := &s.slots[i]
		c.status, c.headers = status, max(at.UnixMilli()-c.time/1000, 0)
	}
}

// expire gives up what has waited for too long, and returns the closings of decisions, no more than room of them.
func (t *table) expire(room int) []*audit.Closing {
	var missing []*audit.Closing
	now := t.now()
	for i := range t.parts {
		s := &t.parts[i]
		missing = s.expire(waiting, now-t.wait, room-len(missing), missing)
		s.expire(early, now-keptClosed, shards*maxSlotText, nil)
		s.expire(closed, now-keptClosed, shards*maxSlotText, nil)
	}
	return missing
}

// pending returns how many decisions wait.
func (t *table) pending() int {
	n := 0
	for i := range t.parts {
		s := &t.parts[i]
		s.mu.Lock()
		n += s.lists[waiting].len
		s.mu.Unlock()
	}
	return n
}
