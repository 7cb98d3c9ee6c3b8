package misuse

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/audit"
)

// monday is one at midnight.
var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func newDetector(t testing.TB, c Config) *Detector {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func allow(at time.Time, subject, model string) *audit.Record {
	return &audit.Record{Time: at, Decision: "allow", Status: 200, Issuer: "corp", Subject: subject, Role: "role", Publisher: "google", Model: model, Source: "192.0.2.1"}
}

func deny(at time.Time, subject, source string, status int) *audit.Record {
	r := &audit.Record{Time: at, Decision: "deny", Status: status, Reason: "NO_RULE", Subject: subject, Source: source}
	if subject != "" {
		r.Issuer = "corp"
	}
	return r
}

func used(at time.Time, subject string, tokens int64) *audit.Closing {
	return &audit.Closing{Time: at, Issuer: "corp", Subject: subject, Usage: &audit.Usage{Input: -1, Output: -1, Thoughts: -1, Cached: -1, Total: tokens}}
}

// officeMonth lets a subject work for 35 days from 9 to 17 UTC, one call of 1,000 tokens every half an hour.
func officeMonth(t testing.TB, d *Detector, subject string) time.Time {
	t.Helper()
	for day := range 35 {
		for half := range 16 {
			at := monday.Add(time.Duration(day)*24*time.Hour + 9*time.Hour + time.Duration(half)*30*time.Minute)
			flags := slices.Concat(d.Decision(allow(at, subject, "m")), d.Closing(used(at, subject, 1000)))
			if flags != nil {
				t.Fatalf("day %d: flags %v while %s works as ever", day, flags, subject)
			}
		}
	}
	return monday.Add(35 * 24 * time.Hour)
}

func TestEachSignIsFlaggedOnce(t *testing.T) {
	burst := func(subject, source string, n int) func(*Detector, time.Time) []string {
		return func(d *Detector, day time.Time) (flags []string) {
			for i := range n {
				flags = append(flags, d.Decision(deny(day.Add(10*time.Hour+time.Duration(i)*time.Second), subject, source, 403))...)
			}
			return flags
		}
	}
	calls := func(n int, hour time.Duration, model string) func(*Detector, time.Time) []string {
		return func(d *Detector, day time.Time) (flags []string) {
			for i := range n {
				flags = append(flags, d.Decision(allow(day.Add(hour*time.Hour+time.Duration(i)*time.Second), "ann", model))...)
			}
			return flags
		}
	}
	spend := func(n int, tokens int64) func(*Detector, time.Time) []string {
		return func(d *Detector, day time.Time) (flags []string) {
			for i := range n {
				flags = append(flags, d.Closing(used(day.Add(10*time.Hour+time.Duration(i)*time.Second), "ann", tokens))...)
			}
			return flags
		}
	}
	for _, test := range []struct {
		name string
		do   func(*Detector, time.Time) []string
		want []string
	}{
		{"as many denials of a caller as are no burst", burst("ann", "", 24), nil},
		{"a burst of denials of a caller", burst("ann", "", 70), []string{DenialBurst}},
		{"a burst of denials of a caller who is new", burst("new", "", 70), []string{DenialBurst}},
		{"as many denials of unknown callers as are no burst", burst("", "192.0.2.1", 59), nil},
		{"a burst of denials of unknown callers that grows", burst("", "192.0.2.1", 1000), []string{DenialBurst}},
		{"a burst of denials of unknown callers at no address", burst("", "", 100), []string{DenialBurst}},
		{"a model that is new", calls(20, 10, "other"), []string{NewModel}},
		{"another version of the model", calls(20, 10, "m-001"), nil},
		{"an hour that is unusual", calls(20, 2, "m"), []string{UnusualHour}},
		{"an hour that is next to the usual ones", calls(20, 18, "m"), nil},
		{"two signs at once", calls(20, 2, "other"), []string{NewModel, UnusualHour}},
		{"a large call", spend(3, 60_000), []string{TokenSpike}},
		{"a call that is no large one in itself", spend(1, 40_000), nil},
		{"many calls in an hour", spend(400, 1000), []string{TokenSpike}},
	} {
		t.Run(test.name, func(t *testing.T) {
			told := map[string]int{}
			d := newDetector(t, Config{OnFlag: func(signal string) { told[signal]++ }})
			day := officeMonth(t, d, "ann")
			got := test.do(d, day)
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("flags (-want +got):\n%s", diff)
			}
			for _, signal := range Signals() {
				if want := strings.Count(strings.Join(test.want, " "), signal); told[signal] != want {
					t.Errorf("OnFlag was told of %s %d times, want %d", signal, told[signal], want)
				}
			}
		})
	}
}

func TestWhatIsNoDoingOfTheCallersIsNoBurst(t *testing.T) {
	d := newDetector(t, Config{})
	for _, status := range []int{429, 500, 503} {
		for i := range 500 {
			for _, r := range []*audit.Record{deny(monday.Add(time.Duration(i)), "ann", "", status), deny(monday, "", "192.0.2.1", status)} {
				if flags := d.Decision(r); flags != nil {
					t.Fatalf("denial %d of status %d: flags %v, want none", i, status, flags)
				}
			}
		}
	}
}

func TestABurstIsOverWhenTheDenialsHaveCeased(t *testing.T) {
	d := newDetector(t, Config{})
	var got []string
	// A machine that is denied for six hours, and the same an hour and a half later, and the next day.
	for _, start := range []time.Duration{0, 7*time.Hour + 30*time.Minute, 24 * time.Hour} {
		for i := range 6 * 3600 / 4 {
			at := monday.Add(start + time.Duration(i)*4*time.Second)
			for _, f := range d.Decision(deny(at, "", "192.0.2.1", 401)) {
				got = append(got, f+" "+at.Format("02 15:04"))
			}
		}
	}
	want := []string{"DENIAL_BURST 02 00:03", "DENIAL_BURST 02 07:33"} // the next day, so many are usual
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
}

func TestUnknownUsageTeachesNothingAndIsNotZero(t *testing.T) {
	d := newDetector(t, Config{})
	day := officeMonth(t, d, "ann")
	before := d.encode()
	for _, c := range []*audit.Closing{
		{Time: day, Issuer: "corp", Subject: "ann"},
		{Time: day, Issuer: "corp", Subject: "ann", Missing: true},
		{Time: day, Issuer: "corp", Subject: "ann", Usage: &audit.Usage{Input: -1, Output: -1, Thoughts: -1, Cached: 9e9, Total: -1}},
		{Time: day, Unjoined: true, Usage: &audit.Usage{Total: 9e9}},
	} {
		if flags := d.Closing(c); flags != nil {
			t.Errorf("%+v: flags %v, want none", c, flags)
		}
	}
	if !slices.Equal(before, d.encode()) {
		t.Error("a closing without usage has changed what is known of the caller")
	}
	if flags := d.Closing(&audit.Closing{Time: day, Issuer: "corp", Subject: "ann", Usage: &audit.Usage{Input: 60_000, Output: -1, Thoughts: -1, Cached: -1, Total: -1}}); flags == nil {
		t.Error("a large prompt whose answer is unknown is not flagged")
	}
}

func TestATeamThatMovesToAModelIsNotFlaggedAsAWhole(t *testing.T) {
	d := newDetector(t, Config{})
	var day time.Time
	for i := range 12 {
		day = officeMonth(t, d, fmt.Sprint("member ", i))
	}
	flagged := 0
	for i := range 12 {
		flagged += len(d.Decision(allow(day.Add(10*time.Hour+time.Duration(i)*time.Hour/4), fmt.Sprint("member ", i), "next")))
	}
	if flagged != 3 {
		t.Errorf("%d of 12 are flagged, want the first 3", flagged)
	}
}

func TestAModelThatPeersHaveIsUsualForTheRoleAndNotForOthers(t *testing.T) {
	d := newDetector(t, Config{Wave: crowdSize})
	for i := range 3 {
		officeMonth(t, d, fmt.Sprint("peer ", i))
		d.Decision(allow(monday.Add(10*time.Hour), fmt.Sprint("peer ", i), "shared"))
	}
	day := officeMonth(t, d, "ann").Add(10 * time.Hour)
	officeMonth(t, d, "bob")
	if flags := d.Decision(allow(day, "ann", "shared")); flags != nil {
		t.Errorf("a peer: flags %v, want none", flags)
	}
	stranger := allow(day, "bob", "shared")
	stranger.Role = "other role"
	if flags := d.Decision(stranger); !slices.Equal(flags, []string{NewModel}) {
		t.Errorf("somebody of another role: flags %v, want NEW_MODEL", flags)
	}
}

func TestWhoTriesOutModelsIsNotFlaggedAndMakesNoModelUsual(t *testing.T) {
	d := newDetector(t, Config{Peers: 1})
	officeMonth(t, d, "ann")
	day := officeMonth(t, d, "bob").Add(10 * time.Hour)
	for i := range 6 { // of the month that has passed
		d.Decision(allow(day.Add(time.Duration(5*i-35)*24*time.Hour), "tester", fmt.Sprint("model ", i)))
		d.Decision(allow(day.Add(time.Duration(5*i-34)*24*time.Hour), "tester", "m"))
	}
	if flags := d.Decision(allow(day, "tester", "latest")); flags != nil {
		t.Errorf("flags %v, want none", flags)
	}
	if flags := d.Decision(allow(day, "ann", "latest")); !slices.Equal(flags, []string{NewModel}) {
		t.Errorf("somebody else: flags %v, want NEW_MODEL", flags)
	}
	if flags := d.Decision(allow(day, "bob", "latest")); flags != nil {
		t.Errorf("the next one: flags %v, want none", flags)
	}
}

func TestTokensThatAreNotAllSayNothingOfWhatIsUsual(t *testing.T) {
	c, err := Parse("")
	if err != nil {
		t.Fatal(err)
	}
	var s subject
	s.spend(100, false, 1000, &c)
	if s.Spend.Call.N != 0 {
		t.Error("a part of a call's tokens was learned as the whole")
	}
	s.spend(100, true, 1000, &c)
	if s.Spend.Call.N != 1 {
		t.Error("a call's tokens were not learned")
	}
}

func TestWhereCallsDifferByNatureALargeOneIsNoSpike(t *testing.T) {
	c, err := Parse("")
	if err != nil {
		t.Fatal(err)
	}
	var even, wild baseline
	for i := range 100 {
		even.learn(10_000, &calls, int32(i))
		wild.learn([]float32{1, 100, 10_000}[i%3], &calls, int32(i))
	}
	if got := even.times(70_000, 50_000, &calls, 100, &c); got < 1 {
		t.Errorf("for a caller whose calls are alike it is %.2f times a spike, want at least 1", got)
	}
	if got := wild.times(70_000, 50_000, &calls, 100, &c); got != 0 {
		t.Errorf("for a caller whose calls differ it is %.2f times a spike, want 0", got)
	}
}

func TestWhatWasOnceIsNoSpikeTheNextDay(t *testing.T) {
	c, err := Parse("")
	if err != nil {
		t.Fatal(err)
	}
	var b baseline
	for i := range 100 {
		b.learn(10_000, &calls, int32(i))
	}
	b.learn(500_000, &calls, 100)
	if got := b.times(500_000, 50_000, &calls, 100, &c); got < 1 {
		t.Errorf("again on the same day it is %.2f times a spike, want at least 1", got)
	}
	if got := b.times(600_000, 50_000, &calls, 101, &c); got >= 1 {
		t.Errorf("the next day it is %.2f times a spike, want less than 1", got)
	}
}

func TestAfterAFlagOnlyFarStrongerSignsAreFlagged(t *testing.T) {
	d := newDetector(t, Config{})
	day := officeMonth(t, d, "ann")
	at := day.Add(10 * time.Hour)
	if flags := d.Decision(allow(at, "ann", "first")); len(flags) != 1 {
		t.Fatalf("flags %v, want NEW_MODEL", flags)
	}
	at = at.Add(24 * time.Hour)
	if flags := slices.Concat(d.Decision(allow(at, "ann", "second")), d.Closing(used(at, "ann", 50_000)), d.Decision(allow(day.Add(51*time.Hour), "ann", "m"))); flags != nil {
		t.Errorf("the days after: flags %v, want none", flags)
	}
	if flags := d.Closing(used(at.Add(72*time.Hour), "ann", 950_000)); !slices.Equal(flags, []string{TokenSpike}) {
		t.Errorf("a call nineteen times as large as the last one: flags %v, want TOKEN_SPIKE", flags)
	}
}

func TestAClockThatWasWrongIsForgotten(t *testing.T) {
	d := newDetector(t, Config{})
	wild := []time.Time{{}, time.Unix(1<<40, 0), time.Unix(-1<<40, 0), time.Unix(1<<62, 0), monday.Add(50 * 365 * 24 * time.Hour)}
	for i := range 100 {
		for _, at := range wild {
			d.Decision(allow(at.Add(time.Duration(i)*time.Hour), "ann", fmt.Sprint(i)))
			d.Decision(deny(at, "ann", "", 403))
			d.Decision(deny(at, "", "192.0.2.1", 403))
			d.Closing(used(at, "ann", 1e6))
		}
	}
	day := officeMonth(t, d, "ann")
	if flags := d.Decision(allow(day.Add(2*time.Hour), "ann", "m")); !slices.Equal(flags, []string{UnusualHour}) {
		t.Errorf("flags %v, want UNUSUAL_HOUR", flags)
	}
}

func TestConcurrentUse(t *testing.T) {
	d := newDetector(t, Config{MaxSubjects: 64, MaxSources: 64, MaxModels: 64, OnFlag: func(string) {}})
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range 3000 {
				at := monday.Add(time.Duration(i) * time.Hour / 4)
				who := fmt.Sprint("subject ", i*(w+1)%100)
				d.Decision(allow(at, who, fmt.Sprint("model ", i%20)))
				d.Decision(deny(at, "", fmt.Sprintf("192.0.2.%d", i%200), 401))
				d.Closing(used(at, who, int64(i)))
				if i%1000 == 0 {
					if err := newDetector(t, Config{}).decode(d.encode()); err != nil {
						t.Error(err)
					}
				}
				if s := d.Stats(); s.Subjects > 64 || s.Sources > 64 || s.Models > 64 {
					t.Errorf("%+v, want at most 64 of each", s)
					return
				}
			}
		})
	}
	group.Wait()
}
