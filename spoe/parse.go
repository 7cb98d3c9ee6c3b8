package spoe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/negasus/haproxy-spoe-go/frame"
	"github.com/negasus/haproxy-spoe-go/typeddata"
)

// What follows reads foreign bytes: it believes no length before it has seen
// as many bytes, and it allocates for what has come, never for what is said to
// come. Functions called cut return what is at the beginning of b and what
// follows it; on error they return zeros.

const (
	lenPrefix   = 4
	minFrame    = 1 + 4 + 1 + 1 // type, flags, two ids of one byte: anything shorter has made HAProxy spin
	flagFin     = 1
	flagAbort   = 2
	maxMessages = 64  // of one NOTIFY
	maxArgs     = 255 // of one NOTIFY, which SPOP allows one message
)

var (
	errShort    = errors.New("ends too early")
	errHuge     = errors.New("integer beyond 64 bits")
	errNarrow   = errors.New("integer beyond 32 bits")
	errMessages = fmt.Errorf("more than %d messages", maxMessages)
	errArgs     = fmt.Errorf("more than %d arguments", maxArgs)
)

// header is what all frames begin with (SPOE.txt section 3.2).
type header struct {
	kind              frame.Type
	flags             uint32
	streamID, frameID uint64
}

// splitFrame returns the header and the payload of a frame, which begins with
// its length prefix and is complete.
func splitFrame(raw []byte) (h header, payload []byte, err error) {
	if len(raw) < lenPrefix+minFrame {
		return header{}, nil, errShort
	}
	b := raw[lenPrefix:]
	h.kind, h.flags, b = frame.Type(b[0]), binary.BigEndian.Uint32(b[1:]), b[5:]
	if h.streamID, b, err = cutVarint(b); err != nil {
		return header{}, nil, fmt.Errorf("stream id: %w", err)
	}
	if h.frameID, b, err = cutVarint(b); err != nil {
		return header{}, nil, fmt.Errorf("frame id: %w", err)
	}
	return h, b, nil
}

// decode decodes a LIST-OF-MESSAGES (SPOE.txt section 3.2.6). What it returns
// shares the memory of b and of s, and is valid until the next reset.
func (s *scratch) decode(b []byte) ([]Message, error) {
	s.begin()
	left := maxArgs
	for n := 0; len(b) > 0; n++ {
		if n == maxMessages {
			return nil, errMessages
		}
		name, rest, err := cutString(b)
		if err != nil {
			return nil, fmt.Errorf("name of message %d: %w", n, err)
		}
		if len(rest) == 0 {
			return nil, fmt.Errorf("message %d: %w", n, errShort)
		}
		args := int(rest[0])
		if left -= args; left < 0 {
			return nil, errArgs
		}
		rest, i, err := s.decodeArgs(rest[1:], args)
		if err != nil {
			return nil, fmt.Errorf("argument %d of message %d: %w", i, n, err)
		}
		s.messages.add(Message{Name: name, Args: s.args.last(args)}, mostMessages)
		b = rest
	}
	return s.finish(), nil
}

// decodeArgs decodes n arguments. On error it returns the one it is about.
func (s *scratch) decodeArgs(b []byte, n int) (rest []byte, at int, err error) {
	for i := range n {
		var a Arg
		if a.Name, b, err = cutString(b); err != nil {
			return nil, i, fmt.Errorf("name: %w", err)
		}
		if a.Value, b, err = cutValue(b); err != nil {
			return nil, i, fmt.Errorf("value: %w", err)
		}
		s.args.add(a, mostArgs)
	}
	return b, 0, nil
}

// checkList checks a KV-LIST that fills the rest of a frame, for the codec,
// which trusts what it reads: a name longer than its frame and an integer that
// ends too early make it panic, and integers of 32 bits are cut silently.
func checkList(b []byte) (err error) {
	for n := 0; len(b) > 0; n++ {
		if _, b, err = cutString(b); err != nil {
			return fmt.Errorf("item %d: name: %w", n, err)
		}
		if _, b, err = cutValue(b); err != nil {
			return fmt.Errorf("item %d: value: %w", n, err)
		}
	}
	return nil
}

// cutString cuts a STRING: a length and as many bytes, whose memory it shares.
func cutString(b []byte) (s string, rest []byte, err error) {
	v, rest, err := cutText(KindString, b)
	if err != nil {
		return "", nil, err
	}
	s, _ = v.Text()
	return s, rest, nil
}

// cutText cuts a STRING as a Value of the given kind.
func cutText(kind Kind, b []byte) (v Value, rest []byte, err error) {
	n, b, err := cutVarint(b)
	if err != nil {
		return Value{}, nil, err
	}
	return cutRaw(kind, b, n)
}

// cutRaw cuts n bytes as a Value of the given kind.
func cutRaw(kind Kind, b []byte, n uint64) (v Value, rest []byte, err error) {
	if n > uint64(len(b)) {
		return Value{}, nil, errShort
	}
	return raw(kind, b[:n]), b[n:], nil
}

// cutValue cuts a TYPED-DATA (SPOE.txt section 3.1): a byte with the type in
// its lower and flags in its upper four bits, and the datum.
func cutValue(b []byte) (v Value, rest []byte, err error) {
	if len(b) == 0 {
		return Value{}, nil, errShort
	}
	kind, flags, b := b[0]&0x0f, b[0]>>4, b[1:]
	switch kind {
	case typeddata.TypeNull:
		return Value{}, b, nil
	case typeddata.TypeBoolean:
		return Bool(flags&1 != 0), b, nil
	case typeddata.TypeInt32, typeddata.TypeUInt32, typeddata.TypeInt64, typeddata.TypeUInt64:
		return cutInt(kind, b)
	case typeddata.TypeIPv4:
		return cutRaw(KindIPv4, b, 4)
	case typeddata.TypeIPv6:
		return cutRaw(KindIPv6, b, 16)
	case typeddata.TypeString:
		return cutText(KindString, b)
	case typeddata.TypeBinary:
		return cutText(KindBinary, b)
	}
	return Value{}, nil, fmt.Errorf("unknown type %d", kind)
}

// cutInt cuts an integer of one of the four types. A negative INT32 may have
// been widened to 64 bits or not.
func cutInt(kind byte, b []byte) (v Value, rest []byte, err error) {
	u, rest, err := cutVarint(b)
	if err != nil {
		return Value{}, nil, err
	}
	switch kind {
	case typeddata.TypeInt32:
		if i := int64(u); u > math.MaxUint32 && (i >= 0 || i < math.MinInt32) {
			return Value{}, nil, errNarrow
		}
		return Int(int64(int32(u))), rest, nil
	case typeddata.TypeUInt32:
		if u > math.MaxUint32 {
			return Value{}, nil, errNarrow
		}
	case typeddata.TypeUInt64:
		return Uint(u), rest, nil
	}
	return Int(int64(u)), rest, nil
}

// cutVarint cuts an integer (SPOE.txt section 3.1). Each has exactly one
// encoding, of at most 10 bytes.
func cutVarint(b []byte) (u uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errShort
	}
	if b[0] < 240 {
		return uint64(b[0]), b[1:], nil
	}
	return cutLongVarint(b)
}

// cutLongVarint cuts an integer of more than one byte.
func cutLongVarint(b []byte) (u uint64, rest []byte, err error) {
	u = uint64(b[0])
	for i, shift := 1, 4; i < len(b); i, shift = i+1, shift+7 {
		if shift > 60 {
			return 0, nil, errHuge
		}
		part := uint64(b[i]) << shift
		if part>>shift != uint64(b[i]) || u+part < u {
			return 0, nil, errHuge
		}
		u += part
		if b[i] < 128 {
			return u, b[i+1:], nil
		}
	}
	return 0, nil, errShort
}
