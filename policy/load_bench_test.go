package policy

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// writtenRules is a policy of n rules for n/10 roles, written as a person would write it.
func writtenRules(n int) []byte {
	var b strings.Builder
	b.WriteString("version: 1\ndefaults:\n  project: acme-ai\n  locations: [europe-west1, europe-west4]\n  methods: [generate, count, embed]\nissuers:\n  corp: { url: https://login.acme.com, audience: vertex }\nroles:\n")
	for i := range max(1, n/10) {
		fmt.Fprintf(&b, "  team-%d: { as: vx-team-%d, who: { corp: { groups: team-%d } } }\n", i, i, i)
	}
	b.WriteString("rules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  rule-%d:\n    allow: team-%d\n    models: [gemini-2.5-*, \"text-embedding-%d*\"]\n    locations: europe-west%d\n", i, i/10, i, []int{1, 2, 3, 4}[i%4])
	}
	return []byte(b.String())
}

// BenchmarkLoad10000 loads 10,000 rules from one file and from ten.
func BenchmarkLoad10000(b *testing.B) {
	text := writtenRules(10_000)
	head, rules, _ := strings.Cut(string(text), "rules:\n")
	var split []file
	lines := strings.SplitAfter(rules, "\n")
	for i := range 10 {
		part := lines[i*4_000 : (i+1)*4_000]
		split = append(split, file{fmt.Sprintf("rules/%d.yaml", i), []byte("version: 1\nrules:\n" + strings.Join(part, ""))})
	}
	for name, files := range map[string][]file{
		"one file":  {{"a.yaml", text}},
		"ten files": append([]file{{"a.yaml", []byte(head)}}, split...),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, err := compile("policy.d", files)
				if err != nil {
					b.Fatal(err)
				}
				runtime.KeepAlive(p)
			}
		})
	}
}
