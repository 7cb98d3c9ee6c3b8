package google

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

const maxCredentialFile = 256 << 10 // bytes

// readTrusted reads a file that decides whom the agent is. It must be a regular file, belong to root or to the user of this process and be
// writable by its owner alone; links on the way to it are followed, as Kubernetes makes them.
func readTrusted(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // not to wait for the writer of a pipe
	if err != nil {
		return nil, err // names operation and path
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // of what was opened, whatever the path names by now
	if err != nil {
		return nil, err
	}
	if err := checkTrusted(path, info, os.Geteuid()); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCredentialFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxCredentialFile {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxCredentialFile)
	}
	return text, nil
}

func checkTrusted(path string, info os.FileInfo, self int) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("the owner of " + path + " is not known on this system")
	}
	if owner := int(stat.Uid); owner != 0 && owner != self {
		return fmt.Errorf("%s belongs to user %d, want root or user %d, which this process runs as", path, owner, self)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("%s can be written by others (mode %04o): chmod go-w %s", path, mode, path)
	}
	return nil
}
