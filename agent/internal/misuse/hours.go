package misuse

import "math"

// hours remembers at which hours of the day, in UTC, a caller is active. What counts is on how many days it was active in an hour, not
// how often: a thousand calls in one night do not make the night usual. Old days fade.
type hours struct {
	Days   [24]float32 // on which the caller was active in that hour
	Total  float32     // on which it was active at all; fades like Days
	Active uint16      // the same, not faded, up to its maximum
	Day    int32       // the last one
	Seen   uint32      // hours of Day, a bit each
}

// hoursHalfLife is after how many days a day counts half.
const hoursHalfLife = 45

// near is how much a day counts that was active so many hours earlier or later. It makes up for clocks that change in spring and autumn,
// and for people who come early or leave late.
var near = [...]float32{1, 1, 0.5, 0.25} // never written

// see counts activity, and reports whether its hour is unusual. A straggler of the day before does not count.
func (h *hours) see(now int64, c *Config) (unusual bool) {
	day, hour := dayOf(now), int(floorDiv(now, secondsPerHour)-24*floorDiv(now, secondsPerDay))
	if day > h.Day || h.Active == 0 {
		h.begin(day)
	}
	if day < h.Day || h.Seen&(1<<hour) != 0 {
		return false
	}
	unusual = h.Active > minActiveDays && h.around(hour) < float32(c.HourShare)*h.Total
	h.Seen |= 1 << hour
	h.Days[hour]++
	return unusual
}

// begin begins a day.
func (h *hours) begin(day int32) {
	fade := float32(math.Exp2(-float64(max(day-h.Day, 0)) / hoursHalfLife))
	for i := range h.Days {
		h.Days[i] *= fade
	}
	h.Total = h.Total*fade + 1
	h.Day, h.Seen = day, 0
	if h.Active < math.MaxUint16 {
		h.Active++
	}
}

// around returns on how many days the caller was active around an hour.
func (h *hours) around(hour int) float32 {
	sum := near[0] * h.Days[hour]
	for i := 1; i < len(near); i++ {
		sum += near[i] * (h.Days[(hour+i)%24] + h.Days[(hour-i+24)%24])
	}
	return sum
}
