package spoe

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
)

// systemdFD is the first descriptor that systemd passes (sd_listen_fds(3)).
const systemdFD = 3

// listenSystemd returns the one socket that systemd has passed to this process.
// It is systemd's: it stays when the process ends, and who connects meanwhile
// waits for the next one.
func listenSystemd() (net.Listener, error) {
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("systemd has passed no socket to this process: start it by a .socket unit")
	}
	if n := os.Getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("systemd has passed %s sockets: name one ListenStream in the .socket unit", n)
	}
	file := os.NewFile(systemdFD, "systemd")
	defer func() { _ = file.Close() }() // the listener has its own descriptor
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("the socket that systemd has passed: %w", err)
	}
	return l, nil
}
