package audit

import (
	"bytes"
	"encoding/hex"
	"strconv"
)

// sealed is a line of a chain.
type sealed struct {
	chain    []byte // within the line
	seq      uint64
	before   [32]byte // the hash of the line before, or of the one that the chain begins after; zeros where neither is named
	hasAfter bool
	hash     [32]byte
	text     []byte // what the hash is of
}

// readSealed reads the members that seal has put at the end of a line, in the order in which it does. None of what it looks for can be inside
// a text of JSON, where there is a backslash before each quotation mark.
func readSealed(line []byte) (l sealed, ok bool) {
	rest, ok := bytes.CutSuffix(line, []byte("}"))
	if !ok {
		return sealed{}, false
	}
	if rest, ok = cutHash(rest, `,"hash":`, &l.hash); !ok {
		return sealed{}, false
	}
	l.text = rest
	before, linked := cutHash(rest, `,"prev":`, &l.before)
	if !linked {
		before, l.hasAfter = cutHash(rest, `,"after":`, &l.before)
	}
	at := bytes.LastIndexByte(before, ':')
	if at < 0 {
		return sealed{}, false
	}
	digits := before[at+1:]
	if l.seq, ok = readSeq(digits); !ok || linked != (l.seq > 1) {
		return sealed{}, false
	}
	if before, ok = bytes.CutSuffix(before[:at], []byte(`","seq"`)); !ok {
		return sealed{}, false
	}
	at = bytes.LastIndexByte(before, '"')
	l.chain = before[at+1:]
	if at < 0 || !bytes.HasSuffix(before[:at], []byte(`,"chain":`)) || len(l.chain) != chainSize || !isHex(l.chain) {
		return sealed{}, false
	}
	return l, true
}

// readSeq reads a number as seal writes it.
func readSeq(digits []byte) (uint64, bool) {
	if len(digits) == 0 || digits[0] < '1' || digits[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits), 10, 64)
	return n, err == nil
}

// cutHash takes a member with a hash off the end of text.
func cutHash(text []byte, name string, to *[32]byte) (rest []byte, ok bool) {
	n := len(name) + hashSize + 2
	if len(text) < n {
		return text, false
	}
	member := text[len(text)-n:]
	digits := member[len(name)+1 : n-1]
	if string(member[:len(name)]) != name || member[len(name)] != '"' || member[n-1] != '"' || !isHex(digits) {
		return text, false
	}
	if _, err := hex.Decode(to[:], digits); err != nil {
		return text, false
	}
	return text[:len(text)-n], true
}

func isHex(text []byte) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
