package identity

import (
	"strings"
	"testing"
)

func TestCheckBinding(t *testing.T) {
	mine := read(t, deviceCA().issue(t, nil))
	other := read(t, deviceCA().issue(t, nil))
	bound := func(members ...any) map[string]any {
		cnf := map[string]any{}
		for i := 0; i < len(members); i += 2 {
			cnf[members[i].(string)] = members[i+1]
		}
		return map[string]any{"cnf": cnf}
	}
	for _, c := range []struct {
		name   string
		claims map[string]any
		c      *certificate
		want   Reason
	}{
		{"no claims", nil, mine, ""},
		{"a token that is not bound", map[string]any{"sub": "a"}, nil, ""},
		{"a token that is not bound, with a certificate", map[string]any{"sub": "a"}, mine, ""},
		{"the certificate it is bound to", bound("x5t#S256", mine.thumbprint), mine, ""},
		{"another certificate", bound("x5t#S256", mine.thumbprint), other, BindingMismatch},
		{"no certificate", bound("x5t#S256", mine.thumbprint), nil, BindingMismatch},
		{"null", map[string]any{"cnf": nil}, mine, BindingUnsupported},
		{"a text", map[string]any{"cnf": mine.thumbprint}, mine, BindingUnsupported},
		{"a list", map[string]any{"cnf": []any{bound("x5t#S256", mine.thumbprint)["cnf"]}}, mine, BindingUnsupported},
		{"nothing", bound(), mine, BindingUnsupported},
		{"a DPoP key", bound("jkt", mine.thumbprint), mine, BindingUnsupported},
		{"a key itself", bound("jwk", map[string]any{"kty": "EC"}), mine, BindingUnsupported},
		{"the certificate and a DPoP key", bound("x5t#S256", mine.thumbprint, "jkt", "x"), mine, BindingUnsupported},
		{"a SHA-1 thumbprint", bound("x5t", mine.thumbprint), mine, BindingUnsupported},
		{"the member in another case", bound("x5t#s256", mine.thumbprint), mine, BindingUnsupported},
		{"an empty thumbprint", bound("x5t#S256", ""), mine, BindingUnsupported},
		{"a null thumbprint", bound("x5t#S256", nil), mine, BindingUnsupported},
		{"a list of thumbprints", bound("x5t#S256", []any{mine.thumbprint}), mine, BindingUnsupported},
		{"a thumbprint with padding", bound("x5t#S256", mine.thumbprint+"="), mine, BindingUnsupported},
		{"a thumbprint with a line break", bound("x5t#S256", mine.thumbprint+"\n"), mine, BindingUnsupported},
		{"half of a thumbprint", bound("x5t#S256", mine.thumbprint[:22]), mine, BindingUnsupported},
		{"a thumbprint in hex", bound("x5t#S256", strings.Repeat("ab", 32)), mine, BindingUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := checkBinding(c.claims, c.c); reasonOf(t, err) != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Base64 has spare bits at its end. Were they ignored, four texts would be one thumbprint.
func TestBindingHasOneSpelling(t *testing.T) {
	c := read(t, deviceCA().issue(t, nil))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	accepted := 0
	for _, last := range alphabet {
		text := c.thumbprint[:thumbprintLength-1] + string(last)
		if checkBinding(map[string]any{"cnf": map[string]any{"x5t#S256": text}}, c) == nil {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("%d spellings of the last character are accepted, want 1", accepted)
	}
}
