package status

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"vertex-spoa/agent/internal/audit"
)

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

// hostile is what a caller or the admin of another party might write.
const hostile = "</title></textarea></pre></style><script>alert(1)</script>\"'` onload=x \u202ecod.exe\u2066 \x00\x1b[31m\xff {{.}} <!--"

// busy is a state with something in every place.
func busy(now time.Time, text string) State {
	return State{
		Now: now, Started: now.Add(-26 * time.Hour), Version: text, Ready: true, Listening: true, WarmedUp: true, Policy: text,
		Reloads:  []Reload{{Time: now, Digest: text, Error: text}, {Time: now.Add(-time.Hour), Digest: text}},
		Issuers:  []Issuer{{Name: "corp", Usable: true, Keys: 2, Age: time.Minute}, {Name: text, Keys: 1, Dropped: 1, Age: 90 * time.Minute, NextRefresh: time.Minute, Failures: 1234567, Error: text}},
		Own:      Account{Name: text, Expiry: now.Add(50 * time.Minute), Minted: now.Add(-7 * time.Minute), Kept: true},
		Accounts: []Account{{Name: text, Reason: text, Error: text, Fix: text}},
		Rules:    []Rule{{Name: text, Effect: "allow", Roles: []string{text}, Mode: text, At: text, Allowed: 12, Denied: 3}, {Name: text, Effect: "deny", Roles: []string{text}, At: text}, {Name: text, Allowed: 1}},
		Denials:  []Denial{{Reason: text, Count: 3}},
		Tiles:    []Tile{{Name: text, Value: text, Note: text, Bad: true}},
		Counters: []Counter{{Name: text, Labels: text, Value: text, Help: text}},
		Warnings: []string{text},
	}
}

func newPage(t testing.TB, state State, explain func(context.Context, Question) (string, error)) (*Page, *Recorder) {
	t.Helper()
	r := newRecorder(t, 0, noMask)
	p, err := New(Config{State: func() State { return state }, Recorder: r, Explain: explain})
	if err != nil {
		t.Fatal(err)
	}
	return p, r
}

func get(t testing.TB, p *Page, query string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, httptest.NewRequest("GET", "/"+query, nil))
	return rec
}

func TestNewRefusesMissingParts(t *testing.T) {
	r := newRecorder(t, 0, noMask)
	for _, cfg := range []Config{{}, {Recorder: r}, {State: func() State { return State{} }}} {
		if p, err := New(cfg); err == nil || p != nil {
			t.Errorf("New(%+v) = %v, %v; want an error", cfg, p, err)
		}
	}
}

func TestNothingFromOutsideIsMarkup(t *testing.T) {
	p, r := newPage(t, busy(time.Now(), hostile), func(context.Context, Question) (string, error) { return hostile, errors.New(hostile) })
	r.Decided(&audit.Record{
		Time: time.Now(), ID: hostile, Decision: hostile, Reason: hostile, Detail: hostile, Issuer: hostile, Subject: hostile, Source: hostile, Model: hostile,
		Method: hostile, Location: hostile, Project: hostile, Role: hostile, Rule: hostile, Account: hostile, Shadow: []string{hostile}, Overridden: []string{hostile}, Flags: []string{hostile},
	})
	r.Decided(&audit.Record{ID: "2", Decision: "deny", HTTPMethod: hostile, URI: hostile})
	all := url.Values{"call": {hostile}, "claims": {`{"sub":"a"}`}, "body": {hostile}}
	for _, name := range []string{"issuer", "caller", "role", "subject", "reason", "rule"} {
		all.Set(name, hostile)
	}
	claims := url.Values{"call": {"/v1"}, "issuer": {"corp"}, "claims": {hostile}}
	for name, query := range map[string]string{"plain": "", "everything": "?" + all.Encode(), "claims": "?" + claims.Encode()} {
		rec := get(t, p, query)
		got := rec.Body.String()
		if rec.Code != 200 {
			t.Errorf("%s: status %d", name, rec.Code)
		}
		for _, bad := range []string{"<script", "</textarea></pre>", "onload=x \"", "\u202e", "\u2066", "\x00", "\x1b", "\xff", "<!--", "ZgotmplZ"} {
			if at := strings.Index(got, bad); at >= 0 && !inAttribute(got, at, bad) {
				t.Errorf("%s: %q is in the page: …%q…", name, bad, got[max(0, at-80):min(len(got), at+80)])
			}
		}
	}
}

// inAttribute says whether the characters stand in the value of a form's field, where they go back as they came and are never shown as
// text of the page's own.
func inAttribute(page string, at int, what string) bool {
	if what != "\u202e" && what != "\u2066" && what != "\x1b" {
		return false
	}
	before := page[:at]
	return strings.LastIndex(before, ` value="`) > strings.LastIndexByte(before, '>') || strings.LastIndex(before, "<textarea") > strings.LastIndex(before, "</textarea")
}

func TestThePageIsLockedDown(t *testing.T) {
	p, _ := newPage(t, busy(time.Now(), "x"), nil)
	rec := get(t, p, "")
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(rec.Body.String())
	if style == nil {
		t.Fatal("the page has no style")
	}
	hash := sha256.Sum256([]byte(style[1]))
	csp := rec.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("Content-Security-Policy %q lacks %s", csp, want)
		}
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
		"Cross-Origin-Resource-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8",
	} {
		if got := rec.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, bad := range []string{"<script", "<img", "<iframe", "style=\"", "http://", "https://", "url(", "@import", `method="post"`} {
		if strings.Contains(rec.Body.String(), bad) {
			t.Errorf("the page has %s", bad)
		}
	}
}

func TestThePageSaysHowItIs(t *testing.T) {
	now := time.Now()
	fine := State{Now: now, Started: now, Ready: true, Listening: true, WarmedUp: true, Policy: "abc", Own: Account{Name: "me", Expiry: now.Add(time.Hour)}}
	for _, tt := range []struct {
		name   string
		change func(*State)
		title  string
		want   string
	}{
		{"all is well", func(*State) {}, "ready", ""},
		{"the socket is closed", func(s *State) { s.Ready, s.Listening = false, false }, "not ready", "the SPOP socket is not open"},
		{"it warms up", func(s *State) { s.Ready, s.WarmedUp = false, false }, "not ready", "the first keys and tokens are not there yet"},
		{"an issuer is down", func(s *State) { s.Issuers = []Issuer{{Name: "corp"}} }, "degraded", "issuer corp: its callers cannot be verified"},
		{"a reload was refused", func(s *State) { s.Reloads = []Reload{{Error: "bad"}} }, "degraded", "the last attempt to load a policy was refused"},
		{"a reload before was refused", func(s *State) { s.Reloads = []Reload{{}, {Error: "bad"}} }, "ready", ""},
		{"an account fails", func(s *State) { s.Accounts = []Account{{Name: "vx", Reason: "ACCOUNT_FORBIDDEN"}} }, "degraded", "account vx: ACCOUNT_FORBIDDEN"},
		{"the agent itself fails", func(s *State) { s.Own.Reason = "CREDENTIALS_UNAVAILABLE" }, "degraded", "account me: CREDENTIALS_UNAVAILABLE"},
		{"something else is wrong", func(s *State) { s.Warnings = []string{"the audit log is full"} }, "degraded", "the audit log is full"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fine
			tt.change(&s)
			p, _ := newPage(t, s, nil)
			got := get(t, p, "").Body.String()
			if !strings.Contains(got, "<title>"+tt.title+" · vertex-spoa</title>") || !strings.Contains(got, tt.want) || (tt.want == "") == strings.Contains(got, "What is wrong") {
				t.Errorf("want title %q and %q in\n%s", tt.title, tt.want, got)
			}
		})
	}
}

func TestTheQuery(t *testing.T) {
	explain := func(_ context.Context, q Question) (string, error) {
		return "EXPLAINED " + q.Method + " " + q.Target, nil
	}
	p, r := newPage(t, busy(time.Now(), "x"), explain)
	r.Decided(&audit.Record{ID: "id-allowed", Subject: "alice", Decision: "allow", Rule: "search"})
	r.Decided(&audit.Record{ID: "id-denied", Subject: "bob", Decision: "deny", Reason: "NO_RULE"})
	for _, tt := range []struct {
		query string
		want  []string // in the page; those that begin with ! are not
	}{
		{"", []string{"id-allowed", "id-denied", `http-equiv="refresh" content="10"`, `<option value="corp">`}},
		{"?decision=deny", []string{"!id-allowed", "id-denied", "show all"}},
		{"?subject=ali", []string{"id-allowed", "!id-denied", `name="subject" value="ali"`}},
		{"?subject=carol", []string{"!id-allowed", "none that match"}},
		{"?n=1", []string{"!id-allowed", "id-denied"}},
		{"?refresh=60", []string{`content="60"`, `href="?refresh=5"`}},
		{"?refresh=0", []string{"!http-equiv"}},
		{"?rule=search&n=9", []string{`href="?n=9&amp;refresh=5&amp;rule=search"`}},
		{"?unknown=1", []string{"id-allowed"}},
		{"?call=/v1/x&issuer=corp", []string{"EXPLAINED POST /v1/x", "!http-equiv", `<option value="corp" selected>`}},
		{"?call=GET+/v1/x+HTTP/1.1&issuer=corp&refresh=5", []string{"EXPLAINED GET /v1/x", `content="5"`}},
		{"?issuer=corp", []string{"which call?", "!EXPLAINED"}},
		{"?call=/v1/x", []string{"who calls?", "!EXPLAINED"}},
		{"?call=%22/v1/x&issuer=corp", []string{"EXPLAINED POST &#34;/v1/x"}},
		{"?call=/v1/x&issuer=corp&claims=[]", []string{"no JSON object", "!EXPLAINED"}},
		{"?call=/v1/x&issuer=corp&claims=null", []string{"no JSON object", "!EXPLAINED"}},
		{"?call=/v1/x&issuer=corp&ip=1.2.3", []string{"no IP address", "!EXPLAINED"}},
		{"?call=po%20st%20/v1&issuer=corp", []string{"no HTTP method", "!EXPLAINED"}},
		{"?call=/v1/" + strings.Repeat("x", MaxTarget) + "&issuer=corp", []string{"longer than can be explained", "!EXPLAINED"}},
	} {
		rec := get(t, p, tt.query)
		_, main, _ := strings.Cut(rec.Body.String(), "</style>")
		for _, want := range tt.want {
			unwanted, isUnwanted := strings.CutPrefix(want, "!")
			if rec.Code != 200 || strings.Contains(rec.Body.String(), unwanted) == isUnwanted {
				t.Errorf("%.80s: status %d, want %s in\n%s", tt.query, rec.Code, want, main)
			}
		}
	}
	for _, query := range []string{"?n=0", "?n=1e9", "?decision=maybe", "?refresh=1", "?refresh=-5", "?refresh=3601", "?refresh=99999999999999999999", "?refresh=9223372036", "?subject=" + strings.Repeat("s", MaxName+1)} {
		if rec := get(t, p, query); rec.Code != 400 {
			t.Errorf("%s: status %d, want 400", query, rec.Code)
		}
	}
}

func TestAPageWithoutTheFormAsksNobody(t *testing.T) {
	p, _ := newPage(t, State{}, nil)
	if got := get(t, p, "?call=/v1/x&issuer=corp").Body.String(); strings.Contains(got, "Explain a decision") || strings.Contains(got, `href="#explain"`) {
		t.Errorf("the form is in\n%s", got)
	}
}

func TestExplanationsAreBounded(t *testing.T) {
	block, begun := make(chan struct{}), make(chan struct{}, maxExplaining)
	p, _ := newPage(t, State{}, func(ctx context.Context, _ Question) (string, error) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > explainTime {
			t.Error("an explanation has no deadline")
		}
		begun <- struct{}{}
		<-block
		return strings.Repeat("x", maxText+100), nil
	})
	done := make(chan string, maxExplaining)
	for range maxExplaining {
		go func() { done <- get(t, p, "?call=/v1/x&issuer=corp").Body.String() }()
	}
	for range maxExplaining {
		<-begun
	}
	if got := get(t, p, "?call=/v1/x&issuer=corp").Body.String(); !strings.Contains(got, "ask again") {
		t.Errorf("one more is not told to ask again:\n%s", got)
	}
	close(block)
	for range maxExplaining {
		if got := <-done; strings.Count(got, "x") < maxText || strings.Contains(got, strings.Repeat("x", maxText+1)) {
			t.Errorf("an explanation has %d bytes, want one that is cut", len(got))
		}
	}
}

func TestReadRequestLine(t *testing.T) {
	for line, want := range map[string][2]string{
		"":                                {"POST", ""},
		"/v1/a":                           {"POST", "/v1/a"},
		"POST /v1/a":                      {"POST", "/v1/a"},
		" GET  /v1/a?b=c  HTTP/1.1 ":      {"GET", "/v1/a?b=c"},
		"https://vertex.example.com/v1/a": {"POST", "https://vertex.example.com/v1/a"},
		"GET /v1/a b HTTP/2":              {"GET", "/v1/a b"},
		"HTTP/1.1":                        {"POST", ""},
	} {
		if method, target := readRequestLine(line); method != want[0] || target != want[1] {
			t.Errorf("%q: got %q %q, want %q", line, method, target, want)
		}
	}
}

func TestFigures(t *testing.T) {
	for got, want := range map[string]string{
		count(0): "0", count(999): "999", count(1000): "1\u202f000", count(1234567): "1\u202f234\u202f567", count(-1234): "-1\u202f234",
		size(9999): "9\u202f999 B", size(10_000): "10 kB", size(12_345_678): "12 MB",
		span(0): "0 s", span(61 * time.Second): "1 min 1 s", span(-5 * time.Second): "−5 s", span(3*time.Hour + 62*time.Second): "3 h 1 min", span(49 * time.Hour): "2 d 1 h",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// No query makes the page fail or lets markup through.
func FuzzPage(f *testing.F) {
	p, r := newPage(f, busy(time.Unix(1e9, 0), "x"), func(_ context.Context, q Question) (string, error) { return q.Target + q.Claims, nil })
	r.Decided(&audit.Record{ID: "1", Decision: "allow", Subject: "alice"})
	for _, seed := range []string{"", "n=1&subject=a", "call=POST+/v1/x&issuer=corp&claims={}&body=<script>", "refresh=5&rule=%00%ff", "%zz", "call=<script>&issuer=</pre>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		req := httptest.NewRequest("GET", "/", nil)
		req.URL.RawQuery = query
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, req)
		got := rec.Body.String()
		switch {
		case rec.Code == 400:
		case rec.Code != 200:
			t.Errorf("%q: status %d", query, rec.Code)
		case strings.Contains(got, "<script") || strings.Count(got, "<form") != 2 || strings.Count(got, "<pre>") > 1 || strings.Count(got, "</html>") != 1:
			t.Errorf("%q changes the page:\n%s", query, got)
		}
	})
}

func BenchmarkPage(b *testing.B) {
	p, r := newPage(b, busy(time.Now(), "some text"), nil)
	for range DefaultDecisions {
		r.Decided(&audit.Record{ID: "id", Decision: "deny", Subject: "alice", Reason: "NO_RULE", URI: "/v1/projects"})
	}
	b.ReportAllocs()
	for b.Loop() {
		get(b, p, "")
	}
}

func TestAPolicyOfAnySizeFitsOnThePage(t *testing.T) {
	state := State{Now: time.Now(), Ready: true, Listening: true, WarmedUp: true}
	for i := range 10_000 {
		name := fmt.Sprintf("r%d", i)
		state.Rules = append(state.Rules, Rule{Name: name, Effect: "allow", Roles: []string{name}, Allowed: uint64(i % 2 * i)})
		state.Issuers = append(state.Issuers, Issuer{Name: name, Usable: i != 9_999})
		state.Accounts = append(state.Accounts, Account{Name: name, Kept: true, Reason: "ACCOUNT_FORBIDDEN"})
	}
	state.Warnings = []string{"the audit log is stuck"}
	p, _ := newPage(t, state, nil)
	got := get(t, p, "").Body.String()
	if len(got) > 400_000 {
		t.Errorf("the page has %d bytes", len(got))
	}
	for _, want := range []string{"r9999", "and 4\u202f700 more", "and 9\u202f700 more", "issuer r9999: its callers cannot be verified", "<li>the audit log is stuck", "and 9\u202f952 more"} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestALongExplanationHasItsEnd(t *testing.T) {
	const line = "allow     ✗ some-rule: models: gemini-2.5-flash matches none of […]\n"
	p, _ := newPage(t, State{Now: time.Now()}, func(context.Context, Question) (string, error) {
		return "caller    alice\n" + strings.Repeat(line, 10_000) + "decision  allow\n", nil
	})
	got := html.UnescapeString(get(t, p, "?call=/v1/x&issuer=corp").Body.String())
	for _, want := range []string{"<pre>caller    alice\n", "\ndecision  allow\n", "\n… left out: 9", strings.Repeat(line, 100)} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(got, line); n*len(line) > maxText {
		t.Errorf("the page has %d lines", n)
	}
}

// How a call has ended stands beside it, with the tokens that are known.
func TestThePageSaysWhatACallHasUsed(t *testing.T) {
	p, r := newPage(t, State{}, nil)
	for id, usage := range map[string]*audit.Usage{
		"both":    {Input: 1234, Output: 0, Thoughts: -1, Cached: -1, Total: -1},
		"partial": {Input: -1, Output: 77, Thoughts: -1, Cached: -1, Total: -1},
		"unknown": nil,
	} {
		r.Decided(&audit.Record{ID: id, Attempt: 1, Decision: "allow", Model: id})
		r.Closed(&audit.Closing{ID: id, Attempt: 1, Status: 200, ActiveMS: 12, BytesOut: 345, Usage: usage})
	}
	text := html.UnescapeString(get(t, p, "").Body.String())
	for _, want := range []string{"12 ms, 345 B", "tokens 1\u202f234 in 0 out", "tokens 77 out"} {
		if !strings.Contains(strings.Join(strings.Fields(strings.ReplaceAll(text, "\u202f", "NNBSP")), " "), strings.ReplaceAll(want, "\u202f", "NNBSP")) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(text, "<small>tokens "); n != 2 || strings.Contains(text, "0xc") {
		t.Errorf("%d calls have tokens, want 2", n)
	}
}

// Of each account the page tells how old its token is and how long it is good.
func TestThePageSaysHowOldATokenIs(t *testing.T) {
	now := time.Now()
	p, _ := newPage(t, State{Now: now, Own: Account{Name: "me", Minted: now.Add(-7 * time.Minute), Expiry: now.Add(53 * time.Minute)}, Accounts: []Account{{Name: "vx"}}}, nil)
	text := html.UnescapeString(get(t, p, "").Body.String())
	_, accounts, _ := strings.Cut(text, `id="accounts-title"`)
	for _, want := range []string{`<td class="n">7 min 0 s</td>`, ">53 min 0 s</span>", `<td class="n">–</td><td class="n"><span class="warn">none</span>`} {
		if !strings.Contains(accounts, want) {
			t.Errorf("the page lacks %q:\n%.1500s", want, accounts)
		}
	}
}
