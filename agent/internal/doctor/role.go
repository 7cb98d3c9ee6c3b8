package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/policy"
)

// shortBy is how much less than it was asked for the life of a token may be.
const shortBy = time.Minute

// checkRole mints a token of the role and, if asked to, calls Vertex AI with it.
func (e *examination) checkRole(ctx context.Context, g policy.Grant) []Check {
	check := Check{Kind: Role, Name: g.Role, Status: OK}
	r := google.Request{Account: g.Account, Delegates: g.Delegates, Scopes: g.Scopes, Lifetime: g.Lifetime}
	var why, advice string
	if g.Exchange != nil {
		why, advice = e.exchanging(&r, g)
	} else if e.own.Value.Len() == 0 {
		why, advice = "the agent has no token of its own", "Mend the agent's identity first."
	}
	check.Token = tokenFacts(g)
	if why != "" {
		return e.withoutToken(check.skip(why, advice))
	}
	source, err := e.source(e.ownToken)
	if err != nil {
		return e.withoutToken(check.skip(err.Error(), "Mend the agent's identity first."))
	}
	defer source.Close()
	check, token := e.mint(ctx, source, r, check)
	if check.Status == Failed {
		return e.withoutToken(check)
	}
	if !e.Vertex {
		return []Check{check}
	}
	return []Check{check, e.checkVertex(ctx, token.Value, r, g)}
}

// withoutToken returns the checks of a role without a token.
func (e *examination) withoutToken(check Check) []Check {
	if !e.Vertex {
		return []Check{check}
	}
	call := Check{Kind: Vertex, Name: check.Name}
	return []Check{check, call.skip("the role has no token", "Mend what is said of the role first.")}
}

func tokenFacts(g policy.Grant) *TokenFacts {
	facts := &TokenFacts{Account: g.Account, Delegates: g.Delegates, Scopes: g.Scopes, Asked: seconds(g.Lifetime)}
	if g.Exchange != nil {
		facts.Exchange, facts.Audience = g.Exchange.Mode, g.Exchange.Audience
	}
	if g.Exchange != nil && g.Exchange.Mode == string(google.Direct) {
		facts.Account, facts.Delegates, facts.Asked = "", nil, 0
	}
	return facts
}

// mint returns check as the outcome of one mint, and the token unless that failed.
func (e *examination) mint(ctx context.Context, source *google.Source, r google.Request, check Check) (Check, google.Token) {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	result, token := source.Check(ctx, r)
	check.Latency = Milliseconds(result.Latency)
	if !result.OK {
		if ctx.Err() != nil {
			return check.fail(NoAnswer, fmt.Sprintf("%s: %v", check.Token.who(), context.Cause(ctx)), adviceSilence, result.Fix), google.Token{}
		}
		return check.failMint(result), google.Token{}
	}
	check.Token.Granted, check.Token.Fingerprint = seconds(result.Granted), result.Fingerprint
	check.Summary = clean(check.Token.describe(result))
	if r.Exchange == nil && result.Granted < result.Asked-shortBy {
		check.Status, check.Reason = Warning, LifetimeShort
		check.Advice = "Google grants less than the policy asks for. If that is how it should be write it into the role's key token."
	}
	return check, token
}

// who is whom the token speaks for.
func (f *TokenFacts) who() string {
	return first(f.Account, "the caller's own identity")
}

// describe renders the outcome of a mint for people.
func (f *TokenFacts) describe(result google.CheckResult) string {
	var b strings.Builder
	b.WriteString(f.who())
	if len(f.Delegates) > 0 {
		b.WriteString(" by way of " + strings.Join(f.Delegates, ", "))
	}
	if near := result.Asked - result.Granted; result.Asked > 0 && near <= 2*time.Second { // expiries are in whole seconds
		fmt.Fprintf(&b, " for %s", span(result.Asked))
	} else {
		fmt.Fprintf(&b, " for %s", span(result.Granted))
	}
	if result.Granted < result.Asked-shortBy {
		fmt.Fprintf(&b, " of %s", span(result.Asked))
	}
	if f.Exchange != "" {
		b.WriteString(", exchanged")
	}
	b.WriteString(", " + shortScopes(f.Scopes))
	return b.String()
}

// failMint returns c as failed, with what is known of the failure.
func (c Check) failMint(result google.CheckResult) Check {
	reason, advice := explainMint(result.Reason, result.Detail)
	return c.fail(reason, result.Detail, advice, result.Fix)
}

// explainMint says what a failed mint means.
func explainMint(reason google.Reason, detail string) (Reason, string) {
	has := func(text string) bool { return strings.Contains(detail, text) }
	switch reason {
	case google.AccountForbidden:
		return explainForbidden(detail)
	case google.ExchangeRefused:
		if has(" needs roles/") { // by IAM, to act as the account
			return explainForbidden(detail)
		}
		return ExchangeRefused, "Google does not accept this caller: look at the provider's issuer, audiences and attribute condition, and at " +
			"whether the token is still good. For a workforce pool the caller needs serviceusage.services.use on the user project."
	case google.ExchangeUnsupported:
		return ExchangeUnsupported, "Google takes JWTs that are signed with RS256 or ES256 and were issued in the last 24 hours."
	}
	switch {
	case has("lifetime of more than"):
		return LifetimeRefused, "Ask for 1h or less in the role's key token, or have the organization allow this account longer tokens."
	case has("there is no provider"):
		return ProviderMissing, "Check the role's exchange.audience against the provider's name, and that the provider is not disabled."
	case has("is disabled"):
		return APIDisabled, adviceAPI
	case has("answered 429"):
		return QuotaExceeded, "Google's quota for such calls is used up at the moment. See what else mints tokens in this project, or ask for more."
	case has("answered 401"):
		return CredentialsRefused, "Google does not accept the agent's own token: look at this machine's clock, and whether its account is disabled."
	case has("answered 5"), has("answered 408"):
		return GoogleUnavailable, adviceOutage
	case has(" answered "):
		return AnswerInvalid, "What came is no token, or Google did not take the request. Check endpoints and scopes in configuration and policy."
	}
	if reason, advice, ok := wayTo(detail); ok {
		return reason, advice
	}
	return AnswerInvalid, "The request could not be made as the policy says it. Check the role in the policy."
}

const (
	adviceAPI    = "The API is switched off in the project that is named. Enable it, and wait a minute or two."
	adviceOutage = "Google answers that it cannot answer now. Try again; if it lasts look at https://status.cloud.google.com."
	adviceGrant  = "A new binding takes effect within about two minutes, sometimes seven."
)

// explainForbidden says what a 403 or 404 of IAM Credentials means.
func explainForbidden(detail string) (Reason, string) {
	switch {
	case strings.Contains(detail, "there is no account"):
		return AccountMissing, "Check the role's key as in the policy. If the name is right create the account, and let the agent act as it."
	case strings.Contains(detail, "is disabled in"):
		return APIDisabled, adviceAPI
	case strings.Contains(detail, "access scopes"):
		return ScopeMissing, "Stop the machine, give it the scope cloud-platform, and start it again: IAM alone then limits what it may do."
	}
	return PermissionMissing, "Grant the role that is named on that account alone, not on the project. " + adviceGrant
}
