package audit

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"hash"
	"strconv"
)

const (
	hashSize  = 64 // length of a hash in a line, in hexadecimal digits
	chainSize = 16 // that of the name of a chain
)

// chain ties each line to the one before: every line ends with the name of the chain, its number in it from 1 on, the hash of the line before
// and its own. A hash is SHA-256, or HMAC-SHA-256 with a key, of the line's bytes from its first brace to the comma before "hash".
//
// A chain belongs to one Log, for two processes may append to one file at a time, and goes on from file to file. Its first line has no line
// before; it names the last line of the file, of whichever chain that is, as the one it comes after.
type chain struct {
	id  string
	mac hash.Hash
	sum []byte // what mac returned last
	link
	saved link // before what was sealed last
}

// link is where a chain has come to.
type link struct {
	seq   uint64
	prev  [hashSize]byte // hash of line seq
	after string         // hash of another chain's line, for the first one; may be empty
}

// lastHasher is a sink that knows what its last line is.
type lastHasher interface {
	// LastHash returns the hash of the last whole line, "" if it has none.
	LastHash() string
}

func newChain(key Key) *chain {
	var id [chainSize / 2]byte
	_, _ = rand.Read(id[:]) // never fails
	return &chain{id: hex.EncodeToString(id[:]), mac: key.hash()}
}

// begin finds out which line the chain comes after, and remembers where it is.
func (c *chain) begin(s sink) {
	if last, ok := s.(lastHasher); ok && c.seq == 0 {
		c.after = last.LastHash()
	}
	c.saved = c.link
}

// seal appends the lines, each tied to the one before.
func (c *chain) seal(b, lines []byte) []byte {
	for line := range bytes.Lines(lines) {
		start := len(b)
		b = append(b, line[:len(line)-len("}\n")]...)
		b = appendField(b, "chain", c.id)
		c.seq++
		b = append(b, `,"seq":`...)
		b = strconv.AppendUint(b, c.seq, 10)
		switch {
		case c.seq > 1:
			b = append(append(append(b, `,"prev":"`...), c.prev[:]...), '"')
		case c.after != "":
			b = appendField(b, "after", c.after)
		}
		c.mac.Reset()
		c.mac.Write(b[start:])
		c.sum = c.mac.Sum(c.sum[:0])
		hex.Encode(c.prev[:], c.sum)
		b = append(append(append(b, `,"hash":"`...), c.prev[:]...), "\"}\n"...)
	}
	return b
}

// rewind goes back to the last whole line of what was sealed, of which only the beginning was written.
func (c *chain) rewind(written []byte) {
	at := bytes.LastIndexByte(written, '\n') + 1
	c.link = c.saved
	if h := hashOf(written[:at]); h != "" {
		c.seq += uint64(bytes.Count(written[:at], []byte(`"}`+"\n")))
		copy(c.prev[:], h)
	}
}

// hashOf returns the hash at the end of text that ends with a whole line, "" if there is none.
func hashOf(text []byte) string {
	line, ok := bytes.CutSuffix(text, []byte("}\n"))
	var h [hashSize / 2]byte
	if _, found := cutHash(line, `,"hash":`, &h); !ok || !found {
		return ""
	}
	return hex.EncodeToString(h[:])
}
