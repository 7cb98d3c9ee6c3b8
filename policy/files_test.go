package policy

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy/strictyaml"
)

// write writes a file below dir, making the folders it needs.
func write(t testing.TB, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t testing.TB, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// names returns the names and contents of the files that are read.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := readFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, f := range files {
		m[f.name] = string(f.data)
	}
	return m
}

func TestReadFilesChoosesByName(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"b.yaml", "a.yaml", "sub/c.yaml", "sub.yaml", "sub/deep/d.yaml", // read
		"a_test.yaml", "sub/x_test.yaml", "a.yml", "a.json", "README.md", "a.yaml~", "a.yaml.bak", ".hidden.yaml", ".git/x.yaml", "..x/y.yaml", // not read
	} {
		write(t, dir, name, name)
	}
	link(t, filepath.Join(dir, "a.json"), filepath.Join(dir, "linked.yaml"))
	link(t, "nowhere", filepath.Join(dir, "dangling.txt"))
	want := []string{"a.yaml", "b.yaml", "linked.yaml", "sub.yaml", "sub/c.yaml", "sub/deep/d.yaml"}
	files, err := readFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// mountLikeKubernetes lays a version out as the kubelet does and makes it the current one.
func mountLikeKubernetes(t *testing.T, dir, version string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		write(t, dir, filepath.Join("..version-"+version, name), text)
		top, _, _ := strings.Cut(name, "/")
		if _, err := os.Lstat(filepath.Join(dir, top)); err != nil {
			link(t, filepath.Join("..data", top), filepath.Join(dir, top))
		}
	}
	link(t, "..version-"+version, filepath.Join(dir, "..data_tmp"))
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
}

func TestReadFilesFollowsAMountOfKubernetes(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "policy.d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	one := map[string]string{"a.yaml": "1", "sub/b.yaml": "2"}
	mountLikeKubernetes(t, dir, "1", one)
	if diff := cmp.Diff(one, contents(t, dir)); diff != "" {
		t.Errorf("first version (-want +got):\n%s", diff)
	}
	before, err := DirDigest(dir)
	if err != nil {
		t.Fatal(err)
	}
	two := map[string]string{"a.yaml": "3"}
	mountLikeKubernetes(t, dir, "2", two) // the link sub now leads nowhere, as for a moment in a real mount
	if diff := cmp.Diff(two, contents(t, dir)); diff != "" {
		t.Errorf("second version (-want +got):\n%s", diff)
	}
	if after, err := DirDigest(dir); err != nil || after == before {
		t.Errorf("digest after the change: got %q, %v, want another than before", after, err)
	}
	plain := t.TempDir()
	write(t, plain, "a.yaml", "3")
	mounted, err1 := DirDigest(dir)
	copied, err2 := DirDigest(plain)
	if err1 != nil || err2 != nil || mounted != copied {
		t.Errorf("digests of a mount and of a copy: got %q, %q, %v, %v, want equal ones", mounted, copied, err1, err2)
	}
	link(t, dir, filepath.Join(top, "link"))
	if diff := cmp.Diff(two, contents(t, filepath.Join(top, "link"))); diff != "" {
		t.Errorf("through a link to the folder (-want +got):\n%s", diff)
	}
	write(t, top, "outer/policy.yaml", "4")
	if err := os.Rename(dir, filepath.Join(top, "outer", "team")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"policy.yaml": "4", "team/a.yaml": "3"}, contents(t, filepath.Join(top, "outer"))); diff != "" {
		t.Errorf("as a folder in a folder (-want +got):\n%s", diff)
	}
}

func TestReadFilesRefuses(t *testing.T) {
	tests := []struct {
		name string
		make func(dir string)
		want string
	}{
		{"a folder that is not there", func(dir string) { _ = os.Remove(dir) }, "no such file"},
		{"an empty folder", func(string) {}, "no file *.yaml"},
		{"a folder without policies", func(dir string) { write(t, dir, "a_test.yaml", "") }, "no file *.yaml"},
		{"a link to a folder", func(dir string) {
			write(t, dir, "a.yaml", "")
			link(t, t.TempDir(), filepath.Join(dir, "sub"))
		}, "is not followed"},
		{"a link that leads nowhere", func(dir string) { link(t, "nowhere", filepath.Join(dir, "a.yaml")) }, "no such file"},
		{"a pipe", func(dir string) {
			if err := syscall.Mkfifo(filepath.Join(dir, "a.yaml"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		{"folders nested too deep", func(dir string) { write(t, dir, strings.Repeat("x/", maxFolders)+"a.yaml", "") }, "levels deep"},
		{"a file beside a mount of Kubernetes", func(dir string) {
			mountLikeKubernetes(t, dir, "1", map[string]string{"a.yaml": "1"})
			write(t, dir, "b.yaml", "2")
		}, "would not be read"},
		{"too many files", func(dir string) {
			for i := range maxFiles + 1 {
				write(t, dir, strings.Repeat("a", i%200+1)+string(rune('a'+i/200))+".yaml", "")
			}
		}, "more than 1000 files"},
		{"too much in all files together", func(dir string) {
			large := filepath.Join(dir, "a.yaml")
			write(t, dir, "a.yaml", strings.Repeat("# filler\n", strictyaml.MaxSize/9))
			for i := range maxBytes/strictyaml.MaxSize + 1 {
				if err := os.Link(large, filepath.Join(dir, "b"+string(rune('a'+i))+".yaml")); err != nil {
					t.Fatal(err)
				}
			}
		}, "bytes in all files together"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			tt.make(dir)
			if _, err := DirDigest(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("DirDigest: got %v, want an error with %q", err, tt.want)
			}
			if p, err := Load(dir); err == nil || p != nil {
				t.Errorf("Load: got %v, %v, want an error", p, err)
			}
		})
	}
}

func TestLoadRefusesAHugeFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", companyPolicy)
	write(t, dir, "b.yaml", strings.Repeat("# filler\n", strictyaml.MaxSize/8))
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "split it") {
		t.Errorf("got %v, want an error about the size", err)
	}
}

func TestDigestTellsFilesApart(t *testing.T) {
	seen := map[string][]file{}
	for _, files := range [][]file{
		{{"a.yaml", []byte("1")}},
		{{"a.yaml", []byte("2")}},
		{{"b.yaml", []byte("1")}},
		{{"a.yaml", nil}, {"1", nil}},
		{{"a.yaml1", nil}},
		{{"a.yaml", []byte("1")}, {"b.yaml", nil}},
		{{"a.yaml", []byte("1b.yaml")}},
		{{"a.yaml", []byte("1")}, {"b.yaml", []byte("1")}},
	} {
		d := digest(files)
		if before, ok := seen[d]; ok {
			t.Errorf("files %v and %v have one digest", before, files)
		}
		seen[d] = files
	}
}
