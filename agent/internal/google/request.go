package google

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent/internal/secret"
)

// Bounds of a Request. A policy that exceeds them is refused before anything is sent.
const (
	// DefaultLifetime is what a Request with Lifetime zero asks for. It is the most that IAM Credentials grants without the
	// organization policy constraint iam.allowServiceAccountCredentialLifetimeExtension.
	DefaultLifetime = time.Hour

	minLifetime  = 5 * time.Minute
	maxLifetime  = 12 * time.Hour
	maxDelegates = 16
	maxScopes    = 64
	maxName      = 254 // bytes of an e-mail address, RFC 5321 section 4.5.3.1.3 less the brackets
	maxScope     = 512 // bytes
)

// Request names one token. Two Requests that are equal field by field share one token; the order of Delegates and of Scopes counts.
// The slices stay the caller's: Source copies what it keeps.
type Request struct {
	// Account is the full e-mail of the service account to impersonate.
	Account string
	// Delegates is the chain of service accounts between the agent and Account, full e-mails, nearest to the agent first.
	Delegates []string
	// Scopes are the OAuth scopes of the token, at least one.
	Scopes []string
	// Lifetime is how long the token shall live: whole seconds from five minutes to twelve hours, zero for DefaultLifetime.
	Lifetime time.Duration
	// Exchange says that the caller's own token is exchanged at STS, and how; nil where the agent's own identity mints. In mode Direct
	// Account, Delegates, Scopes and Lifetime stay zero. The three fields below belong to it and are zero without it: a Request that has
	// only a part of them is refused, and never minted from the agent's identity instead.
	Exchange *Exchange
	// Subject is the caller's own token, a JWT that was verified.
	Subject secret.Text
	// SubjectDigest is the SHA-256 of Subject.
	SubjectDigest [sha256.Size]byte
	// SubjectExpiry is when Subject expires. No token that comes of it is handed out longer.
	SubjectExpiry time.Time
}

// key identifies a Request. It is a digest, so that a look-up allocates nothing, and a cryptographic one, so that no two Requests can be
// made to share a token.
type key [sha256.Size]byte

// key returns the digest of an unambiguous encoding: every text with its length before it, every list with its count.
func (r Request) key() key {
	var stack [512]byte
	b := appendText(stack[:0], r.Account)
	b = appendTexts(b, r.Delegates)
	b = appendTexts(b, r.Scopes)
	b = binary.BigEndian.AppendUint64(b, uint64(r.lifetime()))
	b = append(b, r.SubjectDigest[:]...)
	if x := r.Exchange; x != nil {
		b = appendText(b, x.Audience)
		b = appendText(b, string(x.subjectTokenType()))
		b = appendText(b, string(x.Mode))
		b = appendText(b, x.UserProject)
		b = appendTexts(b, x.scopes())
	}
	return sha256.Sum256(b)
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

func (r Request) lifetime() time.Duration {
	if r.Lifetime == 0 {
		return DefaultLifetime
	}
	return r.Lifetime
}

// clone returns r with slices of its own.
func (r Request) clone() Request {
	r.Delegates, r.Scopes = slices.Clone(r.Delegates), slices.Clone(r.Scopes)
	if r.Exchange != nil {
		x := *r.Exchange
		x.Scopes = slices.Clone(x.Scopes)
		r.Exchange = &x
	}
	return r
}

// check returns why r cannot be minted, or nil. The error is an *Error with reason MintInvalid.
func (r Request) check() error {
	problem := r.problem()
	if problem == "" {
		return nil
	}
	account := r.Account
	if !validEmail(account) {
		account = "" // foreign text does not travel in a field that others print
	}
	failure := &Error{Reason: MintInvalid, Account: account, Detail: problem}
	if r.Exchange != nil {
		failure.Audience = clean(r.Exchange.Audience)
	}
	return failure
}

// hasSubject reports whether r has any part of a caller's token.
func (r Request) hasSubject() bool {
	return r.Subject.Len() > 0 || r.SubjectDigest != [sha256.Size]byte{} || !r.SubjectExpiry.IsZero()
}

func (r Request) problem() string {
	switch {
	case r.Exchange == nil && r.hasSubject():
		return "a caller's token and no exchange of it"
	case r.Exchange == nil:
		return r.accountProblem()
	case r.Subject.Len() == 0 || r.SubjectDigest == [sha256.Size]byte{} || r.SubjectExpiry.IsZero():
		return "an exchange needs the caller's token, its digest and its expiry"
	}
	if err := r.Exchange.Check(); err != nil {
		return err.Error()
	}
	if r.Exchange.Mode == Impersonate {
		return r.accountProblem()
	}
	if r.Account != "" || len(r.Delegates) > 0 || len(r.Scopes) > 0 || r.Lifetime != 0 {
		return "a direct exchange has no account, delegates, scopes or lifetime"
	}
	return ""
}

// accountProblem returns what is wrong with what is asked of IAM.
func (r Request) accountProblem() string {
	switch l := r.lifetime(); {
	case !validEmail(r.Account):
		return fmt.Sprintf("account %.60q is not the full e-mail of a service account", r.Account)
	case len(r.Delegates) > maxDelegates:
		return fmt.Sprintf("%d delegates, at most %d", len(r.Delegates), maxDelegates)
	case l < minLifetime || l > maxLifetime || l%time.Second != 0:
		return fmt.Sprintf("lifetime %v is not a number of whole seconds from %v to %v", l, minLifetime, maxLifetime)
	}
	for _, d := range r.Delegates {
		if !validEmail(d) {
			return fmt.Sprintf("delegate %.60q is not the full e-mail of a service account", d)
		}
	}
	return scopesProblem(r.Scopes, 1)
}

// scopesProblem returns what is wrong with a list of scopes that is to have at least the given number.
func scopesProblem(scopes []string, least int) string {
	if len(scopes) < least || len(scopes) > maxScopes {
		return fmt.Sprintf("%d scopes, want %d to %d", len(scopes), least, maxScopes)
	}
	for _, s := range scopes {
		if len(s) > maxScope || !visible(s) {
			return fmt.Sprintf("scope %.60q is not an OAuth scope", s)
		}
	}
	return ""
}

// validEmail reports whether s may stand in the path of a request to IAM: one @, and around it nothing but the characters which the
// e-mails of service accounts consist of.
func validEmail(s string) bool {
	user, domain, ok := strings.Cut(s, "@")
	return ok && len(s) <= maxName && emailPart(user) && emailPart(domain) && strings.Contains(domain, ".")
}

func emailPart(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && i > 0 && i < len(s)-1 && s[i-1] != '.':
		default:
			return false
		}
	}
	return s != ""
}

// visible reports whether s is not empty and all visible ASCII, as a token (RFC 6750 section 2.1) and a scope (RFC 6749 section 3.3) are.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
