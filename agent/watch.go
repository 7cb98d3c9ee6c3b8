package agent

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	settled    = 150 * time.Millisecond // without a change, and the files are taken as complete
	maxFolders = 256                    // that are watched for changes; deeper ones are found by looking
)

// Watch reloads the policy when its files are others than at the last attempt, whoever made that, until ctx is done. It looks as soon as
// the kernel tells of a change and things have calmed down, and once per period besides: network file systems tell nothing. What it
// compares is the digest of the whole directory, which sees every kind of change on every kind of mount.
func (a *Agent) Watch(ctx context.Context, period time.Duration) {
	w := a.watchFolders()
	defer w.close()
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	calm := time.After(settled) // what changed before the kernel was asked
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changes():
			calm = time.After(settled)
			continue
		case err := <-w.errors():
			a.cfg.Log.Warn("watching the policy", "dir", a.cfg.PolicyDir, "error", err)
			continue
		case <-calm:
			calm = nil
		case <-ticker.C:
		}
		w.arm()
		if a.digest() != a.tried.Load() {
			a.ReloadAndLog(ctx)
		}
	}
}

// folders tells of changes in a directory, in those below it, and of the directory itself. The nil one tells of nothing.
type folders struct {
	dir string
	fs  *fsnotify.Watcher
}

// watchFolders returns nil where the kernel cannot tell of changes, because its limits are reached for one.
func (a *Agent) watchFolders() *folders {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		a.cfg.Log.Warn("changes of the policy are found by looking alone", "dir", a.cfg.PolicyDir, "error", err)
		return nil
	}
	f := &folders{dir: filepath.Clean(a.cfg.PolicyDir), fs: w}
	f.arm()
	return f
}

// arm watches what is there now. A directory that was moved away and replaced is another one to the kernel. Kubernetes puts the files
// into a hidden folder and replaces a link to it, which is a change of the directory.
func (f *folders) arm() {
	if f == nil {
		return
	}
	add := func(dir string) { _ = f.fs.Add(dir) } // what cannot be watched is looked at
	add(filepath.Dir(f.dir))
	for n, dir := range below(f.dir) {
		if n == maxFolders {
			return
		}
		add(dir)
	}
}

// below returns a directory and those below it.
func below(dir string) (all []string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return fs.SkipDir
		case err == nil && d.IsDir():
			all = append(all, path)
		}
		if len(all) > maxFolders {
			return fs.SkipAll
		}
		return nil
	})
	return all
}

func (f *folders) changes() <-chan fsnotify.Event {
	if f == nil {
		return nil
	}
	return f.fs.Events
}

func (f *folders) errors() <-chan error {
	if f == nil {
		return nil
	}
	return f.fs.Errors
}

func (f *folders) close() {
	if f != nil {
		_ = f.fs.Close()
	}
}
