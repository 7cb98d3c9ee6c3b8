package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"vertex-spoa/policy/format"
	"vertex-spoa/policy/strictyaml"
)

// policyFmt writes files in their one form, and names those that it changed. Without files it formats what it reads.
func policyFmt(c *policyCommand, args []string, s streams) error {
	flags := c.flags()
	check := flags.Bool("check", false, "change nothing; name the files that are not in their one form, and fail when there are any")
	different := flags.Bool("diff", false, "change nothing; print what would change, and fail when there is anything")
	rest, err := c.parse(flags, args, 0, -1)
	switch {
	case err != nil:
		return err
	case *check && *different:
		return usageError("policy fmt: --check and --diff are two ways to say the same: choose one")
	case len(rest) == 0:
		return formatInput(s, *check, *different)
	}
	names, err := policyFiles(rest)
	if err != nil {
		return err
	}
	run := formatting{out: s.out, check: *check, diff: *different}
	for _, name := range names {
		if err := run.file(name); err != nil {
			return err
		}
	}
	return run.end()
}

// formatting is one run over several files.
type formatting struct {
	out         io.Writer
	check, diff bool

	wrong   []error // files that do not load
	changed int
}

// file formats one file. A file that does not load is remembered, and the others go on.
func (f *formatting) file(name string) error {
	before, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	after, err := format.Source(name, before)
	switch {
	case err != nil:
		f.wrong = append(f.wrong, err)
		return nil
	case bytes.Equal(before, after):
		return nil
	}
	f.changed++
	if err := f.show(name, before, after); err != nil {
		return err
	}
	if f.check || f.diff {
		return nil
	}
	return replaceFile(name, after)
}

func (f *formatting) show(name string, before, after []byte) error {
	if f.diff {
		text := strings.TrimSuffix(string(diff.Diff(name, before, name+" (formatted)", after)), "\n")
		_, err := fmt.Fprintln(f.out, text)
		return err
	}
	_, err := fmt.Fprintln(f.out, name)
	return err
}

func (f *formatting) end() error {
	switch {
	case len(f.wrong) > 0:
		return loadError{errors.Join(f.wrong...)}
	case f.changed > 0 && (f.check || f.diff):
		return exitError{exitFailed, notFormatted(f.changed)}
	}
	return nil
}

func notFormatted(n int) string {
	if n == 1 {
		return "1 file is not formatted: vertex-spoa policy fmt does it"
	}
	return fmt.Sprintf("%d files are not formatted: vertex-spoa policy fmt does it", n)
}

// formatInput formats standard input.
func formatInput(s streams, check, different bool) error {
	const name = "standard input"
	before, err := io.ReadAll(io.LimitReader(s.in, strictyaml.MaxSize+1))
	if err != nil {
		return err
	}
	after, err := format.Source(name, before)
	if err != nil {
		return loadError{err}
	}
	if !check && !different {
		_, err := s.out.Write(after)
		return err
	}
	if bytes.Equal(before, after) {
		return nil
	}
	run := formatting{out: s.out, diff: different}
	if err := run.show(name, before, after); err != nil {
		return err
	}
	return exitError{exitFailed, notFormatted(1)}
}

// policyFiles returns the files that the arguments name: files themselves, and all *.yaml below folders but what begins with a dot.
func policyFiles(arguments []string) ([]string, error) {
	var names []string
	for _, argument := range arguments {
		info, err := os.Stat(argument)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			names = append(names, argument)
			continue
		}
		root := argument + string(filepath.Separator) // through a symbolic link, too
		err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case path != root && strings.HasPrefix(entry.Name(), "."):
				if entry.IsDir() {
					return filepath.SkipDir
				}
			case !entry.IsDir() && strings.HasSuffix(path, ".yaml"):
				names = append(names, filepath.Clean(path))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// replaceFile writes a file anew. It is there under its name with the old text or with the new one at any time; a symbolic link stays.
func replaceFile(name string, data []byte) error {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".vertex-spoa-*") // a name that no policy has
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
