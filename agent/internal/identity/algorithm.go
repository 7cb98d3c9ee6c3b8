package identity

import (
	"crypto/rsa"

	"github.com/golang-jwt/jwt/v5"
)

// method returns the signature method of a JWS algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1), or nil for one that no issuer may
// use: none, every HMAC, ES256K, RS1. Names are case-sensitive.
//
// golang-jwt asks a process-wide registry which any imported package can extend; this closed table decides instead.
func method(algorithm string) jwt.SigningMethod {
	switch algorithm {
	case "RS256":
		return jwt.SigningMethodRS256
	case "RS384":
		return jwt.SigningMethodRS384
	case "RS512":
		return jwt.SigningMethodRS512
	case "PS256":
		return saltEqualsHash(jwt.SigningMethodPS256)
	case "PS384":
		return saltEqualsHash(jwt.SigningMethodPS384)
	case "PS512":
		return saltEqualsHash(jwt.SigningMethodPS512)
	case "ES256":
		return jwt.SigningMethodES256
	case "ES384":
		return jwt.SigningMethodES384
	case "ES512":
		return jwt.SigningMethodES512
	case "EdDSA":
		return jwt.SigningMethodEdDSA
	}
	return nil
}

// saltEqualsHash returns a copy of m that verifies only signatures whose salt is as long as the hash (RFC 7518 section 3.5). golang-jwt
// signs that way and accepts any length.
func saltEqualsHash(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: m.SigningMethodRSA,
		Options:          m.Options,
		VerifyOptions:    &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: m.Hash},
	}
}
