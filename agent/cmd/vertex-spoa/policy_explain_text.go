package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
	"vertex-spoa/policy/compare"
)

// What was checked about a token.
const (
	checkSignature       = "everything, with the keys of its issuer"
	checkKeysOfFile      = "everything, with the keys of the file; its issuer was not asked whether it is still good"
	checkAllButSignature = "EVERYTHING BUT ITS SIGNATURE: anybody can write such a token"
)

// explanation is why a call is allowed or not, as far as was asked.
type explanation struct {
	Recorded *recorded       `json:"recorded,omitempty"`
	Token    *tokenReport    `json:"token,omitempty"`
	Caller   *callerReport   `json:"caller,omitempty"`
	Call     *callReport     `json:"call,omitempty"`
	Decision *decisionReport `json:"decision,omitempty"`
	Rules    []ruleReport    `json:"rules,omitempty"`
	Nearest  string          `json:"nearest,omitempty"`
}

// recorded is what a line of the audit log says was decided.
type recorded struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Decision string    `json:"decision"`
	Reason   string    `json:"reason,omitempty"`
	Role     string    `json:"role,omitempty"`
	Rule     string    `json:"rule,omitempty"`
	Policy   string    `json:"policy"`
}

type tokenReport struct {
	Check    string     `json:"check"`
	Accepted bool       `json:"accepted"`
	Reason   string     `json:"reason,omitempty"`
	Detail   string     `json:"detail,omitempty"`
	Key      string     `json:"key,omitempty"`
	Expiry   *time.Time `json:"expiry,omitempty"`
}

func (t *tokenReport) refuse(err *identity.Error) {
	t.Reason, t.Detail = string(err.Reason), err.Detail
	if err.Err != nil {
		t.Detail += ": " + err.Err.Error()
	}
}

func (t *tokenReport) accept(id *identity.Identity) {
	expiry := id.Expiry.UTC()
	t.Accepted, t.Expiry = true, &expiry
	if t.Check != checkAllButSignature {
		t.Key = id.KeyID
	}
}

type callerReport struct {
	Issuer  string       `json:"issuer"`
	Subject string       `json:"subject"`
	Roles   []roleReport `json:"roles"`
}

type roleReport struct {
	Role string   `json:"role"`
	Held bool     `json:"held"`
	Why  []string `json:"why"` // for each way to have it that was near: what matched, or what did not
}

// caller says which roles a caller has, and why.
func (x *explanation) caller(p *policy.Policy, c policy.Caller) {
	x.Caller = &callerReport{Issuer: c.Issuer, Subject: c.Subject, Roles: []roleReport{}}
	for i, m := range p.Roles(c) {
		r := roleReport{Role: m.Role, Held: m.Held, Why: []string{}}
		for j, way := range m.Ways {
			switch {
			case way.Open:
				r.Why = append(r.Why, wayText(&p.Model().Roles[i].Who[j]))
			case m.Held:
			case way.Failed.Condition == "issuer":
				r.Why = append(r.Why, "only for callers of issuer "+way.Failed.Want)
			default:
				r.Why = append(r.Why, checkText(way.Failed))
			}
		}
		x.Caller.Roles = append(x.Caller.Roles, r)
	}
}

func wayText(w *policy.Way) string {
	var claims []string
	for _, c := range w.Claims {
		claims = append(claims, c.Name+" matches one of ["+strings.Join(c.Patterns, ", ")+"]")
	}
	return strings.Join(claims, " and ")
}

// checkText puts a condition that does not hold into words.
func checkText(c policy.Check) string {
	if strings.HasPrefix(c.Want, "[") {
		return fmt.Sprintf("%s: %s matches none of %s", c.Condition, orNothing(c.Got), c.Want)
	}
	return fmt.Sprintf("%s: want %s, got %s", c.Condition, c.Want, orNothing(c.Got))
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

type callReport struct {
	HTTPMethod string `json:"http_method"`
	URI        string `json:"uri"`
	Method     string `json:"method"`
	Group      string `json:"group"`
	Publisher  string `json:"publisher,omitempty"`
	Model      string `json:"model,omitempty"`
	Endpoint   string `json:"endpoint,omitempty"`
	Location   string `json:"location,omitempty"`
	Project    string `json:"project,omitempty"`
}

type decisionReport struct {
	Effect  string   `json:"effect"`
	Reason  string   `json:"reason,omitempty"`
	Detail  string   `json:"detail,omitempty"`
	Role    string   `json:"role,omitempty"`
	Rule    string   `json:"rule,omitempty"`
	Account string   `json:"account,omitempty"`
	URI     string   `json:"uri,omitempty"`  // that is forwarded
	Host    string   `json:"host,omitempty"` // and where to
	Shadow  []string `json:"shadow,omitempty"`
}

type ruleReport struct {
	Rule    string   `json:"rule"`
	At      string   `json:"at"`
	Effect  string   `json:"effect"`
	Roles   []string `json:"roles"`
	Shadow  bool     `json:"shadow,omitempty"`
	Outcome string   `json:"outcome"`
	Failed  string   `json:"failed,omitempty"` // the first condition that does not hold
}

// refuse notes a call that no policy is asked about.
func (x *explanation) refuse(r *policy.Refusal) {
	x.Decision = &decisionReport{Effect: policy.Deny.String(), Reason: string(r.Reason), Detail: r.Detail}
}

// explain asks the policy.
func (x *explanation) explain(p *policy.Policy, q *compare.Question) {
	told := q.Explain(p.Bind(q.Caller))
	d := &told.Decision
	c := &d.Call
	x.Call = &callReport{
		HTTPMethod: c.HTTPMethod, URI: q.Call.URI(), Method: c.Method, Group: string(c.Group), Publisher: c.Publisher, Model: c.Model,
		Endpoint: c.Endpoint, Location: c.Location, Project: c.Project,
	}
	x.Decision = &decisionReport{
		Effect: d.Effect.String(), Reason: string(d.Reason), Detail: d.Detail, Role: d.Role, Rule: d.Rule, Account: d.Account,
	}
	switch d.Effect {
	case policy.Allow:
		x.Decision.URI, x.Decision.Host = c.URI(), c.Host()
	case policy.NeedBody:
		x.Decision.Reason = "" // it is no refusal
	case policy.Deny:
	}
	for _, s := range d.Shadow {
		x.Decision.Shadow = append(x.Decision.Shadow, s.Rule+" would "+s.Effect.String())
	}
	for i := range told.Rules {
		r := &told.Rules[i]
		report := ruleReport{
			Rule: r.Rule, At: r.At.String(), Effect: r.Effect.String(), Roles: r.Roles, Shadow: r.Shadow, Outcome: r.Outcome.String(),
		}
		if r.Outcome != policy.Applying {
			report.Failed = checkText(r.Failed)
		}
		x.Rules = append(x.Rules, report)
	}
	x.Nearest = told.Nearest
}

// verdict is how the command ends: with a failure unless everything that was asked about is allowed.
func (x *explanation) verdict() error {
	switch {
	case x.Token != nil && !x.Token.Accepted:
		return exitError{exitFailed, "the token is refused: " + x.Token.Reason}
	case x.Decision == nil, x.Decision.Effect == policy.Allow.String():
		return nil
	case x.Decision.Effect == policy.NeedBody.String():
		return exitError{exitFailed, "the decision depends on the body: write --body FILE"}
	}
	return exitError{exitFailed, "denied: " + x.Decision.Reason}
}

// write writes the explanation.
func (x *explanation) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return writeJSON(w, x)
	}
	var b strings.Builder
	x.writeWho(&b)
	x.writeWhat(&b)
	_, err := io.WriteString(w, paint(w, b.String()))
	return err
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (x *explanation) writeWho(b *strings.Builder) {
	if r := x.Recorded; r != nil {
		fmt.Fprintf(b, "recorded  %s %s: %s\n", r.Time.UTC().Format(time.RFC3339), r.ID, join(r.Decision, r.Reason, r.Role, r.Rule))
	}
	if t := x.Token; t != nil {
		fmt.Fprintf(b, "checked   %s\n", t.Check)
		if !t.Accepted {
			fmt.Fprintf(b, "token     ✗ %s: %s\n", t.Reason, t.Detail)
			return
		}
		text := "✓ good until " + t.Expiry.Format(time.RFC3339)
		if t.Key != "" {
			text += ", signed with key " + t.Key
		}
		fmt.Fprintf(b, "token     %s\n", text)
	}
	if c := x.Caller; c != nil {
		fmt.Fprintf(b, "caller    %s of issuer %s\n", orNothing(c.Subject), c.Issuer)
		for _, r := range c.Roles {
			fmt.Fprintf(b, "role      %s %s: %s\n", mark(r.Held), r.Role, strings.Join(r.Why, "; or "))
		}
	}
}

func (x *explanation) writeWhat(b *strings.Builder) {
	if c := x.Call; c != nil {
		what := c.Endpoint
		if c.Model != "" {
			what = c.Publisher + "/" + c.Model
		}
		fmt.Fprintf(b, "call      %s (%s) on %s in %s of %s\n", c.Method, c.Group, orNothing(what), c.Location, c.Project)
	}
	for i := range x.Rules {
		r := &x.Rules[i]
		text := "applies"
		if r.Failed != "" {
			text = r.Failed
		}
		shadow := ""
		if r.Shadow {
			shadow = " (shadow)"
		}
		fmt.Fprintf(b, "%-9s %s %s%s at %s: %s\n", r.Effect, mark(r.Failed == ""), r.Rule, shadow, r.At, text)
	}
	d := x.Decision
	if d == nil {
		return
	}
	fmt.Fprintf(b, "decision  %s\n", join(d.Effect, d.Reason, d.Role, d.Rule))
	for _, line := range [][2]string{{"why", d.Detail}, {"as", d.Account}, {"to", d.Host + d.URI}, {"nearest", x.nearest()}} {
		if line[1] != "" {
			fmt.Fprintf(b, "%-9s %s\n", line[0], line[1])
		}
	}
	for _, text := range d.Shadow {
		fmt.Fprintf(b, "shadow    %s\n", text)
	}
}

// nearest returns the rule that came nearest to allowing, and what it lacks.
func (x *explanation) nearest() string {
	for i := range x.Rules {
		if r := &x.Rules[i]; r.Rule == x.Nearest {
			return r.Rule + " ✗ " + r.Failed
		}
	}
	return ""
}

func mark(good bool) string {
	if good {
		return "✓"
	}
	return "✗"
}

// join joins the words that are there.
func join(words ...string) string { return strings.Join(strings.Fields(strings.Join(words, " ")), " ") }
