package google

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vertex-spoa/agent/internal/secret"
)

const (
	grantTypeExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType   = "urn:ietf:params:oauth:token-type:access_token"
)

// sts calls the token method of the Security Token Service, RFC 8693 section 2.
type sts struct {
	endpoint string // without path
	client   *http.Client
}

func newSTS(c Config, carrier http.RoundTripper) (*sts, error) {
	endpoint, err := checkEndpoint(c.STSEndpoint, "sts", c.UniverseDomain)
	if err != nil {
		return nil, fmt.Errorf("security token service: %w", err)
	}
	return &sts{endpoint, &http.Client{Transport: bounded{carrier}, CheckRedirect: refuseRedirect}}, nil
}

// exchange sends the caller's token of r once and returns the federated one, whose Account is empty. The expiry is at most that of the
// caller's token.
func (s *sts) exchange(ctx context.Context, r Request) (Token, *Error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	start := wall()
	form, err := exchangeForm(r)
	if err != nil {
		return Token{}, &Error{Reason: MintInvalid, Detail: "the form of the exchange cannot be written"}
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint+"/v1/token", strings.NewReader(form.Encode()))
	if err != nil {
		return Token{}, &Error{Reason: MintInvalid, Detail: "the request of the exchange cannot be written"}
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Header.Set("Accept", "application/json")
	answer, err := s.client.Do(q)
	if err != nil {
		return Token{}, s.unreachable(ctx, r, err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return Token{}, s.unreachable(ctx, r, err)
	}
	if answer.StatusCode != http.StatusOK {
		return Token{}, s.refused(r, answer, body)
	}
	return federated(r, body, start)
}

// exchangeForm renders r as RFC 8693 section 2.1 has it. Options are an extension of Google's.
func exchangeForm(r Request) (url.Values, error) {
	form := url.Values{
		"grant_type":           {grantTypeExchange},
		"audience":             {r.Exchange.Audience},
		"scope":                {strings.Join(r.Exchange.scopes(), " ")},
		"requested_token_type": {accessTokenType},
		"subject_token":        {r.Subject.Reveal()},
		"subject_token_type":   {string(r.Exchange.subjectTokenType())},
	}
	if r.Exchange.UserProject != "" {
		options, err := json.Marshal(map[string]string{"userProject": r.Exchange.UserProject})
		if err != nil {
			return nil, err
		}
		form.Set("options", string(options))
	}
	return form, nil
}

// federated reads a successful answer, RFC 8693 section 2.2.1, to a request sent at start.
func federated(r Request, body []byte, start time.Time) (Token, *Error) {
	invalid := func(detail string) (Token, *Error) {
		return Token{}, &Error{Reason: MintInvalid, Detail: "STS answered " + detail}
	}
	var answer struct {
		AccessToken     string `json:"access_token"`
		IssuedTokenType string `json:"issued_token_type"`
		TokenType       string `json:"token_type"`
		ExpiresIn       int64  `json:"expires_in"`
	}
	switch err := json.Unmarshal(body, &answer); { // err may quote a token
	case err != nil:
		return invalid("with something else than a token response")
	case unfit(answer.AccessToken) != "":
		return invalid(unfit(answer.AccessToken))
	case !strings.EqualFold(answer.TokenType, "Bearer") || answer.IssuedTokenType != accessTokenType:
		return invalid("with a token of another type than a bearer access token")
	case answer.ExpiresIn <= 0:
		return invalid("with a token without an expiry, or one that has expired")
	}
	life := min(time.Duration(min(answer.ExpiresIn, int64(maxLifetime/time.Second)))*time.Second, maxLifetime)
	expiry := start.Add(life)
	if until := r.SubjectExpiry.Round(0); until.Before(expiry) {
		expiry = until
	}
	switch now := wall(); {
	case !now.Before(r.SubjectExpiry):
		return Token{}, expiredMeanwhile()
	case !now.Before(expiry):
		return invalid("with a token that has expired")
	}
	return Token{Value: secret.New(answer.AccessToken), Expiry: expiry}, nil
}

// unreachable is the error of a call that brought no answer.
func (s *sts) unreachable(ctx context.Context, r Request, err error) *Error {
	failure := &Error{Reason: ExchangeUnavailable, Fix: reach(s.endpoint)}
	if ctx.Err() != nil {
		failure.Detail = fmt.Sprintf("%s did not answer within %v", s.endpoint, callTimeout)
		return failure
	}
	if transport, ok := errors.AsType[*url.Error](err); ok {
		err = transport.Err
	}
	failure.Detail = fmt.Sprintf("call %s: %s", s.endpoint, clean(err.Error(), r.Subject))
	return failure
}

// refused classifies an answer with another status than 200. Errors of STS are those of RFC 6749 section 5.2; in front of it, Google's
// infrastructure answers with a google.rpc.Status.
func (s *sts) refused(r Request, answer *http.Response, body []byte) *Error {
	said := readComplaint(body, r.Subject)
	failure := &Error{Reason: MintInvalid, Detail: fmt.Sprintf("STS answered %d%s", answer.StatusCode, said.text())}
	switch code := answer.StatusCode; {
	case code >= 500 || code == http.StatusRequestTimeout:
		failure.Reason, failure.RetryAfter = ExchangeUnavailable, retryAfter(answer.Header, time.Now())
	case code == http.StatusTooManyRequests:
		failure.Reason, failure.RetryAfter = ExchangeUnavailable, retryAfter(answer.Header, time.Now())
		if failure.RetryAfter == 0 {
			failure.RetryAfter = busyPause
		}
	case said.code == "invalid_grant", said.code == "unauthorized_client", said.code == "access_denied":
		failure.Reason = ExchangeRefused
	case said.code == "invalid_target":
		failure.Detail = fmt.Sprintf("there is no provider %s, or it is disabled; %s", r.Exchange.Audience, failure.Detail)
		failure.Fix = describeProvider(r.Exchange.Audience)
	case said.reason == "SERVICE_DISABLED":
		failure.Detail = fmt.Sprintf("the API sts.googleapis.com is disabled; %s", failure.Detail)
		failure.Fix = enableAPI("sts.googleapis.com", said.consumer)
	case code == http.StatusForbidden && r.Exchange.UserProject != "":
		failure.Reason = ExchangeRefused
		failure.Detail = fmt.Sprintf("the caller needs roles/serviceusage.serviceUsageConsumer on %s; %s", r.Exchange.UserProject, failure.Detail)
	}
	return failure
}
