package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Warning is something in a policy that loads and is probably not meant.
type Warning struct {
	At      Position
	Message string
}

// String returns the warning as one line.
func (w Warning) String() string { return "warning: " + w.Message + "\n  --> " + w.At.String() }

// maxCandidates is how many conditions in CEL a request may have to be compared with before that is worth a warning.
const maxCandidates = 256

// Warnings examines the policy as a whole and returns what seems not to be meant, by place: rules that can never apply, or that a deny rule
// always overrules, or that say what another says; roles that nobody can have or that allow nothing; roles with so many conditions in CEL
// that they cost time. Conditions in CEL, on bodies and on times count as ones that may hold or not.
func (m *Model) Warnings() []Warning {
	w := warnings{m: m, roles: map[string]*Role{}}
	for i := range m.Roles {
		w.roles[m.Roles[i].Name] = &m.Roles[i]
	}
	w.checkRoles()
	w.checkRules()
	slices.SortStableFunc(w.list, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(a.At.File, b.At.File), cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Column, b.At.Column))
	})
	return w.list
}

type warnings struct {
	m     *Model
	roles map[string]*Role
	list  []Warning
}

func (w *warnings) addf(at Position, format string, args ...any) {
	w.list = append(w.list, Warning{at, fmt.Sprintf(format, args...)})
}

func (w *warnings) checkRoles() {
	allowed, conditions := map[string]int{}, map[string]int{}
	everyone, everyonesConditions := 0, 0
	for i := range w.m.Rules {
		r := &w.m.Rules[i]
		if r.Effect == Allow {
			everyone += countIf(r.Roles == nil)
		}
		everyonesConditions += countIf(r.Roles == nil && r.When != nil)
		for _, name := range r.Roles {
			allowed[name] += countIf(r.Effect == Allow)
			conditions[name] += countIf(r.When != nil)
		}
	}
	for i := range w.m.Roles {
		r := &w.m.Roles[i]
		if !slices.ContainsFunc(r.Who, func(way Way) bool { return w.possible(way) }) {
			w.addf(r.At, "nobody can have role %q: no token has such claims", r.Name)
		}
		if everyone+allowed[r.Name] == 0 {
			w.addf(r.At, "no rule allows anything to role %q", r.Name)
		}
		if n := everyonesConditions + conditions[r.Name]; n > maxCandidates {
			w.addf(r.At, "role %q has %d rules with conditions in CEL, which may all have to be decided for one request", r.Name, n)
		}
		w.checkRepositories(r)
	}
}

func countIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// possible reports whether a token of the issuer can have the claims that a way wants, as far as the issuer's settings tell.
func (w *warnings) possible(way Way) bool {
	i := slices.IndexFunc(w.m.Issuers, func(is Issuer) bool { return is.Name == way.Issuer })
	if i < 0 {
		return false
	}
	is := &w.m.Issuers[i]
	for _, c := range way.Claims {
		fits := func(pattern string) bool { return fitsType(is.Claims[c.Name], pattern) }
		switch {
		case c.Name == "iss" && is.URL != "":
			fits = func(pattern string) bool { return covers([]string{pattern}, is.URL) }
		case c.Name == "aud" && is.SingleAudience:
			fits = func(pattern string) bool {
				return slices.ContainsFunc(is.Audiences, func(a string) bool { return covers([]string{pattern}, a) })
			}
		}
		if !slices.ContainsFunc(c.Patterns, fits) {
			return false
		}
	}
	return true
}

// fitsType reports whether a value of a declared type can match a pattern.
func fitsType(kind, pattern string) bool {
	if strings.Contains(pattern, "*") {
		return kind != "map"
	}
	switch kind {
	case "bool":
		return pattern == "true" || pattern == "false"
	case "int":
		_, err := strconv.ParseInt(pattern, 10, 64)
		return err == nil
	case "number":
		_, err := strconv.ParseFloat(pattern, 64)
		return err == nil
	}
	return kind != "map"
}

const githubIssuer = "https://token.actions.githubusercontent.com"

// checkRepositories: names of GitHub's organisations can be given up and taken by others.
func (w *warnings) checkRepositories(r *Role) {
	for _, way := range r.Who {
		i := slices.IndexFunc(w.m.Issuers, func(is Issuer) bool { return is.Name == way.Issuer })
		if i < 0 || w.m.Issuers[i].URL != githubIssuer && w.m.Issuers[i].Profile != "github" {
			continue
		}
		named, numbered := false, false
		for _, c := range way.Claims {
			named = named || c.Name == "repository" || c.Name == "repository_owner" || c.Name == "sub"
			numbered = numbered || c.Name == "repository_owner_id" || c.Name == "repository_id"
		}
		if named && !numbered && w.m.Issuers[i].Tenants == nil {
			w.addf(r.At, "role %q trusts a name on GitHub, which others can take once it is given up: add repository_owner_id or repository_id",
				r.Name)
		}
	}
}

func (w *warnings) checkRules() {
	same := map[string]*Rule{}
	var denies []*Rule
	for i := range w.m.Rules {
		if r := &w.m.Rules[i]; r.Effect == Deny {
			denies = append(denies, r)
		}
	}
	for i := range w.m.Rules {
		r := &w.m.Rules[i]
		if why := w.never(r); why != "" {
			w.addf(r.At, "rule %q can never apply: %s", r.ID, why)
			continue
		}
		says := r.says()
		if first := same[says]; first != nil {
			w.addf(r.At, "rule %q says the same as rule %q at %s", r.ID, first.ID, first.At)
		} else {
			same[says] = r
		}
		if r.Effect != Allow {
			continue
		}
		if i := slices.IndexFunc(denies, func(d *Rule) bool { return overrules(d, r) }); i >= 0 {
			w.addf(r.At, "rule %q allows nothing: deny rule %q at %s denies all of it", r.ID, denies[i].ID, denies[i].At)
		}
	}
}

// never says why a rule can never apply, or "".
func (w *warnings) never(r *Rule) string {
	switch {
	case r.Roles != nil && !slices.ContainsFunc(r.Roles, func(name string) bool { return !slices.Contains(r.Except, name) }):
		return "all its roles are excepted"
	case r.Models == nil && r.Publishers == nil && r.Endpoints != nil && !onSome(r.Methods, onEndpoints):
		return "its methods are not methods of endpoints"
	case r.Endpoints == nil && r.Models != nil && !onSome(r.Methods, onModels):
		return "its methods are not methods of models"
	case r.Models == nil && r.Endpoints != nil:
		return w.neverEndpoints(r)
	}
	return ""
}

// onSome reports whether one of the methods or groups may be found on models or on endpoints.
func onSome(names []string, on uint8) bool {
	if names == nil {
		return true
	}
	set := methodsOf(names)
	for i, m := range methods {
		group := methodBits(string(m.group))
		switch {
		case set&(1<<i|group) == 0:
		case m.on&on != 0, m.on == 0 && on == onModels: // calls without a verb are about models
			return true
		}
	}
	return slices.ContainsFunc(names, func(name string) bool { return methodBits(name) == 0 }) // a call beyond inference
}

// neverEndpoints compares a rule about single endpoints with where these are.
func (w *warnings) neverEndpoints(r *Rule) string {
	why := ""
	for _, id := range r.Endpoints {
		e, ok := w.m.Endpoints[id]
		switch {
		case !ok:
			return ""
		case r.Locations != nil && !covers(r.Locations, e.Location):
			why = "endpoint " + id + " is in " + e.Location
		case r.Projects != nil && !covers(r.Projects, e.Project):
			why = "endpoint " + id + " is in project " + e.Project
		default:
			return ""
		}
	}
	return why
}

// says returns all that a rule says, but for its name: equal texts are equal rules.
func (r *Rule) says() string {
	when := ""
	if r.When != nil {
		when = r.When.Text
	}
	var windows []string
	for _, window := range r.Active {
		windows = append(windows, window.Written)
	}
	sorted := func(list []string) []string { return slices.Sorted(slices.Values(list)) }
	return fmt.Sprintf("%d %q %q %q %q %q %q %q %q %q %s %q %d %d %s", r.Effect, sorted(r.Roles), sorted(r.Except), sorted(r.Models),
		sorted(r.Publishers),
		sorted(r.Endpoints), sorted(r.Projects), sorted(r.Locations), sorted(r.Methods), when, r.Body.says(), windows, r.Mode, r.Percent, r.Duties.says())
}

func (b *BodyRule) says() string {
	if b == nil {
		return ""
	}
	plain := *b
	plain.MaxOutputTokens, plain.Temperature, plain.CandidateCount = nil, nil, nil
	return fmt.Sprintf("%+v %s %s %s", plain, b.MaxOutputTokens, b.Temperature, b.CandidateCount)
}

func (d *Duties) says() string {
	return fmt.Sprintf("%+v %+v %+v %q %+v %+v %+v", d.Limit, d.Guard, d.Route, d.Rewrite, d.Tier, d.TierMay, d.Breakglass)
}

// overrules reports whether a deny rule applies wherever an allow rule does.
func overrules(d, r *Rule) bool {
	switch {
	case d.When != nil || d.Body != nil || d.Active != nil || d.Mode != Enforce || d.Percent < 100 || d.Except != nil:
		return false
	case r.Duties.Breakglass != nil && slices.Contains(r.Duties.Breakglass.Overrides, d.ID):
		return false
	case d.Roles != nil && (r.Roles == nil || !coversAll(d.Roles, r.Roles)):
		return false
	case d.Methods != nil && !coversAll(d.Methods, r.Methods), d.Locations != nil && locationsOf(r.Locations)&^locationsOf(d.Locations) != 0:
		return false
	case d.Projects != nil && !coversAll(d.Projects, r.Projects):
		return false
	case d.Models == nil && d.Publishers == nil && d.Endpoints == nil:
		return true
	}
	return overrulesNames(d, r)
}

// overrulesNames compares the models and endpoints of the rules.
func overrulesNames(d, r *Rule) bool {
	if r.Models == nil && r.Endpoints == nil {
		return false
	}
	if r.Models != nil {
		switch {
		case d.Models == nil && d.Publishers == nil, d.Models != nil && !coversAll(d.Models, r.Models):
			return false
		case d.Publishers != nil && !slices.Contains(d.Publishers, "*") && (r.Publishers == nil || !coversAll(d.Publishers, r.Publishers)):
			return false
		}
	}
	return r.Endpoints == nil || d.Endpoints != nil && coversAll(d.Endpoints, r.Endpoints)
}

// coversAll reports whether each pattern is covered by one of the bounds.
func coversAll(bounds, patterns []string) bool {
	return !slices.ContainsFunc(patterns, func(pattern string) bool { return !covers(bounds, pattern) })
}
