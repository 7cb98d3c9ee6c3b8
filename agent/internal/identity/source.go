package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	fetchTimeout = 5 * time.Second // for everything one fetch needs, discovery included
	maxRedirects = 3

	minRefresh     = time.Minute
	maxRefresh     = time.Hour
	defaultRefresh = 5 * time.Minute // for a document without max-age: what a withdrawn key may outlive its withdrawal
	fileRefresh    = time.Minute
)

// source says where the keys of an issuer come from, and which of them count. Two policies that agree on it share one keySet.
type source struct {
	issuer string // its URL
	url    string // of the key set, or "" for discovery
	file   string // instead of both
	inline string // the document itself, instead of all three
	use    string // value of a key's use that is as good as sig, or ""

	caFile    string // of the hosts that are asked, or ""
	proxy     string // to ask through, or ""
	tokenFile string // holds the bearer token to ask with, or ""
}

func (s source) validate() error {
	remote := s.file == "" && s.inline == ""
	switch {
	case s.url != "" && !remote || s.file != "" && s.inline != "":
		return errors.New("a key set URL, a key set file and a key set in place exclude each other")
	case !remote && s.caFile+s.proxy+s.tokenFile != "":
		return errors.New("CA, proxy and token are for keys that are fetched")
	case s.inline != "":
		_, err := parseKeyring([]byte(s.inline), s, time.Time{})
		return err
	case s.file != "":
		return nil
	}
	if s.proxy != "" {
		if err := checkProxy(s.proxy); err != nil {
			return err
		}
	}
	if s.url != "" {
		return checkURL(s.url)
	}
	_, err := discoveryURL(s.issuer)
	return err
}

// fetcher reads the document of one source. It belongs to one goroutine.
type fetcher struct {
	source
	client     *http.Client
	own        ownClient // in place of client where the source wants one
	keysURL    string    // what discovery found, or ""
	discovered time.Time // and when
}

// fetch returns the keys and after how long they want to be fetched again: what max-age says, between 1 minute and 1 hour. It takes at
// most 5 s.
func (f *fetcher) fetch(ctx context.Context) (*keyring, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	document, refresh, err := f.document(ctx)
	if err != nil {
		return nil, 0, err
	}
	r, err := parseKeyring(document, f.source, time.Now())
	return r, refresh, err
}

func (f *fetcher) document(ctx context.Context) ([]byte, time.Duration, error) {
	switch {
	case f.inline != "":
		return []byte(f.inline), maxRefresh, nil
	case f.file != "":
		document, err := readFile(f.file)
		return document, fileRefresh, err
	}
	asker, err := f.asker()
	if err != nil {
		return nil, 0, err
	}
	from, err := f.locate(ctx, asker)
	if err != nil {
		return nil, 0, err
	}
	document, headers, err := asker.get(ctx, from)
	if err != nil {
		f.keysURL = "" // it may have moved
		return nil, 0, fmt.Errorf("get key set: %w", err)
	}
	return document, freshness(headers), nil
}

// locate returns the address of the key set. What discovery found is good for an hour, or until a fetch fails, so that a fetch for an
// unknown key, while a request waits, is one round trip.
func (f *fetcher) locate(ctx context.Context, a asker) (string, error) {
	if f.url != "" {
		return f.url, nil
	}
	if f.keysURL != "" && time.Since(f.discovered) < maxRefresh {
		return f.keysURL, nil
	}
	found, err := f.discover(ctx, a)
	if err != nil {
		return "", fmt.Errorf("discover key set: %w", err)
	}
	f.keysURL, f.discovered = found, time.Now()
	return found, nil
}

// discover reads the issuer's configuration (OpenID Connect Discovery 1.0 section 4), whose issuer must be the configured one byte for
// byte: otherwise a host that serves several issuers could hand out the keys of another (section 4.3).
func (f *fetcher) discover(ctx context.Context, a asker) (string, error) {
	from, err := discoveryURL(f.issuer)
	if err != nil {
		return "", err
	}
	document, _, err := a.get(ctx, from)
	if err != nil {
		return "", err
	}
	m, err := parseObject(document, jsonLimits{depth: 16, values: 16384})
	if err != nil {
		return "", err
	}
	if m["issuer"] != f.issuer {
		claimed, _ := m["issuer"].(string)
		return "", fmt.Errorf("document is of issuer %s", shown(claimed))
	}
	keys, _ := m["jwks_uri"].(string)
	if err := checkURL(keys); err != nil {
		return "", fmt.Errorf("jwks_uri: %w", err)
	}
	if secure(from) && !secure(keys) {
		return "", errors.New("jwks_uri: URL of host on this machine must be https, as the issuer's is")
	}
	return keys, nil
}

func readBounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read document: %w", err)
	}
	if len(b) > maxDocument {
		return nil, fmt.Errorf("document is longer than %d bytes", maxDocument)
	}
	return b, nil
}

func readFile(name string) ([]byte, error) {
	// Opening a pipe would wait for its writer, for ever.
	if info, err := os.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("key set file %q is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readBounded(f)
}

// sameOrigin is a redirect policy: the host that was configured may point to another path of its own, and nowhere else.
func sameOrigin(request *http.Request, via []*http.Request) error {
	if first := via[0].URL; request.URL.Scheme != first.Scheme || request.URL.Host != first.Host {
		return errors.New("redirect to another host refused")
	}
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return nil
}

// freshness reads Cache-Control (RFC 9111 section 5.2.2).
func freshness(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minRefresh
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return minRefresh // RFC 9111 section 4.2.1: treat as stale
			}
			return min(max(time.Duration(seconds)*time.Second, minRefresh), maxRefresh)
		}
	}
	return defaultRefresh
}
