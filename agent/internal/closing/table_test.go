package closing

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vertex-spoa/agent/internal/audit"
)

// allow is the record of a call that is let through.
func allow(id string, attempt int64) *audit.Record {
	return &audit.Record{
		Time: time.UnixMicro(1_000_000 * attempt).UTC(), ID: id, Attempt: attempt, Decision: "allow", Status: 200,
		Issuer: "corp", Subject: "s@example.com", Project: "p", Location: "europe-west1", Publisher: "google", Model: "gemini-2.5-flash",
		Endpoint: "", Method: "streamGenerateContent", Stream: true, Role: "search", Rule: "r", Account: "a@example.com", Policy: "91cc224a",
		TokenFingerprint: "0011223344556677",
	}
}

// lineOf is a line with that id and further members.
func lineOf(t testing.TB, id, members string) *line {
	t.Helper()
	l, err := parse(fmt.Appendf(nil, `{"id":%q,"st":200,"term":"--","bytes_in":1,"bytes_out":2%s}`, id, members))
	if err != nil {
		t.Fatal(err)
	}
	return &l
}

const (
	allowed  = `,"decision":"allow","attempt":1,"usage_input":3`
	denied   = `,"decision":"deny","attempt":1`
	nothing  = `,"decision":"","attempt":0`
	timedOut = `,"decision":"","attempt":1,"spoe_error":258`
)

var exceptTime = cmpopts.IgnoreFields(audit.Closing{}, "Time")

func TestAClosingHasBothHalves(t *testing.T) {
	table := newTable(time.Minute, 10)
	r := allow("a", 1)
	if c := table.decided(r); c != nil {
		t.Fatalf("a decision alone closes %v", c)
	}
	*r = audit.Record{} // the record is not kept
	got, result := table.closed(lineOf(t, "a", `,"decision":"deny","backend":"b","server":"s","t_queue":1,"t_connect":2,"t_response":3,"t_active":4,`+
		`"usage_input":5,"usage_output":6,"usage_cached":-1,"usage_total":11`))
	want := &audit.Closing{
		ID: "a", Attempt: 1, DecisionTime: time.Unix(1, 0).UTC(), Issuer: "corp", Subject: "s@example.com", Role: "search", Rule: "r",
		Account: "a@example.com", Project: "p", Location: "europe-west1", Publisher: "google", Model: "gemini-2.5-flash",
		Method: "streamGenerateContent", Policy: "91cc224a", Stream: true, TokenFingerprint: "0011223344556677",
		Status: 200, Termination: "--", Backend: "b", Server: "s", BytesIn: 1, BytesOut: 2, QueueMS: 1, ConnectMS: 2, HeadersMS: 3, ActiveMS: 4,
		Usage: &audit.Usage{Input: 5, Output: 6, Thoughts: -1, Cached: -1, Total: 11},
	}
	if diff := cmp.Diff(want, got, exceptTime); diff != "" || result != Joined {
		t.Errorf("%s, -want +got:\n%s", result, diff)
	}
	if got.Time.IsZero() || got.Time.Location() != time.UTC || got.Time.Nanosecond()%1000 != 0 {
		t.Errorf("time %v, want now in UTC and µs", got.Time)
	}
}

func TestUsageThatNobodyKnowsIsNone(t *testing.T) {
	table := newTable(time.Minute, 10)
	table.decided(allow("a", 1))
	got, _ := table.closed(lineOf(t, "a", `,"usage_input":-1,"usage_output":-1,"usage_thoughts":-1,"usage_cached":-1,"usage_total":-1`))
	if got.Usage != nil {
		t.Errorf("usage %v, want none", got.Usage)
	}
}

// Each step is a decision ("1", "2": an allow of that attempt), one that was not delivered ("u1"), a line, or the passing of time; what it
// brings about stands behind the arrow.
func TestWhatComesInWhichOrder(t *testing.T) {
	for name, steps := range map[string][]string{
		"a decision and its line":                        {"1 >", "allow > joined 1"},
		"an id known as allowed, whatever the line says": {"1 >", "deny > joined 1"},
		"HAProxy gave up after the decision":             {"1 >", "timeout > joined 1"},
		"a line of somebody else's":                      {"allow > unjoined"},
		"a denial has no closing":                        {"deny > refused"},
		"HAProxy's own refusal has none":                 {"none > refused"},
		"a second line":                                  {"1 >", "allow > joined 1", "allow > repeated"},
		"a second line of somebody else's":               {"allow > unjoined", "allow > repeated"},
		"the second attempt wins":                        {"1 >", "2 >", "allow > joined 2"},
		"the second attempt wins although it is earlier": {"2 >", "1 >", "allow > joined 2"},
		"no line":                    {"1 >", "wait > missing 1", "wait >"},
		"no line, and then it comes": {"1 >", "wait > missing 1", "allow > unjoined", "allow > repeated"},
		"no line, and then HAProxy says it was refused":   {"1 >", "wait > missing 1", "none > refused"},
		"HAProxy gave up before the decision":             {"timeout > early", "1 > joined 1", "wait >"},
		"HAProxy gave up, and there is no decision":       {"timeout > early", "wait >", "1 >", "wait > missing 1"},
		"HAProxy gave up twice":                           {"timeout > early", "timeout > repeated", "1 > joined 1"},
		"the first attempt is closed, the second is late": {"1 >", "timeout > joined 1", "2 >", "wait >"},
		"an answer that HAProxy has not had":              {"1 >", "u1 >", "wait >"},
		"that of the first attempt":                       {"1 >", "2 >", "u1 >", "allow > joined 2"},
		"that of a call which is closed":                  {"1 >", "timeout > joined 1", "u1 >", "wait >"},
		"a minute later an id can come again":             {"1 >", "allow > joined 1", "wait >", "1 >", "allow > joined 1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := newTable(10*time.Minute, 10)
				for i, step := range steps {
					do, want, _ := strings.Cut(step, " >")
					if got := play(t, table, do); got != strings.TrimSpace(want) {
						t.Fatalf("step %d, %q: got %q", i, step, got)
					}
				}
			})
		})
	}
}

func play(t *testing.T, table *table, do string) string {
	lines := map[string]string{"allow": allowed, "deny": denied, "none": nothing, "timeout": timedOut}
	var closings []*audit.Closing
	result := Joined
	switch do {
	case "1", "2":
		closings = append(closings, table.decided(allow("a", int64(do[0]-'0'))))
	case "u1":
		table.undelivered("a", 1)
	case "wait":
		<-time.After(11 * time.Minute) // of the bubble
		closings = table.expire(100)
	default:
		var c *audit.Closing
		c, result = table.closed(lineOf(t, "a", lines[do]))
		if c == nil {
			return result
		}
		closings = append(closings, c)
	}
	closings = slices.DeleteFunc(closings, func(c *audit.Closing) bool { return c == nil })
	switch {
	case len(closings) == 0:
		return ""
	case len(closings) > 1:
		return fmt.Sprintf("%d closings", len(closings))
	}
	c := closings[0]
	if c.Missing {
		result = "missing"
	}
	if c.Unjoined {
		return Unjoined
	}
	return fmt.Sprintf("%s %d", result, c.Attempt)
}

func TestWhenTheTableIsFullTheOldestIsMissing(t *testing.T) {
	table := newTable(time.Minute, 3)
	for _, id := range []string{"a", "b", "c"} {
		if c := table.decided(allow(id, 1)); c != nil {
			t.Fatalf("%s closes %v", id, c)
		}
	}
	table.decided(allow("a", 2)) // is the youngest now
	c := table.decided(allow("d", 1))
	if c == nil || c.ID != "b" || !c.Missing || c.Subject != "s@example.com" {
		t.Errorf("got %+v, want b as missing", c)
	}
	if n := table.pending(); n != 3 {
		t.Errorf("%d wait, want 3", n)
	}
}

func TestExpiryGivesNoMoreThanThereIsRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(time.Minute, 10000)
		for i := range 100 {
			table.decided(allow(fmt.Sprint(i), 1))
		}
		if got := len(table.expire(1000)); got != 0 {
			t.Errorf("%d are missing at once", got)
		}
		<-time.After(time.Minute)
		if got := len(table.expire(30)); got != 30 || table.pending() != 70 {
			t.Errorf("%d are missing and %d wait, want 30 and 70", got, table.pending())
		}
		if got := len(table.expire(1000)); got != 70 {
			t.Errorf("then %d are missing, want 70", got)
		}
	})
}

// Floods of ids and of long texts leave no more behind than the bounds say.
func TestMemoryIsBounded(t *testing.T) {
	const maxPending = 4096
	table := newTable(time.Hour, maxPending)
	long := allow("", 1)
	long.Subject = strings.Repeat("x", 10000)
	for i := range 20 * maxPending {
		long.ID = fmt.Sprint(i)
		table.decided(long)
		table.closed(lineOf(t, "u"+long.ID, allowed))
		table.closed(lineOf(t, "e"+long.ID, timedOut))
		if i%2 == 0 {
			table.closed(lineOf(t, long.ID, allowed))
		}
	}
	slots := 0
	for i := range table.parts {
		s := &table.parts[i]
		slots += len(s.slots)
		if len(s.index) > len(s.slots) {
			t.Errorf("%d ids for %d slots", len(s.index), len(s.slots))
		}
		for _, c := range s.slots {
			if c.state != waiting && cap(c.texts) > maxSlotText {
				t.Fatalf("%d bytes of texts that nobody waits for, want %d at most", cap(c.texts), maxSlotText)
			}
		}
	}
	if want := maxPending + maxPending/8 + maxPending/16 + 3*shards; slots > want {
		t.Errorf("%d slots, want %d at most", slots, want)
	}
}

// Two ids of one hash cannot be told apart by it, and are all the same.
func TestTwoIDsOfOneHashAreTwoCalls(t *testing.T) {
	table := newTable(time.Minute, 10)
	s := &table.parts[0]
	hash := maphash.String(table.seed, "a")
	s.index[hash+1] = none // so that the slot of another id is found under that of "a"
	delete(s.index, hash+1)
	table.decided(allow("b", 1))
	other := s.index[maphash.String(table.seed, "b")]
	s.index[hash] = other
	if c := table.decided(allow("a", 1)); c == nil || !c.Missing || c.ID != "a" {
		t.Errorf("got %+v, want a as missing", c)
	}
	if c, result := table.closed(lineOf(t, "a", allowed)); result != Unjoined || c.ID != "a" || c.Subject != "" {
		t.Errorf("got %s %+v, want a unjoined", result, c)
	}
	if c, result := table.closed(lineOf(t, "b", allowed)); result != Joined || c.ID != "b" {
		t.Errorf("got %s %+v, want b joined", result, c)
	}
}

// Whatever comes in whatever order, every call that was let through has exactly one closing or is missing once, and no closing has the
// numbers or the caller of another call.
func TestEveryCallHasOneClosingInAnyOrder(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) { interleave(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func interleave(t *testing.T, random *rand.Rand) {
	table := newTable(time.Minute, []int{5, 20, 2000}[random.IntN(3)])
	var steps []func() *audit.Closing
	const calls = 100
	order := func(events ...func() *audit.Closing) { // keeps the order of a call's own events
		at := 0
		for _, e := range events {
			at += random.IntN(len(steps) - at + 1)
			steps = slices.Insert(steps, at, e)
			at++
		}
	}
	lines := make([]bool, calls)
	for i := range calls {
		id := fmt.Sprint("call", i)
		decided := func(attempt int64) func() *audit.Closing {
			return func() *audit.Closing {
				r := allow(id, attempt)
				r.Subject = id
				return table.decided(r)
			}
		}
		line := func() *audit.Closing {
			lines[i] = true
			l := lineOf(t, id, allowed)
			l.number[fieldActive] = int64(i)
			c, _ := table.closed(l)
			return c
		}
		switch random.IntN(6) {
		case 0:
			order(decided(1)) // no line
		case 1:
			order(decided(1), decided(2), line)
		case 2:
			order(decided(1), func() *audit.Closing {
				first := line()
				if again := line(); again != nil {
					t.Errorf("a line that came twice closes %v", again)
				}
				return first
			})
		case 3:
			order(decided(2), decided(1), line)
		default:
			order(decided(1), line)
		}
	}
	closings := map[string][]*audit.Closing{}
	note := func(c *audit.Closing) {
		if c != nil {
			closings[c.ID] = append(closings[c.ID], c)
		}
	}
	for _, step := range steps {
		note(step())
		<-time.After(time.Duration(random.IntN(3000)) * time.Millisecond)
		for _, c := range table.expire(1000) {
			note(c)
		}
	}
	<-time.After(2 * time.Minute)
	for _, c := range table.expire(1000) {
		note(c)
	}
	for i := range calls {
		checkCall(t, closings[fmt.Sprint("call", i)], int64(i), lines[i])
	}
	if n := table.pending(); n != 0 {
		t.Errorf("%d calls still wait", n)
	}
}

// checkCall checks what was written of one call. A line that came after the wait was over, or after the call had to make room, has a closing
// of its own.
func checkCall(t *testing.T, got []*audit.Closing, i int64, line bool) {
	t.Helper()
	joined, missing, unjoined := 0, 0, 0
	for _, c := range got {
		switch {
		case c.Missing:
			missing++
		case c.Unjoined:
			unjoined++
		default:
			joined++
		}
		if !c.Missing && c.ActiveMS != i {
			t.Errorf("call %d has the numbers of call %d", i, c.ActiveMS)
		}
		if !c.Unjoined && c.Subject != c.ID {
			t.Errorf("call %s has the caller of %s", c.ID, c.Subject)
		}
	}
	if joined+missing < 1 || joined+unjoined > 1 || line != (joined+unjoined == 1) {
		t.Errorf("call %d, line came %t: %d joined, %d missing, %d unjoined", i, line, joined, missing, unjoined)
	}
}

// BenchmarkDecided is what a decision costs while 50,000 others wait, with what it costs to take it back.
func BenchmarkDecided(b *testing.B) {
	table := newTable(time.Hour, DefaultMaxPending)
	ids := make([]string, 50000)
	r := allow("", 1)
	for i := range ids {
		ids[i] = fmt.Sprintf("0f6b513a-1d63-4eb5-9573-%012d", i)
		r.ID = ids[i]
		table.decided(r)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.ID = ids[i%len(ids)]
		table.undelivered(r.ID, 1)
		table.decided(r)
	}
}

func BenchmarkDecidedAndClosed(b *testing.B) {
	table := newTable(time.Hour, DefaultMaxPending)
	r := allow("0f6b513a-1d63-4eb5-9573-9b3165310c68", 1)
	id := []byte(r.ID)
	l := lineOf(b, r.ID, allowed)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id[35] = byte('a' + i%16)
		id[34] = byte('a' + i/16%16)
		id[33] = byte('a' + i/256%16)
		id[32] = byte('a' + i/4096%16)
		id[31] = byte('a' + i/65536%16)
		r.ID = string(id)
		l.text[fieldID] = id
		table.decided(r)
		table.closed(l)
	}
}
