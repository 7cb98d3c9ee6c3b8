package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"sync"

	"vertex-spoa/agent/internal/audit"
)

// Bounds of a Recorder.
const (
	DefaultDecisions = 256
	MaxDecisions     = 1024
)

// Recorder is the flight recorder: it holds the last decisions and, as far as that is known by then, how the calls ended. One more
// decision overwrites the oldest. It is safe for concurrent use. As an http.Handler it answers with the last decisions as JSON.
//
// It takes the place of some hundred bytes per decision, and of the texts of the longest record that has stood in a place of the ring,
// which a caller can make some kilobytes long.
type Recorder struct {
	mask func(*audit.Record)
	seed maphash.Seed

	mu    sync.Mutex
	ring  []entry
	ids   []uint64 // hashes of the ids in the ring: a closing finds its decision without touching all the entries
	count uint64   // decisions so far
}

// NewRecorder returns a recorder of the last size decisions, 1 to MaxDecisions, or DefaultDecisions for 0. Before a decision is shown, mask
// takes from a copy of its record what the audit log does not tell either; it must be safe for concurrent use. It is required, so that
// nothing is shown because masking was forgotten.
func NewRecorder(size int, mask func(*audit.Record)) (*Recorder, error) {
	if size == 0 {
		size = DefaultDecisions
	}
	if size < 0 || size > MaxDecisions {
		return nil, fmt.Errorf("flight recorder of %d decisions: want 1 to %d", size, MaxDecisions)
	}
	if mask == nil {
		return nil, errors.New("flight recorder: mask is required")
	}
	return &Recorder{mask: mask, seed: maphash.MakeSeed(), ring: make([]entry, size), ids: make([]uint64, size)}, nil
}

// Decided notes a decision. It does not wait, and keeps nothing of d: texts are copied, since those of a record may lie in memory that the
// next request of HAProxy's is read into. Claims and what the body says are left out.
func (r *Recorder) Decided(d *audit.Record) {
	id := maphash.String(r.seed, d.ID)
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.count % uint64(len(r.ring))
	r.count++
	r.ids[at] = id
	r.ring[at].set(d)
}

// Closed notes how a call has ended, if its decision is still there.
func (r *Recorder) Closed(c *audit.Closing) {
	id := maphash.String(r.seed, c.ID)
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.find(id, c.ID, c.Attempt); e != nil {
		e.ending, e.ended = endingOf(c), true
	}
}

// Undelivered notes that HAProxy has not had the answer of a decision, if that is still there.
func (r *Recorder) Undelivered(u *audit.Undelivered) {
	id := maphash.String(r.seed, u.ID)
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.find(id, u.ID, u.Attempt); e != nil {
		e.undelivered = true
	}
}

// find returns the decision of that key. The lock is held.
func (r *Recorder) find(hash uint64, id string, attempt int64) *entry {
	for at, h := range r.ids {
		if e := &r.ring[at]; h == hash && uint64(at) < r.count && e.is(id, attempt) {
			return e
		}
	}
	return nil
}

// Last returns the last n decisions that pass the filter, the last first, as they may be shown. A filter sees what is shown: it cannot be
// used to guess at what is masked.
func (r *Recorder) Last(n int, f Filter) []Decision {
	var found []Decision
	for _, e := range r.entries() {
		if len(found) >= n {
			break
		}
		record := e.record()
		r.mask(&record)
		if f.passes(&record) {
			found = append(found, e.decision(&record))
		}
	}
	return found
}

// copiedAtOnce is how many entries are copied in one go: decisions wait meanwhile.
const copiedAtOnce = 16

// entries returns copies of all entries, the last first. What is overwritten in the meantime is left out.
func (r *Recorder) entries() []entry {
	r.mu.Lock()
	last, size := r.count, uint64(len(r.ring))
	r.mu.Unlock()
	var all []entry
	for k := uint64(0); k < min(last, size); k += copiedAtOnce {
		r.mu.Lock()
		for i := k; i < min(k+copiedAtOnce, last, size) && r.count-(last-1-i) <= size; i++ {
			all = append(all, r.ring[(last-1-i)%size].clone())
		}
		r.mu.Unlock()
	}
	return all
}

// ServeHTTP answers with the last decisions as JSON, the last first. The query is that of the page: n, subject, decision, reason and rule.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	f, n, err := readFilter(req.URL.Query(), len(r.ring))
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	harden(w.Header())
	w.Header().Set("Content-Type", "application/json")
	all := r.Last(n, f)
	if all == nil {
		all = []Decision{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(struct {
		Decisions []Decision `json:"decisions"`
	}{all})
}
