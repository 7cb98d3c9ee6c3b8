package identity

import (
	"crypto/ed25519"
	"errors"
	"math/big"
	"slices"
)

// checkEd25519 refuses encodings that are no point, not the shortest form of one (RFC 8032 section 5.1.3), or a point of small order.
// crypto/ed25519 verifies with all points of small order, and under the identity a signature that anyone can write verifies for
// every message.
func checkEd25519(public []byte) error {
	if len(public) != ed25519.PublicKeySize {
		return errors.New("ed25519 key is not of 32 bytes")
	}
	one := big.NewInt(1)
	p := new(big.Int).Sub(new(big.Int).Lsh(one, 255), big.NewInt(19))
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)

	encoded := slices.Clone(public)
	slices.Reverse(encoded)
	encoded[0] &^= 0x80 // the sign of x
	y := new(big.Int).SetBytes(encoded)
	if y.Cmp(p) >= 0 {
		return errors.New("ed25519 key is not in its shortest form")
	}
	// Three doublings multiply by the cofactor 8. From -x²+y² = 1+dx²y² follow x² = (y²-1)/(dy²+1) and, for the doubled point,
	// y' = (y²+x²)/(1-dx²y²): y alone is enough. No denominator is zero, because d is not a square.
	for range 3 {
		yy := new(big.Int).Mul(y, y)
		xx := divide(new(big.Int).Sub(yy, one), new(big.Int).Add(new(big.Int).Mul(d, yy), one), p)
		if big.Jacobi(xx, p) < 0 {
			return errors.New("ed25519 key is not on the curve")
		}
		dxxyy := new(big.Int).Mul(d, new(big.Int).Mul(xx, yy))
		y = divide(new(big.Int).Add(yy, xx), new(big.Int).Sub(one, dxxyy), p)
	}
	if y.Cmp(one) == 0 {
		return errors.New("ed25519 key is of small order")
	}
	return nil
}

// divide returns a/b modulo the prime p; b is not a multiple of p.
func divide(a, b, p *big.Int) *big.Int {
	inverse := new(big.Int).ModInverse(b.Mod(b, p), p)
	return inverse.Mul(inverse, a).Mod(inverse, p)
}
