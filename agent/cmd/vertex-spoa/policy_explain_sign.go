package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
)

// signAnew puts a signature in the place of that of a token, and returns the key set with which the verifier takes it for good. All other
// checks are then those of every token. What cannot be signed so, because of its form or its algorithm, is returned as it is: the verifier
// says why it refuses it.
func signAnew(token string) (signed string, keys []byte, err error) {
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	parts := strings.Split(token, ".")
	data, err := base64.RawURLEncoding.DecodeString(parts[0])
	known := len(parts) == 3 && err == nil && json.Unmarshal(data, &header) == nil
	if !known || len(header.Algorithm) != 5 && header.Algorithm != "EdDSA" {
		header.Algorithm, header.KeyID, known = "ES256", "", false // some keys are needed all the same
	}
	s, err := newSigner(header.Algorithm)
	if err != nil {
		return "", nil, err
	}
	if s == nil { // not an algorithm for which anybody has public keys
		known = false
		if s, err = newSigner("ES256"); err != nil {
			return "", nil, err
		}
	}
	s.public["use"] = "sig"
	if known && header.KeyID != "" {
		s.public["kid"] = header.KeyID
	}
	if keys, err = json.Marshal(map[string]any{"keys": []any{s.public}}); err != nil || !known {
		return token, keys, err
	}
	signature, err := s.sign([]byte(parts[0] + "." + parts[1]))
	if err != nil {
		return "", nil, fmt.Errorf("sign a token anew: %w", err)
	}
	return parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(signature), keys, nil
}

// signer signs with a key that nobody else has.
type signer struct {
	public map[string]any // as a JWK, RFC 7517
	sign   func(message []byte) ([]byte, error)
}

// newSigner returns a signer of an algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1), and nil for one that has no public keys.
func newSigner(algorithm string) (*signer, error) {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[algorithm[2:]]
	digest := func(message []byte) []byte {
		h := hash.New()
		_, _ = h.Write(message) // a hash never fails to write
		return h.Sum(nil)
	}
	switch family := algorithm[:2]; {
	case algorithm == "EdDSA":
		return edSigner()
	case hash == 0:
		return nil, nil
	case family == "RS", family == "PS":
		return rsaSigner(family, hash, digest)
	case family == "ES":
		return ecSigner(algorithm, digest)
	}
	return nil, nil
}

func edSigner() (*signer, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return &signer{map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64url(public)}, func(m []byte) ([]byte, error) {
		return ed25519.Sign(private, m), nil
	}}, nil
}

func rsaSigner(family string, hash crypto.Hash, digest func([]byte) []byte) (*signer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	exponent := binary.BigEndian.AppendUint32(nil, uint32(key.E))
	s := &signer{public: map[string]any{"kty": "RSA", "n": base64url(key.N.Bytes()), "e": base64url(exponent[1:])}}
	s.sign = func(m []byte) ([]byte, error) {
		if family == "PS" {
			return rsa.SignPSS(rand.Reader, key, hash, digest(m), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, key, hash, digest(m))
	}
	return s, nil
}

func ecSigner(algorithm string, digest func([]byte) []byte) (*signer, error) {
	curve := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[algorithm]
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return nil, err
	}
	size := len(point) / 2
	s := &signer{public: map[string]any{
		"kty": "EC", "crv": curve.Params().Name, "x": base64url(point[1 : 1+size]), "y": base64url(point[1+size:]),
	}}
	s.sign = func(m []byte) ([]byte, error) {
		r, v, err := ecdsa.Sign(rand.Reader, key, digest(m))
		if err != nil {
			return nil, err
		}
		return append(r.FillBytes(make([]byte, size)), v.FillBytes(make([]byte, size))...), nil
	}
	return s, nil
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
