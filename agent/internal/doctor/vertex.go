package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/policy"
)

const (
	callTimeout = 5 * time.Second // of a dry call, as of the other calls to Google
	maxAnswer   = 64 << 10        // bytes of its answer that are read
	prompt      = `{"contents":[{"role":"user","parts":[{"text":"ping"}]}]}`
)

// checkVertex calls countTokens, which costs nothing and needs the permission of a prompt, with the token of the role. It goes from this
// machine straight to Google, and not through HAProxy.
func (e *examination) checkVertex(ctx context.Context, token secret.Text, r google.Request, g policy.Grant) Check {
	check := Check{Kind: Vertex, Name: g.Role, Status: OK, Vertex: &VertexFacts{}}
	m := e.Policy.Model()
	to := placeOf(m, g)
	if e.Model != "" {
		to.model = e.Model
	}
	if to.project == "" {
		return check.skip("no project is known for it", "Write a project into the defaults of the policy, or into a rule of the role.")
	}
	call, err := to.call()
	if err != nil {
		return check.fail(VertexRefused, err.Error(), "Name a model of Google's as it stands in the path of a call, such as "+DefaultModel+".", "")
	}
	*check.Vertex = VertexFacts{Project: call.Project, Location: call.Location, Model: call.Model, Host: call.Host()}
	ctx, cancel := e.bound(ctx)
	defer cancel()
	start := time.Now()
	answer, err := e.countTokens(ctx, call, token, quotaProject(m, g.Role))
	check.Latency = Milliseconds(time.Since(start))
	if err != nil {
		return check.failCall(err, call.Host(), token)
	}
	check.Vertex.Status = answer.status
	if answer.status != http.StatusOK {
		return check.refused(answer, grantee{r, g, quotaProject(m, g.Role)}, token)
	}
	check.Vertex.Tokens = answer.tokens
	check.Summary = fmt.Sprintf("countTokens of %s in %s of %s: 200, %s", call.Model, call.Location, call.Project, plural(answer.tokens, "token"))
	return check
}

// failCall returns c as a call that nobody answered.
func (c Check) failCall(err error, host string, token secret.Text) Check {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	text := fmt.Sprintf("call %s: %s", host, withoutToken(err.Error(), token))
	reason, advice, ok := wayTo(text)
	if !ok {
		reason, advice = VertexRefused, "The call could not be made, or its answer not be read."
	}
	return c.fail(reason, text, advice, "curl -sv -o /dev/null https://"+host+"/")
}

// place is where a dry call goes.
type place struct{ project, location, model string }

// call returns the call of countTokens there.
func (p place) call() (policy.Call, error) {
	call, err := policy.ParseCall(http.MethodPost,
		"/v1/projects/"+p.project+"/locations/"+p.location+"/publishers/google/models/"+p.model+":countTokens")
	if err != nil {
		return policy.Call{}, fmt.Errorf("model %.80q in %.40q of project %.80q: %w", p.model, p.location, p.project, err)
	}
	return call, nil
}

// placeOf returns where a caller with the role may call a model: the first rule counts that names a Gemini model in full, otherwise the
// first one about models. What rules leave open the defaults say, and then the e-mail of the account, the location global and DefaultModel.
func placeOf(m *policy.Model, g policy.Grant) place {
	var to place
	for i := range m.Rules {
		rule := &m.Rules[i]
		if !allowsModels(rule, g.Role) {
			continue
		}
		here := place{literal(rule.Projects, ""), literal(rule.Locations, ""), literal(rule.Models, "gemini-")}
		if here.model != "" {
			to = here
			break
		}
		if to == (place{}) {
			to = here
		}
	}
	_, domain, _ := strings.Cut(g.Account, "@")
	ofAccount, _ := strings.CutSuffix(domain, ".iam.gserviceaccount.com")
	if strings.Contains(ofAccount, ".") {
		ofAccount = ""
	}
	return place{first(to.project, m.Project, ofAccount), first(to.location, m.Location, "global"), first(to.model, DefaultModel)}
}

// allowsModels reports whether a rule may allow a holder of the role calls of models.
func allowsModels(r *policy.Rule, role string) bool {
	return r.Effect == policy.Allow && r.Mode == policy.Enforce && len(r.Models)+len(r.Publishers) > 0 &&
		(r.Roles == nil || slices.Contains(r.Roles, role)) && !slices.Contains(r.Except, role)
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// literal returns the first pattern that begins with prefix and has no star, empty for none.
func literal(patterns []string, prefix string) string {
	for _, p := range patterns {
		if strings.HasPrefix(p, prefix) && !strings.Contains(p, "*") {
			return p
		}
	}
	return ""
}

// quotaProject is the project that pays for the calls of a role, empty for that of the call.
func quotaProject(m *policy.Model, role string) string {
	for i := range m.Roles {
		if m.Roles[i].Name == role {
			return m.Roles[i].Project
		}
	}
	return ""
}

// answer is what Vertex AI said.
type answer struct {
	status  int
	tokens  int
	message string // of a google.rpc.Status, not cleaned
	reason  string // of its google.rpc.ErrorInfo
	about   map[string]string
}

func (e *examination) countTokens(ctx context.Context, call policy.Call, token secret.Text, quota string) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("no answer within %v", callTimeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+call.Host()+call.URI(), strings.NewReader(prompt))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	request.Header.Set("Content-Type", "application/json")
	if quota != "" {
		request.Header.Set("X-Goog-User-Project", quota)
	}
	client := &http.Client{Transport: e.Client.Transport, CheckRedirect: refuseRedirect}
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, err
	}
	return readAnswer(response.StatusCode, body), nil
}

// refuseRedirect hands a redirect over as it is: the token is for this host alone.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// readAnswer reads a CountTokensResponse or a google.rpc.Status. What is neither leaves the status alone.
func readAnswer(status int, body []byte) answer {
	var said struct {
		TotalTokens int `json:"totalTokens"`
		Error       struct {
			Message string `json:"message"`
			Details []struct {
				Reason   string            `json:"reason"`
				Metadata map[string]string `json:"metadata"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil {
		return answer{status: status}
	}
	a := answer{status: status, tokens: said.TotalTokens, message: said.Error.Message}
	for _, d := range said.Error.Details {
		if d.Reason != "" && a.reason == "" {
			a.reason, a.about = d.Reason, d.Metadata
		}
	}
	return a
}
