// Package trail answers questions of audit files: who used which model, what a subject used, who used the most, which grants nobody uses,
// and what is happening now.
//
// # What is counted
//
// A call is a decision that let a caller through, a denial one that did not. Three things keep the count honest. HAProxy may ask twice about
// one request: of the decisions with one id, the one with the highest attempt counts. A decision that HAProxy has never had, which an
// "undelivered" line says, counts as neither. And a line that stands in the files twice counts once.
//
// Tokens, bytes and seconds come from closing lines. They are joined with their decisions by id, so that both are counted under the same
// name and in the same period. What a closing does not know, or what no closing tells, is unknown and never zero.
//
// All of this looks back over the last 1,048,576 decisions, in the order in which the files were written. What lies further apart is
// counted by what its own line says, and what cannot be counted so is told in Notes.
//
// # Bounds
//
// Memory does not grow with the files: it is a few buffers, the decisions looked back upon (about 100 MB), and one row for each different
// answer. There may be 1,000,000 of these, which take less than 1 GB, and 256 MiB of their names; an answer that needs more is refused with
// ErrTooMany rather than given approximately. A line may have 1 MiB.
//
// Files are foreign. A line that is torn, is not JSON, has another version or contradicts the schema is counted in Notes, and the others
// stand. Whatever a file says is printed without control characters: see Clean.
package trail
