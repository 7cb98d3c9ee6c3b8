package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"
)

// RevocationFile is a deny list that follows its file. All methods but Watch and Look are safe for concurrent use.
type RevocationFile struct {
	name    string
	onLoad  func(*Revocations, error)
	current atomic.Pointer[revocationState]
	taken   string // what the file was when it was last taken over, or when that failed
	seen    string // what it was at the last look
}

type revocationState struct {
	list  *Revocations
	epoch uint64
}

// OpenRevocations reads the deny list once and returns it ready for Watch. A file that does not exist yet is an empty list; one that is
// broken is an error.
//
// onLoad, if not nil, is called by Watch after each change of the file: with the new list, or with nil and the reason why the list before
// stays in force. It must not block.
func OpenRevocations(file string, onLoad func(*Revocations, error)) (*RevocationFile, error) {
	data, state, err := stateOf(file)
	list := &Revocations{}
	if err == nil {
		list, err = parseRevocations(file, data)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read revocations: %w", err)
	}
	f := &RevocationFile{name: file, onLoad: onLoad, taken: state, seen: state}
	f.current.Store(&revocationState{list, 1})
	return f, nil
}

// stateOf returns the content of the file, or why there is none, and a text that changes with either.
func stateOf(file string) (data []byte, state string, err error) {
	data, err = readRevocations(file)
	if err != nil {
		return nil, "error: " + err.Error(), err
	}
	sum := sha256.Sum256(data)
	return data, string(sum[:]), nil
}

// Watch looks at the file once per period until ctx is done, and returns then. It reads the whole file each time, which sees every kind
// of change on every kind of mount. A changed file is taken over at the look after the one that saw the change, so that a file that is
// just being written is not read half: with a period of 500 ms, a change is effective within a second.
//
// A file that is broken, and one that has disappeared, leave the list before in force: a mistake must not make revoked tokens good
// again. To revoke nothing any more, write an empty list.
func (f *RevocationFile) Watch(ctx context.Context, period time.Duration) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f.look()
		}
	}
}

func (f *RevocationFile) look() {
	data, state, err := stateOf(f.name)
	switch {
	case state == f.taken: // also when a change was taken back
		f.seen = state
		return
	case f.seen == f.taken: // the first look at a change: it may be half written
		f.seen = state
		return
	}
	f.taken, f.seen = state, state
	var list *Revocations
	if err == nil {
		list, err = parseRevocations(f.name, data)
	}
	if err != nil {
		f.report(nil, fmt.Errorf("read revocations: %w", err))
		return
	}
	before := f.current.Load()
	if list.Digest() != before.list.Digest() { // not so when a broken file was mended
		f.current.Store(&revocationState{list, before.epoch + 1})
	}
	f.report(list, nil)
}

func (f *RevocationFile) report(list *Revocations, err error) {
	if f.onLoad != nil {
		f.onLoad(list, err)
	}
}

// Current returns the list in force.
func (f *RevocationFile) Current() *Revocations { return f.current.Load().list }

// Check is Check of the list in force.
func (f *RevocationFile) Check(id Identity) error { return f.Current().Check(id) }

// Epoch returns a number that changes whenever another list comes into force; it is never 0. Whoever remembers an Identity takes the
// number before he checks it, and checks again when the number has changed.
func (f *RevocationFile) Epoch() uint64 { return f.current.Load().epoch }
