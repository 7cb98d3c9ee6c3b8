package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy/strictyaml"
)

const denyList = `version: 1
revoked:
  - { issuer: corp, jti: t-1, because: "token in a build log" }
  - { issuer: corp, jti: [t-2, t-3] }
  - { issuer: corp, subject: alice, because: left the company }
  - { issuer: corp, subject: bob, issuedBefore: 2026-03-01T11:00:00Z }
  - { issuer: corp, subject: bob, issuedBefore: 2026-03-01T10:00:00Z }
  - { issuer: corp, sid: s-1 }
  - { issuer: corp, kid: 2026-10 }
  - { issuer: lab, issuedBefore: 2026-03-01T13:00:00+02:00 }
  - { certificate: GdzJ-8CNC5oKSMg4OBiXkCclD9gFAm-PZKe7HQ20YGA }
  - { certificateIssuer: "cn=Acme Device CA, O=Acme\\, Inc., C=DE", serial: [00:A1:B2:C3, "0"] }
`

func TestRevocationsCheck(t *testing.T) {
	list, err := parseRevocations("revoked.yaml", []byte(denyList))
	if err != nil {
		t.Fatal(err)
	}
	at := func(hour int) time.Time { return time.Date(2026, 3, 1, hour, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		name string
		id   Identity
		want string // part of the message, or "" for none
	}{
		{"nobody", Identity{}, ""},
		{"somebody else", Identity{Issuer: "corp", Subject: "carol", TokenID: "t-9", SessionID: "s-9", KeyID: "k-9", IssuedAt: at(1)}, ""},
		{"a token", Identity{Issuer: "corp", Subject: "carol", TokenID: "t-1"}, `token "t-1"`},
		{"a token of a list", Identity{Issuer: "corp", TokenID: "t-3"}, `token "t-3"`},
		{"a token of the same id of another issuer", Identity{Issuer: "other", TokenID: "t-1"}, ""},
		{"a token whose id differs in case", Identity{Issuer: "corp", TokenID: "T-1"}, ""},
		{"a subject", Identity{Issuer: "corp", Subject: "alice", IssuedAt: at(23)}, `subject "alice" of issuer "corp" is revoked`},
		{"a subject under a name that the policy gave it", Identity{Issuer: "corp", Subject: "alice@acme.example", Claims: map[string]any{"sub": "alice"}}, `subject "alice"`},
		{"a subject of the same name of another issuer", Identity{Issuer: "other", Subject: "alice"}, ""},
		{"a subject, issued before", Identity{Issuer: "corp", Subject: "bob", IssuedAt: at(11).Add(-time.Nanosecond)}, "issued before 2026-03-01T11:00:00Z"},
		{"a subject, issued at that time", Identity{Issuer: "corp", Subject: "bob", IssuedAt: at(11)}, ""},
		{"a subject, without time of issue", Identity{Issuer: "corp", Subject: "bob"}, `subject "bob"`},
		{"a session", Identity{Issuer: "corp", Subject: "carol", SessionID: "s-1"}, `session "s-1"`},
		{"a session id as token id", Identity{Issuer: "corp", TokenID: "s-1"}, ""},
		{"a key", Identity{Issuer: "corp", KeyID: "2026-10"}, `key "2026-10"`},
		{"an issuer, issued before", Identity{Issuer: "lab", Subject: "x", IssuedAt: at(10)}, `everything of issuer "lab"`},
		{"an issuer, issued at that time", Identity{Issuer: "lab", Subject: "x", IssuedAt: at(11)}, ""},
		{"an issuer, without time of issue", Identity{Issuer: "lab", Subject: "x"}, `everything of issuer "lab"`},
		{"a certificate", Identity{Issuer: "corp", Thumbprint: opensslThumbprint}, "certificate " + opensslThumbprint},
		{"another certificate", Identity{Issuer: "corp", Thumbprint: strings.Repeat("A", 43)}, ""},
		{"a serial number", Identity{CertificateIssuer: opensslIssuer, CertificateSerial: "a1b2c3"}, "certificate a1b2c3 of"},
		{"the serial number zero", Identity{CertificateIssuer: opensslIssuer, CertificateSerial: "0"}, "certificate 0 of"},
		{"the serial number of another CA", Identity{CertificateIssuer: "CN=Device CA,O=Acme", CertificateSerial: "a1b2c3"}, ""},
		{"another serial number of the CA", Identity{CertificateIssuer: opensslIssuer, CertificateSerial: "a1b2c4"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := list.Check(c.id)
			if c.want == "" {
				if err != nil {
					t.Errorf("got %v, want nothing revoked", err)
				}
				return
			}
			if reasonOf(t, err) != Revoked || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s and %q", err, Revoked, c.want)
			}
		})
	}
	if diff := cmp.Diff([]string{"corp", "lab"}, list.Issuers()); diff != "" || list.Len() != 10 || len(list.Digest()) != 64 {
		t.Errorf("issuers (-want +got):\n%s; %d entries, digest %q", diff, list.Len(), list.Digest())
	}
}

func TestNoRevocationsRevokeNothing(t *testing.T) {
	id := Identity{Issuer: "corp", Subject: "alice", TokenID: "t", Thumbprint: opensslThumbprint}
	empty, err := parseRevocations("r.yaml", []byte("version: 1\nrevoked: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	missing, err := LoadRevocations(filepath.Join(t.TempDir(), "none.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string]*Revocations{"nil": nil, "zero": {}, "empty": empty, "of a missing file": missing} {
		if err := list.Check(id); err != nil || list.Len() != 0 || len(list.Issuers()) != 0 {
			t.Errorf("%s list: got %v, %d entries", name, err, list.Len())
		}
	}
	if missing.Digest() != "" || empty.Digest() == "" {
		t.Errorf("digests: got %q for a missing file and %q for an empty list", missing.Digest(), empty.Digest())
	}
}

func TestRevocationsRefuseToLoad(t *testing.T) {
	entry := func(s string) string { return "version: 1\nrevoked:\n  - " + s + "\n" }
	for _, c := range []struct {
		name, text string
		want       []string // place and message
	}{
		{"an empty file", "", []string{"r.yaml: the file is empty"}},
		{"no version", "revoked: []\n", []string{`r.yaml:1:1: missing key "version"`}},
		{"another version", "version: 2\nrevoked: []\n", []string{`r.yaml:1:10 (version): "2" is none of 1`}},
		{"no list", "version: 1\n", []string{`r.yaml:1:1: missing key "revoked"`}},
		{"nothing for a list", "version: 1\nrevoked:\n", []string{"r.yaml:2:9 (revoked): want a list of entries; write [] to revoke nothing"}},
		{"an entry for a list", "version: 1\nrevoked: { issuer: corp, jti: a }\n", []string{"r.yaml:2:10 (revoked): want a list of entries; write [] to revoke nothing"}},
		{"a key of the file that nobody knows", "version: 1\nrevoked: []\nrevoke: []\n", []string{`r.yaml:3:1 (revoke): unknown key "revoke" (did you mean "revoked"?)`}},
		{"a text for an entry", entry("alice"), []string{"r.yaml:3:5 (revoked[0]): want a mapping, not a single value"}},
		{"an empty entry", entry("{}"), []string{`r.yaml:3:5 (revoked[0]): missing key "issuer": the name of an issuer of the policy`}},
		{"a reason alone", entry("{ because: x }"), []string{`r.yaml:3:5 (revoked[0]): missing key "issuer": the name of an issuer of the policy`}},
		{"no issuer", entry("{ jti: a }"), []string{`r.yaml:3:5 (revoked[0]): missing key "issuer": the name of an issuer of the policy`}},
		{"an issuer alone", entry("{ issuer: corp }"), []string{"r.yaml:3:5 (revoked[0]): the entry does not say what is revoked: write jti, subject, sid, kid or issuedBefore"}},
		{"a key that nobody knows", entry("{ issuer: corp, jtl: a }"), []string{`r.yaml:3:21 (revoked[0].jtl): unknown key "jtl" (did you mean "jti"?)`}},
		{"a token by its digest", entry("{ issuer: corp, sha256: a }"), []string{`r.yaml:3:21 (revoked[0].sha256): unknown key "sha256"`}},
		{"two things", entry("{ issuer: corp, jti: a, subject: b }"), []string{"r.yaml:3:5 (revoked[0]): jti and subject in one entry: write an entry for each"}},
		{"a token issued before", entry("{ issuer: corp, jti: a, issuedBefore: 2026-01-01T00:00:00Z }"), []string{"r.yaml:3:5 (revoked[0]): issuedBefore goes with subject or stands alone with issuer"}},
		{"an empty subject", entry("{ issuer: corp, subject: }"), []string{"r.yaml:3:30 (revoked[0].subject): the value is missing"}},
		{"an empty list of tokens", entry("{ issuer: corp, jti: [] }"), []string{"r.yaml:3:26 (revoked[0].jti): the list is empty"}},
		{"a day for a time", entry("{ issuer: corp, issuedBefore: 2026-01-01 }"), []string{`r.yaml:3:35 (revoked[0].issuedBefore): "2026-01-01" is not a time such as 2026-11-22T10:00:00Z`}},
		{"a time without zone", entry("{ issuer: corp, issuedBefore: 2026-01-01T00:00:00 }"), []string{`r.yaml:3:35 (revoked[0].issuedBefore): "2026-01-01T00:00:00" is not a time such as 2026-11-22T10:00:00Z`}},
		{"seconds for a time", entry("{ issuer: corp, issuedBefore: 1767225600 }"), []string{`r.yaml:3:35 (revoked[0].issuedBefore): "1767225600" is not a time such as 2026-11-22T10:00:00Z`}},
		{"the year 1", entry("{ issuer: corp, issuedBefore: 0001-01-01T00:00:00Z }"), []string{`r.yaml:3:35 (revoked[0].issuedBefore): "0001-01-01T00:00:00Z" is not a time such as 2026-11-22T10:00:00Z`}},
		{"a certificate in hex", entry("{ certificate: " + opensslFingerprint + " }"), []string{`r.yaml:3:20 (revoked[0].certificate): "` + opensslFingerprint + `" is not the SHA-256 of a certificate in base64url, 43 characters`}},
		{"a certificate of an issuer", entry("{ issuer: corp, certificate: " + opensslThumbprint + " }"), []string{"r.yaml:3:5 (revoked[0]): an entry for a certificate has no issuer and no issuedBefore"}},
		{"a serial number alone", entry("{ serial: 0a }"), []string{"r.yaml:3:5 (revoked[0]): a certificate is named by certificateIssuer and serial together, or by certificate"}},
		{"a certificate's issuer alone", entry("{ certificateIssuer: CN=a }"), []string{"r.yaml:3:5 (revoked[0]): a certificate is named by certificateIssuer and serial together, or by certificate"}},
		{"a serial number that is not hex", entry("{ certificateIssuer: CN=a, serial: 0x1 }"), []string{`r.yaml:3:40 (revoked[0].serial): "0x1" is not a serial number in hex such as 0a:1b:2c`}},
		{"a name that is none", entry("{ certificateIssuer: Acme, serial: 1 }"), []string{`r.yaml:3:26 (revoked[0].certificateIssuer): "Acme" is not a name such as CN=Acme CA,O=Acme: distinguished name at character 1: want a name such as CN, then =`}},
		{"a name with a wildcard", entry("{ certificateIssuer: CN=*, serial: 1 }"), []string{`r.yaml:3:26 (revoked[0].certificateIssuer): distinguished name with *, which stands for itself when it is written \2A`}},
		{"everything that is wrong at once", "version: 1\nrevoked:\n  - { jti: a }\n  - { issuer: corp }\n", []string{
			`r.yaml:3:5 (revoked[0]): missing key "issuer": the name of an issuer of the policy`,
			"r.yaml:4:5 (revoked[1]): the entry does not say what is revoked: write jti, subject, sid, kid or issuedBefore",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, err := parseRevocations("r.yaml", []byte(c.text))
			if list != nil {
				t.Error("got a list beside the error")
			}
			if diff := cmp.Diff(c.want, problemsOf(t, err)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// problemsOf returns place and message of each problem.
func problemsOf(t *testing.T, err error) []string {
	t.Helper()
	var all *strictyaml.Error
	if !errors.As(err, &all) {
		t.Fatalf("got %v, want problems", err)
	}
	var list []string
	for _, p := range all.Problems {
		s := p.File
		if p.Line > 0 {
			s += fmt.Sprintf(":%d:%d", p.Line, p.Column)
		}
		if p.Path != "" {
			s += " (" + p.Path + ")"
		}
		list = append(list, s+": "+p.Message)
	}
	return list
}

func TestLoadRevocationsRefusesWhatIsNoFile(t *testing.T) {
	if list, err := LoadRevocations(t.TempDir()); err == nil || list != nil {
		t.Errorf("a folder: got %v, %v, want an error", list, err)
	}
	large := tempFile(t, "large.yaml", "version: 1\nrevoked: []\n#"+strings.Repeat("x", strictyaml.MaxSize))
	if list, err := LoadRevocations(large); err == nil || list != nil {
		t.Errorf("more than %d bytes: got %v, %v, want an error", strictyaml.MaxSize, list, err)
	}
}

func FuzzRevocations(f *testing.F) {
	f.Add(denyList)
	f.Add("version: 1\nrevoked: []\n")
	f.Add("version: 1\nrevoked: [ { issuer: a, subject: [b, c], issuedBefore: 9999-12-31T23:59:59-23:59 } ]\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseRevocations("r.yaml", []byte(text))
		if err != nil {
			if list != nil {
				t.Errorf("a list with error %v", err)
			}
			return
		}
		for _, set := range []struct {
			entries map[[2]string]bool
			id      func(issuer, name string) Identity
		}{
			{list.tokens, func(i, n string) Identity { return Identity{Issuer: i, TokenID: n} }},
			{list.sessions, func(i, n string) Identity { return Identity{Issuer: i, SessionID: n} }},
			{list.keys, func(i, n string) Identity { return Identity{Issuer: i, KeyID: n} }},
			{list.serials, func(i, n string) Identity { return Identity{CertificateIssuer: i, CertificateSerial: n} }},
		} {
			for entry := range set.entries {
				if list.Check(set.id(entry[0], entry[1])) == nil {
					t.Errorf("entry %q revokes nothing", entry)
				}
			}
		}
		for by, before := range list.subjects {
			if list.Check(Identity{Issuer: by[0], Subject: by[1], IssuedAt: before.Add(-1)}) == nil {
				t.Errorf("subject %q is not revoked before %v", by, before)
			}
		}
		if err := list.Check(Identity{Issuer: strings.Join(list.Issuers(), "") + "x", Subject: "b", TokenID: "t"}); err != nil {
			t.Errorf("an issuer that is not on the list: %v", err)
		}
	})
}

func BenchmarkRevocationsCheck(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		var text strings.Builder
		text.WriteString("version: 1\nrevoked:\n")
		for i := range n {
			fmt.Fprintf(&text, "  - { issuer: corp, subject: user-%d }\n", i)
		}
		list, err := parseRevocations("r.yaml", []byte(text.String()))
		if err != nil {
			b.Fatal(err)
		}
		id := Identity{
			Issuer: "corp", Subject: "alice", TokenID: "t-1", SessionID: "s-1", KeyID: "k-1", IssuedAt: now,
			Thumbprint: opensslThumbprint, CertificateIssuer: opensslIssuer, CertificateSerial: "a1b2",
		}
		b.Run(fmt.Sprintf("%d entries", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := list.Check(id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkRevocationsLoad(b *testing.B) {
	var text strings.Builder
	text.WriteString("version: 1\nrevoked:\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "  - { issuer: corp, jti: 7c2e5b0a-0000-4000-8000-%012d, because: incident 7 }\n", i)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if list, err := parseRevocations("r.yaml", []byte(text.String())); err != nil || list.Len() != 10_000 {
			b.Fatal(err)
		}
	}
}
