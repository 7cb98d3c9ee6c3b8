package identity

import (
	"bytes"
	"context"
	"crypto/x509"
	"go/parser"
	gotoken "go/token"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/secret"
)

// The entry of the deny list has to meet what the verifier makes of a credential.
func TestRevokedCallersAreRecognised(t *testing.T) {
	p := newProvider(t, jwk(p256Private(), "k-ES256"))
	both := p.issuer()
	both.Name, both.URL = "both", "https://both.example"
	both.JWKSURL, both.Certificate = p.URL+"/keys", &CertificateRule{TrustDomains: []string{"example.org"}}
	mesh := Issuer{Name: "mesh", Certificate: &CertificateRule{TrustDomains: []string{"example.org"}, CAFile: caFile(t, deviceCA())}}
	v := newVerifier(t, options(t), p.issuer(), both, mesh)

	der := deviceCA().issue(t, func(c *x509.Certificate) {
		u, err := url.Parse("spiffe://example.org/build")
		if err != nil {
			t.Fatal(err)
		}
		c.URIs = []*url.URL{u}
	})
	thumbprint := read(t, der).thumbprint
	bearer := func(header, claims object) secret.Text {
		return bearerOf(compact("ES256", p256Private(), header.String(), claims.String()))
	}
	plain := Credentials{Authorization: bearer(goodHeader("ES256"), goodClaims(p.URL).with("sid", "s1"))}
	keyless := Credentials{Authorization: bearer(goodHeader("ES256").with("kid", absent), goodClaims(p.URL))}
	bound := Credentials{
		Authorization: bearer(goodHeader("ES256"), goodClaims(p.URL).with("cnf", object{"x5t#S256": thumbprint})), Certificate: presented(der),
	}
	two := Credentials{Authorization: bearer(goodHeader("ES256"), goodClaims("https://both.example")), Certificate: presented(der)}
	alone := Credentials{Certificate: presented(der)}
	for _, c := range []struct {
		name        string
		credentials Credentials
		entry       string
		revoked     bool
	}{
		{"a token", plain, "{ issuer: corp, jti: t1 }", true},
		{"a token of another issuer", plain, "{ issuer: both, jti: t1 }", false},
		{"a subject", plain, "{ issuer: corp, subject: alice }", true},
		{"a subject until just after the issue", plain, "{ issuer: corp, subject: alice, issuedBefore: " + date(now.Add(-9*time.Second)) + " }", true},
		{"a subject until the issue", plain, "{ issuer: corp, subject: alice, issuedBefore: " + date(now.Add(-10*time.Second)) + " }", false},
		{"a session", plain, "{ issuer: corp, sid: s1 }", true},
		{"a key", plain, "{ issuer: corp, kid: k-ES256 }", true},
		{"a key that the header does not name", keyless, "{ issuer: corp, kid: k-ES256 }", true},
		{"an issuer", plain, "{ issuer: corp, issuedBefore: " + date(now) + " }", true},
		{"the certificate of a bound token", bound, "{ certificate: " + thumbprint + " }", true},
		{"the certificate beside a token", two, "{ certificate: " + thumbprint + " }", true},
		{"the certificate alone", alone, "{ certificate: " + thumbprint + " }", true},
		{"the certificate by its serial number", alone, `{ certificateIssuer: "CN=Device CA,O=Acme", serial: 0A:1B:2C }`, true},
		{"another certificate of the CA", alone, `{ certificateIssuer: "CN=Device CA,O=Acme", serial: 0A:1B:2D }`, false},
		{"a workload", alone, "{ issuer: mesh, subject: spiffe://example.org/build }", true},
		{"certificates from before", alone, "{ issuer: mesh, issuedBefore: " + date(now) + " }", true},
		{"certificates from longer before", alone, "{ issuer: mesh, issuedBefore: " + date(now.Add(-2*time.Hour)) + " }", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := v.Identify(context.Background(), c.credentials, now)
			if err != nil {
				t.Fatal(err)
			}
			list, err := parseRevocations("r.yaml", []byte("version: 1\nrevoked: [ "+c.entry+" ]\n"))
			if err != nil {
				t.Fatal(err)
			}
			want := Reason("")
			if c.revoked {
				want = Revoked
			}
			if err := list.Check(id); reasonOf(t, err) != want {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// The example of the documentation is a file that loads.
func TestDocumentedRevocationsLoad(t *testing.T) {
	source, err := os.ReadFile("revocation.go")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(gotoken.NewFileSet(), "revocation.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var example bytes.Buffer
	for _, comment := range file.Comments {
		for line := range strings.SplitSeq(comment.Text(), "\n") {
			if text, indented := strings.CutPrefix(line, "\t"); indented {
				example.WriteString(text + "\n")
			}
		}
	}
	list, err := parseRevocations("example.yaml", example.Bytes())
	if err != nil {
		t.Fatalf("%v in\n%s", err, example.String())
	}
	if diff := cmp.Diff([]string{"corp"}, list.Issuers()); diff != "" || list.Len() != 8 {
		t.Errorf("%d entries, want 8; issuers (-want +got):\n%s", list.Len(), diff)
	}
}
