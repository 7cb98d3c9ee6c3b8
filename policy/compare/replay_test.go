package compare

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy"
	"vertex-spoa/policy/body"
)

const target = "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/"

// ask is one request of a caller.
type ask struct {
	issuer, claims, uri, body, role, reason string
	at                                      time.Time
}

// logLine decides a request as an agent does and returns the line that its audit log then has.
func logLine(t testing.TB, p *policy.Policy, id string, a ask) string {
	t.Helper()
	claims, err := Claims([]byte(a.claims))
	if err != nil {
		t.Fatal(err)
	}
	call, err := policy.ParseAny("POST", a.uri)
	if err != nil {
		t.Fatal(err)
	}
	q := Question{Caller: policy.Caller{Issuer: a.issuer, Subject: "s", Claims: claims}, Call: call, State: policy.BodyAbsent}
	q.Request = policy.Request{Role: a.role, Reason: a.reason, Now: a.at, ID: id, IP: netip.MustParseAddr("10.0.0.1")}
	if a.body != "" {
		if q.Body, err = body.Read(call.BodyShape(), []byte(a.body)); err != nil {
			t.Fatal(err)
		}
		q.State = policy.BodyWhole
	}
	s := p.Bind(q.Caller)
	asked := s.Decide(q.Call, q.Request).Effect == policy.NeedBody
	d, err := q.Ask(s)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"v":1,"time":%q,"id":%q,"attempt":1,"decision":%q,"status":200`, a.at.Format(time.RFC3339Nano), id, d.Effect)
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, `,%q:%s`, name, strconv.Quote(value))
		}
	}
	field("reason", string(d.Reason))
	field("issuer", a.issuer)
	field("subject", "s")
	fmt.Fprintf(&b, `,"claims":%s,"src":"10.0.0.1","http_method":"POST"`, policy.AppendClaims(nil, claims, p.ClaimsUsed(a.issuer)))
	field("uri", d.Call.URI())
	if d.Call.URI() != a.uri {
		field("uri_asked", a.uri)
	}
	field("role_asked", a.role)
	field("break_glass", a.reason)
	if asked && q.Body != nil {
		fmt.Fprintf(&b, `,"body":%s`, q.Body.AppendJSON(nil))
	} else if asked {
		b.WriteString(`,"body":"none"`)
	}
	field("role", d.Role)
	field("rule", d.Rule)
	field("account", d.Account)
	field("policy", p.Digest())
	b.WriteString(",\"t_verify\":1}\n")
	return b.String()
}

func asks() []ask {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	return []ask{
		{issuer: "corp", claims: `{"sub":"a","groups":["search-eng","x"]}`, uri: target + "gemini-2.5-flash:generateContent", at: noon},
		{issuer: "corp", claims: `{"sub":"b","groups":["search-eng"]}`, uri: target + "text-embedding-005:embedContent", at: noon},
		{issuer: "corp", claims: `{"sub":"c","groups":["support"]}`, uri: target + "gemini-2.5-flash:generateContent", at: noon,
			body: `{"contents":[{"parts":[{"text":"secret"}]}],"generationConfig":{"maxOutputTokens":2000}}`},
		{issuer: "corp", claims: `{"sub":"c","groups":["support"]}`, uri: target + "gemini-2.5-flash:generateContent", at: noon,
			body: `{"generationConfig":{"maxOutputTokens":100}}`},
		{issuer: "corp", claims: `{"sub":"c","groups":["support"]}`, uri: target + "gemini-2.5-flash:generateContent", at: noon},
		{issuer: "github", claims: `{"repository":"acme/app","ref":"refs/heads/main","environment":"evals","workflow":"w"}`,
			uri: target + "gemini-2.5-flash:generateContent", at: noon},
		{issuer: "github", claims: `{"repository":"acme/app","ref":"refs/heads/main","workflow":"nightly-1"}`,
			uri: target + "gemini-2.5-flash:generateContent", at: noon},
		{issuer: "corp", claims: `{"groups":["oncall"],"amr":["pwd","hwk"]}`, uri: target + "gemini-2.5-pro:generateContent", reason: "incident 5", at: noon},
		{issuer: "corp", claims: `{"groups":["nobody"]}`, uri: target + "gemini-2.5-pro:generateContent", at: noon},
	}
}

// logOf returns the log of n rounds of the requests.
func logOf(t testing.TB, p *policy.Policy, rounds int) string {
	var b strings.Builder
	for i := range rounds {
		for j, a := range asks() {
			b.WriteString(logLine(t, p, fmt.Sprintf("r%d.%d", i, j), a))
		}
	}
	return b.String()
}

func replayed(t testing.TB, p *policy.Policy, o Options, logs ...string) *Replayed {
	t.Helper()
	r := NewReplay(p, o)
	for i, log := range logs {
		if err := r.Read(fmt.Sprintf("log%d", i), strings.NewReader(log)); err != nil {
			t.Fatal(err)
		}
	}
	return r.Report()
}

func TestReplayUnderTheSamePolicyChangesNothing(t *testing.T) {
	p := load(t, example(t))
	r := replayed(t, p, Options{}, logOf(t, p, 50))
	if n := 50 * len(asks()); r.Lines != n || r.Decided != n || r.Changed != 0 || len(r.Changes)+len(r.Renamed)+len(r.Unknown)+len(r.Elsewhere) != 0 {
		t.Errorf("got %+v, want %d decided again and nothing else", r, n)
	}
}

func TestReplayGroupsWhatChanges(t *testing.T) {
	p := load(t, example(t))
	for _, tt := range []struct {
		name  string
		pairs []string
		want  string // the text, without its first line
	}{
		{"a condition that nothing meets", []string{`claims.environment == "evals" || `, `claims.environment == "prod" && `},
			"      40 allow vx-ci ci-evals => deny NO_RULE  (r0.5, r0.6, r1.5)\n"},
		{"a wider bound", []string{"maxOutputTokens: 1024", "maxOutputTokens: 4096"},
			"      20 deny NO_RULE => allow vx-support support-assistant  (r0.2, r1.2, r2.2)\n"},
		{"another account", []string{"as: vx-search", "as: vx-find"},
			"      40 allow vx-search search-gemini => allow vx-find search-gemini  (r0.0, r0.1, r1.0)\n"},
		{"another name of a rule", []string{"search-gemini:", "searching:"},
			"the same answer by another rule:\n      40 allow vx-search search-gemini => allow vx-search searching  (r0.0, r0.1, r1.0)\n"},
		{"a deny rule", []string{"*-preview*", "*-flash"},
			"      40 allow vx-ci ci-evals => deny DENIED preview-models  (r0.5, r0.6, r1.5)\n" +
				"      20 allow vx-search search-gemini => deny DENIED preview-models  (r0.0, r1.0, r2.0)\n" +
				"      20 deny NO_RULE => deny DENIED preview-models  (r0.2, r1.2, r2.2)\n" +
				"      20 allow vx-support support-assistant => deny DENIED preview-models  (r0.3, r1.3, r2.3)\n" +
				"      20 deny BODY_REQUIRED support-assistant => deny DENIED preview-models  (r0.4, r1.4, r2.4)\n"},
		{"a break-glass less", []string{"    breakglass: { reason: required }\n", ""}, ""},
		{"a role whose name is another", []string{"  search:   {", "  find:     {", "allow: search", "allow: find"},
			"      40 allow vx-search search-gemini => allow vx-search search-gemini  (r0.0, r0.1, r1.0)\n"},
		{"another model", []string{"    models: [gemini-2.5-*, text-embedding-*]", "    models: [gemini-2.5-*, text-embedding-*]\n    rewrite: { model: gemini-2.5-pro }"},
			"      40 allow vx-search search-gemini to google/gemini-2.5-flash in europe-west1 of acme-ai => " +
				"allow vx-search search-gemini to google/gemini-2.5-pro in europe-west1 of acme-ai"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := replayed(t, load(t, edit(t, example(t), tt.pairs...)), Options{Workers: 3}, logOf(t, p, 10), strings.ReplaceAll(logOf(t, p, 10), `"id":"r`, `"id":"s`))
			var b strings.Builder
			if err := r.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			_, got, _ := strings.Cut(b.String(), "\n")
			if tt.name == "another model" {
				got = strings.Join(strings.Fields(strings.ReplaceAll(got, "google/text-embedding-005", "google/gemini-2.5-flash")), " ")
				if !strings.Contains(got, strings.Join(strings.Fields(tt.want), " ")[3:]) {
					t.Errorf("got\n%s\nwant in it\n%s", got, tt.want)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if (r.Changed > 0) != (len(r.Changes) > 0) {
				t.Errorf("%d changed in %d groups", r.Changed, len(r.Changes))
			}
		})
	}
}

// A log that was written under one policy does not say everything that another asks for. Nothing is guessed.
func TestReplayDoesNotGuess(t *testing.T) {
	was := load(t, example(t))
	with := func(pairs ...string) *policy.Policy { return load(t, edit(t, example(t), pairs...)) }
	line := func(n int) string { return logLine(t, was, "x", asks()[n]) }
	for _, tt := range []struct {
		name string
		next *policy.Policy
		line string
		want string // the reason; empty: it is decided
	}{
		{"a claim that was not recorded", with("groups: search-eng", "groups: search-eng, level: 3"), line(0), "claim not recorded: level"},
		{"a claim that was asked for and absent", was, line(6), ""},
		{"a body that was not asked for", with("models: [gemini-2.5-*, text-embedding-*]", "models: gemini-2.5-*\n    body: { tools: none }"), line(0), "the body was not recorded"},
		{"a body that was not asked for, of a rule that is not met", with("models: [gemini-2.5-*, text-embedding-*]", "models: gemini-3-*\n    body: { tools: none }"), line(0), ""},
		{"a body that was refused as cut", was, edit(t, line(4), `"body":"none"`, `"body":"truncated"`), ""},
		{"a body of another call", was, edit(t, line(2), `"shape":"gemini"`, `"shape":"openai"`), "the body was not recorded in a known form"},
		{"a body with a field of later", was, edit(t, line(2), `"bytes":`, `"new":1,"bytes":`), "the body was not recorded in a known form"},
		{"no issuer", was, edit(t, line(0), `"issuer":"corp",`, ``), "the caller was not recorded"},
		{"an issuer that is gone", was, edit(t, line(0), `"issuer":"corp",`, `"issuer":"crop",`), ""},
		{"claims that are none", was, edit(t, line(0), `"claims":{`, `"claims":7,"x":{`), "the claims were not recorded in a known form"},
		{"a target that was cut", was, edit(t, line(0), ":generateContent", ":gen"), "the call cannot be read again"},
		{"a subject that is masked and does not count", was, edit(t, line(0), `"subject":"s"`, `"masked":["subject"]`), ""},
		{"a subject that is masked and counts", with("    allow: search\n", "    allow: search\n    percent: 50\n"), edit(t, line(0), `"subject":"s"`, `"masked":["subject"]`), "masked: subject"},
		{"a claim that is masked", was, edit(t, line(0), `"subject"`, `"masked":["claims.groups"],"subject"`), "masked: claims.groups"},
		{"a claim that is masked and does not count", was, edit(t, line(0), `"subject"`, `"masked":["claims.email","user_agent"],"subject"`), ""},
		{"no time, and it counts", with("    allow: search\n", "    allow: search\n    active: { days: mon-fri }\n"), edit(t, line(0), `"time":"2026-11-23T12:00:00Z",`, ``), "the time was not recorded"},
		{"no time, and it does not count", was, edit(t, line(0), `"time":"2026-11-23T12:00:00Z",`, ``), ""},
		{"no address, and it counts", with("    allow: search\n", "    allow: search\n    when: inNetwork(ip, \"10.0.0.0/8\")\n"), edit(t, line(0), `"src":"10.0.0.1",`, ``), "the caller's address was not recorded"},
		{"an address, and it counts", with("    allow: search\n", "    allow: search\n    when: inNetwork(ip, \"10.0.0.0/8\")\n"), line(0), ""},
		{"no line", was, "hello\n", "not a line of the audit log"},
		{"half a line", was, line(0)[:100], "not a line of the audit log"},
		{"a line that is too long", was, `{"v":1,"decision":"allow","x":"` + strings.Repeat("y", maxLine) + `"}` + "\n", "not a line of the audit log"},
		{"a line of a later version", was, edit(t, line(0), `"v":1`, `"v":2`), "a line of another version"},
		{"a line without a decision", was, `{"v":1,"id":"x"}`, "not a line of the audit log"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := replayed(t, tt.next, Options{}, tt.line)
			switch {
			case r.Lines != 1:
				t.Errorf("%d lines, want 1", r.Lines)
			case tt.want == "" && (r.Decided != 1 || len(r.Unknown) > 0):
				t.Errorf("not decided again: %+v", r.Unknown)
			case tt.want != "" && (r.Decided != 0 || len(r.Unknown) != 1 || r.Unknown[0].What != tt.want):
				t.Errorf("got %+v, want %q", r.Unknown, tt.want)
			}
		})
	}
}

// With the policy of then, what it used and a line does not hold was absent.
func TestReplayKnowsWhatWasAbsent(t *testing.T) {
	was := load(t, example(t))
	line := edit(t, logLine(t, was, "x", asks()[6]), `"environment":null,`, ``)
	if r := replayed(t, was, Options{}, line); r.Decided != 0 {
		t.Errorf("a claim that may have been there: decided %d, want 0", r.Decided)
	}
	if r := replayed(t, was, Options{Was: was}, line); r.Decided != 1 || r.Changed != 0 {
		t.Errorf("with the policy of then: %+v, want it decided alike", r)
	}
	other := edit(t, line, was.Digest(), strings.Repeat("0", 64))
	if r := replayed(t, was, Options{Was: was}, other); r.Decided != 0 {
		t.Errorf("a line of a third policy: decided %d, want 0", r.Decided)
	}
}

// What a policy had no part in it is not asked again.
func TestReplayLeavesAloneWhatNoPolicyDecided(t *testing.T) {
	p := load(t, example(t))
	line := logLine(t, p, "x", asks()[0])
	deny := func(reason, rest string) string {
		return `{"v":1,"time":"2026-11-23T12:00:00Z","id":"x","decision":"deny","reason":"` + reason + `"` + rest + "}\n"
	}
	minted := edit(t, line, `"decision":"allow"`, `"decision":"deny"`, `"issuer"`, `"reason":"IAM_DENIED","issuer"`)
	surface := edit(t, line, `"decision":"allow"`, `"decision":"deny"`, `"issuer"`, `"reason":"SURFACE_OFF","issuer"`, `"rule":"search-gemini",`, ``,
		"publishers/google/models/gemini-2.5-flash:generateContent", "cachedContents")
	r := replayed(t, p, Options{}, deny("TOKEN_EXPIRED", "")+deny("BAD_TARGET", `,"issuer":"corp"`)+deny("SURFACE_OFF", `,"http_method":"POST","uri":"/upload"`)+
		deny("TOKEN_EXPIRED", "")+minted+surface)
	want := []Count{{"TOKEN_EXPIRED", 2, []string{"x", "x"}}, {"BAD_TARGET", 1, []string{"x"}}, {"SURFACE_OFF", 1, []string{"x"}}}
	if diff := cmp.Diff(want, r.Elsewhere); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if r.Decided != 2 || r.Changed != 0 {
		t.Errorf("got %+v, want two decided again alike: one for which a token could not be had, and one that is switched off", r)
	}
}

// The result does not depend on how many work at it, and there is no line whose end decides about another.
func TestReplayInAnyNumberOfHands(t *testing.T) {
	p, next := load(t, example(t)), load(t, edit(t, example(t), "groups: support", "groups: helpdesk", "as: vx-ci", "as: vx-build"))
	log := logOf(t, p, 300) + "\n\n" + strings.TrimSuffix(logLine(t, p, "last", asks()[0]), "\n")
	want := replayed(t, next, Options{Workers: 1, Samples: 5}, log)
	if want.Changed == 0 || want.Lines != 300*len(asks())+1 {
		t.Fatalf("got %+v", want)
	}
	for _, workers := range []int{2, 7} {
		if diff := cmp.Diff(want, replayed(t, next, Options{Workers: workers, Samples: 5}, log)); diff != "" {
			t.Errorf("%d workers: %s", workers, diff)
		}
	}
	r := NewReplay(next, Options{Samples: 5})
	if err := r.Read("log0", iotest.OneByteReader(strings.NewReader(log[:100_000]))); err != nil {
		t.Fatal(err)
	}
	if got := r.Report(); got.Lines == 0 || len(got.Unknown) != 1 || got.Unknown[0].Samples[0] != fmt.Sprintf("log0:%d", got.Lines) {
		t.Errorf("a log that ends in the middle: %+v", got.Unknown)
	}
}

func TestReplayOfALogThatCannotBeRead(t *testing.T) {
	p := load(t, example(t))
	r := NewReplay(p, Options{})
	broken := errors.New("disk on fire")
	err := r.Read("audit.jsonl", io.MultiReader(strings.NewReader(logLine(t, p, "x", asks()[0])), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "audit.jsonl") {
		t.Errorf("got %v, want an error that names the log", err)
	}
	if got := r.Report().Decided; got != 1 {
		t.Errorf("%d decided before it, want 1", got)
	}
}

// A log whose lines all change otherwise does not fill the memory.
func TestReplayKeepsABoundedNumberOfGroups(t *testing.T) {
	p := load(t, example(t))
	line := logLine(t, p, "x", asks()[0])
	var b strings.Builder
	for i := range maxGroups + 500 {
		b.WriteString(strings.Replace(line, "vx-search@", "vx-"+strconv.Itoa(i)+"@", 1))
	}
	r := replayed(t, p, Options{}, b.String())
	if r.Changed != maxGroups+500 || len(r.Changes) > maxGroups+1 {
		t.Errorf("%d changed in %d groups, want %d in at most %d", r.Changed, len(r.Changes), maxGroups+500, maxGroups+1)
	}
	sum := 0
	for _, c := range r.Changes {
		sum += c.Count
	}
	if sum != r.Changed {
		t.Errorf("the groups have %d, want %d", sum, r.Changed)
	}
}

func FuzzRecord(f *testing.F) {
	p := load(f, example(f))
	for _, a := range asks() {
		f.Add([]byte(logLine(f, p, "x", a)))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r := NewReplay(p, Options{Workers: 1})
		if err := r.Read("log", bytes.NewReader(line)); err != nil {
			t.Fatal(err)
		}
		got := r.Report()
		counted := got.Decided
		for _, c := range append(got.Unknown, got.Elsewhere...) {
			counted += c.Count
		}
		if counted != got.Lines {
			t.Errorf("%d lines, of which %d are counted", got.Lines, counted)
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	p := load(b, example(b))
	log := logOf(b, p, 2000)
	next := load(b, edit(b, example(b), "groups: support", "groups: helpdesk"))
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	lines := 0
	for b.Loop() {
		lines += replayed(b, next, Options{}, log).Lines
	}
	b.ReportMetric(float64(lines)/b.Elapsed().Seconds(), "lines/s")
}

// What became of a call stands in the same log, and is no decision.
func TestReplayPassesOverOtherEvents(t *testing.T) {
	p := load(t, example(t))
	line := logLine(t, p, "x", asks()[0])
	log := edit(t, line, `{"v":1`, `{"v":1,"event":"decision"`) +
		`{"v":1,"event":"closing","time":"2026-11-23T12:00:01Z","id":"x","attempt":1,"st":200}` + "\n" +
		`{"v":1,"event":"undelivered","time":"2026-11-23T12:00:01Z","id":"x","attempt":1}` + "\n"
	r := replayed(t, p, Options{}, log)
	if r.Lines != 1 || r.Decided != 1 || len(r.Unknown) > 0 {
		t.Errorf("got %+v, want one line, decided", r)
	}
}
