package identity

import (
	"errors"
	"io/fs"
	"slices"
	"time"
)

// Revoked is the reason of the deny list.
const Revoked Reason = "REVOKED" // the deny list names the token, its caller, its session, its key or its certificate

// Revocations is a deny list: what must not be accepted although it is authentic and in force. It is immutable. The nil list and the
// zero one revoke nothing.
//
// It is read from a YAML file:
//
//	version: 1
//	revoked:
//	  - { issuer: corp, jti: 7c2e5b0a, because: "token in a build log" }            # one token, by its claim jti; or a list
//	  - { issuer: corp, subject: alice, because: "left the company" }               # everything of a caller
//	  - { issuer: corp, subject: bob, issuedBefore: 2026-11-22T10:00:00Z }          # what a caller got until then
//	  - { issuer: corp, sid: 08a5019c }                                             # a session
//	  - { issuer: corp, kid: 2026-10 }                                              # everything signed with a key
//	  - { issuer: corp, issuedBefore: 2026-11-22T10:00:00Z }                        # everything of an issuer until then
//	  - { certificate: GdzJ-8CNC5oKSMg4OBiXkCclD9gFAm-PZKe7HQ20YGA }                # a client certificate, by its x5t#S256
//	  - { certificateIssuer: "CN=Acme CA,O=Acme", serial: 0a:1b:2c }                # or by its issuer and serial number
//
// Issuer is the name that the policy gives it. What carries no time of issue counts as issued before any time. Subject is compared with
// the subject that the policy made out and with the claim sub. A serial number is in hex, with or without colons, and the issuer of a
// certificate in the form of RFC 4514, in which audit lines show it. There is no entry for a token's digest: an ECDSA signature can be
// rewritten into another valid one without the key.
//
// To revoke nothing, write revoked: [].
type Revocations struct {
	digest   string
	entries  int
	issuers  []string
	tokens   map[[2]string]bool // by issuer and jti
	sessions map[[2]string]bool // by issuer and sid
	keys     map[[2]string]bool // by issuer and kid
	subjects map[[2]string]time.Time
	before   map[string]time.Time // by issuer

	certificates map[string]bool    // by x5t#S256
	serials      map[[2]string]bool // by issuer's distinguished name in lower case and serial number
}

// forever is later than any time of issue: dates end with the year 9999.
var forever = time.Unix(maxDate+1, 0)

// LoadRevocations reads a deny list. A file that does not exist is an empty list. The error lists every problem with its place.
func LoadRevocations(file string) (*Revocations, error) {
	data, err := readRevocations(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &Revocations{}, nil
	}
	if err != nil {
		return nil, err
	}
	return parseRevocations(file, data)
}

// Check returns an *Error with Reason Revoked when the list names id or what it was proved with, and nil otherwise. It looks at nothing
// but the list, and takes the same time for a list of any length.
func (r *Revocations) Check(id Identity) error {
	if r == nil {
		return nil
	}
	in := func(set map[[2]string]bool, a, b string) bool { return b != "" && set[[2]string{a, b}] }
	switch {
	case in(r.tokens, id.Issuer, id.TokenID):
		return refuse(Revoked, "token %s of issuer %q is revoked", shown(id.TokenID), id.Issuer)
	case in(r.sessions, id.Issuer, id.SessionID):
		return refuse(Revoked, "session %s of issuer %q is revoked", shown(id.SessionID), id.Issuer)
	case in(r.keys, id.Issuer, id.KeyID):
		return refuse(Revoked, "key %s of issuer %q is revoked", shown(id.KeyID), id.Issuer)
	case id.Thumbprint != "" && r.certificates[id.Thumbprint]:
		return refuse(Revoked, "certificate %s is revoked", id.Thumbprint)
	case len(r.serials) > 0 && in(r.serials, lowerName(id.CertificateIssuer), id.CertificateSerial):
		return refuse(Revoked, "certificate %s of %s is revoked", id.CertificateSerial, shown(id.CertificateIssuer))
	}
	return r.checkTime(id)
}

// checkTime looks for the entries that revoke what was issued before some time.
func (r *Revocations) checkTime(id Identity) error {
	if before, found := r.before[id.Issuer]; found && id.IssuedAt.Before(before) {
		return refuse(Revoked, "everything of issuer %q issued before %s is revoked", id.Issuer, date(before))
	}
	claimed, _ := id.Claims["sub"].(string)
	for _, subject := range []string{id.Subject, claimed} {
		before, found := r.subjects[[2]string{id.Issuer, subject}]
		switch {
		case !found || !id.IssuedAt.Before(before):
		case before.Equal(forever):
			return refuse(Revoked, "subject %s of issuer %q is revoked", shown(subject), id.Issuer)
		default:
			return refuse(Revoked, "everything of subject %s of issuer %q issued before %s is revoked", shown(subject), id.Issuer, date(before))
		}
	}
	return nil
}

// Digest returns the SHA-256 of the file in hex, or "" for a list without one.
func (r *Revocations) Digest() string {
	if r == nil {
		return ""
	}
	return r.digest
}

// Len returns the number of entries.
func (r *Revocations) Len() int {
	if r == nil {
		return 0
	}
	return r.entries
}

// Issuers returns the sorted names of issuers that the list speaks of. One that no policy has is probably misspelled, and its entry
// then revokes nothing.
func (r *Revocations) Issuers() []string {
	if r == nil {
		return nil
	}
	return slices.Clone(r.issuers)
}
