package agent

import (
	"strings"
	"testing"
)

// A token that Google refuses is forgotten, and the answer to the caller does not wait for that.
func TestGooglesRefusalDropsTheToken(t *testing.T) {
	w := newWorld(t)
	p := dial(t, w.socket)
	payload := question(w.token(t, "search-eng"))
	fingerprint := value(p.ask(payload), "token_fingerprint")
	if s, ok := fingerprint.(string); !ok || len(s) != 16 {
		t.Fatalf("fingerprint %v, want 16 digits", fingerprint)
	}
	for _, tt := range []struct {
		name   string
		status any
		token  any
		logged string
	}{
		{"another status", 403, fingerprint, ""},
		{"no status", nil, fingerprint, ""},
		{"a token that is not at hand", 401, "0123456789abcdef", "at_hand=false"},
		{"no token", 401, nil, "at_hand=false"},
		{"the token", 401, fingerprint, "at_hand=true"},
	} {
		before := len(w.log.String())
		got := p.ask(encodeMessage("response", []arg{{"v", 1}, {"id", "id-1"}, {"ts", 1}, {"status", tt.status}, {"token", tt.token}}))
		if len(got) != 1 || got[0].name != "noted" {
			t.Errorf("%s: got %v, want an acknowledgement", tt.name, got)
		}
		p.ask(payload) // what the message brought about has happened
		if said := w.log.String()[before:]; tt.logged == "" && strings.Contains(said, "refused") || !strings.Contains(said, tt.logged) {
			t.Errorf("%s: logged %q, want %q", tt.name, said, tt.logged)
		}
	}
}
