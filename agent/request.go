package agent

import (
	"fmt"
	"strings"

	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/spoe"
)

// contractVersion is the version of the messages between HAProxy's configuration and this program: the argument v.
const contractVersion = 1

// messageAuthorize is the name of the message that asks for a decision.
const messageAuthorize = "authorize"

// request is what HAProxy tells of one HTTP request.
type request struct {
	ID      string // HAProxy's unique-id
	Attempt int64  // 1, or 2 when HAProxy asks again
	Source  string // client address

	Method string // HTTP method
	URI    string // path and query as received
	Host   string // Host header or :authority

	Authorization  secret.Text // the whole value of the field, if there is exactly one
	Authorizations int64       // number of Authorization fields

	ContentType    string
	ContentLengths int64 // number of Content-Length fields
	Role           string
	UserAgent      string
	TraceParent    string
}

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

// read reads the arguments of the message "authorize". A missing mandatory argument, or one of another type, is a *fault; the request
// then holds what could be read, for the record. Unknown arguments and messages are left alone, so that HAProxy's configuration may be
// newer than this program. The texts are those of n, and valid as long as it is.
func (r *request) read(n *spoe.Notify) error {
	m := find(n, messageAuthorize)
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
	r.Authorizations = a.integer("authorization_count", required)
	r.Authorization = secret.New(a.text("authorization", optional))
	r.ContentType = a.text("content_type", optional)
	r.ContentLengths = a.integer("content_length_count", optional)
	r.Role = a.text("role", optional)
	r.UserAgent = a.text("user_agent", optional)
	r.TraceParent = a.text("traceparent", optional)
	switch {
	case len(a.faults) > 0:
		return &fault{reason: ArgumentMissing, detail: strings.Join(a.faults, ", ")}
	case version != contractVersion:
		return &fault{reason: ContractVersion, detail: fmt.Sprintf("contract version %d, want %d", version, contractVersion)}
	}
	return nil
}

func find(n *spoe.Notify, name string) *spoe.Message {
	messages := n.Messages()
	for i := range messages {
		if messages[i].Name == name {
			return &messages[i]
		}
	}
	return nil
}

// check refuses what cannot be judged without doubt, whoever asks.
func (r *request) check() error {
	if r.Authorizations > 1 {
		return &fault{reason: CredentialsAmbiguous, detail: fmt.Sprintf("%d Authorization fields", r.Authorizations)}
	}
	if r.Authorizations < 1 && r.Authorization.Len() > 0 {
		return &fault{reason: CredentialsAmbiguous, detail: "an Authorization value without an Authorization field"}
	}
	return nil
}

// checkBody refuses a POST whose body has no declared, single length or is not JSON. A length in more than one field, or in none, is
// how two parties come to see two different bodies.
func (r *request) checkBody() error {
	if r.Method != "POST" {
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

func (a *arguments) address(name string, must bool) string {
	v, ok := a.message.Arg(name)
	if ip, isAddr := v.Addr(); ok && isAddr {
		return ip.String()
	}
	a.note(name, must, ok && !v.IsNull())
	return ""
}

func (a *arguments) note(name string, must, present bool) {
	switch {
	case present:
		a.faults = append(a.faults, fmt.Sprintf("argument %q has an unexpected type", name))
	case must:
		a.faults = append(a.faults, fmt.Sprintf("argument %q is missing", name))
	}
}
