package identity

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"vertex-spoa/agent/internal/secret"
)

// BenchmarkVerify measures a whole verification, with the keys in hand, per algorithm.
func BenchmarkVerify(b *testing.B) {
	p := newProvider(b, allKeys()...)
	i := p.issuer()
	i.Algorithms = allAlgorithms
	v := newVerifier(b, options(b), i)
	for _, algorithm := range allAlgorithms {
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

// manyIssuers returns a verifier of n issuers and a token of each.
func manyIssuers(b *testing.B, n int) (*Verifier, []secret.Text) {
	b.Helper()
	keys := []byte(jwks(jwk(p256Private(), "k")))
	issuers, tokens := make([]Issuer, n), make([]secret.Text, n)
	for i := range issuers {
		url := fmt.Sprintf("https://idp-%d.example", i)
		issuers[i] = Issuer{Name: fmt.Sprint("idp-", i), URL: url, Audiences: []string{"vertex"}, JWKS: keys}
		tokens[i] = bearerOf(compact("ES256", p256Private(), `{"alg":"ES256","kid":"k"}`, goodClaims(url).String()))
	}
	return newVerifier(b, options(b), issuers...), tokens
}

// BenchmarkIssuers measures that the number of issuers does not matter.
func BenchmarkIssuers(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			v, tokens := manyIssuers(b, n)
			b.ReportAllocs()
			at := 0
			for b.Loop() {
				if _, err := v.Verify(context.Background(), tokens[at], now); err != nil {
					b.Fatal(err)
				}
				at = (at + 1) % n
			}
		})
	}
}

// BenchmarkContention measures all processors at once, with one issuer and with many.
func BenchmarkContention(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			v, tokens := manyIssuers(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(loop *testing.PB) {
				for at := 0; loop.Next(); at = (at + 1) % n {
					if _, err := v.Verify(context.Background(), tokens[at], now); err != nil {
						b.Error(err)
						return
					}
				}
			})
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
		// The costliest that the reader lets pass: numbers halfway between two of float64, and many small objects.
		"UnknownIssuer, numbers": compact("ES256", p256Private(), goodHeader("ES256").String(), filled(`9007199254740993.0`)),
		"UnknownIssuer, objects": compact("ES256", p256Private(), goodHeader("ES256").String(), filled(`{"":{"":{"":{"":{"":0}}}}}`)),
		// And what the reader does not let pass, because it would cost a hundred times as much.
		"Malformed, tiny numbers": compact("ES256", p256Private(), goodHeader("ES256").String(), filled(`3e-324`)),
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

// filled returns claims of nobody that are as long as a token may be, and full of values.
func filled(value string) string {
	const room = 8900
	return `{"iss":"https://evil","x":[` + strings.Repeat(value+",", room/(len(value)+1)-5) + value + `]}`
}
