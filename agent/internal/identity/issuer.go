package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Issuer is one configured identity provider, as plain values.
type Issuer struct {
	Name       string        // the name rules use; unique, 1 to 64 printable bytes without space
	URL        string        // the iss of its tokens, byte for byte; unique, printable, without space
	Audiences  []string      // at least one; a token must name at least one of them
	Algorithms []string      // what it signs with; empty is RS256 and ES256. RS, PS, ES with 256, 384, 512, and EdDSA
	JWKSURL    string        // where its keys are; empty is discovery at URL + /.well-known/openid-configuration
	JWKSFile   string        // or a local file that holds them
	Leeway     time.Duration // clock difference forgiven in exp, nbf and iat: 0 is 30s, at most 120s
	MaxAge     time.Duration // 0 is no limit beyond exp; otherwise iat is required and at most this long ago, without leeway
}

const (
	defaultLeeway = 30 * time.Second
	maxLeeway     = 120 * time.Second
	maxName       = 64
)

// issuer is an Issuer ready to judge tokens.
type issuer struct {
	Issuer
	methods map[string]jwt.SigningMethod // by algorithm: the allow-list
	options []jwt.ParserOption           // all but the clock
	keys    *keySet
}

// newIssuer returns c with its defaults, or every problem of it. The keys are attached later.
func newIssuer(c Issuer) (*issuer, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Audiences = slices.Clone(c.Audiences)
	c.Algorithms = slices.Clone(c.Algorithms)
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{"RS256", "ES256"}
	}
	if c.Leeway == 0 {
		c.Leeway = defaultLeeway
	}
	i := &issuer{Issuer: c, methods: map[string]jwt.SigningMethod{}}
	for _, a := range c.Algorithms {
		i.methods[a] = method(a)
	}
	// golang-jwt takes an empty list or name in the first three for "do not check": validate has refused them.
	i.options = []jwt.ParserOption{
		jwt.WithValidMethods(c.Algorithms),
		jwt.WithAudience(c.Audiences...),
		jwt.WithIssuer(c.URL),
		jwt.WithLeeway(c.Leeway),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), // refuses an iat in the future
		jwt.WithStrictDecoding(),
	}
	return i, nil
}

// validate returns every problem of c, joined.
func (c Issuer) validate() error {
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("issuer %q: "+format, append([]any{c.Name}, args...)...))
	}
	if !printable(c.Name) || len(c.Name) > maxName {
		problem("name must be 1 to %d printable bytes without space", maxName)
	}
	if !printable(c.URL) {
		problem("url must be printable text without space")
	}
	if len(c.Audiences) == 0 || slices.Contains(c.Audiences, "") {
		problem("audiences: at least one, and none of them empty")
	}
	for _, a := range c.Algorithms {
		if method(a) == nil {
			problem("algorithm %q is not supported", a)
		}
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		problem("leeway %v is not between 0s and %v", c.Leeway, maxLeeway)
	}
	if c.MaxAge < 0 {
		problem("maximum age %v is negative", c.MaxAge)
	}
	if err := c.source().validate(); err != nil {
		problem("%w", err)
	}
	return errors.Join(problems...)
}

func (c Issuer) source() source { return source{c.URL, c.JWKSURL, c.JWKSFile} }

func printable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || unprintable(r) })
}

// checkURL refuses addresses that keys must not be fetched from: without transport security unless the host is this machine, or with
// parts that are never meant.
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%s is not an absolute URL", shown(address))
	}
	if u.User != nil || u.Fragment != "" {
		return fmt.Errorf("URL of host %q has user information or a fragment", u.Host)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return fmt.Errorf("URL of host %q must be https", u.Host)
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// discoveryURL returns where an issuer publishes its configuration (OpenID Connect Discovery 1.0 section 4.1).
func discoveryURL(issuer string) (string, error) {
	if err := checkURL(issuer); err != nil {
		return "", err
	}
	if strings.ContainsAny(issuer, "?#") {
		return "", errors.New("discovery needs an issuer URL without query")
	}
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration", nil
}
