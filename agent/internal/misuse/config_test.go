package misuse

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestThresholdsAreCompleteAndDocumented(t *testing.T) {
	members := map[any]bool{}
	c := &Config{}
	for _, threshold := range Thresholds() {
		if threshold.Doc == "" || !strings.HasSuffix(threshold.Doc, ".") {
			t.Errorf("%s has no documentation: %q", threshold.Name, threshold.Doc)
		}
		members[threshold.member(c)] = true
	}
	if got, want := len(members), reflect.TypeFor[Config]().NumField()-1; got != want {
		t.Errorf("%d thresholds, want one for each of the %d members but OnFlag", got, want)
	}
}

func TestTheZeroConfigHasTheDefaults(t *testing.T) {
	want, err := Parse("")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Config{}.completed()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want.Learning != 28*24*time.Hour || want.SpikeCall != 50_000 || want.HourShare != 0.05 {
		t.Errorf("%+v is not what is documented", want)
	}
}

func TestParse(t *testing.T) {
	c, err := Parse("denials=30, spike_factor=2.5,learning=48h,spike_day=5000000")
	if err != nil || c.Denials != 30 || c.SpikeFactor != 2.5 || c.Learning != 48*time.Hour || c.SpikeDay != 5_000_000 || c.SourceDenials != 60 {
		t.Errorf("got %+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"denials":                         `misuse: threshold denials="": strconv.Atoi: parsing "": invalid syntax`,
		"denials=0":                       `misuse: threshold denials="0": denials: out of range: want 1 to 1e+06`,
		"denials=1,denials=2":             `misuse: threshold "denials" is unknown or given twice`,
		"nonsense=1":                      `misuse: threshold "nonsense" is unknown or given twice`,
		",":                               `misuse: threshold "" is unknown or given twice`,
		"hour_share=NaN":                  `misuse: threshold hour_share="NaN": hour_share: out of range: want 0.001 to 1`,
		"spike_factor=Inf":                `misuse: threshold spike_factor="Inf": spike_factor: out of range: want 1 to 1e+06`,
		"learning=1ms":                    `misuse: threshold learning="1ms": learning: out of range: want 1 to 3.16224e+07`,
		"max_subjects=1":                  `misuse: threshold max_subjects="1": max_subjects: out of range: want 16 to 1e+06`,
		"spike_call=99999999999999999999": `misuse: threshold spike_call="99999999999999999999": strconv.ParseInt: parsing "99999999999999999999": value out of range`,
	} {
		c, err := Parse(text)
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
		if diff := cmp.Diff(Config{}, c); diff != "" {
			t.Errorf("%q: got a config beside the error:\n%s", text, diff)
		}
	}
	if d, err := New(Config{Denials: -1}); err == nil || d != nil {
		t.Errorf("New with a negative threshold: got %v, %v", d, err)
	}
}
