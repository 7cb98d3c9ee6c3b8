package google

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

const (
	platformScope = "https://www.googleapis.com/auth/cloud-platform"
	baseTimeout   = 20 * time.Second // of a whole Base, whatever it is made of
)

// Base fetches the agent's own token, a new one if the party that issues it has one. Token.Account is the agent's e-mail, or the principal
// as IAM writes it (principalSet://…) where there is no e-mail; empty if neither is known. A Base caches nothing, never retries for long
// and may be called by several goroutines. Its error must not hold a token. One that does not end with its context is left alone a second
// later, and is called again when it has ended.
type Base func(context.Context) (Token, error)

// mint calls b within baseTimeout and does not believe it. The error is an *Error.
func (b Base) mint(ctx context.Context) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, baseTimeout)
	defer cancel()
	latest := wall().Add(maxLifetime)
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
		failure := &Error{Reason: CredentialsUnavailable, Detail: clean(err.Error(), t.Value)}
		if m, ok := errors.AsType[mendable](err); ok {
			failure.Fix = m.fix
		}
		return Token{}, failure
	}
	t.Account, t.Expiry = clean(t.Account), t.Expiry.Round(0)
	if latest.Before(t.Expiry) { // no token of Google's lives longer
		t.Expiry = latest
	}
	return t, nil
}

// endGrace is what a Base has to end in after its context has ended, before it is left alone.
const endGrace = time.Second

// abandonable returns a Base that ends soon after its context even if b does not: the library waits for what a command has started, and
// for the writer of a pipe. At most one call of b is left to end when it will, and until it has b is not called again.
func (b Base) abandonable() Base {
	type outcome struct {
		token Token
		err   error
	}
	running := make(chan struct{}, 1)
	return func(ctx context.Context) (Token, error) {
		select {
		case running <- struct{}{}:
		default:
			return Token{}, errors.New("the attempt before has not ended yet")
		}
		ended := make(chan outcome, 1)
		go func() {
			t, err := b(ctx)
			<-running
			ended <- outcome{t, err}
		}()
		select {
		case o := <-ended:
			return o.token, o.err
		case <-ctx.Done():
		}
		grace := time.NewTimer(endGrace)
		defer grace.Stop()
		select {
		case o := <-ended:
			return o.token, o.err
		case <-grace.C:
			return Token{}, ctx.Err()
		}
	}
}

// mendable is an error of a Base with what becomes Error.Fix.
type mendable struct {
	error
	fix string
}

// BaseConfig says where the agent's own identity comes from.
type BaseConfig struct {
	// File is the path of a credential configuration file, such as GOOGLE_APPLICATION_CREDENTIALS names: external_account (workload
	// identity federation), impersonated_service_account, service_account or authorized_user. Empty for the metadata server.
	File string
	// MetadataHost is host or host:port of the metadata server. Default the variable GCE_METADATA_HOST, else 169.254.169.254.
	MetadataHost string
	// STSEndpoint, IAMEndpoint and OAuthEndpoint stand in for https://sts.googleapis.com, https://iamcredentials.googleapis.com and
	// https://oauth2.googleapis.com where the file names these: https, or http on a loopback address, without path. Optional.
	STSEndpoint, IAMEndpoint, OAuthEndpoint string
	// UniverseDomain is that of the cloud, where the file does not say it. Default googleapis.com.
	UniverseDomain string
	// Client carries all calls but those to the metadata server, which is asked directly. Only its Transport is used, and redirects are
	// not followed. Optional, default a transport like http.DefaultTransport.
	Client *http.Client
	// Log is told when a changed file cannot be used, and warned of keys. Optional.
	Log *slog.Logger
}

// BaseInfo describes what Credentials found.
type BaseInfo struct {
	// Kind is "metadata" or the type the file states: "external_account", "impersonated_service_account", "service_account",
	// "authorized_user".
	Kind string
	// Source is where an external account takes its subject token from: "file", "url", "executable", "aws" or "certificate". Else empty.
	Source string
	// File is the path of the credential file, empty for the metadata server.
	File string
	// Account is the e-mail or the principal that the file names, empty if that is not known before a token is fetched.
	Account string
	// UniverseDomain is the domain of the cloud the identity belongs to, googleapis.com for most.
	UniverseDomain string
	// LongLived is true if the file holds a secret that does not expire by itself: a service account key or a refresh token.
	LongLived bool
	// Changed reports whether the file has changed since a token was last fetched, for Config.BaseChanged. Nil for the metadata server.
	Changed func() bool
}
