package compare

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Version is the version of the audit log's lines that this package reads.
const Version = 1

// Record is a line of the audit log, as far as a decision can depend on it.
type Record struct {
	Version  int       `json:"v"`
	Event    string    `json:"event"` // decision, or absent; all others are about decisions of other lines
	Time     time.Time `json:"time"`
	ID       string    `json:"id"`
	Decision string    `json:"decision"` // allow or deny
	Reason   string    `json:"reason"`   // of a denial

	Issuer  string          `json:"issuer"`
	Subject string          `json:"subject"`
	Claims  json.RawMessage `json:"claims"` // those that the policy used; null for each that the caller did not have
	Source  string          `json:"src"`

	HTTPMethod string `json:"http_method"`
	URI        string `json:"uri"`       // canonical, as forwarded
	URIAsked   string `json:"uri_asked"` // canonical, as asked; empty: URI

	RoleAsked  string `json:"role_asked"`
	Breakglass string `json:"break_glass"` // the reason that the caller gave
	Tier       string `json:"tier"`        // as asked
	SharedTier string `json:"shared_tier"`

	// Body is what the body said (body.Facts.AppendJSON), or one of the texts none, truncated and unreadable. It is absent where the body
	// was not asked for.
	Body json.RawMessage `json:"body"`

	Role    string `json:"role"`
	Rule    string `json:"rule"`
	Account string `json:"account"`
	Policy  string `json:"policy"` // the digest

	Masked []string `json:"masked"` // fields whose values were taken away: subject, claims.email
}

// ErrNoDecision means that a line of the audit log is not about a decision but about what became of one.
var ErrNoDecision = errors.New("not the line of a decision")

// ParseRecord reads one line of the audit log. The error is ErrNoDecision for a line of another event.
func ParseRecord(line []byte) (*Record, error) {
	r := &Record{}
	if err := r.parse(line); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Record) parse(line []byte) error {
	*r = Record{Claims: r.Claims[:0], Body: r.Body[:0]} // whose memory serves again
	if err := json.Unmarshal(line, r); err != nil {
		return fmt.Errorf("not a line of the audit log: %w", err)
	}
	if r.Version != Version {
		return fmt.Errorf("a line of version %d of the audit log, and only version %d is known", r.Version, Version)
	}
	if r.Event != "" && r.Event != "decision" {
		return ErrNoDecision
	}
	if r.Decision != "allow" && r.Decision != "deny" {
		return fmt.Errorf("a line without a decision")
	}
	return nil
}
