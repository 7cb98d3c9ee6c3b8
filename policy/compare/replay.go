package compare

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"vertex-spoa/policy"
)

// Options are how a log is decided again. The zero Options are good.
type Options struct {
	Was     *policy.Policy // under which the log was written, see NewAsker; nil: that is not known
	Samples int            // how many ids of each group are kept; 0: 3
	Workers int            // how many decide at once; 0: one for each processor
}

// Replay decides logs again under a policy. Make one with NewReplay. It keeps no lines: its memory is bounded, whatever it reads. It is
// for one goroutine.
type Replay struct {
	policy  *policy.Policy
	asker   *Asker
	options Options
	total   *tally
	lines   int // that were read, also empty ones
}

// NewReplay returns a Replay that has read nothing.
func NewReplay(p *policy.Policy, o Options) *Replay {
	o.Samples, o.Workers = cmp.Or(o.Samples, 3), cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	return &Replay{policy: p, asker: NewAsker(p, o.Was), options: o, total: newTally(o.Samples)}
}

// maxLine is the longest line that is looked at.
const maxLine = 1 << 20

// batch is lines that one worker decides.
type batch struct {
	data  []byte
	ends  []int // of the lines in data
	first int   // number of the first line, from 1 in its log
	total int   // lines of the logs before
}

// Read decides the lines of a log again. Its name is for lines without an id. An error is one of reading; what was read before it counts.
func (r *Replay) Read(name string, log io.Reader) error {
	full, empty := make(chan *batch), make(chan *batch, 2*r.options.Workers)
	for range cap(empty) {
		empty <- &batch{}
	}
	var group sync.WaitGroup
	tallies := make([]*tally, r.options.Workers)
	for i := range tallies {
		w := newWorker(r, name)
		tallies[i] = w.tally
		group.Go(func() {
			for b := range full {
				w.decide(b)
				empty <- b
			}
		})
	}
	err := r.fill(log, full, empty)
	close(full)
	group.Wait()
	for _, t := range tallies {
		r.total.merge(t)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// fill reads the log in batches.
func (r *Replay) fill(log io.Reader, full chan<- *batch, empty <-chan *batch) error {
	const enough = 64 << 10
	from := bufio.NewReaderSize(log, maxLine)
	before := r.lines
	b := <-empty
	b.start(before, 1)
	for {
		line, err := from.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			line, err = []byte("too long"), skipLine(from) // which is no line of the log
		}
		if len(line) > 0 {
			r.lines++
			b.data = append(b.data, line...)
			b.ends = append(b.ends, len(b.data))
		}
		if len(b.data) < enough && err == nil {
			continue
		}
		full <- b
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		b = <-empty
		b.start(before, r.lines-before+1)
	}
}

func (b *batch) start(total, first int) { *b = batch{b.data[:0], b.ends[:0], first, total} }

// skipLine reads on to the end of the line.
func skipLine(from *bufio.Reader) error {
	for {
		if _, err := from.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// Report returns what came of all that was read.
func (r *Replay) Report() *Replayed {
	t := r.total
	return &Replayed{
		Policy: r.policy.Digest(), Lines: t.lines, Decided: t.decided, Changed: t.changed,
		Changes: changesOf(&t.changes), Renamed: changesOf(&t.renamed), Unknown: countsOf(&t.unknown), Elsewhere: countsOf(&t.elsewhere),
	}
}

// Outcome is an answer, as far as two of them are compared.
type Outcome struct {
	Decision string `json:"decision"` // allow or deny
	Reason   string `json:"reason,omitempty"`
	Role     string `json:"role,omitempty"` // of a call that is allowed
	Rule     string `json:"rule,omitempty"`
	Account  string `json:"account,omitempty"`
	Forward  string `json:"forward,omitempty"` // what is called, where that is another model or endpoint than the other policy has called
}

// Change is a group of decisions that come out otherwise in the same way.
type Change struct {
	Count   int      `json:"count"`
	Before  Outcome  `json:"before"`
	After   Outcome  `json:"after"`
	Samples []string `json:"samples"` // ids of the first ones; of lines without one, name:line
}

// Count is how many lines something holds for.
type Count struct {
	What    string   `json:"what"`
	Count   int      `json:"count"`
	Samples []string `json:"samples"` // as in Change
}

// Replayed is what came of logs. In each list the largest group is the first.
type Replayed struct {
	Policy    string   `json:"policy"`    // digest of the new policy
	Lines     int      `json:"lines"`     // that were read, without empty ones
	Decided   int      `json:"decided"`   // that were decided again
	Changed   int      `json:"changed"`   // that come out otherwise
	Changes   []Change `json:"changes"`   // these
	Renamed   []Change `json:"renamed"`   // the same answer, by another rule
	Unknown   []Count  `json:"unknown"`   // lines that could not be decided again, by reason
	Elsewhere []Count  `json:"elsewhere"` // lines that no policy had a part in, by reason
}

// worker decides lines.
type worker struct {
	replay   *Replay
	name     string
	tally    *tally
	sessions map[string]bound
	key      []byte
	record   Record
}

// bound is a caller who was bound, or why that cannot be.
type bound struct {
	session *policy.Session
	err     error
}

// maxSessions is how many callers a worker remembers.
const maxSessions = 4096

func newWorker(r *Replay, name string) *worker {
	return &worker{replay: r, name: name, tally: newTally(r.options.Samples), sessions: map[string]bound{}}
}

func (w *worker) decide(b *batch) {
	from := 0
	for i, end := range b.ends {
		if line := trim(b.data[from:end]); len(line) > 0 {
			w.line(line, b, b.first+i)
		}
		from = end
	}
}

// trim cuts white space off both ends.
func trim(line []byte) []byte {
	for len(line) > 0 && line[len(line)-1] <= ' ' {
		line = line[:len(line)-1]
	}
	for len(line) > 0 && line[0] <= ' ' {
		line = line[1:]
	}
	return line
}

// Where a line cannot even be read.
const (
	unreadable   = "not a line of the audit log"
	otherVersion = "a line of another version"
)

func (w *worker) line(line []byte, b *batch, number int) {
	t := w.tally
	r := &w.record
	at := sample{line: b.total + number}
	err := r.parse(line)
	if errors.Is(err, ErrNoDecision) {
		return
	}
	t.lines++
	if at.name = r.ID; at.name == "" {
		at.name = fmt.Sprintf("%s:%d", w.name, number)
	}
	switch {
	case err != nil && r.Version != Version && r.Version != 0:
		t.unknown.of(otherVersion).add(at, t.unknown.most)
		return
	case err != nil:
		t.unknown.of(unreadable).add(at, t.unknown.most)
		return
	case !r.judged():
		t.elsewhere.of(r.Reason).add(at, t.elsewhere.most)
		return
	}
	d, err := w.ask(r)
	if err != nil {
		t.unknown.of(err.Error()).add(at, t.unknown.most)
		return
	}
	t.decided++
	c := change{r.outcome(), outcomeOf(&d)}
	c.forward(r, &d)
	switch {
	case c.before == c.after:
	case c.alike():
		t.renamed.of(c).add(at, t.renamed.most)
	default:
		t.changed++
		t.changes.of(c).add(at, t.changes.most)
	}
}

// ask decides a record again.
func (w *worker) ask(r *Record) (policy.Decision, error) {
	w.key = append(append(append(w.key[:0], r.Issuer...), 0), r.Subject...)
	w.key = append(append(append(append(w.key, 0), r.Policy...), 0), r.Claims...)
	found, ok := w.sessions[string(w.key)]
	if !ok {
		caller, err := w.replay.asker.Caller(r)
		if found.err = err; err == nil {
			found.session = w.replay.policy.Bind(caller)
		}
		if len(w.sessions) >= maxSessions {
			clear(w.sessions)
		}
		w.sessions[string(w.key)] = found
	}
	if found.err != nil {
		return policy.Decision{}, found.err
	}
	var q Question
	if err := w.replay.asker.fill(r, &q); err != nil {
		return policy.Decision{}, err
	}
	return q.Ask(found.session)
}

// judged reports whether a policy had a part in a record: it was refused by rules, or something failed after rules had allowed it.
func (r *Record) judged() bool {
	switch {
	case r.Decision == "allow", r.Rule != "":
		return true
	case r.Reason == string(policy.SurfaceOff):
		_, err := policy.ParseAny(r.HTTPMethod, r.target())
		return err == nil // otherwise the parser of calls refused it
	}
	return slices.Contains(byRules(), policy.Reason(r.Reason))
}

// byRules returns the reasons of refusals by a policy, without those of the parser of calls.
func byRules() []policy.Reason {
	return []policy.Reason{
		policy.NoRole, policy.NoRule, policy.Denied, policy.PolicyError, policy.BodyRequired, policy.TruncatedBody, policy.BadBody,
		policy.ReasonRequired, policy.NotActive,
	}
}

// outcome returns what the policy answered: where something else refused the call later, that is an allow.
func (r *Record) outcome() Outcome {
	if r.Decision == "deny" && (slices.Contains(byRules(), policy.Reason(r.Reason)) || r.Reason == string(policy.SurfaceOff)) {
		return Outcome{Decision: "deny", Reason: r.Reason, Rule: r.Rule}
	}
	return Outcome{Decision: "allow", Role: r.Role, Rule: r.Rule, Account: r.Account}
}

func outcomeOf(d *policy.Decision) Outcome {
	if d.Effect == policy.Allow {
		return Outcome{Decision: "allow", Role: d.Role, Rule: d.Rule, Account: d.Account}
	}
	return Outcome{Decision: "deny", Reason: string(d.Reason), Rule: d.Rule}
}

// forward notes what is called where that is something else than before.
func (c *change) forward(r *Record, d *policy.Decision) {
	if c.before.Decision != "allow" || c.after.Decision != "allow" || r.URI == d.Call.URI() {
		return
	}
	c.after.Forward = called(&d.Call)
	if was, err := policy.ParseAny(r.HTTPMethod, r.URI); err == nil {
		c.before.Forward = called(&was)
	}
}

// called names what a call calls, with its project and location.
func called(c *policy.Call) string {
	in := " in " + c.Location + " of " + c.Project
	if c.Model != "" {
		return c.Publisher + "/" + c.Model + in
	}
	return c.Method + in
}

// alike reports whether only the name of the rule differs.
func (c change) alike() bool {
	c.before.Rule, c.after.Rule = "", ""
	return c.before == c.after
}
