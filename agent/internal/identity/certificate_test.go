package identity

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// authority is a CA that signs client certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var (
	deviceCA = sync.OnceValue(func() *authority { return newAuthority("Device CA", newEC(elliptic.P256())) })
	otherCA  = sync.OnceValue(func() *authority { return newAuthority("Other CA", newEC(elliptic.P256())) })
)

func newAuthority(name string, k crypto.Signer) *authority {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Acme"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &authority{c, k}
}

// issue returns the DER of a good client certificate, apart from what change makes of it.
func (a *authority) issue(t testing.TB, change func(*x509.Certificate)) []byte {
	t.Helper()
	return a.issueFor(t, otherP256().Public(), change)
}

func (a *authority) issueFor(t testing.TB, public crypto.PublicKey, change func(*x509.Certificate)) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x0a1b2c), Subject: pkix.Name{CommonName: "build-7", OrganizationalUnit: []string{"ci"}, Organization: []string{"Acme"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// file writes certificates of CAs as PEM.
func caFile(t testing.TB, list ...*authority) string {
	t.Helper()
	var b bytes.Buffer
	for _, a := range list {
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}); err != nil {
			t.Fatal(err)
		}
	}
	return tempFile(t, "ca.pem", b.String())
}

func tempFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func presented(der []byte) ClientCertificate { return ClientCertificate{Used: true, DER: der} }

func read(t testing.TB, der []byte) *certificate {
	t.Helper()
	c, err := readCertificate(presented(der), now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// alternatives makes a subject alternative name extension of raw names, which crypto/x509 would refuse to write.
func alternatives(names ...asn1.RawValue) pkix.Extension {
	value, err := asn1.Marshal(names)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Value: value}
}

func uriName(s string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(s)}
}

func dnsName(s string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(s)}
}

func TestReadCertificateWithoutOne(t *testing.T) {
	c, err := readCertificate(ClientCertificate{}, now)
	if c != nil || err != nil {
		t.Errorf("got %v, %v, want neither certificate nor error", c, err)
	}
}

func TestReadCertificateRefuses(t *testing.T) {
	good := deviceCA().issue(t, nil)
	with := func(change func(*x509.Certificate)) ClientCertificate { return presented(deviceCA().issue(t, change)) }
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	rsaCA := newAuthority("RSA CA", rsaPrivate())
	for _, c := range []struct {
		name string
		c    ClientCertificate
		want Reason
	}{
		{"a result without a certificate", ClientCertificate{Result: 2}, CertificateUnverified},
		{"an unknown CA that HAProxy was told to ignore", ClientCertificate{Used: true, Result: 21, DER: good}, CertificateUnverified},
		{"an expiry that HAProxy was told to ignore", ClientCertificate{Used: true, Result: 10, DER: good}, CertificateUnverified},
		{"a purpose that HAProxy was told to ignore", ClientCertificate{Used: true, Result: 26, DER: good}, CertificateUnverified},
		{"a negative result", ClientCertificate{Used: true, Result: -1, DER: good}, CertificateUnverified},
		{"used without a certificate", ClientCertificate{Used: true}, CertificateMalformed},
		{"used with an empty certificate", ClientCertificate{Used: true, DER: []byte{}}, CertificateMalformed},
		{"a certificate that is not used", ClientCertificate{DER: good}, CertificateMalformed},
		{"8 KiB and a byte", presented(append(slices.Clone(good), make([]byte, maxCertificate+1-len(good))...)), CertificateMalformed},
		{"no DER", presented([]byte("-----BEGIN CERTIFICATE-----")), CertificateMalformed},
		{"half of a certificate", presented(good[:len(good)/2]), CertificateMalformed},
		{"a certificate and a byte", presented(append(slices.Clone(good), 0)), CertificateMalformed},
		{"two certificates", presented(slices.Concat(good, deviceCA().cert.Raw)), CertificateMalformed},
		{"a name with a line break", with(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{alternatives(dnsName("a.example\n"))}
		}), CertificateMalformed},
		{"expired a second ago", with(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), CertificateExpired},
		{"valid in a second", with(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), CertificateNotYetValid},
		{"a CA", with(func(c *x509.Certificate) { c.IsCA = true }), CertificateUnsuitable},
		{"a CA that may sign", with(func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		}), CertificateUnsuitable},
		{"no CA that may sign", with(func(c *x509.Certificate) {
			c.KeyUsage |= x509.KeyUsageCertSign
			c.BasicConstraintsValid = false
		}), CertificateUnsuitable},
		{"one that may sign revocation lists", with(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }), CertificateUnsuitable},
		{"no key usage", with(func(c *x509.Certificate) { c.KeyUsage = 0 }), CertificateUnsuitable},
		{"a key for encryption alone", with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), CertificateUnsuitable},
		{"no extended key usage", with(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), CertificateUnsuitable},
		{"a server's", with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), CertificateUnsuitable},
		{"for any purpose", with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), CertificateUnsuitable},
		{"a critical extension that nobody knows", with(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}), CertificateUnsuitable},
		{"RSA with 1024 bits", presented(deviceCA().issueFor(t, small.Public(), nil)), CertificateWeak},
		{"P-224", presented(deviceCA().issueFor(t, newEC(elliptic.P224()).Public(), nil)), CertificateWeak},
		{"signed with SHA-1", presented(rsaCA.issue(t, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA })), CertificateWeak},
		{"signed with ECDSA and SHA-1", with(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), CertificateWeak},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readCertificate(c.c, now)
			if reasonOf(t, err) != c.want || got != nil {
				t.Errorf("got %v, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestReadCertificateAccepts(t *testing.T) {
	for _, c := range []struct {
		name string
		der  []byte
	}{
		{"P-256", deviceCA().issue(t, nil)},
		{"P-384", deviceCA().issueFor(t, p384Private().Public(), nil)},
		{"RSA with 2048 bits", deviceCA().issueFor(t, rsaPrivate().Public(), nil)},
		{"Ed25519", deviceCA().issueFor(t, ed25519Seeds().Public(), nil)},
		{"until this second", deviceCA().issue(t, func(c *x509.Certificate) { c.NotAfter = now })},
		{"from this second", deviceCA().issue(t, func(c *x509.Certificate) { c.NotBefore = now })},
		{"for servers as well", deviceCA().issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) })},
		{"without basic constraints", deviceCA().issue(t, func(c *x509.Certificate) { c.BasicConstraintsValid = false })},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readCertificate(presented(c.der), now)
			if err != nil || got == nil {
				t.Fatalf("got %v, %v, want a certificate", got, err)
			}
			want := []string{"CN=Device CA,O=Acme", "a1b2c"}
			if diff := cmp.Diff(want, []string{got.issuer, got.serial}); diff != "" {
				t.Errorf("issuer and serial number (-want +got):\n%s", diff)
			}
		})
	}
}

// A session may be resumed, or a connection kept alive, long after the handshake at which HAProxy looked.
func TestCertificateExpiresDuringAConnection(t *testing.T) {
	c := presented(deviceCA().issue(t, nil))
	for at, want := range map[time.Duration]Reason{0: "", time.Hour: "", time.Hour + time.Second: CertificateExpired} {
		if _, err := readCertificate(c, now.Add(at)); reasonOf(t, err) != want {
			t.Errorf("after %v: got %v, want %q", at, err, want)
		}
	}
}

// What openssl 3.0 says of a certificate that it made: x509 -noout -serial -fingerprint -sha256 -issuer -subject -nameopt RFC2253.
const (
	opensslPEM = `-----BEGIN CERTIFICATE-----
MIICJTCCAcqgAwIBAgIJAKGyw9Tl9gcYMAoGCCqGSM49BAMCMDsxCzAJBgNVBAYT
AkRFMRMwEQYDVQQKDApBY21lLCBJbmMuMRcwFQYDVQQDDA5BY21lIERldmljZSBD
QTAgFw0yNjExMjIwNzM4MTVaGA8yMTI2MTAyOTA3MzgxNVowNDETMBEGA1UECgwK
QWNtZSwgSW5jLjELMAkGA1UECwwCY2kxEDAOBgNVBAMMB2J1aWxkLTcwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAARGQBuN9dPBovUjHarr3Q9ifyReAN8goTm4dZlc
FTkXbn84dSQYB6/C+V5uXp2+OGCFKh9GHrfVVPy5IFWWwO9no4G7MIG4MAkGA1Ud
EwQCMAAwDgYDVR0PAQH/BAQDAgeAMBMGA1UdJQQMMAoGCCsGAQUFBwMCMEYGA1Ud
EQQ/MD2GI3NwaWZmZTovL2V4YW1wbGUub3JnL25zL2NpL3NhL2J1aWxkghZCdWls
ZC03LmNpLmV4YW1wbGUuY29tMB0GA1UdDgQWBBR/7j27DMaN5Xwoe9b6HVjtQSD9
yDAfBgNVHSMEGDAWgBR5UPpHD1ZyqtUAr85W+4/CSzUFITAKBggqhkjOPQQDAgNJ
ADBGAiEAkTcjJVHJ7NRjGxpJTTj4GhYlhh1JBsuVyY+9U/69kIcCIQDcT36IBAaR
vOcw53+o4AukHlENdP6J1q1JWTu1W+hHnA==
-----END CERTIFICATE-----`
	opensslFingerprint = "19DCC9FBC08D0B9A0A48C83838189790" + "27250FD805026F8F64A7BB1D0DB46060"
	opensslThumbprint  = "GdzJ-8CNC5oKSMg4OBiXkCclD9gFAm-PZKe7HQ20YGA" // of dgst -sha256 -binary, in base64url
	opensslSerial      = "A1B2C3D4E5F60718"
	opensslIssuer      = `CN=Acme Device CA,O=Acme\, Inc.,C=DE`
	opensslSubject     = `CN=build-7,OU=ci,O=Acme\, Inc.`
)

func TestCertificateIsToldAsOpenSSLTellsIt(t *testing.T) {
	block, _ := pem.Decode([]byte(opensslPEM))
	c, err := readCertificate(presented(block.Bytes), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	fingerprint, err := base64.RawURLEncoding.DecodeString(c.thumbprint)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{opensslFingerprint, opensslThumbprint, strings.ToLower(opensslSerial), opensslIssuer, opensslSubject}
	got := []string{strings.ToUpper(new(big.Int).SetBytes(fingerprint).Text(16)), c.thumbprint, c.serial, c.issuer, c.names.subject.String()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fingerprint, thumbprint, serial number, issuer and subject (-want +got):\n%s", diff)
	}
	rule := compile(t, CertificateRule{TrustDomains: []string{"example.org"}})
	subject, claims, err := rule.identify(c)
	if err != nil {
		t.Fatal(err)
	}
	if want := "spiffe://example.org/ns/ci/sa/build"; subject != want {
		t.Errorf("subject: got %q, want %q", subject, want)
	}
	wantClaims := map[string]any{
		"sub": "spiffe://example.org/ns/ci/sa/build", "trust_domain": "example.org", "x5t#S256": opensslThumbprint,
		"subject_dn": opensslSubject, "issuer_dn": opensslIssuer, "serial": "a1b2c3d4e5f60718",
		"subject": map[string]any{"CN": []any{"build-7"}, "OU": []any{"ci"}, "O": []any{"Acme, Inc."}},
		"uri":     []any{"spiffe://example.org/ns/ci/sa/build"}, "dns": []any{"Build-7.ci.example.com"}, "email": []any{},
	}
	if diff := cmp.Diff(wantClaims, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

// The certificate of RFC 8705 appendix A and the thumbprint that the RFC gives for it.
func TestBindingOfTheRFC(t *testing.T) {
	der, err := base64.StdEncoding.DecodeString("MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAxODEyMzcwOVoXDTIyMDUwMjEy" +
		"MzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ/Au08/coZwxS7LfA4vOL" +
		"S9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwIDSQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOVbUlJSGQgjwD5vaUa" +
		"KlLR50Q2DmFfQj1L+SY=")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCertificate(leaf, now)
	if err != nil {
		t.Fatal(err)
	}
	cnf := map[string]any{"cnf": map[string]any{"x5t#S256": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"}}
	if err := checkBinding(cnf, c); err != nil {
		t.Errorf("got %v, want the binding accepted", err)
	}
}

func compile(t testing.TB, r CertificateRule) *certificateRule {
	t.Helper()
	compiled, err := r.compile()
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestRuleIdentifies(t *testing.T) {
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	build := deviceCA().issue(t, func(c *x509.Certificate) {
		c.URIs = []*url.URL{uri("spiffe://example.org/ns/ci/sa/build")}
		c.DNSNames = []string{"Build-7.CI.example.com", "other.example.net"}
	})
	pin := "x5t#S256=" + read(t, build).thumbprint
	spoofed := deviceCA().issue(t, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "admin,CN=x/O=evil"} })
	multi := deviceCA().issue(t, func(c *x509.Certificate) {
		c.RawSubject = rawName(t, pkix.RelativeDistinguishedNameSET{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "admin"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: "ci"},
		})
	})
	twice := deviceCA().issue(t, func(c *x509.Certificate) {
		c.RawSubject = rawName(t,
			pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "admin"}},
			pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "user"}})
	})
	dns := func(names ...string) []byte {
		return deviceCA().issue(t, func(c *x509.Certificate) { c.DNSNames = names })
	}
	uris := func(names ...string) []byte {
		var raw []asn1.RawValue
		for _, name := range names {
			raw = append(raw, uriName(name))
		}
		return deviceCA().issue(t, func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{alternatives(raw...)} })
	}
	for _, c := range []struct {
		name string
		rule CertificateRule
		der  []byte
		want string // the subject, or "" for CertificateUnknown
	}{
		{"a SPIFFE ID", CertificateRule{TrustDomains: []string{"a.test", "example.org"}}, build, "spiffe://example.org/ns/ci/sa/build"},
		{"a SPIFFE ID of another trust domain", CertificateRule{TrustDomains: []string{"example.com"}}, build, ""},
		{"a SPIFFE ID below a trust domain of which ours is the end", CertificateRule{TrustDomains: []string{"ple.org"}}, build, ""},
		{"two URI names", CertificateRule{TrustDomains: []string{"example.org"}}, uris("spiffe://example.org/a", "spiffe://example.org/b"), ""},
		{"two URI names of which one is no SPIFFE ID", CertificateRule{TrustDomains: []string{"example.org"}}, uris("https://example.org/a", "spiffe://example.org/b"), ""},
		{"the same URI name twice", CertificateRule{TrustDomains: []string{"example.org"}}, uris("spiffe://example.org/a", "spiffe://example.org/a"), ""},
		{"no URI name", CertificateRule{TrustDomains: []string{"example.org"}}, dns("a.example.org"), ""},
		{"the ID of the trust domain itself", CertificateRule{TrustDomains: []string{"example.org"}}, uris("spiffe://example.org"), ""},
		{"the ID of the trust domain with a slash", CertificateRule{TrustDomains: []string{"example.org"}}, uris("spiffe://example.org/"), ""},
		{"the scheme in upper case", CertificateRule{TrustDomains: []string{"example.org"}}, uris("SPIFFE://example.org/x"), ""},
		{"an empty fragment", CertificateRule{TrustDomains: []string{"example.org"}}, uris("spiffe://example.org/x#"), ""},
		{"a list in one name", CertificateRule{TrustDomains: []string{"example.org"}}, uris("https://x/,URI:spiffe://example.org/admin"), ""},

		{"a DNS name in another case", CertificateRule{DNS: []string{"build-7.ci.Example.com"}}, build, "build-7.ci.example.com"},
		{"a DNS name below a wildcard", CertificateRule{DNS: []string{"*.ci.example.com"}}, build, "build-7.ci.example.com"},
		{"a DNS name two labels below a wildcard", CertificateRule{DNS: []string{"*.example.com"}}, build, ""},
		{"a DNS name that is the wildcard's parent", CertificateRule{DNS: []string{"*.a.test"}}, dns("a.test"), ""},
		{"a DNS name that ends like ours", CertificateRule{DNS: []string{"example.com"}}, dns("evilexample.com"), ""},
		{"a DNS name that begins like ours", CertificateRule{DNS: []string{"example.com"}}, dns("example.com.evil.test"), ""},
		{"two accepted DNS names", CertificateRule{DNS: []string{"*.a.test"}}, dns("x.a.test", "y.a.test"), ""},
		{"one accepted DNS name twice", CertificateRule{DNS: []string{"*.a.test"}}, dns("x.a.test", "x.a.test"), ""},
		{"a wildcard as DNS name", CertificateRule{DNS: []string{"*.a.test"}}, dns("*.a.test"), ""},
		{"no DNS name but the common name", CertificateRule{DNS: []string{"build-7"}}, deviceCA().issue(t, nil), ""},

		{"a subject", CertificateRule{Subject: []string{"CN=build-7,OU=ci,O=Acme"}}, build, "CN=build-7,OU=ci,O=Acme"},
		{"a subject with space and other case of the kinds", CertificateRule{Subject: []string{"cn=build-7, ou = ci, O=Acme "}}, build, "CN=build-7,OU=ci,O=Acme"},
		{"a subject by a pattern", CertificateRule{Subject: []string{"CN=x", "CN=build-*,OU=*,O=Acme"}}, build, "CN=build-7,OU=ci,O=Acme"},
		{"a subject in the order of the encoding", CertificateRule{Subject: []string{"O=Acme,OU=ci,CN=build-7"}}, build, ""},
		{"a subject of which a part is asked for", CertificateRule{Subject: []string{"CN=build-7"}}, build, ""},
		{"a subject of which more is asked for", CertificateRule{Subject: []string{"CN=build-7,OU=ci,O=Acme,C=DE"}}, build, ""},
		{"a subject in another case", CertificateRule{Subject: []string{"CN=Build-7,OU=ci,O=Acme"}}, build, ""},
		{"a subject whose value looks like attributes", CertificateRule{Subject: []string{"CN=admin,CN=x/O=evil", "CN=admin,CN=x", "CN=admin"}}, spoofed, ""},
		{"a subject whose value has to be escaped", CertificateRule{Subject: []string{`CN=admin\,CN=x/O=evil`}}, spoofed, `CN=admin\,CN=x/O=evil`},
		{"a subject with two attributes in one name", CertificateRule{Subject: []string{"CN=admin", "CN=admin,OU=ci", "OU=ci", "CN=*", "OU=*"}}, multi, ""},
		{"a subject with two common names", CertificateRule{Subject: []string{"CN=admin", "CN=user", "CN=*"}}, twice, ""},
		{"a pin", CertificateRule{Subject: []string{"CN=nobody", pin}}, build, pin},
		{"a pin of another certificate", CertificateRule{Subject: []string{pin}}, dns("a.test"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			subject, claims, err := compile(t, c.rule).identify(read(t, c.der))
			if c.want == "" {
				if reasonOf(t, err) != CertificateUnknown || subject != "" || claims != nil {
					t.Fatalf("got %q, %v, %v, want %s", subject, claims, err, CertificateUnknown)
				}
				return
			}
			if err != nil || subject != c.want || claims["sub"] != c.want {
				t.Errorf("got %q, %v, %v, want %q", subject, claims, err, c.want)
			}
		})
	}
}

func rawName(t *testing.T, relative ...pkix.RelativeDistinguishedNameSET) []byte {
	t.Helper()
	der, err := asn1.Marshal(relative)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// HAProxy's ca-file may have several CAs, and HAProxy does not tell which of them signed.
func TestRuleLooksAtTheCAItself(t *testing.T) {
	mine, theirs := deviceCA().issue(t, nil), otherCA().issue(t, nil)
	// A CA of the same name is another CA.
	impostor := newAuthority("Device CA", otherP256()).issue(t, nil)
	for _, c := range []struct {
		name   string
		caFile string
		der    []byte
		want   Reason
	}{
		{"signed by the CA", caFile(t, deviceCA()), mine, ""},
		{"signed by one of the CAs", caFile(t, otherCA(), deviceCA()), mine, ""},
		{"signed by another CA", caFile(t, deviceCA()), theirs, CertificateUntrusted},
		{"signed by a CA of the same name", caFile(t, deviceCA()), impostor, CertificateUntrusted},
		{"signed by any CA of HAProxy's", "", theirs, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			rule := compile(t, CertificateRule{Subject: []string{"CN=*,OU=*,O=*"}, CAFile: c.caFile})
			if _, _, err := rule.identify(read(t, c.der)); reasonOf(t, err) != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestRuleRefusesToLoad(t *testing.T) {
	leaf := tempFile(t, "leaf.pem", opensslPEM)
	for _, c := range []struct {
		name string
		rule CertificateRule
		want string // part of the message
	}{
		{"nothing", CertificateRule{}, "exactly one"},
		{"two kinds", CertificateRule{TrustDomains: []string{"a.test"}, DNS: []string{"a.test"}}, "exactly one"},
		{"a trust domain with scheme", CertificateRule{TrustDomains: []string{"spiffe://a.test"}}, "trust domain"},
		{"a trust domain in upper case", CertificateRule{TrustDomains: []string{"A.test"}}, "trust domain"},
		{"an empty trust domain", CertificateRule{TrustDomains: []string{""}}, "trust domain"},
		{"a wildcard of everything", CertificateRule{DNS: []string{"*"}}, "DNS name"},
		{"a wildcard below nothing", CertificateRule{DNS: []string{"*."}}, "DNS name"},
		{"a wildcard in the middle", CertificateRule{DNS: []string{"a.*.test"}}, "DNS name"},
		{"a dot at the end", CertificateRule{DNS: []string{"a.test."}}, "DNS name"},
		{"an empty subject", CertificateRule{Subject: []string{""}}, "distinguished name"},
		{"a subject that is a name alone", CertificateRule{Subject: []string{"build-*"}}, "distinguished name"},
		{"an attribute that nobody knows", CertificateRule{Subject: []string{"XX=1"}}, `attribute "XX"`},
		{"an empty value", CertificateRule{Subject: []string{"CN=,O=Acme"}}, "empty"},
		{"a comma at the end", CertificateRule{Subject: []string{"CN=a,"}}, "want a name"},
		{"attributes joined by a plus", CertificateRule{Subject: []string{"CN=a+OU=b"}}, "not supported"},
		{"a pin of 20 bytes", CertificateRule{Subject: []string{"x5t#S256=" + strings.Repeat("A", 27)}}, "base64url"},
		{"a pin in hex", CertificateRule{Subject: []string{"x5t#S256=" + opensslFingerprint}}, "base64url"},
		{"a CA file that is not there", CertificateRule{DNS: []string{"a.test"}, CAFile: "/does/not/exist"}, "CA file"},
		{"a CA file without a CA", CertificateRule{DNS: []string{"a.test"}, CAFile: leaf}, "certificate of a CA"},
		{"an empty CA file", CertificateRule{DNS: []string{"a.test"}, CAFile: tempFile(t, "e.pem", "\n")}, "no certificate"},
		{"a folder as CA file", CertificateRule{DNS: []string{"a.test"}, CAFile: t.TempDir()}, "not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.rule.validate(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error about %q", err, c.want)
			}
		})
	}
}

func TestNamesAreWrittenAsTheyAreRead(t *testing.T) {
	for _, value := range []string{
		"plain", " space ", "#hash", "a,b+c", `back\slash`, `"quoted"`, "<a;b>", "star*", "tab\tnul\x00", "é", "\u202egnp", "=", "a=b",
	} {
		der := rawName(t,
			pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Acme"}},
			pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 12}, Value: value}})
		name, err := parseDER(der)
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		if strings.ContainsFunc(name.String(), unprintable) {
			t.Errorf("%q is written as %q, want it printable", value, name)
		}
		pattern, err := parseName(name.String())
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		again, err := pattern.exact()
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if diff := cmp.Diff(name, again, cmp.AllowUnexported(attribute{})); diff != "" || !pattern.match(name) {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a*", "a", true}, {"a*", "abc", true}, {"a*", "ba", false}, {"*a", "cba", true}, {"*a", "ab", false},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"*b*", "abc", true}, {"*b*", "acd", false}, {"a*b*c", "a-b-b-c", true}, {"a*b*c", "acb", false},
		{"**", "x", true}, {"*ab*ab*", "ab", false}, {"*ab*ab*", "abab", true},
	} {
		if got := glob(strings.Split(c.pattern, "*"), c.s); got != c.want {
			t.Errorf("%q on %q: got %v, want %v", c.pattern, c.s, got, c.want)
		}
	}
}

func FuzzReadCertificate(f *testing.F) {
	block, _ := pem.Decode([]byte(opensslPEM))
	f.Add(block.Bytes)
	f.Add(deviceCA().issue(f, nil))
	f.Add(deviceCA().cert.Raw)
	at := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	spiffe := compile(f, CertificateRule{TrustDomains: []string{"example.org"}})
	people := compile(f, CertificateRule{Subject: []string{"CN=*,OU=*,O=*"}})
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := readCertificate(presented(der), at)
		if err != nil {
			if c != nil {
				t.Errorf("a certificate with error %v", err)
			}
			return
		}
		if leaf, err := x509.ParseCertificate(der); err != nil || leaf.IsCA || at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
			t.Errorf("accepted what is not a leaf in force: %v", err)
		}
		pattern, err := parseName(c.issuer)
		if err != nil && c.issuer != "" {
			t.Errorf("issuer %q: %v", c.issuer, err)
		}
		if again, err := pattern.exact(); err != nil || again.String() != c.issuer {
			t.Errorf("issuer %q is read as %q, %v", c.issuer, again, err)
		}
		if subject, _, err := spiffe.identify(c); err == nil && !strings.HasPrefix(subject, "spiffe://example.org/") {
			t.Errorf("subject %q", subject)
		}
		if subject, _, err := people.identify(c); err == nil && strings.ContainsFunc(subject, unprintable) {
			t.Errorf("subject %q", subject)
		}
	})
}

func BenchmarkCertificate(b *testing.B) {
	c := presented(deviceCA().issue(b, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{alternatives(uriName("spiffe://example.org/a"))}
	}))
	for name, rule := range map[string]CertificateRule{
		"by HAProxy's word": {TrustDomains: []string{"example.org"}},
		"by the CA":         {TrustDomains: []string{"example.org"}, CAFile: caFile(b, deviceCA())},
	} {
		b.Run(name, func(b *testing.B) {
			compiled := compile(b, rule)
			b.ReportAllocs()
			for b.Loop() {
				read, err := readCertificate(c, now)
				if err != nil {
					b.Fatal(err)
				}
				if _, _, err := compiled.identify(read); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
