package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vertex-spoa/policy/strictyaml"
)

const (
	maxFiles   = 1000
	maxFolders = 8        // how deep folders nest
	maxBytes   = 64 << 20 // of all files together
)

// file is one file of a policy.
type file struct {
	name string // relative to the policy's folder, with slashes
	data []byte // at most one byte more than strictyaml.MaxSize
}

// DirDigest returns the digest that the policy in dir would have, without parsing it. Of a file larger than strictyaml.MaxSize, which
// does not load, only the beginning counts.
func DirDigest(dir string) (string, error) {
	files, err := readFiles(dir)
	if err != nil {
		return "", err
	}
	return digest(files), nil
}

// digest hashes names and contents, each with its length before it, so that no two sets of files give the same stream of bytes.
func digest(files []file) string {
	h := sha256.New()
	var length [8]byte
	write := func(data []byte) {
		binary.BigEndian.PutUint64(length[:], uint64(len(data)))
		_, _ = h.Write(length[:]) // a hash never fails to write
		_, _ = h.Write(data)
	}
	for _, f := range files {
		write([]byte(f.name))
		write(f.data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// readFiles returns the policy's files in byte order of their names. A file that vanishes meanwhile means that the folder is being
// replaced: then the whole is read again.
func readFiles(dir string) ([]file, error) {
	const attempts = 3
	var files []file
	var err error
	for range attempts {
		files, err = readFilesOnce(dir)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("read policy: no file *.yaml in %q", dir)
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	return files, nil
}

func readFilesOnce(dir string) ([]file, error) {
	// Symbolic links are followed once, here, so that one reading sees one state of the folder.
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	var w walk
	if err := w.folder(root, "", 1); err != nil {
		return nil, err
	}
	return w.files, nil
}

// walk collects the files below a folder.
type walk struct {
	files []file
	bytes int
}

// RevocationsFile is the name, directly in the policy's folder, of a file that is not part of the policy: the list of what is revoked
// takes effect without a reload.
const RevocationsFile = "revoked.yaml"

// folder reads one folder. prefix is its name relative to the top, with a slash at its end.
func (w *walk) folder(dir, prefix string, depth int) error {
	if depth > maxFolders {
		return fmt.Errorf("folder %q nests more than %d levels deep", dir, maxFolders)
	}
	entries, dir, err := list(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(dir, name)
		policyFile := strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, "_test.yaml") && prefix+name != RevocationsFile
		info, err := os.Stat(path)
		switch {
		case err != nil && !policyFile && errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case info.IsDir() && e.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%q is a symbolic link to a folder, which is not followed", path)
		case info.IsDir():
			err = w.folder(path, prefix+name+"/", depth+1)
		case policyFile:
			err = w.file(path, prefix+name, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list returns the entries of a folder and the path they are read from. Kubernetes fills a folder with links into a hidden folder to
// which ..data points, and replaces the content by replacing ..data: such a folder is read through ..data, followed once.
func list(dir string) ([]fs.DirEntry, string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, "", err
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "..data" }) {
		return entries, dir, nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && e.Type()&fs.ModeSymlink == 0 {
			return nil, "", fmt.Errorf("%q stands beside ..data and would not be read", filepath.Join(dir, e.Name()))
		}
	}
	data, err := filepath.EvalSymlinks(filepath.Join(dir, "..data"))
	if err != nil {
		return nil, "", err
	}
	entries, err = os.ReadDir(data)
	return entries, data, err
}

func (w *walk) file(path, name string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a regular file", path)
	}
	if len(w.files) >= maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, strictyaml.MaxSize+1))
	if err != nil {
		return err
	}
	if w.bytes += len(data); w.bytes > maxBytes {
		return fmt.Errorf("more than %d bytes in all files together", maxBytes)
	}
	w.files = append(w.files, file{name, data})
	return nil
}
