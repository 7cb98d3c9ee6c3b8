package trial

import (
	"fmt"
	"strings"

	"vertex-spoa/policy"
)

// CallError is a call that is not written in one of the forms that Target reads.
type CallError struct {
	Message string
	Column  int // from 0, in characters: where in the text it is wrong
}

// Error returns the message.
func (e *CallError) Error() string { return e.Message }

// Target returns the HTTP method and the target, path and query, of a call that is written in full or in short; the documentation of the
// package says how. The defaults of the model fill in what is left out. An error is a *CallError. Whether there is such a call
// policy.ParseAny tells.
func Target(text string, m *policy.Model) (method, target string, err error) {
	c := callText{text: text}
	if word := c.word(); word != "" && strings.ToUpper(word) == word && !strings.ContainsAny(word, "/:.") {
		method = word
		c.next++
	}
	what := c.word()
	if what == "" {
		return "", "", c.errorf("no call: write one such as gemini-2.5-flash:generateContent @europe-west1")
	}
	c.next++
	path, get, err := c.path(what)
	if err != nil {
		return "", "", err
	}
	if method == "" {
		method = "POST"
		if get {
			method = "GET"
		}
	}
	if strings.HasPrefix(path, "/") {
		if c.word() != "" {
			return "", "", c.errorf("a target in full stands alone, and not beside %q", c.word())
		}
		return method, path, nil
	}
	prefix, err := c.prefix(m)
	if err != nil {
		return "", "", err
	}
	return method, prefix + path, nil
}

// callText is a call that is being read, word by word.
type callText struct {
	text string
	next int
}

func (c *callText) word() string {
	word, _ := wordAt(c.text, c.next)
	return word
}

// errorf returns an error about the next word.
func (c *callText) errorf(format string, args ...any) error {
	_, column := wordAt(c.text, c.next)
	return &CallError{fmt.Sprintf(format, args...), column}
}

// path returns what follows project and location for what is called, or the whole path where it has neither.
func (c *callText) path(what string) (path string, get bool, err error) {
	const listing = "/v1/publishers/google/models"
	name, verb, found := strings.Cut(what, ":")
	switch {
	case strings.HasPrefix(what, "/"):
		return what, false, nil
	case what == "models.list":
		return listing, true, nil
	case what == "models.get":
		model := c.word()
		c.next++
		if model == "" {
			return "", false, c.errorf("models.get needs a model")
		}
		return listing + "/" + model, true, nil
	case what == "chat.completions":
		return "endpoints/openapi/chat/completions", false, nil
	case what == "embeddings":
		return "endpoints/openapi/embeddings", false, nil
	case !found || verb == "" || name == "":
		c.next--
		return "", false, c.errorf("%q is not a call: write MODEL:METHOD, endpoints/ID:METHOD, or a whole path", what)
	}
	publisher, model, given := strings.Cut(name, "/")
	switch {
	case publisher == "endpoints":
		return what, false, nil
	case !given:
		publisher, model = "google", name
	}
	return "publishers/" + publisher + "/models/" + model + ":" + verb, false, nil
}

// prefix reads where a call goes: [@LOCATION] [in PROJECT].
func (c *callText) prefix(m *policy.Model) (string, error) {
	project, location := m.Project, m.Location
	if at, ok := strings.CutPrefix(c.word(), "@"); ok {
		location = at
		c.next++
	}
	if c.word() == "in" {
		c.next++
		project = c.word()
		c.next++
	}
	switch {
	case c.word() != "":
		return "", c.errorf("%q is not expected here: write @LOCATION and then in PROJECT", c.word())
	case location == "":
		return "", c.errorf("no location: write @LOCATION, since the policy's defaults have none")
	case project == "":
		return "", c.errorf("no project: write in PROJECT, since the policy's defaults have none")
	}
	return "/v1/projects/" + project + "/locations/" + location + "/", nil
}
