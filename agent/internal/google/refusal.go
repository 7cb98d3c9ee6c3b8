package google

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/googleapi"
)

const busyPause = 5 * time.Second // after a 429 that names no time

// refused makes an *Error of err, which the client of IAM returned to a call under ctx. err itself does not travel on: it may repeat what
// a server said without bounds.
func (m *iam) refused(ctx context.Context, r Request, as actor, err error) *Error {
	failure := &Error{Reason: MintUnavailable, Account: r.Account}
	api, answered := errors.AsType[*apierror.APIError](err)
	transport, failed := errors.AsType[*url.Error](err)
	broken, cut := errors.AsType[brokenOff](err)
	switch {
	case answered && api.HTTPCode() > 0:
		m.answered(failure, r, as, api)
	case ctx.Err() != nil:
		failure.Detail, failure.Fix = fmt.Sprintf("%s did not answer within %v", m.endpoint, callTimeout), reach(m.endpoint)
	case failed:
		failure.Fix = reach(m.endpoint)
		failure.Detail = fmt.Sprintf("call %s: %s", m.endpoint, clean(transport.Err.Error(), as.bearer))
	case cut:
		failure.Detail = fmt.Sprintf("read from %s: %s", m.endpoint, clean(broken.Error(), as.bearer))
	default: // a decoder's complaint may quote a token
		failure.Reason, failure.Detail = MintInvalid, "IAM answered with something else than a token response"
	}
	return failure
}

// answered classifies an answer with an HTTP status other than 2xx.
func (m *iam) answered(failure *Error, r Request, as actor, api *apierror.APIError) {
	code := api.HTTPCode()
	said := fmt.Sprintf("IAM answered %d", code)
	if api.Message() != "" {
		said += ": " + clean(api.Message(), as.bearer)
	}
	failure.Detail = said
	switch {
	case code == http.StatusUnauthorized:
		failure.Reason = CredentialsUnavailable
	case code == http.StatusForbidden:
		forbidden(failure, r, as, api)
		failure.Detail += "; " + said
	case code == http.StatusNotFound:
		failure.Reason, failure.Fix = AccountForbidden, createAccount(r.Account)
		failure.Detail = fmt.Sprintf("there is no account %s, or %s; %s", r.Account, chain(as, r), said)
	case code == http.StatusBadRequest && r.lifetime() > DefaultLifetime:
		failure.Reason, failure.Fix = MintInvalid, allowLifetime(r.Account)
		failure.Detail = fmt.Sprintf("a lifetime of more than %v needs the account on the list of the organization policy constraint %s; %s",
			DefaultLifetime, lifetimeConstraint, said)
	case code == http.StatusTooManyRequests:
		failure.RetryAfter = retryAfter(header(api), time.Now())
		if failure.RetryAfter == 0 {
			failure.RetryAfter = busyPause
		}
	case code >= 500 || code == http.StatusRequestTimeout:
		failure.RetryAfter = retryAfter(header(api), time.Now())
	default:
		failure.Reason = MintInvalid
	}
}

// forbidden says what an administrator has to do about a 403, by the reason in its google.rpc.ErrorInfo.
func forbidden(failure *Error, r Request, as actor, api *apierror.APIError) {
	failure.Reason = AccountForbidden
	switch api.Reason() {
	case "SERVICE_DISABLED":
		consumer := clean(api.Metadata()["consumer"], as.bearer)
		failure.Detail = fmt.Sprintf("the API iamcredentials.googleapis.com is disabled in %q", consumer)
		failure.Fix = enableAPI("iamcredentials.googleapis.com", consumer)
	case "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
		failure.Detail = "the access scopes of the machine leave out " + platformScope
		failure.Fix = widenScopes
	default:
		failure.Detail = chain(as, r)
		failure.Fix = grants(as.name, slices.Concat(r.Delegates, []string{r.Account}), as.role)
	}
}

// header returns the header of the answer, nil if that is not known.
func header(api *apierror.APIError) http.Header {
	if e, ok := errors.AsType[*googleapi.Error](api.Unwrap()); ok {
		return e.Header
	}
	return nil
}

// retryAfter returns what the field Retry-After asks for, RFC 9110 section 10.2.3: seconds or a date. It is zero for none, for one that
// cannot be read and for one in the past, and at most maxRetryAfter.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
