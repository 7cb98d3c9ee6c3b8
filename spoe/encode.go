package spoe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/negasus/haproxy-spoe-go/action"
	"github.com/negasus/haproxy-spoe-go/frame"
	"github.com/negasus/haproxy-spoe-go/typeddata"
)

// maxWrite is how many bytes may be written at once, and so the longest ACK
// with its length prefix. HAProxy 3.1 and later stop reading a connection for
// good when tune.bufsize bytes, 16384 by default, wait on it unread.
const maxWrite = 15_999

// maxName is the longest name of a variable. HAProxy has room for 63 characters
// of "scope.prefix.name". What the prefix is stands in its configuration alone,
// but it has at least one character.
const maxName = 63 - len("sess.p.")

// unencodable is an answer that cannot be sent.
type unencodable struct {
	reason Reason
	cause  string
}

func (e *unencodable) Error() string { return e.cause }

// appendAck appends an ACK frame (SPOE.txt section 3.2.7) whose length, without
// its prefix, is at most limit. On error it returns dst as it was.
func appendAck(dst []byte, streamID, frameID uint64, actions []Action, limit int) ([]byte, error) {
	if len(actions) == 0 {
		// HAProxy 3.1.0 takes an empty ACK for none, and all others for a success.
		return dst, &unencodable{ReasonAnswerEmpty, "no actions"}
	}
	start := len(dst)
	b := append(dst, 0, 0, 0, 0, byte(frame.TypeAgentAck), 0, 0, 0, flagFin)
	b = appendVarint(b, streamID)
	b = appendVarint(b, frameID)
	for _, a := range actions {
		var err error
		if b, err = appendAction(b, a); err != nil {
			return dst, err
		}
		if n := len(b) - start - lenPrefix; n > limit {
			return dst, &unencodable{ReasonAnswerTooBig, fmt.Sprintf("%d actions, more than %d bytes", len(actions), limit)}
		}
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-lenPrefix))
	return b, nil
}

// appendAction appends one action (SPOE.txt section 3.4).
func appendAction(dst []byte, a Action) ([]byte, error) {
	if a.op != action.TypeSetVar && a.op != action.TypeUnsetVar {
		return nil, &unencodable{ReasonAnswerInvalid, "an action that neither sets nor unsets"}
	}
	if a.scope > ScopeResponse {
		return nil, &unencodable{ReasonAnswerInvalid, fmt.Sprintf("variable %q in %v", clip(a.name), a.scope)}
	}
	if len(a.name)+a.value.size() > maxWrite {
		// Refused here, before it is copied.
		return nil, &unencodable{ReasonAnswerTooBig, fmt.Sprintf("variable %q is longer than %d bytes", clip(a.name), maxWrite)}
	}
	if !isName(a.name) {
		return nil, &unencodable{ReasonAnswerInvalid, fmt.Sprintf("%q is no name of a variable", clip(a.name))}
	}
	if a.op == action.TypeUnsetVar {
		// Nothing behind the name: HAProxy would take it for the next action, and
		// stop.
		return appendString(append(dst, byte(a.op), 2, byte(a.scope)), a.name), nil
	}
	dst = appendString(append(dst, byte(a.op), 3, byte(a.scope)), a.name)
	switch v := a.value; v.kind {
	case KindBool:
		return append(dst, typeddata.TypeBoolean|byte(v.num)<<4), nil
	case KindInt:
		return appendVarint(append(dst, typeddata.TypeInt64), uint64(v.num)), nil
	case KindString:
		s, _ := v.Text()
		return appendString(append(dst, typeddata.TypeString), s), nil
	}
	return nil, &unencodable{ReasonAnswerInvalid, fmt.Sprintf("variable %q set to %v", clip(a.name), a.value)}
}

// isName reports whether HAProxy can have a variable called s. It would cut a
// longer name and set another variable, or none, and it knows no name with other
// characters.
func isName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', c == '_', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.':
		default:
			return false
		}
	}
	return true
}

func appendString(dst []byte, s string) []byte {
	return append(appendVarint(dst, uint64(len(s))), s...)
}

// appendVarint is the inverse of cutVarint.
func appendVarint(dst []byte, u uint64) []byte {
	if u < 240 {
		return append(dst, byte(u))
	}
	dst = append(dst, byte(u)|0xf0)
	for u = (u - 240) >> 4; u >= 128; u = (u - 128) >> 7 {
		dst = append(dst, byte(u)|0x80)
	}
	return append(dst, byte(u))
}

// clip returns s, cut to a length that suits a log line.
func clip(s string) string { return s[:min(len(s), 64)] }

// encodeHello returns an AGENT-HELLO frame (SPOE.txt section 3.2.5).
func encodeHello(maxFrameSize uint32, capabilities string) ([]byte, error) {
	return encodeList(frame.TypeAgentHello, func(f *frame.Frame) {
		f.KV.Add("version", "2.0")
		f.KV.Add("max-frame-size", maxFrameSize)
		f.KV.Add("capabilities", capabilities)
	})
}

// encodeDisconnect returns an AGENT-DISCONNECT frame (SPOE.txt section 3.2.9).
func encodeDisconnect(s status) ([]byte, error) {
	return encodeList(frame.TypeAgentDisconnect, func(f *frame.Frame) {
		f.KV.Add("status-code", uint32(s))
		f.KV.Add("message", s.String())
	})
}

// encodeList returns a frame whose payload is a KV-LIST. The codec writes the
// length and the rest separately, and HAProxy 3.2 resets a connection whose
// HELLO comes in pieces: hence the buffer between the two.
func encodeList(t frame.Type, fill func(*frame.Frame)) ([]byte, error) {
	f := frame.AcquireFrame()
	defer frame.ReleaseFrame(f)
	f.Type = t
	fill(f)
	var b bytes.Buffer
	if _, err := f.Encode(&b); err != nil {
		return nil, errors.New("cannot encode " + frameName(t) + ": " + err.Error())
	}
	return b.Bytes(), nil
}
