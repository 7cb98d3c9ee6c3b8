package misuse

import (
	"math"

	"vertex-spoa/agent/internal/audit"
)

// spending remembers how many tokens a caller's calls, hours and days have.
type spending struct {
	Call baseline
	Hour meter
	Day  meter
}

// kind is what the values of a baseline have in common. The more they vary by nature, the further away a spike must be.
type kind struct {
	few, many  uint32  // how many values it must have before anything can be a spike, and over how many it averages
	deviations float32 // of the logarithm, that a spike is above the mean at least
	share      float32 // of Config.SpikeFactor, that a spike is above the highest value at least
}

var (
	calls  = kind{few: 40, many: 1000, deviations: 4, share: 1}
	hourly = kind{few: 15, many: 200, deviations: 2, share: 5. / 6}
	daily  = kind{few: 5, many: 30, deviations: 2, share: 2. / 3}
) // never written

// tokensOf returns the tokens of a call, negative if they are unknown, and whether these are all of them. A part that is not named is not
// taken for nothing: the sum of the others may be a spike all the same, but says nothing of what is usual.
func tokensOf(u *audit.Usage) (tokens int64, whole bool) {
	if u == nil {
		return -1, false
	}
	if u.Total >= 0 {
		return u.Total, true
	}
	if u.Input < 0 && u.Output < 0 && u.Thoughts < 0 {
		return -1, false
	}
	parts := float64(max(u.Input, 0)) + float64(max(u.Output, 0)) + float64(max(u.Thoughts, 0))
	return int64(min(parts, maxTokens)), u.Input >= 0 && u.Output >= 0
}

// spend counts the tokens of a call, and reports whether they are a spike.
func (s *subject) spend(tokens int64, whole bool, now int64, c *Config) signs {
	learned := s.meet(now, c)
	p := &s.Spend
	day, x := dayOf(now), float32(min(float64(tokens), maxTokens))
	times := p.Call.times(x, float32(c.SpikeCall), &calls, day, c)
	if whole {
		p.Call.learn(x, &calls, day)
	}
	p.Hour.add(x, hourOf(now), 24, &hourly)
	times = max(times, p.Hour.Of.times(p.Hour.Sum, float32(c.SpikeHour), &hourly, day, c))
	p.Day.add(x, day, 1, &daily)
	times = max(times, p.Day.Of.times(p.Day.Sum, float32(c.SpikeDay), &daily, day, c))
	if times < 1 || !learned {
		return 0
	}
	return s.Attention.raise(signTokens, times >= muchStronger, now, c)
}

// meter sums up the tokens of the running hour or day.
type meter struct {
	Slot int32 // its number
	Sum  float32
	Of   baseline // of those before
}

// add adds tokens. A slot without tokens is none: a caller who pauses has no low usage.
func (m *meter) add(x float32, slot, perDay int32, k *kind) {
	if slot > m.Slot { // a straggler of the one before counts in this one
		if m.Sum > 0 {
			m.Of.learn(m.Sum, k, m.Slot/perDay)
		}
		m.Slot, m.Sum = slot, 0
	}
	m.Sum += x
}

// baseline describes values by the mean and the variance of their logarithms, which suits numbers of tokens, and by the highest one.
// Values fade: the mean and the variance over the number of values, the highest one over time.
type baseline struct {
	N       uint32 // values, up to the number it averages over
	Mean    float32
	Var     float32
	Highest float32 // of the days before Day
	Today   float32 // highest of Day
	Day     int32
}

const (
	peakHalfLife = 45  // days
	minDeviation = 0.4 // of the logarithm; who always uses the same number of tokens may use half as many more
	maxDeviation = 3   // a value further from the mean is learned as if it were this far
)

// times returns how many times x is what it takes to be a spike of its kind, and 0 if it is none.
func (b *baseline) times(x, floor float32, k *kind, day int32, c *Config) float32 {
	if x < floor || b.N < k.few || log(x) < b.Mean+k.deviations*b.deviation() {
		return 0
	}
	return x / max(floor, k.share*float32(c.SpikeFactor)*b.highest(day))
}

// learn counts a value. One that is far from the others moves the mean and the variance as little as one that is just far enough to be
// rare, but it is the highest one from then on: what was flagged once is not flagged again.
func (b *baseline) learn(x float32, k *kind, day int32) {
	if day > b.Day {
		b.Highest, b.Today, b.Day = b.highest(day), 0, day
	}
	b.Today = max(b.Today, x)
	y := log(x)
	if b.N >= 10 {
		room := maxDeviation * b.deviation()
		y = min(max(y, b.Mean-room), b.Mean+room)
	}
	if b.N < k.many {
		b.N++
	}
	share := 1 / float32(b.N)
	diff := y - b.Mean
	b.Mean += share * diff
	b.Var += share * (diff*(y-b.Mean) - b.Var)
}

// highest returns the highest value of the days before. What the day itself has is left out: the beginning of a spike does not hide the rest.
func (b *baseline) highest(day int32) float32 {
	if day <= b.Day {
		return b.Highest
	}
	return max(b.Highest, b.Today) * float32(math.Exp2(-float64(day-b.Day)/peakHalfLife))
}

func (b *baseline) deviation() float32 { return max(minDeviation, float32(math.Sqrt(float64(b.Var)))) }

// log is the natural logarithm, and 0 for nothing.
func log(x float32) float32 { return float32(math.Log1p(float64(x))) }
