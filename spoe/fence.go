package spoe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/negasus/haproxy-spoe-go/frame"
	"github.com/negasus/haproxy-spoe-go/typeddata"
)

// The fence is what a frame must pass before the codec sees it. The codec
// trusts its input: a length of 0 makes it allocate 4 GiB and every other
// length is allocated before a byte has come; an incomplete integer, a name
// longer than its frame or a short address make it panic; an incomplete
// integer at the end of a value is read as 0, and 32-bit integers are cut
// silently.

const (
	lenPrefix   = 4
	minFrame    = 1 + 4 + 1 + 1 // type, flags, two ids of one byte: anything shorter has made HAProxy spin
	flagFin     = 1
	maxMessages = 64 // of one NOTIFY; each costs the codec some hundred bytes, and may be 2 on the wire
)

var (
	errShort    = errors.New("ends too early")
	errHuge     = errors.New("integer beyond 64 bits")
	errNarrow   = errors.New("integer beyond 32 bits")
	errMessages = fmt.Errorf("more than %d messages", maxMessages)
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

// checkMessages checks a LIST-OF-MESSAGES.
func checkMessages(b []byte) (err error) {
	for n := 0; len(b) > 0; n++ {
		if n == maxMessages {
			return errMessages
		}
		if b, err = skipString(b); err != nil {
			return fmt.Errorf("name of message %d: %w", n, err)
		}
		if len(b) == 0 {
			return fmt.Errorf("message %d: %w", n, errShort)
		}
		args := int(b[0])
		b = b[1:]
		for i := range args {
			if b, err = skipItem(b); err != nil {
				return fmt.Errorf("argument %d of message %d: %w", i, n, err)
			}
		}
	}
	return nil
}

// checkList checks a KV-LIST that fills the rest of a frame.
func checkList(b []byte) (err error) {
	for n := 0; len(b) > 0; n++ {
		if b, err = skipItem(b); err != nil {
			return fmt.Errorf("item %d: %w", n, err)
		}
	}
	return nil
}

// skipItem returns what follows a KV-NAME and its KV-VALUE.
func skipItem(b []byte) (rest []byte, err error) {
	if rest, err = skipString(b); err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	if rest, err = skipValue(rest); err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return rest, nil
}

// skipString returns what follows a STRING: a length and as many bytes.
func skipString(b []byte) (rest []byte, err error) {
	n, b, err := cutVarint(b)
	if err != nil {
		return nil, err
	}
	return skipBytes(b, n)
}

func skipBytes(b []byte, n uint64) (rest []byte, err error) {
	if n > uint64(len(b)) {
		return nil, errShort
	}
	return b[n:], nil
}

// skipValue returns what follows a TYPED-DATA (SPOE.txt section 3.1). The type
// is in the lower four bits of the first byte.
func skipValue(b []byte) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, errShort
	}
	kind, b := b[0]&0x0f, b[1:]
	switch kind {
	case typeddata.TypeNull, typeddata.TypeBoolean:
		return b, nil
	case typeddata.TypeInt32, typeddata.TypeUInt32, typeddata.TypeInt64, typeddata.TypeUInt64:
		u, rest, err := cutVarint(b)
		if err == nil && !fits(kind, u) {
			err = errNarrow
		}
		if err != nil {
			return nil, err
		}
		return rest, nil
	case typeddata.TypeIPv4:
		return skipBytes(b, 4)
	case typeddata.TypeIPv6:
		return skipBytes(b, 16)
	case typeddata.TypeString, typeddata.TypeBinary:
		return skipString(b)
	}
	return nil, fmt.Errorf("unknown type %d", kind)
}

// fits reports whether an integer of the wire survives the codec's conversion.
// A negative INT32 may have been widened to 64 bits or not.
func fits(kind byte, u uint64) bool {
	switch kind {
	case typeddata.TypeInt32:
		return u <= math.MaxUint32 || int64(u) < 0 && int64(u) >= math.MinInt32
	case typeddata.TypeUInt32:
		return u <= math.MaxUint32
	}
	return true
}

// cutVarint returns the integer that b begins with and what follows it
// (SPOE.txt section 3.1). Each integer has exactly one encoding, of at most 10
// bytes. On error it returns zeros.
func cutVarint(b []byte) (u uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errShort
	}
	u = uint64(b[0])
	if u < 240 {
		return u, b[1:], nil
	}
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
