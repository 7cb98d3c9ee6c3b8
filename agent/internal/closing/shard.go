package closing

import (
	"sync"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// none is the number of no slot.
const none int32 = -1

// shard is a part of the table. Its slots are numbered, and hang in one list for each state, oldest first.
type shard struct {
	mu    sync.Mutex
	index map[uint64]int32 // by the hash of the id
	slots []call
	lists [states]list
}

// list is a double-linked list of slots.
type list struct {
	first, last int32
	len, max    int
}

func (s *shard) init(maxWaiting int) {
	s.index = map[uint64]int32{}
	for i := range s.lists {
		s.lists[i] = list{first: none, last: none}
	}
	s.lists[waiting].max = maxWaiting
	s.lists[early].max = max(16, maxWaiting/16)
	s.lists[closed].max = max(16, maxWaiting/8)
}

// find returns the slot of the call with that id, or none. A slot of the same hash with another id is another call, as good as never; then
// taken is true beside none.
func (s *shard) find(hash uint64, id string) (i int32, taken bool) {
	i, taken = s.index[hash]
	if !taken || string(s.slots[i].id()) != id {
		return none, taken
	}
	return i, true
}

// take returns a slot for a new call, in the given state and under the given hash, which no other slot has. The oldest call in that state
// makes room for it if need be; if that was a decision, its closing is returned.
func (s *shard) take(hash uint64, to state, now time.Duration) (*call, *audit.Closing) {
	var missing *audit.Closing
	if l := &s.lists[to]; l.len >= l.max {
		missing = s.evict(l.first)
	}
	i := s.lists[free].first
	if i == none {
		i = int32(len(s.slots))
		s.slots = append(s.slots, call{})
		s.push(i, free)
	}
	s.index[hash] = i
	s.slots[i].hash = hash
	s.move(i, to, now)
	return &s.slots[i], missing
}

// remember takes a slot for a line without a decision.
func (s *shard) remember(hash uint64, l *line, as state, now time.Duration) {
	c, _ := s.take(hash, as, now)
	c.name(l.text[fieldID])
	if as == early {
		c.line = l.clone()
	}
}

// again takes a decision on a call that is in the table: a second attempt, or one that HAProxy's line was ahead of. An older attempt is
// ignored, and so is what is decided on a call that HAProxy is done with.
func (s *shard) again(i int32, r *audit.Record, now time.Duration) *audit.Closing {
	switch c := &s.slots[i]; {
	case c.state == early:
		c.describe(r)
		closing := c.closing(c.line)
		s.close(i, now)
		return closing
	case c.state == waiting && r.Attempt >= c.attempt:
		c.describe(r)
		s.move(i, waiting, now)
	}
	return nil
}

// evict frees a slot. It returns the closing of a decision that has waited in it in vain.
func (s *shard) evict(i int32) *audit.Closing {
	var missing *audit.Closing
	if c := &s.slots[i]; c.state == waiting {
		missing = c.closing(nil)
	}
	s.drop(i)
	return missing
}

// drop frees a slot.
func (s *shard) drop(i int32) {
	c := &s.slots[i]
	delete(s.index, c.hash)
	c.forget()
	s.move(i, free, 0)
}

// close keeps the id of a call, so that a second line of it is known as such.
func (s *shard) close(i int32, now time.Duration) {
	if l := &s.lists[closed]; l.len >= l.max {
		s.evict(l.first)
	}
	s.slots[i].forget()
	s.move(i, closed, now)
}

// move puts a slot to the end of the list of its new state.
func (s *shard) move(i int32, to state, now time.Duration) {
	c := &s.slots[i]
	from := &s.lists[c.state]
	if c.prev == none {
		from.first = c.next
	} else {
		s.slots[c.prev].next = c.next
	}
	if c.next == none {
		from.last = c.prev
	} else {
		s.slots[c.next].prev = c.prev
	}
	from.len--
	c.at = now
	s.push(i, to)
}

func (s *shard) push(i int32, to state) {
	c, l := &s.slots[i], &s.lists[to]
	c.state, c.prev, c.next = to, l.last, none
	if l.last == none {
		l.first = i
	} else {
		s.slots[l.last].next = i
	}
	l.last = i
	l.len++
}

// expire gives up the oldest calls of that state that came before the given time, but no more than room of them, and adds the closings of
// decisions to missing.
func (s *shard) expire(of state, before time.Duration, room int, missing []*audit.Closing) []*audit.Closing {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lists[of]
	for ; l.first != none && s.slots[l.first].at <= before && room > 0; room-- {
		if m := s.evict(l.first); m != nil {
			missing = append(missing, m)
		}
	}
	return missing
}
