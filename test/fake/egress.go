package fake

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// dialTimeout bounds how long an Egress waits for a party to accept.
const dialTimeout = 5 * time.Second

// A Connect records one CONNECT.
type Connect struct {
	Time   time.Time
	Target string // HOST:PORT as asked for
	Reason Reason // empty when the tunnel was opened
}

// maxConnects bounds the memory of an Egress.
const maxConnects = 1024

// Egress is an HTTP CONNECT proxy (RFC 9110 section 9.3.6) that knows a few names, and leads each to a party on this machine. It refuses
// every other name and every other method, so nothing that goes through it can leave the sandbox. A
// [Fault] spoils the CONNECT itself; Cut and Mend work on the network behind it. It is safe for concurrent use.
type Egress struct {
	server

	egressMu sync.Mutex
	routes   map[string]string
	cut      map[string]bool
	connects []Connect
	tunnels  map[*tunnel]string // by target
}

// NewEgress starts a proxy. routes leads HOST:PORT, as a client asks for it, to the HOST:PORT where the party listens. addr is where to
// listen; a free port of 127.0.0.1 when empty.
func NewEgress(addr string, routes map[string]string) (*Egress, error) {
	e := &Egress{routes: make(map[string]string), cut: make(map[string]bool), tunnels: make(map[*tunnel]string)}
	maps.Copy(e.routes, routes)
	if err := e.listen(addr); err != nil {
		return nil, fmt.Errorf("new egress proxy: %w", err)
	}
	e.serve(nil, e.answer)
	return e, nil
}

// URL returns the proxy's address for HTTPS_PROXY.
func (e *Egress) URL() string { return "http://" + e.addr }

// Connects returns the last 1,024 CONNECTs, oldest first.
func (e *Egress) Connects() []Connect {
	e.egressMu.Lock()
	defer e.egressMu.Unlock()
	return slices.Clone(e.connects)
}

// Route leads a target (HOST:PORT, as a client asks for it) to the HOST:PORT where a further party listens, in place of any before.
func (e *Egress) Route(target, addr string) {
	e.egressMu.Lock()
	defer e.egressMu.Unlock()
	e.routes[target] = addr
}

// Cut makes a target (HOST:PORT) unreachable, as a network that fails: its tunnels break and new ones are answered 502.
func (e *Egress) Cut(target string) {
	e.egressMu.Lock()
	e.cut[target] = true
	var broken []*tunnel
	for t, to := range e.tunnels {
		if to == target {
			broken = append(broken, t)
		}
	}
	e.egressMu.Unlock()
	for _, t := range broken {
		t.close()
	}
}

// Mend ends a Cut.
func (e *Egress) Mend(target string) {
	e.egressMu.Lock()
	defer e.egressMu.Unlock()
	delete(e.cut, target)
}

func (e *Egress) answer(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		w.Header().Set("Allow", http.MethodConnect)
		e.refuse(w, r, refuse(MethodRefused, http.StatusMethodNotAllowed, "this proxy takes CONNECT only"))
		return
	}
	if e.spoil(w, r, writePlain) {
		return
	}
	upstream, no := e.dial(r.Context(), r.Host)
	if no != nil {
		e.record(r.Host, no.reason)
		e.refuse(w, r, no)
		return
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = upstream.Close()
		e.refuse(w, r, refuse(Injected, http.StatusInternalServerError, "this connection cannot be tunnelled"))
		return
	}
	e.record(r.Host, "")
	t := &tunnel{client: client, upstream: upstream}
	// Close ends the request's context, and so the tunnel.
	stop := context.AfterFunc(r.Context(), t.close)
	defer stop()
	if !e.open(t, r.Host) {
		t.close()
		return
	}
	defer e.forget(t)
	// What the client sent ahead of the answer is still in the buffer.
	t.run(io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), client))
}

func (e *Egress) refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	e.note(r, no.reason, no.status)
	writePlain(w, no)
}

func writePlain(w http.ResponseWriter, no *refusal) { http.Error(w, no.message, no.status) }

func (e *Egress) dial(ctx context.Context, target string) (net.Conn, *refusal) {
	e.egressMu.Lock()
	to, ok := e.routes[target]
	cut := e.cut[target]
	e.egressMu.Unlock()
	if !ok {
		return nil, refuse(RouteUnknown, http.StatusForbidden, fmt.Sprintf("%q is not part of the sandbox", target))
	}
	unreachable := refuse(RouteCut, http.StatusBadGateway, fmt.Sprintf("%q cannot be reached", target))
	if cut {
		return nil, unreachable
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, unreachable
	}
	return conn, nil
}

// open registers a tunnel, unless its target was cut in the meantime.
func (e *Egress) open(t *tunnel, target string) bool {
	e.egressMu.Lock()
	defer e.egressMu.Unlock()
	if e.cut[target] {
		return false
	}
	e.tunnels[t] = target
	return true
}

func (e *Egress) forget(t *tunnel) {
	e.egressMu.Lock()
	defer e.egressMu.Unlock()
	delete(e.tunnels, t)
}

func (e *Egress) record(target string, reason Reason) {
	e.egressMu.Lock()
	defer e.egressMu.Unlock()
	if len(e.connects) == maxConnects {
		e.connects = slices.Delete(e.connects, 0, 1)
	}
	e.connects = append(e.connects, Connect{time.Now(), target, reason})
}

// tunnel is two connections whose bytes go from one to the other.
type tunnel struct{ client, upstream net.Conn }

func (t *tunnel) close() {
	_ = t.client.Close()
	_ = t.upstream.Close()
}

// run tells the client that the tunnel stands, and copies both ways until both sides have ended or the tunnel is closed. fromClient
// reads what the client sends.
func (t *tunnel) run(fromClient io.Reader) {
	defer t.close()
	if _, err := io.WriteString(t.client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { t.copy(t.upstream, fromClient) })
	both.Go(func() { t.copy(t.client, t.upstream) })
	both.Wait()
}

// copy copies one way. At the end of the source it tells the destination so; after an error nothing can be saved on either side.
func (t *tunnel) copy(to net.Conn, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		t.close()
		return
	}
	half, ok := to.(*net.TCPConn)
	if !ok || half.CloseWrite() != nil {
		t.close()
	}
}
