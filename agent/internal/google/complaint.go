package google

import (
	"encoding/json"

	"vertex-spoa/agent/internal/secret"
)

// complaint is what a server of Google said about a request it refused, cleaned. The zero complaint says nothing.
type complaint struct {
	code     string // of RFC 6749 section 5.2, empty for none
	message  string
	reason   string // of a google.rpc.ErrorInfo
	consumer string // the project in it
}

// readComplaint reads either form of error that Google's servers have: {"error": "code", "error_description": "…"} and
// {"error": {"message": "…", "details": […]}}. What is neither is not repeated.
func readComplaint(body []byte, secrets ...secret.Text) complaint {
	var outer struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(body, &outer) != nil {
		return complaint{}
	}
	var code string
	if json.Unmarshal(outer.Error, &code) == nil {
		if !plain(code) || len(code) > 60 {
			return complaint{}
		}
		return complaint{code: clean(code, secrets...), message: clean(outer.Description, secrets...)}
	}
	var status struct {
		Message string `json:"message"`
		Details []struct {
			Reason   string            `json:"reason"`
			Metadata map[string]string `json:"metadata"`
		} `json:"details"`
	}
	if json.Unmarshal(outer.Error, &status) != nil {
		return complaint{}
	}
	c := complaint{message: clean(status.Message, secrets...)}
	for _, d := range status.Details {
		if d.Reason != "" {
			c.reason, c.consumer = clean(d.Reason, secrets...), clean(d.Metadata["consumer"], secrets...)
		}
	}
	return c
}

// text renders c to follow a status code.
func (c complaint) text() string {
	switch {
	case c.code != "" && c.message != "":
		return " " + c.code + ": " + c.message
	case c.code != "":
		return " " + c.code
	case c.message != "":
		return ": " + c.message
	}
	return ""
}
