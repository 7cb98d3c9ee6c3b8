package closing

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is a line as HAProxy writes it.
const sample = `<134>1 2026-11-22T10:44:35.800134+00:00 - haproxy 27423 - - {"time":"2026-11-22T10:44:35Z","id":"ID","attempt":1,` +
	`"decision":"allow","reason":"","issuer":"corp","subject":"s@example.com","role":"search","rule":"r","account":"a@example.com",` +
	`"policy":"91cc224a","location":"europe-west1","src":"127.0.0.1","src_port":41970,"http_method":"POST","http_version":"HTTP/1.1",` +
	`"path":"\/v1\/projects\/p","uri":"\/v1\/projects\/p","st":200,"term":"--","backend":"vertex-location-europe-west1","server":"google",` +
	`"bytes_in":967,"bytes_out":632,"spoe_error":0,"spoe_ms":1,"t_verify":208,"t_policy":33,"t_mint":4,"t_request":1,"t_queue":0,` +
	`"t_connect":2,"t_response":3,"t_active":7,"usage_input":16,"usage_output":4,"usage_thoughts":-1,"usage_cached":-1,"usage_total":20}`

func sampleOf(id string) string { return strings.Replace(sample, `"id":"ID"`, `"id":"`+id+`"`, 1) }

// asMap is what a line says in the names of the log-format, without what it does not say.
func asMap(l line) map[string]any {
	got := map[string]any{}
	for _, name := range names() {
		switch f := field([]byte(name)); {
		case l.seen&(1<<f) == 0:
		case f < textFields:
			got[name] = string(l.text[f])
		default:
			got[name] = l.number[f]
		}
	}
	return got
}

func names() []string {
	return []string{"id", "attempt", "decision", "st", "term", "backend", "server", "bytes_in", "bytes_out", "spoe_error", "t_queue",
		"t_connect", "t_response", "t_active", "usage_input", "usage_output", "usage_thoughts", "usage_cached", "usage_total"}
}

func TestEveryNameHasItsField(t *testing.T) {
	seen := map[int]bool{}
	for _, name := range names() {
		seen[field([]byte(name))] = true
	}
	if len(seen) != fields || seen[noField] {
		t.Errorf("%d names lead to the fields %v, want %d different ones", len(names()), seen, fields)
	}
}

func TestALineOfHAProxys(t *testing.T) {
	l, err := parse([]byte(sample + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": "ID", "attempt": int64(1), "decision": "allow", "st": int64(200), "term": "--", "backend": "vertex-location-europe-west1",
		"server": "google", "bytes_in": int64(967), "bytes_out": int64(632), "spoe_error": int64(0), "t_queue": int64(0),
		"t_connect": int64(2), "t_response": int64(3), "t_active": int64(7), "usage_input": int64(16), "usage_output": int64(4),
		"usage_thoughts": int64(-1), "usage_cached": int64(-1), "usage_total": int64(20),
	}
	if diff := cmp.Diff(want, asMap(l)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The recordings are of real HAProxies with the example's configuration.
func TestRecordedLinesOfEveryVersion(t *testing.T) {
	for _, version := range []string{"2.6", "3.0", "3.2", "3.4"} {
		messages := bytes.Split(bytes.TrimSpace(recording(t, version+".datagrams")), []byte("\n"))
		for f := newFrames(bytes.NewReader(recording(t, version+".ring"))); ; {
			m, err := f.next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				break
			}
			messages = append(messages, bytes.Clone(m))
		}
		if len(messages) < 6 {
			t.Errorf("%s: %d messages, want 6 at least", version, len(messages))
		}
		for _, m := range messages {
			l, err := parse(m)
			if err != nil {
				t.Fatalf("%s: %v in %s", version, err, m)
			}
			if l.seen != 1<<fields-1 || l.number[fieldStatus] != 200 || string(l.text[fieldDecision]) != "allow" || len(l.text[fieldID]) != 36 {
				t.Errorf("%s: got %v", version, asMap(l))
			}
		}
	}
}

func recording(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "haproxy-"+name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestFormatsOfHAProxysLog(t *testing.T) {
	const object = `{"id":"a","st":200}`
	for name, message := range map[string]string{
		"rfc5424":                      "<134>1 2026-11-22T10:44:35.800134+00:00 host haproxy 27423 - - " + object + "\n",
		"rfc5424 with structured data": `<134>1 2026-11-22T10:44:35Z - h 1 - [a@1 b="x\"] {"][c@2] ` + object,
		"rfc5424 with a byte order":    "<134>1 - - - - - - \ufeff" + object,
		"rfc3164":                      "<134>Nov 22 10:44:35 host haproxy[27423]: " + object,
		"local":                        "<134>Nov 22 10:44:35 haproxy[27423]: " + object,
		"short":                        "<6>" + object,
		"timed":                        "<6>Nov 22 10:44:35 " + object,
		"iso":                          "<6>2026-11-22T10:44:35.8+00:00 " + object,
		"raw":                          object + "\n\x00",
	} {
		l, err := parse([]byte(message))
		if diff := cmp.Diff(map[string]any{"id": "a", "st": int64(200)}, asMap(l)); err != nil || diff != "" {
			t.Errorf("%s: %v, -want +got:\n%s", name, err, diff)
		}
	}
}

func TestAbsentNumbersAreUnknown(t *testing.T) {
	l, err := parse([]byte(`{"id":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	for f := textFields; f < fields; f++ {
		if l.number[f] != -1 {
			t.Errorf("field %d is %d, want -1", f, l.number[f])
		}
	}
}

func TestWhatIsNoLine(t *testing.T) {
	for name, c := range map[string]struct {
		message string
		want    error
	}{
		"nothing":                         {"", errHeader},
		"text":                            {"hello", errHeader},
		"a notice of HAProxy":             {"<133>1 2026-11-22T10:44:35Z - haproxy 1 - - Server a/b is UP.", errNotice},
		"an old notice of HAProxy":        {"<133>Nov 22 10:44:35 haproxy[1]: Proxy vertex started.", errNotice},
		"a header that is cut":            {"<134>1 2026-11-22T10:44:35Z - haproxy", errHeader},
		"structured data that is cut":     {`<134>1 a b c d e [x y="]`, errHeader},
		"structured data and no blank":    {`<134>1 a b c d e [x]{"id":"a"}`, errHeader},
		"an object that is cut":           {sample[:len(sample)-20], errJSON},
		"text behind the object":          {sample + " x", errJSON},
		"two objects":                     {`{"id":"a"}{"id":"b"}`, errJSON},
		"a comma too many":                {`{"id":"a",}`, errJSON},
		"a list with a comma too many":    {`{"x":[1,]}`, errJSON},
		"a list that ends as an object":   {`{"x":[1}`, errJSON},
		"no colon":                        {`{"id" "a"}`, errJSON},
		"a name that is no string":        {`{1:2}`, errJSON},
		"a name with an escape":           {`{"\u0069d":"a"}`, errJSON},
		"a number with a zero before it":  {`{"st":0200}`, errJSON},
		"a number with a plus, logasap":   {`{"bytes_out":+12}`, errJSON},
		"a control character":             {"{\"id\":\"a\tb\"}", errJSON},
		"an escape that is none":          {`{"x":"\x"}`, errJSON},
		"a control character in a number": {"{\"x\":\"\\u001\x10\"}", errJSON},
		"nesting without end":             {`{"x":` + strings.Repeat("[", 100), errJSON},
		"nesting that is too deep":        {`{"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}`, errJSON},
		"an id that is a number":          {`{"id":1}`, errType},
		"an id that is null":              {`{"id":null}`, errType},
		"an id with an escape":            {`{"id":"a\/b"}`, errType},
		"an id that is not UTF-8":         {"{\"id\":\"\xff\"}", errType},
		"an id that is too long":          {`{"id":"` + strings.Repeat("x", maxText+1) + `"}`, errType},
		"a status that is a string":       {`{"st":"200"}`, errType},
		"a status that is true":           {`{"st":true}`, errType},
		"a status out of range":           {`{"st":1000}`, errType},
		"a status below -1":               {`{"st":-2}`, errType},
		"a fraction":                      {`{"t_active":1.5}`, errType},
		"an exponent":                     {`{"t_active":1e3}`, errType},
		"a number that is too large":      {`{"bytes_out":1000000000000000000}`, errType},
		"an id that is there twice":       {`{"id":"a","id":"a"}`, errTwice},
		"a number that is there twice":    {`{"st":-1,"x":1,"st":200}`, errTwice},
	} {
		l, err := parse([]byte(c.message))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
		if l.seen != 0 {
			t.Errorf("%s: got %v beside the error", name, asMap(l))
		}
	}
}

// What is accepted means the same to encoding/json; and what is refused is no JSON, or breaks one of the rules that are stricter.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`<134>1 - - - - - [a b="\]"] {"id":"é","x":[{},[],null,true,false,-0.5e+3,"\u00e9\n"],"st":-1}`))
	f.Add([]byte("<6>2026 {\"st\":-1,\"t_active\":0 , \"id\" : \"\"}\r\n"))
	f.Add([]byte("{\"x\":\"\\u001\x10\"}"))
	f.Add([]byte(`{"x":` + strings.Repeat(`[{"x":`, maxDepth/2) + `1` + strings.Repeat(`}]`, maxDepth/2) + `}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		l, err := parse(message)
		if err != nil {
			if l.seen != 0 {
				t.Fatalf("error %v and %v", err, asMap(l))
			}
			checkRefusal(t, message, err)
			return
		}
		object, err := body(message)
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(object, &all); err != nil {
			t.Fatalf("accepted, but %v: %q", err, object)
		}
		want := map[string]any{}
		for _, name := range names() {
			raw, ok := all[name]
			if !ok {
				continue
			}
			var text string
			var number int64
			if field([]byte(name)) < textFields {
				err = json.Unmarshal(raw, &text)
				want[name] = text
			} else {
				err = json.Unmarshal(raw, &number)
				want[name] = number
			}
			if err != nil {
				t.Fatalf("%s: accepted, but %v", name, err)
			}
		}
		if diff := cmp.Diff(want, asMap(l)); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	})
}

// checkRefusal fails if a message was refused as no JSON that is one, within the rules that are stricter.
func checkRefusal(t *testing.T, message []byte, err error) {
	if !errors.Is(err, errJSON) {
		return
	}
	object, _ := body(message)
	if !json.Valid(object) || bytes.IndexByte(object, '\\') >= 0 || bytes.Count(object, []byte("["))+bytes.Count(object, []byte("{")) > maxDepth {
		return
	}
	t.Fatalf("refused %q", object)
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("3 abc<134>x\n\n 2 {}{}\n"))
	f.Add([]byte("99999 abc"))
	f.Add([]byte("0 x"))
	f.Add([]byte("<6>\n12"))
	f.Add([]byte("0000003 abc"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		read := func(r io.Reader) (got []string, end error) {
			for f := newFrames(r); ; {
				m, err := f.next()
				if errors.Is(err, errSize) {
					got = append(got, "too long")
					continue
				}
				if err != nil {
					return got, err
				}
				got = append(got, string(m))
			}
		}
		whole, end := read(bytes.NewReader(stream))
		pieces, endOfPieces := read(&onebyte{stream})
		if diff := cmp.Diff(whole, pieces); diff != "" || !errors.Is(endOfPieces, end) {
			t.Fatalf("in pieces: %v instead of %v, -whole +pieces:\n%s", endOfPieces, end, diff)
		}
		// The same messages with counts before them are the same messages.
		var counted []byte
		for _, m := range whole {
			if len(m) > 0 {
				counted = append(append(strconv.AppendInt(counted, int64(len(m)), 10), ' '), m...)
			}
		}
		again, end := read(bytes.NewReader(counted))
		if diff := cmp.Diff(whole, again); diff != "" || !errors.Is(end, io.EOF) {
			t.Fatalf("counted: %v, -want +got:\n%s", end, diff)
		}
	})
}

// onebyte is a stream that comes byte by byte.
type onebyte struct{ left []byte }

func (o *onebyte) Read(p []byte) (int, error) {
	if len(o.left) == 0 {
		return 0, io.EOF
	}
	p[0], o.left = o.left[0], o.left[1:]
	return 1, nil
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	for name, c := range map[string]struct {
		stream string
		want   []string
		end    error
	}{
		"counted":                         {"3 abc2 de", []string{"abc", "de"}, io.EOF},
		"lines":                           {"<6>a\n<6>b\n", []string{"<6>a\n", "<6>b\n"}, io.EOF},
		"both, and empty lines":           {"3 abc\n\n<6>a\n1 x", []string{"abc", "<6>a\n", "x"}, io.EOF},
		"a counted one with its newline":  {"4 abc\n4 def\n", []string{"abc\n", "def\n"}, io.EOF},
		"the longest":                     {"65536 " + long + "<" + long[2:] + "\n", []string{long, "<" + long[2:] + "\n"}, io.EOF},
		"one that is too long is skipped": {"65537 x" + long + "2 ab", []string{"too long", "ab"}, io.EOF},
		"a line that is too long":         {"<" + long + "\n2 ab", []string{"too long", "ab"}, io.EOF},
		"a line that never ends":          {"<" + long + long, nil, io.ErrUnexpectedEOF},
		"a message that is cut":           {"5 abc", nil, io.ErrUnexpectedEOF},
		"a count that is cut":             {"5", nil, io.ErrUnexpectedEOF},
		"a line that is cut":              {"<6>a", nil, io.ErrUnexpectedEOF},
		"a count of nothing":              {"0 abc", nil, errFraming},
		"a count that is none":            {"1a bc", nil, errFraming},
		"a count that is too large":       {"1234567 abc", nil, errFraming},
	} {
		var got []string
		var end error
		for f := newFrames(strings.NewReader(c.stream)); end == nil; {
			m, err := f.next()
			switch {
			case errors.Is(err, errSize):
				got = append(got, "too long")
			case err != nil:
				end = err
			default:
				got = append(got, string(m))
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" || !errors.Is(end, c.end) {
			t.Errorf("%s: end %v, want %v; -want +got:\n%s", name, end, c.end, diff)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	message := []byte(sampleOf("0f6b513a-1d63-4eb5-9573-9b3165310c68"))
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(message); err != nil {
			b.Fatal(err)
		}
	}
}
