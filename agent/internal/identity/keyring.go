package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Limits of a key set document.
const (
	maxDocument = 512 << 10 // bytes
	maxKeys     = 200
)

// keyring holds the usable keys of one key set document. It is immutable.
type keyring struct {
	keys       []*key
	byID       map[string][]*key // those with a kid: one, or several of different types
	dropped    []string          // why keys of the document are not usable, fit for a log
	exposed    bool              // a dropped key was private or symmetric
	generation uint64            // depends on the keys alone; never 0
	fetched    time.Time
}

// parseKeyring reads a JSON Web Key Set (RFC 7517 section 5) of a source. A key that cannot be used is dropped, and the others stay. A
// document is refused when it has no usable key, so that a faulty answer never replaces good keys, when it has more than 200 keys, or when
// it gives two keys of one type the same kid, so that it is not clear which is meant.
func parseKeyring(document []byte, from source, fetched time.Time) (*keyring, error) {
	raws, err := rawKeys(document)
	if err != nil {
		return nil, err
	}
	r := &keyring{byID: map[string][]*key{}, fetched: fetched}
	for i, raw := range raws {
		k, err := parseKey(raw, from)
		if err != nil {
			r.dropped = append(r.dropped, fmt.Sprintf("key %d: %v", i, err))
			r.exposed = r.exposed || errors.Is(err, errPrivateKey)
			continue
		}
		if err := r.add(k); err != nil {
			return nil, err
		}
	}
	if len(r.keys) == 0 {
		return nil, fmt.Errorf("none of the %d keys of the key set is usable %q", len(raws), r.dropped)
	}
	r.generation = generation(r.keys)
	for _, k := range r.keys {
		k.generation = r.generation
	}
	return r, nil
}

// rawKeys returns the keys of a document without a look at them, so that one that is broken does not cost the others.
func rawKeys(document []byte) ([]json.RawMessage, error) {
	if !json.Valid(document) {
		return nil, errors.New("key set is not JSON")
	}
	// A struct would match member names in any case, and a map would take the last of two.
	d := json.NewDecoder(bytes.NewReader(document))
	if brace, err := d.Token(); err != nil || brace != json.Delim('{') {
		return nil, errors.New("key set is not a JSON object")
	}
	var list json.RawMessage
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errors.New("key set is not a JSON object")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("key set is not a JSON object")
		}
		if name != "keys" {
			continue
		}
		if list != nil {
			return nil, errors.New("key set has two lists of keys")
		}
		list = value
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(list, &raws); err != nil {
		return nil, errors.New("key set has no list of keys")
	}
	if len(raws) > maxKeys {
		return nil, fmt.Errorf("key set has %d keys, more than %d", len(raws), maxKeys)
	}
	return raws, nil
}

// add takes k in, unless the same key is there already.
func (r *keyring) add(k *key) error {
	for _, other := range r.keys {
		if other.id != k.id {
			continue
		}
		if other.digest == k.digest && other.algorithm == k.algorithm && other.issuer == k.issuer {
			return nil
		}
		if k.id != "" && sameType(other, k) {
			return fmt.Errorf("key set has two keys of one type with kid %s", shown(k.id))
		}
	}
	r.keys = append(r.keys, k)
	if k.id != "" {
		r.byID[k.id] = append(r.byID[k.id], k)
	}
	return nil
}

func sameType(a, b *key) bool { return fmt.Sprintf("%T", a.public) == fmt.Sprintf("%T", b.public) }

// generation digests the keys in an order of its own.
func generation(keys []*key) uint64 {
	var prints [][]byte
	for _, k := range keys {
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %x", k.id, k.algorithm, k.issuer, k.digest))
		prints = append(prints, sum[:])
	}
	slices.SortFunc(prints, bytes.Compare)
	sum := sha256.Sum256(bytes.Join(prints, nil))
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

// find returns the one key that fits a header, or nil. Without a kid, exactly one key of the set must fit the algorithm. known reports
// whether a newer document could not help: the kid is there, or none was named.
func (r *keyring) find(keyID, algorithm string) (k *key, known bool) {
	candidates := r.keys
	if keyID != "" {
		if candidates = r.byID[keyID]; len(candidates) == 0 {
			return nil, false
		}
	}
	for _, c := range candidates {
		if !c.fits(algorithm) {
			continue
		}
		if k != nil {
			return nil, true
		}
		k = c
	}
	return k, true
}
