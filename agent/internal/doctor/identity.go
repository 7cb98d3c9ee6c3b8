package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/policy"
)

// checkIdentity fetches the agent's own token, which the roles are then minted with.
func (e *examination) checkIdentity(ctx context.Context) Check {
	check := Check{Kind: Identity, Status: OK, Identity: &IdentityFacts{}}
	if err := google.CheckEnvironment(); err != nil {
		return check.fail(EnvironmentRefused, err.Error(), "Unset the variable: the agent does not start with it.", "")
	}
	b := e.Base
	b.Client, b.Log = e.Client, e.log
	base, info, err := google.Credentials(ctx, b)
	if err != nil && ctx.Err() != nil {
		return check.fail(NoAnswer, err.Error(), "The check was ended before its time.", "")
	}
	if err != nil {
		advice, fix := explainFile(err.Error(), b.File)
		return e.unlessNeeded(check.fail(CredentialFile, err.Error(), advice, fix))
	}
	e.universe = info.UniverseDomain
	*check.Identity = IdentityFacts{Kind: info.Kind, Source: info.Source, File: info.File, Account: info.Account, LongLived: info.LongLived}
	start := time.Now()
	own, err := e.fetchOwn(ctx, base)
	check.Latency = Milliseconds(time.Since(start))
	if err != nil {
		return e.unlessNeeded(check.failIdentity(err))
	}
	e.own = own
	check.Identity.Account = cmp.Or(own.Account, info.Account)
	check.Identity.Lifetime = seconds(time.Until(own.Expiry))
	check.Summary = clean(fmt.Sprintf("%s, from %s", cmp.Or(check.Identity.Account, "an account that does not tell its name"), check.Identity.from()))
	if info.LongLived {
		check.Status, check.Reason = Warning, LongLivedSecret
		check.Advice = "The file holds a secret that does not expire: whoever reads it can act as the agent until somebody revokes it. " +
			"Use an attached service account or workload identity federation instead."
	}
	return check
}

// from says where the identity comes from.
func (f *IdentityFacts) from() string {
	if f.File == "" {
		return "the metadata server"
	}
	if f.Source != "" {
		return fmt.Sprintf("%s (%s, %s)", f.File, f.Kind, f.Source)
	}
	return fmt.Sprintf("%s (%s)", f.File, f.Kind)
}

// fetchOwn fetches one token of base, through a Source, which knows what may be believed and how errors are told.
func (e *examination) fetchOwn(ctx context.Context, base google.Base) (google.Token, error) {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	var own google.Token
	source, err := e.source(func(ctx context.Context) (google.Token, error) {
		t, err := base(ctx)
		if err == nil {
			own = t
		}
		return t, err
	})
	if err != nil {
		return google.Token{}, err
	}
	account, err := source.Email(ctx)
	source.Close() // and with it the goroutine that writes own
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("fetch the agent's own token: %w", context.Cause(ctx))
	}
	if err != nil {
		return google.Token{}, err
	}
	own.Account = account
	return own, nil
}

// source returns a Source of its own for one check, so that what it remembers of failures concerns no other.
func (e *examination) source(base google.Base) (*google.Source, error) {
	return google.New(google.Config{
		Base: base, Endpoint: e.Endpoint, STSEndpoint: e.STSEndpoint, UniverseDomain: e.universe, Client: e.Client, Log: e.log,
	})
}

// ownToken is the Base of the token that checkIdentity fetched.
func (e *examination) ownToken(context.Context) (google.Token, error) {
	if e.own.Value.Len() == 0 {
		return google.Token{}, errors.New("the agent has no token of its own")
	}
	return e.own, nil
}

// unlessNeeded makes a failure of the agent's identity a warning where no role is minted with it.
func (e *examination) unlessNeeded(check Check) Check {
	for _, g := range e.grants {
		if g.Exchange == nil {
			return check
		}
	}
	if len(e.grants) > 0 {
		check.Status = Warning
		check.Advice += " No role that was checked needs it: they all exchange the tokens of their callers."
	}
	return check
}

// fail returns c as a check that failed.
func (c Check) fail(r Reason, summary, advice, fix string) Check {
	if r == ProxyRefused {
		summary += ", says the proxy"
	}
	c.Status, c.Reason, c.Summary, c.Advice, c.Fix = Failed, r, clean(summary), advice, fix
	return c
}

// skip returns c as a check that was not made.
func (c Check) skip(summary, advice string) Check {
	c.Status, c.Reason, c.Summary, c.Advice = Skipped, NotChecked, clean("not checked: "+summary), advice
	return c
}

// explainFile says what to do about a credential file that was not taken.
func explainFile(text, file string) (advice, fix string) {
	switch {
	case strings.Contains(text, "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"):
		return "The file names a program to run. If that is meant, set the variable to 1 for the agent.", ""
	case strings.Contains(text, "can be written by others"):
		return "The file says which addresses get secrets and which commands are run, so nobody but its owner may write it.",
			"chmod go-w " + quoted(file)
	case strings.Contains(text, "belongs to user"):
		return "The file must belong to root or to the user that the agent runs as. Run the doctor as that user.", "ls -l " + quoted(file)
	case strings.Contains(text, "no such file"), strings.Contains(text, "permission denied"):
		return "Check the path in google.credentials or GOOGLE_APPLICATION_CREDENTIALS, and that the agent's user can read it.",
			"ls -l " + quoted(file)
	}
	return "Make the file again with `gcloud iam workload-identity-pools create-cred-config`, or download it again.", ""
}

// failIdentity returns c as failed with err, the outcome of a fetch of the agent's own token.
func (c Check) failIdentity(err error) Check {
	text, fix := err.Error(), ""
	if e, ok := errors.AsType[*google.Error](err); ok {
		text, fix = e.Detail, e.Fix
	}
	reason, advice, network := wayTo(text)
	if strings.Contains(text, " answered ") {
		network = false
	}
	switch {
	case strings.Contains(text, "no service account is attached"):
		return c.fail(NoServiceAccount, text, "Attach the agent's service account to this machine (the machine must be stopped for it). On GKE "+
			"bind the Kubernetes service account to it with Workload Identity Federation.", fix)
	case c.Identity.File == "" && (network || strings.Contains(text, "no metadata server")):
		return c.fail(NoMetadataServer, text, "No credential file is configured, and there is no metadata server. On GKE or Compute Engine "+
			"check that pods may reach 169.254.169.254 and that the node pool has the GKE metadata server. Anywhere else name a credential "+
			"file in google.credentials: workload identity federation needs no key.", fix)
	case network:
		return c.fail(reason, text, advice, fix)
	case c.Identity.File == "":
		return c.fail(GoogleUnavailable, text, "The metadata server answers, but gives no token. It does that for a while after the machine "+
			"starts; if it lasts look at what it says.", fix)
	}
	return c.fail(CredentialsRefused, text, "Google, or the party that the file names, does not accept what the file says: look at the pool, "+
		"its provider and its attribute condition, at the binding of roles/iam.workloadIdentityUser, or make the key again.", fix)
}

func policyFacts(p *policy.Policy) Policy {
	return Policy{Digest: p.Digest(), Roles: len(p.Grants()), Rules: len(p.Model().Rules)}
}
