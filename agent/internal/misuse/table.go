package misuse

import (
	"crypto/sha256"
	"hash/maphash"
	"net/netip"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// shards is the number of parts, a power of two, that each table is divided into so that few callers wait for the same lock.
const shards = 16

// key identifies a caller: the first half of a hash of the issuer and the subject, so that a long name takes no more room than a short
// one and so that nobody can choose whose entry is theirs.
type key [sha256.Size / 2]byte

// keyOf returns the key of a caller. An issuer's name has no zero byte.
func keyOf(issuer, subject string) key {
	var room [640]byte
	text := append(room[:0], issuer...)
	text = append(text, 0)
	text = append(text, subject...)
	sum := sha256.Sum256(text)
	return key(sum[:len(key{})])
}

func (k key) shard() int { return int(k[0] % shards) }

// source is where an unknown caller comes from: an IPv4 address or the /64 of an IPv6 one, which is what one host is given. The zero
// source is the one of everybody whose address is unknown.
type source netip.Addr

func sourceOf(text string) source {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return source{}
	}
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, err := a.Prefix(64)
		if err != nil {
			return source{}
		}
		a = p.Addr()
	}
	return source(a)
}

func (s source) shard() int { return int(maphash.Comparable(sourceSeed, s) % shards) }

var sourceSeed = maphash.MakeSeed() // never written

// table is one part of the entries. Those that were seen on one day only are apart from those that came back: a crowd that passes by once
// does not take the room of the others.
type table[K comparable, V any] struct {
	mu      sync.Mutex
	room    int // for both
	passing *simplelru.LRU[K, *entry[V]]
	staying *simplelru.LRU[K, *entry[V]]
	evicted uint64
}

type entry[V any] struct {
	first int32 // day
	value V
}

func (t *table[K, V]) init(room int) {
	t.room = room
	t.passing, _ = simplelru.NewLRU[K, *entry[V]](room, nil) // fails for room < 1 only, which Thresholds excludes
	t.staying, _ = simplelru.NewLRU[K, *entry[V]](room, nil)
}

// get returns the entry of k, which it makes if need be, as the most recently seen one. The caller holds the lock.
func (t *table[K, V]) get(k K, now int64) *V {
	if e, ok := t.staying.Get(k); ok {
		return &e.value
	}
	if e, ok := t.passing.Get(k); ok {
		if dayOf(now) != e.first {
			t.passing.Remove(k)
			t.staying.Add(k, e)
		}
		return &e.value
	}
	e := &entry[V]{first: dayOf(now)}
	t.put(k, e, false)
	return &e.value
}

// put adds an entry. The caller holds the lock.
func (t *table[K, V]) put(k K, e *entry[V], staying bool) {
	t.makeRoom()
	if staying {
		t.staying.Add(k, e)
		return
	}
	t.passing.Add(k, e)
}

// makeRoom forgets one entry if there is no room for another one.
func (t *table[K, V]) makeRoom() {
	if t.passing.Len()+t.staying.Len() < t.room {
		return
	}
	t.evicted++
	if t.passing.Len() > t.room/4 || t.staying.Len() == 0 {
		t.passing.RemoveOldest()
		return
	}
	t.staying.RemoveOldest()
}

func (t *table[K, V]) stats() (n int, evicted uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.passing.Len() + t.staying.Len(), t.evicted
}
