package misuse

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatWasLearnedSurvivesARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "misuse")
	d := newDetector(t, Config{})
	day := officeMonth(t, d, "ann")
	d.Decision(allow(day.Add(10*time.Hour), "passing", "m"))
	for range 2 { // over an older one
		if err := d.Save(file); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v (%v), want 0600", info.Mode(), err)
	}
	if names, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); names != nil {
		t.Errorf("%v are left over", names)
	}
	next := newDetector(t, Config{})
	if err := next.Load(file); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.encode(), next.encode()); diff != "" {
		t.Errorf("what was loaded differs (-want +got):\n%s", diff)
	}
	if flags := next.Decision(allow(day.Add(2*time.Hour), "ann", "other")); !slices.Equal(flags, []string{NewModel, UnusualHour}) {
		t.Errorf("flags %v, want NEW_MODEL and UNUSUAL_HOUR", flags)
	}
}

func TestLoadKeepsToTheRoomThereIs(t *testing.T) {
	d := newDetector(t, Config{})
	for i := range 5000 {
		d.Decision(allow(monday, string(rune('a'+i)), string(rune('a'+i))))
	}
	small := newDetector(t, Config{MaxSubjects: 160, MaxModels: 100})
	if err := small.decode(d.encode()); err != nil {
		t.Fatal(err)
	}
	if s := small.Stats(); s.Subjects != 160 || s.Models != 100 {
		t.Errorf("%+v, want 160 subjects and 100 models", s)
	}
}

func TestAFileThatIsDamagedTeachesNothing(t *testing.T) {
	d := newDetector(t, Config{})
	officeMonth(t, d, "ann")
	good := d.encode()
	signed := func(body string) []byte {
		sum := sha256.Sum256([]byte(body))
		return append([]byte(body), sum[:]...)
	}
	flipped := slices.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, data := range map[string][]byte{
		"empty": {}, "short": good[:100], "cut": good[:len(good)-1], "longer": append(slices.Clone(good), 0), "flipped": flipped,
		"foreign": []byte("{}"), "other version": signed("vertex-spoa misuse 9\n12345678"), "no head": signed(stateMagic + "123"),
		"promises too much": signed(stateMagic + "\xff\xff\xff\xff\xff\xff\xff\xff"), "promises too little": signed(stateMagic + "\x00\x00\x00\x00\x00\x00\x00\x00x"),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "misuse")
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			d := newDetector(t, Config{})
			if err := d.Load(file); !errors.Is(err, ErrState) {
				t.Errorf("got %v, want ErrState", err)
			}
			if s := d.Stats(); s.Subjects != 0 || s.Models != 0 {
				t.Errorf("%+v was loaded, want nothing", s)
			}
		})
	}
}

func TestAFileThatIsMissingIsNoErrorAndOneThatCannotBeWrittenIs(t *testing.T) {
	d := newDetector(t, Config{})
	file := filepath.Join(t.TempDir(), "missing", "misuse")
	if err := d.Load(file); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	if err := d.Save(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want a not-exist error", err)
	}
	if err := d.Load(t.TempDir()); err == nil {
		t.Error("a directory was loaded")
	}
}

func FuzzDecode(f *testing.F) {
	d := newDetector(f, Config{})
	d.Decision(allow(monday, "ann", "m"))
	f.Add(d.encode()[:len(d.encode())-sha256.Size])
	f.Add([]byte(stateMagic))
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		d := newDetector(t, Config{MaxSubjects: 64, MaxModels: 64})
		if err := d.decode(append(slices.Clone(body), sum[:]...)); err != nil {
			if s := d.Stats(); s != (Stats{}) {
				t.Errorf("%+v in spite of %v", s, err)
			}
			return
		}
		// Whatever was learned, nothing of it may stop the detector.
		d.Decision(allow(monday, "ann", "m"))
		d.Decision(deny(monday, "ann", "", 403))
		d.Closing(used(monday, "ann", 1e6))
	})
}
