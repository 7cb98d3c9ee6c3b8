package trail

// windowSize is how many decisions are looked back upon.
const windowSize = 1 << 20

// window holds the last decisions, so that later lines can be joined with them. When it is full, the oldest one leaves: it is settled
// then, as all are at the end.
type window struct {
	ring   []entry
	size   int
	oldest int
	index  map[uint64]int32 // position by id
	settle func(*entry)
}

// entry is a decision that is not settled yet.
type entry struct {
	id      uint64
	time    int64
	attempt int32
	row     int32
	allow   bool
	lost    bool // HAProxy has not had it
	closed  bool // its closing came
	missing bool // its closing was missed
}

func newWindow(size int, settle func(*entry)) *window {
	return &window{size: size, index: map[uint64]int32{}, settle: settle}
}

// find returns the decision with an id, nil if it is not in the window.
func (w *window) find(id uint64) *entry {
	if at, ok := w.index[id]; ok {
		return &w.ring[at]
	}
	return nil
}

// add puts in a decision whose id is not in the window.
func (w *window) add(e entry) {
	if len(w.ring) < w.size {
		w.index[e.id] = int32(len(w.ring))
		w.ring = append(w.ring, e)
		return
	}
	old := &w.ring[w.oldest]
	w.settle(old)
	delete(w.index, old.id)
	w.index[e.id] = int32(w.oldest)
	*old = e
	w.oldest = (w.oldest + 1) % w.size
}

// finish settles what is left.
func (w *window) finish() {
	for i := range w.ring {
		w.settle(&w.ring[(w.oldest+i)%len(w.ring)])
	}
	w.ring, w.index = nil, nil
}
