package trail

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
)

// Stdin is the name of standard input among the names of files.
const Stdin = "-"

// Files are the audit files that a question is asked of, in the order in which they were written: that of their first lines. Standard
// input is the last one.
type Files struct {
	list  []file
	stdin io.Reader
}

// file is one of them.
type file struct {
	name  string
	size  int64 // 0 for what is no regular file
	first int64 // time of its first line, the largest number if it has none
	info  os.FileInfo
	pipe  bool // it can be read only once, and is not looked into
}

// Open finds the files. A name in which *, ? or [ stand and that is no file stands for the files it matches, at least one. A file that is
// named twice is read once. The content of a file tells whether it is packed by gzip. Files are opened when they are read, one at a time;
// stdin is what the name "-" stands for.
func Open(names []string, stdin io.Reader) (*Files, error) {
	f := &Files{stdin: stdin}
	var problems []error
	for _, name := range names {
		if err := f.add(name); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	slices.SortStableFunc(f.list, func(a, b file) int { return cmp.Compare(a.first, b.first) })
	return f, nil
}

func (f *Files) add(name string) error {
	if name == Stdin {
		if !slices.ContainsFunc(f.list, func(x file) bool { return x.name == Stdin }) {
			f.list = append(f.list, file{name: Stdin, first: 1<<63 - 1, pipe: true})
		}
		return nil
	}
	if _, err := os.Stat(name); err == nil || !strings.ContainsAny(name, "*?[") {
		return f.addFile(name)
	}
	found, err := filepath.Glob(name)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case len(found) == 0:
		return fmt.Errorf("%s: no file matches", name)
	}
	var problems []error
	for _, one := range found {
		problems = append(problems, f.addFile(one))
	}
	return errors.Join(problems...)
}

func (f *Files) addFile(name string) error {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s: is a folder; name its files, as %s", name, filepath.Join(name, "*.jsonl*"))
	case slices.ContainsFunc(f.list, func(x file) bool { return x.info != nil && os.SameFile(x.info, info) }):
		return nil
	}
	one := file{name: name, info: info, pipe: !info.Mode().IsRegular(), first: 1<<63 - 1}
	if !one.pipe {
		one.size = info.Size()
		if one.first, err = firstTime(name); err != nil {
			return err
		}
	}
	f.list = append(f.list, one)
	return nil
}

// firstTime returns the time of the first line of a file that can be read.
func firstTime(name string) (int64, error) {
	const none, look = 1<<63 - 1, 64 << 10 // bytes that are looked at
	r, err := openFile(name, nil, nil)
	if err != nil {
		return none, err
	}
	defer func() { _ = r.Close() }()
	head, err := io.ReadAll(io.LimitReader(r, look))
	if err != nil && len(head) == 0 {
		return none, nil // whoever reads the file tells what is wrong with it
	}
	p := newParser()
	for one := range bytes.Lines(head) {
		if l, err := p.parse(one); err == nil {
			return l.time, nil
		}
	}
	return none, nil
}

// Size returns how many bytes there are to read, as they lie on the disk; 0 if that is not known.
func (f *Files) Size() int64 {
	var n int64
	for i := range f.list {
		if f.list[i].pipe {
			return 0
		}
		n += f.list[i].size
	}
	return n
}

// open opens one of the files. read counts the bytes that are read from the disk.
func (f *Files) open(i int, read *atomic.Int64) (io.ReadCloser, error) {
	if f.list[i].name != Stdin {
		return openFile(f.list[i].name, f.list[i].info, read)
	}
	r, err := unpack(Stdin, f.stdin)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}

// counted counts what is read.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// opened is an open file, unpacked if need be.
type opened struct {
	io.Reader
	io.Closer
}

// errReplaced means that the names have been given to other files, as by a rotation, since they were looked at.
var errReplaced = errors.New("another file has taken the name meanwhile: ask again")

// openFile opens the file that want is of, any if that is nil.
func openFile(name string, want os.FileInfo, read *atomic.Int64) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if got, err := f.Stat(); want != nil && (err != nil || !os.SameFile(want, got)) {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, cmp.Or(err, errReplaced)), f.Close())
	}
	var from io.Reader = f
	if read != nil {
		from = counted{f, read}
	}
	r, err := unpack(name, from)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return opened{r, f}, nil
}

// unpack reads what gzip has packed, and everything else as it is. A line never begins like an archive does (RFC 1952 section 2.3.1).
func unpack(name string, r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	head, err := b.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if packer := otherPacker(head); packer != "" {
		return nil, fmt.Errorf("%s: packed by %s: unpack it, and read the result or standard input", name, packer)
	}
	if !bytes.HasPrefix(head, []byte{0x1f, 0x8b}) {
		if len(head) > 0 && strings.HasSuffix(name, ".gz") {
			return nil, fmt.Errorf("%s: %w", name, gzip.ErrHeader)
		}
		return b, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return z, nil
}

// otherPacker names what has packed a file other than gzip, by how the file begins.
func otherPacker(head []byte) string {
	for _, p := range [...]struct{ name, begins string }{{"zstd", "\x28\xb5\x2f\xfd"}, {"xz", "\xfd7zXZ\x00"}, {"bzip2", "BZh"}} {
		if bytes.HasPrefix(head, []byte(p.begins)) {
			return p.name
		}
	}
	return ""
}

// Each calls read with every file, unpacked, in order. It stops at the first error. progress is told how many bytes were read from the disk;
// nil for nobody.
func (f *Files) Each(progress func(read int64), read func(name string, r io.Reader) error) error {
	var n atomic.Int64
	for i := range f.list {
		r, err := f.open(i, &n)
		if err != nil {
			return err
		}
		var from io.Reader = r
		if progress != nil {
			from = watched{r, &n, progress}
		}
		err = read(f.list[i].name, from)
		_ = r.Close() // it was only read
		if err != nil {
			return err
		}
	}
	return nil
}

// watched tells of what is read.
type watched struct {
	io.Reader
	n    *atomic.Int64
	tell func(int64)
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.tell(w.n.Load())
	return n, err
}
