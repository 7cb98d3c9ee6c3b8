package identity

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// newIssuer returns c with the defaults of its profile, or every problem of it. The keys are attached later.
func newIssuer(c Issuer, client *http.Client) (*issuer, error) {
	p, known := profileOf(c.Profile)
	if !known {
		return nil, fmt.Errorf("issuer %q: profile %q is not one of %q", c.Name, c.Profile, Profiles())
	}
	c = c.clone()
	if c.byToken() {
		c.setDefaults(p)
	}
	if err := c.validate(p); err != nil {
		return nil, err
	}
	i := &issuer{Issuer: c, profile: p, methods: map[string]jwt.SigningMethod{}}
	if c.Certificate != nil {
		rule, err := c.Certificate.compile()
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", c.Name, err)
		}
		i.certificate = rule
	}
	if c.Introspection != nil {
		asked, err := newIntrospector(*c.Introspection, c, client)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", c.Name, err)
		}
		i.introspector = asked
	}
	if c.byToken() {
		i.prepare()
	}
	return i, nil
}

// prepare makes what is needed to judge tokens.
func (i *issuer) prepare() {
	c, p := i.Issuer, i.profile
	i.subjects = p.subject
	if c.Subject != "" {
		i.subjects = []string{c.Subject}
	}
	for _, a := range c.Algorithms {
		i.methods[a] = method(a)
	}
	i.costly = newGate(runtime.GOMAXPROCS(0) / 2)
	// golang-jwt takes an empty list in the first two for "do not check": validate has refused them.
	i.options = []jwt.ParserOption{
		jwt.WithValidMethods(c.Algorithms),
		jwt.WithAudience(c.Audiences...),
		jwt.WithLeeway(c.Leeway),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), // refuses an iat in the future
		jwt.WithStrictDecoding(),
	}
	if p.accepts == nil {
		i.options = append(i.options, jwt.WithIssuer(c.URL))
	}
}

// clone returns a copy that shares no memory which the caller could change, but for the two rules, which are compiled.
func (c Issuer) clone() Issuer {
	c.Audiences, c.Algorithms = slices.Clone(c.Audiences), slices.Clone(c.Algorithms)
	c.Require, c.Tenants, c.Clients = slices.Clone(c.Require), slices.Clone(c.Tenants), slices.Clone(c.Clients)
	c.Claims, c.JWKS = maps.Clone(c.Claims), bytes.Clone(c.JWKS)
	return c
}

// byToken reports whether the callers of c have tokens, and not only certificates.
func (c *Issuer) byToken() bool { return c.Certificate == nil || c.URL != "" }

// keyless reports whether c does not say where its keys are.
func (c *Issuer) keyless() bool { return c.JWKSURL == "" && c.JWKSFile == "" && len(c.JWKS) == 0 }

func (c *Issuer) setDefaults(p profile) {
	if p.complete != nil {
		p.complete(c)
	}
	if len(c.Algorithms) == 0 {
		c.Algorithms = p.algorithms
	}
	setDefault(&c.Header, p.header)
	setDefault(&c.Groups, p.groups)
	setDefault(&c.Email, p.email)
	for _, d := range []struct {
		to    *time.Duration
		value time.Duration
	}{{&c.Leeway, defaultLeeway}, {&c.MaxLifetime, p.lifetime}, {&c.MaxStale, defaultStale}} {
		if *d.to == 0 {
			*d.to = d.value
		}
	}
}

// problems collects what is wrong with one issuer.
type problems struct {
	name string
	list []error
}

func (p *problems) add(format string, args ...any) {
	p.list = append(p.list, fmt.Errorf("issuer %q: "+format, append([]any{p.name}, args...)...))
}

// validate returns every problem of c, joined.
func (c *Issuer) validate(p profile) error {
	found := &problems{name: c.Name}
	if !printable(c.Name) || len(c.Name) > maxName {
		found.add("name must be 1 to %d printable bytes without space", maxName)
	}
	if c.Certificate != nil {
		if err := c.Certificate.validate(); err != nil {
			found.add("%w", err)
		}
	}
	if c.Introspection != nil {
		if err := c.Introspection.validate(); err != nil {
			found.add("%w", err)
		}
	}
	if !c.byToken() {
		c.validateCertificateAlone(found)
		return errors.Join(found.list...)
	}
	if !printable(c.URL) {
		found.add("url must be printable text without space")
	}
	if len(c.Audiences) == 0 || slices.Contains(c.Audiences, "") {
		found.add("audiences: at least one, and none of them empty")
	}
	c.validateAlgorithms(p, found)
	c.validateTimes(found)
	c.validateClaims(p, found)
	if err := c.source(p).validate(); err != nil {
		found.add("%w", err)
	}
	if p.validate != nil {
		if err := p.validate(c); err != nil {
			found.add("%w", err)
		}
	}
	return errors.Join(found.list...)
}

// validateCertificateAlone refuses what is about tokens.
func (c *Issuer) validateCertificateAlone(found *problems) {
	rest := *c
	rest.Name, rest.Certificate = "", nil
	if c.Introspection != nil || !rest.empty() {
		found.add("url is required: without it callers have certificates alone, and no token to which the other settings could apply")
	}
}

// empty reports whether nothing is set, but for pointers.
func (c *Issuer) empty() bool {
	texts := c.URL + c.JWKSURL + c.JWKSFile + c.Profile + c.Header + c.Subject + c.Groups + c.Email + c.CAFile + c.ProxyURL + c.TokenFile
	lists := len(c.Audiences) + len(c.Algorithms) + len(c.JWKS) + len(c.Require) + len(c.Claims) + len(c.Tenants) + len(c.Clients)
	return texts == "" && lists == 0 && c.Leeway == 0 && c.MaxAge == 0 && c.MaxLifetime == 0 && c.MaxStale == 0 && !c.SingleAudience
}

func (c *Issuer) validateAlgorithms(p profile, found *problems) {
	for _, a := range c.Algorithms {
		if method(a) == nil {
			found.add("algorithm %q is not supported", a)
		} else if p.only != nil && !slices.Contains(p.only, a) {
			found.add("algorithm %q is not one of profile %s, which has %s", a, c.Profile, strings.Join(p.only, ", "))
		}
	}
}

// Bounds of the settings that are times.
const (
	defaultStale = 24 * time.Hour
	minStale     = time.Minute
	maxStale     = 7 * 24 * time.Hour
	maxLifetime  = 366 * 24 * time.Hour
)

func (c *Issuer) validateTimes(found *problems) {
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		found.add("leeway %v is not between 0s and %v", c.Leeway, maxLeeway)
	}
	if c.MaxAge < 0 {
		found.add("maximum age %v is negative", c.MaxAge)
	}
	if c.MaxLifetime < time.Second || c.MaxLifetime > maxLifetime {
		found.add("maximum lifetime %v is not between 1s and %v", c.MaxLifetime, maxLifetime)
	}
	if c.MaxStale < minStale || c.MaxStale > maxStale {
		found.add("keys may serve %v after their last fetch, not between %v and %v", c.MaxStale, minStale, maxStale)
	}
}

func (c *Issuer) validateClaims(p profile, found *problems) {
	if !slices.Contains([]string{HeaderAuthorization, HeaderCloudflare, HeaderIAP}, c.Header) {
		found.add("header %q is not %s, %s or %s", c.Header, HeaderAuthorization, HeaderCloudflare, HeaderIAP)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		if name == "" || !slices.Contains(claimTypes, c.Claims[name]) {
			found.add("claim %q: type %q is not one of %s", name, c.Claims[name], strings.Join(claimTypes, ", "))
		}
	}
	for what, list := range map[string][]string{"required claim": c.Require, "tenant": c.Tenants, "client": c.Clients} {
		if slices.Contains(list, "") {
			found.add("a %s is empty", what)
		}
	}
	if len(c.Tenants) > 0 && p.tenant == "" && c.Profile != "spiffe" {
		found.add("tenants: tokens of this profile have no claim of a tenant")
	}
	if len(c.Clients) > 0 && p.clients == nil {
		found.add("clients: tokens of this profile have no claim of a client")
	}
}

func printable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || unprintable(r) })
}

func (c *Issuer) source(p profile) source {
	return source{
		issuer: c.URL, url: c.JWKSURL, file: c.JWKSFile, inline: string(c.JWKS), use: p.use,
		caFile: c.CAFile, proxy: c.ProxyURL, tokenFile: c.TokenFile,
	}
}
