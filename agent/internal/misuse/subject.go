package misuse

import "vertex-spoa/agent/internal/audit"

// subject is what is remembered of a caller. It has no pointers, and its members are exported so that encoding/binary can store it.
type subject struct {
	First   int64 // seconds since 1970, 0 before the first sight
	Last    int64
	Hours   hours
	Denials denials
	Models  models
	Spend   spending

	Attention attention
}

// forgotten is after how long an absence a caller is learned anew: hardly anything of what was learned counts any more.
const forgotten = 180 * secondsPerDay

// meet notes that the caller is there, and tells whether it has been watched for long enough. A clock that goes back by more than a day was
// wrong, and so may be what was learned by it.
func (s *subject) meet(now int64, c *Config) (learned bool) {
	if gap := now - s.Last; s.First == 0 || gap > forgotten || gap < -secondsPerDay {
		*s = subject{First: now, Last: now}
	}
	s.Last = max(s.Last, now)
	return now-s.First >= seconds(c.Learning)
}

// denied counts a denial.
func (s *subject) denied(now int64, c *Config) signs {
	times, _ := s.Denials.count(now, c.Denials, c)
	if times < 1 {
		return 0
	}
	return s.Attention.raise(signDenials, times >= muchStronger, now, c)
}

// model looks at the model of a call that was let through.
func (d *Detector) model(s *subject, k key, r *audit.Record, now int64, learned bool) signs {
	id, day := modelOf(r), dayOf(now)
	if id == 0 || s.Models.touch(id, day) {
		return 0
	}
	learned = learned && s.Hours.Active >= minActiveDays
	explorer := s.Models.explorer(day)
	usual := d.crowds.join(id, r.Role, k, day, learned, explorer, &d.cfg)
	if !usual && now-s.First >= firstModels {
		s.Models.Adopted++
	}
	if usual || explorer || !learned {
		return 0
	}
	return s.Attention.raise(signModel, false, now, &d.cfg)
}

// minActiveDays is on how many days a caller must have been active before a model or an hour can be new to it.
const minActiveDays = 7
