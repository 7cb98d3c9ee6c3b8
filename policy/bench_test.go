package policy

import (
	"fmt"
	"strings"
	"testing"
)

// manyRules returns a policy with n rules, each for a role of its own (or all for one role), of which the last allows the model last.
func manyRules(b *testing.B, n int, oneRole bool) (*Policy, Caller) {
	b.Helper()
	var t strings.Builder
	t.WriteString("version: 1\ndefaults: { project: acme-ai, locations: [europe-west1, europe-west4], methods: [generate, count] }\n")
	t.WriteString("issuers:\n  corp: { url: https://login.acme.com, audience: vertex }\nroles:\n")
	roles := n
	if oneRole {
		roles = 1
	}
	for i := range roles {
		fmt.Fprintf(&t, "  role%d: { as: vx-%d, who: { corp: { groups: group%d } } }\n", i, i, i)
	}
	t.WriteString("rules:\n  no-previews: { deny: \"*\", except: role0, models: \"*-preview*\" }\n")
	for i := range n {
		name := fmt.Sprintf("gemini-%d-*", i)
		if i == n-1 {
			name = "last-*"
		}
		fmt.Fprintf(&t, "  rule%05d: { allow: role%d, models: [%s, text-embedding-%d] }\n", i, min(i, roles-1), name, i)
	}
	p := loadText(b, t.String())
	return p, corp("everyone", fmt.Sprintf("group%d", roles-1), "others")
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		for _, oneRole := range []bool{false, true} {
			name := fmt.Sprintf("rules=%d/roles=%d", n, n)
			if oneRole {
				name = fmt.Sprintf("rules=%d/roles=1", n)
			}
			p, caller := manyRules(b, n, oneRole)
			call := parsed(b, model("europe-west4", "google", "last-model", "generateContent"))
			for _, ask := range []string{"allow", "deny"} {
				want := Allow
				if ask == "deny" {
					want = Deny
					call = parsed(b, model("europe-west4", "google", "no-model", "generateContent"))
				}
				b.Run(name+"/"+ask, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if d := p.Decide(caller, call, Request{}); d.Effect != want {
							b.Fatalf("got %v %v", d.Effect, d.Reason)
						}
					}
				})
			}
		}
	}
}

func BenchmarkDecideInParallel(b *testing.B) {
	p := loadText(b, companyPolicy)
	caller := corp("search-eng", "everyone")
	call := parsed(b, model("europe-west4", "google", "gemini-2.5-flash", "generateContent"))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if d := p.Decide(caller, call, Request{}); d.Effect != Allow {
				b.Errorf("got %v %v", d.Effect, d.Reason)
				return
			}
		}
	})
}

// A decision that allows allocates nothing, whatever the order of the caller's groups.
func TestDecideDoesNotAllocate(t *testing.T) {
	p := loadText(t, companyPolicy)
	caller := corp("everyone", "research", "search-eng")
	for _, target := range []string{
		model("europe-west4", "google", "gemini-2.5-flash", "generateContent"),
		model("us-central1", "anthropic", "claude-opus-4@20250514", "rawPredict"),
		"/v1beta1/publishers/google/models",
	} {
		call := parsed(t, target)
		if n := testing.AllocsPerRun(100, func() {
			if d := p.Decide(caller, call, Request{Role: ""}); d.Effect != Allow {
				t.Fatalf("got %v %v", d.Effect, d.Reason)
			}
		}); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", target, n)
		}
	}
}
