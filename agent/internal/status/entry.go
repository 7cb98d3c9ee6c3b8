package status

import (
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// entry is a decision and its end. It is used again for another decision, and so is the memory of its texts.
type entry struct {
	text []byte             // the texts of the record, one after another, in the order of texts
	ends [recordTexts]int32 // where each ends

	rest facts

	ending      Ending
	ended       bool
	undelivered bool
}

// facts are what a record has besides texts, claims and a body.
type facts struct {
	time, expiry              time.Time
	attempt                   int64
	status                    int
	stream                    bool
	shadow, overridden, flags []string
	verify, policy, mint      int64
}

const recordTexts = 30

// texts returns the texts of a record. The id is the first.
func texts(r *audit.Record) [recordTexts]*string {
	return [...]*string{
		&r.ID, &r.Decision, &r.Reason, &r.Detail, &r.Issuer, &r.Subject, &r.TokenID, &r.Source, &r.Certificate, &r.RoleAsked, &r.BreakGlass,
		&r.HTTPMethod, &r.URI, &r.Project, &r.Location, &r.Publisher, &r.Model, &r.Endpoint, &r.Method, &r.Role, &r.Rule, &r.Account, &r.Policy,
		&r.TokenFingerprint, &r.UserAgent, &r.TraceParent, &r.URIAsked, &r.Tier, &r.SharedTier, &r.Exchange,
	}
}

// set makes the entry that of a decision whose end is not known.
func (e *entry) set(d *audit.Record) {
	e.text = e.text[:0]
	for i, s := range texts(d) {
		e.text = append(e.text, *s...)
		e.ends[i] = int32(len(e.text))
	}
	e.rest = facts{
		time: d.Time, expiry: d.TokenExpiry, attempt: d.Attempt, status: d.Status, stream: d.Stream,
		shadow: copied(d.Shadow), overridden: copied(d.Overridden), flags: copied(d.Flags), verify: d.VerifyMicros, policy: d.PolicyMicros, mint: d.MintMicros,
	}
	e.ended, e.undelivered = false, false
}

// copied returns a list, which is empty for most decisions, in memory of its own.
func copied(list []string) []string {
	var own []string
	for _, s := range list {
		own = append(own, strings.Clone(s))
	}
	return own
}

// is says whether the entry is of that decision.
func (e *entry) is(id string, attempt int64) bool {
	return e.rest.attempt == attempt && string(e.text[:e.ends[0]]) == id
}

// clone returns an entry that shares no memory with e that is used again.
func (e *entry) clone() entry {
	c := *e
	c.text = slices.Clone(e.text)
	return c
}

// record returns the record, without claims and body.
func (e *entry) record() audit.Record {
	f := &e.rest
	r := audit.Record{
		Time: f.time, TokenExpiry: f.expiry, Attempt: f.attempt, Status: f.status, Stream: f.stream,
		Shadow: f.shadow, Overridden: f.overridden, Flags: f.flags, VerifyMicros: f.verify, PolicyMicros: f.policy, MintMicros: f.mint,
	}
	all, from := string(e.text), int32(0)
	for i, s := range texts(&r) {
		*s = all[from:e.ends[i]]
		from = e.ends[i]
	}
	return r
}
