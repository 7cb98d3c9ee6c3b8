package policy

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"vertex-spoa/policy/strictyaml"
)

// manyRules returns a policy of n allow rules and one deny rule. With oneRole all are for one role, else each is for a role of its own,
// of which the caller has the last. The last rule by name allows the model last-1. With when each rule has a condition on the caller and
// on the request.
func manyRules(n int, oneRole, when bool) (*Model, Caller) {
	m := &Model{
		Project: "acme-ai", Location: "europe-west1",
		Issuers: []Issuer{{Name: "corp", URL: "https://corp.example", Claims: map[string]string{"groups": "list", "env": "string"}}},
	}
	roles := n
	if oneRole {
		roles = 1
	}
	for i := range roles {
		name := fmt.Sprintf("role%d", i)
		m.Roles = append(m.Roles, Role{
			Name: name, Account: name + "@acme-ai.iam.gserviceaccount.com", Scopes: []string{cloudPlatformScope}, Lifetime: time.Hour,
			Who: []Way{{"corp", []ClaimCondition{{"groups", []string{fmt.Sprintf("group%d", i)}}}}},
		})
	}
	m.Rules = append(m.Rules, Rule{ID: "no-previews", Effect: Deny, Percent: 100, Models: []string{"*-preview*"}})
	for i := range n {
		r := Rule{
			ID: fmt.Sprintf("rule%05d", i), Effect: Allow, Percent: 100, Roles: []string{m.Roles[min(i, roles-1)].Name},
			Projects: []string{"acme-ai"}, Locations: []string{"europe-west1", "europe-west4"}, Methods: []string{"generate", "count"},
			Models: []string{fmt.Sprintf("gemini-%d-*", i), fmt.Sprintf("text-embedding-%d", i)},
		}
		if i == n-1 {
			r.Models[0] = "last-*"
		}
		if when {
			r.When = &Expression{Text: fmt.Sprintf(`claims.env == "prod" && location != "place-%d"`, i)}
		}
		m.Rules = append(m.Rules, r)
	}
	return m, Caller{Issuer: "corp", Subject: "someone", Claims: map[string]any{"env": "prod", "groups": []any{"everyone", m.Roles[roles-1].Who[0].Claims[0].Patterns[0]}}}
}

// workload is what is decided under many rules.
type workload struct {
	name    string
	oneRole bool
	when    bool
	model   string
	effect  Effect
}

var workloads = []workload{
	{"role-each/hit", false, false, "last-1", Allow},
	{"role-each/miss", false, false, "no-model", Deny},
	{"one-role/hit", true, false, "last-1", Allow},
	{"one-role/miss", true, false, "no-model", Deny},
	{"one-role-cel/hit", true, true, "last-1", Allow},
	{"one-role-cel/miss", true, true, "no-model", Deny},
}

func (w workload) prepare(b *testing.B, rules int) (*Policy, Caller, Call) {
	m, c := manyRules(rules, w.oneRole, w.when)
	return indexed(b, m), c, parsedAny(b, "POST", "/v1/projects/acme-ai/locations/europe-west4/publishers/google/models/"+w.model+":generateContent")
}

// BenchmarkSession is a decision for a caller that is known. The same rules are decided without an index by BenchmarkLinear.
func BenchmarkSession(b *testing.B) {
	for _, w := range workloads {
		for _, n := range []int{10, 100, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/rules=%d", w.name, n), func(b *testing.B) {
				p, c, call := w.prepare(b, n)
				s := p.Bind(c)
				b.ReportAllocs()
				for b.Loop() {
					if d := s.Decide(call, Request{Now: baseTime}); d.Effect != w.effect {
						b.Fatalf("got %v %v", d.Effect, d.Reason)
					}
				}
			})
		}
	}
}

// BenchmarkLinear goes through all rules, one after the other, with the same matchers and the same programs of CEL as the index uses.
func BenchmarkLinear(b *testing.B) {
	for _, w := range workloads {
		for _, n := range []int{10, 100, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/rules=%d", w.name, n), func(b *testing.B) {
				p, c, call := w.prepare(b, n)
				s := p.Bind(c)
				b.ReportAllocs()
				for b.Loop() {
					if got := linear(p, s, call, Request{Now: baseTime}); got != w.effect {
						b.Fatalf("got %v", got)
					}
				}
			})
		}
	}
}

// linear decides by looking at each rule.
func linear(p *Policy, s *Session, call Call, r Request) Effect {
	e := evaluation{s: s, p: p, r: &r, d: &Decision{Call: call}}
	acting := e.begin()
	if len(acting) == 0 {
		return Deny
	}
	effect := Deny
	for _, rule := range p.rules {
		if rule.roles != nil && !contains(rule.roles, s.group.held[acting[0]]) || !rule.concerns(s.group.held) {
			continue
		}
		if !rule.matchMethod(&e.target) || rule.locations&e.place == 0 || !rule.matchProject(&e.target) || rule.matchSubject(&e.target) != yes {
			continue
		}
		if rule.when != nil && !plainWhen(rule.when, e.variables("")) {
			continue
		}
		if rule.deny {
			return Deny
		}
		effect = Allow
		break
	}
	return effect
}

func contains(list []int, v int) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

func plainWhen(w *when, v *variables) bool {
	for _, p := range w.parts {
		if p.eval(v) != yes {
			return false
		}
	}
	return true
}

// BenchmarkUnseen is a decision on a model that was not asked for before, as by a caller that makes up names.
func BenchmarkUnseen(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			m, c := manyRules(n, true, false)
			s := indexed(b, m).Bind(c)
			var calls []Call
			for i := range 1 << 16 {
				calls = append(calls, parsedAny(b, "POST", fmt.Sprintf("/v1/projects/acme-ai/locations/europe-west4/publishers/google/models/gemini-%d-x%d:generateContent", i%n, i)))
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(calls[i&(1<<16-1)], Request{Now: baseTime})
				i++
			}
		})
	}
}

// BenchmarkBind is what a caller costs when it comes for the first time.
func BenchmarkBind(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		m, c := manyRules(n, false, true)
		p := indexed(b, m)
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Bind(c)
			}
		})
	}
}

// BenchmarkManyCandidates is the worst that one role can make of a decision: all its rules match the call, and each has a condition of
// its own that does not hold.
func BenchmarkManyCandidates(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		m, c := manyRules(n, true, true)
		for i := range m.Rules {
			if r := &m.Rules[i]; r.Effect == Allow {
				r.Models = []string{"*"}
				r.When.Text = fmt.Sprintf(`location == "place-%d"`, i)
			}
		}
		s := indexed(b, m).Bind(c)
		call := parsedAny(b, "POST", "/v1/projects/acme-ai/locations/europe-west4/publishers/google/models/x:generateContent")
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(call, Request{Now: baseTime})
			}
		})
	}
}

// BenchmarkIndex is what making a policy ready costs after it was read; heap-B is what it then holds, together with the rules as read.
func BenchmarkIndex(b *testing.B) {
	for _, when := range []bool{false, true} {
		for _, n := range []int{10, 1000, 10_000} {
			b.Run(fmt.Sprintf("when=%v/rules=%d", when, n), func(b *testing.B) {
				m, _ := manyRules(n, true, when)
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				var p *Policy
				b.ReportAllocs()
				for b.Loop() {
					var problems strictyaml.Problems
					p = newPolicy(m, &problems)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc)-float64(before.HeapAlloc), "heap-B")
				runtime.KeepAlive(p)
			})
		}
	}
}
