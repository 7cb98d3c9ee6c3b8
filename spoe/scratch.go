package spoe

import "sync"

// A list begins with room for a usual NOTIFY and grows to several. What is
// more gets an array of its own, so that one NOTIFY that is not answered for
// long keeps no more than one array of each kind, 25 kB together.
const (
	leastKept    = 32
	mostArgs     = 2 * (maxArgs + 1)
	mostMessages = 2 * maxMessages
)

// scratch is where NOTIFYs are decoded to. It grows for what has come, and is
// used again once nobody needs what is in it.
type scratch struct {
	messages list[Message]
	args     list[Arg]
}

// begin begins a NOTIFY.
func (s *scratch) begin() {
	s.messages.begin()
	s.args.begin()
}

// finish returns the messages of the NOTIFY, each of which has had as many
// arguments as its Args are long. Only now will they not be moved any more.
func (s *scratch) finish() []Message {
	messages, args := s.messages.own(), s.args.own()
	for i := range messages {
		if n := len(messages[i].Args); n > 0 {
			messages[i].Args, args = args[:n:n], args[n:]
		}
	}
	return messages
}

// reset makes all of s free again, and forgets what was in it. s may be nil.
func (s *scratch) reset() {
	if s != nil {
		s.messages.reset()
		s.args.reset()
	}
}

// list is where the parts of NOTIFYs are put, one NOTIFY behind the other.
// Behind the last one it is all zeros.
type list[T any] struct {
	all   []T
	first int // of the last NOTIFY
}

func (l *list[T]) begin() { l.first = len(l.all) }

// add adds v to the last NOTIFY, which must have less than most.
func (l *list[T]) add(v T, most int) {
	if len(l.all) == cap(l.all) {
		l.grow(most)
	}
	l.all = append(l.all, v)
}

// grow goes on in another array, of up to most. The last NOTIFY moves there;
// those before it keep the old array for as long as they need it.
func (l *list[T]) grow(most int) {
	size := min(max(2*cap(l.all), leastKept), most)
	l.all, l.first = append(make([]T, 0, size), l.all[l.first:]...), 0
}

// own returns what the last NOTIFY has.
func (l *list[T]) own() []T { return l.last(len(l.all) - l.first) }

// last returns the last n, or nil.
func (l *list[T]) last(n int) []T {
	if n == 0 {
		return nil
	}
	return l.all[len(l.all)-n : len(l.all) : len(l.all)]
}

func (l *list[T]) reset() {
	clear(l.all)
	l.all = l.all[:0]
}

// scratchPool lends out scratches, so that connections that are idle need none.
type scratchPool struct{ pool sync.Pool }

func (p *scratchPool) get() *scratch {
	if s, ok := p.pool.Get().(*scratch); ok {
		return s
	}
	return new(scratch)
}

// put takes s back.
func (p *scratchPool) put(s *scratch) {
	s.reset()
	p.pool.Put(s)
}
