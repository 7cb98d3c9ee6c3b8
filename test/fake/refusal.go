package fake

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"time"
)

// A Refusal records a request that a fake turned down, or that a [Fault] spoiled.
type Refusal struct {
	Time   time.Time
	Reason Reason
	Status int    // as answered; 0 where the connection was closed without an answer
	Method string // HTTP method
	Target string // request target as received, at most 512 bytes of it
}

// refusal is a decision to refuse, before it is written in the shape of the party that refuses.
type refusal struct {
	reason  Reason
	status  int
	message string
	domain  string            // of google.rpc.ErrorInfo; empty where Google sends none
	info    map[string]string // metadata of google.rpc.ErrorInfo
	oauth   string            // error code of RFC 6749 section 5.2
}

func refuse(reason Reason, status int, message string) *refusal {
	return &refusal{reason: reason, status: status, message: message}
}

// withInfo adds the google.rpc.ErrorInfo that Google sends with this kind of refusal.
func (r *refusal) withInfo(domain string, metadata map[string]string) *refusal {
	r.domain, r.info = domain, metadata
	return r
}

// withOAuth sets the error code of RFC 6749.
func (r *refusal) withOAuth(code string) *refusal {
	r.oauth = code
	return r
}

// oauthRefuse refuses as RFC 6749 section 5.2 says: 401 for the client's own authentication, 400 for everything else.
func oauthRefuse(reason Reason, code, message string) *refusal {
	status := http.StatusBadRequest
	if code == "invalid_client" {
		status = http.StatusUnauthorized
	}
	return refuse(reason, status, message).withOAuth(code)
}

// writeOAuthError answers r with the error and the description of RFC 6749 section 5.2.
func writeOAuthError(w http.ResponseWriter, r *refusal) {
	w.Header().Set("Cache-Control", "no-store")
	if r.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
	}
	code := r.oauth
	if code == "" {
		code = "temporarily_unavailable"
	}
	writeJSON(w, r.status, map[string]string{"error": code, "error_description": r.message})
}

// rpcError is the error body of Google's REST APIs: google.rpc.Status inside an object (AIP-193).
type rpcError struct {
	Error rpcStatus `json:"error"`
}

type rpcStatus struct {
	Code    int         `json:"code"`
	Message string      `json:"message"`
	Status  string      `json:"status"`
	Details []errorInfo `json:"details,omitempty"`
}

type errorInfo struct {
	Type     string            `json:"@type"`
	Reason   Reason            `json:"reason"`
	Domain   string            `json:"domain"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// writeRPC answers r as Google's REST APIs do.
func writeRPC(w http.ResponseWriter, r *refusal) {
	body := rpcError{rpcStatus{Code: r.status, Message: r.message, Status: rpcCode(r.status)}}
	if r.domain != "" {
		body.Error.Details = []errorInfo{{"type.googleapis.com/google.rpc.ErrorInfo", r.reason, r.domain, r.info}}
	}
	if r.status == http.StatusUnauthorized {
		challenge := `Bearer realm="https://accounts.google.com/"`
		if r.reason != CredentialsMissing {
			challenge += `, error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	writeJSON(w, r.status, body)
}

// rpcCode returns the google.rpc.Code name that Google pairs with an HTTP status (google/rpc/code.proto).
func rpcCode(status int) string {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return "INVALID_ARGUMENT"
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusConflict:
		return "ABORTED"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusInternalServerError:
		return "INTERNAL"
	case http.StatusNotImplemented:
		return "UNIMPLEMENTED"
	case http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	case http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	default:
		return "UNKNOWN"
	}
}

// writeJSON answers with v in the two-space indented form and the content type of Google's REST APIs. A client that has left is no
// error of the fake, so the write's own error is dropped.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v)
}

// isJSON reports whether the message says once that it is JSON in UTF-8, and is not compressed.
func isJSON(h http.Header) bool {
	types := h.Values("Content-Type")
	if len(types) != 1 || h.Get("Content-Encoding") != "" {
		return false
	}
	kind, params, err := mime.ParseMediaType(types[0])
	charset, named := params["charset"]
	return err == nil && kind == "application/json" && (!named || strings.EqualFold(charset, "utf-8"))
}
