package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"time"
)

// Reasons to refuse a client certificate.
const (
	CertificateMissing     Reason = "CERTIFICATE_MISSING"       // the issuer asks for a client certificate, and none was presented
	CertificateUnverified  Reason = "CERTIFICATE_UNVERIFIED"    // HAProxy found fault with the client certificate
	CertificateMalformed   Reason = "CERTIFICATE_MALFORMED"     // what HAProxy passed on is not one certificate
	CertificateExpired     Reason = "CERTIFICATE_EXPIRED"       // its time has passed, maybe since the handshake
	CertificateNotYetValid Reason = "CERTIFICATE_NOT_YET_VALID" // its time has not come
	CertificateUnsuitable  Reason = "CERTIFICATE_UNSUITABLE"    // a CA's, or not made for clients
	CertificateWeak        Reason = "CERTIFICATE_WEAK"          // small key, or signed with SHA-1
	CertificateUntrusted   Reason = "CERTIFICATE_UNTRUSTED"     // not signed by a CA of this issuer
	CertificateUnknown     Reason = "CERTIFICATE_UNKNOWN"       // names nobody that this issuer takes
)

const (
	maxCertificate   = 8 << 10 // bytes of DER
	thumbprintLength = 43      // of a SHA-256 in base64url
	minRSABits       = 2048
	maxRSABits       = 8192
)

// ClientCertificate is what HAProxy tells about the client's certificate of the TLS connection it terminates. The zero value is a
// connection without one.
type ClientCertificate struct {
	Used   bool   // ssl_c_used: there is one, also on a resumed session
	Result int64  // ssl_c_verify: 0 when verification found no fault, and also when there was nothing to verify
	DER    []byte // ssl_c_der
}

// certificate is a client certificate that HAProxy has verified and that is fit to name a caller. It is immutable.
type certificate struct {
	leaf       *x509.Certificate
	digest     [sha256.Size]byte // of the DER
	thumbprint string            // digest in base64url: x5t#S256
	issuer     string            // distinguished name
	serial     string            // lower-case hex without leading zeros
	names      names
	at         time.Time // when it was looked at
}

// readCertificate returns the client's certificate, or nil when it presented none. The handshake may have been long ago, so what can
// change since is looked at again here.
func readCertificate(c ClientCertificate, now time.Time) (*certificate, error) {
	// Result 0 alone says nothing: it is 0 without a certificate, too. Neither does it say that the certificate is a client's.
	switch {
	case c.Result != 0:
		return nil, refuse(CertificateUnverified, "HAProxy's verification ended with %d (ssl_c_verify)", c.Result)
	case !c.Used && len(c.DER) == 0:
		return nil, nil
	case !c.Used || len(c.DER) == 0:
		return nil, refuse(CertificateMalformed, "ssl_c_used is %v with a certificate of %d bytes", c.Used, len(c.DER))
	case len(c.DER) > maxCertificate:
		return nil, refuse(CertificateMalformed, "certificate of %d bytes, more than %d", len(c.DER), maxCertificate)
	}
	leaf, err := x509.ParseCertificate(c.DER) // exactly one: nothing may follow
	if err != nil {
		return nil, &Error{Reason: CertificateMalformed, Detail: "ssl_c_der", Err: plain(err)}
	}
	if err := checkLeaf(leaf, now); err != nil {
		return nil, err
	}
	read, err := newCertificate(leaf, now)
	if err != nil {
		return nil, &Error{Reason: CertificateMalformed, Detail: "names of the certificate", Err: err}
	}
	return read, nil
}

// newCertificate takes from a certificate what is asked of it later.
func newCertificate(leaf *x509.Certificate, now time.Time) (*certificate, error) {
	c := &certificate{leaf: leaf, digest: sha256.Sum256(leaf.Raw), serial: leaf.SerialNumber.Text(16), at: now}
	c.thumbprint = base64.RawURLEncoding.EncodeToString(c.digest[:])
	if err := c.readNames(); err != nil {
		return nil, err
	}
	return c, nil
}

// checkLeaf asks of a certificate that it is in force and made for a client to authenticate with.
func checkLeaf(leaf *x509.Certificate, now time.Time) error {
	const signing = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	switch {
	case now.Before(leaf.NotBefore):
		return refuse(CertificateNotYetValid, "certificate is valid from %s", date(leaf.NotBefore))
	case now.After(leaf.NotAfter): // RFC 5280 section 4.1.2.5: both ends are inclusive
		return refuse(CertificateExpired, "certificate was valid until %s", date(leaf.NotAfter))
	case leaf.IsCA || leaf.KeyUsage&signing != 0:
		return refuse(CertificateUnsuitable, "certificate is one of a CA")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return refuse(CertificateUnsuitable, "key usage does not include digitalSignature")
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return refuse(CertificateUnsuitable, "extended key usage does not include clientAuth")
	case len(leaf.UnhandledCriticalExtensions) > 0:
		return refuse(CertificateUnsuitable, "critical extension %v is not understood", leaf.UnhandledCriticalExtensions[0])
	}
	return checkStrength(leaf)
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func checkStrength(leaf *x509.Certificate) error {
	switch k := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return refuse(CertificateWeak, "RSA key of %d bits, not of %d to %d", bits, minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() {
			return refuse(CertificateWeak, "elliptic curve P-224")
		}
	case ed25519.PublicKey:
	default:
		return refuse(CertificateWeak, "public key algorithm %v", leaf.PublicKeyAlgorithm)
	}
	switch leaf.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return nil
	default:
		return refuse(CertificateWeak, "signature algorithm %v", leaf.SignatureAlgorithm)
	}
}
