package audit

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Masker hides what may identify a person. What it hides reads the same in every line, so that lines can still be joined. The zero
// value and nil hide nothing. It is safe for concurrent use.
type Masker struct {
	rules []maskRule
	macs  sync.Pool // of hash.Hash
}

// maskRule is what to do with one field.
type maskRule struct {
	maskable
	hmac bool
}

// maskable is a field that can be masked. Where it is in no closing line, closing is nil.
type maskable struct {
	name    string
	record  func(*Record) *string // nil for claims, which can be dropped only
	closing func(*Closing) *string
}

// maskables returns all of them.
func maskables() []maskable {
	return []maskable{
		{"subject", func(r *Record) *string { return &r.Subject }, func(c *Closing) *string { return &c.Subject }},
		{"jti", func(r *Record) *string { return &r.TokenID }, nil},
		{"src", func(r *Record) *string { return &r.Source }, nil},
		{"certificate", func(r *Record) *string { return &r.Certificate }, nil},
		{"claims", nil, nil},
		{"role_asked", func(r *Record) *string { return &r.RoleAsked }, nil},
		{"break_glass", func(r *Record) *string { return &r.BreakGlass }, nil},
		{"detail", func(r *Record) *string { return &r.Detail }, nil},
		{"user_agent", func(r *Record) *string { return &r.UserAgent }, nil},
		{"traceparent", func(r *Record) *string { return &r.TraceParent }, func(c *Closing) *string { return &c.TraceParent }},
	}
}

// Maskable returns the names of the fields that can be masked.
func Maskable() []string {
	var names []string
	for _, m := range maskables() {
		names = append(names, m.name)
	}
	return names
}

// maskedPrefix begins a value that was replaced by its HMAC.
const maskedPrefix = "hmac:"

// ParseMask reads what to mask: FIELD=drop or FIELD=hmac, several of them with commas between. drop leaves the field out; hmac replaces it
// by "hmac:" and the first 16 bytes, in hex, of its HMAC-SHA-256 with the key. Empty text masks nothing.
//
// A detail that repeats what is masked is masked along with that; what it says of a caller who was not identified, such as the name in a
// certificate that is not accepted, is masked with the detail itself. The fields of the call itself cannot be masked, and neither can the id: where
// HAProxy makes that of the client's address, mask the address there.
func ParseMask(text string, key Key) (*Masker, error) {
	m := &Masker{}
	m.macs.New = func() any { return key.hash() }
	if strings.TrimSpace(text) == "" {
		return m, nil
	}
	for rule := range strings.SplitSeq(text, ",") {
		if err := m.add(strings.TrimSpace(rule), key); err != nil {
			return nil, fmt.Errorf("mask: %w", err)
		}
	}
	return m, nil
}

func (m *Masker) add(text string, key Key) error {
	name, how, _ := strings.Cut(text, "=")
	all := maskables()
	at := slices.IndexFunc(all, func(f maskable) bool { return f.name == name })
	switch {
	case at < 0:
		return fmt.Errorf("%q is no field that can be masked; those are %s", name, strings.Join(Maskable(), ", "))
	case slices.ContainsFunc(m.rules, func(r maskRule) bool { return r.name == name }):
		return fmt.Errorf("%q stands there twice", name)
	case how != "drop" && how != "hmac":
		return fmt.Errorf("%q: want %s=drop or %[2]s=hmac", text, name)
	case how == "hmac" && all[at].record == nil:
		return fmt.Errorf("%q can only be dropped", name)
	case how == "hmac" && key.IsZero():
		return fmt.Errorf("%q needs a key", text)
	}
	m.rules = append(m.rules, maskRule{all[at], how == "hmac"})
	return nil
}

// Record masks r in place. It must be done once: what looks like an HMAC already may be a caller's doing, and is masked like anything else.
func (m *Masker) Record(r *Record) {
	if m == nil {
		return
	}
	var detail *maskRule // the last to be masked
	for i := range m.rules {
		rule := &m.rules[i]
		switch {
		case rule.record == nil:
			r.Claims = nil
			continue
		case rule.record(r) == &r.Detail:
			detail = rule
			continue
		}
		field := rule.record(r)
		plain := *field
		*field = m.mask(rule, plain)
		r.Detail = hidden(r.Detail, plain, cmp.Or(*field, "-"))
	}
	if detail != nil {
		r.Detail = m.mask(detail, r.Detail)
	}
}

// maxQuoted is how much of a text a detail quotes at least, in bytes.
const maxQuoted = 128

// hidden returns the text with another one in the place of what is not to be seen, as it is and as it is quoted.
func hidden(text, plain, instead string) string {
	if text == "" || plain == "" {
		return text
	}
	text = strings.ReplaceAll(text, plain, instead)
	quoted := strconv.QuoteToASCII(plain[:min(len(plain), maxQuoted)])
	return strings.ReplaceAll(text, quoted[1:len(quoted)-1], instead)
}

// Closing masks c in place, as Record does.
func (m *Masker) Closing(c *Closing) {
	if m == nil {
		return
	}
	for i := range m.rules {
		if rule := &m.rules[i]; rule.closing != nil {
			field := rule.closing(c)
			*field = m.mask(rule, *field)
		}
	}
}

// mask returns what is to stand in the place of a value.
func (m *Masker) mask(rule *maskRule, plain string) string {
	if plain == "" || !rule.hmac {
		return ""
	}
	mac := m.macs.Get().(hash.Hash)
	defer m.macs.Put(mac)
	mac.Reset()
	mac.Write([]byte(plain))
	var sum [32]byte
	return maskedPrefix + hex.EncodeToString(mac.Sum(sum[:0])[:16])
}

// masked returns the line with what is to be masked masked, and leaves the line itself as it is.
func (m *Masker) masked(line Line) Line {
	switch line := line.(type) {
	case *Record:
		r := *line
		m.Record(&r)
		return &r
	case *Closing:
		c := *line
		m.Closing(&c)
		return &c
	}
	return line
}
