package audit

import "slices"

// Type is the type of a field's value in the line.
type Type string

// The types of fields.
const (
	TypeText    Type = "text"    // a string
	TypeInteger Type = "integer" // a number without a fraction, within 64 bits
	TypeTrue    Type = "true"    // true, or the field is not there
	TypeTime    Type = "time"    // RFC 3339, UTC, six digits behind the seconds
	TypeTexts   Type = "texts"   // an array of one string at least
	TypeHash    Type = "hash"    // 64 lower-case hexadecimal digits
	TypeClaims  Type = "claims"  // an object; or the text unreadable, should it be no JSON
	TypeBody    Type = "body"    // an object of what the body says; or one of the texts none, truncated and unreadable
	TypeUsage   Type = "usage"   // an object of the numbers of tokens that are known; or the text unknown
)

// Field is one member of the lines. Lines have their fields in the order of Fields.
type Field struct {
	Name      string   `json:"name"`
	Type      Type     `json:"type"`
	Always    []string `json:"always,omitempty"`    // the events whose every line has it
	Sometimes []string `json:"sometimes,omitempty"` // those whose lines have it unless it is empty or unknown
	Values    []string `json:"values,omitempty"`    // the closed set of its values, if there is one
	Mask      bool     `json:"mask,omitempty"`      // it can be masked; see ParseMask
	Doc       string   `json:"doc"`
}

// In reports whether lines of the event can have the field.
func (f *Field) In(event string) bool {
	return slices.Contains(f.Always, event) || slices.Contains(f.Sometimes, event)
}

// Events returns the values of "event".
func Events() []string { return []string{EventDecision, EventUndelivered, EventClosing, EventMissing} }

// Fields returns everything that can be written into a line. There is no field for a token, a prompt or a header as such.
func Fields() []Field {
	fields := slices.Concat(headFields(), callerFields(), callFields(), verdictFields(), closingFields(), lastFields(), chainFields())
	names := Maskable()
	for i := range fields {
		fields[i].Mask = slices.Contains(names, fields[i].Name)
	}
	return fields
}

func headFields() []Field {
	all, decision, closings := Events(), []string{EventDecision}, []string{EventClosing, EventMissing}
	return []Field{
		{Name: "v", Type: TypeInteger, Always: all, Doc: "Version of these fields, 1. Fields may be added without a new one."},
		{Name: "event", Type: TypeText, Always: all, Values: all, Doc: "What the line is about."},
		{Name: "time", Type: TypeTime, Always: all, Doc: "When: of the decision; of the closing line's coming, or when nobody waited for it any longer."},
		{Name: "id", Type: TypeText, Always: all, Doc: "HAProxy's unique-id; joins the lines of one call, HAProxy's own included."},
		{Name: "attempt", Type: TypeInteger, Always: all, Doc: "1, or 2 where HAProxy asked again. A decision's key is (id, attempt)."},
		{Name: "unjoined", Type: TypeTrue, Sometimes: closings, Doc: "The decision is not known to this process; only the decision's own line has what it says."},
		{Name: "decided", Type: TypeTime, Sometimes: closings, Doc: "Time of the decision."},
		{Name: "decision", Type: TypeText, Always: decision, Values: []string{"allow", "deny"}, Doc: "What was decided."},
		{Name: "status", Type: TypeInteger, Always: decision, Doc: "HTTP status the caller sees if HAProxy answers itself; 200 for allow."},
		{Name: "reason", Type: TypeText, Sometimes: decision, Doc: "Why it was denied, one of a closed set."},
		{Name: "detail", Type: TypeText, Sometimes: decision, Doc: "What the operator should know beyond the reason."},
	}
}

func callerFields() []Field {
	decision := []string{EventDecision}
	both := []string{EventDecision, EventClosing, EventMissing}
	return []Field{
		{Name: "issuer", Type: TypeText, Sometimes: both, Doc: "Name of the issuer in the policy."},
		{Name: "subject", Type: TypeText, Sometimes: both, Doc: "Verified subject."},
		{Name: "jti", Type: TypeText, Sometimes: decision, Doc: "The id of the caller's token."},
		{Name: "src", Type: TypeText, Sometimes: decision, Doc: "Client address."},
		{Name: "certificate", Type: TypeText, Sometimes: decision, Doc: "SHA-256 of the client certificate, base64url."},
		{Name: "role_asked", Type: TypeText, Sometimes: decision, Doc: "Role that the caller asked to act in."},
		{Name: "break_glass", Type: TypeText, Sometimes: decision, Doc: "Why the caller breaks the glass, in its own words."},
		{Name: "tier", Type: TypeText, Sometimes: decision, Doc: "X-Vertex-AI-LLM-Request-Type, as the caller sent it."},
		{Name: "shared_tier", Type: TypeText, Sometimes: decision, Doc: "X-Vertex-AI-LLM-Shared-Request-Type, likewise."},
	}
}

func callFields() []Field {
	decision := []string{EventDecision}
	both := []string{EventDecision, EventClosing, EventMissing}
	return []Field{
		{Name: "http_method", Type: TypeText, Sometimes: decision, Doc: "HTTP method as received."},
		{Name: "uri", Type: TypeText, Sometimes: decision, Doc: "Canonical path and query; of what is no call, the path as received, without the query."},
		{Name: "uri_asked", Type: TypeText, Sometimes: decision, Doc: "What the caller asked for, where another call is forwarded."},
		{Name: "project", Type: TypeText, Sometimes: both, Doc: "Google Cloud project."},
		{Name: "location", Type: TypeText, Sometimes: both, Doc: "Region, multi-region or global."},
		{Name: "publisher", Type: TypeText, Sometimes: both, Doc: "Publisher of the model, such as google."},
		{Name: "model", Type: TypeText, Sometimes: both, Doc: "Model."},
		{Name: "endpoint", Type: TypeText, Sometimes: both, Doc: "Endpoint, where the call is to one."},
		{Name: "method", Type: TypeText, Sometimes: both, Doc: "Vertex method, such as generateContent."},
		{Name: "stream", Type: TypeTrue, Sometimes: both, Doc: "The answer comes in pieces."},
	}
}

func verdictFields() []Field {
	decision := []string{EventDecision}
	both := []string{EventDecision, EventClosing, EventMissing}
	return []Field{
		{Name: "role", Type: TypeText, Sometimes: both, Doc: "Role that the decision was made for."},
		{Name: "rule", Type: TypeText, Sometimes: both, Doc: "Rule that decided."},
		{Name: "account", Type: TypeText, Sometimes: both, Doc: "Service account that the token stands for."},
		{Name: "exchange", Type: TypeText, Sometimes: decision, Doc: "Audience at which the caller's own token was exchanged; without an account the call is made as the caller itself."},
		{Name: "policy", Type: TypeText, Sometimes: both, Doc: "Digest of the policy."},
		{Name: "token_fingerprint", Type: TypeText, Sometimes: both, Doc: "First 8 bytes, in hex, of the SHA-256 of the token that was handed to HAProxy."},
		{Name: "claims", Type: TypeClaims, Sometimes: decision, Doc: "Those claims of the caller that the policy uses."},
		{Name: "body", Type: TypeBody, Sometimes: decision, Doc: "What the body says, in numbers and names and never a prompt; or why nothing is known: none, truncated, unreadable."},
		{Name: "shadow", Type: TypeTexts, Sometimes: decision, Doc: "Rules in shadow mode that apply, each with a colon and what it would do."},
		{Name: "overridden", Type: TypeTexts, Sometimes: decision, Doc: "Deny rules that a rule for emergencies has overridden."},
	}
}

func closingFields() []Field {
	closing, missing := []string{EventClosing}, []string{EventMissing}
	return []Field{
		{Name: "st", Type: TypeInteger, Always: closing, Sometimes: missing, Doc: "HTTP status that the caller got; negative if none. Of a missing closing, that of Google's answer."},
		{Name: "term", Type: TypeText, Always: closing, Doc: "HAProxy's termination state."},
		{Name: "backend", Type: TypeText, Sometimes: closing, Doc: "HAProxy's backend."},
		{Name: "server", Type: TypeText, Sometimes: closing, Doc: "HAProxy's server."},
		{Name: "bytes_in", Type: TypeInteger, Always: closing, Doc: "Bytes from the caller."},
		{Name: "bytes_out", Type: TypeInteger, Always: closing, Doc: "Bytes to the caller."},
		{Name: "t_queue", Type: TypeInteger, Always: closing, Doc: "Milliseconds in HAProxy's queue; negative where HAProxy did not come that far, as with those below."},
		{Name: "t_connect", Type: TypeInteger, Always: closing, Doc: "Milliseconds to connect to Google."},
		{Name: "t_response", Type: TypeInteger, Always: closing, Sometimes: missing, Doc: "Milliseconds until the headers of the answer; of a missing closing, from the decision on."},
		{Name: "t_active", Type: TypeInteger, Always: closing, Doc: "Milliseconds of the whole request."},
		{Name: "usage", Type: TypeUsage, Always: closing, Doc: "Tokens that Google counts: input, output, thoughts, cached, total, those that are known; or unknown."},
	}
}

func lastFields() []Field {
	decision := []string{EventDecision}
	both := []string{EventDecision, EventClosing, EventMissing}
	return []Field{
		{Name: "flags", Type: TypeTexts, Sometimes: both, Doc: "Signs of misuse."},
		{Name: "token_expiry", Type: TypeTime, Sometimes: decision, Doc: "When the token that was handed to HAProxy expires."},
		{Name: "user_agent", Type: TypeText, Sometimes: decision, Doc: "User-Agent, as the caller sent it."},
		{Name: "traceparent", Type: TypeText, Sometimes: both, Doc: "W3C trace context, as the caller sent it."},
		{Name: "t_verify", Type: TypeInteger, Always: decision, Doc: "Microseconds to verify the caller."},
		{Name: "t_policy", Type: TypeInteger, Always: decision, Doc: "Microseconds to decide."},
		{Name: "t_mint", Type: TypeInteger, Always: decision, Doc: "Microseconds to get the token."},
	}
}

func chainFields() []Field {
	all := Events()
	return []Field{
		{Name: "chain", Type: TypeText, Sometimes: all, Doc: "Name of the chain that the line is part of, 16 hexadecimal digits; with audit.chain only, as all below."},
		{Name: "seq", Type: TypeInteger, Sometimes: all, Doc: "Its number in the chain, from 1 on."},
		{Name: "after", Type: TypeHash, Sometimes: all, Doc: "In the first line of a chain: hash of the last line that was in the file, whichever chain that is of."},
		{Name: "prev", Type: TypeHash, Sometimes: all, Doc: "In all others: hash of the line before."},
		{Name: "hash", Type: TypeHash, Sometimes: all, Doc: "SHA-256, or HMAC-SHA-256 with a key, of the line up to the comma before this field."},
	}
}
