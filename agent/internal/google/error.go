package google

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent/internal/secret"
)

// Reason says, to a program, why there is no token. The set is closed: see Reasons.
type Reason string

// The reasons. All of them deny; none is the fault of the caller of a model.
const (
	// CredentialsUnavailable: the agent's own token is not to be had, or Google did not accept it.
	CredentialsUnavailable Reason = "CREDENTIALS_UNAVAILABLE"
	// AccountForbidden: the agent may not act as the account, or there is no such account (IAM answered 403 or 404).
	AccountForbidden Reason = "ACCOUNT_FORBIDDEN"
	// MintUnavailable: IAM could not be asked or could not answer (5xx, 429, no connection, no answer in time).
	MintUnavailable Reason = "MINT_UNAVAILABLE"
	// MintInvalid: the Request is not one that can be minted, or IAM refused its form (400), or what it answered is not a token that
	// can be used: empty, malformed, without an expiry, expired.
	MintInvalid Reason = "MINT_INVALID"
)

// Reasons returns every Reason.
func Reasons() []Reason {
	return []Reason{CredentialsUnavailable, AccountForbidden, MintUnavailable, MintInvalid}
}

// Error is what every method of Source returns in place of a token. Its text holds no token.
type Error struct {
	// Reason is one of Reasons.
	Reason Reason
	// Account is the service account asked for; empty where that was malformed, and for the agent's own token.
	Account string
	// Detail says what happened, for an operator: printable, of bounded length. For AccountForbidden it names the role that is missing
	// and on which account.
	Detail string
	// RetryAfter is how long Source answers this error without asking Google again, zero if it would ask at once.
	RetryAfter time.Duration
	// Err is the error of the context where the caller did not wait for the token, else nil. Deadlines of Source's own never show
	// here, so errors.Is(err, ctx.Err()) says that this caller gave up and nothing else.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	what := "the agent's own token"
	if e.Account != "" {
		what = fmt.Sprintf("a token of %q", e.Account)
	}
	text := fmt.Sprintf("mint %s: %s: %s", what, e.Reason, e.Detail)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// again reports whether asking once more within the same mint may help.
func (e *Error) again() bool { return e.Reason == MintUnavailable && e.RetryAfter == 0 }

const maxForeign = 240 // bytes of foreign text in a Detail

// clean makes foreign text fit for a Detail: one line, printable, bounded, without the secrets.
func clean(text string, secrets ...secret.Text) string {
	for _, s := range secrets {
		if s.Len() > 0 {
			text = strings.ReplaceAll(text, s.Reveal(), s.String())
		}
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, text[:min(len(text), 4*maxForeign)])
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), maxForeign)]
}

// chain renders who must be allowed to act as whom: the agent, the delegates, the account.
func chain(own string, r Request) string {
	if own == "" {
		own = "the agent's own account"
	}
	links := slices.Concat([]string{own}, r.Delegates, []string{r.Account})
	if len(links) == 2 {
		return fmt.Sprintf("%s needs roles/iam.serviceAccountTokenCreator on %s", links[0], links[1])
	}
	return "in the chain " + strings.Join(links, " > ") + " each needs roles/iam.serviceAccountTokenCreator on the next"
}
