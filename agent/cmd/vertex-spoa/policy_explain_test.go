package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// issuer is an identity provider on the loopback.
type issuer struct {
	*httptest.Server
	signer *signer
	down   bool
}

func newIssuer(t *testing.T, algorithm string) *issuer {
	t.Helper()
	s, err := newSigner(algorithm)
	if err != nil || s == nil {
		t.Fatalf("signer of %s: %v", algorithm, err)
	}
	s.public["kid"] = "k1"
	i := &issuer{signer: s}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case i.down:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{s.public}})
		}
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(t *testing.T, algorithm, claims string) string {
	t.Helper()
	text := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	message := text(fmt.Sprintf(`{"alg":%q,"kid":"k1"}`, algorithm)) + "." + text(claims)
	signature, err := i.signer.sign([]byte(message))
	if err != nil {
		t.Fatal(err)
	}
	return message + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (i *issuer) policy(t *testing.T, algorithm string) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(`version: 1
defaults: { project: acme-ai, locations: europe-west1, methods: generate }
issuers: { corp: { url: %q, audience: vertex, algorithms: %s } }
roles: { search: { as: vx-search, who: { corp: { groups: search-eng } } } }
rules: { search-gemini: { allow: search, models: gemini-* } }
`, i.URL, algorithm)
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (i *issuer) claims() string {
	now := time.Now().Unix()
	return fmt.Sprintf(`{"iss":%q,"aud":"vertex","sub":"alice","groups":["search-eng"],"iat":%d,"exp":%d}`, i.URL, now, now+600)
}

// explainWith runs the command with a token on standard input.
func explainWith(t *testing.T, token string, args ...string) (code int, output string) {
	t.Helper()
	var b bytes.Buffer
	args = append([]string{"explain", "--token", "-", "--call", "gemini-2.5-flash:generateContent"}, args...)
	err := runPolicy(args, streams{in: strings.NewReader(token), out: &b, err: &b})
	code = report(err, &b, &b)
	if parts := strings.Split(token, "."); len(parts) == 3 {
		for _, part := range parts {
			if len(part) > 8 && strings.Contains(b.String(), part[:8]) {
				t.Errorf("a part of the token is shown:\n%s", b.String())
			}
		}
	}
	return code, b.String()
}

// The keys come from the issuer, by discovery; nothing but the signature is left out without them.
func TestExplainVerifiesTokensOfEveryAlgorithm(t *testing.T) {
	for _, algorithm := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			i := newIssuer(t, algorithm)
			dir, token := i.policy(t, algorithm), i.token(t, algorithm, i.claims())
			code, out := explainWith(t, token, dir)
			if code != exitOK || !strings.Contains(out, "signed with key k1") || !strings.Contains(out, "decision  allow search search-gemini") {
				t.Errorf("exit %d\n%s", code, out)
			}
			end := strings.LastIndex(token, ".")
			forged := token[:end+1] + strings.Repeat("A", len(token)-end-1)
			if code, out := explainWith(t, forged, dir); code != exitFailed || !strings.Contains(out, "token     ✗ BAD_SIGNATURE") {
				t.Errorf("a forged token: exit %d\n%s", code, out)
			}
			i.down = true
			if code, out := explainWith(t, token, dir); code != exitFailed || !strings.Contains(out, "token     ✗ ISSUER_UNAVAILABLE") {
				t.Errorf("an issuer that is down: exit %d\n%s", code, out)
			}
			code, out = explainWith(t, forged, "--offline", dir)
			if code != exitOK || !strings.Contains(out, checkAllButSignature) || !strings.Contains(out, "warning: the signature of the token was not checked") ||
				strings.Contains(out, "k1") {
				t.Errorf("offline: exit %d\n%s", code, out)
			}
		})
	}
}

// Without its signature a token is still refused for everything else.
func TestExplainOfflineRefuses(t *testing.T) {
	i := newIssuer(t, "ES256")
	dir := i.policy(t, "ES256")
	good := i.claims()
	for _, tt := range []struct{ name, algorithm, claims, want string }{
		{"an algorithm that the issuer does not use", "PS256", good, "ALGORITHM_REFUSED"},
		{"no algorithm", "none", good, "ALGORITHM_REFUSED"},
		{"one with a shared secret", "HS256", good, "ALGORITHM_REFUSED"},
		{"one that there is not", "XX999", good, "ALGORITHM_REFUSED"},
		{"another audience", "ES256", strings.Replace(good, `"vertex"`, `"other"`, 1), "WRONG_AUDIENCE"},
		{"no end", "ES256", strings.Replace(good, `"exp"`, `"end"`, 1), "CLAIM_MISSING"},
		{"a claim twice", "ES256", strings.Replace(good, `"aud"`, `"sub":"bob","aud"`, 1), "TOKEN_MALFORMED"},
		{"another issuer", "ES256", strings.Replace(good, "http://", "https://", 1), "UNKNOWN_ISSUER"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out := explainWith(t, i.token(t, tt.algorithm, tt.claims), "--offline", dir)
			if code != exitFailed || !strings.Contains(out, "token     ✗ "+tt.want+":") {
				t.Errorf("exit %d, want %s\n%s", code, tt.want, out)
			}
		})
	}
}

func TestSplitWords(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{`curl -X POST https://x`, []string{"curl", "-X", "POST", "https://x"}},
		{`curl -H 'a: b c' -d "{\"x\": 1}"`, []string{"curl", "-H", "a: b c", "-d", `{"x": 1}`}},
		{"curl \\\n  -s \\\n  https://x", []string{"curl", "-s", "https://x"}},
		{`a'b'"c"d e\ f`, []string{"abcd", "e f"}},
		{`"a\b" 'c\d'`, []string{`a\b`, `c\d`}},
		{"", nil},
	} {
		got, err := splitWords(tt.text)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", tt.text, err, diff)
		}
	}
	for _, text := range []string{`'a`, `"a`, `a\`, `"a\"`} {
		if got, err := splitWords(text); err == nil {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}
