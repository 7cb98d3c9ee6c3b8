package spoe

import "strings"

// Notify is one request of HAProxy: a NOTIFY frame (SPOE.txt section 3.2.6).
// It is read-only and, with everything in it, valid until its reply is called.
type Notify struct {
	streamID uint64
	frameID  uint64
	engineID string
	messages []Message
	mark     mark
}

// mark is a Notify's name for [Config.Withheld].
type mark struct {
	set    bool
	number int64
	size   int
	short  [64]byte
	long   string // of one that does not fit
}

// Mark names a NOTIFY for [Config.Withheld], which is not told of one that has
// no name. The text is copied. Mark must be called before the reply.
func (n *Notify) Mark(text string, number int64) {
	n.mark = mark{set: true, number: number}
	if len(text) > len(n.mark.short) {
		n.mark.long = strings.Clone(text)
		return
	}
	n.mark.size = copy(n.mark.short[:], text)
}

// text returns what was marked.
func (m *mark) text() string {
	if m.long != "" {
		return m.long
	}
	return string(m.short[:m.size])
}

// NewNotify returns a Notify for a test of a [Handler]. It keeps messages.
func NewNotify(streamID, frameID uint64, engineID string, messages ...Message) *Notify {
	return &Notify{streamID: streamID, frameID: frameID, engineID: engineID, messages: messages}
}

// StreamID returns HAProxy's number of the stream. Together with the frame id
// it is unique among what one connection has in flight, and nothing more: from
// HAProxy 3.1 on each connection counts anew.
func (n *Notify) StreamID() uint64 { return n.streamID }

// FrameID returns HAProxy's number of the frame inside the stream.
func (n *Notify) FrameID() uint64 { return n.frameID }

// EngineID returns the name that HAProxy gave its engine in the handshake. It
// may be empty, and identifies no request.
func (n *Notify) EngineID() string { return n.engineID }

// Messages returns the messages in HAProxy's order. There may be none: HAProxy
// 3.1.0 to 3.2.4 send such frames, which want an answer too.
func (n *Notify) Messages() []Message { return n.messages }

// Message is one message of a NOTIFY, named by its spoe-message section.
type Message struct {
	Name string
	Args []Arg // in HAProxy's order, at most 255
}

// Arg returns the value of the first argument called name, and whether there
// is one. An argument whose sample was absent is there, and null.
func (m *Message) Arg(name string) (Value, bool) {
	for i := range m.Args {
		if m.Args[i].Name == name {
			return m.Args[i].Value, true
		}
	}
	return Value{}, false
}

// Arg is one argument of a message. The name is empty where the configuration
// gave none.
type Arg struct {
	Name  string
	Value Value
}
