package spoe

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/negasus/haproxy-spoe-go/frame"
	"github.com/negasus/haproxy-spoe-go/message"
)

// frameName returns SPOE.txt's name of a frame type (section 3.2.2).
func frameName(t frame.Type) string {
	switch t {
	case frame.TypeUnset:
		return "UNSET"
	case frame.TypeHaproxyHello:
		return "HAPROXY-HELLO"
	case frame.TypeHaproxyDisconnect:
		return "HAPROXY-DISCONNECT"
	case frame.TypeNotify:
		return "NOTIFY"
	case frame.TypeAgentHello:
		return "AGENT-HELLO"
	case frame.TypeAgentDisconnect:
		return "AGENT-DISCONNECT"
	case frame.TypeAgentAck:
		return "ACK"
	}
	return "UNKNOWN"
}

// hello is a HAPROXY-HELLO (SPOE.txt section 3.2.4). Empty pointers are items
// that were not there.
type hello struct {
	versions     *string
	maxFrameSize *uint32
	capabilities *string
	engineID     string
	healthcheck  bool
}

// decodeHello decodes a complete HAPROXY-HELLO frame with its length prefix.
func decodeHello(raw []byte) (hello, error) {
	f, err := decodeList(raw)
	if err != nil {
		return hello{}, err
	}
	defer frame.ReleaseFrame(f)
	if f.StreamID != 0 || f.FrameID != 0 {
		return hello{}, fmt.Errorf("stream id %d and frame id %d of a HELLO are not 0", f.StreamID, f.FrameID)
	}
	h := hello{engineID: f.EngineID, healthcheck: f.Healthcheck}
	if h.versions, err = item[string](f, "supported-versions"); err != nil {
		return hello{}, err
	}
	if h.maxFrameSize, err = item[uint32](f, "max-frame-size"); err != nil {
		return hello{}, err
	}
	if h.capabilities, err = item[string](f, "capabilities"); err != nil {
		return hello{}, err
	}
	return h, nil
}

// decodeDisconnect decodes a complete HAPROXY-DISCONNECT frame with its length
// prefix. What it lacks is zero.
func decodeDisconnect(raw []byte) (s status, text string, err error) {
	f, err := decodeList(raw)
	if err != nil {
		return 0, "", err
	}
	defer frame.ReleaseFrame(f)
	code, err := item[uint32](f, "status-code")
	if err != nil {
		return 0, "", err
	}
	message, err := item[string](f, "message")
	if err != nil {
		return 0, "", err
	}
	if code != nil {
		s = status(*code)
	}
	if message != nil {
		text = *message
	}
	return s, text, nil
}

// decodeList decodes a frame whose payload is a KV-LIST. The caller releases it.
func decodeList(raw []byte) (*frame.Frame, error) {
	_, payload, err := splitFrame(raw)
	if err != nil {
		return nil, err
	}
	if err := checkList(payload); err != nil {
		return nil, err
	}
	return readFrame(raw)
}

// item returns the value of a KV-LIST's first item called key, or nil.
func item[T any](f *frame.Frame, key string) (*T, error) {
	v, ok := f.KV.Get(key)
	if !ok {
		return nil, nil
	}
	t, ok := v.(T)
	if !ok {
		return nil, fmt.Errorf("%s is a %T", key, v)
	}
	return &t, nil
}

// decodeNotify decodes a complete NOTIFY frame with its length prefix.
func decodeNotify(raw []byte, engineID string) (*Notify, error) {
	_, payload, err := splitFrame(raw)
	if err != nil {
		return nil, err
	}
	if err := checkMessages(payload); err != nil {
		return nil, err
	}
	f, err := readFrame(raw)
	if err != nil {
		return nil, err
	}
	defer frame.ReleaseFrame(f)
	n := &Notify{streamID: f.StreamID, frameID: f.FrameID, engineID: engineID}
	if f.Messages.Len() > 0 {
		n.messages = make([]Message, f.Messages.Len())
	}
	for i, m := range *f.Messages {
		if n.messages[i], err = decodeMessage(m); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func decodeMessage(m *message.Message) (Message, error) {
	items := m.KV.Data()
	out := Message{Name: m.Name}
	if len(items) > 0 {
		out.Args = make([]Arg, len(items))
	}
	for i, item := range items {
		v, err := decodeValue(item.Value)
		if err != nil {
			return Message{}, err
		}
		out.Args[i] = Arg{Name: item.Name, Value: v}
	}
	return out, nil
}

// decodeValue returns what the codec made of a TYPED-DATA.
func decodeValue(v any) (Value, error) {
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

// readFrame lets the codec read one complete frame. A frame that has passed
// the fence should not make it panic, except for HELLO items of another type
// than the codec wants; if it does panic, that is an error of the frame.
func readFrame(raw []byte) (f *frame.Frame, err error) {
	defer func() {
		if recover() != nil {
			// The panic's text may quote the frame, and the frame may be half
			// filled: neither is used again.
			f, err = nil, errors.New("the codec cannot read it")
		}
	}()
	f = frame.AcquireFrame()
	if err := f.Read(bytes.NewReader(raw)); err != nil {
		frame.ReleaseFrame(f)
		return nil, err
	}
	return f, nil
}
