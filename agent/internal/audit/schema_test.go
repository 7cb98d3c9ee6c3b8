package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(schemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(s *jsonschema.Schema, line []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// samples returns for each event a line with all fields and one with as few as there can be.
func samples() map[string][2]Line {
	when := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	var r Record
	var c Closing
	var u Undelivered
	full(&r, "a ")
	full(&c, "a ")
	full(&u, "a ")
	r.Time, c.Time, u.Time, r.TokenExpiry, c.DecisionTime = when, when, when, when, when
	r.Stream, c.Stream, c.Unjoined = true, true, true
	r.Decision = "allow"
	c.Usage = &Usage{1, 2, 3, 4, 5}
	missing := c
	missing.Missing = true
	return map[string][2]Line{
		EventDecision:    {&r, &Record{Decision: "deny"}},
		EventUndelivered: {&u, &Undelivered{}},
		EventClosing:     {&c, &Closing{}},
		EventMissing:     {&missing, &Closing{Missing: true}},
	}
}

// keys returns the names of the members of a line in their order.
func keys(t *testing.T, line []byte) []string {
	t.Helper()
	in := json.NewDecoder(bytes.NewReader(line))
	if _, err := in.Token(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for in.More() {
		name, err := in.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
	}
	return names
}

// What can be written is what Fields says, all of it, in its order, and nothing else.
func TestFieldsIsTheListOfWhatCanBeWritten(t *testing.T) {
	s := schema(t)
	for event, lines := range samples() {
		var all, always []string
		for _, f := range Fields() {
			if f.In(event) {
				all = append(all, f.Name)
			}
			if slices.Contains(f.Always, event) {
				always = append(always, f.Name)
			}
		}
		all = slices.DeleteFunc(all, func(name string) bool {
			return slices.Contains([]string{"chain", "seq", "after", "prev", "hash"}, name)
		})
		for i, want := range [][]string{all, always} {
			line := lines[i].appendTo(nil)
			if diff := cmp.Diff(want, keys(t, line)); diff != "" {
				t.Errorf("%s %d: fields (-table +line):\n%s", event, i, diff)
			}
			if err := validate(s, line); err != nil {
				t.Errorf("%s %d: the schema refuses %s: %v", event, i, line, err)
			}
		}
	}
}

// Each part of a line that can be set shows in it: what the table lists is not less than what there is.
func TestEachFieldOfALineIsWritten(t *testing.T) {
	for event, lines := range samples() {
		if event == EventMissing {
			continue // it has less than a closing by design
		}
		v := reflect.ValueOf(lines[0]).Elem()
		whole := string(lines[0].appendTo(nil))
		for i := range v.NumField() {
			other := reflect.New(v.Type()).Elem()
			other.Set(v)
			other.Field(i).SetZero()
			if v.Type().Field(i).Name == "Missing" {
				continue // it is the event
			}
			if got := string(other.Addr().Interface().(Line).appendTo(nil)); got == whole {
				t.Errorf("%s: the line is the same without %s", event, v.Type().Field(i).Name)
			}
		}
	}
}

func TestTheSchemaRefuses(t *testing.T) {
	s := schema(t)
	good := string((&Record{Decision: "deny", Time: time.Unix(1, 0)}).appendTo(nil))
	for _, tt := range []struct{ name, from, to string }{
		{"a field that is not listed", `"decision":`, `"prompt":"hello","decision":`},
		{"another version", `"v":1`, `"v":2`},
		{"another event", `"event":"decision"`, `"event":"other"`},
		{"another decision", `"deny"`, `"maybe"`},
		{"a number as text", `"t_mint":0`, `"t_mint":"0"`},
		{"a field that is missing", `,"t_mint":0`, ``},
		{"a field of another event", `"decision":`, `"st":200,"decision":`},
		{"a time without its fraction", `.000000Z`, `Z`},
		{"a hash without its chain", `"t_mint":0`, `"t_mint":0,"hash":"` + strings.Repeat("0", 64) + `"`},
		{"claims that are a text of somebody's", `"t_mint":0`, `"t_mint":0,"claims":"x"`},
		{"an empty list", `"t_mint":0`, `"t_mint":0,"flags":[]`},
	} {
		bad := strings.Replace(good, tt.from, tt.to, 1)
		if err := validate(s, []byte(bad)); bad == good || err == nil {
			t.Errorf("the schema takes %s: %s", tt.name, bad)
		}
	}
	for _, line := range chained(t, Key{}, 2) {
		if err := validate(s, []byte(line)); err != nil {
			t.Errorf("the schema refuses %s: %v", line, err)
		}
	}
}

func TestTheTableOfFieldsIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		if seen[f.Name] || f.Doc == "" || !strings.HasSuffix(f.Doc, ".") || len(f.Always)+len(f.Sometimes) == 0 {
			t.Errorf("the entry of %q is not one sentence about one field", f.Name)
		}
		seen[f.Name] = true
		for _, event := range slices.Concat(f.Always, f.Sometimes) {
			if !slices.Contains(Events(), event) {
				t.Errorf("%q is of the unknown event %q", f.Name, event)
			}
		}
	}
	for _, name := range Maskable() {
		if !seen[name] {
			t.Errorf("%q can be masked and is no field", name)
		}
	}
}

// The usage that is known in part, wholly or not at all.
func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		name string
		u    *Usage
		want string
	}{
		{"unknown", nil, `"unknown"`},
		{"nothing known", &Usage{-1, -1, -1, -1, -1}, `{}`},
		{"all zero", &Usage{}, `{"input":0,"output":0,"thoughts":0,"cached":0,"total":0}`},
		{"the first unknown", &Usage{-1, 2, -1, -1, 5}, `{"output":2,"total":5}`},
		{"the last unknown", &Usage{1, -1, -1, -1, -9}, `{"input":1}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line := (&Closing{ID: "i", Status: -1, QueueMS: -1, Termination: "CD--", Usage: tt.u}).appendTo(nil)
			_, got, _ := strings.Cut(string(line), `"usage":`)
			if got != tt.want+"}\n" {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if err := validate(schema(t), line); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheOtherLines(t *testing.T) {
	when := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, tt := range []struct {
		name, want string
		line       Line
	}{
		{"undelivered", `{"v":1,"event":"undelivered","time":"2026-01-02T03:04:05.000006Z","id":"i","attempt":2}`,
			&Undelivered{Time: when, ID: "i", Attempt: 2}},
		{"closing", `{"v":1,"event":"closing","time":"2026-01-02T03:04:05.000006Z","id":"i","attempt":1,"decided":"2026-01-02T03:04:04.000006Z",` +
			`"issuer":"corp","subject":"alice","model":"m","stream":true,"role":"r","st":-1,"term":"SD--","backend":"be","bytes_in":1,"bytes_out":2,` +
			`"t_queue":0,"t_connect":-1,"t_response":-1,"t_active":9,"usage":"unknown","flags":["burst"]}`,
			&Closing{Time: when, ID: "i", Attempt: 1, DecisionTime: when.Add(-time.Second), Issuer: "corp", Subject: "alice", Model: "m", Stream: true,
				Role: "r", Status: -1, Termination: "SD--", Backend: "be", BytesIn: 1, BytesOut: 2, ConnectMS: -1, HeadersMS: -1, ActiveMS: 9,
				Flags: []string{"burst"}}},
		{"missing", `{"v":1,"event":"closing_missing","time":"2026-01-02T03:04:05.000006Z","id":"i","attempt":1,"unjoined":true}`,
			&Closing{Time: when, ID: "i", Attempt: 1, Missing: true, Unjoined: true, HeadersMS: 7, BytesIn: 5, Usage: &Usage{}}},
		{"missing, but for Google's answer", `{"v":1,"event":"closing_missing","time":"2026-01-02T03:04:05.000006Z","id":"i","attempt":1,"st":200,"t_response":7}`,
			&Closing{Time: when, ID: "i", Attempt: 1, Missing: true, Status: 200, HeadersMS: 7, BytesIn: 5, Usage: &Usage{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want+"\n", string(tt.line.appendTo(nil))); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
		})
	}
}

// What should be JSON and is none does not break the line.
func TestJSONThatIsNone(t *testing.T) {
	for _, text := range []string{`{`, `[]`, `null`, `{"a":1}}`, "{\n}", `"other"`, "{\"\xff\":1}", `{},"decision":"allow"`, strings.Repeat(`{"a":`, 20_000)} {
		got := members(t, &Record{Decision: "deny", Claims: []byte(text), Body: []byte(text)})
		if got["claims"] != "unreadable" || got["body"] != "unreadable" || got["decision"] != "deny" {
			t.Errorf("%.40q: claims %v, body %v, decision %v", text, got["claims"], got["body"], got["decision"])
		}
	}
}

// Any record is one line of JSON that the schema takes, as it is, masked and in a chain.
func FuzzRecord(f *testing.F) {
	f.Add("id", "subject", []byte(`{"a":1}`), []byte(`"none"`), int64(1), int64(0), true)
	f.Add("\x00\n\r\u2028", "\xff\xfe\"\\", []byte("{\n}"), []byte("\xff"), int64(-1<<63), int64(253402300799), false)
	f.Add("\u202e\u0085\x7f\x1b[31m", "", []byte(nil), []byte("{}"), int64(1<<62), int64(-62135596800), true)
	s := schema(f)
	mask := masker(f, "subject=hmac,src=drop,claims=drop,detail=hmac")
	f.Fuzz(func(t *testing.T, a, b string, claims, body []byte, n, when int64, flag bool) {
		at := time.Unix(when%250_000_000_000, n%1_000_000_000).UTC()
		if at.Year() < 0 || at.Year() > 9999 {
			at = time.Unix(0, 0)
		}
		verdict := map[bool]string{true: "allow", false: "deny"}[flag]
		r := &Record{Time: at, ID: a, Attempt: n, Decision: verdict, Status: int(n), Reason: b, Detail: a + b, Issuer: b, Subject: b, TokenID: a, Source: b,
			Certificate: a, Claims: claims, RoleAsked: a, BreakGlass: b, Tier: a, SharedTier: b, HTTPMethod: a, URI: b, URIAsked: a, Project: b, Location: a,
			Publisher: b, Model: a, Endpoint: b, Method: a, Stream: flag, Body: body, Role: a, Rule: b, Account: a, Policy: b, Shadow: []string{a, b},
			Overridden: []string{b}, Flags: []string{a}, TokenFingerprint: a, TokenExpiry: at, UserAgent: b, TraceParent: a, VerifyMicros: n}
		c := &Closing{Time: at, ID: a, Attempt: n, Missing: flag, Unjoined: !flag, DecisionTime: at, Subject: b, Termination: a, Status: int(n), BytesIn: n,
			Flags: []string{a, b}, Usage: &Usage{n, -n, n, n, n}}
		plain := newSink()
		for _, o := range []Options{{Patience: patient}, {Patience: patient, Masker: mask}, {Patience: patient, Chain: true}} {
			l := newLog(plain, o)
			for _, line := range []Line{r, c, &Undelivered{Time: at, ID: a, Attempt: n}} {
				l.Append(line, func(err error) {
					if err != nil {
						t.Fatal(err)
					}
				})
			}
			l.Flush()
		}
		lines := plain.lines()
		if len(lines) != 9 {
			t.Fatalf("%d lines, want 9", len(lines))
		}
		for _, line := range lines {
			if !utf8.ValidString(line) || strings.ContainsAny(line, "\r\u2028\u2029\u0085\x1b\x7f\u202e") && !bytes.ContainsAny(append(claims, body...), "\u2028\u2029\u0085\x7f\u202e") {
				t.Errorf("a line holds what it must not: %q", line)
			}
			if err := validate(s, []byte(line)); err != nil {
				t.Errorf("the schema refuses %q: %v", line, err)
			}
		}
		if got := members(t, r)["id"]; got != toValid(a) {
			t.Errorf("id %q reads back as %q", a, got)
		}
		if report := verified(t, strings.Join(lines[6:], "\n")+"\n", VerifyOptions{}); report.First != nil || report.Chained != 3 {
			t.Errorf("verification found %v in %d lines", report.First, report.Chained)
		}
	})
}

// toValid replaces each byte that is not UTF-8 by U+FFFD, as encoding/json does.
func toValid(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

func ExampleFields() {
	for _, f := range Fields()[:2] {
		fmt.Println(f.Name, f.Type, f.Doc)
	}
	// Output:
	// v integer Version of these fields, 1. Fields may be added without a new one.
	// event text What the line is about.
}
