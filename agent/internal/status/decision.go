package status

import (
	"strings"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// Decision is one decision as it is shown, in the names of the audit log. It has no claims, nothing of a body and no token.
type Decision struct {
	Time     time.Time `json:"time"`
	ID       string    `json:"id"`
	Attempt  int64     `json:"attempt"`
	Decision string    `json:"decision"`
	Status   int       `json:"status"`
	Reason   string    `json:"reason,omitempty"`
	Detail   string    `json:"detail,omitempty"`

	Issuer      string `json:"issuer,omitempty"`
	Subject     string `json:"subject,omitempty"`
	Source      string `json:"src,omitempty"`
	TokenID     string `json:"jti,omitempty"`
	Certificate string `json:"certificate,omitempty"`
	RoleAsked   string `json:"role_asked,omitempty"`
	BreakGlass  string `json:"break_glass,omitempty"`
	Tier        string `json:"tier,omitempty"`
	SharedTier  string `json:"shared_tier,omitempty"`
	UserAgent   string `json:"user_agent,omitempty"`

	HTTPMethod string `json:"http_method,omitempty"`
	URI        string `json:"uri,omitempty"`
	URIAsked   string `json:"uri_asked,omitempty"`
	Project    string `json:"project,omitempty"`
	Location   string `json:"location,omitempty"`
	Publisher  string `json:"publisher,omitempty"`
	Model      string `json:"model,omitempty"`
	Endpoint   string `json:"endpoint,omitempty"`
	Method     string `json:"method,omitempty"`
	Stream     bool   `json:"stream,omitempty"`

	Role       string   `json:"role,omitempty"`
	Rule       string   `json:"rule,omitempty"`
	Account    string   `json:"account,omitempty"`
	Exchange   string   `json:"exchange,omitempty"`
	Policy     string   `json:"policy,omitempty"`
	Shadow     []string `json:"shadow,omitempty"`
	Overridden []string `json:"overridden,omitempty"`
	Flags      []string `json:"flags,omitempty"`

	TokenFingerprint string    `json:"token_fingerprint,omitempty"`
	TokenExpiry      time.Time `json:"token_expiry,omitzero"`
	TraceParent      string    `json:"traceparent,omitempty"`

	VerifyMicros int64 `json:"t_verify"` // µs
	PolicyMicros int64 `json:"t_policy"`
	MintMicros   int64 `json:"t_mint"`

	Undelivered bool    `json:"undelivered,omitempty"` // HAProxy has not had the answer
	Ending      *Ending `json:"closing,omitempty"`     // nil as long as the end is not known
}

// Ending is how a call has ended, in the names of the audit log.
type Ending struct {
	Missing     bool   `json:"missing,omitempty"` // HAProxy's line has not come: the rest is unknown
	Status      int    `json:"st,omitempty"`
	Termination string `json:"term,omitempty"`
	BytesIn     int64  `json:"bytes_in"`
	BytesOut    int64  `json:"bytes_out"`
	ActiveMS    int64  `json:"t_active"`
	Usage       *Usage `json:"usage,omitempty"` // nil if unknown
}

// Usage is what a call has used, in tokens. Those that are not known are nil.
type Usage struct {
	Input    *int64 `json:"input,omitempty"`
	Output   *int64 `json:"output,omitempty"`
	Thoughts *int64 `json:"thoughts,omitempty"`
	Cached   *int64 `json:"cached,omitempty"`
	Total    *int64 `json:"total,omitempty"`
}

func endingOf(c *audit.Closing) Ending {
	if c.Missing {
		return Ending{Missing: true}
	}
	e := Ending{Status: c.Status, Termination: strings.Clone(c.Termination), BytesIn: c.BytesIn, BytesOut: c.BytesOut, ActiveMS: c.ActiveMS}
	if u := c.Usage; u != nil {
		e.Usage = &Usage{Input: known(u.Input), Output: known(u.Output), Thoughts: known(u.Thoughts), Cached: known(u.Cached), Total: known(u.Total)}
	}
	return e
}

// known is nil for a number that is negative, which stands for an unknown one.
func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// decision is the entry as it is shown, with its record, which is masked already.
func (e *entry) decision(r *audit.Record) Decision {
	d := Decision{
		Time: r.Time.UTC(), ID: r.ID, Attempt: r.Attempt, Decision: r.Decision, Status: r.Status, Reason: r.Reason, Detail: r.Detail,
		Issuer: r.Issuer, Subject: r.Subject, Source: r.Source, TokenID: r.TokenID, Certificate: r.Certificate, RoleAsked: r.RoleAsked,
		BreakGlass: r.BreakGlass, Tier: r.Tier, SharedTier: r.SharedTier, UserAgent: r.UserAgent,
		HTTPMethod: r.HTTPMethod, URI: r.URI, URIAsked: r.URIAsked, Project: r.Project, Location: r.Location, Publisher: r.Publisher, Model: r.Model,
		Endpoint: r.Endpoint, Method: r.Method, Stream: r.Stream,
		Role: r.Role, Rule: r.Rule, Account: r.Account, Exchange: r.Exchange, Policy: r.Policy, Shadow: r.Shadow, Overridden: r.Overridden, Flags: r.Flags,
		TokenFingerprint: r.TokenFingerprint, TokenExpiry: r.TokenExpiry, TraceParent: r.TraceParent,
		VerifyMicros: r.VerifyMicros, PolicyMicros: r.PolicyMicros, MintMicros: r.MintMicros,
		Undelivered: e.undelivered,
	}
	if e.ended {
		d.Ending = &e.ending
	}
	return d
}

// Allowed says whether the call was let through.
func (d Decision) Allowed() bool { return d.Decision == "allow" }

// Micros is how long the decision took, in µs.
func (d Decision) Micros() int64 { return d.VerifyMicros + d.PolicyMicros + d.MintMicros }

// What names what was called: the model, the endpoint, or the path where it was neither.
func (d Decision) What() string {
	switch {
	case d.Model != "":
		return d.Model
	case d.Endpoint != "":
		return "endpoint " + d.Endpoint
	}
	return strings.TrimSpace(d.HTTPMethod + " " + d.URI)
}
