package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// The longest parts of a Question, in bytes.
const (
	MaxTarget = 8 << 10
	MaxClaims = 16 << 10
	MaxBody   = 16 << 10
	MaxName   = 512
)

// Question is a call that somebody asks about: what would be decided, and why. Nobody has verified anything in it, and everything in it is
// within its bounds when Config.Explain gets it.
type Question struct {
	Method  string // HTTP method, such as POST
	Target  string // path and query, or a whole URL
	Issuer  string // name of the issuer in the policy
	Subject string // who calls; empty for the sub of the claims
	Claims  string // a JSON object; never empty
	Role    string // that the caller asks for; may be empty
	IP      string // address of the caller; may be empty
	Body    string // JSON; empty where the body is not to be looked at
}

// asked says whether there is a question at all.
func (q *Question) asked() bool { return q.Target != "" || q.Issuer != "" }

// check finds what is missing or is not what it should be.
func (q *Question) check() error {
	switch {
	case q.Target == "":
		return errors.New("which call? paste its request line, such as POST /v1/projects/…")
	case q.Issuer == "":
		return errors.New("who calls? name the issuer")
	case len(q.Target) > MaxTarget, len(q.Claims) > MaxClaims, len(q.Body) > MaxBody, max(len(q.Issuer), len(q.Subject), len(q.Role), len(q.IP)) > MaxName:
		return errors.New("that is longer than can be explained here")
	case strings.Trim(q.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || len(q.Method) > 16:
		return fmt.Errorf("%q is no HTTP method", cut(q.Method, 32))
	}
	var claims map[string]any
	if err := json.Unmarshal([]byte(q.Claims), &claims); err != nil || claims == nil {
		return errors.New(`the claims are no JSON object, such as {"sub": "alice", "groups": ["search-eng"]}`)
	}
	if q.IP != "" {
		if _, err := netip.ParseAddr(q.IP); err != nil {
			return fmt.Errorf("%q is no IP address", cut(q.IP, 64))
		}
	}
	return nil
}

// readRequestLine takes a request line apart, as it is written on the wire (RFC 9112 section 3), in a log or by a person: the method may
// be left out and is POST then, and so may the version.
func readRequestLine(line string) (method, target string) {
	words := strings.Fields(line)
	if n := len(words); n > 0 && strings.HasPrefix(words[n-1], "HTTP/") {
		words = words[:n-1]
	}
	switch len(words) {
	case 0:
		return "POST", ""
	case 1:
		return "POST", words[0]
	}
	return words[0], strings.Join(words[1:], " ")
}

// cut returns the first n bytes of s at most.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
