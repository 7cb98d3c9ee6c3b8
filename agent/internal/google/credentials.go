package google

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"sync"
	"time"

	"cloud.google.com/go/auth/credentials"

	"vertex-spoa/agent/internal/secret"
)

// yearAhead is an early refresh that makes the library fetch a token whenever it is asked: Source caches, and its own refresh does not try
// again after a failure.
const yearAhead = 365 * 24 * time.Hour

// Credentials returns the Base that c describes, and what is known about it without asking anybody: no call is made before the first
// token is wanted. A file is read and checked at once, and again whenever a token is fetched: a changed one is taken if it is sound, and
// otherwise the last sound one goes on being used and the log says why.
//
// A credential file says which addresses get secrets and which commands are run. It must be a regular file that belongs to root or to
// the user this process runs as, and that nobody else can write.
func Credentials(ctx context.Context, c BaseConfig) (Base, BaseInfo, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.File == "" {
		base, err := metadataBase(ctx, c.MetadataHost)
		if err != nil {
			return nil, BaseInfo{}, err
		}
		universe, err := universeOf(c.UniverseDomain)
		if err != nil {
			return nil, BaseInfo{}, err
		}
		return base, BaseInfo{Kind: "metadata", UniverseDomain: universe}, nil
	}
	carrier, _, err := carrierOf(c.Client)
	if err != nil {
		return nil, BaseInfo{}, err
	}
	f := &credentialFile{path: c.File, ends: endpointsOf(c), carrier: withoutProxyOnLink(carrier), log: c.Log}
	text, err := readTrusted(c.File)
	if err != nil {
		return nil, BaseInfo{}, fmt.Errorf("credentials: %w", err)
	}
	f.seen = sha256.Sum256(text)
	if f.good, err = parseCredential(text, f.ends); err != nil {
		return nil, BaseInfo{}, fmt.Errorf("credentials: %s: %w", c.File, err)
	}
	f.warn()
	info := f.good.info
	info.File, info.Changed = c.File, f.changed
	return f.token, info, nil
}

// credentialFile is the Base of a credential file.
type credentialFile struct {
	path    string
	ends    endpoints
	carrier http.RoundTripper
	log     *slog.Logger

	mu   sync.Mutex // held while the file is read
	good *credential
	seen [sha256.Size]byte // of the file when it was last looked at, sound or not
}

// changed reports whether the file is another than at the last fetch. One that cannot be read now is no change.
func (f *credentialFile) changed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := readTrusted(f.path)
	return err == nil && sha256.Sum256(text) != f.seen
}

// current reads the file again and returns the last sound content of it.
func (f *credentialFile) current() *credential {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := readTrusted(f.path)
	if err != nil {
		f.log.Warn("credentials file not read, the content before stays in use", "file", f.path, "error", err)
		return f.good
	}
	digest := sha256.Sum256(text)
	if digest == f.seen {
		return f.good
	}
	f.seen = digest
	next, err := parseCredential(text, f.ends)
	if err != nil {
		f.log.Error("credentials file not taken, the content before stays in use", "file", f.path, "error", err)
		return f.good
	}
	f.good = next
	f.log.Info("credentials file taken", "file", f.path, "kind", next.info.Kind, "account", next.info.Account)
	f.warn()
	return f.good
}

func (f *credentialFile) warn() {
	if f.good.info.LongLived {
		f.log.Warn("the agent's credentials hold a secret that never expires: whoever reads the file can act as the agent until it is revoked; "+
			"prefer an attached service account or workload identity federation",
			"file", f.path, "kind", f.good.info.Kind, "account", f.good.info.Account)
	}
}

// token fetches a token with the file as it stands. The library's credentials are made anew each time, so that they hold no token.
func (f *credentialFile) token(ctx context.Context) (Token, error) {
	c := f.current()
	trail := &trail{carrier: f.carrier}
	found, err := credentials.NewCredentialsFromJSON(credentials.CredType(c.info.Kind), []byte(c.text.Reveal()), &credentials.DetectOptions{
		Scopes:              []string{platformScope},
		EarlyTokenRefresh:   yearAhead,
		DisableAsyncRefresh: true,
		TokenURL:            c.oauth,
		UniverseDomain:      c.info.UniverseDomain,
		Client:              &http.Client{Transport: trail, CheckRedirect: refuseRedirect},
		Logger:              slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return Token{}, fmt.Errorf("%s: %s", f.path, harmless(err))
	}
	t, err := found.Token(ctx)
	if err != nil {
		return Token{}, trail.explain(f.path, err)
	}
	return Token{Value: secret.New(t.Value), Expiry: t.Expiry, Account: c.info.Account}, nil
}

// longRun is what may be a secret in a text of the library, which repeats what commands and files say.
var longRun = regexp.MustCompile(`[A-Za-z0-9_\-+/=.~%]{16,}`)

// harmless returns what err says without anything that may be a secret or a part of one.
func harmless(err error) string {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Sprintf("the executable failed with exit code %d", e.ExitCode())
	}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return fmt.Sprintf("the executable %q cannot be run: %v", e.Name, e.Err)
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "no answer in time"
	}
	text := bytes.TrimPrefix([]byte(err.Error()), []byte("credentials: "))
	return clean(string(longRun.ReplaceAll(text, []byte("[..]"))))
}
