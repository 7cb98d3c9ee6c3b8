package google

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	credentials "cloud.google.com/go/iam/credentials/apiv1"
	"cloud.google.com/go/iam/credentials/apiv1/credentialspb"
	"github.com/googleapis/gax-go/v2/callctx"
	"google.golang.org/api/option"
	"google.golang.org/protobuf/types/known/durationpb"

	"vertex-spoa/agent/internal/secret"
)

const (
	publicUniverse = "googleapis.com"
	callTimeout    = 5 * time.Second
	maxAnswer      = 256 << 10 // bytes
)

// iam calls generateAccessToken with the agent's own token.
type iam struct {
	client   *credentials.IamCredentialsClient
	carrier  http.RoundTripper
	own      *entry
	log      *slog.Logger
	down     breaker // of the agent's own calls
	endpoint string
	slots    chan struct{} // one element per call under way
	onMint   func(account string, d time.Duration, err error)
	idle     func() // closes idle connections, of a transport of ours only
}

func newIAM(c Config, own *entry) (*iam, error) {
	endpoint, err := checkEndpoint(c.Endpoint, "iamcredentials", c.UniverseDomain)
	if err != nil {
		return nil, err
	}
	m := &iam{own: own, endpoint: endpoint, slots: make(chan struct{}, maxParallel), onMint: c.OnMint, log: c.Log}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.carrier, m.idle, err = carrierOf(c.Client); err != nil {
		return nil, err
	}
	// With a client given, the library adds neither credentials nor telemetry; with an endpoint given, no environment variable moves
	// the call to another host; with a logger given, none makes it print tokens.
	m.client, err = credentials.NewIamCredentialsRESTClient(context.Background(),
		option.WithHTTPClient(&http.Client{Transport: bounded{m.carrier}, CheckRedirect: refuseRedirect}),
		option.WithEndpoint(endpoint),
		option.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, fmt.Errorf("make client of %q: %w", endpoint, err)
	}
	// The library's retries would go on until the deadline and then hide what the server said.
	m.client.CallOptions.GenerateAccessToken = nil
	return m, nil
}

// checkEndpoint returns the URL to call: endpoint, or that of the service in the universe. Tokens go there, so they must be protected on
// their way.
func checkEndpoint(endpoint, service, universe string) (string, error) {
	universe = cmp.Or(universe, publicUniverse)
	if !emailPart(universe) || !strings.Contains(universe, ".") {
		return "", fmt.Errorf("universe domain %.60q is not a domain", universe)
	}
	if endpoint == "" {
		return "https://" + service + "." + universe, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", errors.New("endpoint is not a URL") // the error of Parse repeats it, with any password
	}
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return "", fmt.Errorf("endpoint %q is not of the form https://host", u.Redacted())
	}
	if !protected(u) {
		return "", fmt.Errorf("endpoint %q is neither https nor http on a loopback address", endpoint)
	}
	return u.Scheme + "://" + u.Host, nil
}

// protected reports whether what is sent to u cannot be read on its way.
func protected(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// refuseRedirect hands a redirect to the caller as it is: IAM does not redirect, and the agent's own token is for IAM alone.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// actor is who asks IAM: the agent, or a caller whose token STS has exchanged.
type actor struct {
	bearer secret.Text
	name   string // e-mail or principal, empty if unknown
	role   string // what it needs on the account
}

// mint asks IAM once for a token of r, as the agent. The error is an *Error.
func (m *iam) mint(ctx context.Context, r Request) (Token, error) {
	start := time.Now()
	t, err := m.ask(ctx, r)
	if m.onMint != nil {
		m.onMint(r.Account, time.Since(start), err)
	}
	return t, err
}

func (m *iam) ask(ctx context.Context, r Request) (Token, error) {
	own, err := m.own.get(ctx)
	if err != nil {
		return Token{}, withoutOwn(r, err)
	}
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return Token{}, &Error{Reason: MintUnavailable, Account: r.Account, Detail: "too many mints wait for IAM"}
	}
	if wait, ok := m.down.admit(wall()); !ok {
		failure := m.down.refusal(MintUnavailable, "IAM", wait)
		failure.Account = r.Account
		return Token{}, failure
	}
	t, failure := m.generate(ctx, r, actor{own.Value, own.Account, tokenCreator})
	m.noteEnd(ctx, r.Account, failure)
	if failure == nil {
		return t, nil
	}
	if failure.Reason == CredentialsUnavailable {
		m.own.drop(m.own.mint)
	}
	return Token{}, failure
}

// noteEnd tells the breaker how a call for account ended. What IAM asks an account to wait, a quota of its project may be the reason for:
// it concerns no other account.
func (m *iam) noteEnd(ctx context.Context, account string, failure *Error) {
	if failure != nil && failure.RetryAfter > 0 {
		m.down.skip()
		return
	}
	m.down.end(ctx, account, failure, "IAM", m.log)
}

// generate calls generateAccessToken once, as the actor.
func (m *iam) generate(ctx context.Context, r Request, as actor) (Token, *Error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	start := wall()
	answer, err := m.client.GenerateAccessToken(
		callctx.SetHeaders(ctx, "authorization", "Bearer "+as.bearer.Reveal()), tokenRequest(r))
	if err != nil {
		return Token{}, m.refused(ctx, r, as, err)
	}
	return accept(r, answer, start, wall())
}

// withoutOwn is the error of a mint that lacks the agent's own token. How long that is so for, the agent's own entry knows.
func withoutOwn(r Request, err error) *Error {
	failure := &Error{Reason: CredentialsUnavailable, Account: r.Account, Detail: "the agent's own token did not come in time"}
	if e, ok := errors.AsType[*Error](err); ok && e.Err == nil {
		failure.Detail, failure.Fix, failure.RetryAfter = e.Detail, e.Fix, e.RetryAfter
	}
	return failure
}

// tokenRequest renders r as the message GenerateAccessTokenRequest. The project in a resource name has to be the wildcard.
func tokenRequest(r Request) *credentialspb.GenerateAccessTokenRequest {
	const prefix = "projects/-/serviceAccounts/"
	q := &credentialspb.GenerateAccessTokenRequest{
		Name: prefix + r.Account, Scope: r.Scopes, Lifetime: durationpb.New(r.lifetime()),
	}
	for _, d := range r.Delegates {
		q.Delegates = append(q.Delegates, prefix+d)
	}
	return q
}

// accept returns the token in answer, to a request sent at start, if it can be used at now. The token cannot outlive what was asked for,
// so its expiry is at most that, whatever the server's clock or ours says.
func accept(r Request, answer *credentialspb.GenerateAccessTokenResponse, start, now time.Time) (Token, *Error) {
	invalid := func(detail string) (Token, *Error) {
		return Token{}, &Error{Reason: MintInvalid, Account: r.Account, Detail: "IAM answered " + detail}
	}
	if problem := unfit(answer.GetAccessToken()); problem != "" {
		return invalid(problem)
	}
	if !answer.GetExpireTime().IsValid() {
		return invalid("with a token without an expiry")
	}
	expiry := answer.GetExpireTime().AsTime()
	if latest := start.Add(r.lifetime()); expiry.After(latest) {
		expiry = latest
	}
	if !now.Before(expiry) {
		return invalid(fmt.Sprintf("with a token that expired at %s, and here it is %s",
			expiry.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	}
	return Token{Value: secret.New(answer.GetAccessToken()), Expiry: expiry, Account: r.Account}, nil
}

func (m *iam) close() {
	_ = m.client.Close() // only forgets the HTTP client
	m.idle()
}

// bounded is a transport whose answers end after maxAnswer bytes and whose reading errors can be told from those of decoding.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = &boundedBody{answer.Body, maxAnswer}
	}
	return answer, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

// errTooLong says that an answer has more than maxAnswer bytes.
var errTooLong = fmt.Errorf("an answer of more than %d bytes", maxAnswer)

// brokenOff is an error while an answer was read.
type brokenOff struct{ error }

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	b.left -= n
	switch {
	case b.left < 0:
		return n, errTooLong
	case err != nil && err != io.EOF:
		return n, brokenOff{err}
	}
	return n, err
}
