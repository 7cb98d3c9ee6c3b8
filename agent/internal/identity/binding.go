package identity

import (
	"crypto/sha256"
	"crypto/subtle"
)

// BindingMismatch is the reason to refuse a bound token. See BindingUnsupported for bindings that are not known.
const BindingMismatch Reason = "BINDING_MISMATCH" // cnf binds the token to a certificate, and the caller did not present that one

// thumbprintMember is the one confirmation method that can be checked here (RFC 8705 section 3.1).
const thumbprintMember = "x5t#S256"

// checkBinding compares the confirmation claim (RFC 7800 section 3.1) with the client certificate, which is nil when none was presented.
// claims are those of the token, or those that the issuer answered about it. Without cnf there is nothing to check.
//
// A token that is bound to anything but a certificate is refused: without proof that the caller holds the key, it may have been stolen
// (RFC 9449 section 7.1). So is one with several confirmation methods, because all would have to be checked.
func checkBinding(claims map[string]any, c *certificate) error {
	value, present := claims["cnf"]
	if !present {
		return nil
	}
	cnf, ok := value.(map[string]any)
	if !ok {
		return refuse(BindingUnsupported, "claim \"cnf\" is not an object")
	}
	bound, found := cnf[thumbprintMember]
	if !found || len(cnf) != 1 {
		return refuse(BindingUnsupported, "claim \"cnf\" binds the token to something else than one certificate")
	}
	text, _ := bound.(string)
	want, err := strictBase64.DecodeString(text)
	if err != nil || len(want) != sha256.Size || len(text) != thumbprintLength { // the decoder skips line breaks
		return refuse(BindingUnsupported, "member %q of claim \"cnf\" is not a SHA-256 thumbprint", thumbprintMember)
	}
	if c == nil {
		return refuse(BindingMismatch, "the token is bound to a certificate, and none was presented")
	}
	if subtle.ConstantTimeCompare(want, c.digest[:]) != 1 {
		return refuse(BindingMismatch, "the token is bound to another certificate than the one presented")
	}
	return nil
}
