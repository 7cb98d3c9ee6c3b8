package identity

import (
	"context"
	"crypto/rsa"
	"strings"
	"time"
)

// Bounds of a gate.
const (
	gateQueue    = 64                     // verifications that wait for one of those that run
	gatePatience = 300 * time.Millisecond // how long each of them waits
)

// gate bounds how much of the machine the costly signatures of one issuer may use. An attacker needs no valid token to have a signature
// checked, and one of ES512 costs forty times one of RS256. Beyond the bound callers are told to come back.
type gate struct {
	running chan struct{} // one place for each verification that may run
	waiting chan struct{}
}

func newGate(places int) *gate {
	return &gate{running: make(chan struct{}, max(places, 1)), waiting: make(chan struct{}, gateQueue)}
}

// enter takes a place, which leave gives back. It waits for one in a short queue.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.running <- struct{}{}:
		return nil
	default:
	}
	select {
	case g.waiting <- struct{}{}:
		defer func() { <-g.waiting }()
	default:
		return refuse(IssuerBusy, "%d costly signatures are waiting to be checked", gateQueue)
	}
	wait, cancel := context.WithTimeout(ctx, gatePatience)
	defer cancel()
	select {
	case g.running <- struct{}{}:
		return nil
	case <-wait.Done():
		return &Error{Reason: IssuerBusy, Detail: "a costly signature had to wait too long to be checked", Err: ctx.Err()}
	}
}

func (g *gate) leave() { <-g.running }

// costly reports whether a signature is one of those that a gate bounds: of ES384 (0.5 ms of one core), ES512 (2 ms), PSS, whose keys tend
// to be large, and of any RSA key beyond 4096 bits. The others take less than 0.1 ms.
func costly(algorithm string, k *key) bool {
	const largeRSA = 4096
	if public, ok := k.public.(*rsa.PublicKey); ok && public.N.BitLen() > largeRSA {
		return true
	}
	return algorithm == "ES384" || algorithm == "ES512" || strings.HasPrefix(algorithm, "PS")
}
