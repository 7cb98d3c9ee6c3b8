package fake

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// stsForm is the form of one exchange, checked.
type stsForm struct {
	audience, kind, token, userProject string
	scopes                             []string
}

// pool returns the audience's pool, without the leading //iam.googleapis.com/.
func (f stsForm) pool() string {
	pool, _, _ := strings.Cut(strings.TrimPrefix(f.audience, "//iam.googleapis.com/"), "/providers/")
	return pool
}

func (f stsForm) workforce() bool { return workforceProvider.MatchString(f.audience) }

// principal returns the name that IAM knows the subject by.
func (f stsForm) principal(id string) string {
	return "principal://iam.googleapis.com/" + f.pool() + "/subject/" + id
}

// sets returns the names of the sets that IAM knows the subject to be in.
func (f stsForm) sets(who subject) []string {
	base := "principalSet://iam.googleapis.com/" + f.pool()
	all := []string{base + "/*"}
	for _, g := range who.groups {
		all = append(all, base+"/group/"+g)
	}
	if who.role != "" {
		all = append(all, base+"/attribute.aws_role/"+who.role)
	}
	return all
}

// stsFields are the members of the form; each may be there once.
var stsFields = []string{"grant_type", "audience", "scope", "requested_token_type", "subject_token", "subject_token_type", "options"}

// readForm reads and checks what does not depend on any provider.
func (s *STS) readForm(w http.ResponseWriter, r *http.Request) (stsForm, *refusal) {
	if r.URL.Path != "/v1/token" || (s.options.CA != nil && strings.TrimSuffix(r.Host, ":443") != STSHost) {
		return stsForm{}, refuse(NotFound, http.StatusNotFound, "there is nothing here").withOAuth("invalid_request")
	}
	if r.Method != http.MethodPost {
		return stsForm{}, refuse(MethodRefused, http.StatusMethodNotAllowed, "the token endpoint takes POST").withOAuth("invalid_request")
	}
	form, no := readForm(w, r)
	if no != nil {
		return stsForm{}, no
	}
	if r.Header.Get("Authorization") != "" {
		return stsForm{}, oauthRefuse(ClientUnknown, "invalid_client", "the exchange takes no client authentication")
	}
	for name, values := range form {
		if !slices.Contains(stsFields, name) || len(values) != 1 {
			return stsForm{}, oauthRefuse(BodyInvalid, "invalid_request", fmt.Sprintf("parameter %q is unknown or given twice", name))
		}
	}
	return checkForm(form)
}

func checkForm(form url.Values) (stsForm, *refusal) {
	f := stsForm{audience: form.Get("audience"), kind: form.Get("subject_token_type"), token: form.Get("subject_token"),
		scopes: strings.Fields(form.Get("scope"))}
	switch {
	case form.Get("grant_type") != GrantTokenExchange:
		return f, oauthRefuse(GrantUnsupported, "unsupported_grant_type", "grant_type is not token exchange")
	case form.Get("requested_token_type") != TypeAccessToken:
		return f, oauthRefuse(BodyInvalid, "invalid_request", "requested_token_type is not an access token")
	case !workloadProvider.MatchString(f.audience) && !workforceProvider.MatchString(f.audience):
		return f, oauthRefuse(AudienceInvalid, "invalid_request", "audience is not the resource name of a provider")
	case len(f.scopes) == 0:
		return f, oauthRefuse(ScopeMissing, "invalid_scope", "scope is empty")
	case slices.ContainsFunc(f.scopes, func(s string) bool { return !knownScope(s) }):
		return f, oauthRefuse(ScopeUnknown, "invalid_scope", "scope has a value that is no OAuth scope of Google")
	case f.token == "":
		return f, oauthRefuse(BodyInvalid, "invalid_request", "subject_token is empty")
	case f.kind != TypeJWT && f.kind != TypeIDToken && f.kind != TypeAWSRequest:
		return f, oauthRefuse(SubjectTypeUnsupported, "invalid_request", "subject_token_type is not one this service takes")
	}
	return f, f.readOptions(form)
}

// readForm reads a body of application/x-www-form-urlencoded.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, *refusal) {
	wrong := oauthRefuse(BodyInvalid, "invalid_request", "the body is not a form")
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/x-www-form-urlencoded" || r.URL.RawQuery != "" {
		return nil, wrong
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 128<<10))
	if err != nil {
		return nil, refuse(BodyTooLarge, http.StatusRequestEntityTooLarge, "the body is too large or incomplete").withOAuth("invalid_request")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, wrong
	}
	return form, nil
}

// readOptions reads the JSON in the form's options: the project that a workforce pool's caller bills, and nothing else.
func (f *stsForm) readOptions(form map[string][]string) *refusal {
	var options struct {
		UserProject string `json:"userProject"`
	}
	text := ""
	if values := form["options"]; len(values) > 0 {
		text = values[0]
	}
	if text != "" {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&options); err != nil {
			return oauthRefuse(OptionsInvalid, "invalid_request", "options is not the JSON that this service takes")
		}
	}
	if options.UserProject != "" && !f.workforce() {
		return oauthRefuse(OptionsInvalid, "invalid_request", "userProject is for workforce pools")
	}
	f.userProject = options.UserProject
	return nil
}
