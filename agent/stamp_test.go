package agent

import (
	"strings"
	"testing"
)

func TestStamps(t *testing.T) {
	secretly, err := StampHMAC([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	const mac = "decision=id-1 subject_hmac="
	for _, tt := range []struct {
		name    string
		stamp   func(id, subject string) string
		subject string
		want    string
	}{
		{"the id alone", StampID, "alice@example.com", "decision=id-1"},
		{"with the subject", StampPlain, "alice@example.com", "decision=id-1 subject=alice@example.com"},
		{"bytes that no header may hold", StampPlain, "a\r\nx-evil: 1\x00ü", "decision=id-1 subject=a__x-evil: 1__"},
		{"a long subject", StampPlain, strings.Repeat("s", 500), "decision=id-1 subject=" + strings.Repeat("s", 106)},
		// printf alice | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
		{"an HMAC", secretly, "alice", mac + "6664a42048c6d6d7fe3657e39b14155c"},
	} {
		if got := tt.stamp("id-1", tt.subject); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if _, err := StampHMAC([]byte("short")); err == nil {
		t.Error("a short key is taken")
	}
}
