package spoe

import "slices"

// Reason says why the server refused a connection, a frame or an answer, or why
// it lost one. It is what [Hooks.Error] counts and what log lines carry.
type Reason string

// The reasons, by what they end.
const (
	// A connection that was not let in.
	ReasonAccept         Reason = "ACCEPT_FAILED"    // the listener failed for now: out of descriptors or memory
	ReasonConnLimit      Reason = "CONNECTION_LIMIT" // Config.MaxConns
	ReasonConnShed       Reason = "CONNECTION_SHED"  // idle, and closed because another one needs its place
	ReasonPeer           Reason = "PEER_REFUSED"     // Config.PeerUIDs
	ReasonNotSPOP        Reason = "NOT_SPOP"         // another protocol, or noise
	ReasonHelloTimeout   Reason = "HELLO_TIMEOUT"    // no complete HELLO in time
	ReasonHelloRefused   Reason = "HELLO_REFUSED"    // no common version, frame size or form
	ReasonFrameTimeout   Reason = "FRAME_TIMEOUT"    // a frame stayed incomplete
	ReasonFrameTooBig    Reason = "FRAME_TOO_BIG"    // longer than negotiated
	ReasonFrameInvalid   Reason = "FRAME_INVALID"    // not what SPOE.txt describes
	ReasonFragmented     Reason = "FRAME_FRAGMENTED" // fragmentation was not announced
	ReasonWriteFailed    Reason = "WRITE_FAILED"     // the peer did not take what was written in time
	ReasonWriteQueueFull Reason = "WRITE_QUEUE_FULL" // the peer does not read its answers
	ReasonWedge          Reason = "WEDGE"            // HAProxy has stopped reading its answers, or is about to
	ReasonServerPanic    Reason = "SERVER_PANIC"     // Config.EndBatch panicked; or another hook did, which ends nothing

	// A NOTIFY that got the answer of Config.Overload.
	ReasonInFlightLimit     Reason = "IN_FLIGHT_LIMIT"      // Config.MaxInFlight
	ReasonConnInFlightLimit Reason = "CONN_IN_FLIGHT_LIMIT" // Config.MaxInFlightPerConn
	ReasonHandlerPanic      Reason = "HANDLER_PANIC"
	ReasonAnswerEmpty       Reason = "ANSWER_EMPTY"   // no actions
	ReasonAnswerInvalid     Reason = "ANSWER_INVALID" // an action without kind or scope, or with a name that HAProxy cannot have
	ReasonAnswerTooBig      Reason = "ANSWER_TOO_BIG"

	// A NOTIFY without an answer.
	ReasonLate         Reason = "ANSWER_LATE"       // its deadline passed
	ReasonSuperseded   Reason = "ANSWER_SUPERSEDED" // HAProxy has given it up
	ReasonConnGone     Reason = "CONNECTION_GONE"
	ReasonUnanswerable Reason = "UNANSWERABLE" // Config.Overload has no answer that can be encoded
)

// Reasons returns all reasons, sorted.
func Reasons() []Reason {
	all := []Reason{
		ReasonAccept, ReasonConnLimit, ReasonConnShed, ReasonPeer, ReasonNotSPOP, ReasonHelloTimeout, ReasonHelloRefused,
		ReasonFrameTimeout, ReasonFrameTooBig, ReasonFrameInvalid, ReasonFragmented, ReasonWriteFailed,
		ReasonWriteQueueFull, ReasonWedge, ReasonServerPanic, ReasonInFlightLimit, ReasonConnInFlightLimit,
		ReasonHandlerPanic, ReasonAnswerEmpty, ReasonAnswerInvalid, ReasonAnswerTooBig, ReasonLate,
		ReasonSuperseded, ReasonConnGone, ReasonUnanswerable,
	}
	slices.Sort(all)
	return all
}
