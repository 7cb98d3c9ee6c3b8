package misuse

// denials counts the denials of a caller or an address in a window that slides over time: those of the window of the clock that runs, and
// of the one before it as large a part as the sliding window still covers.
type denials struct {
	Window int64   // number of the running one
	Count  uint32  // in it
	Before uint32  // in the one before
	Quiet  int64   // the burst lasts until then
	Told   float32 // how many times the threshold that burst was when it was told

	// What is usual: the highest count of a day, averaged over the days that had denials.
	Usual   float32
	Highest float32 // of Day
	Day     int32
}

const (
	// A burst is at least so many times as much as usual.
	timesUsual = 3
	// A day counts as at most so many times its threshold, so that one wild day does not hide the next ones.
	timesThreshold = 2
)

// count counts a denial. It returns how many times the threshold was reached when a burst begins with the denial, and again when the burst
// becomes muchStronger; otherwise 0. A burst lasts until the denials have stayed below the threshold for the cool-down.
func (n *denials) count(now int64, least int, c *Config) (times float32, again bool) {
	length := seconds(c.DenialWindow)
	n.turn(floorDiv(now, length))
	n.learn(dayOf(now), float32(least))
	n.Count++
	past := now - n.Window*length
	sum := float32(n.Count) + float32(n.Before)*float32(length-past)/float32(length)
	n.Highest = max(n.Highest, sum)
	times = sum / n.threshold(float32(least))
	if times < 1 {
		return 0, false
	}
	if now >= n.Quiet || n.Quiet-now > seconds(c.DenialCooldown) { // which a clock that was wrong has set
		n.Told = 0
	}
	n.Quiet = now + seconds(c.DenialCooldown)
	if n.Told >= muchStronger || n.Told > 0 && times < muchStronger {
		return 0, false
	}
	again = n.Told > 0
	n.Told = times
	return times, again
}

// turn moves to the window, unless it is the one before, which may still have stragglers.
func (n *denials) turn(window int64) {
	switch window {
	case n.Window, n.Window - 1:
		return
	case n.Window + 1:
		n.Before = n.Count
	default:
		n.Before = 0
	}
	n.Window, n.Count = window, 0
}

// learn closes the last day that had denials, when another one begins.
func (n *denials) learn(day int32, least float32) {
	if day == n.Day {
		return
	}
	n.Usual += (min(n.Highest, timesThreshold*n.threshold(least)) - n.Usual) / 2
	n.Day, n.Highest = day, 0
}

func (n *denials) threshold(least float32) float32 { return max(least, timesUsual*n.Usual) }
