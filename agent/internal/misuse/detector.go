// Package misuse finds signs of misuse in the decisions and in the ends of the calls that they let through: bursts of denials, a model
// that a caller has never used, an hour at which it is never active, and far more tokens than it ever uses.
//
// A sign is no verdict. Nothing is denied for it: it is flagged in the record, once, and counted.
//
// A caller is an issuer and a subject, both verified. It is compared with itself: for the time of learning nothing but denials is flagged,
// and whatever was flagged once is a part of what the caller does from then on. So a caller who changes slowly enough, or who was misused
// while it was new, is not found; and after a flag, for Config.Quiet, only far stronger signs of the same caller are flagged, so that who
// reads them is told once and not every day. Who reads a flag should therefore look at what the caller did after it as well.
//
// Time is that of the records, in UTC: a replay of old records finds what was there to be found then. Flags belong to records on their way
// to the log; where a line cannot be written, its flag is not raised again.
//
// Memory is bounded. A caller takes the same few hundred bytes however much it does, and there are at most Config.MaxSubjects of them. When
// there is no room for a new one, the least recently seen of those who were active on a single day make room as long as they are more than
// a quarter of all, and then the least recently seen of the others; who has been forgotten is learned anew. Requests whose caller is not
// verified never take the room of one who is: their denials are counted by the address they come from, in a table of its own.
package misuse

import (
	"math/bits"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// The signs of misuse.
const (
	// DenialBurst is more denials of one caller, or of unknown callers at one address, than the threshold within the window, and more than
	// three times what is usual for it. Denials that are no caller's doing do not count: those of status 429 and of 500 and above.
	DenialBurst = "DENIAL_BURST"
	// NewModel is a call to a model that the caller has not used, that is not usual for its role and that is not being taken up by many.
	NewModel = "NEW_MODEL"
	// UnusualHour is activity in an hour of the day around which the caller is never active, or hardly ever.
	UnusualHour = "UNUSUAL_HOUR"
	// TokenSpike is a call, an hour or a day of far more tokens than the caller's own calls, hours and days have. It is found when the
	// usage is known, so it stands in the closing record.
	TokenSpike = "TOKEN_SPIKE"
)

// Signals returns all signs.
func Signals() []string { return []string{DenialBurst, NewModel, UnusualHour, TokenSpike} }

// signs is a set of signals, by their place in Signals.
type signs uint8

const (
	signDenials signs = 1 << iota
	signModel
	signHour
	signTokens
)

// Detector remembers what callers usually do. It is safe for concurrent use.
type Detector struct {
	cfg      Config
	subjects [shards]table[key, subject]
	sources  [shards]table[source, denials]
	crowds   crowds
}

// Stats says what a detector holds.
type Stats struct {
	Subjects, Sources, Models int // that are remembered

	// Those that had to make room since the start.
	SubjectsEvicted, SourcesEvicted, ModelsEvicted uint64
}

// New returns a detector that knows nobody yet. It is an error if a threshold is out of its range.
func New(c Config) (*Detector, error) {
	c, err := c.completed()
	if err != nil {
		return nil, err
	}
	d := &Detector{cfg: c}
	for i := range shards {
		d.subjects[i].init(c.MaxSubjects / shards)
		d.sources[i].init(c.MaxSources / shards)
	}
	d.crowds.init(c.MaxModels)
	return d, nil
}

// Decision learns from a decision and returns the signs of misuse in it, nil for none. It does not wait but for the lock of a part of the
// callers, which nobody holds for longer than a lookup, and does not keep r.
func (d *Detector) Decision(r *audit.Record) []string {
	now := r.Time.Unix()
	denied := r.Decision != "allow"
	if r.Subject == "" {
		if !denied || !counts(r.Status) {
			return nil
		}
		return d.raise(d.unknown(sourceOf(r.Source), now))
	}
	k := keyOf(r.Issuer, r.Subject)
	t := &d.subjects[k.shard()]
	t.mu.Lock()
	s := t.get(k, now)
	learned := s.meet(now, &d.cfg)
	var found signs
	if s.Hours.see(now, &d.cfg) && learned {
		found = s.Attention.raise(signHour, false, now, &d.cfg)
	}
	if denied && counts(r.Status) {
		found |= s.denied(now, &d.cfg)
	}
	if !denied {
		found |= d.model(s, k, r, now, learned)
	}
	t.mu.Unlock()
	return d.raise(found)
}

// counts tells whether a denial of this status is the caller's doing. A limit that did its work and a part of the system that was down
// come in thousands, whatever the caller is up to.
func counts(status int) bool { return status < 500 && status != 429 }

// unknown counts a denial of somebody who is not verified.
func (d *Detector) unknown(from source, now int64) signs {
	t := &d.sources[from.shard()]
	t.mu.Lock()
	defer t.mu.Unlock()
	if times, again := t.get(from, now).count(now, d.cfg.SourceDenials, &d.cfg); times < 1 || again {
		return 0
	}
	return signDenials
}

// Closing learns from the end of a call and returns the signs of misuse in it, nil for none. A closing without a subject, without usage
// or with a usage that names no tokens teaches nothing. It waits and keeps as little as Decision does. The issuer and the subject must be
// written as in the decision.
func (d *Detector) Closing(c *audit.Closing) []string {
	used, whole := tokensOf(c.Usage)
	if used < 0 || c.Subject == "" {
		return nil
	}
	now := c.Time.Unix()
	k := keyOf(c.Issuer, c.Subject)
	t := &d.subjects[k.shard()]
	t.mu.Lock()
	s := t.get(k, now)
	found := s.spend(used, whole, now, &d.cfg)
	t.mu.Unlock()
	return d.raise(found)
}

// raise names what was found.
func (d *Detector) raise(found signs) []string {
	if found == 0 {
		return nil
	}
	names := make([]string, 0, bits.OnesCount8(uint8(found)))
	for i, name := range Signals() {
		if found&(1<<i) == 0 {
			continue
		}
		names = append(names, name)
		if d.cfg.OnFlag != nil {
			d.cfg.OnFlag(name)
		}
	}
	return names
}

// Stats returns what the detector holds now.
func (d *Detector) Stats() Stats {
	var s Stats
	for i := range shards {
		n, evicted := d.subjects[i].stats()
		s.Subjects += n
		s.SubjectsEvicted += evicted
		n, evicted = d.sources[i].stats()
		s.Sources += n
		s.SourcesEvicted += evicted
	}
	s.Models, s.ModelsEvicted = d.crowds.stats()
	return s
}

const (
	secondsPerHour = int64(time.Hour / time.Second)
	secondsPerDay  = 24 * secondsPerHour
)

// dayOf and hourOf number the days and the hours of UTC from 1970 on.
func dayOf(now int64) int32  { return int32(floorDiv(now, secondsPerDay)) }
func hourOf(now int64) int32 { return int32(floorDiv(now, secondsPerHour)) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// seconds of a threshold.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }
