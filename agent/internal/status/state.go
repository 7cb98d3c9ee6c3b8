package status

import (
	"fmt"
	"slices"
	"time"
)

// State is what the agent is doing, as far as it is shown. Times are UTC; those that are zero are unknown.
type State struct {
	Now     time.Time
	Started time.Time
	Version string

	Ready     bool // answers /readyz with 200
	Listening bool // the SPOP socket is open
	WarmedUp  bool // the first keys and tokens have come, or the wait for them is over
	WarmingUp bool // for a policy that was put in force meanwhile

	Policy  string   // digest of the policy in force
	Reloads []Reload // the last attempts to load a policy, the last first

	Issuers  []Issuer
	Own      Account // the agent's own identity
	Accounts []Account
	Rules    []Rule // of the policy in force, in its order, and after them those of policies before that have been hit
	Denials  []Denial

	Tiles    []Tile // the few figures that come first
	Counters []Counter
	Warnings []string // what is wrong besides what the rest shows, in one line each
}

// Reload is an attempt to load a policy.
type Reload struct {
	Time   time.Time
	Digest string // of the policy in force afterwards
	Error  string // why the one before stays; empty after a success
}

// Issuer is who vouches for callers.
type Issuer struct {
	Name        string
	Usable      bool // callers can be verified
	Keys        int  // in use
	Dropped     int  // in the same document, but not usable
	Age         time.Duration
	NextRefresh time.Duration
	Failures    uint64 // fetches that failed
	UnknownKeys uint64 // tokens that named a key which was not there
	Error       string // of the last fetch
}

// Account is a Google identity that tokens are kept of.
type Account struct {
	Name   string
	Expiry time.Time // of the token at hand, zero without one
	Minted time.Time // when that came, zero without one
	Kept   bool      // the policy in force names it
	Reason string    // of the last mint, if that failed
	Error  string
	Fix    string // what the operator can do about it
}

// Rule is a rule and how often it has decided since the start.
type Rule struct {
	Name   string
	Effect string // allow or deny; empty for a rule of a policy before
	Roles  []string
	Mode   string // shadow and the like; empty for a rule that is enforced for everybody
	At     string // file and line

	Allowed uint64
	Denied  uint64
}

// Hits is how often the rule has decided.
func (r Rule) Hits() uint64 { return r.Allowed + r.Denied }

// Denial is how often there was a denial for a reason since the start.
type Denial struct {
	Reason string
	Count  uint64
}

// Tile is one of the figures that come first.
type Tile struct {
	Name  string
	Value string
	Note  string
	Bad   bool // it should not be so
}

// Counter is one figure of the metrics.
type Counter struct {
	Name   string
	Labels string
	Value  string
	Help   string
}

// problems is what is wrong now, in one line each.
func (s *State) problems() []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if !s.Listening {
		add("the SPOP socket is not open: HAProxy cannot ask")
	}
	if !s.WarmedUp {
		add("the first keys and tokens are not there yet")
	}
	found = append(found, s.Warnings...)
	if len(s.Reloads) > 0 && s.Reloads[0].Error != "" {
		add("the last attempt to load a policy was refused: the one before stays in force")
	}
	for _, i := range s.Issuers {
		if !i.Usable {
			add("issuer %s: its callers cannot be verified", i.Name)
		}
	}
	for _, a := range slices.Concat([]Account{s.Own}, s.Accounts) {
		if a.failed() {
			add("account %s: %s", a.Name, a.Reason)
		}
	}
	return found
}

// failed says whether an account that is needed has no token, or cannot renew the one it has.
func (a *Account) failed() bool { return a.Reason != "" }
