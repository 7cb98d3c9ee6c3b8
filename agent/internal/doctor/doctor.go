// Package doctor tries out, now and past everything that is remembered, what the agent will need while it runs: its own identity, the
// keys of every issuer, a token for every role and, if asked to, a call of Vertex AI with each of them. What does not work it explains in
// words that somebody can act on who sees these services for the first time, with the command that probably mends it.
//
// [Run] makes a [Report], which holds no token. [Report.Write] shows it to people, encoding/json to programs.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/policy"
)

// DefaultModel is what a dry call names if no rule of the role names a Gemini model in full.
const DefaultModel = "gemini-2.5-flash"

// DefaultTimeout is how long one check may take where Config does not say it.
const DefaultTimeout = 10 * time.Second

// maxParallel is how many roles are tried at once.
const maxParallel = 4

// Config says what to try and over which ways. Policy, Issuers and Client are required.
type Config struct {
	// Policy names the issuers and the roles.
	Policy *policy.Policy
	// Issuers are those of Policy, in its order, as the agent gives them to the verifier.
	Issuers []identity.Issuer
	// Client carries every call but those to the metadata server, as it does for the agent.
	Client *http.Client
	// Base says where the agent's own identity comes from. Its Client and Log are not used.
	Base google.BaseConfig
	// CAFile is the file of the certificate authorities that Client trusts, to be shown; empty for those of the system.
	CAFile string
	// Endpoint and STSEndpoint are those of google.Config. Optional.
	Endpoint, STSEndpoint string
	// Roles are those to try; none for all.
	Roles []string
	// Caller is the token of a caller, for the roles that exchange it; empty for none.
	Caller secret.Text
	// Vertex asks for a call of countTokens with every token.
	Vertex bool
	// Model is what that call names; empty for a model that a rule of the role names, or else DefaultModel.
	Model string
	// Timeout bounds each check, 0 for DefaultTimeout. Calls to Google and to issuers end after 5 s in any case.
	Timeout time.Duration
}

// Run makes all checks: the agent's identity, the issuers, the caller if there is one, the roles in the order of the policy. It ends when
// all have ended, which is when ctx ends at the latest. A check that fails is no error; an error says that the issuers of the policy are
// not ones that can be asked, or that Config is not complete.
func Run(ctx context.Context, c Config) (Report, error) {
	if c.Policy == nil || c.Client == nil || len(c.Issuers) != len(c.Policy.Issuers()) {
		return Report{}, errors.New("doctor: a policy, its issuers and a client are required")
	}
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	e := &examination{Config: c, log: slog.New(slog.DiscardHandler)}
	for _, g := range c.Policy.Grants() {
		if len(c.Roles) == 0 || slices.Contains(c.Roles, g.Role) {
			e.grants = append(e.grants, g)
		}
	}
	if err := e.openIssuers(); err != nil {
		return Report{}, err
	}
	defer e.issuers.Close()

	report := Report{Time: time.Now().UTC().Truncate(time.Second), Policy: policyFacts(c.Policy), Egress: egressFacts(c)}
	report.add(e.checkIdentity(ctx))
	report.add(e.checkIssuers(ctx)...)
	if c.Caller.Len() > 0 {
		report.add(e.checkCaller(ctx))
	}
	report.add(e.checkRoles(ctx)...)
	return report, nil
}

// examination is one run of all checks and what the first ones found for the later ones.
type examination struct {
	Config
	log    *slog.Logger
	grants []policy.Grant

	issuers *identity.Verifier
	started time.Time                       // when the issuers' keys were asked for
	fetched func() map[string]time.Duration // how long that took, by the issuer's name, as far as it is known

	own      google.Token // the agent's own; zero if it has none
	universe string

	identified *caller // nil if there is none, or none that is accepted
}

// checkRoles tries several roles at once and returns their checks in the order of the policy.
func (e *examination) checkRoles(ctx context.Context) []Check {
	checks := make([][]Check, len(e.grants))
	var group errgroup.Group
	group.SetLimit(maxParallel)
	for i, g := range e.grants {
		group.Go(func() error {
			checks[i] = e.checkRole(ctx, g)
			return nil
		})
	}
	_ = group.Wait() // its functions return nil
	return slices.Concat(checks...)
}

// bound returns ctx with the bound of one check.
func (e *examination) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, e.Timeout, fmt.Errorf("no answer within %v", e.Timeout))
}
