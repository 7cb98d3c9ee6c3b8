package doctor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/policy"
)

// caller is somebody whose token was handed in and is accepted.
type caller struct {
	identity identity.Identity
	roles    []string
}

// checkCaller verifies the token as a request's would be.
func (e *examination) checkCaller(ctx context.Context) Check {
	check := Check{Kind: Caller, Status: OK}
	ctx, cancel := e.bound(ctx)
	defer cancel()
	start := time.Now()
	id, err := e.identify(ctx, start)
	check.Latency = Milliseconds(time.Since(start))
	if err != nil {
		text := err.Error()
		if refusal, ok := errors.AsType[*identity.Error](err); ok {
			text = string(refusal.Reason) + ": " + strings.TrimPrefix(refusal.Error(), "verify token: "+string(refusal.Reason)+": ")
		}
		return check.fail(CallerRefused, withoutToken(text, e.Caller),
			"The agent refuses this token for the same reason. Get a new one from an issuer of the policy, for the audience that it names.", "")
	}
	e.identified = &caller{identity: id, roles: []string{}}
	for _, m := range e.Policy.Roles(policy.Caller{Issuer: id.Issuer, Subject: id.Subject, Claims: id.Claims}) {
		if m.Held {
			e.identified.roles = append(e.identified.roles, m.Role)
		}
	}
	left := time.Until(id.Expiry)
	check.Caller = &CallerFacts{Issuer: id.Issuer, Subject: clean(id.Subject), Roles: e.identified.roles, Expiry: seconds(left)}
	check.Summary = clean(fmt.Sprintf("%s of issuer %s for %s, roles: %s", id.Subject, id.Issuer, span(left), listed(e.identified.roles)))
	return check
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// identify tries the fields in which issuers send tokens: a file does not say which one it is.
func (e *examination) identify(ctx context.Context, now time.Time) (identity.Identity, error) {
	token := e.Caller
	id, err := e.issuers.Identify(ctx, identity.Credentials{Authorization: secret.New("Bearer " + token.Reveal())}, now)
	for _, field := range []string{identity.HeaderCloudflare, identity.HeaderIAP} {
		if refusal, ok := errors.AsType[*identity.Error](err); !ok || refusal.Reason != identity.WrongHeader {
			break
		}
		id, err = e.issuers.Identify(ctx, identity.Credentials{Assertion: token, AssertionHeader: field}, now)
	}
	return id, err
}

// exchanging makes r a request that exchanges the caller's token, or says why that cannot be tried and what to do.
func (e *examination) exchanging(r *google.Request, g policy.Grant) (why, advice string) {
	kind := google.JWT
	if g.Exchange.Type == "id_token" {
		kind = google.IDToken
	}
	r.Exchange = &google.Exchange{Audience: g.Exchange.Audience, SubjectTokenType: kind, Mode: google.Mode(g.Exchange.Mode), UserProject: g.Exchange.UserProject}
	if r.Exchange.Mode == google.Direct {
		r.Exchange.Scopes = r.Scopes
		r.Account, r.Delegates, r.Scopes, r.Lifetime = "", nil, nil, 0
	}
	switch {
	case e.Caller.Len() == 0:
		return "it exchanges the caller's own token, and there is none", "Name a file that holds the token of a caller with this role: --token FILE."
	case e.identified == nil:
		return "it exchanges the caller's own token, and that is refused", "Mend what is said of the caller first."
	case !slices.Contains(e.identified.roles, g.Role):
		return fmt.Sprintf("the caller does not have this role, but %s", listed(e.identified.roles)), "Use the token of a caller who has it."
	}
	r.Subject, r.SubjectExpiry = e.Caller, e.identified.identity.Expiry
	r.SubjectDigest = sha256.Sum256([]byte(r.Subject.Reveal()))
	return "", ""
}
