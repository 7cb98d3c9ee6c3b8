package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy/body"
)

var celIssuers = map[string]*Issuer{
	"open": {Name: "open"},
	"corp": {
		Name: "corp", Require: []string{"env"},
		Claims: map[string]string{"env": "string", "level": "int", "groups": "list", "contractor": "bool", "ratio": "number", "org": "map"},
	},
}

func compileText(t testing.TB, text, issuer string, deny bool) (*when, []string) {
	t.Helper()
	w, err := newWhens()
	if err != nil {
		t.Fatal(err)
	}
	env, err := w.env([]*Issuer{celIssuers[issuer]})
	if err != nil {
		t.Fatal(err)
	}
	c, problems := w.compile(env, text, deny)
	var list []string
	for _, p := range problems {
		list = append(list, fmt.Sprintf("%d:%d: %s", p.line, p.column, p.message))
	}
	if (c == nil) != (list != nil) {
		t.Fatalf("compiled %v, problems %q", c, list)
	}
	return c, list
}

func TestConditionsThatDoNotLoad(t *testing.T) {
	const optional = " may be absent, and the rule would then deny everybody: write "
	tests := []struct {
		name, text, issuer string
		deny               bool
		want               []string
	}{
		{"a misspelled variable", `claim.env == "x"`, "open", false, []string{`1:0: undeclared reference to "claim" (did you mean "claims"?)`}},
		{"on the second line", "claims.env == \"a\" &&\n  mdoel == \"b\"", "open", false, []string{`2:2: undeclared reference to "mdoel" (did you mean "model"?)`}},
		{"two problems at once", `mdoel == "a" || regoin == "b"`, "open", false, []string{`1:0: undeclared reference to "mdoel" (did you mean "model"?)`, `1:16: undeclared reference to "regoin"`}},
		{"a claim the issuer does not declare", `claims.enw == "x"`, "corp", false, []string{`1:6: undefined field "enw" (did you mean "env"?)`}},
		{"the same in brackets", `claims["enw"] == "x"`, "corp", false, []string{`1:7: undefined field "enw" (did you mean "env"?)`}},
		{"a field bodies do not have", `body.maxOutputToken < 5`, "corp", false, []string{`1:4: undefined field "maxOutputToken" (did you mean "maxOutputTokens"?)`}},
		{"a claim of another type", `claims.env == 5`, "corp", false, []string{`1:11: found no matching overload for '_==_' applied to '(string, int)'`}},
		{"no condition at all", `model`, "corp", false, []string{`1:0: the condition is of type string and not true or false`}},
		{"a network with bits beyond its length", `inNetwork(ip, "10.0.0.1/8")`, "corp", false, []string{`1:14: "10.0.0.1/8" is not a network such as 10.0.0.0/8`}},
		{"one in a list", `inNetwork(ip, ["::1", "x"])`, "corp", false, []string{`1:22: "x" is not a network such as 10.0.0.0/8`}},
		{"loops in loops in loops", `body.tools.all(a, body.tools.all(b, body.tools.all(c, a != b && b != c)))`, "corp", false, []string{`1:0: the condition could take 123831043 steps, and at most 1000000 are allowed`}},
		{"a deny rule on an optional claim", `claims.contractor`, "corp", true, []string{`1:0: claims.contractor` + optional + `claims.?contractor.orValue(false), or has(claims.contractor) && …`}},
		{"on an optional number", `model == "x" && claims.level > 3`, "corp", true, []string{`1:16: claims.level` + optional + `claims.?level.orValue(0), or has(claims.level) && …`}},
		{"in brackets", `claims["level"] == 3`, "corp", true, []string{`1:0: claims.level` + optional + `claims.?level.orValue(0), or has(claims.level) && …`}},
		{"on a field of the body", `body.maxOutputTokens > 5`, "corp", true, []string{`1:0: body.maxOutputTokens` + optional + `body.?maxOutputTokens.orValue(0), or has(body.maxOutputTokens) && …`}},
		{"of a name that is no word", `claims["https://a.example/b"] == "c"`, "open", true, []string{`1:0: claims["https://a.example/b"] may be absent, and the rule would then deny everybody: write claims[?"https://a.example/b"].orValue(false)`}},
		{"guarded the wrong way", `has(claims.level) || claims.level > 3`, "corp", true, []string{`1:21: claims.level` + optional + `claims.?level.orValue(0), or has(claims.level) && …`}},
		{"guarded by another claim", `has(claims.level) && claims.contractor`, "corp", true, []string{`1:21: claims.contractor` + optional + `claims.?contractor.orValue(false), or has(claims.contractor) && …`}},
		{"guarded in the other branch", `has(claims.contractor) ? true : claims.contractor`, "corp", true, []string{`1:32: claims.contractor` + optional + `claims.?contractor.orValue(false), or has(claims.contractor) && …`}},
		{"below a function", `"a" in claims.groups`, "corp", true, []string{`1:7: claims.groups` + optional + `claims.?groups.orValue([]), or has(claims.groups) && …`}},
		{"in a loop", `body.tools.exists(t, claims.contractor)`, "corp", true, []string{`1:21: claims.contractor` + optional + `claims.?contractor.orValue(false), or has(claims.contractor) && …`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, got := compileText(t, tt.text, tt.issuer, tt.deny)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConditionsAreBounded(t *testing.T) {
	for name, text := range map[string]string{
		"too long": `model == "` + strings.Repeat("x", maxWhenText) + `"`,
		"too deep": strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300),
	} {
		if _, got := compileText(t, text, "open", false); len(got) == 0 {
			t.Errorf("%s: it loads", name)
		}
	}
}

// decided returns what a condition comes to for one request.
func decided(t *testing.T, w *when, v *variables) verdict {
	t.Helper()
	result := yes
	for _, p := range w.parts {
		result = min(result, p.eval(v))
	}
	return result
}

func TestConditions(t *testing.T) {
	full := map[string]any{
		"env": "prod", "level": int64(5), "groups": []any{"a", "b"}, "contractor": true, "ratio": 0.5, "org": map[string]any{"unit": "x"}, "https://acme.example/team": "blue", "nothing": nil,
	}
	facts := &body.Facts{
		Shape: body.Gemini, Bytes: 100, MaxOutputTokens: body.Opt[int64]{Value: 50, Set: true}, Tools: []string{"fn:get_weather", "googleSearch"},
		Safety: []body.Safety{{Category: "HARM_CATEGORY_HARASSMENT", Threshold: "OFF"}},
	}
	v := &variables{
		caller: &Caller{Issuer: "corp", Subject: "me", Claims: full}, role: "search", now: time.Date(2026, 11, 23, 10, 30, 0, 0, time.UTC), ip: netip.MustParseAddr("::ffff:10.1.2.3"),
		target: &target{shape: shape{method: "generateContent", location: "europe-west1", project: "acme-ai", publisher: "google", model: "gemini-2.5-flash"}}, body: facts,
	}
	tests := []struct {
		text, issuer string
		want         verdict
	}{
		{`claims.env == "prod" && claims.level >= 5 && claims.contractor && claims.ratio < 1`, "corp", yes},
		{`claims["https://acme.example/team"] == "blue"`, "open", yes},
		{`claims["https://acme.example/dept"] == "blue"`, "open", failed},
		{`has(claims.env) && !has(claims.nix) && !has(claims.nothing)`, "open", yes},
		{`claims.nothing == null`, "open", failed},
		{`claims.nix == "a"`, "open", failed},
		{`claims.?nix.orValue("a") == "a"`, "open", yes},
		{`claims.?contractor.orValue(false)`, "open", yes},
		{`claims.env`, "open", failed}, // not known to be no condition before
		{`claims.org.unit == "x"`, "corp", yes},
		{`"b" in claims.groups && claims.groups.exists(g, g == "a")`, "corp", yes},
		{`"c" in claims.groups`, "corp", no},
		{`claims.level == 5.0`, "open", yes},
		{`issuer == "corp" && subject == "me" && role == "search"`, "open", yes},
		{`model == "gemini-2.5-flash" && publisher == "google" && project == "acme-ai" && location.startsWith("europe-") && method == "generateContent" && endpoint == ""`, "open", yes},
		{`glob(model, "gemini-*-flash") && !glob(model, "gemini") && glob(claims.env, "*")`, "open", yes},
		{`inNetwork(ip, "10.0.0.0/8") && !inNetwork(ip, "10.1.2.4") && inNetwork(ip, ["192.0.2.0/24", "10.1.2.3"])`, "open", yes},
		{`inNetwork(claims.env, "10.0.0.0/8")`, "open", failed},
		{`inNetwork(ip, claims.groups)`, "open", failed},
		{`now.getHours("Europe/Berlin") == 11 && now < timestamp("2027-01-01T00:00:00Z")`, "open", yes},
		{`body.maxOutputTokens <= 50 && body.bytes == 100 && !body.stream && body.tools.all(t, t == "googleSearch" || t.startsWith("fn:"))`, "open", yes},
		{`body.temperature < 1.0`, "open", failed},
		{`body.safetySettings["HARM_CATEGORY_HARASSMENT"] == "OFF" && body.mediaTypes == []`, "open", yes},
		{`body.?candidateCount.orValue(1) == 1`, "open", yes},
		{`claims.nix == "a" || claims.env == "prod"`, "open", yes},
		{`claims[?"https://acme.example/team"].orValue("") == "blue" && claims[?"https://nix"].orValue("x") == "x"`, "open", yes},
		{`claims.env.matches("^p.*d$") && "Prod".lowerAscii() == claims.env`, "open", yes},
		{`1 / (claims.level - 5) == 1`, "open", failed},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			w, problems := compileText(t, tt.text, tt.issuer, false)
			if problems != nil {
				t.Fatal(problems)
			}
			if got := decided(t, w, v); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// A claim of another type than the declared one makes the condition fail, whatever it compares it with.
func TestClaimsOfAnotherTypeFail(t *testing.T) {
	for text, claims := range map[string]map[string]any{
		`claims.env != "x"`:                    {"env": int64(5)},
		`claims.level != 7`:                    {"level": "7"},
		`claims.level < 7`:                     {"level": 5.5},
		`claims.contractor != true`:            {"contractor": "false"},
		`claims.ratio != 1.0`:                  {"ratio": "1"},
		`!("x" in claims.groups)`:              {"groups": "x"},
		`!has(claims.org.unit)`:                {"org": "x"},
		`!("x" in claims.?groups.orValue([]))`: {"groups": map[string]any{}},
	} {
		w, problems := compileText(t, text, "corp", false)
		if problems != nil {
			t.Fatal(problems)
		}
		if got := decided(t, w, &variables{caller: &Caller{Claims: claims}}); got != failed {
			t.Errorf("%s: got %v, want it to fail", text, got)
		}
	}
}

// What is not known is not there: nothing can be concluded from it.
func TestWhatIsNotKnownFails(t *testing.T) {
	for _, text := range []string{`model != "x"`, `publisher != "x"`, `body.bytes >= 0`, `now > timestamp("1970-01-01T00:00:00Z") || true == false`, `ip != ""`} {
		w, problems := compileText(t, text, "open", false)
		if problems != nil {
			t.Fatal(problems)
		}
		v := &variables{caller: &Caller{Claims: map[string]any{}}, target: &target{shape: shape{subject: someModel}}}
		if got := decided(t, w, v); got != failed {
			t.Errorf("%s: got %v, want it to fail", text, got)
		}
	}
}

func TestPartsOfConditionsKnowWhatTheyNeed(t *testing.T) {
	w, problems := compileText(t, `body.stream && (model == "a" && location == "b") && claims.env == "prod" && subject != "x" && (issuer == "a" || role == "b")`, "open", false)
	if problems != nil {
		t.Fatal(problems)
	}
	type row struct {
		Text string
		Need need
	}
	var got []row
	for _, p := range w.parts {
		got = append(got, row{p.text, p.need})
	}
	want := []row{
		{`claims.env == "prod"`, 0}, {`subject != "x"`, 0}, {`location == "b"`, needRequest}, {`issuer == "a" || role == "b"`, needRequest},
		{`model == "a"`, needRequest | needModel}, {`body.stream`, needRequest | needBody},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if !w.role {
		t.Error("the condition does not know that it reads the role")
	}
}

// A loop over what the caller sends is stopped when it takes too long, and has failed then.
func TestLoopsAreBounded(t *testing.T) {
	w, problems := compileText(t, `body.tools.all(a, body.tools.all(b, a != b || a == b))`, "open", false)
	if problems != nil {
		t.Fatal(problems)
	}
	facts := &body.Facts{Shape: body.Gemini}
	v := &variables{caller: &Caller{}, target: &target{}, body: facts}
	if got := decided(t, w, v); got != yes {
		t.Fatalf("without tools: got %v", got)
	}
	for i := range 1000 {
		facts.Tools = append(facts.Tools, fmt.Sprint("fn:", i))
	}
	_, err := w.parts[0].program.run(v)
	if err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("got %v, want the limit of its cost", err)
	}
}

// The bound on costs holds together with every option by which an evaluation is watched: there were versions in which it did not.
func TestCostLimitHoldsWhileStateIsTracked(t *testing.T) {
	env, err := cel.NewEnv(cel.Variable("list", cel.ListType(cel.IntType)))
	if err != nil {
		t.Fatal(err)
	}
	ast, issues := env.Compile(`list.all(a, list.all(b, a + b >= 0))`)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	list := make([]int64, 300)
	for _, options := range []cel.EvalOption{0, cel.OptTrackState, cel.OptExhaustiveEval, cel.OptTrackState | cel.OptExhaustiveEval} {
		program, err := env.Program(ast, cel.EvalOptions(options), cel.CostLimit(1000))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := program.Eval(map[string]any{"list": list}); err == nil || !strings.Contains(err.Error(), "cost limit") {
			t.Errorf("options %d: got %v, want the limit of its cost", options, err)
		}
	}
}

func FuzzConditions(f *testing.F) {
	for _, w := range naiveWhens {
		f.Add(w.text)
	}
	f.Add(``)
	f.Add(`[claims][0].level > 3`)
	f.Add(`[body].exists(b, b.maxOutputTokens > 5)`)
	f.Add(`{"a":true}["it is absent"]`)
	f.Add(`claims.a.b[0] ? body.tools.map(x, x)[0] == "" : {1: 2}[1] in [3]`)
	w, err := newWhens()
	if err != nil {
		f.Fatal(err)
	}
	env, err := w.env([]*Issuer{celIssuers["corp"]})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, problems := w.compile(env, text, true)
		if (c == nil) == (len(problems) == 0) {
			t.Fatalf("%q: compiled %v, problems %v", text, c, problems)
		}
		for _, p := range problems {
			if p.line < 1 || p.column < 0 || p.message == "" {
				t.Errorf("%q: problem %+v", text, p)
			}
		}
		if c == nil {
			return
		}
		// What a deny rule may say does not fail for want of a claim or a field.
		v := &variables{
			caller: &Caller{Claims: map[string]any{"env": "x", "iss": "x", "exp": int64(1)}}, now: baseTime, ip: mustAddr("10.0.0.1"),
			target: &target{}, body: &body.Facts{Shape: body.Gemini},
		}
		for _, p := range c.parts {
			if _, err := p.program.run(v); errors.Is(err, errAbsent) && len(c.parts) == 1 {
				t.Errorf("%q in a deny rule: %v", text, err)
			}
		}
	})
}
