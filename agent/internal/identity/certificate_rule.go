package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// CertificateRule says which client certificates an issuer takes and what it calls their holders. Exactly one of TrustDomains, DNS and
// Subject is given. HAProxy must terminate the client's TLS itself, with verify and without crt-ignore-err and ca-ignore-err.
type CertificateRule struct {
	// TrustDomains takes certificates with exactly one URI name, a SPIFFE ID of one of these trust domains. The ID is the subject.
	TrustDomains []string
	// DNS takes certificates of which exactly one DNS name is one of these. That name, in lower case, is the subject. The first label
	// may be *, which stands for exactly one label.
	DNS []string
	// Subject takes certificates by their subject's distinguished name in the form of RFC 4514, for example CN=build-*,OU=ci,O=Acme:
	// attribute by attribute, none more and none less, where * stands for any text within one value. The name is the subject. An entry
	// x5t#S256=<43 characters> pins one certificate instead, and is the subject itself.
	Subject []string
	// CAFile holds the CA certificates, in PEM, of which one must have signed the client's certificate itself. It is needed when
	// HAProxy's ca-file also has CAs that must not speak for this issuer: HAProxy does not tell which one it was. It is read once.
	CAFile string
}

// pinPrefix marks an entry of CertificateRule.Subject that is a thumbprint.
const pinPrefix = thumbprintMember + "="

// certificateRule is a CertificateRule ready to judge certificates. It is immutable.
type certificateRule struct {
	trustDomains []string
	dns          []string // in lower case
	subjects     []namePattern
	pins         map[string]bool // by thumbprint
	roots        *x509.CertPool  // nil without a CA file
}

// validate returns every problem of r, joined.
func (r *CertificateRule) validate() error {
	_, err := r.compile()
	return err
}

// compile returns r ready for use, or every problem of it, joined.
func (r *CertificateRule) compile() (*certificateRule, error) {
	compiled := &certificateRule{pins: map[string]bool{}}
	var problems []error
	if kinds := count(r.TrustDomains) + count(r.DNS) + count(r.Subject); kinds != 1 {
		problems = append(problems, errors.New("certificate: exactly one of trust domains, DNS names and subjects must be given"))
	}
	each := func(list []string, read func(string) error) {
		for _, entry := range list {
			if err := read(entry); err != nil {
				problems = append(problems, fmt.Errorf("certificate: %w", err))
			}
		}
	}
	each(r.TrustDomains, func(name string) error {
		compiled.trustDomains = append(compiled.trustDomains, name)
		return checkTrustDomain(name)
	})
	each(r.DNS, func(name string) error {
		compiled.dns = append(compiled.dns, strings.ToLower(name))
		if !hostName(strings.TrimPrefix(name, "*.")) {
			return fmt.Errorf("%q is not a DNS name", name)
		}
		return nil
	})
	each(r.Subject, compiled.addSubject)
	if r.CAFile != "" {
		var err error
		if compiled.roots, err = readAuthorities(r.CAFile); err != nil {
			problems = append(problems, fmt.Errorf("certificate: %w", err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return compiled, nil
}

func count(list []string) int { return min(len(list), 1) }

func (r *certificateRule) addSubject(text string) error {
	if pin, pinned := strings.CutPrefix(text, pinPrefix); pinned {
		if !isThumbprint(pin) {
			return fmt.Errorf("%q is not %s and the SHA-256 of a certificate in base64url", text, pinPrefix)
		}
		r.pins[pin] = true
		return nil
	}
	pattern, err := parseName(text)
	if err != nil {
		return fmt.Errorf("subject %q: %w", text, err)
	}
	for _, relative := range pattern {
		if len(relative) > 1 {
			return fmt.Errorf("subject %q: attributes joined by + are not supported", text)
		}
	}
	r.subjects = append(r.subjects, pattern)
	return nil
}

// isThumbprint reports whether s is the one base64url text of some SHA-256.
func isThumbprint(s string) bool {
	raw, err := strictBase64.DecodeString(s)
	return err == nil && len(s) == thumbprintLength && len(raw) == 32
}

// readAuthorities reads CA certificates in PEM.
func readAuthorities(file string) (*x509.CertPool, error) {
	rest, err := readSmall(file, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	pool, found := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil || !ca.IsCA {
			return nil, fmt.Errorf("CA file %q: block %d is not the certificate of a CA", file, found+1)
		}
		pool.AddCert(ca)
		found++
	}
	if found == 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("CA file %q: no certificate, or text that is not PEM after the last one", file)
	}
	return pool, nil
}

// readSmall reads a regular file of at most so many bytes. Opening a pipe would wait for its writer, for ever.
func readSmall(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%q is longer than %d bytes", name, most)
	}
	return data, nil
}

// identify returns what the rule calls the holder of c, and c's claims: sub, x5t#S256, subject_dn, issuer_dn and serial as text,
// trust_domain for a SPIFFE ID, dns, uri and email as lists, and subject as an object whose members, such as CN and OU, are lists.
func (r *certificateRule) identify(c *certificate) (subject string, claims map[string]any, err error) {
	claims = c.claims()
	if err := r.trusted(c); err != nil {
		return "", nil, err
	}
	switch {
	case len(r.trustDomains) > 0:
		var domain string
		if subject, domain, err = r.workload(c); err == nil {
			claims["trust_domain"] = domain
		}
	case len(r.dns) > 0:
		subject, err = r.host(c)
	default:
		subject, err = r.holder(c)
	}
	if err != nil {
		return "", nil, &Error{Reason: CertificateUnknown, Detail: "certificate " + c.thumbprint, Err: err}
	}
	claims["sub"] = subject
	return subject, claims, nil
}

// trusted verifies the signature on the certificate, where HAProxy's word is not enough. There is no chain to follow: HAProxy does not
// have the client's intermediate certificates on a resumed session.
func (r *certificateRule) trusted(c *certificate) error {
	if r.roots == nil {
		return nil
	}
	_, err := c.leaf.Verify(x509.VerifyOptions{
		Roots: r.roots, CurrentTime: c.at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return &Error{Reason: CertificateUntrusted, Detail: "certificate " + c.thumbprint, Err: plain(err)}
	}
	return nil
}

func (r *certificateRule) workload(c *certificate) (id, domain string, err error) {
	if len(c.names.uri) != 1 { // X509-SVID.md section 2
		return "", "", fmt.Errorf("it has %d URI names, not exactly one", len(c.names.uri))
	}
	domain, err = parseSPIFFE(c.names.uri[0], r.trustDomains)
	return c.names.uri[0], domain, err
}

func (r *certificateRule) host(c *certificate) (string, error) {
	var found []string
	for _, name := range c.names.dns {
		if name = strings.ToLower(name); hostName(name) && r.takes(name) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d of its %d DNS names are accepted, not exactly one", len(found), len(c.names.dns))
	}
	return found[0], nil
}

func (r *certificateRule) takes(name string) bool {
	_, parent, _ := strings.Cut(name, ".")
	for _, accepted := range r.dns {
		if suffix, wild := strings.CutPrefix(accepted, "*."); accepted == name || wild && suffix == parent {
			return true
		}
	}
	return false
}

// holder knows the certificate itself, or its subject.
func (r *certificateRule) holder(c *certificate) (string, error) {
	if r.pins[c.thumbprint] {
		return pinPrefix + c.thumbprint, nil
	}
	for _, pattern := range r.subjects {
		if !pattern.match(c.names.subject) {
			continue
		}
		subject := c.names.subject.String()
		if len(subject) > maxSubject {
			return "", fmt.Errorf("its subject has %d bytes, more than %d", len(subject), maxSubject)
		}
		return subject, nil
	}
	return "", fmt.Errorf("its subject %s is not accepted", shown(c.names.subject.String()))
}

// claims returns what the certificate says, with the types of Identity.Claims.
func (c *certificate) claims() map[string]any {
	subject := map[string]any{}
	for _, relative := range c.names.subject {
		for _, a := range relative {
			values, _ := subject[a.kind].([]any)
			subject[a.kind] = append(values, any(a.value))
		}
	}
	return map[string]any{
		thumbprintMember: c.thumbprint, "subject_dn": c.names.subject.String(), "issuer_dn": c.issuer, "serial": c.serial,
		"subject": subject, "dns": values(c.names.dns), "uri": values(c.names.uri), "email": values(c.names.email),
	}
}

func values(list []string) []any {
	all := make([]any, len(list))
	for i, s := range list {
		all[i] = s
	}
	return all
}

// hostName reports whether s is a DNS name: letters, digits and hyphens in labels of at most 63 bytes, without a dot at the end.
func hostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
