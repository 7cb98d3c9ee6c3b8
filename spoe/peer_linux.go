package spoe

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// peerUID returns the user who connected the other end of a unix socket, at the
// time of its connect (unix(7), SO_PEERCRED).
func peerUID(nc net.Conn) (uint32, error) {
	u, ok := nc.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a unix socket")
	}
	sys, err := u.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("peer credentials: %w", err)
	}
	var cred *syscall.Ucred
	var failed error
	err = sys.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("peer credentials: %w", err)
	}
	return cred.Uid, nil
}
