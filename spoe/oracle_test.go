package spoe

import (
	"fmt"
	"math"
	"net"

	"github.com/negasus/haproxy-spoe-go/message"
	"github.com/negasus/haproxy-spoe-go/typeddata"
)

// The codec's decoder is what ours is held against. It trusts its input, so
// that checkMessages says which inputs mean something to it: on the others it
// panics, allocates by the peer's word or invents values.

// decodeNotify decodes a NOTIFY frame as a connection does.
func decodeNotify(raw []byte, engineID string) (*Notify, error) {
	h, payload, err := splitFrame(raw)
	if err != nil {
		return nil, err
	}
	messages, err := new(scratch).decode(payload)
	if err != nil {
		return nil, err
	}
	return &Notify{streamID: h.streamID, frameID: h.frameID, engineID: engineID, messages: messages}, nil
}

// codecNotify decodes a NOTIFY frame with the codec.
func codecNotify(raw []byte, engineID string) (*Notify, error) {
	f, err := readFrame(raw)
	if err != nil {
		return nil, err
	}
	n := &Notify{streamID: f.StreamID, frameID: f.FrameID, engineID: engineID}
	for _, m := range *f.Messages {
		decoded, err := codecMessage(m)
		if err != nil {
			return nil, err
		}
		n.messages = append(n.messages, decoded)
	}
	return n, nil
}

func codecMessage(m *message.Message) (Message, error) {
	out := Message{Name: m.Name}
	for _, item := range m.KV.Data() {
		v, err := codecValue(item.Value)
		if err != nil {
			return Message{}, err
		}
		out.Args = append(out.Args, Arg{Name: item.Name, Value: v})
	}
	return out, nil
}

// codecValue returns what the codec made of a TYPED-DATA.
func codecValue(v any) (Value, error) {
	switch v := v.(type) {
	case nil:
		return Value{}, nil
	case bool:
		return Bool(v), nil
	case int32:
		return Int(int64(v)), nil
	case uint32:
		return Int(int64(v)), nil
	case int64:
		return Int(v), nil
	case uint64:
		return Uint(v), nil
	case net.IP:
		switch len(v) {
		case net.IPv4len:
			return raw(KindIPv4, v), nil
		case net.IPv6len:
			return raw(KindIPv6, v), nil
		}
	case string:
		return Text(v), nil
	case []byte:
		return Binary(v), nil
	}
	return Value{}, fmt.Errorf("value of unknown type %T", v)
}

// checkMessages checks a LIST-OF-MESSAGES, and is on purpose another piece of
// code than decodes it.
func checkMessages(b []byte) (err error) {
	all := 0
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
		if all += args; all > maxArgs {
			return errArgs
		}
		b = b[1:]
		for i := range args {
			if b, err = skipString(b); err != nil {
				return fmt.Errorf("argument %d of message %d: name: %w", i, n, err)
			}
			if b, err = skipValue(b); err != nil {
				return fmt.Errorf("argument %d of message %d: value: %w", i, n, err)
			}
		}
	}
	return nil
}

// skipString returns what follows a STRING.
func skipString(b []byte) ([]byte, error) {
	n, size, err := varintAt(b)
	if err != nil {
		return nil, err
	}
	if n > uint64(len(b)-size) {
		return nil, errShort
	}
	return b[size+int(n):], nil
}

// skipValue returns what follows a TYPED-DATA.
func skipValue(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, errShort
	}
	kind, b, size := b[0]&0x0f, b[1:], 0
	switch kind {
	case typeddata.TypeNull, typeddata.TypeBoolean:
	case typeddata.TypeInt32, typeddata.TypeUInt32, typeddata.TypeInt64, typeddata.TypeUInt64:
		u, n, err := varintAt(b)
		if err != nil {
			return nil, err
		}
		if kind == typeddata.TypeUInt32 && u > math.MaxUint32 {
			return nil, errNarrow
		}
		if i := int64(u); kind == typeddata.TypeInt32 && u > math.MaxUint32 && int64(int32(i)) != i {
			return nil, errNarrow
		}
		size = n
	case typeddata.TypeIPv4:
		size = 4
	case typeddata.TypeIPv6:
		size = 16
	case typeddata.TypeString, typeddata.TypeBinary:
		return skipString(b)
	default:
		return nil, fmt.Errorf("unknown type %d", kind)
	}
	if size > len(b) {
		return nil, errShort
	}
	return b[size:], nil
}

// varintAt returns the integer that b begins with and its length on the wire.
func varintAt(b []byte) (u uint64, size int, err error) {
	for size < len(b) {
		shift := max(0, 7*size-3)
		if shift > 60 {
			return 0, 0, errHuge
		}
		grown := u + uint64(b[size])<<shift
		if uint64(b[size])<<shift>>shift != uint64(b[size]) || grown < u {
			return 0, 0, errHuge
		}
		u = grown
		size++
		if size == 1 && b[0] < 240 || size > 1 && b[size-1] < 128 {
			return u, size, nil
		}
	}
	return 0, 0, errShort
}

// errOf returns the text of err, or nothing.
func errOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
