package agent

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxStamp is the longest value of X-Goog-Request-Reason, in bytes. Google documents no limit.
const maxStamp = 128

// StampID returns the value of X-Goog-Request-Reason, which Google's audit logs show as requestMetadata.requestAttributes.reason: the id of
// the decision, by which the agent's own audit line is found. It is printable ASCII of at most 128 bytes.
func StampID(id, _ string) string { return printable("decision=" + id) }

// StampPlain is StampID with the caller's subject.
func StampPlain(id, subject string) string {
	return printable("decision=" + id + " subject=" + subject)
}

// StampHMAC returns a StampID with an HMAC-SHA-256 of the caller's subject, of which the first 16 bytes are written in hex: whoever has
// the key can find a caller's calls, and nobody else learns who it was. The key must have 32 bytes at least.
func StampHMAC(key []byte) (func(id, subject string) string, error) {
	if len(key) < sha256.Size {
		return nil, fmt.Errorf("key of %d bytes, want %d at least", len(key), sha256.Size)
	}
	return func(id, subject string) string {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(subject))
		return printable("decision=" + id + " subject_hmac=" + hex.EncodeToString(mac.Sum(nil)[:16]))
	}, nil
}

// printable replaces what cannot stand in a header field by an underscore, and cuts what is too long.
func printable(s string) string {
	return cut(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '_'
		}
		return r
	}, s), maxStamp)
}
