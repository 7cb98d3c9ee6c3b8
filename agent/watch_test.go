package agent

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// watched returns a world whose policy directory is watched, and not looked at by itself within the time of a test.
func watched(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Watch(ctx, time.Hour)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// changed returns the policy of the world with one more role.
func (w *world) changed(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(w.policy)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n# changed\n"
}

// awaitReload waits until another policy is in force and the attempt that did that is noted, or until another attempt has failed.
func (w *world) awaitReload(t *testing.T, digest string, before *ReloadStatus) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		// The policy is in force a moment before its attempt is noted: who has seen the note has seen both.
		if now := w.reload.Load(); now.Digest != digest || before != nil && now != before {
			return
		}
	}
	t.Fatal("the change was not seen within 30 s")
}

func do(t *testing.T, steps ...error) {
	t.Helper()
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Each way in which files come to be others, with the very steps of those who do it.
func TestChangesAreSeen(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, w *world, text string){
		"written in place": func(t *testing.T, w *world, text string) {
			do(t, os.WriteFile(w.policy, []byte(text), 0o600))
		},
		"replaced by rename": func(t *testing.T, w *world, text string) {
			do(t, os.WriteFile(w.policy+".new", []byte(text), 0o600), os.Rename(w.policy+".new", w.policy))
		},
		"another file beside it": func(t *testing.T, w *world, _ string) {
			do(t, os.WriteFile(filepath.Join(filepath.Dir(w.policy), "more.yaml"), []byte("version: 1\n"), 0o600))
		},
		"a file in a folder that was made": func(t *testing.T, w *world, _ string) {
			dir := filepath.Join(filepath.Dir(w.policy), "teams")
			do(t, os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "more.yaml"), []byte("version: 1\n"), 0o600))
		},
		"the directory replaced by mv": func(t *testing.T, w *world, text string) {
			dir := filepath.Dir(w.policy)
			do(t, os.Mkdir(dir+".new", 0o700), os.WriteFile(filepath.Join(dir+".new", "policy.yaml"), []byte(text), 0o600),
				os.Rename(dir, dir+".old"), os.Rename(dir+".new", dir))
		},
		"the directory replaced by mv, twice": func(t *testing.T, w *world, text string) {
			dir := filepath.Dir(w.policy)
			for _, n := range []string{".1", ".2"} {
				digest := w.current.Load().policy.Digest()
				do(t, os.Mkdir(dir+".new", 0o700), os.WriteFile(filepath.Join(dir+".new", "policy.yaml"), []byte(text+"# "+n+"\n"), 0o600),
					os.Rename(dir, dir+n), os.Rename(dir+".new", dir))
				w.awaitReload(t, digest, nil)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := watched(t)
			digest := w.current.Load().policy.Digest()
			change(t, w, w.changed(t))
			w.awaitReload(t, digest, nil)
		})
	}
}

// A volume of Kubernetes: the files are links into a hidden folder, ..data is a link to it that is replaced, and the old one is removed.
func TestKubernetesVolumeIsSeen(t *testing.T) {
	w := newWorld(t)
	dir, text := filepath.Dir(w.policy), w.changed(t)
	publish := func(version, text string) {
		t.Helper()
		folder := filepath.Join(dir, ".."+version)
		old, _ := os.Readlink(filepath.Join(dir, "..data"))
		do(t, os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, "policy.yaml"), []byte(text), 0o600),
			os.Symlink(".."+version, filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		if old != "" {
			do(t, os.RemoveAll(filepath.Join(dir, old)))
		}
	}
	do(t, os.Remove(w.policy))
	publish("2026_11_22_1", text)
	do(t, os.Symlink("..data/policy.yaml", w.policy), w.Reload())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Watch(ctx, time.Hour)
	}()
	defer func() { cancel(); <-done }()
	for _, version := range []string{"2026_11_22_2", "2026_11_22_3", "2026_11_22_4"} {
		digest := w.current.Load().policy.Digest()
		publish(version, text+"# "+version+"\n")
		w.awaitReload(t, digest, nil)
	}
}

// What is written in pieces with pauses does not load until it is whole, and the policy before stays meanwhile.
func TestHalfWrittenFilesLeaveThePolicyBefore(t *testing.T) {
	w := watched(t)
	digest, text := w.current.Load().policy.Digest(), w.changed(t)
	half := strings.LastIndex(text, "\nrules:") + 4
	before := w.reload.Load()
	do(t, os.WriteFile(w.policy, []byte(text[:half]), 0o600))
	w.awaitReload(t, digest, before)
	if got := w.current.Load().policy.Digest(); got != digest {
		t.Fatal("half a file is in force")
	}
	if w.reload.Load().Error == "" || w.reload.Load().Digest != digest {
		t.Errorf("got status %+v, want an error and the digest before", w.reload.Load())
	}
	do(t, os.WriteFile(w.policy, []byte(text), 0o600))
	w.awaitReload(t, digest, nil)
	if err := w.reload.Load().Error; err != "" {
		t.Errorf("the whole file: %s", err)
	}
}

// A file system that tells of nothing is looked at.
func TestWatchLooksByItself(t *testing.T) {
	w := newWorld(t)
	digest := w.current.Load().policy.Digest()
	w.cfg.PolicyDir += "/." // another name for what the kernel is asked about does not matter
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Watch(ctx, 20*time.Millisecond)
	}()
	defer func() { cancel(); <-done }()
	w.writePolicy(t, w.changed(t))
	w.awaitReload(t, digest, nil)
}

func TestReloadByHTTP(t *testing.T) {
	w := newWorld(t)
	post := func() *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		w.Admin(t.Context()).ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/reload", nil))
		return rec
	}
	digest, text := w.current.Load().policy.Digest(), w.changed(t)
	w.writePolicy(t, text)
	if rec := post(); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), w.current.Load().policy.Digest()) || w.current.Load().policy.Digest() == digest {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	digest = w.current.Load().policy.Digest()
	w.writePolicy(t, text+"\nnonsense: 1\n")
	if rec := post(); rec.Code != http.StatusUnprocessableEntity || !strings.Contains(rec.Body.String(), "nonsense") || w.current.Load().policy.Digest() != digest {
		t.Errorf("a broken policy: got %d %s", rec.Code, rec.Body)
	}
	rec := httptest.NewRecorder()
	w.Admin(t.Context()).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/reload", nil))
	if rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET /reload: got %d", rec.Code)
	}
}
