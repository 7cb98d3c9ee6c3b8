package identity

import (
	"encoding/base64"
	"strings"
	"unicode"
)

// Limits of the serialised token. A real token is 1 to 3 KB.
const (
	maxToken        = 12 << 10 // bytes
	maxHeaderParams = 64
	maxKeyID        = 256 // bytes
)

// strictBase64 refuses non-zero trailing bits. It still skips CR and LF, as all decoders of encoding/base64 do: bearer looks at every
// byte of the token before. It is never changed.
var strictBase64 = base64.RawURLEncoding.Strict()

// token is what the pre-flight makes of an Authorization header: read without doubt, but not yet authentic.
type token struct {
	text   string // the compact serialisation
	header header
	claims *claims
}

// header holds the header parameters (RFC 7515 section 4.1) that matter. All others are either refused or, like jku, x5u, jwk and
// x5c, never looked at: the token does not choose where its key comes from (RFC 8725 section 3.10).
type header struct {
	algorithm string // one that method knows
	keyID     string // "" when absent
	typ       string // in lower case, without application/; "" when absent, and noType when empty
	nonce     bool   // there is a nonce, as in tokens for Microsoft Graph
}

// noType is a typ that nobody accepts.
const noType = "application/"

// parseToken reads a token. What it returns is one compact JWS (RFC 7515 section 7.1) with a known asymmetric algorithm over one JSON
// object whose registered claims have their right types.
func parseToken(text string) (*token, error) {
	if err := checkBytes(text); err != nil {
		return nil, err
	}
	var err error
	head, rest, _ := strings.Cut(text, ".")
	body, signature, _ := strings.Cut(rest, ".")
	if strings.Count(text, ".") != 2 { // five parts would be a JWE, one an opaque token
		return nil, refuse(TokenMalformed, "not a compact JWS of three parts")
	}
	t := &token{text: text}
	if t.header, err = parseHeader(head); err != nil {
		return nil, err
	}
	if raw, err := strictBase64.DecodeString(signature); err != nil || len(raw) == 0 {
		return nil, refuse(TokenMalformed, "signature is empty or not base64url")
	}
	if t.claims, err = parseClaims(body); err != nil {
		return nil, err
	}
	return t, nil
}

// bearer returns the token of the complete value of an Authorization field, ^(?i:bearer) +[A-Za-z0-9._-]+$ (RFC 6750 section 2.1, with
// the alphabet of RFC 7515).
func bearer(authorization string) (string, error) {
	text, found := afterScheme(authorization)
	if !found {
		return "", refuse(TokenMalformed, "scheme is not bearer")
	}
	return text, checkBytes(text)
}

// afterScheme returns what follows the scheme of bearer tokens and the spaces behind it, and whether that is the scheme.
func afterScheme(authorization string) (text string, found bool) {
	scheme, rest, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "bearer") { // no letter of it folds to anything outside ASCII
		return "", false
	}
	return strings.TrimLeft(rest, " "), true
}

// checkBytes looks at every byte of a token before anything else does, because golang-jwt's strict decoding lets CR and LF pass inside a
// segment: one signature would then have many spellings.
func checkBytes(text string) error {
	if len(text) == 0 || len(text) > maxToken {
		return refuse(TokenMalformed, "token of %d bytes, not of 1 to %d", len(text), maxToken)
	}
	for i := range len(text) {
		if !compactByte(text[i]) {
			return refuse(TokenMalformed, "token has byte %#02x at offset %d", text[i], i)
		}
	}
	return nil
}

func compactByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

// parseHeader reads the first segment.
//
// golang-jwt ignores crit, b64, zip, typ and cty, and so would take a token whose issuer says that it must not be understood this way.
func parseHeader(segment string) (header, error) {
	raw, err := strictBase64.DecodeString(segment)
	if err != nil {
		return header{}, refuse(TokenMalformed, "header is not base64url")
	}
	params, err := parseObject(raw, jsonLimits{depth: 8, values: 1024})
	if err != nil {
		return header{}, &Error{Reason: TokenMalformed, Detail: "header", Err: err}
	}
	if len(params) > maxHeaderParams {
		return header{}, refuse(TokenMalformed, "header has %d parameters, more than %d", len(params), maxHeaderParams)
	}
	// crit and b64 change what is signed (RFC 7797), zip and enc belong to JWE, cty announces a nested token (RFC 7519 section 5.2).
	for _, name := range []string{"crit", "b64", "zip", "enc", "cty"} {
		if _, present := params[name]; present {
			return header{}, refuse(TokenMalformed, "header parameter %q is not accepted", name)
		}
	}
	h, err := selectKeyParams(params)
	if err != nil {
		return header{}, err
	}
	if h.typ, err = mediaType(params); err != nil {
		return header{}, err
	}
	_, h.nonce = params["nonce"]
	return h, nil
}

// mediaType returns typ, which tells access tokens from logout, proof-of-possession, event and other tokens of the same issuer (RFC 8725
// section 3.11). Its prefix is optional and case does not count (RFC 7515 section 4.1.9).
func mediaType(params map[string]any) (string, error) {
	v, present := params["typ"]
	if !present {
		return "", nil
	}
	name, ok := v.(string)
	if !ok {
		return "", refuse(TokenMalformed, "header parameter \"typ\" is not a string")
	}
	name = strings.ToLower(name) // turns the Kelvin sign into a k, which no accepted type has
	if without, prefixed := strings.CutPrefix(name, "application/"); prefixed {
		name = without
	}
	if name == "" {
		return noType, nil
	}
	return name, nil
}

func selectKeyParams(params map[string]any) (header, error) {
	algorithm, ok := params["alg"].(string)
	if !ok {
		return header{}, refuse(TokenMalformed, "header parameter \"alg\" is not a string")
	}
	if method(algorithm) == nil {
		return header{}, refuse(AlgorithmRefused, "algorithm %s is never accepted", shown(algorithm))
	}
	keyID, present := params["kid"]
	if !present {
		return header{algorithm: algorithm}, nil
	}
	kid, ok := keyID.(string)
	if !ok || !validKeyID(kid) {
		return header{}, refuse(TokenMalformed, "header parameter \"kid\" is not a string of 1 to %d printable bytes", maxKeyID)
	}
	return header{algorithm: algorithm, keyID: kid}, nil
}

// validKeyID reports whether kid may name a key. It is an opaque map key: never a path, an address or a query.
func validKeyID(kid string) bool {
	return kid != "" && len(kid) <= maxKeyID && strings.IndexFunc(kid, unicode.IsControl) < 0
}
