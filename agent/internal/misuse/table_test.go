package misuse

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestAMillionCallersTakeBoundedMemory(t *testing.T) {
	d := newDetector(t, Config{})
	before := heap()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 1_000_000 {
		at := monday.Add(time.Duration(i) * time.Second)
		id := random.Uint64()
		if i%2 == 0 {
			d.Decision(deny(at, "", fmt.Sprintf("2001:db8:%x:%x::1", id&0xffff, id>>16&0xffff), 401))
			continue
		}
		r := allow(at, fmt.Sprint(id)+strings.Repeat("x", 400), fmt.Sprint("model ", id%100_000))
		d.Decision(r)
		d.Closing(used(at, r.Subject, 1000))
	}
	s, took := d.Stats(), heap()-before
	if s.Subjects > 10_000 || s.Sources > 10_000 || s.Models > 4096 {
		t.Errorf("%+v, want at most 10,000 subjects and sources, and 4,096 models", s)
	}
	if s.Subjects < 9_900 || s.SubjectsEvicted < 480_000 {
		t.Errorf("%+v, want the room to be used and the rest evicted", s)
	}
	perEntry := float64(took) / float64(s.Subjects+s.Sources+s.Models)
	t.Logf("%d bytes for %+v, %.0f each", took, s, perEntry)
	if most := int64(10_000*800 + 10_000*300 + 4096*300); took > most {
		t.Errorf("%d bytes, want at most the %d that the thresholds' documentation names", took, most)
	}
	runtime.KeepAlive(d)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestUnverifiedCallersDoNotTakeTheRoomOfVerifiedOnes(t *testing.T) {
	d := newDetector(t, Config{MaxSubjects: 100})
	day := officeMonth(t, d, "ann")
	for i := range 100_000 {
		r := deny(day, "", fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), 401)
		r.Issuer = fmt.Sprint("forged ", i)
		d.Decision(r)
	}
	if s := d.Stats(); s.Subjects != 1 || s.SubjectsEvicted != 0 {
		t.Errorf("%+v, want the one subject", s)
	}
	if flags := d.Decision(allow(day.Add(2*time.Hour), "ann", "m")); len(flags) != 1 {
		t.Errorf("flags %v, want UNUSUAL_HOUR: what was learned is gone", flags)
	}
}

func TestCallersWhoPassByDoNotTakeTheRoomOfThoseWhoStay(t *testing.T) {
	d := newDetector(t, Config{MaxSubjects: 160})
	day := officeMonth(t, d, "ann")
	for i := range 10_000 {
		d.Decision(allow(day, fmt.Sprint("pull request ", i), "m"))
	}
	if flags := d.Decision(allow(day.Add(2*time.Hour), "ann", "m")); len(flags) != 1 {
		t.Errorf("flags %v, want UNUSUAL_HOUR: what was learned is gone", flags)
	}
}

func TestTheOldestOfThoseWhoStayMakesRoomInTheEnd(t *testing.T) {
	d := newDetector(t, Config{MaxSubjects: shards})
	for i := range 1000 {
		for day := range 2 {
			d.Decision(allow(monday.Add(time.Duration(i*2+day)*24*time.Hour), fmt.Sprint(i), "m"))
		}
	}
	if s := d.Stats(); s.Subjects != shards {
		t.Errorf("%+v, want %d subjects", s, shards)
	}
}

func TestCallersAreKeptApart(t *testing.T) {
	if keyOf("a", "bc") == keyOf("ab", "c") || keyOf("a", "b") == keyOf("b", "b") {
		t.Error("two callers have the same key")
	}
	long := strings.Repeat("x", 5000)
	if keyOf("a", long) == keyOf("a", long+"y") {
		t.Error("two callers with long names have the same key")
	}
}

func TestSources(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8:1:2::3", "2001:db8:1:2:ffff::9", true},
		{"2001:db8:1:2::3", "2001:db8:1:3::3", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"", "no address", true},
		{"", "0.0.0.0", false},
	} {
		if got := sourceOf(test.a) == sourceOf(test.b); got != test.same {
			t.Errorf("%q and %q are the same: %v, want %v", test.a, test.b, got, test.same)
		}
	}
}

func TestWithoutVersion(t *testing.T) {
	for name, want := range map[string]string{
		"gemini-2.5-flash": "gemini-2.5-flash", "gemini-2.5-flash-001": "gemini-2.5-flash", "claude-opus-4-1@20250805": "claude-opus-4-1",
		"codestral@default": "codestral", "-001": "-001", "": "", "text-embedding-005": "text-embedding", "llama-405": "llama", "a-12b": "a-12b",
	} {
		if got := withoutVersion(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}
