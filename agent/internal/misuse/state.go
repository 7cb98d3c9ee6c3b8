package misuse

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// stateMagic begins a file of what was learned. What follows is a stateHead, the callers and the crowds, each from the least recently seen
// on, and the SHA-256 of all that. The number counts the versions of their shapes.
const stateMagic = "vertex-spoa misuse 1\n"

type stateHead struct {
	Subjects, Crowds uint32
}

type savedSubject struct {
	Key     key
	First   int32
	Staying bool
	Subject subject
}

type savedCrowd struct {
	Key   crowdKey
	Crowd crowd
}

// ErrState means that a file is not one that Save has written, or one of another version.
var ErrState = errors.New("misuse: not a whole file of what was learned")

// Save writes what was learned of the callers to the file, which is replaced as a whole or not at all. The file has mode 0600; names are in
// it only as hashes. Denials of unknown callers are not in it. It may be called at any time: the detector goes on meanwhile.
func (d *Detector) Save(file string) error {
	if err := replace(file, d.encode()); err != nil {
		return fmt.Errorf("misuse: save what was learned: %w", err)
	}
	return nil
}

// Load reads what Save has written, for a detector that has seen nothing yet. Where there is more than it has room for, the most recently
// seen callers are kept. A file that does not exist is no error, and teaches nothing; neither does one that is damaged, or of another
// version, for which the error is an ErrState.
func (d *Detector) Load(file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = d.decode(data)
	}
	if err != nil {
		return fmt.Errorf("misuse: load what was learned from %q: %w", file, err)
	}
	return nil
}

// encode returns the state. Each lock is held for as long as it takes to copy what it guards.
func (d *Detector) encode() []byte {
	var subjects []savedSubject
	for i := range d.subjects {
		t := &d.subjects[i]
		t.mu.Lock()
		for _, k := range t.passing.Keys() {
			e, _ := t.passing.Peek(k)
			subjects = append(subjects, savedSubject{k, e.first, false, e.value})
		}
		for _, k := range t.staying.Keys() {
			e, _ := t.staying.Peek(k)
			subjects = append(subjects, savedSubject{k, e.first, true, e.value})
		}
		t.mu.Unlock()
	}
	var crowds []savedCrowd
	d.crowds.mu.Lock()
	for _, k := range d.crowds.roles.Keys() {
		all, _ := d.crowds.roles.Peek(k)
		crowds = append(crowds, savedCrowd{k, *all})
	}
	d.crowds.mu.Unlock()

	b := []byte(stateMagic)
	for _, part := range []any{stateHead{uint32(len(subjects)), uint32(len(crowds))}, subjects, crowds} {
		b, _ = binary.Append(b, binary.LittleEndian, part) // fails for what has no fixed size only
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// decode fills the tables from the state, or leaves them as they are.
func (d *Detector) decode(data []byte) error {
	body := len(data) - sha256.Size
	if body < len(stateMagic) || !bytes.HasPrefix(data, []byte(stateMagic)) {
		return ErrState
	}
	if sum := sha256.Sum256(data[:body]); !bytes.Equal(sum[:], data[body:]) {
		return ErrState
	}
	data = data[len(stateMagic):body]
	var head stateHead
	n, err := binary.Decode(data, binary.LittleEndian, &head)
	if err != nil {
		return ErrState
	}
	data = data[n:]
	size := int64(head.Subjects)*int64(binary.Size(savedSubject{})) + int64(head.Crowds)*int64(binary.Size(savedCrowd{}))
	if size != int64(len(data)) {
		return ErrState
	}
	subjects, crowds := make([]savedSubject, head.Subjects), make([]savedCrowd, head.Crowds)
	n, err = binary.Decode(data, binary.LittleEndian, subjects)
	if err != nil {
		return ErrState
	}
	if _, err = binary.Decode(data[n:], binary.LittleEndian, crowds); err != nil {
		return ErrState
	}
	d.fill(subjects, crowds)
	return nil
}

func (d *Detector) fill(subjects []savedSubject, crowds []savedCrowd) {
	for _, s := range subjects {
		t := &d.subjects[s.Key.shard()]
		t.mu.Lock()
		t.put(s.Key, &entry[subject]{s.First, s.Subject}, s.Staying)
		t.mu.Unlock()
	}
	d.crowds.mu.Lock()
	defer d.crowds.mu.Unlock()
	for _, c := range crowds {
		c.Crowd.Next %= crowdSize
		d.crowds.roles.Add(c.Key, &c.Crowd)
	}
}

// replace writes data to a new file, which takes the place of the old one when it is on the disk.
func replace(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
