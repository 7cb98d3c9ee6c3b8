package trail

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/audit"
	"vertex-spoa/policy"
)

const unusedPolicy = `version: 1
defaults: { project: acme-ai, locations: [europe-west1, us-east5], methods: [generate, count] }
issuers:
  corp: { url: "https://login.example.com", audience: vertex }
roles:
  search:  { as: vx-search, who: { corp: { groups: search-eng } } }
  support: { as: vx-support, who: { corp: { groups: support } } }
  interns: { as: vx-search, who: { corp: { groups: interns } } }
rules:
  gemini:    { allow: [search, interns], models: [gemini-2.5-pro, gemini-2.5-flash, text-*], locations: europe-west1 }
  claude:    { allow: support, models: claude-opus-4 }
  endpoints: { allow: search, endpoints: ["123", "456"] }
  swapped:   { allow: search, models: [gemini-old, gemini-older], rewrite: { model: gemini-2.5-pro }, locations: europe-west1 }
  shadow:    { allow: interns, models: gemini-3-pro, mode: shadow }
  previews:  { deny: "*", models: "*-preview*" }
`

// unused judges a log from day to day+100 days, in the last 90 of them.
func unused(t *testing.T, lines ...audit.Line) *Usage {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "policy.yaml", unusedPolicy)
	p, err := policy.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := Open([]string{write(t, t.TempDir(), "audit.jsonl", text(t, lines...))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := Unused(context.Background(), files, p, day.AddDate(0, 0, 10), day.AddDate(0, 0, 100), Question{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// grants says what is unused, and when it was used last.
func grants(u *Usage) (list []string) {
	for _, g := range u.Unused {
		text := g.Kind + " " + g.Name
		if g.Rule != "" {
			text += " of " + g.Rule
		}
		if !g.Last.IsZero() {
			text += " " + g.Last.Format(time.DateOnly)
		}
		list = append(list, text)
	}
	return list
}

// on is a call on a day.
func on(days int, rule, role, account, name string, change ...func(*audit.Record)) *audit.Record {
	return allow("", days*86400, append(change, func(r *audit.Record) {
		r.Rule, r.Role, r.Account, r.Model = rule, role, account+"@acme-ai.iam.gserviceaccount.com", name
	})...)
}

func TestUnused(t *testing.T) {
	lost := on(50, "endpoints", "search", "vx-search", "")
	lost.ID = "lost"
	u := unused(t,
		on(0, "claude", "support", "vx-support", "claude-opus-4"), // too long ago
		on(20, "gemini", "search", "vx-search", "gemini-2.5-pro"),
		on(5, "gemini", "search", "vx-search", "text-embedding-5"),
		on(30, "swapped", "search", "vx-search", "gemini-2.5-pro", func(r *audit.Record) {
			r.URIAsked = "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-old:generateContent"
		}),
		on(40, "previews", "interns", "vx-search", "x-preview", denied("DENIED")),
		lost, &audit.Undelivered{Time: lost.Time, ID: "lost", Attempt: 1},
		on(101, "gemini", "interns", "vx-search", "gemini-2.5-flash"), // after the period
	)
	want := []string{
		"role interns of gemini", "model gemini-2.5-flash of gemini", "model text-* of gemini 2026-11-28",
		"rule claude 2026-11-23", "rule endpoints", "model gemini-older of swapped",
		"role support 2026-11-23", "account vx-support@acme-ai.iam.gserviceaccount.com 2026-11-23", "role interns",
	}
	if diff := cmp.Diff(want, grants(u)); diff != "" {
		t.Error(diff)
	}
	if u.Rules != 4 || u.Roles != 3 || u.Accounts != 2 || !u.Reaches() {
		t.Errorf("got %d rules, %d roles, %d accounts, reaches %v", u.Rules, u.Roles, u.Accounts, u.Reaches())
	}
	if silent := u.Silent(); len(silent) != 86 || silent[0] != day.AddDate(0, 0, 10) {
		t.Errorf("got %d silent days from %v", len(silent), silent[0])
	}
}

func TestPartsThatAreUsedAreNotUnused(t *testing.T) {
	endpoint := func(id, location string) func(*audit.Record) {
		return func(r *audit.Record) { r.Publisher, r.Endpoint, r.Location = "", id, location }
	}
	u := unused(t,
		on(1, "gemini", "search", "vx-search", "x"),
		on(20, "endpoints", "search", "vx-search", "", endpoint("123", "us-east5")),
		on(21, "endpoints", "search", "vx-search", "", endpoint("456", "europe-west1")),
	)
	for _, g := range grants(u) {
		if strings.Contains(g, "of endpoints") || strings.HasPrefix(g, "rule endpoints") {
			t.Errorf("got %s", g)
		}
	}
}

func TestUnusedKnowsHowFarTheFilesReach(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []audit.Line
		want  bool
	}{
		{"no line", nil, false},
		{"the first line is in the period", []audit.Line{allow("a", 11*86400)}, false},
		{"it is before it", []audit.Line{allow("a", 9*86400)}, true},
		{"a denial is a line as well", []audit.Line{allow("a", 0, denied("NO_RULE"))}, true},
	} {
		if got := unused(t, c.lines...).Reaches(); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}
