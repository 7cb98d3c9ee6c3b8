package google

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"cloud.google.com/go/compute/metadata"

	"vertex-spoa/agent/internal/secret"
)

const metadataTimeout = 5 * time.Second // of everything that one token needs

// Metadata returns the Base of the service account that the platform attached to this machine or pod, which the metadata server speaks
// for: Compute Engine, GKE, Cloud Run. The environment variable GCE_METADATA_HOST names another address of that server. It is asked when
// the first token is wanted, directly and never through a proxy or the client.
//
// Only the metadata server is taken, whatever credentials gcloud has left for this user. Metadata fails if GOOGLE_APPLICATION_CREDENTIALS
// is set, rather than act as somebody else than that variable says; see Credentials.
func Metadata(ctx context.Context, _ *http.Client) (Base, error) { return metadataBase(ctx, "") }

func metadataBase(ctx context.Context, host string) (Base, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("find the metadata server: %w", err)
	}
	if os.Getenv("GOOGLE_APPLICATION_CREDENTIALS") != "" {
		return nil, errors.New("GOOGLE_APPLICATION_CREDENTIALS is set, but the metadata server is to be asked: " +
			"name that file in the configuration, or unset it")
	}
	if strings.ContainsAny(host, "/?#@") {
		return nil, fmt.Errorf("metadata host %.60q is not of the form host or host:port", host)
	}
	direct := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		IdleConnTimeout:     time.Minute,
		MaxIdleConnsPerHost: 2,
	}
	m := &metadataServer{client: metadata.NewWithOptions(&metadata.Options{
		Client: &http.Client{Transport: toMetadata{bounded{direct}, host}, CheckRedirect: refuseRedirect},
		Logger: slog.New(slog.DiscardHandler),
	})}
	return m.token, nil
}

// toMetadata carries requests to the metadata server at host, or where they are sent to if host is empty, and takes answers of a metadata
// server only: they are marked by a field, so that a proxy or a login page is not taken for one.
type toMetadata struct {
	http.RoundTripper
	host string
}

var errNoMetadataServer = errors.New("what answers is no metadata server: it does not send Metadata-Flavor: Google")

func (m toMetadata) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.host != "" {
		r = r.Clone(r.Context())
		r.URL.Host, r.Host = m.host, ""
	}
	answer, err := m.RoundTripper.RoundTrip(r)
	if err == nil && answer.Header.Get("Metadata-Flavor") != "Google" {
		_ = answer.Body.Close()
		return nil, errNoMetadataServer
	}
	return answer, err
}

// metadataServer remembers what does not change: who we are.
type metadataServer struct {
	client *metadata.Client
	email  atomic.Pointer[string]
}

func (m *metadataServer) token(ctx context.Context) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	email, err := m.whoami(ctx)
	if err != nil {
		return Token{}, err
	}
	start := wall()
	text, err := m.client.GetWithContext(ctx, "instance/service-accounts/default/token?scopes="+url.QueryEscape(platformScope))
	if err != nil {
		return Token{}, fmt.Errorf("fetch token from the metadata server: %w", m.withoutBody(ctx, err))
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.AccessToken == "" || answer.ExpiresIn > int64(maxLifetime/time.Second) {
		return Token{}, errors.New("fetch token from the metadata server: the answer cannot be read") // err may quote a token
	}
	return Token{
		Value: secret.New(answer.AccessToken), Account: email, Expiry: start.Add(time.Duration(answer.ExpiresIn) * time.Second),
	}, nil
}

// whoami returns the e-mail of the attached service account, empty if the server does not tell it.
func (m *metadataServer) whoami(ctx context.Context) (string, error) {
	if known := m.email.Load(); known != nil {
		return *known, nil
	}
	email, err := m.client.EmailWithContext(ctx, "default")
	if _, unknown := errors.AsType[metadata.NotDefinedError](err); unknown {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask the metadata server: %w", m.withoutBody(ctx, err))
	}
	m.email.Store(&email)
	return email, nil
}

// withoutBody returns err without what the metadata server wrote in its answer, which may be part of a token.
func (m *metadataServer) withoutBody(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return mendable{fmt.Errorf("no answer within %v", metadataTimeout), seeMetadata}
	}
	if e, ok := errors.AsType[*metadata.Error](err); ok {
		return mendable{fmt.Errorf("status %d", e.Code), seeMetadata}
	}
	if _, ok := errors.AsType[metadata.NotDefinedError](err); ok {
		return mendable{errors.New("no service account is attached to this machine"), widenScopes}
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return mendable{e.Err, seeMetadata}
	}
	return mendable{errors.New("the answer cannot be read"), seeMetadata}
}
