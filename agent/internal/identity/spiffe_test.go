package identity

import (
	"strings"
	"testing"
)

func TestParseSPIFFE(t *testing.T) {
	domains := []string{"example.org", "prod.example.org"}
	for _, c := range []struct {
		name, id string
		want     string // the trust domain, or "" for an error
	}{
		{"a workload", "spiffe://example.org/ns/ci/sa/build", "example.org"},
		{"another trust domain of ours", "spiffe://prod.example.org/x", "prod.example.org"},
		{"2048 bytes", "spiffe://example.org/" + strings.Repeat("a", 2027), "example.org"},
		{"2049 bytes", "spiffe://example.org/" + strings.Repeat("a", 2028), ""},
		{"nothing", "", ""},
		{"the trust domain itself", "spiffe://example.org", ""},
		{"a slash alone", "spiffe://example.org/", ""},
		{"a slash at the end", "spiffe://example.org/x/", ""},
		{"two slashes", "spiffe://example.org//x", ""},
		{"a dot segment", "spiffe://example.org/a/../b", ""},
		{"a trust domain of others", "spiffe://example.com/x", ""},
		{"a trust domain below ours", "spiffe://a.example.org/x", ""},
		{"a trust domain that begins like ours", "spiffe://example.org.evil.test/x", ""},
		{"a trust domain in upper case", "spiffe://EXAMPLE.org/x", ""},
		{"the scheme in upper case", "SPIFFE://example.org/x", ""},
		{"another scheme", "https://example.org/x", ""},
		{"no scheme", "example.org/x", ""},
		{"no trust domain", "spiffe:///x", ""},
		{"user information", "spiffe://user@example.org/x", ""},
		{"a port", "spiffe://example.org:443/x", ""},
		{"a query", "spiffe://example.org/x?y", ""},
		{"a fragment", "spiffe://example.org/x#y", ""},
		{"an empty fragment", "spiffe://example.org/x#", ""},
		{"an escape", "spiffe://example.org/%61", ""},
		{"space at the end", "spiffe://example.org/x ", ""},
		{"space before", " spiffe://example.org/x", ""},
		{"a letter that looks like another", "spiffe://ex\u0430mple.org/x", ""},
		{"a NUL", "spiffe://example.org/x\x00", ""},
		{"two IDs", "spiffe://example.org/x,spiffe://example.org/y", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseSPIFFE(c.id, domains)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
	if got, err := parseSPIFFE("spiffe://example.org/x", nil); err == nil {
		t.Errorf("without any trust domain: got %q, want an error", got)
	}
}
