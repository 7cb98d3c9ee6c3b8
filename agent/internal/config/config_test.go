package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vertex-spoa.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileOverDefaultsAndFlagsOverFile(t *testing.T) {
	file := write(t, "spoe:\n  timeout: 300ms\n  mode: 0600\n  peer_uids: 0,107\naudit:\n  path: /tmp/a\n")
	got, err := Load(file, map[string]string{"audit.path": "/tmp/b", "admin.listen": "none"})
	if err != nil {
		t.Fatal(err)
	}
	want, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	want.SPOE.Timeout = 300 * time.Millisecond
	want.SPOE.Mode = 0o600
	want.SPOE.PeerUIDs = []uint32{0, 107}
	want.Audit.Path = "/tmp/b"
	want.Admin.Listen = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestEveryProblemIsToldAtOnceWithItsPlace(t *testing.T) {
	file := write(t, "spoe:\n  listn: x\n  timeout: fast\n  tls_cert: a.pem\nadmn: {}\nlog:\n  format: xml\n")
	got, err := Load(file, map[string]string{"google.credentials_endpoint": "http://example.com", "spoe.max_connections": "0"})
	if got != nil || err == nil {
		t.Fatalf("Load = %v, %v; want no configuration and an error", got, err)
	}
	for _, want := range []string{
		`unknown key "listn" (did you mean "listen"?)`, "vertex-spoa.yaml:2:3",
		`spoe.timeout: "fast" is not a duration`, "vertex-spoa.yaml:3:12",
		`unknown key "admn"`, `"xml" is none of json, text`,
		"flag --google.credentials_endpoint=http://example.com: \"http://example.com\" must be https",
		"flag --spoe.max_connections=0: ", "set both or neither",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
}

func TestEveryFieldRefusesNonsenseOrIsFreeText(t *testing.T) {
	free := map[string]bool{"spoe.listen": true, "spoe.tls_cert": true, "spoe.tls_key": true, "spoe.tls_client_ca": true,
		"policy.dir": true, "audit.path": true, "identity.revocations": true, "google.credentials": true, "google.universe_domain": true,
		"google.ca": true, "google.request_reason_key": true, "audit.chain_key": true, "audit.mask": true, "audit.mask_key": true, "misuse.thresholds": true, "misuse.state": true,
		"admin.tls_cert": true, "admin.tls_key": true, "admin.tls_client_ca": true}
	for _, f := range Fields() {
		if err := f.set(&Config{}, "\x00nonsense"); (err == nil) != free[f.Key] {
			t.Errorf("%s: set(nonsense) = %v", f.Key, err)
		}
		if f.Doc == "" || !strings.HasSuffix(f.Doc, ".") {
			t.Errorf("%s has no documentation: %q", f.Key, f.Doc)
		}
	}
}

func TestValuesAtTheEdges(t *testing.T) {
	for _, tt := range []struct{ key, text, want string }{
		{"spoe.mode", "0888", "octal"},
		{"spoe.mode", "7777", "octal"},
		{"audit.syslog", "unix@dev/log", "neither unix@/path nor host:port"},
		{"audit.chain", "yes", "neither on nor off"},
		{"closing.listen", "stream+127.0.0.1:9022", "stream+ is for unix@/path"},
		{"closing.listen", "nowhere", "neither unix@/path nor host:port nor none"},
		{"trace.endpoint", "https://user:pw@host", "not an address"},
		{"trace.sample", "NaN", "between 0 and 1"},
		{"trace.sample", "1.5", "between 0 and 1"},
		{"spoe.listen", "", "empty"},
		{"spoe.peer_uids", "root", "numeric"},
		{"spoe.timeout", "9ms", "between"},
		{"google.credentials_endpoint", "https://user@host", "is not an address"},
		{"google.credentials_endpoint", "https://host/path", "is not an address"},
		{"google.credentials_endpoint", "http://127.0.0.1:8080", ""},
		{"google.credentials_endpoint", "http://[::1]:8080/", ""},
		{"admin.listen", "9902", "host:port"},
		{"log.level", "warn", ""},
	} {
		_, err := Load("", map[string]string{tt.key: tt.text})
		if got := err == nil; got != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s=%q: error %v, want %q", tt.key, tt.text, err, tt.want)
		}
	}
}

func TestFlagsAreTheFields(t *testing.T) {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	given := Flags(flags)
	if err := flags.Parse([]string{"--audit.path=/tmp/x", "--admin.listen=none"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"audit.path": "/tmp/x", "admin.listen": "none"}, given()); diff != "" {
		t.Errorf("given flags (-want +got):\n%s", diff)
	}
}

func TestAMissingFileIsNamed(t *testing.T) {
	if _, err := Load("/nonexistent/vertex-spoa.yaml", nil); err == nil || !strings.Contains(err.Error(), "/nonexistent/vertex-spoa.yaml") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}
