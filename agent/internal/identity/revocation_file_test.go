package identity

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	lookEvery   = 500 * time.Millisecond
	effectiveIn = time.Second // of a change: two looks
)

// watched is a deny list that is being watched in a synctest bubble.
type watched struct {
	*RevocationFile
	path string

	mu    sync.Mutex
	loads []string // what the hook was told: a number of entries, or an error
}

func watch(t *testing.T, path string) *watched {
	t.Helper()
	w := &watched{path: path}
	f, err := OpenRevocations(path, func(list *Revocations, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.loads = append(w.loads, err.Error())
			return
		}
		w.loads = append(w.loads, fmt.Sprintf("%d entries", list.Len()))
	})
	if err != nil {
		t.Fatal(err)
	}
	w.RevocationFile = f
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.Watch(ctx, lookEvery)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return w
}

// pass lets simulated time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (w *watched) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.loads)
}

func (w *watched) revokes(subject string) bool {
	return w.Check(Identity{Issuer: "corp", Subject: subject}) != nil
}

func revoking(subjects ...string) string {
	text := "version: 1\nrevoked:\n"
	for _, s := range subjects {
		text += "  - { issuer: corp, subject: " + s + " }\n"
	}
	if len(subjects) == 0 {
		return "version: 1\nrevoked: []\n"
	}
	return text
}

func TestRevocationIsEffectiveWithinASecond(t *testing.T) {
	// Each way of changing the file takes the folder that holds it, and makes the file there say text.
	ways := map[string]func(t *testing.T, dir, text string){
		"written in place": func(t *testing.T, dir, text string) { writeFile(t, filepath.Join(dir, "revoked.yaml"), text) },
		"moved into place": func(t *testing.T, dir, text string) {
			next := filepath.Join(dir, "next")
			writeFile(t, next, text)
			if err := os.Rename(next, filepath.Join(dir, "revoked.yaml")); err != nil {
				t.Fatal(err)
			}
		},
		"with the same size and time": func(t *testing.T, dir, text string) {
			path := filepath.Join(dir, "revoked.yaml")
			writeFile(t, path, text)
			if err := os.Chtimes(path, now, now); err != nil {
				t.Fatal(err)
			}
		},
		"as Kubernetes updates a volume": func(t *testing.T, dir, text string) {
			data, err := os.MkdirTemp(dir, "..2026_")
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(data, "revoked.yaml"), text)
			next := filepath.Join(dir, "..data_tmp")
			if err := os.Symlink(filepath.Base(data), next); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("..data/revoked.yaml", filepath.Join(dir, "revoked.yaml")); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
		},
	}
	for name, change := range ways {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			change(t, dir, revoking("alice"))
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, filepath.Join(dir, "revoked.yaml"))
				epoch := w.Epoch()
				if !w.revokes("alice") || w.revokes("bobby") || epoch == 0 {
					t.Fatal("the first list is not in force")
				}
				pass(10 * effectiveIn)
				if w.Epoch() != epoch {
					t.Error("the epoch changed without a change")
				}
				change(t, dir, revoking("bobby"))
				pass(effectiveIn)
				if w.revokes("alice") || !w.revokes("bobby") || w.Epoch() != epoch+1 {
					t.Errorf("after %v: alice %v, bobby %v, epoch %d, want bobby alone and %d",
						effectiveIn, w.revokes("alice"), w.revokes("bobby"), w.Epoch(), epoch+1)
				}
				if got := w.told(); !slices.Equal(got, []string{"1 entries"}) {
					t.Errorf("hook: got %q, want one call", got)
				}
			})
		})
	}
}

func TestBrokenRevocationsLeaveTheOnesBefore(t *testing.T) {
	path := tempFile(t, "revoked.yaml", revoking("alice"))
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, path)
		for n, broken := range []string{"", "version: 1\nrevoked:\n", "version: 1\nrevoked: [ { issuer: corp } ]\n"} {
			writeFile(t, path, broken)
			pass(10 * effectiveIn)
			if told := w.told(); !w.revokes("alice") || w.Epoch() != 1 || len(told) != n+1 || !strings.Contains(told[n], "revoked.yaml") {
				t.Errorf("%q: alice %v, epoch %d, hook %q", broken, w.revokes("alice"), w.Epoch(), told)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		pass(10 * effectiveIn)
		if told := w.told(); !w.revokes("alice") || len(told) != 4 || !strings.Contains(told[3], "no such file") {
			t.Errorf("after the file was removed: alice %v, hook %q", w.revokes("alice"), told)
		}
		writeFile(t, path, revoking("alice")) // as it was
		pass(effectiveIn)
		if told := w.told(); w.Epoch() != 1 || len(told) != 5 || told[4] != "1 entries" {
			t.Errorf("after the file was mended: epoch %d, hook %q", w.Epoch(), told)
		}
		writeFile(t, path, revoking())
		pass(effectiveIn)
		if w.revokes("alice") || w.Epoch() != 2 {
			t.Errorf("after an empty list: alice %v, epoch %d", w.revokes("alice"), w.Epoch())
		}
	})
}

func TestRevocationsMayComeLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.yaml")
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, path)
		pass(10 * effectiveIn)
		if w.revokes("alice") || len(w.told()) != 0 {
			t.Fatalf("without a file: alice %v, hook %q", w.revokes("alice"), w.told())
		}
		writeFile(t, path, revoking("alice"))
		pass(effectiveIn)
		if !w.revokes("alice") || w.Epoch() != 2 {
			t.Errorf("alice %v, epoch %d, want her revoked and 2", w.revokes("alice"), w.Epoch())
		}
	})
}

// A writer that is at work when a look comes has written a part, which may be a good list of its own.
func TestHalfOfAFileIsNotTaken(t *testing.T) {
	path := tempFile(t, "revoked.yaml", revoking("alice", "bobby"))
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, path)
		whole := revoking("alice", "bobby", "carol")
		writeFile(t, path, revoking("alice")) // the beginning of whole
		pass(lookEvery)
		if !w.revokes("bobby") {
			t.Fatal("bobby is not revoked while the file is half written")
		}
		writeFile(t, path, whole)
		pass(lookEvery)
		if !w.revokes("bobby") || !w.revokes("carol") || w.Epoch() != 2 {
			t.Errorf("bobby %v, carol %v, epoch %d, want both revoked and 2", w.revokes("bobby"), w.revokes("carol"), w.Epoch())
		}
	})
}

// A file that never rests must not keep its entries from coming into force.
func TestAFileThatNeverRestsIsTaken(t *testing.T) {
	path := tempFile(t, "revoked.yaml", revoking())
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, path)
		var subjects []string
		for n := range 10 {
			subjects = append(subjects, fmt.Sprintf("user-%d", n))
			writeFile(t, path, revoking(subjects...))
			pass(lookEvery)
			if n > 0 && !w.revokes(subjects[n-1]) {
				t.Fatalf("%s is not revoked after %v", subjects[n-1], 2*lookEvery)
			}
		}
	})
}

func TestAChangeThatIsTakenBackIsNone(t *testing.T) {
	path := tempFile(t, "revoked.yaml", revoking("alice"))
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, path)
		writeFile(t, path, revoking("bobby"))
		pass(lookEvery)
		writeFile(t, path, revoking("alice"))
		pass(10 * lookEvery)
		if w.Epoch() != 1 || len(w.told()) != 0 {
			t.Errorf("epoch %d, hook %q, want 1 and nothing", w.Epoch(), w.told())
		}
		writeFile(t, path, revoking("carol"))
		pass(lookEvery)
		if w.revokes("carol") {
			t.Error("a new change is taken at the first look")
		}
	})
}

func TestOpenRevocationsRefusesABrokenFile(t *testing.T) {
	path := tempFile(t, "revoked.yaml", "version: 1\n")
	if f, err := OpenRevocations(path, nil); err == nil || f != nil || !strings.Contains(err.Error(), `missing key "revoked"`) {
		t.Errorf("got %v, %v, want an error that says what is missing", f, err)
	}
}

func TestRevocationsAreReadWhileTheyChange(t *testing.T) {
	path := tempFile(t, "revoked.yaml", revoking("alice"))
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, path)
		var group sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
					}
					epoch := w.Epoch()
					if !w.revokes("alice") {
						t.Errorf("alice is not revoked at epoch %d", epoch)
					}
				}
			})
		}
		for n := range 10 {
			writeFile(t, path, revoking("alice", fmt.Sprintf("user-%d", n)))
			pass(effectiveIn)
		}
		close(stop)
		group.Wait()
		if w.Epoch() != 11 {
			t.Errorf("epoch: got %d, want 11", w.Epoch())
		}
	})
}
