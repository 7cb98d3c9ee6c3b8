package trail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vertex-spoa/agent/internal/audit"
)

const wholeLine = `{"v":1,"event":"decision","time":"2026-11-23T12:00:00.000001Z","id":"r1","attempt":2,"decision":"allow","status":200,"issuer":"corp","subject":"alice","src":"192.0.2.1","http_method":"POST","uri":"/v1/x","uri_asked":"/v1/y","project":"acme-ai","location":"europe-west1","publisher":"google","model":"gemini-2.5-pro","method":"generateContent","stream":true,"role":"search","rule":"r","account":"a@b","claims":{"groups":["x",{"y":[1.5e3,-0,null,true,false]}]},"body":{"shape":"gemini","model":"m"},"flags":["new_model"],"t_verify":1,"t_policy":2,"t_mint":3}`

// seeds are lines of all kinds, and what may be mistaken for one.
func seeds() []string {
	return []string{
		wholeLine,
		`{"v":1,"event":"closing","time":"2026-11-23T12:00:00Z","id":"r1","attempt":1,"decided":"2026-11-23T11:00:00.5+01:00","st":200,"term":"--","bytes_in":1,"bytes_out":9223372036854775807,"t_active":-1,"usage":{"input":1,"output":2,"thoughts":3,"cached":4,"total":5}}`,
		`{"v":1,"event":"closing","time":"2026-11-23T12:00:00Z","usage":"unknown","unjoined":true}`,
		`{"v":1,"event":"undelivered","time":"2026-11-23T12:00:00Z","id":"","attempt":null}`,
		`{"v":2,"time":"2026-11-23T12:00:00Z"}`,
		`{"v":1,"event":"decision","time":"2026-02-29T12:00:00.000000Z","decision":"allow"}`,
		` { "v" : 1 , "subject" : "\u0041\ud83d\ude00\ud800x\udc00\n\/\"\\" , "time":"2026-11-23T12:00:00.000000Z","decision":"deny" } `,
		"{\"v\":1,\"subject\":\"a\xffb\xc3\xa9\u2028\",\"time\":\"2026-11-23T12:00:00.000000Z\",\"decision\":\"deny\"}",
		`{"v":1.0}`, `{"v":01}`, `{"v":-}`, `{"v":1e2}`, `{"v":9223372036854775808}`, `{"v":-9223372036854775808}`, `{"v":-9223372036854775809}`,
		`{"v":1,"v":2}`, `{"subject":1,"subject":"x"}`, `{"\u0076":1,"time":"2026-11-23T12:00:00Z","decision":"deny"}`,
		`{}`, `[]`, `null`, `"x"`, ``, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,}`, `{"a":1}}`, `{"a":tru}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, "{\"a\":\"\x01\"}", `{"a":[1,]}`,
		`{"a":"` + strings.Repeat("x", 100) + `\"` + strings.Repeat("é", 10) + `"}`,
		strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50),
	}
}

// oracle is what encoding/json reads in a line: of two members of one name the last, as here.
type oracle map[string]json.RawMessage

// into decodes a member, and reports whether it has the type of to, or is absent.
func (o oracle) into(name string, to any) bool {
	raw, ok := o[name]
	return !ok || json.Unmarshal(raw, to) == nil
}

// FuzzScan: what encoding/json takes the parser takes, with the same values, unless it contradicts the schema; and nothing else.
func FuzzScan(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Add([]byte(`"\ud83d\ude00\ud800\u0000é\xff"`))
	f.Add([]byte(`-9223372036854775808`))
	f.Add([]byte(`{"input":1,"output":null,"total":5.0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.IndexByte(b, '\n') >= 0 {
			return
		}
		scanAlike(t, b)
		const head = `{"v":1,"time":"2026-11-23T12:00:00.000000Z","decision":"deny",`
		var text *string
		if err := scanAlike(t, fmt.Appendf(nil, `%s"subject":%s}`, head, b)); err != nil && json.Unmarshal(b, &text) == nil {
			t.Fatalf("%q is a string, got %v", b, err)
		}
		var n *int64
		if err := scanAlike(t, fmt.Appendf(nil, `%s"bytes_in":%s}`, head, b)); err != nil && json.Unmarshal(b, &n) == nil {
			t.Fatalf("%q is a number, got %v", b, err)
		}
		if err := scanAlike(t, fmt.Appendf(nil, `%s"claims":%s}`, head, b)); err != nil && json.Valid(b) {
			t.Fatalf("%q is JSON, got %v", b, err)
		}
		_ = scanAlike(t, fmt.Appendf(nil, `%s"usage":%s}`, head, b))
	})
}

func scanAlike(t *testing.T, b []byte) error {
	t.Helper()
	l, err := newParser().parse(b)
	if (l == nil) != (err != nil) {
		t.Fatalf("got %v and %v", l, err)
	}
	var want oracle
	if json.Unmarshal(b, &want) != nil || want == nil {
		if err == nil {
			t.Fatalf("%q is no object of JSON, got %+v", b, l)
		}
		return err
	}
	if errors.Is(err, errSyntax) || errors.Is(err, errDepth) {
		t.Fatalf("%q is an object of JSON, got %v", b, err)
	}
	compareLine(t, b, l, err, want)
	return err
}

func compareLine(t *testing.T, b []byte, l *line, err error, want oracle) {
	t.Helper()
	var version, attempt *int64
	var event, at, verdict string
	typed := want.into("v", &version) && want.into("attempt", &attempt) && want.into("event", &event) && want.into("time", &at) && want.into("decision", &verdict)
	if err != nil {
		return // TestContradictions says when
	}
	if !typed || version == nil || *version != audit.Version {
		t.Fatalf("%q: accepted", b)
	}
	when, wrong := time.Parse(time.RFC3339Nano, at)
	if wrong != nil || when.UnixMicro() != l.time {
		t.Fatalf("%q: time %v (%v), got %d", b, when, wrong, l.time)
	}
	if l.allow != (verdict == "allow" && (event == "" || event == audit.EventDecision)) {
		t.Fatalf("%q: allow %v", b, l.allow)
	}
	for name, got := range map[string][]byte{
		"id": l.id, "subject": l.subject, "issuer": l.issuer, "model": l.model, "role": l.role, "rule": l.rule, "account": l.account,
		"reason": l.reason, "location": l.location, "uri_asked": l.asked, "endpoint": l.endpoint, "detail": l.detail,
	} {
		var text string
		if !want.into(name, &text) || text != string(got) {
			t.Fatalf("%q: %s: got %q, want %q", b, name, got, text)
		}
	}
	for name, got := range map[string]number{"bytes_in": l.bytesIn, "bytes_out": l.bytesOut, "t_active": l.active, "t_mint": l.mint} {
		var n *int64
		if !want.into(name, &n) || (n != nil) != got.known || n != nil && *n != got.n {
			t.Fatalf("%q: %s: got %+v, want %v", b, name, got, n)
		}
	}
	var use oracle
	if want.into("usage", &use) {
		for name, got := range map[string]number{"input": l.usage.input, "output": l.usage.output, "total": l.usage.total} {
			var n *int64
			if !use.into(name, &n) || (n != nil) != got.known || n != nil && *n != got.n {
				t.Fatalf("%q: usage %s: got %+v, want %v", b, name, got, n)
			}
		}
	}
}

func TestWholeLineIsRead(t *testing.T) {
	l, err := newParser().parse([]byte(wholeLine))
	if err != nil {
		t.Fatal(err)
	}
	if l.kind != decision || !l.allow || !l.stream || l.attempt != 2 || string(l.bodyModel) != "m" || string(l.flags) != `["new_model"]` || l.status.n != 200 {
		t.Errorf("got %+v", l)
	}
}

func TestLinesThatContradictTheSchemaAreNotTaken(t *testing.T) {
	const head = `{"v":1,"time":"2026-11-23T12:00:00.000000Z","decision":"deny"`
	for _, c := range []struct{ line, want string }{
		{`{"time":"2026-11-23T12:00:00Z"}`, `it has no version "v"`},
		{`{"v":2}`, errVersion.Error()},
		{`{"v":"1"}`, errType.Error()},
		{`{"v":1.0}`, errType.Error()},
		{`{"v":1}`, `time: want RFC 3339, got ""`},
		{`{"v":1,"time":"2026-02-29T12:00:00.000000Z"}`, `time: want RFC 3339, got "2026-02-29T12:00:00.000000Z"`},
		{`{"v":1,"time":"2026-11-23T12:00:00.000000Z"}`, `decision: want allow or deny, got ""`},
		{head + `,"decided":"x"}`, `decided: want RFC 3339, got "x"`},
		{head + `,"subject":5}`, errType.Error()},
		{head + `,"subject":["x"]}`, errType.Error()},
		{head + `,"stream":"yes"}`, errType.Error()},
		{head + `,"usage":5}`, errType.Error()},
		{head + `,"usage":{"input":"5"}}`, errType.Error()},
		{head + `,"body":[]}`, errType.Error()},
		{head + `,"bytes_in":1.5}`, errType.Error()},
		{head + `,"bytes_in":9223372036854775808}`, errType.Error()},
		{head + `,"bytes_in":-9223372036854775809}`, errType.Error()},
		{head + `,"bytes_in":18446744073709551616}`, errType.Error()},
		{head + `,"bytes_in":99999999999999999999999}`, errType.Error()},
		{head, errSyntax.Error()},
		{head + `} {}`, errSyntax.Error()},
		{`{"a":` + strings.Repeat("[", 20000), errDepth.Error()},
	} {
		if l, err := newParser().parse([]byte(c.line)); err == nil || err.Error() != c.want || l != nil {
			t.Errorf("%.80s: got %v, want %q", c.line, err, c.want)
		}
	}
	for _, rest := range []string{`}`, `,"bytes_in":9223372036854775807}`, `,"bytes_in":-9223372036854775808}`, `,"subject":null}`, `,"usage":"unknown"}`, `,"body":"none"}`, `,"new":{"x":[1.5]}}`} {
		if _, err := newParser().parse([]byte(head + rest)); err != nil {
			t.Errorf("%s%s: %v", head, rest, err)
		}
	}
}

func TestOrdinaryBytesAreCounted(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			text := []byte("abcdefghijklmnopqrst")
			text[at] = byte(c)
			want := len(text)
			if c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
				want = at
			}
			if got := ordinary(text); got != want {
				t.Fatalf("%q: got %d, want %d", text, got, want)
			}
		}
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	p := newParser()
	b := []byte(wholeLine)
	if n := testing.AllocsPerRun(100, func() { _, _ = p.parse(b) }); n != 0 {
		t.Errorf("got %v allocations a line", n)
	}
}

// FuzzTime: the short way reads a time like time.Parse, and nothing that this does not take.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-11-23T12:00:00.000001Z", "2024-02-29T23:59:59.999999Z", "0000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.000000Z", "2026-13-01T00:00:00.000000Z", "2000-03-01T00:00:00.000000Z", "1900-03-01T00:00:00.000000Z", "2026-11-23T12:00:60.000000Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseLogTime([]byte(s))
		if !ok {
			if got != 0 {
				t.Fatalf("%q: got %d", s, got)
			}
			return
		}
		want, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || want.UnixMicro() != got {
			t.Fatalf("%q: got %d, want %d, %v", s, got, want.UnixMicro(), err)
		}
	})
}

func TestEveryDayIsReadLikeTimeDoes(t *testing.T) {
	for at := time.Date(1890, 1, 1, 12, 34, 56, 789000, time.UTC); at.Year() < 2110; at = at.AddDate(0, 0, 1) {
		text := at.Format("2006-01-02T15:04:05.000000Z07:00")
		if got, ok := parseLogTime([]byte(text)); !ok || got != at.UnixMicro() {
			t.Fatalf("%s: got %d, %v, want %d", text, got, ok, at.UnixMicro())
		}
	}
}
