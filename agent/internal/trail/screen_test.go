package trail

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/audit"
)

func TestScreenShowsALineForEachEvent(t *testing.T) {
	r := allow("r1", 1)
	r.MintMicros, r.Flags = 41_200, []string{"new_model"}
	again := *r
	again.Attempt, again.Flags, again.MintMicros = 2, nil, 0
	no := allow("r2", 2, subject(""), denied("TOKEN_EXPIRED"))
	no.Issuer, no.Detail = "", "2m ago"
	c := end(r, used(10, 20))
	c.Status, c.Termination = -1, "CD"
	lines := text(t, r, &again, no, c, end(r, nil), &audit.Undelivered{Time: at(3), ID: "r1", Attempt: 1}, &audit.Closing{Time: at(4), ID: "r1", Attempt: 1, Missing: true})
	want := `2026-11-23 00:00:01.000Z allow  200 alice (corp)             gemini-2.5-pro@europe-west1:generateContent role=search rule=search-gemini as=vx-search@acme-ai.iam.gserviceaccount.com mint=41ms !new_model id=r1
2026-11-23 00:00:01.000Z allow  200 alice (corp)             gemini-2.5-pro@europe-west1:generateContent role=search rule=search-gemini as=vx-search@acme-ai.iam.gserviceaccount.com id=r1#2
2026-11-23 00:00:02.000Z deny   403 -                        gemini-2.5-pro@europe-west1:generateContent TOKEN_EXPIRED 2m ago role=search from=192.0.2.7 id=r2
2026-11-23 00:00:03.000Z closed -   alice (corp)             gemini-2.5-pro@europe-west1:generateContent took=1.5s in=10 out=20 bytes=900 term=CD id=r1
2026-11-23 00:00:03.000Z closed 200 alice (corp)             gemini-2.5-pro@europe-west1:generateContent took=1.5s in=unknown out=unknown bytes=900 id=r1
2026-11-23 00:00:03.000Z undelivered -   -                        -                                HAProxy has not had the answer id=r1
2026-11-23 00:00:04.000Z missing -   -                        -                                HAProxy has not told the end of the call id=r1
`
	if diff := cmp.Diff(want, screened(t, lines, false)); diff != "" {
		t.Error(diff)
	}
	coloured := screened(t, lines, true)
	if !strings.Contains(coloured, "\x1b[32mallow \x1b[0m") || !strings.Contains(coloured, "\x1b[31mdeny  \x1b[0m") {
		t.Errorf("got %q", coloured)
	}
}

func screened(t *testing.T, lines string, colour bool) string {
	t.Helper()
	var b strings.Builder
	s := NewScreen(&b, colour)
	p := newParser()
	for one := range strings.Lines(lines) {
		l, err := p.parse([]byte(strings.TrimSpace(one)))
		if err != nil {
			t.Fatalf("%s: %v", one, err)
		}
		if err := s.Show(eventOf(l)); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestCleanLeavesNothingThatMovesATerminal(t *testing.T) {
	for text, want := range map[string]string{
		"alice@example.com":    "alice@example.com",
		"日本 é ñ 😀":             "日本 é ñ 😀",
		"\x1b[31mred":          `\x1b[31mred`,
		"a\rb\nc\td\x00\x7f":   `a\x0db\x0ac\x09d\x00\x7f`,
		"\u009b31m":            `\x9b31m`,
		"\u202egnp.exe\u2028":  `\u202egnp.exe\u2028`,
		"\U000e0041":           `\U000e0041`,
		"\xff\x1b":             `\xff\x1b`,
		"\ufffd":               "\ufffd",
		"\ufeff":               `\ufeff`,
		strings.Repeat("x", 9): "xxxxxxxxx",
	} {
		if got := Clean(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b]0;x\x07\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsGraphic(r) }) || Clean(got) != got {
			t.Fatalf("%q: got %q", s, got)
		}
		var b bytes.Buffer
		if err := WriteJSON(&b, s); err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(b.Bytes(), &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Fatalf("%q: got %q, %v", s, b.String(), err)
		}
		if strings.ContainsFunc(strings.TrimSuffix(b.String(), "\n"), func(r rune) bool { return !unicode.IsGraphic(r) }) {
			t.Fatalf("%q: got %q", s, b.String())
		}
	})
}

// Whatever a file says, no event writes anything to a terminal but text and the screen's own colours.
func TestNoFileWritesToATerminal(t *testing.T) {
	const evil = "\x1b]0;owned\x07\u009b2J\r\n\u202e"
	r := &audit.Record{
		Time: at(1), ID: evil, Attempt: 1, Decision: "deny", Status: 403, Reason: evil, Detail: evil, Issuer: evil, Subject: evil, Source: evil,
		URI: evil, Project: evil, Location: evil, Publisher: evil, Model: evil, Endpoint: evil, Method: evil, Role: evil, Rule: evil, Account: evil, Flags: []string{evil},
	}
	a := *r
	a.Decision, a.Reason = "allow", ""
	c := end(&a, nil)
	c.Termination, c.Flags = evil, []string{evil}
	lines := text(t, r, &a, c)
	shown := screened(t, lines, false)
	by := Dimensions()
	answer := askText(t, Question{By: by}, lines+evil+"\n")
	var table, data strings.Builder
	if err := answer.WriteText(&table, Calls, First); err != nil {
		t.Fatal(err)
	}
	if err := answer.WriteJSON(&data); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{shown, table.String(), data.String(), answer.Notes.Text()} {
		if strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }) {
			t.Errorf("got %q", out)
		}
	}
}
