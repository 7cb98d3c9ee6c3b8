package misuse

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// crowds remembers who else has taken a model up. A team that moves to a new model does nothing unusual, and neither do many who follow a
// release; a caller who is alone with a model does. When there is no room, the pair of role and model is forgotten that was taken up least
// recently, which makes the next caller who takes it up look alone: too many flags rather than too few.
type crowds struct {
	mu      sync.Mutex
	roles   *simplelru.LRU[crowdKey, *crowd]
	evicted uint64
}

// crowdKey is a model and the hash of a role, or a model and 0 for the callers of all roles.
type crowdKey struct {
	Model uint32
	Role  uint64
}

// crowdSize is how many callers are remembered who have taken a model up, the last ones.
const crowdSize = 8

type crowd struct {
	Members [crowdSize]member
	Next    uint32 // place of the oldest one
}

type member struct {
	Caller uint64 // the first half of its key, 0 for none
	Day    int32  // on which it took the model up
}

// waveDays is within how many days many must have taken a model up to be a wave.
const waveDays = 7

func (cs *crowds) init(room int) {
	evict := func(crowdKey, *crowd) { cs.evicted++ }
	cs.roles, _ = simplelru.NewLRU(room, evict) // fails for room < 1 only, which Thresholds excludes
}

// join reports whether it is usual to take a model up: because enough others of the caller's role have, or because many of any role have
// within a week. It counts the caller in, unless it is one who tries out models, who makes nothing usual. Into the many go only those who
// have been learned: new callers begin with some model, which says nothing.
func (cs *crowds) join(model uint32, role string, k key, day int32, learned, explorer bool, c *Config) (usual bool) {
	caller := binary.LittleEndian.Uint64(k[:]) | 1
	cs.mu.Lock()
	defer cs.mu.Unlock()
	peers, wave := cs.of(crowdKey{model, fnv(fnvStart, role) | 1}), cs.of(crowdKey{model, 0})
	usual = peers.others(caller, day, math.MaxInt32) >= c.Peers || wave.others(caller, day, waveDays) >= c.Wave
	if !explorer {
		peers.add(caller, day)
	}
	if !explorer && learned {
		wave.add(caller, day)
	}
	return usual
}

func (cs *crowds) of(k crowdKey) *crowd {
	if all, ok := cs.roles.Get(k); ok {
		return all
	}
	all := &crowd{}
	cs.roles.Add(k, all)
	return all
}

// others returns how many others have taken the model up within the last days.
func (all *crowd) others(caller uint64, day, days int32) (n int) {
	for _, m := range all.Members {
		if m.Caller != 0 && m.Caller != caller && day-m.Day <= days {
			n++
		}
	}
	return n
}

// add counts the caller in, in place of the oldest one.
func (all *crowd) add(caller uint64, day int32) {
	for i := range all.Members {
		if m := &all.Members[i]; m.Caller == caller {
			m.Day = day
			return
		}
	}
	all.Members[all.Next] = member{Caller: caller, Day: day}
	all.Next = (all.Next + 1) % crowdSize
}

func (cs *crowds) stats() (n int, evicted uint64) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.roles.Len(), cs.evicted
}
