package audit

import (
	"bytes"
	"encoding/json"
	"time"
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

	HTTPMethod string // as received
	URI        string // canonical path and query; where the call could not be parsed, the path as received, bounded and without a query
	Project    string
	Location   string
	Publisher  string
	Model      string
	Endpoint   string
	Method     string // Vertex method
	Stream     bool

	Role    string // role the decision was made for
	Rule    string // rule that decided
	Account string // service account the token stands for
	Policy  string // digest of the policy

	TokenFingerprint string    // first 8 bytes of the minted token's SHA-256, hex
	TokenExpiry      time.Time // of the minted token

	UserAgent   string
	TraceParent string

	VerifyMicros int64 // duration of each stage in µs
	PolicyMicros int64
	MintMicros   int64
}

// line is the JSON shape of a Record: names, order, and what is left out when empty.
type line struct {
	V           int    `json:"v"`
	Time        string `json:"time"`
	ID          string `json:"id"`
	Attempt     int64  `json:"attempt"`
	Decision    string `json:"decision"`
	Status      int    `json:"status"`
	Reason      string `json:"reason,omitempty"`
	Detail      string `json:"detail,omitempty"`
	Issuer      string `json:"issuer,omitempty"`
	Subject     string `json:"subject,omitempty"`
	TokenID     string `json:"jti,omitempty"`
	Source      string `json:"src,omitempty"`
	HTTPMethod  string `json:"http_method,omitempty"`
	URI         string `json:"uri,omitempty"`
	Project     string `json:"project,omitempty"`
	Location    string `json:"location,omitempty"`
	Publisher   string `json:"publisher,omitempty"`
	Model       string `json:"model,omitempty"`
	Endpoint    string `json:"endpoint,omitempty"`
	Method      string `json:"method,omitempty"`
	Stream      bool   `json:"stream,omitempty"`
	Role        string `json:"role,omitempty"`
	Rule        string `json:"rule,omitempty"`
	Account     string `json:"account,omitempty"`
	Policy      string `json:"policy,omitempty"`
	Token       string `json:"token_fingerprint,omitempty"`
	TokenExpiry string `json:"token_expiry,omitempty"`
	UserAgent   string `json:"user_agent,omitempty"`
	TraceParent string `json:"traceparent,omitempty"`
	Verify      int64  `json:"t_verify"`
	Decide      int64  `json:"t_policy"`
	Mint        int64  `json:"t_mint"`
}

const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeFormat)
}

// appendTo writes r as one line, newline included, to b. JSON escapes what would break the line.
func (r *Record) appendTo(b *bytes.Buffer) error {
	enc := json.NewEncoder(b) // its Encode ends with the newline
	enc.SetEscapeHTML(false)
	return enc.Encode(line{
		V: Version, Time: stamp(r.Time), ID: r.ID, Attempt: r.Attempt,
		Decision: r.Decision, Status: r.Status, Reason: r.Reason, Detail: r.Detail,
		Issuer: r.Issuer, Subject: r.Subject, TokenID: r.TokenID, Source: r.Source,
		HTTPMethod: r.HTTPMethod, URI: r.URI, Project: r.Project, Location: r.Location, Publisher: r.Publisher,
		Model: r.Model, Endpoint: r.Endpoint, Method: r.Method, Stream: r.Stream,
		Role: r.Role, Rule: r.Rule, Account: r.Account, Policy: r.Policy,
		Token: r.TokenFingerprint, TokenExpiry: stamp(r.TokenExpiry),
		UserAgent: r.UserAgent, TraceParent: r.TraceParent,
		Verify: r.VerifyMicros, Decide: r.PolicyMicros, Mint: r.MintMicros,
	})
}
