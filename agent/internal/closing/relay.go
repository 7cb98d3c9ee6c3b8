package closing

import (
	"net"
	"strconv"
	"sync"
	"time"
)

// relayTimeout bounds what is spent on a line that goes to another process.
const relayTimeout = time.Second

// relay hands lines on to the process that has taken over the path of a stream. HAProxy's connection stays with the old process for a
// moment, and brings lines of calls that the new one has decided.
type relay struct {
	mu   sync.Mutex
	conn net.Conn
}

// send hands a message on, and reports whether it has gone.
func (r *relay) send(path string, m []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil {
		conn, err := (&net.Dialer{Timeout: relayTimeout}).Dial("unix", path)
		if err != nil {
			return false
		}
		r.conn = conn
	}
	_ = r.conn.SetWriteDeadline(time.Now().Add(relayTimeout))
	frame := append(strconv.AppendInt(nil, int64(len(m)), 10), ' ')
	if _, err := r.conn.Write(append(frame, m...)); err != nil {
		_ = r.conn.Close()
		r.conn = nil
		return false
	}
	return true
}

// close ends the stream, if there is one.
func (r *relay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		_ = r.conn.Close()
		r.conn = nil
	}
}
