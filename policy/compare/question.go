package compare

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"vertex-spoa/policy"
	"vertex-spoa/policy/body"
)

// Question is what a policy is asked about one request.
type Question struct {
	Caller  policy.Caller
	Call    policy.Call
	Request policy.Request // BodyNotSeen: how a policy is asked first

	// State and Body are what it is told when it asks for the body. BodyNotSeen: that is not known.
	State policy.BodyState
	Body  *body.Facts
}

// Unanswerable is why a record cannot be decided again.
type Unanswerable string

// Error returns the reason.
func (u Unanswerable) Error() string { return string(u) }

// Reasons why a record cannot be decided again. Those that name something end with a space.
const (
	noCaller    Unanswerable = "the caller was not recorded"
	noTarget    Unanswerable = "the call cannot be read again"
	noBody      Unanswerable = "the body was not recorded"
	otherBody   Unanswerable = "the body was not recorded in a known form"
	noTime      Unanswerable = "the time was not recorded"
	noSource    Unanswerable = "the caller's address was not recorded"
	otherClaims Unanswerable = "the claims were not recorded in a known form"
	noClaim     Unanswerable = "claim not recorded: "
	isMasked    Unanswerable = "masked: "
)

// Asker makes questions of records for one policy. It is safe for concurrent use.
type Asker struct {
	policy   *policy.Policy
	was      *policy.Policy
	used     map[string][]string // claims, by issuer
	recorded map[string][]string // claims that records under was have, by issuer
	subject  bool                // the policy asks for it
	source   bool
	time     bool
}

// NewAsker returns an Asker of a policy. Was, if not nil, is the policy under which the records were written: claims that it used and that a
// record of it does not hold were absent.
func NewAsker(p, was *policy.Policy) *Asker {
	a := &Asker{policy: p, was: was, used: map[string][]string{}, recorded: map[string][]string{}}
	for _, i := range p.Issuers() {
		a.used[i.Name] = p.ClaimsUsed(i.Name)
	}
	for _, i := range was.Issuers() {
		a.recorded[i.Name] = was.ClaimsUsed(i.Name)
	}
	if m := p.Model(); m != nil {
		for i := range m.Rules {
			r := &m.Rules[i]
			text := ""
			if r.When != nil {
				text = r.When.Text
			}
			a.subject = a.subject || r.Percent < 100 || strings.Contains(text, "subject")
			a.source = a.source || strings.Contains(text, "ip")
			a.time = a.time || len(r.Active) > 0 || strings.Contains(text, "now")
		}
	}
	return a
}

// Caller returns the caller of a record. An error is Unanswerable.
func (a *Asker) Caller(r *Record) (policy.Caller, error) {
	if r.Issuer == "" {
		return policy.Caller{}, noCaller
	}
	c := policy.Caller{Issuer: r.Issuer, Subject: r.Subject}
	used, known := a.used[r.Issuer]
	if !known {
		return c, nil // nobody of this issuer has a role, whatever the claims
	}
	var err error
	if c.Claims, err = claimsOf(r.Claims); err != nil {
		return policy.Caller{}, otherClaims
	}
	for _, name := range used {
		if _, ok := c.Claims[name]; !ok && !a.absent(r, name) {
			return policy.Caller{}, noClaim + Unanswerable(name)
		}
	}
	return c, nil
}

// absent reports whether a claim that the record does not hold would stand there if the caller had it.
func (a *Asker) absent(r *Record, name string) bool {
	if a.was == nil || r.Policy == "" || r.Policy != a.was.Digest() {
		return false
	}
	recorded := a.recorded[r.Issuer]
	return slices.Contains(recorded, name) || slices.Contains(recorded, policy.AllClaims)
}

// claimsOf reads claims as the data that verified tokens hold.
func claimsOf(data json.RawMessage) (map[string]any, error) {
	if len(data) == 0 {
		return map[string]any{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var claims map[string]any
	if err := d.Decode(&claims); err != nil || claims == nil {
		return nil, errors.New("not an object")
	}
	for name, v := range claims {
		claims[name] = value(v)
	}
	return claims, nil
}

// Claims reads claims as a JSON object, into the data that verified tokens hold: a number is an int64 when it is written as an integer and
// fits, a float64 otherwise.
func Claims(data []byte) (map[string]any, error) {
	if !json.Valid(data) {
		return nil, errors.New("the claims are not JSON")
	}
	claims, err := claimsOf(data)
	if err != nil || len(data) == 0 {
		return nil, errors.New("the claims are not a JSON object")
	}
	return claims, nil
}

func value(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil && !strings.ContainsAny(v.String(), ".eE") {
			return n
		}
		n, err := v.Float64()
		if err != nil {
			return nil
		}
		return n
	case []any:
		for i := range v {
			v[i] = value(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = value(v[name])
		}
	}
	return v
}

// Question returns what a record asked. An error is Unanswerable.
func (a *Asker) Question(r *Record) (*Question, error) {
	caller, err := a.Caller(r)
	if err != nil {
		return nil, err
	}
	q := &Question{Caller: caller}
	return q, a.fill(r, q)
}

// fill adds everything but the caller.
func (a *Asker) fill(r *Record, q *Question) error {
	if err := a.missing(r); err != nil {
		return err
	}
	var err error
	if q.Call, err = policy.ParseAny(r.HTTPMethod, r.target()); err != nil {
		return noTarget
	}
	q.Request = policy.Request{
		Role: r.RoleAsked, Reason: r.Breakglass, Now: r.Time, ID: r.ID,
		Tier: policy.Tier{RequestType: r.Tier, SharedRequestType: r.SharedTier},
	}
	if r.Source != "" {
		if q.Request.IP, err = netip.ParseAddr(r.Source); err != nil {
			return noSource
		}
	}
	return q.body(r)
}

// target returns the path and query that were asked for.
func (r *Record) target() string {
	if r.URIAsked != "" {
		return r.URIAsked
	}
	return r.URI
}

// missing says what the policy asks for and the record does not hold.
func (a *Asker) missing(r *Record) error {
	for _, field := range r.Masked {
		name, claim := strings.CutPrefix(field, "claims.")
		switch {
		case claim && !slices.Contains(a.used[r.Issuer], name) && !slices.Contains(a.used[r.Issuer], policy.AllClaims):
		case field == "subject" && !a.subject, field == "src" && !a.source:
		case slices.Contains([]string{"user_agent", "traceparent", "jti", "detail"}, field):
		default:
			return isMasked + Unanswerable(field)
		}
	}
	switch {
	case a.time && r.Time.IsZero():
		return noTime
	case a.source && r.Source == "":
		return noSource
	case a.subject && r.Subject == "" && r.ID == "":
		return noCaller
	}
	return nil
}

// body takes over what is known of the body.
func (q *Question) body(r *Record) error {
	if !slices.Contains([]string{"POST", "PATCH"}, r.HTTPMethod) {
		q.State = policy.BodyAbsent
		return nil
	}
	switch text := string(r.Body); text {
	case "", "null":
		q.State = map[string]policy.BodyState{
			string(policy.BodyRequired): policy.BodyAbsent, string(policy.TruncatedBody): policy.BodyTruncated,
		}[r.Reason]
	case `"none"`:
		q.State = policy.BodyAbsent
	case `"truncated"`:
		q.State = policy.BodyTruncated
	case `"unreadable"`:
		q.State = policy.BodyInvalid
	default:
		facts, err := body.ParseFacts(r.Body)
		if err != nil || facts.Shape != q.Call.BodyShape() {
			return otherBody
		}
		q.State, q.Body = policy.BodyWhole, facts
	}
	return nil
}

// Ask asks a session as an agent does: about the body only when the session asks for it. An error is Unanswerable.
func (q *Question) Ask(s *policy.Session) (policy.Decision, error) {
	d := s.Decide(q.Call, q.Request)
	if d.Effect != policy.NeedBody {
		return d, nil
	}
	if q.State == policy.BodyNotSeen {
		return policy.Decision{}, noBody
	}
	return s.Decide(q.Call, q.withBody()), nil
}

// Explain explains what Ask answers. Where the body is asked for and not known, it explains the answer that asks for it.
func (q *Question) Explain(s *policy.Session) policy.Explanation {
	x := s.Explain(q.Call, q.Request)
	if x.Decision.Effect != policy.NeedBody || q.State == policy.BodyNotSeen {
		return x
	}
	return s.Explain(q.Call, q.withBody())
}

func (q *Question) withBody() policy.Request {
	r := q.Request
	r.BodyState, r.Body = q.State, q.Body
	return r
}
