package spoe

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"unsafe"
)

// Kind says what a [Value] holds.
type Kind uint8

// The kinds of a Value. The four integer types of SPOP are one kind here.
const (
	KindNull   Kind = iota // no value: HAProxy's sample was absent
	KindBool               // true or false
	KindInt                // a signed or unsigned integer of 32 or 64 bits
	KindIPv4               // 4 raw bytes
	KindIPv6               // 16 raw bytes
	KindString             // text, in whatever encoding HAProxy found it
	KindBinary             // bytes
)

// String returns the name of the kind in lower case.
func (k Kind) String() string {
	names := [...]string{"null", "bool", "int", "ipv4", "ipv6", "string", "binary"}
	if int(k) < len(names) {
		return names[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Value is one typed datum of SPOP (SPOE.txt section 3.1): an argument of a
// message, or what an action sets. The zero Value is null.
//
// A Value may be a password or a token, so that no verb of package fmt ever
// prints its content, only its kind and length. Its content sits behind a
// pointer, because fmt does not call methods on the unexported fields of a
// struct that has a Value in it.
//
// The content of an argument belongs to its [Notify]: it is valid until the
// reply is called, and must not be modified. Clone what has to live longer.
type Value struct {
	kind Kind
	huge bool  // KindInt: an unsigned number above math.MaxInt64
	num  int64 // KindBool: 0 or 1; KindInt: the number; else the length of data
	data *byte
}

// Bool returns a Value of KindBool.
func Bool(b bool) Value {
	v := Value{kind: KindBool}
	if b {
		v.num = 1
	}
	return v
}

// Int returns a Value of KindInt.
func Int(i int64) Value { return Value{kind: KindInt, num: i} }

// Uint returns a Value of KindInt. Above math.MaxInt64 the number itself is
// lost: [Value.Int] then reports that there is none, rather than a wrapped one.
func Uint(u uint64) Value {
	if u > math.MaxInt64 {
		return Value{kind: KindInt, huge: true}
	}
	return Int(int64(u))
}

// Text returns a Value of KindString, which shares the memory of s.
func Text(s string) Value {
	if s == "" {
		return Value{kind: KindString} // its StringData would be unspecified
	}
	return Value{kind: KindString, num: int64(len(s)), data: unsafe.StringData(s)}
}

// Binary returns a Value of KindBinary, which shares the memory of b.
func Binary(b []byte) Value { return raw(KindBinary, b) }

// Addr returns a Value of KindIPv4 or KindIPv6, and null for the zero address.
// An IPv6 zone is lost.
func Addr(a netip.Addr) Value {
	switch b := a.AsSlice(); len(b) {
	case 4:
		return raw(KindIPv4, b)
	case 16:
		return raw(KindIPv6, b)
	}
	return Value{}
}

func raw(kind Kind, b []byte) Value {
	return Value{kind: kind, num: int64(len(b)), data: unsafe.SliceData(b)}
}

// Kind returns what v holds.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether v holds nothing. An empty string is not null.
func (v Value) IsNull() bool { return v.kind == KindNull }

// Bool returns the boolean in v, and false where v is of another kind.
func (v Value) Bool() (b, ok bool) { return v.kind == KindBool && v.num == 1, v.kind == KindBool }

// Int returns the integer in v. It reports false where v is of another kind
// and where the number does not fit.
func (v Value) Int() (i int64, ok bool) {
	if v.kind != KindInt || v.huge {
		return 0, false
	}
	return v.num, true
}

// Addr returns the IP address in v as HAProxy sent it: an IPv4 address of an
// IPv6 socket stays mapped.
func (v Value) Addr() (a netip.Addr, ok bool) {
	if v.kind != KindIPv4 && v.kind != KindIPv6 {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(v.bytes())
}

// Text returns the text of a Value of KindString. It is not checked to be
// UTF-8. See [Value] for how long it lives.
func (v Value) Text() (s string, ok bool) {
	if v.kind != KindString {
		return "", false
	}
	return unsafe.String(v.data, int(v.num)), true
}

// Bytes returns the content of a Value of KindString or KindBinary. The caller
// must not write to it. See [Value] for how long it lives.
func (v Value) Bytes() (b []byte, ok bool) {
	if v.kind != KindString && v.kind != KindBinary {
		return nil, false
	}
	return v.bytes(), true
}

// size returns how many bytes v keeps behind its pointer.
func (v Value) size() int {
	switch v.kind {
	case KindIPv4, KindIPv6, KindString, KindBinary:
		return int(v.num)
	}
	return 0
}

// bytes returns the content of the kinds that keep it in data.
func (v Value) bytes() []byte { return unsafe.Slice(v.data, int(v.num)) }

// Equal reports whether v and w have the same kind and content.
func (v Value) Equal(w Value) bool {
	if v.kind != w.kind || v.huge != w.huge || v.num != w.num {
		return false
	}
	return v.size() == 0 || bytes.Equal(v.bytes(), w.bytes())
}

// String returns the kind and, where it varies, the length of v; never the
// content.
func (v Value) String() string {
	switch v.kind {
	case KindString, KindBinary:
		return v.kind.String() + "(" + strconv.FormatInt(v.num, 10) + ")"
	}
	return v.kind.String()
}

// Format implements [fmt.Formatter]: every verb prints [Value.String].
func (v Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, v.String()) }
