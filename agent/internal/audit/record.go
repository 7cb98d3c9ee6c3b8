package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Version is the version of the line's schema. A field may be added without a new version; a field that changes its meaning or goes
// away makes a new one.
const Version = 1

// Record is one decision: who asked what, what was answered and why, and as whom the call was let through. HAProxy's log line carries
// the same field names where it knows the same thing; ID joins the two.
//
// Its fields are the complete list of what may be written down. There is none for a token, a prompt or a header as such.
type Record struct {
	Time    time.Time // of the decision, UTC, microseconds
	ID      string    // HAProxy's unique-id
	Attempt int64     // 1, or 2 where HAProxy repeated the question; (ID, Attempt) is the key

	Decision string // allow | deny
	Status   int    // HTTP status the caller is to see if HAProxy answers itself; 200 for allow
	Reason   string // closed set, empty for allow
	Detail   string // what the operator should know beyond Reason

	Issuer  string // name of the issuer in the policy
	Subject string // verified subject
	TokenID string // jti of the caller's token
	Source  string // client address

	Certificate string // SHA-256 of the client certificate, base64url (x5t#S256), if one was presented
	Claims      []byte // JSON object of the claims that the policy uses; nothing else of a token is written down

	RoleAsked  string // role the caller asked to act in
	BreakGlass string // why the caller breaks the glass, in its own words
	Tier       string // X-Vertex-AI-LLM-Request-Type, as the caller sent it
	SharedTier string // X-Vertex-AI-LLM-Shared-Request-Type, likewise

	HTTPMethod string // as received
	URI        string // canonical path and query; where the call could not be parsed, the path as received, bounded and without a query
	URIAsked   string // canonical path and query that the caller asked for, where another one is forwarded
	Project    string
	Location   string
	Publisher  string
	Model      string
	Endpoint   string
	Method     string // Vertex method
	Stream     bool
	Body       []byte // JSON of what the body says, if it was asked for: an object of numbers and names, never a prompt, or "none", "truncated" or "unreadable"

	Role       string   // role the decision was made for
	Rule       string   // rule that decided
	Account    string   // service account the token stands for
	Exchange   string   // audience at which the caller's own token was exchanged; without an account the call is made as the caller itself
	Policy     string   // digest of the policy
	Shadow     []string // rules in shadow mode that apply, each followed by a colon and what it would do
	Overridden []string // deny rules that a rule for emergencies has overridden
	Flags      []string // signs of misuse

	TokenFingerprint string    // first 8 bytes of the minted token's SHA-256, hex
	TokenExpiry      time.Time // of the minted token

	UserAgent   string
	TraceParent string

	VerifyMicros int64 // duration of each stage in µs
	PolicyMicros int64
	MintMicros   int64
}

const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// appendTo appends r as one line of JSON, newline included. Fields that are empty are left out, but for those that every line has.
func (r *Record) appendTo(b []byte) []byte {
	b = appendHead(b, EventDecision, r.Time, r.ID, r.Attempt)
	b = appendField(b, "decision", r.Decision)
	b = appendNumber(b, "status", int64(r.Status))
	for _, f := range [...]struct{ name, value string }{
		{"reason", r.Reason}, {"detail", r.Detail},
		{"issuer", r.Issuer}, {"subject", r.Subject}, {"jti", r.TokenID}, {"src", r.Source},
		{"certificate", r.Certificate}, {"role_asked", r.RoleAsked}, {"break_glass", r.BreakGlass}, {"tier", r.Tier}, {"shared_tier", r.SharedTier},
		{"http_method", r.HTTPMethod}, {"uri", r.URI}, {"uri_asked", r.URIAsked}, {"project", r.Project}, {"location", r.Location},
		{"publisher", r.Publisher}, {"model", r.Model}, {"endpoint", r.Endpoint}, {"method", r.Method},
	} {
		b = appendUnlessEmpty(b, f.name, f.value)
	}
	if r.Stream {
		b = append(b, `,"stream":true`...)
	}
	for _, f := range [...]struct{ name, value string }{
		{"role", r.Role}, {"rule", r.Rule}, {"account", r.Account}, {"exchange", r.Exchange}, {"policy", r.Policy}, {"token_fingerprint", r.TokenFingerprint},
	} {
		b = appendUnlessEmpty(b, f.name, f.value)
	}
	b = appendObject(b, "claims", r.Claims)
	b = appendObject(b, "body", r.Body, `"none"`, `"truncated"`, unreadable)
	b = appendList(b, "shadow", r.Shadow)
	b = appendList(b, "overridden", r.Overridden)
	b = appendList(b, "flags", r.Flags)
	if !r.TokenExpiry.IsZero() {
		b = append(b, `,"token_expiry":"`...)
		b = r.TokenExpiry.UTC().AppendFormat(b, timeFormat)
		b = append(b, '"')
	}
	b = appendUnlessEmpty(b, "user_agent", r.UserAgent)
	b = appendUnlessEmpty(b, "traceparent", r.TraceParent)
	b = appendNumber(b, "t_verify", r.VerifyMicros)
	b = appendNumber(b, "t_policy", r.PolicyMicros)
	b = appendNumber(b, "t_mint", r.MintMicros)
	return append(b, '}', '\n')
}

func appendUnlessEmpty(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendField(b, name, value)
}

// unreadable stands where there should be JSON and is none.
const unreadable = `"unreadable"`

// appendObject appends JSON that is complete in itself: an object, or one of the texts. What is neither would break the line for its readers.
func appendObject(b []byte, name string, object []byte, texts ...string) []byte {
	if len(object) == 0 {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	switch {
	case slices.Contains(texts, string(object)):
	case object[0] != '{' || bytes.ContainsAny(object, "\r\n") || !utf8.Valid(object) || !json.Valid(object):
		return append(b, unreadable...)
	}
	return append(b, object...)
}

func appendList(b []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	between := byte('[')
	for _, s := range list {
		b = appendString(append(b, between), s)
		between = ','
	}
	return append(b, ']')
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return appendString(append(b, '"', ':'), value)
}

func appendNumber(b []byte, name string, n int64) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return strconv.AppendInt(append(b, '"', ':'), n, 10)
}

// appendString appends s as a JSON string (RFC 8259 section 7). What is not UTF-8 becomes U+FFFD. What readers break lines at, what steers a
// terminal and what turns the order of letters around is escaped, so that a line shows as what it is wherever it is shown.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for from := 0; from < len(s); {
		plain := from
		for plain < len(s) && s[plain] >= ' ' && s[plain] < 0x7f && s[plain] != '"' && s[plain] != '\\' {
			plain++
		}
		b = append(b, s[from:plain]...)
		if plain == len(s) {
			break
		}
		r, size := utf8.DecodeRuneInString(s[plain:])
		b = appendRune(b, r)
		from = plain + size
	}
	return append(b, '"')
}

func appendRune(b []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(b, '\\', byte(r))
	case r < ' ', 0x7f <= r && r <= 0x9f, 0x200e <= r && r <= 0x200f, 0x2028 <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069, r == 0xfeff:
		return fmt.Appendf(b, `\u%04x`, r)
	}
	return utf8.AppendRune(b, r) // U+FFFD for what is not UTF-8
}
