package policy

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy/strictyaml"
)

const delegatingPolicy = `version: 1
include:
  - path: teams/search/*
    may:
      roles: search*
      as: [vx-search*]
      issuers: corp
      models: [gemini-*, claude-default]
      locations: europe-*
      methods: [generate, embed]
defaults: { project: acme-ai, locations: [europe-west1], methods: [generate], publishers: google }
aliases: { claude-default: claude-sonnet-4-5@20250929 }
issuers:
  corp: { url: https://login.acme.com, audience: vertex }
  k8s: { url: https://k8s.acme.com, audience: vertex }
roles:
  research: { as: vx-research, who: { corp: { groups: research } } }
rules:
  research: { allow: research, models: "*" }
  no-previews: { deny: "*", models: "*-preview*" }
`

const searchTeam = `version: 1
roles:
  search-eng: { as: vx-search-eng, who: { corp: { groups: search } } }
rules:
  search: { allow: search-eng, models: [gemini-2.5-*, claude-default], locations: europe-west*, methods: embed }
  search-no-pro: { deny: search-eng, models: gemini-*-pro* }
`

func TestIncludedFileMayDoWhatItsIncludeSays(t *testing.T) {
	p, err := compile("policy.d", []file{{"policy.yaml", []byte(delegatingPolicy)}, {"teams/search/policy.yaml", []byte(searchTeam)}})
	if err != nil {
		t.Fatal(err)
	}
	rule := p.Model().Rules[2]
	if diff := cmp.Diff([]string{"gemini-2.5-*", "claude-sonnet-4-5@20250929"}, rule.Models); diff != "" || rule.ID != "search" {
		t.Errorf("models of rule %q (-want +got):\n%s", rule.ID, diff)
	}
}

func TestIncludedFileThatReachesFurtherDoesNotLoad(t *testing.T) {
	const may = "the include at policy.d/policy.yaml:3:5 grants "
	role := "roles:\n  search-x: { as: vx-search-x, who: { corp: { groups: x } } }\n"
	rule := func(rest string) string { return role + "rules:\n  r: { " + rest + " }\n" }
	tests := []struct {
		name, text string
		want       []string
	}{
		{"another role", "roles:\n  other: { as: vx-search-x, who: { corp: { groups: x } } }\n", []string{`role "other" reaches further than the file may: ` + may + "search*"}},
		{"another account", "roles:\n  search-x: { as: vx-research, who: { corp: { groups: x } } }\n",
			[]string{`service account "vx-research@acme-ai.iam.gserviceaccount.com" reaches further than the file may: ` + may + "vx-search*@acme-ai.iam.gserviceaccount.com"}},
		{"an account of another project", "roles:\n  search-x: { as: vx-search@evil.iam.gserviceaccount.com, who: { corp: { groups: x } } }\n",
			[]string{`service account "vx-search@evil.iam.gserviceaccount.com" reaches further than the file may: ` + may + "vx-search*@acme-ai.iam.gserviceaccount.com"}},
		{"another account to go through", "roles:\n  search-x: { as: vx-search, delegates: vx-hop, who: { corp: { groups: x } } }\n",
			[]string{`service account "vx-hop@acme-ai.iam.gserviceaccount.com" reaches further than the file may: ` + may + "vx-search*@acme-ai.iam.gserviceaccount.com"}},
		{"another issuer", "roles:\n  search-x: { as: vx-search, who: { k8s: { sub: x } } }\n", []string{`issuer "k8s" reaches further than the file may: ` + may + "corp"}},
		{"another quota project", "roles:\n  search-x: { as: vx-search, project: other, who: { corp: { groups: x } } }\n",
			[]string{`project "other" reaches further than the file may: ` + may + "acme-ai"}},
		{"a priority", "roles:\n  search-x: { as: vx-search, priority: 5, who: { corp: { groups: x } } }\n", []string{"priority is not for included files: this one is included at policy.d/policy.yaml:3:5"}},
		{"other scopes", "roles:\n  search-x: { as: vx-search, scopes: drive, who: { corp: { groups: x } } }\n", []string{"scopes is not for included files: this one is included at policy.d/policy.yaml:3:5"}},
		{"a dearer tier", rule("allow: search-x, models: gemini-x, headers: { set: { X-Vertex-AI-LLM-Request-Type: dedicated } }"),
			[]string{"headers is not for included files: this one is included at policy.d/policy.yaml:3:5"}},
		{"a rule for others", rule("allow: research, models: gemini-x"), []string{`role "research" reaches further than the file may: ` + may + "search*"}},
		{"a rule for all", rule(`deny: "*", models: gemini-x`), []string{`role "*" reaches further than the file may: ` + may + "search*"}},
		{"other models", rule("allow: search-x, models: [gemini-x, gem*]"), []string{`models "gem*" reaches further than the file may: ` + may + "claude-default, claude-sonnet-4-5@20250929, gemini-*"}},
		{"all models", rule(`allow: search-x, models: "*"`), []string{`models "*" reaches further than the file may: ` + may + "claude-default, claude-sonnet-4-5@20250929, gemini-*"}},
		{"endpoints", rule("allow: search-x, endpoints: 123"), []string{`endpoints "123" reaches further than the file may: ` + may + "none"}},
		{"other publishers than the default", rule("allow: search-x, models: gemini-x, publishers: anthropic"), []string{`publishers "anthropic" reaches further than the file may: ` + may + "google"}},
		{"other projects than the default", rule("allow: search-x, models: gemini-x, projects: acme-*"), []string{`projects "acme-*" reaches further than the file may: ` + may + "acme-ai"}},
		{"other methods", rule("allow: search-x, models: gemini-x, methods: [generate, predict]"), []string{`methods "predict" reaches further than the file may: ` + may + "embed, generate"}},
		{"a call beyond inference", rule("allow: search-x, methods: reasoningEngines.query"), []string{`methods "reasoningEngines.query" reaches further than the file may: ` + may + "embed, generate"}},
		{"other locations", rule(`allow: search-x, models: gemini-x, locations: [europe-west1, "*"]`), []string{`locations "*" reaches further than the file may: ` + may + "europe-*"}},
		{"a rewrite to another model", rule("allow: search-x, models: gemini-x, rewrite: { model: imagen-4 }"), []string{`model "imagen-4" reaches further than the file may: ` + may + "claude-default, claude-sonnet-4-5@20250929, gemini-*"}},
		{"a denial of everything", rule("deny: search-x"), []string{"a deny rule of an included file needs models or endpoints: without them it denies everything"}},
		{"an override of another's rule", rule("allow: search-x, models: gemini-x, breakglass: { reason: required, overrides: no-previews }"),
			[]string{`an included file overrides none but its own rules, and "no-previews" stands at policy.d/policy.yaml:20:3`}},
		{"defaults", "defaults: { methods: generate }\n", []string{"an included file holds roles and rules only, not defaults: it is included at policy.d/policy.yaml:3:5"}},
		{"an issuer", "issuers:\n  evil: { url: https://evil.com, audience: vertex }\n", []string{"an included file holds roles and rules only, not issuers: it is included at policy.d/policy.yaml:3:5"}},
		{"an alias", "aliases: { gemini-x: imagen-4 }\n", []string{"an included file holds roles and rules only, not aliases: it is included at policy.d/policy.yaml:3:5"}},
		{"another include", "include: [ { path: policy.yaml, may: {} } ]\n", []string{
			"an included file holds roles and rules only, not include: it is included at policy.d/policy.yaml:3:5",
			"an included file holds roles and rules only, not include: it is included at policy.d/teams/search/b.yaml:2:12",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := compile("policy.d", []file{{"policy.yaml", []byte(delegatingPolicy)}, {"teams/search/b.yaml", []byte("version: 1\n" + tt.text)}})
			got := map[string]bool{}
			for _, m := range messages(err) {
				got[m] = true
			}
			for _, want := range tt.want {
				if !got[want] {
					t.Errorf("got %v, want %q among it", err, want)
				}
			}
		})
	}
}

func TestIncludesNameFilesThatAreThere(t *testing.T) {
	main := file{"policy.yaml", []byte(delegatingPolicy)}
	_, err := compile("policy.d", []file{main})
	if diff := cmp.Diff([]string{`no file of the policy is "teams/search/*"`}, messages(err)); diff != "" {
		t.Errorf("without the file (-want +got):\n%s", diff)
	}
	_, err = compile("policy.d", []file{
		{"own.yaml", []byte("version: 1\ninclude: [ { path: teams/*/a.yaml, may: { roles: search-eng } } ]\n")}, main, {"teams/search/a.yaml", []byte(searchTeam)},
	})
	if diff := cmp.Diff([]string{"the file is included twice: at policy.d/own.yaml:2:12 and at policy.d/policy.yaml:3:5"}, messages(err)[:1]); diff != "" {
		t.Errorf("included twice (-want +got):\n%s", diff)
	}
	// A team that may write into its folder must not get more by a file that nobody thought of.
	_, err = compile("policy.d", []file{
		{"own.yaml", []byte("version: 1\ninclude: [ { path: teams/ads.yaml, may: { roles: ads, as: ads, issuers: corp } } ]\n")}, main,
		{"teams/ads.yaml", []byte("version: 1\nroles: { ads: { as: ads, who: { corp: { groups: ads } } } }\n")},
		{"teams/sneaked.yaml", []byte("version: 1\nrules: { sneaked: { allow: research, models: x } }\n")},
		{"teams/search/a.yaml", []byte(searchTeam)},
	})
	want := []string{"the file stands beside teams/ads.yaml, which is included, and is not included itself: include it, or move it"}
	if diff := cmp.Diff(want, messages(err)); diff != "" {
		t.Errorf("a file beside (-want +got):\n%s", diff)
	}
}

func messages(err error) []string {
	var problems *strictyaml.Error
	var list []string
	if errors.As(err, &problems) {
		for _, p := range problems.Problems {
			list = append(list, p.Message)
		}
	}
	return list
}

func TestCoversComparesPatterns(t *testing.T) {
	for _, tt := range []struct {
		bound, pattern string
		want           bool
	}{
		{"*", "*", true}, {"*", "a*b", true}, {"a*", "a", true}, {"a*", "ab*", true}, {"a*", "*", false}, {"a*", "b", false}, {"a", "a*", false},
		{"a*c", "a*b*c", true}, {"a*b*c", "a*c", false}, {"*a*", "*a", true}, {"*a", "*a*", false}, {"a**", "a*", true}, {"ab*", "a*b*", false},
	} {
		if got := covers([]string{tt.bound}, tt.pattern); got != tt.want {
			t.Errorf("covers(%q, %q): got %v, want %v", tt.bound, tt.pattern, got, tt.want)
		}
	}
}

// "*" among methods, in the defaults or in a grant, stands for no call beyond inference.
func TestIncludedFileSwitchesOnNoSurfaceThatItsGrantDoesNotName(t *testing.T) {
	load := func(defaults, methods string) error {
		main := "version: 1\ninclude: [ { path: teams/a.yaml, may: { roles: search, as: vx, issuers: corp" + methods + " } } ]\n" +
			"defaults: { project: acme-ai, locations: europe-west1, methods: " + defaults + " }\nissuers: { corp: { url: https://login.acme.com, audience: vertex } }\n"
		team := "version: 1\nroles: { search: { as: vx, who: { corp: { groups: search } } } }\nrules: { r: { allow: search, methods: customJobs.create } }\n"
		_, err := compile("policy.d", []file{{"a.yaml", []byte(main)}, {"teams/a.yaml", []byte(team)}})
		return err
	}
	for _, tt := range []struct {
		name, defaults, methods string
		loads                   bool
	}{
		{"all methods by default", `"*"`, "", false},
		{"all methods granted", `generate`, `, methods: "*"`, false},
		{"a pattern granted", `generate`, `, methods: "customJobs.*"`, false},
		{"its name granted", `generate`, `, methods: [generate, customJobs.create]`, true},
	} {
		if err := load(tt.defaults, tt.methods); (err == nil) != tt.loads {
			t.Errorf("%s: got %v, want it to load: %v", tt.name, err, tt.loads)
		}
	}
}
