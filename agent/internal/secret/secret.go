// Package secret holds text that cannot be printed by accident: bearer tokens, of callers and of Google.
//
// A Text prints as "[secret]" through every formatting, logging and encoding path of the standard library. The text itself stands
// behind a pointer, so that even a Text in an unexported field, where fmt cannot call its methods, prints an address and not its content.
package secret

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
)

const redacted = "[secret]"

// Text is a secret string. The zero Text is empty. It is immutable and safe for concurrent use. Two Texts with the same content do
// not compare equal with ==; compare what Reveal returns.
type Text struct{ p *string }

// New returns s as a secret.
func New(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{&s}
}

// Reveal returns the secret itself. Each call of it is a place where the secret leaves its shell.
func (t Text) Reveal() string {
	if t.p == nil {
		return ""
	}
	return *t.p
}

// Len returns the length in bytes.
func (t Text) Len() int { return len(t.Reveal()) }

// Fingerprint returns the first 8 bytes of the text's SHA-256 in hex: enough to recognise a token in two records, useless for making
// one. The fingerprint of the empty text is empty.
func (t Text) Fingerprint() string {
	if t.Len() == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(t.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// String returns "[secret]", or "" for the empty text.
func (t Text) String() string {
	if t.Len() == 0 {
		return ""
	}
	return redacted
}

// Format implements fmt.Formatter for every verb, %x and %#v among them.
func (t Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// GoString implements fmt.GoStringer.
func (t Text) GoString() string { return t.String() }

// LogValue implements slog.LogValuer.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText implements encoding.TextMarshaler, which encoding/json and YAML encoders use.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
