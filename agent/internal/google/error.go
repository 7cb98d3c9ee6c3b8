package google

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent/internal/secret"
)

// Reason says, to a program, why there is no token. The set is closed: see Reasons.
type Reason string

// The reasons. All of them deny. Those of an exchange concern the caller's own token; none of the others is the fault of the caller.
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
	// ExchangeRefused: Google does not accept the caller's token, or not this caller (STS answered invalid_grant, unauthorized_client or
	// access_denied). It is the caller's fault.
	ExchangeRefused Reason = "EXCHANGE_REFUSED"
	// ExchangeUnsupported: the caller's token is one that STS never takes: none, no JWT, another algorithm than RS256 and ES256, issued
	// more than 24 hours ago. It is the caller's fault.
	ExchangeUnsupported Reason = "EXCHANGE_UNSUPPORTED"
	// ExchangeUnavailable: STS could not be asked or could not answer (5xx, 429, no connection, no answer in time).
	ExchangeUnavailable Reason = "EXCHANGE_UNAVAILABLE"
	// ExchangeLimit: the bound on exchanges per minute, or on those under way, refused one more. STS was not asked.
	ExchangeLimit Reason = "EXCHANGE_LIMIT"
)

// Reasons returns every Reason.
func Reasons() []Reason {
	return []Reason{CredentialsUnavailable, AccountForbidden, MintUnavailable, MintInvalid,
		ExchangeRefused, ExchangeUnsupported, ExchangeUnavailable, ExchangeLimit}
}

// Error is what every method of Source returns in place of a token. Its text holds no token.
type Error struct {
	// Reason is one of Reasons.
	Reason Reason
	// Account is the service account asked for; empty where that was malformed, and for the agent's own token.
	Account string
	// Audience is the provider at which the caller's own token was to be exchanged; empty where none was.
	Audience string
	// Detail says what happened, for an operator: printable, of bounded length. For AccountForbidden it names the role that is missing
	// and on which account.
	Detail string
	// Fix is a command that probably mends it, for an administrator; empty where none is known.
	Fix string
	// RetryAfter is how long Source answers this error without asking Google again, zero if it would ask at once.
	RetryAfter time.Duration
	// Err is the error of the context where the caller did not wait for the token, else nil. Deadlines of Source's own never show
	// here, so errors.Is(err, ctx.Err()) says that this caller gave up and nothing else.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	what := "mint the agent's own token"
	switch {
	case e.Audience != "" && e.Account != "":
		what = fmt.Sprintf("exchange the caller's token at %q for one of %q", e.Audience, e.Account)
	case e.Audience != "":
		what = fmt.Sprintf("exchange the caller's token at %q", e.Audience)
	case e.Account != "":
		what = fmt.Sprintf("mint a token of %q", e.Account)
	}
	text := fmt.Sprintf("%s: %s: %s", what, e.Reason, e.Detail)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// again reports whether asking once more within the same mint may help.
func (e *Error) again() bool {
	return (e.Reason == MintUnavailable || e.Reason == ExchangeUnavailable) && e.RetryAfter == 0
}

const maxForeign = 240 // bytes of foreign text in a Detail

// clean makes foreign text fit for a Detail: one line, printable, bounded, without the secrets, their parts and whatever looks like a token.
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
	text = googleToken.ReplaceAllString(strings.Join(strings.Fields(text), " "), secret.New("x").String())
	for _, s := range secrets {
		text = withoutParts(text, s)
	}
	return text[:min(len(text), maxForeign)]
}

// googleToken is what access tokens of Google look like, for those that a server repeats and that are not known here.
var googleToken = regexp.MustCompile(`ya29\.[A-Za-z0-9_.\-]+`)

const secretPart = 12 // bytes of a secret in a row that are taken for a part of it

// withoutParts blanks every run of text that is also in s, from secretPart bytes on.
func withoutParts(text string, s secret.Text) string {
	var to strings.Builder
	from := 0 // of what is not yet written
	for i := 0; i+secretPart <= len(text); i++ {
		if !strings.Contains(s.Reveal(), text[i:i+secretPart]) {
			continue
		}
		end := i + secretPart
		for end < len(text) && strings.Contains(s.Reveal(), text[end-secretPart+1:end+1]) {
			end++
		}
		to.WriteString(text[from:i])
		to.WriteString(s.String())
		from, i = end, end-1
	}
	to.WriteString(text[from:])
	return to.String()
}

// chain renders who must be allowed to act as whom: the agent or the caller, the delegates, the account.
func chain(as actor, r Request) string {
	first := as.name
	if first == "" {
		first = "the agent's own account"
	}
	links := slices.Concat([]string{first}, r.Delegates, []string{r.Account})
	if len(links) == 2 {
		return fmt.Sprintf("%s needs %s on %s", links[0], as.role, links[1])
	}
	if as.role != tokenCreator {
		return fmt.Sprintf("%s needs %s on %s, and in the chain %s each needs %s on the next",
			links[0], as.role, links[1], strings.Join(links[1:], " > "), tokenCreator)
	}
	return "in the chain " + strings.Join(links, " > ") + " each needs " + tokenCreator + " on the next"
}
