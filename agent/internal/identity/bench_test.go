package identity

import (
	"context"
	"testing"
)

// BenchmarkVerify measures a whole verification, with the keys in hand.
func BenchmarkVerify(b *testing.B) {
	p := newProvider(b, allKeys()...)
	i := p.issuer()
	i.Algorithms = allAlgorithms
	v := newVerifier(b, options(b), i)
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		b.Run(algorithm, func(b *testing.B) {
			claims := goodClaims(p.URL).with("groups", []string{"a", "b", "c"}, "email", "alice@example.com", "client_id", "app")
			authorization := bearerOf(compact(algorithm, privateKey(algorithm), goodHeader(algorithm).String(), claims.String()))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), authorization, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefuse measures what a token costs that is refused before its signature is looked at.
func BenchmarkRefuse(b *testing.B) {
	p := newProvider(b, allKeys()...)
	v := newVerifier(b, options(b), p.issuer())
	for name, token := range map[string]string{
		"UnknownIssuer": compact("ES256", p256Private(), goodHeader("ES256").String(), goodClaims("https://evil").String()),
		"UnknownKey":    compact("ES256", p256Private(), goodHeader("ES256").with("kid", "x").String(), goodClaims(p.URL).String()),
		"Malformed":     "a.b.c",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), bearerOf(token), now); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
