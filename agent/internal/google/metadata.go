package google

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/compute/metadata"

	"vertex-spoa/agent/internal/secret"
)

const (
	platformScope = "https://www.googleapis.com/auth/cloud-platform"
	baseTimeout   = 5 * time.Second
)

// Base fetches the agent's own token, a new one if the party that issues it has one. Token.Account is the agent's e-mail, empty if that
// is not known. A Base caches nothing, never retries for long and may be called by several goroutines. Its error must not hold a token.
type Base func(context.Context) (Token, error)

// mint calls b within baseTimeout and does not believe it. The error is an *Error.
func (b Base) mint(ctx context.Context) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, baseTimeout)
	defer cancel()
	t, err := b(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("no answer within %v", baseTimeout)
	case err != nil:
	case !visible(t.Value.Reveal()):
		err = errors.New("the token is empty or cannot stand in a header")
	case !wall().Before(t.Expiry):
		err = fmt.Errorf("the token expired at %s", t.Expiry.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return Token{}, &Error{Reason: CredentialsUnavailable, Detail: clean(err.Error(), t.Value)}
	}
	t.Account, t.Expiry = clean(t.Account), t.Expiry.Round(0)
	return t, nil
}

// Metadata returns the Base of the service account that the platform attached to this machine or pod, which the metadata server speaks
// for: Compute Engine, GKE, Cloud Run. The environment variable GCE_METADATA_HOST names another address of that server. It is asked when
// the first token is wanted, directly and never through a proxy; client carries what else the library may ask for, and nil is the
// library's default.
//
// Only the metadata server is taken: Metadata fails if GOOGLE_APPLICATION_CREDENTIALS is set, and the Base does if gcloud has left
// credentials for this user, rather than act as somebody else than the machine.
func Metadata(ctx context.Context, client *http.Client) (Base, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("find the metadata server: %w", err)
	}
	if os.Getenv("GOOGLE_APPLICATION_CREDENTIALS") != "" {
		return nil, errors.New("GOOGLE_APPLICATION_CREDENTIALS is set: credentials from a file are not supported, unset it")
	}
	m := &metadataServer{client: client}
	return m.token, nil
}

// metadataServer remembers what does not change: who we are, and the library's way to get a token.
type metadataServer struct {
	client *http.Client
	email  atomic.Pointer[string]
	found  atomic.Pointer[auth.Credentials]
}

// token fetches the token. The e-mail comes first, because the library decides once per process whether there is a metadata server: it
// may only be asked once the server is known to answer.
func (m *metadataServer) token(ctx context.Context) (Token, error) {
	email, err := m.whoami(ctx)
	if err != nil {
		return Token{}, err
	}
	found, err := m.detect()
	if err != nil {
		return Token{}, err
	}
	t, err := found.Token(ctx)
	if err != nil {
		return Token{}, fmt.Errorf("fetch token from the metadata server: %w", withoutBody(err))
	}
	return Token{Value: secret.New(t.Value), Expiry: t.Expiry, Account: email}, nil
}

// whoami returns the e-mail of the attached service account, empty if the server does not tell it.
func (m *metadataServer) whoami(ctx context.Context) (string, error) {
	if known := m.email.Load(); known != nil {
		return *known, nil
	}
	email, err := metadata.NewClient(nil).EmailWithContext(ctx, "default")
	if _, unknown := errors.AsType[metadata.NotDefinedError](err); unknown {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask the metadata server: %w", withoutBody(err))
	}
	m.email.Store(&email)
	return email, nil
}

// detect returns the library's credentials. They cache a token too; EarlyTokenRefresh makes them fetch one whenever they are asked, since
// their own refresh does not try again after a failure.
func (m *metadataServer) detect() (*auth.Credentials, error) {
	if found := m.found.Load(); found != nil {
		return found, nil
	}
	found, err := credentials.DetectDefault(&credentials.DetectOptions{
		Scopes:              []string{platformScope},
		EarlyTokenRefresh:   365 * 24 * time.Hour,
		DisableAsyncRefresh: true,
		Client:              m.client,
		Logger:              slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, errors.New("no metadata server was found")
	}
	if len(found.JSON()) > 0 {
		return nil, errors.New("gcloud has left application default credentials in a file: they are not supported, remove them")
	}
	m.found.Store(found)
	return found, nil
}

// withoutBody returns err without what the metadata server wrote in its answer, which may be part of a token.
func withoutBody(err error) error {
	if e, ok := errors.AsType[*metadata.Error](err); ok {
		return fmt.Errorf("status %d", e.Code)
	}
	if _, ok := errors.AsType[metadata.NotDefinedError](err); ok {
		return errors.New("no service account is attached to this machine")
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return errors.New("the answer cannot be read")
}
