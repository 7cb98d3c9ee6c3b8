package google

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// file is a regular file of some owner.
type file struct {
	owner uint32
	mode  os.FileMode
}

func (f file) Name() string       { return "x" }
func (f file) Size() int64        { return 1 }
func (f file) Mode() os.FileMode  { return f.mode }
func (f file) ModTime() time.Time { return time.Time{} }
func (f file) IsDir() bool        { return false }
func (f file) Sys() any           { return &syscall.Stat_t{Uid: f.owner} }

func TestOwnersOfCredentialFiles(t *testing.T) {
	for name, test := range map[string]struct {
		file   file
		self   int
		detail string // empty for a file that is taken
	}{
		"of root, read by a user":        {file{0, 0o644}, 1000, ""},
		"of the user itself":             {file{1000, 0o600}, 1000, ""},
		"of root, read by root":          {file{0, 0o600}, 0, ""},
		"of another user":                {file{1001, 0o600}, 1000, "belongs to user 1001, want root or user 1000"},
		"of a user, read by root":        {file{1000, 0o600}, 0, "belongs to user 1000"},
		"of root, writable by its group": {file{0, 0o664}, 1000, "mode 0664"},
		"of root, a directory":           {file{0, os.ModeDir | 0o700}, 1000, "not a regular file"},
	} {
		err := checkTrusted("/etc/x", test.file, test.self)
		if (err == nil) != (test.detail == "") || err != nil && !strings.Contains(err.Error(), test.detail) {
			t.Errorf("%s: got %v, want %q", name, err, test.detail)
		}
	}
}
