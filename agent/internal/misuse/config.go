package misuse

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Config holds the thresholds. One that is zero has its default; Thresholds says what each means.
type Config struct {
	MaxSubjects int // default 10,000
	MaxSources  int // default 10,000
	MaxModels   int // default 4,096

	Learning time.Duration // default 28 days
	Quiet    time.Duration // default 30 days

	Denials        int           // default 25
	SourceDenials  int           // default 60
	DenialWindow   time.Duration // default 5 minutes
	DenialCooldown time.Duration // default 1 hour

	Peers int // default 3
	Wave  int // default 3

	HourShare float64 // default 0.05

	SpikeCall   int64   // default 50,000
	SpikeHour   int64   // default 200,000
	SpikeDay    int64   // default 1,000,000
	SpikeFactor float64 // default 6

	// OnFlag is told of every flag that is raised, with one of Signals. It may be called from several goroutines at once and must not wait.
	// Nil for none.
	OnFlag func(signal string)
}

// Threshold documents one member of Config.
type Threshold struct {
	Name    string // in the text that Parse reads
	Default string
	Doc     string

	member      func(c *Config) any // a pointer to it
	least, most float64             // durations in seconds
}

const (
	maxEntries = 1_000_000
	maxTime    = 366 * 24 * 60 * 60 // seconds
	maxTokens  = 1e15
)

// Thresholds returns what can be set.
func Thresholds() []Threshold {
	return []Threshold{
		{"max_subjects", "10000", "Verified callers that are remembered; about 800 bytes each.",
			func(c *Config) any { return &c.MaxSubjects }, shards, maxEntries},
		{"max_sources", "10000", "Addresses of unknown callers that are remembered, IPv6 by /64; about 300 bytes each.",
			func(c *Config) any { return &c.MaxSources }, shards, maxEntries},
		{"max_models", "4096", "Pairs of role and model whose users are remembered; about 300 bytes each.",
			func(c *Config) any { return &c.MaxModels }, shards, maxEntries},
		{"learning", "672h", "How long a caller is watched before anything but a burst of denials is flagged.",
			func(c *Config) any { return &c.Learning }, 1, maxTime},
		{"quiet", "720h", "How long after some hours with flags the same caller is flagged for far stronger signs only.",
			func(c *Config) any { return &c.Quiet }, 1, maxTime},

		{"denials", "25", "Denials of one caller within the window that are a burst.",
			func(c *Config) any { return &c.Denials }, 1, maxEntries},
		{"source_denials", "60", "Denials of unknown callers at one address within the window that are a burst.",
			func(c *Config) any { return &c.SourceDenials }, 1, maxEntries},
		{"denial_window", "5m", "The window in which denials are counted.",
			func(c *Config) any { return &c.DenialWindow }, 1, maxTime},
		{"denial_cooldown", "1h", "How long the denials must have stayed below the threshold before they can be a burst again.",
			func(c *Config) any { return &c.DenialCooldown }, 1, maxTime},

		{"peers", "3", "Other callers of the same role who make a model a usual one by having used it.",
			func(c *Config) any { return &c.Peers }, 1, crowdSize},
		{"wave", "3", "Other callers of any role who make a model a usual one by having taken it up within a week.",
			func(c *Config) any { return &c.Wave }, 1, crowdSize},

		{"hour_share", "0.05", "An hour is unusual if the caller was active around it on less than this share of its active days.",
			func(c *Config) any { return &c.HourShare }, 0.001, 1},

		{"spike_call", "50000", "Tokens that a call must have at least to be a spike.",
			func(c *Config) any { return &c.SpikeCall }, 1, maxTokens},
		{"spike_hour", "200000", "Tokens that a caller must have used in an hour of the clock at least to be a spike.",
			func(c *Config) any { return &c.SpikeHour }, 1, maxTokens},
		{"spike_day", "1000000", "Tokens that a caller must have used in a day at least to be a spike.",
			func(c *Config) any { return &c.SpikeDay }, 1, maxTokens},
		{"spike_factor", "6", "How many times the caller's highest call of late a spike must be; an hour 5/6 as many times, a day 2/3.",
			func(c *Config) any { return &c.SpikeFactor }, 1, 1e6},
	}
}

// Parse reads thresholds such as "denials=30,spike_factor=4"; those that are not named have their defaults. A name that is unknown or
// repeated is an error, and so is a value out of its range.
func Parse(text string) (Config, error) {
	var c Config
	known := map[string]Threshold{}
	for _, t := range Thresholds() {
		known[t.Name] = t
		if err := t.set(&c, t.Default); err != nil {
			return Config{}, err
		}
	}
	if text == "" {
		return c, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		t, ok := known[name]
		if !ok {
			return Config{}, fmt.Errorf("misuse: threshold %q is unknown or given twice", name)
		}
		delete(known, name)
		if err := t.set(&c, value); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// completed returns c with the defaults in it.
func (c Config) completed() (Config, error) {
	for _, t := range Thresholds() {
		if t.value(&c) == 0 {
			if err := t.set(&c, t.Default); err != nil {
				return Config{}, err
			}
		}
		if err := t.check(&c); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// set reads text into the member of c.
func (t *Threshold) set(c *Config, text string) error {
	var err error
	switch p := t.member(c).(type) {
	case *int:
		*p, err = strconv.Atoi(text)
	case *int64:
		*p, err = strconv.ParseInt(text, 10, 64)
	case *float64:
		*p, err = strconv.ParseFloat(text, 64)
	case *time.Duration:
		*p, err = time.ParseDuration(text)
	}
	if err == nil {
		err = t.check(c)
	}
	if err != nil {
		return fmt.Errorf("misuse: threshold %s=%q: %w", t.Name, text, err)
	}
	return nil
}

var errRange = errors.New("out of range")

// check returns an error if the member of c is out of its range.
func (t *Threshold) check(c *Config) error {
	if x := t.value(c); !(x >= t.least && x <= t.most) {
		return fmt.Errorf("%s: %w: want %g to %g", t.Name, errRange, t.least, t.most)
	}
	return nil
}

// value returns the member of c, durations in seconds.
func (t *Threshold) value(c *Config) float64 {
	switch p := t.member(c).(type) {
	case *int:
		return float64(*p)
	case *int64:
		return float64(*p)
	case *float64:
		return *p
	case *time.Duration:
		return p.Seconds()
	}
	return 0
}
