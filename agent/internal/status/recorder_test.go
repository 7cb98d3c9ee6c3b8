package status

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/audit"
)

func noMask(*audit.Record) {}

func newRecorder(t testing.TB, size int, mask func(*audit.Record)) *Recorder {
	t.Helper()
	r, err := NewRecorder(size, mask)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ids returns the ids of decisions, in order.
func ids(all []Decision) []string {
	var found []string
	for _, d := range all {
		found = append(found, d.ID)
	}
	return found
}

func TestNewRecorderRefusesWhatItCannotHold(t *testing.T) {
	for name, try := range map[string]func() (*Recorder, error){
		"a negative size": func() (*Recorder, error) { return NewRecorder(-1, noMask) },
		"too large":       func() (*Recorder, error) { return NewRecorder(MaxDecisions+1, noMask) },
		"no mask":         func() (*Recorder, error) { return NewRecorder(0, nil) },
	} {
		if r, err := try(); err == nil || r != nil {
			t.Errorf("%s: got %v, %v; want an error", name, r, err)
		}
	}
}

func TestTheLastDecisionsStay(t *testing.T) {
	for _, size := range []int{1, 3, 100} {
		for _, made := range []int{0, 1, 2, 3, 4, 7, 250} {
			r := newRecorder(t, size, noMask)
			var want []string
			for i := range made {
				id := fmt.Sprint("id-", i)
				r.Decided(&audit.Record{ID: id, Decision: "allow"})
				want = append([]string{id}, want...)
			}
			want = want[:min(len(want), size)]
			if diff := cmp.Diff(want, ids(r.Last(MaxDecisions, Filter{}))); diff != "" {
				t.Errorf("%d of %d (-want +got):\n%s", made, size, diff)
			}
			if got := r.Last(2, Filter{}); len(got) != min(2, len(want)) {
				t.Errorf("%d of %d: the last 2 are %d", made, size, len(got))
			}
		}
	}
}

func TestAClosingFindsItsDecision(t *testing.T) {
	r := newRecorder(t, 4, noMask)
	for i := range 6 {
		r.Decided(&audit.Record{ID: fmt.Sprint("id-", i), Attempt: 1, Decision: "allow"})
	}
	r.Decided(&audit.Record{ID: "id-5", Attempt: 2, Decision: "allow"})
	for _, c := range []audit.Closing{
		{ID: "id-5", Attempt: 2, Status: 200, BytesOut: 7, ActiveMS: 12, Termination: "--", Usage: &audit.Usage{Input: 0, Output: 9, Thoughts: -1, Cached: -1, Total: -1}},
		{ID: "id-4", Attempt: 1, Missing: true},
		{ID: "id-0", Attempt: 1, Status: 500}, // overwritten
		{ID: "id-3", Attempt: 2, Status: 500}, // not of that attempt
		{ID: "", Attempt: 0, Status: 500},
	} {
		r.Closed(&c)
	}
	r.Undelivered(&audit.Undelivered{ID: "id-5", Attempt: 1})
	r.Undelivered(&audit.Undelivered{ID: "id-1", Attempt: 1})
	zero, nine := int64(0), int64(9)
	want := []Decision{
		{ID: "id-5", Attempt: 2, Decision: "allow", Ending: &Ending{Status: 200, Termination: "--", BytesOut: 7, ActiveMS: 12, Usage: &Usage{Input: &zero, Output: &nine}}},
		{ID: "id-5", Attempt: 1, Decision: "allow", Undelivered: true},
		{ID: "id-4", Attempt: 1, Decision: "allow", Ending: &Ending{Missing: true}},
		{ID: "id-3", Attempt: 1, Decision: "allow"},
	}
	if diff := cmp.Diff(want, r.Last(10, Filter{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.Decided(&audit.Record{ID: "id-7"})
	r.Decided(&audit.Record{ID: "id-8"})
	r.Decided(&audit.Record{ID: "id-9"})
	r.Decided(&audit.Record{ID: "id-10"})
	for _, d := range r.Last(10, Filter{}) {
		if d.Ending != nil || d.Undelivered {
			t.Errorf("%s has the end of the decision that stood in its place before", d.ID)
		}
	}
}

// An empty place of the ring is no decision with an empty id.
func TestAClosingWithoutAnIDFindsNothing(t *testing.T) {
	r := newRecorder(t, 4, noMask)
	r.Closed(&audit.Closing{Status: 500})
	r.Decided(&audit.Record{ID: "a"})
	r.Closed(&audit.Closing{Status: 500})
	if got := r.Last(10, Filter{}); len(got) != 1 || got[0].Ending != nil {
		t.Errorf("got %+v, want one decision without an end", got)
	}
}

func TestAFilterSeesWhatIsShown(t *testing.T) {
	r := newRecorder(t, 8, func(r *audit.Record) { r.Subject = strings.ReplaceAll(r.Subject, "alice", "hmac:1") })
	for _, d := range []audit.Record{
		{ID: "1", Subject: "alice", Decision: "allow", Rule: "search"},
		{ID: "2", Subject: "bob", Decision: "deny", Reason: "NO_RULE"},
		{ID: "3", Subject: "bob", Decision: "deny", Reason: "DENIED", Rule: "preview"},
		{ID: "4", Subject: "bobby", Decision: "allow", Rule: "search"},
	} {
		r.Decided(&d)
	}
	for _, tt := range []struct {
		f    Filter
		n    int
		want []string
	}{
		{Filter{}, 10, []string{"4", "3", "2", "1"}},
		{Filter{}, 2, []string{"4", "3"}},
		{Filter{Subject: "alice"}, 10, nil},
		{Filter{Subject: "hmac:"}, 10, []string{"1"}},
		{Filter{Subject: "bob"}, 10, []string{"4", "3", "2"}},
		{Filter{Subject: "bob"}, 1, []string{"4"}},
		{Filter{Decision: "deny"}, 10, []string{"3", "2"}},
		{Filter{Reason: "NO_RULE"}, 10, []string{"2"}},
		{Filter{Rule: "search", Subject: "bobby"}, 10, []string{"4"}},
		{Filter{Rule: "sea"}, 10, nil},
	} {
		if diff := cmp.Diff(tt.want, ids(r.Last(tt.n, tt.f))); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.f, diff)
		}
	}
	if got := r.ring[0].record().Subject; got != "alice" {
		t.Errorf("the mask was applied to the recorder's own %q", got)
	}
}

func TestClaimsAndBodiesAreNotKept(t *testing.T) {
	r := newRecorder(t, 1, noMask)
	r.Decided(&audit.Record{ID: "1", Claims: []byte(`{"groups":["secret-group"]}`), Body: []byte(`{"model":"secret-body"}`)})
	kept := r.ring[0].record()
	rec := httptest.NewRecorder()
	r.ServeHTTP(rec, httptest.NewRequest("GET", "/debug/decisions", nil))
	if got := rec.Body.String(); strings.Contains(got, "secret") || kept.Claims != nil || kept.Body != nil {
		t.Errorf("claims or a body are in %s", got)
	}
}

// filled returns a record whose every text says its own name, in memory that is not the record's.
func filled() (r audit.Record, memory []byte) {
	type text struct{ from, to int }
	fields := map[int]text{}
	v := reflect.ValueOf(&r).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.String {
			from := len(memory)
			memory = append(memory, v.Type().Field(i).Name...)
			fields[i] = text{from, len(memory)}
		}
	}
	memory = slices.Grow(memory, 3)
	for i, f := range fields {
		v.Field(i).SetString(unsafe.String(&memory[f.from], f.to-f.from))
	}
	r.Time, r.Attempt, r.Status, r.Stream, r.TokenExpiry = time.Unix(1, 0), 2, 403, true, time.Unix(2, 0)
	memory = append(memory, "abc"...)
	list := func(n int) []string { return []string{unsafe.String(&memory[len(memory)-n], 1)} }
	r.Shadow, r.Overridden, r.Flags = list(3), list(2), list(1)
	r.VerifyMicros, r.PolicyMicros, r.MintMicros = 3, 4, 5
	return r, memory
}

// A record's texts may lie in the memory that HAProxy's frames are read into. What is recorded must not change with it: the next frame
// has another caller's token in the same place.
func TestTheRecorderKeepsNoMemoryOfOthers(t *testing.T) {
	r := newRecorder(t, 2, noMask)
	d, memory := filled()
	want, _ := filled()
	r.Decided(&d)
	c := audit.Closing{ID: d.ID, Attempt: 2, Termination: d.Subject}
	r.Closed(&c)
	for i := range memory {
		memory[i] = 'X'
	}
	d.Shadow[0], d.Flags[0] = "X", "X"
	if diff := cmp.Diff(want, r.ring[0].record()); diff != "" {
		t.Errorf("every text of a record is kept (-want +got):\n%s", diff)
	}
	text, err := json.Marshal(r.Last(1, Filter{}))
	if err != nil || strings.Contains(string(text), "X") {
		t.Errorf("got %s, %v", text, err)
	}
	shown := string(text)
	v := reflect.ValueOf(&want).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.String && !strings.Contains(shown, `"`+v.Field(i).String()+`"`) {
			t.Errorf("%s is not shown in %s", v.Type().Field(i).Name, shown)
		}
	}
}

// A copy that is being shown does not change when its place in the ring is used again.
func TestACopyStays(t *testing.T) {
	r := newRecorder(t, 1, noMask)
	r.Decided(&audit.Record{ID: "first", Subject: "alice"})
	copied := r.entries()
	r.Decided(&audit.Record{ID: "other", Subject: "carol"})
	if got := copied[0].record(); got.ID != "first" || got.Subject != "alice" {
		t.Errorf("got %q of %q, want the first of alice", got.ID, got.Subject)
	}
}

func TestTheDecisionsAsJSON(t *testing.T) {
	r := newRecorder(t, 300, noMask)
	for i := range 200 {
		r.Decided(&audit.Record{ID: fmt.Sprint(i), Decision: "deny", Subject: "</script>\u202e\xff"})
	}
	for query, want := range map[string]int{"": 200, "?n=7": 7, "?n=1024": 200, "?decision=allow": 0, "?subject=script&n=3": 3} {
		rec := httptest.NewRecorder()
		r.ServeHTTP(rec, httptest.NewRequest("GET", "/debug/decisions"+query, nil))
		var got struct{ Decisions []Decision }
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || rec.Code != 200 || len(got.Decisions) != want || got.Decisions == nil {
			t.Errorf("%s: %d, %v, %d decisions, want %d", query, rec.Code, err, len(got.Decisions), want)
		}
		if strings.Contains(rec.Body.String(), "</script>") || rec.Header().Get("Content-Type") != "application/json" || rec.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: an answer that a browser might take for HTML: %v", query, rec.Header())
		}
	}
	for _, query := range []string{"?n=0", "?n=-1", "?n=1025", "?n=x", "?decision=%3Cscript%3E", "?rule=" + strings.Repeat("r", MaxName+1)} {
		rec := httptest.NewRecorder()
		r.ServeHTTP(rec, httptest.NewRequest("GET", "/debug/decisions"+query, nil))
		if rec.Code != 400 || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("%s: status %d of type %q, want 400 of text/plain", query, rec.Code, rec.Header().Get("Content-Type"))
		}
	}
}

func TestManyWriteAndRead(t *testing.T) {
	r := newRecorder(t, 100, noMask)
	var group sync.WaitGroup
	for k := range 4 {
		group.Go(func() {
			for i := range 2000 {
				id := fmt.Sprint(k, "-", i)
				r.Decided(&audit.Record{ID: id, Subject: id})
				r.Closed(&audit.Closing{ID: id, Status: 200})
			}
		})
	}
	group.Go(func() {
		for range 50 {
			all := r.Last(MaxDecisions, Filter{})
			seen := map[string]bool{}
			for _, d := range all {
				if d.ID != d.Subject || seen[d.ID] {
					t.Errorf("decision %q of %q, seen before: %t", d.ID, d.Subject, seen[d.ID])
				}
				seen[d.ID] = true
			}
		}
	})
	group.Wait()
	if got := len(r.Last(MaxDecisions, Filter{})); got != 100 {
		t.Errorf("%d decisions are left, want 100", got)
	}
}

func BenchmarkRecorder(b *testing.B) {
	record := audit.Record{
		ID: "a6ef25ac-fb92-450e-ad9f-fd57b82feef8", Attempt: 1, Time: time.Now(), Decision: "allow", Status: 200, Subject: "alice@example.com", Issuer: "corp", Source: "192.0.2.7",
		HTTPMethod: "POST", URI: "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent", Project: "acme-ai",
		Location: "europe-west1", Publisher: "google", Model: "gemini-2.5-flash", Method: "generateContent", Role: "search", Rule: "search-gemini",
		Account: "vx-search@acme-ai.iam.gserviceaccount.com", Policy: strings.Repeat("0", 64), TokenFingerprint: "0123456789abcdef", UserAgent: "python-genai/1.2.3",
	}
	b.Run("decided", func(b *testing.B) {
		r := newRecorder(b, 0, noMask)
		b.ReportAllocs()
		for b.Loop() {
			r.Decided(&record)
		}
	})
	b.Run("decided by several", func(b *testing.B) {
		r := newRecorder(b, 0, noMask)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r.Decided(&record)
			}
		})
	})
	b.Run("closed, not there any more", func(b *testing.B) {
		r := newRecorder(b, 0, noMask)
		for i := range DefaultDecisions {
			r.Decided(&audit.Record{ID: fmt.Sprint(i)})
		}
		c := audit.Closing{ID: "0123456789abcdef", Status: 200}
		b.ReportAllocs()
		for b.Loop() {
			r.Closed(&c)
		}
	})
	b.Run("last 50", func(b *testing.B) {
		r := newRecorder(b, 0, noMask)
		for range DefaultDecisions {
			r.Decided(&record)
		}
		b.ReportAllocs()
		for b.Loop() {
			r.Last(50, Filter{})
		}
	})
}
