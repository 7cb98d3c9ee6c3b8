package google

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// maxSubjectAge is how long after its issue STS takes a token.
const maxSubjectAge = 24 * time.Hour

// exchangeable returns why the caller's token of r cannot be exchanged, without asking anybody, or nil. The token was verified before;
// here its own words are enough, since all they can bring about is a refusal.
func exchangeable(r Request, now time.Time) *Error {
	if digestOf(r) != r.SubjectDigest {
		return &Error{Reason: MintInvalid, Detail: "the digest is not that of the caller's token"}
	}
	unsupported := func(detail string) *Error {
		return &Error{Reason: ExchangeUnsupported, Detail: "STS does not take the caller's token: " + detail}
	}
	parts := strings.Split(r.Subject.Reveal(), ".")
	if len(parts) != 3 {
		return unsupported("it is not a JWT")
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var claims struct {
		IssuedAt *float64 `json:"iat"`
	}
	if !decodePart(parts[0], &header) || !decodePart(parts[1], &claims) {
		return unsupported("it is not a JWT")
	}
	switch {
	case !ExchangeableAlgorithm(header.Algorithm):
		return unsupported(fmt.Sprintf("its algorithm is %.20q, want RS256 or ES256", clean(header.Algorithm)))
	case claims.IssuedAt == nil:
		return unsupported("it has no iat")
	case now.Sub(time.Unix(int64(*claims.IssuedAt), 0)) > maxSubjectAge:
		return unsupported(fmt.Sprintf("it was issued more than %v ago", maxSubjectAge))
	case !now.Before(r.SubjectExpiry):
		return &Error{Reason: ExchangeRefused, Detail: "the caller's token has expired"}
	}
	return nil
}

// expiredMeanwhile is the error of an exchange that took longer than the caller's token was good for.
func expiredMeanwhile() *Error {
	return &Error{Reason: ExchangeRefused, Detail: "the caller's token has expired while it was exchanged"}
}

// decodePart decodes one part of a JWT in compact serialization, RFC 7515 section 3.1.
func decodePart(part string, to any) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(text, to) == nil
}
