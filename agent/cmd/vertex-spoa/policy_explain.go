package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
	"vertex-spoa/policy/body"
	"vertex-spoa/policy/compare"
	"vertex-spoa/policy/trial"
)

// explainFlags are what policy explain is asked about.
type explainFlags struct {
	token, header, certificate, keys, revocations string
	offline                                       bool
	timeout                                       time.Duration

	claims, issuer, subject string

	audit, id string

	method, path, call, curl, body string
	role, reason, at, ip           string
	tier, sharedTier               string

	json bool
}

func (f *explainFlags) define(flags *flag.FlagSet) {
	text := func(to *string, name, usage string) { flags.StringVar(to, name, "", usage) }
	text(&f.token, "token", "`file` with the caller's token, which is verified with the keys of its issuer; - is standard input")
	text(&f.header, "header", "`field` in which the token comes; without it the one in which its issuer sends tokens")
	text(&f.certificate, "certificate", "`file` with the caller's client certificate (PEM), which is taken as one that HAProxy has verified")
	text(&f.keys, "keys", "`file` with the issuer's keys (JWKS): nobody is asked over the network")
	flags.BoolVar(&f.offline, "offline", false, "check everything about the token but its signature: nobody is asked over the network")
	text(&f.revocations, "revocations", "`file` of what is revoked; without it "+policy.RevocationsFile+" in the policy's folder")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long the issuer may take")
	text(&f.claims, "claims", "`file` with claims (JSON) in place of a token, as if they were verified; - is standard input")
	text(&f.issuer, "issuer", "`name` of the issuer of these claims, in the policy")
	text(&f.subject, "subject", "who the caller of these claims is; without it their sub")
	text(&f.audit, "audit", "`line` of the audit log, or a file of them, in place of everything else")
	text(&f.id, "id", "`id` of the line in that file")
	text(&f.method, "method", "HTTP `method` of the call; without it POST")
	text(&f.path, "path", "`path` and query of the call, or its whole URL")
	text(&f.call, "call", "the `call` in short: gemini-2.5-flash:generateContent @europe-west1")
	text(&f.curl, "curl", "the call as a `command` of curl, with its token and body")
	text(&f.body, "body", "`file` with the body of the call; - is standard input, and an empty file no body")
	text(&f.role, "role", "`role` that the caller asks for")
	text(&f.reason, "reason", "why the caller breaks the glass")
	text(&f.at, "at", "`time` of the request (RFC 3339); without it now")
	text(&f.ip, "ip", "`address` of the caller")
	text(&f.tier, "tier", "what the caller asks for in X-Vertex-AI-LLM-Request-Type")
	text(&f.sharedTier, "shared-tier", "what the caller asks for in X-Vertex-AI-LLM-Shared-Request-Type")
	flags.BoolVar(&f.json, "json", false, "write one JSON object in place of text")
}

// policyExplain says what a policy decides about a call, and why. Nothing of it depends on a running agent.
func policyExplain(c *policyCommand, args []string, s streams) error {
	var f explainFlags
	flags := c.flags()
	f.define(flags)
	rest, err := c.parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	p, err := loadPolicy(rest[0])
	if err != nil {
		return err
	}
	e := explainer{flags: &f, policy: p, dir: rest[0], streams: s}
	x, err := e.explain()
	if err != nil {
		return err
	}
	if f.offline && f.audit == "" {
		text := "warning: the signature of the token was not checked: anybody can write such a token\n"
		if _, err := io.WriteString(s.err, paint(s.err, text)); err != nil {
			return err
		}
	}
	if err := x.write(s.out, f.json); err != nil {
		return err
	}
	return x.verdict()
}

// check refuses flags that exclude each other, and sets what follows from a command of curl.
func (f *explainFlags) check() error {
	wrong := func(format string, args ...any) error {
		return usageError("policy explain: " + fmt.Sprintf(format, args...))
	}
	if f.curl != "" {
		if err := f.readCurl(); err != nil {
			return wrong("--curl: %v", err)
		}
	}
	given := map[string]bool{"--token": f.token != "" || f.certificate != "", "--claims": f.claims != "", "--audit": f.audit != ""}
	callers := 0
	for _, is := range given {
		if is {
			callers++
		}
	}
	switch {
	case callers == 0:
		return wrong("who calls? write --token FILE, --claims FILE --issuer NAME, or --audit FILE --id ID")
	case callers > 1:
		return wrong("--token, --claims and --audit exclude each other")
	case f.claims != "" && f.issuer == "":
		return wrong("--claims needs --issuer: claims alone do not say in whose name they are")
	case f.claims == "" && f.issuer+f.subject != "":
		return wrong("--issuer and --subject belong to --claims")
	case f.audit == "" && f.id != "":
		return wrong("--id belongs to --audit")
	case f.audit != "" && f.method+f.path+f.call+f.body+f.role+f.reason+f.at+f.ip+f.tier+f.sharedTier != "":
		return wrong("--audit says itself what was called")
	case f.path != "" && f.call != "":
		return wrong("--path and --call exclude each other")
	case f.claims+f.audit != "" && (f.offline || f.keys+f.header+f.certificate != ""):
		return wrong("--offline, --keys, --header and --certificate belong to --token")
	case f.offline && f.keys != "":
		return wrong("--offline and --keys exclude each other")
	case f.token == "-" && f.body == "-", f.claims == "-" && f.body == "-":
		return wrong("only one can come from standard input")
	}
	return nil
}

// explainer explains one call.
type explainer struct {
	flags   *explainFlags
	policy  *policy.Policy
	dir     string
	streams streams
}

func (e *explainer) explain() (*explanation, error) {
	if e.flags.audit != "" {
		return e.explainRecord()
	}
	now, err := e.now()
	if err != nil {
		return nil, err
	}
	x := &explanation{}
	q := compare.Question{}
	if e.flags.claims != "" {
		q.Caller, err = e.claimed()
	} else {
		q.Caller, err = e.verified(x, now)
		var refused *identity.Error
		if errors.As(err, &refused) {
			x.Token.refuse(refused)
			return x, nil
		}
	}
	if err != nil {
		return nil, err
	}
	x.caller(e.policy, q.Caller)
	if e.flags.path == "" && e.flags.call == "" {
		return x, nil
	}
	return x, e.asked(x, &q, now)
}

func (e *explainer) now() (time.Time, error) {
	if e.flags.at == "" {
		return time.Now(), nil
	}
	t, err := time.Parse(time.RFC3339, e.flags.at)
	if err != nil {
		return time.Time{}, usageError(fmt.Sprintf("policy explain: --at: %q is not a time such as 2026-11-22T15:04:05Z", e.flags.at))
	}
	return t, nil
}

// claimed returns the caller of claims that nobody has verified.
func (e *explainer) claimed() (policy.Caller, error) {
	data, err := e.read(e.flags.claims)
	if err != nil {
		return policy.Caller{}, err
	}
	claims, err := compare.Claims(data)
	if err != nil {
		return policy.Caller{}, fmt.Errorf("%s: %w", e.flags.claims, err)
	}
	if err := knownIssuer(e.policy, e.flags.issuer); err != nil {
		return policy.Caller{}, err
	}
	subject := e.flags.subject
	if subject == "" {
		subject, _ = claims["sub"].(string)
	}
	return policy.Caller{Issuer: e.flags.issuer, Subject: subject, Claims: claims}, nil
}

// verified returns the caller of a token. A refusal of the token is an *identity.Error.
func (e *explainer) verified(x *explanation, now time.Time) (policy.Caller, error) {
	x.Token = &tokenReport{Check: checkSignature}
	credentials, err := e.credentials()
	if err != nil {
		return policy.Caller{}, err
	}
	v := verification{policy: e.policy, offline: e.flags.offline, anyHeader: e.flags.header == "" && e.flags.token != ""}
	switch {
	case e.flags.offline:
		x.Token.Check = checkAllButSignature
	case e.flags.keys != "":
		x.Token.Check = checkKeysOfFile
		if v.keys, err = e.read(e.flags.keys); err != nil {
			return policy.Caller{}, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), e.flags.timeout)
	defer cancel()
	id, err := v.identify(ctx, credentials, now)
	if err != nil {
		return policy.Caller{}, err
	}
	if err := e.revoked(id); err != nil {
		return policy.Caller{}, err
	}
	x.Token.accept(&id)
	return policy.Caller{Issuer: id.Issuer, Subject: id.Subject, Claims: id.Claims}, nil
}

// asked explains what is decided about the call.
func (e *explainer) asked(x *explanation, q *compare.Question, now time.Time) error {
	method, target, err := e.target()
	if err != nil {
		return err
	}
	q.Request = policy.Request{
		Role: e.flags.role, Reason: e.flags.reason, Now: now,
		Tier: policy.Tier{RequestType: e.flags.tier, SharedRequestType: e.flags.sharedTier},
	}
	if e.flags.ip != "" {
		if q.Request.IP, err = netip.ParseAddr(e.flags.ip); err != nil {
			return usageError(fmt.Sprintf("policy explain: --ip: %q is not an address", e.flags.ip))
		}
	}
	q.Call, err = policy.ParseAny(method, target)
	var refusal *policy.Refusal
	if errors.As(err, &refusal) {
		x.refuse(refusal)
		return nil
	}
	unread, err := e.readBody(q)
	if err != nil {
		return err
	}
	x.explain(e.policy, q)
	if unread != nil && x.Decision.Reason == string(policy.BadBody) {
		x.Decision.Detail += ": " + unread.Error()
	}
	return nil
}

// target returns the HTTP method and the target of the call.
func (e *explainer) target() (method, target string, err error) {
	method, target = e.flags.method, e.flags.path
	if e.flags.call != "" {
		word := ""
		if word, target, err = trial.Target(e.flags.call, e.policy.Model()); err != nil {
			return "", "", usageError("policy explain: --call: " + err.Error())
		}
		if method == "" {
			method = word
		}
	}
	if method == "" {
		method = "POST"
	}
	if _, rest, found := strings.Cut(target, "://"); found {
		_, rest, _ = strings.Cut(rest, "/")
		target = "/" + rest
	}
	return method, target, nil
}

// readBody reads the body of the call. Unread is why it cannot be read as one of such a call.
func (e *explainer) readBody(q *compare.Question) (unread, err error) {
	if q.Call.HTTPMethod != "POST" && q.Call.HTTPMethod != "PATCH" {
		q.State = policy.BodyAbsent
		return nil, nil
	}
	if e.flags.body == "" {
		return nil, nil
	}
	data, err := e.read(e.flags.body)
	switch {
	case err != nil:
		return nil, err
	case len(data) == 0:
		q.State = policy.BodyAbsent
		return nil, nil
	}
	q.State = policy.BodyWhole
	if q.Body, unread = body.Read(q.Call.BodyShape(), data); unread != nil {
		q.State = policy.BodyInvalid
	}
	return unread, nil
}

// mostRead is how much of a file is read: what is longer is none of those that are asked for.
const mostRead = 2 << 20

// literalFile begins the name of a file that is no file: what follows is what it holds.
const literalFile = "\x00"

// read reads a small file, or standard input for "-".
func (e *explainer) read(name string) ([]byte, error) {
	if text, ok := strings.CutPrefix(name, literalFile); ok {
		return []byte(text), nil
	}
	from := e.streams.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, mostRead+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > mostRead:
		return nil, fmt.Errorf("%s: longer than %d bytes", name, mostRead)
	}
	return data, nil
}

// explainRecord explains a line of the audit log under the policy.
func (e *explainer) explainRecord() (*explanation, error) {
	r, err := findRecord(e.flags.audit, e.flags.id, e.streams.in)
	if err != nil {
		return nil, err
	}
	q, err := compare.NewAsker(e.policy, e.policy).Question(r)
	if err == nil {
		_, err = q.Ask(e.policy.Bind(q.Caller))
	}
	if err != nil {
		return nil, fmt.Errorf("line %q of the audit log cannot be decided again: %w", r.ID, err)
	}
	x := &explanation{Recorded: &recorded{ID: r.ID, Time: r.Time, Decision: r.Decision, Reason: r.Reason, Role: r.Role, Rule: r.Rule, Policy: r.Policy}}
	x.caller(e.policy, q.Caller)
	x.explain(e.policy, q)
	return x, nil
}
