package policy

import (
	"fmt"
	"time"

	"vertex-spoa/policy/strictyaml"
)

// Model is a policy as it was read: checked, with aliases and defaults filled in, and not yet made ready for deciding. Everything in it
// is plain data and only read.
type Model struct {
	Project  string // completes a listing; empty when the defaults name none
	Location string // the same

	RefuseRouting bool // where a rule is about single models, bodies are read for routingConfig, which lets others answer

	Issuers   []Issuer            // in declared order
	Roles     []Role              // by falling priority, those of one priority in declared order
	Rules     []Rule              // in declared order, which means nothing
	Projects  map[string]string   // number by id
	Aliases   map[string]string   // the model an alias stands for, which is no alias itself
	Endpoints map[string]Endpoint // by id: dedicated and private endpoints
}

// Endpoint is where a dedicated or private endpoint is.
type Endpoint struct {
	Host     string // *.prediction.vertexai.goog, or an entry of Locations
	Project  string
	Location string
}

// Position is a place in a file of the policy.
type Position struct {
	File   string // as in messages
	Line   int    // from 1
	Column int    // from 1, in characters
}

// String returns file:line:column.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Rule is one entry of `rules`. A condition that is nil or empty is none: it holds for every call. In an allow rule what was not written
// is filled in from the defaults, so that Projects, Locations and Methods are never nil. Patterns know * for any text. Aliases among the
// models are replaced by what they stand for.
type Rule struct {
	ID     string
	At     Position
	Effect Effect   // Allow or Deny
	Roles  []string // whom it concerns; nil: every role
	Except []string // roles whose holders it does not concern, whatever else they hold

	// The conditions on the call. A rule with models or publishers concerns calls to models, one with endpoints calls to endpoints, one
	// with both concerns both; a deny rule with none of them concerns every call.
	Models     []string // patterns of whole names with @version
	Publishers []string // patterns
	Endpoints  []string // patterns of ids
	Projects   []string // patterns of ids and numbers
	Locations  []string // patterns
	Methods    []string // groups and methods; "*" is all

	When   *Expression
	Body   *BodyRule
	Active []Window // one has to be open; nil: always

	Mode    Mode
	Percent int    // of the callers for whom the rule is enforced; for the others it is in shadow. 1 to 100; 100 when not written
	Because string // one printable line, which clients may see

	Duties Duties

	node *strictyaml.Node // the key of the rule
}

// Mode says whether a rule counts.
type Mode uint8

// The modes.
const (
	Enforce Mode = iota
	Shadow       // what the rule would have done is reported and changes nothing
)

// Expression is a condition in CEL.
type Expression struct {
	Text string
	At   Position // of its first character

	node *strictyaml.Node
}

// problem adds a problem at a place in the text: line from 1, column from 0 in characters, as CEL counts them.
func (e *Expression) problem(p *strictyaml.Problems, line, column int, format string, args ...any) {
	p.Addf(e.node.Within(line, column), format, args...)
}

// BodyRule is what the body of a call has to be. A field that is absent from the body satisfies no bound: the model's default for it may
// be anything.
type BodyRule struct {
	MaxOutputTokens *Range
	Temperature     *Range
	CandidateCount  *Range

	NoTools           bool     // `tools: none`
	Tools             []string // patterns of the names of all tools: googleSearch, fn:get_*; nil: no condition
	SystemInstruction Presence
	SafetyMin         string   // each category of harm is blocked at this threshold or a stricter one; one of SafetyThresholds
	MediaTypes        []string // patterns of the types of all media: image/*; nil: no condition
	MaxBytes          int      // of the whole body; 0: no condition
}

// Range is a closed interval; an end that is nil is open.
type Range struct{ Min, Max *float64 }

// Presence says whether a part has to be there.
type Presence uint8

// The presences.
const (
	Anything Presence = iota
	Required
	Forbidden
)

// SafetyThresholds returns the thresholds of Google's safety settings, the strictest first.
func SafetyThresholds() []string {
	return []string{"BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"}
}

// Window is a time in which a rule holds: on certain days, at certain hours of each, and within a period.
type Window struct {
	Days    uint8          // bit 1 << time.Weekday; 0: every day
	Start   int            // minutes from midnight; the window is open from then
	End     int            // to then, exclusive: 1440 is midnight. When not after Start it is that of the next day, whose opening day counts
	Hours   bool           // whether Start and End are set
	Zone    *time.Location // in which days and hours are told
	From    time.Time      // zero: always
	Until   time.Time      // exclusive; zero: for ever
	Written string         // for explanations
}

// Duties is what an allow rule imposes besides allowing. All applying allow rules of the acting role impose theirs.
type Duties struct {
	Limit      *Limit
	Guard      []string // names of guards
	Route      *Route
	Rewrite    string // the model that is called in place of the one asked for, of the same publisher; empty: that one
	Tier       Tier   // set, whatever the caller asks for
	TierMay    TierChoice
	AuditFull  bool // the audit line holds more than metadata
	Breakglass *Breakglass
}

// Limit bounds use. What is zero is not bounded.
type Limit struct {
	Requests   Rate
	Tokens     Rate
	Concurrent int64
	Per        []string // role, subject, issuer, claims.NAME; nil: the rule as a whole
}

// Rate is a number in a time. The zero Rate is none.
type Rate struct {
	Count int64
	Per   time.Duration
}

// Route sends a call to another location.
type Route struct {
	Location string
	Fallback []string
}

// Tier is what the two headers say by which Vertex chooses between provisioned throughput and the kinds of shared capacity. An empty
// field is a header that is not sent.
type Tier struct {
	RequestType       string // X-Vertex-AI-LLM-Request-Type: dedicated or shared
	SharedRequestType string // X-Vertex-AI-LLM-Shared-Request-Type: priority or flex
}

// TierChoice is what a caller may ask for in the same headers.
type TierChoice struct {
	RequestType       []string
	SharedRequestType []string
}

// Breakglass marks a rule for emergencies: it allows only with a reason, which is recorded.
type Breakglass struct {
	Alert     string   // whom to tell
	Overrides []string // the deny rules that do not hold against it
}

// forgetNodes lets go of the documents that the model was read from: they are only for problems.
func (m *Model) forgetNodes() {
	for i := range m.Rules {
		r := &m.Rules[i]
		if r.node = nil; r.When != nil {
			r.When.node = nil
		}
	}
}

// Model returns the policy as it was read. It is nil for the nil and the zero Policy, and only to be read.
func (p *Policy) Model() *Model {
	if p == nil {
		return nil
	}
	return p.model
}
