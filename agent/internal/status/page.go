package status

import (
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"
)

// page is what the template gets.
type page struct {
	View  View
	State State

	Problems part[string]
	Hit      part[Rule] // the most often hit first
	Idle     part[Rule] // of the policy in force, never hit
	Issuers  part[Issuer]
	Accounts part[Account]

	Decisions  []Decision
	CanExplain bool
	Explained  bool
	Text       string // the explanation
	Failed     string // why there is none
}

// How much of a list is shown: a policy may be of any size, and a page that is loaded again and again may not.
const (
	maxRows     = 300
	maxProblems = 50
)

// part is the beginning of a list.
type part[T any] struct {
	Rows []T
	More int // that are not shown
}

func partOf[T any](list []T, most int) part[T] {
	n := min(len(list), most)
	return part[T]{list[:n], len(list) - n}
}

// arrange brings the state in the order in which it is shown.
func (p *page) arrange() {
	var hit, idle []Rule
	for _, r := range p.State.Rules {
		if r.Hits() > 0 {
			hit = append(hit, r)
		} else {
			idle = append(idle, r)
		}
	}
	slices.SortStableFunc(hit, func(a, b Rule) int { return compare(b.Hits(), a.Hits()) })
	p.Hit, p.Idle = partOf(hit, maxRows), partOf(idle, maxRows)
	p.Issuers, p.Accounts = partOf(p.State.Issuers, maxRows), partOf(p.State.Accounts, maxRows)
	p.Problems = partOf(p.State.problems(), maxProblems)
	slices.SortStableFunc(p.State.Denials, func(a, b Denial) int { return compare(b.Count, a.Count) })
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (p *page) explain(text string, err error) {
	p.Explained, p.Text = true, shortened(text, maxText)
	if err != nil {
		p.Failed = cut(err.Error(), maxText)
	}
}

// shortened leaves lines out of the middle of a text that has more than n bytes: what was decided stands at its end.
func shortened(text string, n int) string {
	if len(text) <= n {
		return text
	}
	head, middle, tail := text[:n/2], text[n/2:len(text)-n/2], text[len(text)-n/2:]
	if at := strings.LastIndexByte(head, '\n'); at >= 0 {
		head, middle = head[:at], head[at:]+middle
	}
	if at := strings.IndexByte(tail, '\n'); at >= 0 {
		middle, tail = middle+tail[:at], tail[at+1:]
	}
	return fmt.Sprintf("%s\n… left out: %d lines …\n%s", head, strings.Count(middle, "\n"), tail)
}

// Health is the state in a word: the title has it, for a reader of many tabs.
func (p *page) Health() string {
	switch {
	case !p.State.Ready:
		return "not ready"
	case len(p.Problems.Rows) > 0:
		return "degraded"
	}
	return "ready"
}

// Reasons are those that have occurred, for the filter.
func (p *page) Reasons() []string {
	var all []string
	for _, d := range p.State.Denials {
		all = append(all, d.Reason)
	}
	slices.Sort(all)
	return all
}

// Words are what a decision can be.
func (p *page) Words() []string { return []string{"allow", "deny"} }

// accountRow is a row of the accounts' table.
type accountRow struct {
	Account Account
	Now     time.Time
	Note    string
}

// Rests are what can be chosen between two loads, in seconds.
func (p *page) Rests() []int { return []int{0, 5, 10, 60} }

// functions are those of the template.
func functions() template.FuncMap {
	return template.FuncMap{
		"row":   func(a Account, now time.Time, note string) accountRow { return accountRow{a, now, note} },
		"v":     Visible,
		"valid": func(s string) string { return strings.ToValidUTF8(s, "\ufffd") },
		"lines": VisibleLines,
		"list":  func(all []string) string { return Visible(strings.Join(all, ", ")) },
		"stamp": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" },
		"clock": func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"ago":   func(now, t time.Time) string { return span(now.Sub(t)) },
		"until": func(now, t time.Time) string { return span(t.Sub(now)) },
		"span":  span,
		"short": func(digest string) string { return Visible(cut(digest, 12)) },
		"count": count,
		"size":  size,
		"micros": func(n int64) string {
			if n < 1000 {
				return strconv.FormatInt(n, 10) + " µs"
			}
			return strconv.FormatFloat(float64(n)/1000, 'f', 1, 64) + " ms"
		},
	}
}

// span writes a duration in its two largest units.
func span(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "−", -d
	}
	s := int64(d / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%s%d s", sign, s)
	case s < 3600:
		return fmt.Sprintf("%s%d min %d s", sign, s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%s%d h %d min", sign, s/3600, s/60%60)
	}
	return fmt.Sprintf("%s%d d %d h", sign, s/86400, s/3600%24)
}

// count writes a number in groups of three digits.
func count(n any) string {
	if known, ok := n.(*int64); ok {
		n = *known
	}
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "\u202f" + text[at:]
	}
	return text
}

// size writes a number of bytes.
func size(n int64) string {
	switch {
	case n < 10_000:
		return count(n) + " B"
	case n < 10_000_000:
		return count(n/1000) + " kB"
	}
	return count(n/1_000_000) + " MB"
}
