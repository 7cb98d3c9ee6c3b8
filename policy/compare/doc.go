// Package compare tells what a change of a policy changes: Diff compares two policies, Replay decides the audit log of yesterday again, and
// WhoCan lists who may make a call.
//
// # Diff and WhoCan
//
// Both look at calls by what rules say about them: methods, models, publishers, endpoints, locations and projects. Conditions on anything
// else, in CEL, on bodies, times and tiers, are taken as they are written: a call that is allowed with a condition is another than one that
// is allowed without, and what the condition means is left to the reader. The callers are those who have one role and no other.
//
// There are more calls than can be looked at, so samples are: every name that the policies spell out, one name for each pattern, and one
// for what two patterns have in common. A rule cannot tell a name from another that all patterns treat alike.
//
// # Replay
//
// A line of the audit log holds what its decision depended on: the claims that the policy used, the call, and what the body said. Replay
// decides it anew and groups what comes out otherwise. It never guesses: a line that lacks something the new policy asks for is counted as
// one that could not be decided again, with the reason. Limits are not part of it.
package compare
