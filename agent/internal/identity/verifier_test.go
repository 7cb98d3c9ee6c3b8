package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/secret"
)

var allAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// allKeys returns a key for each algorithm, named k-ALG.
func allKeys() []object {
	var keys []object
	for _, a := range allAlgorithms {
		keys = append(keys, jwk(privateKey(a), "k-"+a).with("alg", a, "use", "sig"))
	}
	return keys
}

func TestVerifyReturnsTheCaller(t *testing.T) {
	p := newProvider(t, allKeys()...)
	i := p.issuer()
	i.Algorithms = allAlgorithms
	v := newVerifier(t, options(t), i)
	for _, algorithm := range allAlgorithms {
		t.Run(algorithm, func(t *testing.T) {
			claims := goodClaims(p.URL).with("groups", []string{"a", "b"}, "level", 7, "share", 0.5, "admin", false, "none", nil)
			token := compact(algorithm, privateKey(algorithm), goodHeader(algorithm).String(), claims.String())
			got, err := v.Verify(t.Context(), bearerOf(token), now)
			if err != nil {
				t.Fatal(err)
			}
			want := Identity{
				Issuer: "corp", IssuerURL: p.URL, Subject: "alice", Audience: []string{"vertex"}, TokenID: "t1",
				KeyID: "k-" + algorithm, IssuedAt: now.Add(-10 * time.Second), Expiry: now.Add(300 * time.Second),
				Generation: v.Generation("corp"), Groups: []string{"a", "b"},
				Claims: map[string]any{
					"iss": p.URL, "sub": "alice", "aud": "vertex", "jti": "t1",
					"iat": now.Unix() - 10, "nbf": now.Unix() - 10, "exp": now.Unix() + 300,
					"groups": []any{"a", "b"}, "level": int64(7), "share": 0.5, "admin": false, "none": nil,
				},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Verify (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerifyAccepts(t *testing.T) {
	p := newProvider(t, allKeys()...)
	v := newVerifier(t, options(t), p.issuer())
	head, claims := goodHeader("ES256"), goodClaims(p.URL)
	for name, c := range map[string]struct{ header, payload fmt.Stringer }{
		"a token without typ":                   {head.with("typ", absent), claims},
		"typ at+jwt":                            {head.with("typ", "at+jwt"), claims},
		"typ in any ASCII case":                 {head.with("typ", "jWt"), claims},
		"typ with the media type prefix":        {head.with("typ", "Application/AT+JWT"), claims},
		"header parameters that it ignores":     {head.with("jku", "http://127.0.0.1:1/", "x5u", "u", "jwk", object{}, "x5c", []string{"c"}, "x5t", "t", "nonce", "n"), claims},
		"an audience among several":             {head, claims.with("aud", []string{"other", "vertex"})},
		"32 audiences":                          {head, claims.with("aud", append(slices.Repeat([]string{"x"}, 31), "vertex"))},
		"a token without nbf, iat and jti":      {head, claims.with("nbf", absent, "iat", absent, "jti", absent)},
		"times with fraction and exponent":      {head, claims.with("nbf", json.Number("1.5e9"), "exp", json.Number(fmt.Sprint(now.Unix()/10+10, ".05e1")))},
		"a lifetime of a day":                   {head, claims.with("exp", now.Unix()-10+86400)},
		"an expiry within the leeway":           {head, claims.with("exp", now.Unix()-29)},
		"nbf and iat within the leeway":         {head, claims.with("nbf", now.Unix()+30, "iat", now.Unix()+30)},
		"a subject of 512 bytes":                {head, claims.with("sub", strings.Repeat("a", 512))},
		"a subject beyond ASCII":                {head, claims.with("sub", "Zoë – 東京 🙂")},
		"claims in another case beside the own": {head, claims.with("ISS", "https://evil", "Sub", "root", "EXP", 1)},
		"claims of an ID token":                 {head, claims.with("azp", "app", "client_id", "app", "tid", "t", "nonce", "n")},
		"white space around the claims":         {head, literal(" \t\r\n" + claims.String() + "\n ")},
		"claims 16 levels deep":                 {head, literal(strings.TrimSuffix(claims.String(), "}") + `,"x":` + strings.Repeat("[", 15) + strings.Repeat("]", 15) + "}")},
	} {
		t.Run(name, func(t *testing.T) {
			token := compact("ES256", p256Private(), c.header.String(), c.payload.String())
			got, err := v.Verify(t.Context(), bearerOf(token), now)
			if err != nil {
				t.Fatal(err)
			}
			if got.Subject == "root" || got.IssuerURL != p.URL {
				t.Errorf("Verify = subject %q of %q, want the claims in lower case", got.Subject, got.IssuerURL)
			}
		})
	}
}

type literal string

func (l literal) String() string { return string(l) }

// TestVerifyRefuses changes one thing of a good token at a time.
func TestVerifyRefuses(t *testing.T) {
	p := newProvider(t, append(allKeys(), jwk(otherP256(), "enc").with("use", "enc"))...)
	i := p.issuer()
	i.Algorithms = []string{"RS256", "PS256", "ES256"}
	var log bytes.Buffer
	o := options(t)
	o.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	v := newVerifier(t, o, i)
	spendCooldown(t, v, p.URL)
	tokens := attacks(p.URL)
	maps.Copy(tokens, serialisations(p.URL))
	reached := map[Reason]bool{}
	for name, c := range tokens {
		t.Run(name, func(t *testing.T) {
			got, err := v.Verify(t.Context(), bearerOf(c.token), now)
			if diff := cmp.Diff(Identity{}, got); diff != "" {
				t.Errorf("refused identity is not zero:\n%s", diff)
			}
			if got, want := reasonOf(t, err), c.want; got != want {
				t.Errorf("reason = %q (%v), want %q", got, err, want)
			}
			reached[reasonOf(t, err)] = true
			if part := leaks(fmt.Sprintf("%v %+v %#v", err, err, err), c.token); part != "" {
				t.Errorf("error %q shows %q", err, part)
			}
			if part := leaks(log.String(), c.token); part != "" {
				t.Errorf("log shows %q", part)
			}
			if text := err.Error(); len(text) > 600 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("error %q is long or not printable ASCII", text)
			}
		})
	}
	for _, r := range []Reason{
		TokenMalformed, AlgorithmRefused, UnknownIssuer, UnknownKey, BadSignature, TokenExpired, TokenNotYetValid, WrongAudience,
		ClaimMissing, BindingUnsupported, TokenType, LifetimeTooLong,
	} {
		if !reached[r] {
			t.Errorf("no attack ends in %s", r)
		}
	}
	// One fetch at the start, one for all the unknown kids.
	if got := p.fetches.Load(); got > 2 {
		t.Errorf("attacks caused %d fetches, want at most 2", got)
	}
}

// spendCooldown returns when an unknown kid is refused at once, and goes on to be, so that no test depends on the speed of a fetch or on its
// own.
func spendCooldown(t *testing.T, v *Verifier, iss string) {
	t.Helper()
	token := compact("ES256", p256Private(), goodHeader("ES256").with("kid", "unknown").String(), goodClaims(iss).String())
	for {
		if _, err := v.Verify(t.Context(), bearerOf(token), now); reasonOf(t, err) == UnknownKey {
			break
		}
	}
	for _, set := range v.sets {
		set.mu.Lock()
		set.asked = set.asked.Add(time.Hour)
		set.mu.Unlock()
	}
}

type attack struct {
	token string
	want  Reason
}

// attacks are tokens that are properly signed, unless it is the point that they are not.
func attacks(iss string) map[string]attack {
	head, claims := goodHeader("ES256"), goodClaims(iss)
	signed := func(want Reason, header, payload fmt.Stringer) attack {
		return attack{compact("ES256", p256Private(), header.String(), payload.String()), want}
	}
	all := map[string]attack{
		"alg none without signature":      {encode(head.with("alg", "none").String()) + "." + encode(claims.String()) + ".", AlgorithmRefused},
		"alg none with the old signature": signed(AlgorithmRefused, head.with("alg", "none"), claims),
		"alg HS256 keyed with the public key": {
			compact("HS256", []byte(jwk(rsaPrivate(), "k-RS256").String()), head.with("alg", "HS256", "kid", "k-RS256").String(), claims.String()),
			AlgorithmRefused,
		},
		"an algorithm of another issuer": {compact("EdDSA", ed25519Seeds(), goodHeader("EdDSA").String(), claims.String()), AlgorithmRefused},
		"an RSA key for PS256 that is made for RS256": {
			compact("PS256", rsaPrivate(), head.with("alg", "PS256", "kid", "k-RS256").String(), claims.String()), UnknownKey,
		},
		"the key of another":           {compact("ES256", otherP256(), head.String(), claims.String()), BadSignature},
		"an RSA signature of another":  {compact("RS256", otherRSA(), goodHeader("RS256").String(), claims.String()), BadSignature},
		"a key for encryption":         {compact("ES256", otherP256(), head.with("kid", "enc").String(), claims.String()), UnknownKey},
		"a kid that is not there":      signed(UnknownKey, head.with("kid", "k0"), claims),
		"a kid that is a path":         signed(UnknownKey, head.with("kid", "../../../dev/null"), claims),
		"a kid in another case":        signed(UnknownKey, head.with("kid", "K-ES256"), claims),
		"a P-256 key for ES384":        signed(AlgorithmRefused, head.with("alg", "ES384"), claims),
		"no kid where two keys fit":    {compact("PS256", rsaPrivate(), `{"alg":"PS256"}`, claims.String()), ""},
		"a token bound by certificate": signed(BindingUnsupported, head, claims.with("cnf", object{"x5t#S256": "x"})),
		"a token bound by DPoP":        signed(BindingUnsupported, head, claims.with("cnf", object{"jkt": "x"})),
		"a binding that is null":       signed(BindingUnsupported, head, claims.with("cnf", nil)),
		"its audience in another case": signed(WrongAudience, head, claims.with("aud", "Vertex")),
		"an audience that begins so":   signed(WrongAudience, head, claims.with("aud", []string{"vertex/", "vertex "})),
		"its time just run out":        signed(TokenExpired, head, claims.with("exp", now.Unix()-30)),
		"its time long run out":        signed(TokenExpired, head, claims.with("exp", json.Number("1e-3"))),
		"a lifetime beyond a day":      signed(LifetimeTooLong, head, claims.with("exp", now.Unix()-9+86400)),
		"a lifetime of 8000 years":     signed(LifetimeTooLong, head, claims.with("exp", 253402300799, "iat", absent)),
		"nbf beyond the leeway":        signed(TokenNotYetValid, head, claims.with("nbf", now.Unix()+31)),
		"iat beyond the leeway":        signed(TokenNotYetValid, head, claims.with("iat", now.Unix()+31)),
		"an empty subject":             signed(ClaimMissing, head, claims.with("sub", "")),
		"a subject that is too long":   signed(TokenMalformed, head, claims.with("sub", strings.Repeat("a", 513))),
	}
	delete(all, "no kid where two keys fit") // see TestVerifyWithoutKid
	for _, name := range []string{"iss", "sub", "aud", "exp"} {
		all["no "+name] = signed(ClaimMissing, head, claims.with(name, absent))
	}
	for _, alg := range []string{"es256", "ES256 ", "None", "NONE", "", "HS384", "HS512", "RS1", "ES256K", "Ed25519", "RSA-OAEP", "dir", "A\u212aES"} {
		all[fmt.Sprintf("alg %q", alg)] = signed(AlgorithmRefused, head.with("alg", alg), claims)
	}
	for _, alg := range []any{nil, 256, true, []string{"ES256"}, absent} {
		all[fmt.Sprintf("alg of type %T %v", alg, alg)] = signed(TokenMalformed, head.with("alg", alg), claims)
	}
	for _, name := range []string{"crit", "b64", "zip", "enc", "cty"} {
		for _, v := range []any{nil, "JWT", []string{"exp"}, false} {
			all[fmt.Sprintf("header %s %v", name, v)] = signed(TokenMalformed, head.with(name, v), claims)
		}
	}
	for _, typ := range []any{nil, 1, []string{"JWT"}} {
		all[fmt.Sprintf("typ %v", typ)] = signed(TokenMalformed, head.with("typ", typ), claims)
	}
	for _, typ := range []string{
		"", "JOSE", "JWE", "logout+jwt", "dpop+jwt", "secevent+jwt", "client-authentication+jwt", "refresh+jwt",
		"kb+jwt", "token-introspection+jwt", "jwt ", "application/", "application/application/jwt", "text/jwt", "at+JWT;x=1", "ID",
		"\u212aWT", "jwt\u200b",
	} {
		all[fmt.Sprintf("typ %q", typ)] = signed(TokenType, head.with("typ", typ), claims)
	}
	for _, kid := range []any{"", nil, 1, []string{"k-ES256"}, strings.Repeat("k", 257), "k\n", "k\x00", "k\u0085", "k\x7f"} {
		all[fmt.Sprintf("kid %.8q", fmt.Sprint(kid))+fmt.Sprintf(" %T", kid)] = signed(TokenMalformed, head.with("kid", kid), claims)
	}
	for _, other := range []string{
		iss + "/", strings.ToUpper(iss), strings.Replace(iss, "http:", "https:", 1), iss + "?x", iss + "#", iss + "\x00", " " + iss, iss + "%2f",
		strings.Replace(iss, "//", "//user@", 1), strings.Replace(iss, "1", "１", 1), "", "corp", strings.Repeat("x", 2000),
	} {
		all[fmt.Sprintf("iss %.50q", other)] = signed(UnknownIssuer, head, claims.with("iss", other))
	}
	for _, sub := range []string{"a\nb", "a\x00", "a\x7f", "a\u0085", "a\u202eb", "a\u200bb", "\ufeffa", "a\ufffdb", "a\u2028b", "a\u2029b", "a\U000e0041"} {
		all[fmt.Sprintf("sub %q", sub)] = signed(TokenMalformed, head, claims.with("sub", sub))
	}
	for _, name := range []string{"iss", "sub", "jti", "sid", "azp", "client_id", "tid"} {
		for _, v := range []any{nil, 1, true, []string{"x"}, object{}} {
			all[fmt.Sprintf("%s %v", name, v)] = signed(TokenMalformed, head, claims.with(name, v))
		}
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		for _, v := range []string{
			"0", "-0", "-1", "0.0", "1e-400", "253402300800", "253402300799.5", "1e19", "9223372036854775808", "18446744073709551616",
			"1e300", `"1900000000"`, "null", "true", "[1900000000]", "{}",
		} {
			all[name+" "+v] = signed(TokenMalformed, head, claims.with(name, json.RawMessage(v)))
		}
	}
	for _, aud := range []any{nil, 1, true, object{}, "", []string{}, []any{"vertex", nil}, []any{"vertex", 1}, []any{"vertex", []any{"vertex"}},
		[]string{"vertex", ""}, slices.Repeat([]string{"vertex"}, 33)} {
		all[fmt.Sprintf("aud %.40q", fmt.Sprint(aud))] = signed(TokenMalformed, head, claims.with("aud", aud))
	}
	return all
}

// serialisations are tokens that are not one compact JWS over one unambiguous JSON object. The signatures are good wherever it makes sense.
func serialisations(iss string) map[string]attack {
	head, claims := goodHeader("ES256").String(), goodClaims(iss).String()
	good := compact("ES256", p256Private(), head, claims)
	part := strings.Split(good, ".")
	raw := map[string]string{
		"one segment": part[0], "two segments": part[0] + "." + part[1], "four segments": good + ".", "a JWE of five segments": good + ".a.b",
		"no header": "." + part[1] + "." + part[2], "no payload": compactEncoded(part[0], ""), "no signature": part[0] + "." + part[1] + ".",
		"only dots": "..", "padding": good + "==", "standard base64": part[0] + "." + part[1] + ".+/+/", "a line feed in the signature": good + "\n",
		"a carriage return inside": good[:20] + "\r" + good[20:], "a space inside": good[:20] + " " + good[20:], "a tab": good + "\t",
		"a percent escape": strings.Replace(good, ".", "%2E", 1), "a one dot leader for a dot": strings.Replace(good, ".", "\u2024", 1),
		"a no-break space": good + "\u00a0", "a NUL": good + "\x00", "a comma and a second token": good + "," + good,
		"trailing bits in the signature": trailingBits(good), "a header of one base64 digit": "a." + part[1] + "." + part[2],
		"JSON serialisation":           object{"payload": part[1], "protected": part[0], "signature": part[2]}.String(),
		"JSON serialisation in base64": encode(object{"payload": part[1], "protected": part[0], "signature": part[2]}.String()),
		"more than 12 KiB":             compact("ES256", p256Private(), head, goodClaims(iss).with("x", strings.Repeat("x", 9000)).String()),
	}
	for name, payload := range ambiguous(claims) {
		raw["claims with "+name] = compact("ES256", p256Private(), head, payload)
	}
	for name, header := range ambiguous(head) {
		raw["header with "+name] = compact("ES256", p256Private(), header, claims)
	}
	members := object{"alg": "ES256", "kid": "k-ES256"}
	for i := range 63 {
		members = members.with(fmt.Sprintf("p%d", i), i)
	}
	raw["header with 65 parameters"] = compact("ES256", p256Private(), members.String(), claims)
	raw["header 9 levels deep"] = compact("ES256", p256Private(), grow(head, `"x":`+strings.Repeat("[", 8)+strings.Repeat("]", 8)), claims)
	raw["claims 17 levels deep"] = compact("ES256", p256Private(), head, grow(claims, `"x":`+strings.Repeat("[", 16)+strings.Repeat("]", 16)))
	raw["claims of 4097 values"] = compact("ES256", p256Private(), head, grow(claims, `"x":[`+strings.Repeat("1,", 4090)+`1]`))
	all := map[string]attack{}
	for name, token := range raw {
		all[name] = attack{token, TokenMalformed}
	}
	return all
}

func compactEncoded(header, payload string) string {
	full := compact("ES256", p256Private(), "", "")
	return header + "." + payload + full[strings.LastIndex(full, "."):]
}

// trailingBits changes only bits that base64 does not use: 64 bytes end in a digit of which 4 bits are unused.
func trailingBits(token string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(digits, token[len(token)-1])
	return token[:len(token)-1] + string(digits[i|1])
}

// grow adds a member at the end of an object.
func grow(object, member string) string { return strings.TrimSuffix(object, "}") + "," + member + "}" }

// ambiguous returns documents that different readers understand differently.
func ambiguous(o string) map[string]string {
	return map[string]string{
		"a byte order mark": "\ufeff" + o, "invalid UTF-8": grow(o, "\"x\":\"\xff\""), "a surrogate in UTF-8": grow(o, "\"x\":\"\xed\xa0\x80\""),
		"an overlong form": grow(o, "\"x\":\"\xc0\xaf\""), "a lone surrogate": grow(o, `"x":"\ud800"`), "a lone low surrogate": grow(o, `"x":"\udc00"`),
		"surrogates in wrong order": grow(o, `"x":"\udc00\ud800"`), "a half pair in a name": grow(o, `"\ud800":1`),
		"a duplicate name": grow(o, `"x":1,"x":1`), "a duplicate sub": grow(o, `"sub":"eve","sub":"eve"`), "a duplicate alg": grow(o, `"alg":"none","alg":"none"`),
		"an escaped duplicate": grow(o, `"x":1,"\u0078":1`), "a duplicate deep inside": grow(o, `"x":[{"y":{"z":1,"\u007a":2}}]`),
		"a second document": o + o, "trailing text": o + "x", "a trailing comma": strings.TrimSuffix(o, "}") + ",}", "a trailing NUL": o + "\x00",
		"a comment": "/**/" + o, "an array around": "[" + o + "]", "null": "null", "a string": `"x"`, "nothing": "", "half of it": o[:len(o)/2],
		"a number with leading zero": grow(o, `"x":01`), "a number with plus": grow(o, `"x":+1`), "NaN": grow(o, `"x":NaN`), "hexadecimal": grow(o, `"x":0x1`),
		"a bare dot": grow(o, `"x":1.`), "no integer part": grow(o, `"x":.5`), "an empty exponent": grow(o, `"x":1e`), "a number too large": grow(o, `"x":1e400`),
		"an identifier that loses digits": grow(o, `"x":18446744073709551617`), "a single quote": grow(o, `'x':1`), "a raw line feed": grow(o, "\"x\":\"\n\""),
		"an unknown escape": grow(o, `"x":"\x41"`), "a short escape": grow(o, `"x":"\u12"`), "a form feed between": grow(o, "\f\"x\":1"), "a wrong word": grow(o, `"x":True`),
	}
}

func TestVerifyReadsTheAuthorizationHeader(t *testing.T) {
	p := newProvider(t, allKeys()...)
	v := newVerifier(t, options(t), p.issuer())
	good := compact("ES256", p256Private(), goodHeader("ES256").String(), goodClaims(p.URL).String())
	for header, want := range map[string]Reason{
		"Bearer " + good: "", "bearer " + good: "", "BEARER    " + good: "",
		"":                                    TokenMissing,
		good:                                  TokenMalformed,
		"Bearer":                              TokenMalformed,
		"Bearer ":                             TokenMalformed,
		" Bearer " + good:                     TokenMalformed,
		"Bearer\t" + good:                     TokenMalformed,
		"Bearer " + good + " ":                TokenMalformed,
		"Bearer Bearer " + good:               TokenMalformed,
		"Bearer " + good + ", Bearer " + good: TokenMalformed,
		"Bearer\u00a0" + good:                 TokenMalformed,
		"Bearer:" + good:                      TokenMalformed,
		"DPoP " + good:                        TokenMalformed,
		"Basic dXNlcjpwYXNz":                  TokenMalformed,
		"Bearer \"" + good + "\"":             TokenMalformed,
		"Bearer " + strings.Repeat("a", 12<<10+1): TokenMalformed,
		"Bearer ya29.opaque-google-token":         TokenMalformed,
	} {
		_, err := v.Verify(t.Context(), secret.New(header), now)
		if got := reasonOf(t, err); got != want {
			t.Errorf("Verify(%.20q…) = %q (%v), want %q", header, got, err, want)
		}
	}
}

func TestVerifyWithoutKid(t *testing.T) {
	claims := func(p *provider) string { return goodClaims(p.URL).String() }
	for name, c := range map[string]struct {
		keys []object
		want Reason
	}{
		"one key fits":              {[]object{jwk(p256Private(), "a")}, ""},
		"one key without kid fits":  {[]object{jwk(p256Private(), "")}, ""},
		"only one of several fits":  {[]object{jwk(rsaPrivate(), "a"), jwk(p256Private(), "b"), jwk(p384Private(), "c")}, ""},
		"another is for encryption": {[]object{jwk(otherP256(), "a").with("use", "enc"), jwk(p256Private(), "b")}, ""},
		"the same key twice":        {[]object{jwk(p256Private(), ""), jwk(p256Private(), "")}, ""},
		"two keys fit":              {[]object{jwk(p256Private(), "a"), jwk(otherP256(), "b")}, UnknownKey},
		"two keys without kid fit":  {[]object{jwk(p256Private(), ""), jwk(otherP256(), "")}, UnknownKey},
		"none fits":                 {[]object{jwk(rsaPrivate(), "a")}, UnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, c.keys...)
			v := newVerifier(t, options(t), p.issuer())
			_, err := v.Verify(t.Context(), bearerOf(compact("ES256", p256Private(), `{"alg":"ES256"}`, claims(p))), now)
			if got, want := reasonOf(t, err), c.want; got != want {
				t.Errorf("reason = %q (%v), want %q", got, err, want)
			}
		})
	}
}

func TestVerifyKeepsIssuersApart(t *testing.T) {
	one, two := newProvider(t, jwk(p256Private(), "k")), newProvider(t, jwk(otherP256(), "k"))
	a, b := one.issuer(), two.issuer()
	b.Name, b.Audiences, b.Algorithms = "partner", []string{"partner-aud"}, []string{"ES256", "EdDSA"}
	v := newVerifier(t, options(t), a, b)
	head := `{"alg":"ES256","kid":"k"}`
	for name, c := range map[string]struct {
		token string
		want  Reason
	}{
		"each with its own":              {compact("ES256", otherP256(), head, goodClaims(two.URL).with("aud", "partner-aud").String()), ""},
		"one signs in the name of two":   {compact("ES256", p256Private(), head, goodClaims(two.URL).with("aud", "partner-aud").String()), BadSignature},
		"two signs in the name of one":   {compact("ES256", otherP256(), head, goodClaims(one.URL).String()), BadSignature},
		"two's token for one's audience": {compact("ES256", otherP256(), head, goodClaims(two.URL).String()), WrongAudience},
		"one uses an algorithm of two":   {compact("EdDSA", ed25519Seeds(), `{"alg":"EdDSA"}`, goodClaims(one.URL).String()), AlgorithmRefused},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := v.Verify(t.Context(), bearerOf(c.token), now)
			if got, want := reasonOf(t, err), c.want; got != want {
				t.Errorf("reason = %q (%v), want %q", got, err, want)
			}
			if err == nil && got.Issuer != "partner" {
				t.Errorf("issuer = %q, want partner", got.Issuer)
			}
		})
	}
}

func TestVerifyLimitsAge(t *testing.T) {
	p := newProvider(t, allKeys()...)
	i := p.issuer()
	i.MaxAge, i.Leeway = 10*time.Minute, 120*time.Second
	v := newVerifier(t, options(t), i)
	for name, c := range map[string]struct {
		iat  any
		want Reason
	}{
		"just young enough":    {now.Unix() - 600, ""},
		"a moment too old":     {now.Unix() - 601, TokenTooOld},
		"a fraction too old":   {json.Number(fmt.Sprint(now.Unix()-601) + ".5"), TokenTooOld},
		"without iat":          {absent, ClaimMissing},
		"from the near future": {now.Unix() + 120, ""},
		"from the future":      {now.Unix() + 121, TokenNotYetValid},
	} {
		t.Run(name, func(t *testing.T) {
			claims := goodClaims(p.URL).with("iat", c.iat, "nbf", absent).String()
			_, err := v.Verify(t.Context(), bearerOf(compact("ES256", p256Private(), goodHeader("ES256").String(), claims)), now)
			if got, want := reasonOf(t, err), c.want; got != want {
				t.Errorf("reason = %q (%v), want %q", got, err, want)
			}
		})
	}
}

func TestTimesKeepTheirFractions(t *testing.T) {
	v := fuzzVerifier(t)
	exp := json.Number(fmt.Sprint(now.Unix(), ".75"))
	token := compact("ES256", p256Private(), goodHeader("ES256").String(), goodClaims(fuzzIssuer).with("exp", exp).String())
	got, err := v.Verify(t.Context(), bearerOf(token), now)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := got.Expiry.Sub(now), 750*time.Millisecond; got != want {
		t.Errorf("expiry is %v away, want %v", got, want)
	}
	for after, want := range map[time.Duration]Reason{30*time.Second + 700*time.Millisecond: "", 30*time.Second + 750*time.Millisecond: TokenExpired} {
		_, err := v.Verify(t.Context(), bearerOf(token), now.Add(after))
		if got := reasonOf(t, err); got != want {
			t.Errorf("%v later: reason = %q, want %q", after, got, want)
		}
	}
}

// The list must be that of the constants, in whichever file of the package they stand.
func TestReasonsAreThoseOfTheSource(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^(?:const )?\s*[A-Z]\w+\s+Reason = "([A-Z_]+)"`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []Reason
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllSubmatch(text, -1) {
			want = append(want, Reason(m[1]))
		}
	}
	got := Reasons()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 30 {
		t.Errorf("Reasons (-declared +listed):\n%s", diff)
	}
	if twice := slices.Compact(slices.Clone(got)); len(twice) != len(got) {
		t.Errorf("a reason is listed twice in %q", got)
	}
}

func TestErrorTellsItsCause(t *testing.T) {
	cause := errors.New("the cause")
	err := error(&Error{Reason: BadSignature, Detail: "of somebody", Err: cause})
	if got, want := err.Error(), "verify token: BAD_SIGNATURE: of somebody: the cause"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is not unwrapped")
	}
}

func TestZeroVerifierRefuses(t *testing.T) {
	token := compact("ES256", p256Private(), goodHeader("ES256").String(), goodClaims("https://x").String())
	_, err := new(Verifier).Verify(context.Background(), bearerOf(token), now)
	if got, want := reasonOf(t, err), UnknownIssuer; got != want {
		t.Errorf("reason = %q, want %q", got, want)
	}
}
