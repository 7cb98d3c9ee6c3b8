package doctor

import (
	"encoding/json"
	"math"
	"time"
)

// Report is what a run found. As JSON it is an object with the members that the tags name; what is not known is left out, durations are
// numbers in the unit that ends their names. Members may be added; those that are there keep their meaning.
type Report struct {
	// OK is true if no check failed. Warnings and what was not checked do not count.
	OK     bool      `json:"ok"`
	Time   time.Time `json:"time"`
	Policy Policy    `json:"policy"`
	Egress Egress    `json:"egress"`
	// Checks stand in the order in which they were made; the dry call of a role follows the role.
	Checks []Check `json:"checks"`
}

// Policy says which policy the checks are about.
type Policy struct {
	Digest string `json:"digest"`
	Roles  int    `json:"roles"`
	Rules  int    `json:"rules"`
}

// Egress says which way calls leave this machine.
type Egress struct {
	// Proxy is the host and port of the proxy that calls to Google go through, without user and password; empty for none.
	Proxy string `json:"proxy,omitempty"`
	// Authorities is the variable or the setting that says which certificate authorities are trusted; empty for those of the system.
	Authorities string `json:"authorities,omitempty"`
}

// Kind says what a check is about. The set is closed.
type Kind string

// The kinds, in the order in which they stand in a Report.
const (
	Identity Kind = "identity" // the agent's own token
	Issuer   Kind = "issuer"   // the keys of an issuer
	Caller   Kind = "caller"   // the token of a caller that was handed in
	Role     Kind = "role"     // the token of a role
	Vertex   Kind = "vertex"   // a call of Vertex AI with that token
)

// Status is the outcome of a check. The set is closed.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // it works, and should not stay as it is
	Failed  Status = "failed"
	Skipped Status = "skipped" // it was not checked; Summary says why
)

// Check is one thing that was tried. All texts are of one line, printable and of bounded length, but for Fix.
type Check struct {
	Kind   Kind   `json:"kind"`
	Name   string `json:"name,omitempty"` // of the issuer or the role
	Status Status `json:"status"`
	// Summary is what was found.
	Summary string `json:"summary"`
	// Reason, Advice and Fix are there where the status is not OK: what is wrong for programs and what to do about it in words. Fix is the
	// commands that probably mend it, or show what is in the way, one a line; empty where none is known. Words in capitals stand for what
	// is not known here.
	Reason Reason `json:"reason,omitempty"`
	Advice string `json:"advice,omitempty"`
	Fix    string `json:"fix,omitempty"`
	// Latency is how long it took to find out.
	Latency Milliseconds `json:"latency_ms,omitempty"`

	// One of these, by the kind.
	Identity *IdentityFacts `json:"identity,omitempty"`
	Issuer   *IssuerFacts   `json:"issuer,omitempty"`
	Caller   *CallerFacts   `json:"caller,omitempty"`
	Token    *TokenFacts    `json:"token,omitempty"`
	Vertex   *VertexFacts   `json:"vertex,omitempty"`
}

// IdentityFacts tell who the agent is.
type IdentityFacts struct {
	Kind      string `json:"kind"`             // metadata, or the type of the credential file
	Source    string `json:"source,omitempty"` // of an external account's own token: file, url, executable, aws, certificate
	File      string `json:"file,omitempty"`
	Account   string `json:"account,omitempty"` // e-mail or principal
	LongLived bool   `json:"long_lived"`        // the file holds a secret that does not expire
	Lifetime  int    `json:"lifetime_s,omitempty"`
}

// IssuerFacts tell about the keys of an issuer.
type IssuerFacts struct {
	URL     string `json:"url,omitempty"`
	Keys    int    `json:"keys"`    // that can be used
	Dropped int    `json:"dropped"` // that cannot
	Age     int    `json:"age_s"`   // since they were fetched
	Next    int    `json:"next_s"`  // until they are fetched again
}

// CallerFacts tell who the caller is whose token was handed in.
type CallerFacts struct {
	Issuer  string   `json:"issuer"`
	Subject string   `json:"subject"`
	Roles   []string `json:"roles"`
	Expiry  int      `json:"expires_in_s"`
}

// TokenFacts tell about the token of a role.
type TokenFacts struct {
	Account   string   `json:"account,omitempty"` // none for a caller's own token that is used directly
	Delegates []string `json:"delegates,omitempty"`
	Scopes    []string `json:"scopes"`
	Exchange  string   `json:"exchange,omitempty"` // direct or impersonate, for a role that exchanges the caller's token
	Audience  string   `json:"audience,omitempty"` // the provider it is exchanged at
	Asked     int      `json:"lifetime_asked_s,omitempty"`
	Granted   int      `json:"lifetime_granted_s,omitempty"` // none if no token was minted
	// Fingerprint is the first 8 bytes of the token's SHA-256 in hex.
	Fingerprint string `json:"fingerprint,omitempty"`
}

// VertexFacts tell about a dry call.
type VertexFacts struct {
	Project  string `json:"project,omitempty"`
	Location string `json:"location,omitempty"`
	Model    string `json:"model,omitempty"`
	Host     string `json:"host,omitempty"`
	Status   int    `json:"http_status,omitempty"` // none if nobody answered
	Tokens   int    `json:"total_tokens,omitempty"`
}

// Milliseconds is a duration that is a number of milliseconds in JSON, with two decimals.
type Milliseconds time.Duration

// MarshalJSON implements json.Marshaler.
func (m Milliseconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(math.Round(float64(m)/float64(time.Millisecond)*100) / 100)
}

// Count returns how many checks have the status.
func (r *Report) Count(s Status) int {
	n := 0
	for i := range r.Checks {
		if r.Checks[i].Status == s {
			n++
		}
	}
	return n
}

func (r *Report) add(checks ...Check) {
	r.Checks = append(r.Checks, checks...)
	r.OK = r.Count(Failed) == 0
}

// seconds rounds d to whole seconds.
func seconds(d time.Duration) int { return int(d.Round(time.Second) / time.Second) }
