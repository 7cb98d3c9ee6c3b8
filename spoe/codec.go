package spoe

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/negasus/haproxy-spoe-go/frame"
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

// readFrame lets the codec read one complete frame. After checkList it panics
// over nothing but HELLO items of another type than it wants; whatever it
// panics over is an error of the frame.
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
