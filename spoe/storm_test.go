package spoe

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestTenThousandConnectionsOpenedAndDropped opens connections that say nothing, nonsense, a HELLO, or a HELLO and half a NOTIFY, and drops
// them at once. Afterwards the server has as many goroutines and about as much memory as before, and answers.
func TestTenThousandConnectionsOpenedAndDropped(t *testing.T) {
	r := serveUnix(t, Config{})
	honest := r.dial()
	honest.hello("")
	before, heap := runtime.NumGoroutine(), liveHeap()

	const callers, each = 8, 1250
	openings := [][]byte{nil, []byte("GET / HTTP/1.1\r\n\r\n"), {0x16, 3, 1, 2, 0, 1, 0}, haproxyHello(16380, ""), append(haproxyHello(16380, ""), wireNotify(1, 1)[:9]...)}
	var group sync.WaitGroup
	var made, full atomic.Int64
	for range callers {
		group.Go(func() {
			for i := range each {
				nc, err := net.Dial("unix", r.path)
				for errors.Is(err, syscall.EAGAIN) { // the backlog is full
					full.Add(1)
					runtime.Gosched()
					nc, err = net.Dial("unix", r.path)
				}
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				made.Add(1)
				_, _ = nc.Write(openings[i%len(openings)])
				_ = nc.Close()
			}
		})
	}
	group.Wait()
	if got := made.Load(); got != callers*each {
		t.Errorf("%d connections were made, want %d; the backlog was full %d times", got, callers*each, full.Load())
	}
	// Some may wait in the backlog when those before them are gone.
	r.await("all have come and are gone", func() bool { return r.came == 1+callers*each && r.conns == 1 })

	honest.send(wireNotify(1, 1))
	honest.ack(1, 1)
	if got := settle(before + 2); got > before+2 {
		t.Errorf("%d goroutines, %d before", got, before)
	}
	if got := liveHeap(); got > heap+4<<20 {
		t.Errorf("%d bytes live, %d before", got, heap)
	}
}

// TestRandomPeers feeds bytes of every kind on real sockets, whole, in pieces, and cut: what is a conversation goes on, the rest ends, and
// the server answers those who come after.
func TestRandomPeers(t *testing.T) {
	r := serveUnix(t, Config{})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		p := r.dial()
		stream := mutate(random, append(haproxyHello(16380, "pipelining"), wireNotify(1, 1)...), i)
		for len(stream) > 0 {
			n := 1 + random.IntN(len(stream))
			if _, err := p.nc.Write(stream[:n]); err != nil {
				break // the server has ended it
			}
			stream = stream[n:]
		}
		_ = p.nc.Close()
	}
	r.await("all are gone", func() bool { return r.conns == 0 })
	p := r.dial()
	p.hello("")
	p.send(wireNotify(7, 1))
	p.ack(7, 1)
}

// mutate changes a valid stream in one of several ways.
func mutate(random *rand.Rand, stream []byte, kind int) []byte {
	at := random.IntN(len(stream))
	switch kind % 5 {
	case 0:
		stream[at] ^= byte(1 << random.IntN(8))
	case 1:
		stream = stream[:at]
	case 2:
		stream = append(stream[:at:at], stream...)
	case 3:
		for range 4 {
			stream[random.IntN(len(stream))] = byte(random.IntN(256))
		}
	case 4:
		stream = fmt.Appendf(nil, "%s%x", stream[:at], stream)
	}
	return stream
}

// settle waits, at most some seconds, until no more than n goroutines run, and returns how many do.
func settle(n int) int {
	deadline := time.After(5 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for runtime.NumGoroutine() > n {
		select {
		case <-deadline:
			return runtime.NumGoroutine()
		case <-tick.C:
		}
	}
	return runtime.NumGoroutine()
}

// liveHeap returns the bytes in use. What lies in pools is forgotten by the second collection.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
