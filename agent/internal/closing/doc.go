// Package closing receives HAProxy's own log, joins each line by its id with the decision that let the call through, and writes one closing
// record for each call: what was decided, and what became of it.
//
// # What HAProxy sends
//
// One syslog message for each request, in RFC 5424 or any other of HAProxy's log formats, with the JSON object of the example's log-format
// as its text. Numbers are taken from it, and nothing else: who called, and why the call was let through, is what this process has decided
// itself. Whoever may write to the socket could invent numbers for an id that they know, and no more.
//
// # Which way loses what
//
//   - A unix datagram socket is the way to prefer: every line leaves HAProxy at once, also from a process that a reload has replaced and that
//     still serves long calls. HAProxy does not wait: when the queue of the socket is full it drops the line and counts it (DroppedLogs of
//     "show info"). The queue holds net.unix.max_dgram_qlen datagrams, whatever their size; the size of the receive buffer does not matter to
//     such a socket. The kernel's own default is 10, with which some lines in a thousand are lost on a busy machine; systemd makes it 512. The
//     value counts that holds when the agent starts. While no agent is there, every line is lost.
//   - UDP holds as many lines as the receive buffer does, of which net.core.rmem_max is the limit; further ones vanish, and HAProxy does not
//     notice. Every process of the host may send to it. Two agents that share the port share the lines, whosesoever they are.
//   - A ring with a "server" over a stream keeps what the agent has not taken yet, up to the size of the ring, and so loses little in bursts and
//     while the agent restarts: the lines that are on their way when the stream ends, and what no longer fits in the second that HAProxy
//     takes to connect again. But a HAProxy process that is told to end sends nothing more of the ring: the lines of all calls that are under
//     way when HAProxy is reloaded are lost, in each version from 2.6 to 3.4; and Debian's 3.0.11 never connects again when the agent has
//     restarted.
//
// A line that was lost is not lost in silence: the decision's closing_missing says so after [Config].Wait.
//
// # One closing for each call
//
// Every allow gets exactly one closing or one closing_missing, as long as this process runs. A call with two attempts has one closing, of
// its latest allow. A decision that was denied has none: its own line is complete. A line whose decision is not known, because another
// process has made it or because it came after its closing_missing, becomes a closing that is marked as unjoined, if HAProxy says that the
// call was allowed.
//
// # When one process replaces another
//
// The new process takes over the path of the socket; what has reached the old one already, it still reads. Over a stream it hands on what
// is not its own, and ends the stream within a second, for HAProxy to connect to the new process. A TCP connection stays with the old process
// until that ends: if two agents are to replace each other in service, let the socket be a unix socket.
//
// Decisions of the old process that have no line by then are left without a closing: their lines go to the new process, which writes them
// as unjoined closings. The old process writes none of them as missing, for it cannot know. If no process follows, the lines of calls that
// were under way go nowhere, and these calls have neither.
package closing
