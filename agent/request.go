package agent

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/policy"
	"vertex-spoa/policy/body"
	"vertex-spoa/spoe"
)

// contractVersion is the version of the messages between HAProxy's configuration and this program: the argument v.
const contractVersion = 1

// The messages that ask for a decision: on the metadata of a request, and again on these and its body, where the first answer was
// need_body.
const (
	messageAuthorize     = "authorize"
	messageAuthorizeBody = "authorize-body"
)

// request is what HAProxy tells of one HTTP request.
type request struct {
	ID      string // HAProxy's unique-id
	Attempt int64  // 1, and more when HAProxy asks again
	Source  netip.Addr

	Method string // HTTP method
	URI    string // path and query as received
	Host   string // Host header or :authority

	Credentials    identity.Credentials
	Authorizations int64 // number of Authorization fields

	ContentType    string
	ContentLength  string
	ContentLengths int64 // number of Content-Length fields
	Role           string
	Reason         string // why the caller breaks the glass
	Tier           policy.Tier
	UserAgent      string
	TraceParent    string

	Phase      phase
	Body       []byte // what HAProxy has of it
	BodyLength int64  // of Body
	BodySize   int64  // of the whole, as far as HAProxy knows
}

// phase says what HAProxy asks about.
type phase uint8

const (
	aboutMetadata phase = iota
	aboutBody
)

// fault is a refusal by the pipeline itself.
type fault struct {
	reason Reason
	detail string
	err    error
}

func (f *fault) Error() string {
	if f.err != nil {
		return f.detail + ": " + f.err.Error()
	}
	return f.detail
}

func (f *fault) Unwrap() error { return f.err }

// read reads the arguments of the message. A missing mandatory argument, or one of another type, is a *fault; the request then holds
// what could be read, for the record. Unknown arguments and messages are left alone, so that HAProxy's configuration may be newer than this
// program. The texts are those of n, and valid as long as it is.
func (r *request) read(n *spoe.Notify) error {
	m := r.find(n)
	if m == nil {
		return &fault{reason: ArgumentMissing, detail: fmt.Sprintf("no message %q in the frame", messageAuthorize)}
	}
	a := arguments{message: m}
	version := a.integer("v", required)
	r.ID = a.text("id", required)
	r.Attempt = a.integer("attempt", required)
	r.Source = a.address("src", required)
	r.Method = a.text("method", required)
	r.URI = a.text("uri", required)
	r.Host = a.text("host", required)
	r.readCredentials(&a)
	r.ContentType = a.text("content_type", optional)
	r.ContentLength = a.text("content_length", optional)
	r.ContentLengths = a.integer("content_length_count", optional)
	r.Role = a.text("role", optional)
	r.Reason = a.text("reason", optional)
	r.Tier = policy.Tier{RequestType: a.text("tier", optional), SharedRequestType: a.text("shared_tier", optional)}
	r.UserAgent = a.text("user_agent", optional)
	r.TraceParent = a.text("traceparent", optional)
	if r.Phase == aboutBody {
		r.Body = a.binary("body", optional)
		r.BodyLength = a.integer("body_len", required)
		r.BodySize = a.integer("body_size", required)
	}
	switch {
	case len(a.faults) > 0:
		return &fault{reason: ArgumentMissing, detail: strings.Join(a.faults, ", ")}
	case version != contractVersion:
		return &fault{reason: ContractVersion, detail: fmt.Sprintf("contract version %d, want %d", version, contractVersion)}
	}
	return nil
}

func (r *request) readCredentials(a *arguments) {
	r.Authorizations = a.integer("authorization_count", required)
	r.Credentials.Authorization = secret.New(a.text("authorization", optional))
	r.Credentials.Assertion = secret.New(a.text("assertion", optional))
	r.Credentials.AssertionHeader = a.text("assertion_header", optional)
	r.Credentials.Certificate = identity.ClientCertificate{
		Used: a.boolean("tls_used", optional), Result: a.integer("tls_verify", optional), DER: a.binary("client_cert", optional),
	}
}

// find returns the message that asks, and notes which it is.
func (r *request) find(n *spoe.Notify) *spoe.Message {
	messages := n.Messages()
	for i := range messages {
		switch messages[i].Name {
		case messageAuthorize:
			return &messages[i]
		case messageAuthorizeBody:
			r.Phase = aboutBody
			return &messages[i]
		}
	}
	return nil
}

// check refuses what cannot be judged without doubt, whoever asks.
func (r *request) check() error {
	c := &r.Credentials
	ambiguous := func(format string, args ...any) error {
		return &fault{reason: CredentialsAmbiguous, detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case r.Authorizations > 1:
		return ambiguous("%d Authorization fields", r.Authorizations)
	case r.Authorizations < 1 && c.Authorization.Len() > 0:
		return ambiguous("an Authorization value without an Authorization field")
	case (c.Assertion.Len() > 0) != (c.AssertionHeader != ""):
		return ambiguous("an assertion without the name of its field, or the name alone")
	}
	return nil
}

// hasBody reports whether requests of the method have a body: HAProxy refuses one in others.
func (r *request) hasBody() bool { return r.Method == "POST" || r.Method == "PATCH" }

// checkBody refuses a request whose body has no declared, single length or is not JSON. A length in more than one field, or in none, is
// how two parties come to see two different bodies.
func (r *request) checkBody() error {
	if !r.hasBody() {
		return nil
	}
	if r.ContentLengths != 1 {
		return &fault{reason: LengthRequired, detail: fmt.Sprintf("%d Content-Length fields", r.ContentLengths)}
	}
	if !isJSON(r.ContentType) {
		return &fault{reason: ContentType, detail: fmt.Sprintf("content type %.64q", r.ContentType)}
	}
	return nil
}

// question is what the policy is asked besides the caller and the call.
func (r *request) question(call policy.Call, now time.Time) (q policy.Request, err error) {
	q = policy.Request{Role: r.Role, Reason: r.Reason, Now: now, IP: r.Source, Tier: r.Tier, ID: r.ID}
	if r.Phase == aboutBody {
		q.BodyState, q.Body, err = r.readBody(call.BodyShape())
	}
	return q, err
}

// readBody reads the body, if all of it is there: as much as the caller has announced and as HAProxy knows of. The error says why a body
// cannot be read, for the record: the policy judges by the state.
func (r *request) readBody(shape body.Shape) (policy.BodyState, *body.Facts, error) {
	length, err := strconv.ParseInt(r.ContentLength, 10, 64)
	switch have := int64(len(r.Body)); {
	case !r.hasBody() || r.ContentLength == "0":
		return policy.BodyAbsent, nil, nil
	case err != nil || have != length || have != r.BodyLength || have != r.BodySize:
		return policy.BodyTruncated, nil, fmt.Errorf("%d bytes of the body seen, Content-Length is %.24q", have, r.ContentLength)
	}
	facts, err := body.Read(shape, r.Body)
	if err != nil {
		return policy.BodyInvalid, nil, err
	}
	return policy.BodyWhole, facts, nil
}

// isJSON reports whether the media type is application/json with no parameter but charset=utf-8 (RFC 8259 section 11 defines none).
func isJSON(contentType string) bool {
	media, parameter, has := strings.Cut(contentType, ";")
	if !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		return false
	}
	if !has {
		return true
	}
	name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
	return strings.EqualFold(name, "charset") && strings.EqualFold(strings.Trim(value, `"`), "utf-8")
}

// arguments reads a message's arguments by name and notes what is missing or of another type.
type arguments struct {
	message *spoe.Message
	faults  []string
}

const (
	required = true
	optional = false
)

func (a *arguments) text(name string, must bool) string {
	v, ok := a.message.Arg(name)
	if s, isText := v.Text(); ok && isText {
		return s
	}
	a.note(name, must, ok && !v.IsNull())
	return ""
}

func (a *arguments) integer(name string, must bool) int64 {
	v, ok := a.message.Arg(name)
	if i, isInt := v.Int(); ok && isInt {
		return i
	}
	a.note(name, must, ok && !v.IsNull())
	return 0
}

func (a *arguments) boolean(name string, must bool) bool {
	v, ok := a.message.Arg(name)
	if b, isBool := v.Bool(); ok && isBool {
		return b
	}
	a.note(name, must, ok && !v.IsNull())
	return false
}

func (a *arguments) binary(name string, must bool) []byte {
	v, ok := a.message.Arg(name)
	if b, isBinary := v.Bytes(); ok && isBinary {
		return b
	}
	a.note(name, must, ok && !v.IsNull())
	return nil
}

func (a *arguments) address(name string, must bool) netip.Addr {
	v, ok := a.message.Arg(name)
	if ip, isAddr := v.Addr(); ok && isAddr {
		return ip
	}
	a.note(name, must, ok && !v.IsNull())
	return netip.Addr{}
}

func (a *arguments) note(name string, must, present bool) {
	switch {
	case present:
		a.faults = append(a.faults, fmt.Sprintf("argument %q has an unexpected type", name))
	case must:
		a.faults = append(a.faults, fmt.Sprintf("argument %q is missing", name))
	}
}
