//go:build !linux

package spoe

import (
	"errors"
	"net"
)

// peerUID knows the peer on Linux alone.
func peerUID(net.Conn) (uint32, error) { return 0, errors.New("peer credentials need Linux") }
