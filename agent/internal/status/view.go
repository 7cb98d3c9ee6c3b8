package status

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// What a View may ask for.
const (
	shownDecisions = 50 // without n
	minRefresh     = 2 * time.Second
	maxRefresh     = time.Hour
	defaultRefresh = 10 * time.Second
)

// View is what the reader of the page wants to see, from the query of its address:
//
//	n        how many decisions, 50 without it
//	subject  of the decisions: a part of it
//	decision allow or deny
//	reason   a reason
//	rule     a rule
//	refresh  seconds after which the page is loaded anew, 2 to 3600; 0 for never; 10 without it, and never while a call is explained
//	call     a request line to explain: POST /v1/projects/…
//
// and issuer, caller, claims, role, ip and body for the other parts of a [Question]. Other names are ignored.
type View struct {
	Filter   Filter
	N        int
	Refresh  time.Duration // 0 for never
	Call     string        // as it was pasted
	Question Question
}

// readView reads the query. Its values are bounded by what the server accepts as a header, and their uses by Question.check.
func readView(q url.Values) (View, error) {
	f, n, err := readFilter(q, shownDecisions)
	if err != nil {
		return View{}, err
	}
	v := View{Filter: f, N: n, Call: field(q, "call"), Refresh: defaultRefresh}
	v.Question = Question{
		Issuer: field(q, "issuer"), Subject: field(q, "caller"), Claims: field(q, "claims"), Role: field(q, "role"),
		IP: field(q, "ip"), Body: field(q, "body"),
	}
	v.Question.Method, v.Question.Target = readRequestLine(v.Call)
	if v.Question.Claims == "" {
		v.Question.Claims = "{}"
	}
	if v.Question.asked() {
		v.Refresh = 0
	}
	if text := q.Get("refresh"); text != "" {
		seconds, err := strconv.Atoi(text)
		v.Refresh = time.Duration(seconds) * time.Second
		if err != nil || seconds > int(maxRefresh/time.Second) || v.Refresh != 0 && v.Refresh < minRefresh {
			return View{}, fmt.Errorf("refresh=%q: want 0 or 2 to 3600 seconds", cut(text, 32))
		}
	}
	return v, nil
}

// field returns a value of the query as it can stand in a form again.
func field(q url.Values, name string) string {
	return strings.TrimSpace(strings.ToValidUTF8(q.Get(name), "\ufffd"))
}

// At is the query of this view with another rest between two loads; what is explained is left behind, as it was by the first load.
func (v View) At(seconds int) string { return "?" + v.query(v.Filter, seconds).Encode() }

// For is the query of this view with the decisions of one kind: "decision", "reason" or "rule" and what it is to be.
func (v View) For(name, value string) string {
	var f Filter
	switch name {
	case "decision":
		f.Decision = value
	case "reason":
		f.Reason = value
	case "rule":
		f.Rule = value
	}
	return "?" + v.query(f, v.Seconds()).Encode()
}

func (v View) query(f Filter, seconds int) url.Values {
	q := url.Values{"refresh": {strconv.Itoa(seconds)}}
	for name, value := range map[string]string{"subject": f.Subject, "decision": f.Decision, "reason": f.Reason, "rule": f.Rule} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if v.N != shownDecisions {
		q.Set("n", strconv.Itoa(v.N))
	}
	return q
}

// Seconds is the rest between two loads.
func (v View) Seconds() int { return int(v.Refresh / time.Second) }

// Filter says which decisions are wanted. An empty part wants all.
type Filter struct {
	Subject  string // a part of it
	Decision string // allow or deny
	Reason   string
	Rule     string
}

// Any says whether anything is filtered.
func (f Filter) Any() bool { return f != Filter{} }

func (f *Filter) passes(r *audit.Record) bool {
	return (f.Subject == "" || strings.Contains(r.Subject, f.Subject)) && (f.Decision == "" || r.Decision == f.Decision) &&
		(f.Reason == "" || r.Reason == f.Reason) && (f.Rule == "" || r.Rule == f.Rule)
}

// readFilter reads a filter, and how many decisions are wanted; without n as many as usual.
func readFilter(q url.Values, usual int) (Filter, int, error) {
	f := Filter{Subject: field(q, "subject"), Decision: field(q, "decision"), Reason: field(q, "reason"), Rule: field(q, "rule")}
	if f.Decision != "" && !slices.Contains([]string{"allow", "deny"}, f.Decision) {
		return Filter{}, 0, fmt.Errorf("decision=%q: want allow or deny", cut(f.Decision, 32))
	}
	if max(len(f.Subject), len(f.Reason), len(f.Rule)) > MaxName {
		return Filter{}, 0, errors.New("subject, reason and rule: that is longer than any")
	}
	text := q.Get("n")
	if text == "" {
		return f, usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxDecisions {
		return Filter{}, 0, fmt.Errorf("n=%q: want 1 to %d", cut(text, 32), MaxDecisions)
	}
	return f, n, nil
}
