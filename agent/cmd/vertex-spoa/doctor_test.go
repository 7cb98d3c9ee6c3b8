package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheLocaleSaysWhichCharactersAreShown(t *testing.T) {
	for name, tt := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"nothing is set":                  {nil, false},
		"the language alone":              {map[string]string{"LANG": "de_DE.UTF-8"}, true},
		"another spelling":                {map[string]string{"LANG": "C.utf8"}, true},
		"an older character set":          {map[string]string{"LANG": "de_DE.ISO-8859-1"}, false},
		"characters come before language": {map[string]string{"LANG": "de_DE.UTF-8", "LC_CTYPE": "C"}, false},
		"what is for all comes first":     {map[string]string{"LC_ALL": "C.UTF-8", "LC_CTYPE": "C", "LANG": "C"}, true},
	} {
		if got := isUTF8(func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("%s: got %t, want %t", name, got, tt.want)
		}
	}
}

func TestReadCaller(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"a token":                  {"a.b.c", "a.b.c"},
		"with a line's end":        {"a.b.c\r\n", "a.b.c"},
		"as it stands in a header": {"bearer  a.b.c\n", "a.b.c"},
		"nothing":                  {"\n", ""},
		"two tokens":               {"a.b.c\nd.e.f\n", ""},
		"no text":                  {"a.\x00", ""},
		"more than a token has":    {strings.Repeat("a", maxTokenFile+1), ""},
	} {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readCaller(file)
		if got.Reveal() != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: got %q, %v", name, got.Reveal(), err)
		}
		if err != nil && strings.Contains(err.Error(), "a.b") {
			t.Errorf("%s: the error holds the token: %v", name, err)
		}
	}
	if got, err := readCaller(""); got.Len() != 0 || err != nil {
		t.Errorf("without a name: got %v, %v", got, err)
	}
}
