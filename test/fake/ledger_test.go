package fake

import (
	"errors"
	"regexp"
	"testing"
	"time"
)

func TestTokensLookLikeGooglesAndNeverRepeat(t *testing.T) {
	l := NewLedger()
	shape := regexp.MustCompile(`^ya29\.c\.[A-Za-z0-9_-]+$`)
	seen := make(map[string]bool)
	for _, size := range []int{64, 1024, 1024, 12 << 10} {
		token, err := l.issue(Grant{}, size)
		if err != nil {
			t.Fatal(err)
		}
		if len(token) != size || !shape.MatchString(token) || seen[token] {
			t.Errorf("got %d bytes %.20q…, want %d new ones", len(token), token, size)
		}
		seen[token] = true
	}
}

func TestExpireEndsTheTokensOfOneAccount(t *testing.T) {
	l := NewLedger()
	issue := func(account string, life time.Duration) string {
		token, err := l.issue(Grant{Account: account, Expiry: time.Now().Add(life)}, 64)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	one, other := issue(chat, time.Hour), issue(batch, time.Hour)
	issue(chat, -time.Hour)
	if n := l.Expire(chat); n != 1 {
		t.Errorf("got %d tokens ended, want 1", n)
	}
	now := time.Now()
	if g, ok := l.Grant(one); !ok || g.Expiry.After(now) {
		t.Errorf("got %+v, %v, want expired but known", g, ok)
	}
	if g, _ := l.Grant(other); !g.Expiry.After(now) {
		t.Error("another account's token has expired")
	}
}

func TestFullLedgerForgetsExpiredTokensFirst(t *testing.T) {
	l := NewLedger()
	fill(l, time.Now().Add(time.Hour))
	if _, err := l.issue(Grant{}, 64); !errors.Is(err, errLedgerFull) {
		t.Errorf("got %v, want %v", err, errLedgerFull)
	}
	fill(l, time.Now().Add(-time.Hour))
	if _, err := l.issue(Grant{}, 64); err != nil {
		t.Error(err)
	}
	if len(l.grants) != 1 {
		t.Errorf("got %d tokens, want 1", len(l.grants))
	}
}
