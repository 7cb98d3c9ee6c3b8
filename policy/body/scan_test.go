package body

import (
	"bytes"
	"testing"
)

// Every byte at every place of a text, among bytes that look much like the special ones.
func TestPlainTextFindsTheFirstSpecialByte(t *testing.T) {
	for _, fill := range []byte{'a', '!', '#', '[', ']', ' ', 0x7f, 0x80, 0xff, '"' + 0x80, '\\' + 0x80} {
		for c := range 256 {
			for at := range 20 {
				b := bytes.Repeat([]byte{fill}, 20)
				b[at] = byte(c)
				want := len(b)
				if c < ' ' || c == '"' || c == '\\' {
					want = at
				}
				if got := plainText(b, 0); got != want {
					t.Fatalf("byte %#x at %d among %#x: got %d, want %d", c, at, fill, got, want)
				}
			}
		}
	}
	if got := plainText([]byte(`"23456789"`), 1); got != 9 {
		t.Errorf("from the second byte: got %d, want 9", got)
	}
}
