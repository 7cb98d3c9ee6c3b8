// Package spoe is the agent's side of SPOP, the protocol in which HAProxy asks
// other programs about its streams (doc/SPOE.txt of HAProxy, section 3). It
// serves HAProxy 2.6 to 3.5.
//
// # The protocol on a page
//
// HAProxy connects and says what it can do in a HAPROXY-HELLO; the agent
// answers with an AGENT-HELLO. A health check ends there. Then HAProxy sends
// NOTIFY frames, each with messages, which have a name and named, typed
// arguments. The agent answers each with an ACK, whose actions set and unset
// variables of HAProxy. Either side may end the connection with a DISCONNECT
// that has a status, or just close it.
//
//	HAProxy                                          agent
//	  HAPROXY-HELLO  2.0, 16380, "pipelining,async" ──▶
//	  ◀── AGENT-HELLO  2.0, 16380, "pipelining"
//	  NOTIFY  stream 7, frame 1: authorize(src=…, …) ──▶
//	  ◀── ACK  stream 7, frame 1: set txn.decision "allow"
//	  HAPROXY-DISCONNECT  2 "a timeout occurred" ──▶
//	  ◀── AGENT-DISCONNECT  0 "normal", and close
//
// A frame is a length of 4 bytes and as many bytes: type (1), flags (4), stream
// id and frame id (1 to 10 each), payload. Both sides agree on a greatest length
// in the HELLOs. With pipelining HAProxy has many NOTIFYs in flight on a
// connection and takes their ACKs in any order; without, one: if it sends
// another, it has given up the last. It keeps idle connections for later.
//
// # What HAProxy does with answers
//
// HAProxy waits for an ACK for `timeout processing`. When none comes, and when
// it cannot read what came, it goes on without: what must not fail open needs a
// variable that only a good answer sets. It applies actions in order up to the
// first that it cannot read, and takes an ACK that sets nothing for a success.
//
// It looks closely at little, and some versions lose a connection, a stream or
// themselves over what they do not expect. So a [Server] writes only whole
// frames, less than 16,000 bytes at once, an ACK never without an action, and
// none after its time: what has begun to leave before is finished, which may
// take another [Config].Timeout where HAProxy does not read. It announces
// pipelining only to those who can bear it and guards their connections (see
// [Pipelining]).
//
// Without pipelining HAProxy waits for its last NOTIFY alone. So a NOTIFY that
// begins, complete or not, ends the one before it, and where more waits behind a
// NOTIFY that was read, that is read before anything is answered: of the NOTIFYs
// that gather while the agent is stopped, the last is answered. The kernel is
// asked what waits only after a read that took all it had room for or ended
// within a frame, at most 64 times before an answer, and on TLS never, where
// those that came in a read before the last may be answered as well. A NOTIFY
// with the ABORT flag is not handled and not answered. The time that HAProxy may
// put into a NOTIFY is not held against its deadline, which counts from the read
// that brought it: it is read from a clock that can be set, or is another host's.
//
// # Limits
//
// A frame longer than negotiated, a frame that stays incomplete for 5 seconds, a
// HELLO that does, and everything that SPOE.txt does not describe end their
// connection, with the status that SPOE.txt has for it. Connections and NOTIFYs
// in flight are bounded by [Config], messages by 64 and arguments by 255 for
// each NOTIFY, and answers that HAProxy does not read, those being written
// included, by 4 MiB for each connection, beyond which it is closed. Nothing but
// the number of connections bounds those of all together. An idle connection
// costs a goroutine and some 20 kB, up to its longest frame more once that has
// come, and up to 128 kB once many answers were written together.
//
// One connection more than that closes one that has not said HELLO, or the one
// that has been idle for longest: those who connect and say nothing do not keep
// HAProxy out.
//
// # Handing over
//
// A new agent listens at the address of the old one, and the old one is shut
// down. That serves those who have connected to it, even if nobody has accepted
// them yet, as far as the socket allows. Of a unix socket nobody is lost. Of a
// TCP address, the kernel resets who connects at the very moment at which the
// old agent closes its socket, unless net.ipv4.tcp_migrate_req is set, and
// HAProxy has to ask again. Who waits on a socket of systemd is left to the next
// agent. Each connection is closed after an answer, or when nothing has come on
// it for 200 ms; one without a HELLO has as long to say it.
//
// # Memory
//
// What a read brought is decoded where it is: a [Notify] shares the memory of
// its connection, which is written over once all that came with it has its
// reply. Where a reply takes longer than the next read, that read goes into
// memory of its own. So a NOTIFY in flight keeps at most a frame of the
// negotiated size and 26 kB of what is decoded from it, whatever it has in it
// and whatever came with it. Its reply lets go of both, even where the ACK then
// waits. A NOTIFY that is answered before the next read costs two small
// allocations. They are not pooled, because a [Reply] that is called twice must
// not find another NOTIFY in the place of its own.
//
// # The codec
//
// HELLOs and DISCONNECTs are read and written by
// github.com/negasus/haproxy-spoe-go, which trusts its input: that is checked
// before. NOTIFYs are read and ACKs are written here, without allocations; fuzz
// tests hold both against that codec.
package spoe
