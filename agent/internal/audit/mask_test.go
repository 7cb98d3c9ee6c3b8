package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func masker(t testing.TB, text string) *Masker {
	t.Helper()
	m, err := ParseMask(text, key(t, 7))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// full returns a record, a closing and so on in which every field that can be set is set, to a text of its own where it is one.
func full(line any, prefix string) {
	v := reflect.ValueOf(line).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		switch f := v.Field(i).Addr().Interface().(type) {
		case *string:
			*f = prefix + name
		case *[]byte:
			*f = fmt.Appendf(nil, `{"x":%q}`, prefix+name)
		case *[]string:
			*f = []string{prefix + name}
		case *int64:
			*f = int64(i) + 1
		case *int:
			*f = i + 1
		}
	}
}

// members reads a line.
func members(t testing.TB, line Line) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(line.appendTo(nil), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEveryFieldThatCanBeMaskedIsMasked(t *testing.T) {
	for _, name := range Maskable() {
		for _, how := range []string{"drop", "hmac"} {
			if name == "claims" && how == "hmac" {
				continue
			}
			t.Run(name+"="+how, func(t *testing.T) {
				var r Record
				var c Closing
				full(&r, "plain ")
				full(&c, "plain ")
				c.Missing = false
				m := masker(t, name+"="+how)
				for _, line := range []Line{&r, &c} {
					before, after := members(t, line), members(t, m.masked(line))
					if _, ok := before[name]; !ok {
						if _, closing := line.(*Closing); !closing {
							t.Fatalf("a decision has no %q to mask", name)
						}
						continue
					}
					plain, _ := before[name].(string)
					if got := after[name]; how == "drop" && got != nil || how == "hmac" && (got == plain || !strings.HasPrefix(fmt.Sprint(got), "hmac:")) {
						t.Errorf("%q stands there for %q", got, plain)
					}
					delete(before, name)
					delete(after, name)
					if diff := cmp.Diff(before, after); diff != "" {
						t.Errorf("other fields have changed (-before +after):\n%s", diff)
					}
				}
				if members(t, &r)[name] == nil {
					t.Error("the caller's own record was changed")
				}
			})
		}
	}
}

// The HMAC is the one that openssl makes, and that of X-Goog-Request-Reason.
func TestTheMaskIsAPlainHMAC(t *testing.T) {
	m := masker(t, "subject=hmac")
	mac := hmac.New(sha256.New, []byte(strings.Repeat("\x07", 32)))
	mac.Write([]byte("alice"))
	want := "hmac:" + hex.EncodeToString(mac.Sum(nil)[:16])
	r, c := Record{Subject: "alice"}, Closing{Subject: "alice"}
	m.Record(&r)
	m.Closing(&c)
	if r.Subject != want || c.Subject != want {
		t.Errorf("got %q and %q, want %q twice", r.Subject, c.Subject, want)
	}
	other := Record{Subject: want}
	if m.Record(&other); other.Subject == want {
		t.Error("a subject that looks masked passes for the masked one")
	}
}

func TestWhatIsMaskedIsNotInTheDetail(t *testing.T) {
	long := strings.Repeat("x", 200) + "é"
	for _, tt := range []struct {
		mask string
		r    Record
		want string
	}{
		{"subject=drop", Record{Subject: "alice@example.com", Detail: `rule "x" wants another than "alice@example.com"`}, `rule "x" wants another than "-"`},
		{"detail=drop", Record{Subject: "alice@example.com", Detail: `rule "x" wants another than "alice@example.com"`}, ""},
		{"jti=drop,detail=drop", Record{TokenID: "7", Detail: `token "7" is revoked`}, ""},
		{"jti=drop", Record{TokenID: "7\"", Detail: `token "7\"" is revoked`}, `token "-" is revoked`},
		{"subject=drop", Record{Subject: "\u00e9ric", Detail: `subject "\u00e9ric" is revoked`}, `subject "-" is revoked`},
		{"subject=drop", Record{Subject: long, Detail: `subject "` + long[:128] + `"... is revoked`}, `subject "-"... is revoked`},
		{"certificate=drop", Record{Certificate: "AbC-_0", Detail: "certificate AbC-_0 is revoked"}, "certificate - is revoked"},
		{"src=drop", Record{Source: "192.0.2.1", Detail: "192.0.2.1 is not in the network"}, "- is not in the network"},
	} {
		if masker(t, tt.mask).Record(&tt.r); tt.r.Detail != tt.want {
			t.Errorf("%s: detail %q, want %q", tt.mask, tt.r.Detail, tt.want)
		}
	}
}

func TestTheLogMasks(t *testing.T) {
	s := newSink()
	l := newLog(s, Options{Patience: patient, Masker: masker(t, " subject=hmac , src=drop,claims=drop")})
	r := &Record{ID: "i", Subject: "alice", Source: "192.0.2.1", Claims: []byte(`{"email":"alice"}`)}
	l.Append(r, func(error) {})
	l.Append(&Closing{ID: "i", Subject: "alice"}, func(error) {})
	l.Append(&Undelivered{ID: "i"}, func(error) {})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if text := s.buf.String(); strings.Contains(text, "alice") || strings.Contains(text, "192.0.2.1") || strings.Count(text, `"subject":"hmac:`) != 2 {
		t.Errorf("the log says %s", text)
	}
	if r.Subject != "alice" {
		t.Error("the caller's own record was changed")
	}
}

func TestMaskersAreSharedByGoroutines(t *testing.T) {
	m := masker(t, "subject=hmac")
	want := Record{Subject: "alice"}
	m.Record(&want)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				r := Record{Subject: "alice"}
				if m.Record(&r); r.Subject != want.Subject {
					t.Errorf("got %q, want %q", r.Subject, want.Subject)
				}
			}
		})
	}
	group.Wait()
}

func TestNoMaskMasksNothing(t *testing.T) {
	for name, m := range map[string]*Masker{"nil": nil, "zero": {}, "empty": masker(t, "")} {
		r := Record{Subject: "alice"}
		m.Record(&r)
		m.Closing(&Closing{})
		if r.Subject != "alice" {
			t.Errorf("%s: subject %q, want it as it was", name, r.Subject)
		}
	}
}

func TestParseMaskRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"model=drop", `"model" is no field that can be masked; those are subject, jti, src, certificate, claims, role_asked, break_glass, detail, user_agent, traceparent`},
		{"subject", `"subject": want subject=drop or subject=hmac`},
		{"subject=sha256", `"subject=sha256": want subject=drop or subject=hmac`},
		{"subject=drop,subject=hmac", `"subject" stands there twice`},
		{"claims=hmac", `"claims" can only be dropped`},
		{"src=drop,", `"" is no field`},
	} {
		if m, err := ParseMask(tt.text, key(t, 1)); m != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %s", tt.text, err, tt.want)
		}
	}
	if _, err := ParseMask("subject=hmac", Key{}); err == nil || !strings.Contains(err.Error(), `"subject=hmac" needs a key`) {
		t.Errorf("without a key: got %v", err)
	}
	if _, err := ParseMask("subject=drop", Key{}); err != nil {
		t.Errorf("to drop without a key: %v", err)
	}
}

func TestAKeyShowsNowhere(t *testing.T) {
	raw := []byte("0123456789abcdef0123456789abcdef")
	k, err := NewKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{ChainKey: k, Masker: &Masker{}}
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v", o, o, o), fmt.Sprintf("%s %x", k, k), fmt.Sprintf("%#v", VerifyOptions{Key: k})} {
		if strings.Contains(text, "0123456789") || strings.Contains(text, hex.EncodeToString(raw[:6])) || strings.Contains(text, "48, 49") || strings.Contains(text, "48 49") {
			t.Errorf("the key is in %s", text)
		}
	}
	if _, err := NewKey(raw[:31]); err == nil || strings.Contains(err.Error(), "0123") {
		t.Errorf("a short key: got %v", err)
	}
}
