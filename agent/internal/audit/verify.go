package audit

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
)

const (
	// maxChains bounds how many chains one verification follows: one for each start of an agent.
	maxChains = 1 << 16
	// recent is how many lines back the line may be that another chain begins after.
	recent = 1 << 16
	// maxPlaces bounds how many torn lines are named.
	maxPlaces = 16
)

// VerifyOptions say what the lines are checked against.
type VerifyOptions struct {
	Key Key // of the chains, if they have one
	// Heads are those of an earlier Report, noted down where nobody who can write the log can write: what was there then must be there still.
	Heads []Head
	// Continued means that the files given begin in the middle, such as after the deletion of old ones. Then a chain whose beginning is not
	// there is no break, and neither is one of Heads of which there is nothing.
	Continued bool
}

// Head is the last line of a chain that was seen. Lines that are taken away behind it leave no trace in the log itself, and neither does an
// end that is taken away before it was noted down: what is in nobody's memory cannot be missed.
type Head struct {
	Chain string `json:"chain"`
	Seq   uint64 `json:"seq"`
	Hash  string `json:"hash"`
}

// What is the kind of a break.
type What string

// The kinds of breaks.
const (
	Changed      What = "changed"       // the line is not what was written
	Missing      What = "missing"       // lines before this one are gone
	Duplicated   What = "duplicated"    // the line was there before, or it is out of its place
	Unlinked     What = "unlinked"      // it was not written after the line before it
	UnknownStart What = "unknown start" // the chain begins in the middle; see VerifyOptions.Continued
	Unchained    What = "unchained"     // a line without a chain among those of chains
	Cut          What = "cut"           // the end of a chain is gone, which one of Heads knows
)

// Place is a line of a file, counted from 1.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// Break is a place where the log is not what was written.
type Break struct {
	Place
	What   What   `json:"what"`
	Chain  string `json:"chain,omitempty"`
	Detail string `json:"detail"`
}

// String is one line for people.
func (b *Break) String() string {
	s := fmt.Sprintf("%s:%d: %s: %s", b.File, b.Line, b.What, b.Detail)
	if b.Chain != "" {
		s += " (chain " + b.Chain + ")"
	}
	return s
}

// ChainReport is what was seen of one chain.
type ChainReport struct {
	Chain string `json:"chain"`
	From  uint64 `json:"from"` // its first line seen, from 1 on
	To    uint64 `json:"to"`   // its last
	Lines int    `json:"lines"`
}

// Report is what a verification found.
type Report struct {
	Lines     int           `json:"lines"` // that are not empty
	Chained   int           `json:"chained"`
	Unchained int           `json:"unchained"` // of before the first chain, of which nothing is known
	Torn      int           `json:"torn"`      // pieces of lines, as a full disk or the end of a process leaves them; nothing was let through on them
	TornAt    []Place       `json:"torn_at"`   // the first 16 and the last of them
	Chains    []ChainReport `json:"chains"`    // by their first line
	Breaks    int           `json:"breaks"`
	First     *Break        `json:"first_break,omitempty"` // nil if there is none
	Heads     []Head        `json:"heads"`                 // to note down, those of the options that nothing was seen of included
}

// Verifier reads the files of a log, in the order in which they were written. Without a key it tells what was changed by somebody who does
// not know of the chain; whoever does can make all hashes anew. With a key nobody can who does not have that.
type Verifier struct {
	options VerifyOptions
	mac     hash.Hash
	buffer  []byte // what mac returned last
	report  Report
	chains  map[string]*chainSeen
	heads   map[string]Head
	recent  [][32]byte // a ring
	at      Place
}

// chainSeen is how far a chain was seen.
type chainSeen struct {
	ChainReport
	hash [32]byte
}

// NewVerifier returns a verifier that has seen nothing.
func NewVerifier(o VerifyOptions) *Verifier {
	v := &Verifier{options: o, mac: o.Key.hash(), chains: map[string]*chainSeen{}, heads: map[string]Head{}}
	for _, h := range o.Heads {
		if known, ok := v.heads[h.Chain]; !ok || known.Seq < h.Seq {
			v.heads[h.Chain] = h
		}
	}
	return v
}

// Verify reads one file.
func Verify(r io.Reader, o VerifyOptions) (Report, error) {
	v := NewVerifier(o)
	if err := v.Read("log", r); err != nil {
		return Report{}, err
	}
	return v.Report(), nil
}

// Read reads the next file; name is what it is called in the report. It is an error if it cannot be read, or if it has more chains than can be
// followed (65,536), not if it has breaks.
func (v *Verifier) Read(name string, r io.Reader) error {
	in := bufio.NewReaderSize(r, MaxLine+4096)
	v.at = Place{File: name}
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			v.at.Line++
		}
		long := errors.Is(err, bufio.ErrBufferFull)
		if long {
			v.torn()
			err = skipLine(in)
		} else if err := v.line(bytes.TrimRight(line, "\r\n")); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

// skipLine reads to the end of a line that is longer than any of ours.
func skipLine(in *bufio.Reader) error {
	for {
		if _, err := in.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// line takes the next line, without its end.
func (v *Verifier) line(line []byte) error {
	if len(line) == 0 {
		return nil
	}
	l, ok := readSealed(line)
	switch {
	case ok:
		return v.sealed(&l)
	case line[0] == '{' && json.Valid(line):
		v.report.Lines++
		if v.report.Chained == 0 {
			v.report.Unchained++
		} else {
			v.broken(Unchained, "", "nothing ties this line to the others")
		}
	default:
		v.torn()
	}
	return nil
}

func (v *Verifier) torn() {
	v.report.Lines++
	v.report.Torn++
	if len(v.report.TornAt) > maxPlaces {
		v.report.TornAt = v.report.TornAt[:maxPlaces]
	}
	v.report.TornAt = append(v.report.TornAt, v.at)
}

func (v *Verifier) broken(what What, chain, format string, args ...any) {
	v.report.Breaks++
	if v.report.First == nil {
		v.report.First = &Break{Place: v.at, What: what, Chain: chain, Detail: fmt.Sprintf(format, args...)}
	}
}

// sealed takes a line that is part of a chain.
func (v *Verifier) sealed(l *sealed) error {
	v.report.Lines++
	genuine := v.genuine(l)
	seen := v.chains[string(l.chain)]
	if seen == nil {
		if len(v.chains) >= maxChains {
			return fmt.Errorf("%s:%d: more than %d chains", v.at.File, v.at.Line, maxChains)
		}
		seen = &chainSeen{ChainReport: ChainReport{Chain: string(l.chain), From: l.seq}}
		v.chains[seen.Chain] = seen
		v.start(l, seen.Chain)
	} else if !v.follow(l, seen) {
		return nil
	}
	if !genuine {
		v.broken(Changed, seen.Chain, "the hash of line %d is not that of its text", l.seq)
	}
	if head, ok := v.heads[seen.Chain]; ok && head.Seq == l.seq && head.Hash != hex.EncodeToString(l.hash[:]) {
		v.broken(Changed, seen.Chain, "line %d had another hash when that was noted down", l.seq)
	}
	seen.To, seen.hash = l.seq, l.hash
	seen.Lines++
	v.report.Chained++
	v.remember(l.hash)
	return nil
}

// genuine reports whether the hash is that of the text. Where a piece of another line stands before it, that is taken off and counted.
func (v *Verifier) genuine(l *sealed) bool {
	if v.sum(l.text) == l.hash {
		return true
	}
	if at := bytes.LastIndex(l.text, []byte(`{"v":`)); at > 0 && v.sum(l.text[at:]) == l.hash {
		v.torn()
		return true
	}
	return false
}

func (v *Verifier) sum(text []byte) [32]byte {
	v.mac.Reset()
	v.mac.Write(text)
	v.buffer = v.mac.Sum(v.buffer[:0])
	return [32]byte(v.buffer)
}

// start checks the first line of a chain that was seen.
func (v *Verifier) start(l *sealed, chain string) {
	head, noted := v.heads[chain]
	switch {
	case l.seq == 1:
		if l.hasAfter && !slices.Contains(v.recent, l.before) && (!v.options.Continued || v.report.Chained > 0) {
			v.broken(Missing, chain, "the chain begins after a line that is not there")
		}
	case noted && l.seq == head.Seq+1:
		if hex.EncodeToString(l.before[:]) != head.Hash {
			v.broken(Unlinked, chain, "line %d was not written after the one that was noted down", l.seq)
		}
	case noted && l.seq > head.Seq:
		v.broken(Missing, chain, "lines %d to %d", head.Seq+1, l.seq-1)
	case !v.options.Continued:
		v.broken(UnknownStart, chain, "its lines 1 to %d are not there", l.seq-1)
	}
}

// follow checks a line of a chain that is known. It reports whether the line takes the chain any further.
func (v *Verifier) follow(l *sealed, seen *chainSeen) bool {
	switch {
	case l.seq <= seen.To:
		v.broken(Duplicated, seen.Chain, "line %d comes after line %d", l.seq, seen.To)
		return false
	case l.seq > seen.To+1:
		v.broken(Missing, seen.Chain, "lines %d to %d", seen.To+1, l.seq-1)
	case subtle.ConstantTimeCompare(l.before[:], seen.hash[:]) != 1:
		v.broken(Unlinked, seen.Chain, "line %d was not written after the line %d that is there", l.seq, seen.To)
	}
	return true
}

func (v *Verifier) remember(h [32]byte) {
	if len(v.recent) < recent {
		v.recent = append(v.recent, h)
		return
	}
	v.recent[v.report.Chained%recent] = h
}

// Report returns what was found so far.
func (v *Verifier) Report() Report {
	r := v.report
	r.TornAt = slices.Clone(r.TornAt)
	first := r.First
	for _, seen := range v.chains {
		r.Chains = append(r.Chains, seen.ChainReport)
		r.Heads = append(r.Heads, Head{seen.Chain, seen.To, hex.EncodeToString(seen.hash[:])})
	}
	slices.SortFunc(r.Chains, func(a, b ChainReport) int { return strings.Compare(a.Chain, b.Chain) })
	for _, h := range v.heads {
		seen := v.chains[h.Chain]
		cut := &Break{Place: v.at, What: Cut, Chain: h.Chain}
		switch {
		case seen != nil && seen.To < h.Seq:
			cut.Detail = fmt.Sprintf("lines %d to %d are not there any more", seen.To+1, h.Seq)
		case seen == nil && !v.options.Continued:
			cut.Detail = fmt.Sprintf("lines 1 to %d are not there any more", h.Seq)
		default:
			if seen == nil {
				r.Heads = append(r.Heads, h)
			}
			continue
		}
		r.Breaks++
		if first == nil && (r.First == nil || cut.Chain < r.First.Chain) {
			r.First = cut
		}
	}
	slices.SortFunc(r.Heads, func(a, b Head) int { return strings.Compare(a.Chain, b.Chain) })
	return r
}
