package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
)

// minKey is the least length of a key in bytes.
const minKey = sha256.Size

// Key is the key of an HMAC-SHA-256. It prints as its length only; the zero value is no key.
type Key struct{ bytes *[]byte } // behind a pointer, so that no way of printing shows it

// NewKey returns a key of these bytes, which it keeps, and of which there must be 32 at least.
func NewKey(raw []byte) (Key, error) {
	if len(raw) < minKey {
		return Key{}, fmt.Errorf("key of %d bytes, want %d at least", len(raw), minKey)
	}
	return Key{&raw}, nil
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.bytes == nil }

// String tells that there is a key, and not which.
func (k Key) String() string {
	if k.IsZero() {
		return "no key"
	}
	return fmt.Sprintf("key of %d bytes", len(*k.bytes))
}

// GoString is String.
func (k Key) GoString() string { return k.String() }

// hash returns an HMAC-SHA-256 with the key, or plain SHA-256 where there is none.
func (k Key) hash() hash.Hash {
	if k.IsZero() {
		return sha256.New()
	}
	return hmac.New(sha256.New, *k.bytes)
}
