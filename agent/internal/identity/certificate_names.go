package identity

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// names are what a certificate calls its holder (RFC 5280 section 4.2.1.6), as text and before anything was made of it.
type names struct {
	uri, dns, email []string
	subject, issuer distinguishedName
}

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// readNames fills names and issuer.
func (c *certificate) readNames() error {
	var err error
	if c.names.subject, err = parseDER(c.leaf.RawSubject); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	if c.names.issuer, err = parseDER(c.leaf.RawIssuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	c.issuer = c.names.issuer.String()
	for _, e := range c.leaf.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		if err := c.names.readAlternatives(e.Value); err != nil {
			return fmt.Errorf("subject alternative names: %w", err)
		}
	}
	return nil
}

// readAlternatives reads the names from the extension itself: crypto/x509 has the URIs parsed and normalised only.
func (n *names) readAlternatives(der []byte) error {
	var list []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
		return errors.New("not a sequence")
	}
	for _, name := range list {
		if name.Class != asn1.ClassContextSpecific {
			return errors.New("not a general name")
		}
		var to *[]string
		switch name.Tag {
		case 1:
			to = &n.email
		case 2:
			to = &n.dns
		case 6:
			to = &n.uri
		default: // addresses, directory names and others name nobody here
			continue
		}
		text := string(name.Bytes)
		if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errors.New("a name that is not printable ASCII")
		}
		*to = append(*to, text)
	}
	return nil
}
