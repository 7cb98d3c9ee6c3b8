package policy

import (
	"encoding/json"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vertex-spoa/policy/strictyaml"
)

var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// tokenHeaders are the fields that may carry a token.
var tokenHeaders = []string{"authorization", "cf-access-jwt-assertion", "x-goog-iap-jwt-assertion"}

// issuerText is an issuer that is being read, and where its parts stand.
type issuerText struct {
	Issuer
	urlAt *strictyaml.Node
}

var issuerTable = newTable(
	custom("url", "The exact claim `iss` of its tokens. Keys are discovered from it unless `jwks` says where they are.",
		textOf("a URL", "https://login.example.com"),
		func(l *loader, n *strictyaml.Node, i *issuerText) { i.urlAt = n; i.URL, _ = n.Text(&l.problems) }),
	word("profile", "The kind of issuer, which sets what is usual with it.", Profiles(), func(i *issuerText) *string { return &i.Profile }),
	texts("audience", "What tokens must carry in `aud`, one of these. Required but for certificates alone.", textOf("a text", "vertex"),
		func(i *issuerText) *[]string { return &i.Audiences }, func(l *loader, n *strictyaml.Node, text string) {
			if !isPrintable(text) || text == "*" {
				l.problems.Addf(n, "%s is not an audience: tokens must carry one of these texts exactly", strictyaml.Quote(text))
			}
		}),
	flag("singleAudience", "Whether a token may name no other audience beside.", func(i *issuerText) *bool { return &i.SingleAudience }),
	words("algorithms", "How tokens may be signed.", algorithms, func(i *issuerText) *[]string { return &i.Algorithms }),
	mapping("jwks", "Where the keys are, if they are not discovered.", jwksTable, func(i *issuerText) *issuerText { return i }),
	custom("header", "The field that carries the token; `authorization` or that of the profile when not written.",
		valueShape{kind: textShape, words: tokenHeaders},
		func(l *loader, n *strictyaml.Node, i *issuerText) { i.Header, _ = n.Enum(&l.problems, tokenHeaders...) }),
	duration("leeway", "Clock difference that is forgiven.",
		time.Second, 2*time.Minute, func(i *issuerText) *time.Duration { return &i.Leeway }),
	duration("maxAge", "How old tokens may be, by `iat`.",
		time.Second, 365*24*time.Hour, func(i *issuerText) *time.Duration { return &i.MaxAge }),
	duration("maxLifetime", "How far away the end of a token may be.",
		time.Minute, 365*24*time.Hour, func(i *issuerText) *time.Duration { return &i.MaxLifetime }),
	duration("maxStale", "How long keys are used that cannot be fetched again.",
		time.Minute, 7*24*time.Hour, func(i *issuerText) *time.Duration { return &i.MaxStale }),
	texts("require", "Claims that every token must carry.",
		textOf("the name of a claim", "email_verified"), func(i *issuerText) *[]string { return &i.Require }, nil),
	mapping("map", "Which claims are taken for the subject, the groups and the e-mail of a caller.",
		mapTable, func(i *issuerText) *issuerText { return i }),
	custom("claims", "Types of claims. Expressions are checked against them, and tokens with claims of other types are refused.",
		dictionaryOf("", valueShape{kind: textShape, words: ClaimTypes()}), readClaimTypes),
	texts("tenants", "Whose tokens are accepted, of an issuer that serves several tenants.",
		textOf("a tenant"), func(i *issuerText) *[]string { return &i.Tenants }, checkPrintable),
	texts("clients", "Whose tokens are accepted, by `azp`, `client_id`, `appid` or `cid`.",
		textOf("a client"), func(i *issuerText) *[]string { return &i.Clients }, checkPrintable),
	mapping("introspect", "Ask the issuer about each token (RFC 7662).", introspectTable, func(i *issuerText) *Introspection {
		i.Introspection = &Introspection{}
		return i.Introspection
	}),
	fileField("ca", "PEM file of the authorities that vouch for the issuer's hosts.", func(i *issuerText) *string { return &i.CAFile }),
	text("proxy", "URL of the proxy through which the issuer is reached.",
		textOf("a URL", "http://proxy.example.com:3128"), func(i *issuerText) *string { return &i.ProxyURL },
		func(l *loader, n *strictyaml.Node, text string) {
			if !isProxy(text) {
				l.problems.Addf(n, "%s is not a URL such as http://proxy.example.com:3128", strictyaml.Quote(text))
			}
		}),
	fileField("tokenFile", "File of the bearer token with which keys are fetched; it is read again on use.",
		func(i *issuerText) *string { return &i.TokenFile }),
	mapping("certificate", "Client certificates that identify callers: alone if there is no `url`, and beside a token otherwise.",
		certificateTable,
		func(i *issuerText) *CertificateRule {
			i.Certificate = &CertificateRule{}
			return i.Certificate
		}),
)

var jwksTable = newTable(
	custom("url", "Their URL.", textOf("a URL", "https://login.example.com/keys"), func(l *loader, n *strictyaml.Node, i *issuerText) {
		if text, ok := n.Text(&l.problems); ok && l.checkURL(n, text) {
			i.JWKSURL = text
		}
	}),
	fileField("file", "A local file.", func(i *issuerText) *string { return &i.JWKSFile }),
	custom("inline", "The key set itself, as JSON text.", textOf("JSON"), func(l *loader, n *strictyaml.Node, i *issuerText) {
		text, ok := n.Text(&l.problems)
		i.JWKS = []byte(text)
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		if ok && (json.Unmarshal(i.JWKS, &set) != nil || len(set.Keys) == 0) {
			l.problems.Addf(n, "not a set of keys: write the JSON text {\"keys\": [...]}")
		}
	}),
)

var mapTable = newTable(
	text("subject", "The claim that names the caller.",
		textOf("a claim", "oid"), func(i *issuerText) *string { return &i.Subject }, checkPrintable),
	text("groups", "The claim that lists its groups.",
		textOf("a claim", "realm_access.roles"), func(i *issuerText) *string { return &i.Groups }, checkPrintable),
	text("email", "The claim that is its e-mail.",
		textOf("a claim", "upn"), func(i *issuerText) *string { return &i.Email }, checkPrintable),
)

var introspectTable = newTable(
	custom("url", "The issuer's endpoint for questions.",
		textOf("a URL", "https://login.example.com/introspect"), func(l *loader, n *strictyaml.Node, i *Introspection) {
			text, ok := n.Text(&l.problems)
			i.URL = text
			if ok {
				l.checkURL(n, text)
			}
		}).must(),
	text("clientID", "As whom the agent asks.",
		textOf("a client"), func(i *Introspection) *string { return &i.ClientID }, checkPrintable).must(),
	fileField("clientSecretFile", "File of the client's secret; it is read for each question.",
		func(i *Introspection) *string { return &i.ClientSecretFile }).must(),
	fileField("ca", "PEM file of the authorities that vouch for the URL's host.", func(i *Introspection) *string { return &i.CAFile }),
	duration("cacheFor", "How long an answer is relied on.",
		time.Second, time.Minute, func(i *Introspection) *time.Duration { return &i.CacheFor }),
	flag("opaque", "Whether tokens that are not JWTs are accepted on the issuer's word alone.",
		func(i *Introspection) *bool { return &i.Opaque }),
)

var certificateTable = newTable(
	texts("trustDomains", "Trust domains of SPIFFE IDs.",
		textOf("a trust domain", "prod.example.com"), func(c *CertificateRule) *[]string { return &c.TrustDomains }, checkPrintable),
	texts("dns", "Names in the certificate. Its first label may be `*`.",
		textOf("a name", "*.batch.example.com"), func(c *CertificateRule) *[]string { return &c.DNS }, checkPrintable),
	texts("subject", "Distinguished names (RFC 4514). `*` stands for any text within a value.",
		textOf("a distinguished name", "CN=robot,O=Example"), func(c *CertificateRule) *[]string { return &c.Subject }, nil),
	fileField("ca", "PEM file of the authorities that sign them.", func(c *CertificateRule) *string { return &c.CAFile }),
)

// fileField is a field that holds the name of a file, relative ones to the policy's folder.
func fileField[T any](name, doc string, at func(*T) *string) field[T] {
	return custom(name, doc, textOf("a file"), func(l *loader, n *strictyaml.Node, to *T) {
		text, ok := n.Text(&l.problems)
		if ok && !filepath.IsAbs(text) {
			text = filepath.Join(l.dir, text)
		}
		*at(to) = text
	})
}

func checkPrintable(l *loader, n *strictyaml.Node, text string) {
	if !isPrintable(text) {
		l.problems.Addf(n, "%s is not printable text without spaces", strictyaml.Quote(text))
	}
}

func readClaimTypes(l *loader, n *strictyaml.Node, i *issuerText) {
	i.Claims = map[string]string{}
	entries := n.Entries(&l.problems)
	if len(entries) == 0 && n.Kind == strictyaml.Mapping {
		l.problems.Addf(n, "no claim: write names of claims with their types, or leave claims out")
	}
	for _, e := range entries {
		if kind, ok := e.Value.Enum(&l.problems, ClaimTypes()...); ok {
			i.Claims[e.Name()] = kind
		}
	}
}

// readIssuer reads one entry of `issuers`. before are the issuers read already.
func (l *loader) readIssuer(e entry, before []Issuer) Issuer {
	p, problems := &l.problems, l.problems.Len()
	is := issuerText{Issuer: Issuer{Name: e.Name()}}
	if !issuerTable.read(l, e.Value, &is) {
		return is.Issuer
	}
	if !e.Value.Has("url") {
		l.checkCertificateAlone(e, &is.Issuer)
		return is.Issuer
	}
	if !e.Value.Has("audience") {
		p.Addf(e.Value, "missing key \"audience\": a token for another service would be a token for this one")
	}
	if i := slices.IndexFunc(before, func(b Issuer) bool { return b.URL == is.URL }); i >= 0 {
		p.Addf(is.urlAt, "issuer %s has this url already: tokens would belong to both", strictyaml.Quote(before[i].Name))
	}
	if is.URL != "" && p.Len() == problems {
		l.checkKeys(e, &is)
	}
	return is.Issuer
}

// checkKeys judges where the issuer's keys are said to be.
func (l *loader) checkKeys(e entry, is *issuerText) {
	var named int
	for _, set := range []bool{is.JWKSURL != "", is.JWKSFile != "", is.JWKS != nil} {
		if set {
			named++
		}
	}
	jwks := e.Value.Get("jwks")
	switch {
	case jwks == nil:
		l.checkURL(is.urlAt, is.URL)
	case named > 1:
		l.problems.Addf(jwks, "several of url, file and inline: write one of them")
	case !isPrintable(is.URL):
		l.problems.Addf(is.urlAt, "%s is not the text of a claim iss", strictyaml.Quote(is.URL))
	}
}

// checkCertificateAlone judges an issuer without a url.
func (l *loader) checkCertificateAlone(e entry, is *Issuer) {
	if is.Certificate == nil {
		l.problems.Addf(e.Value, "missing key \"url\"")
		if !e.Value.Has("audience") {
			l.problems.Addf(e.Value, "missing key \"audience\": a token for another service would be a token for this one")
		}
		return
	}
	for _, name := range issuerTable.names {
		n := e.Value.Get(name)
		if n != nil && name != "certificate" {
			l.problems.Addf(n, "%s is about tokens, and an issuer without url has none", name)
		}
	}
}

// checkURL accepts https, and http for an address of this machine.
func (l *loader) checkURL(n *strictyaml.Node, text string) bool {
	u, err := url.Parse(text)
	switch {
	case err != nil || !isPrintable(text) || u.Host == "" || u.User != nil || u.Fragment != "":
		l.problems.Addf(n, "%s is not a URL such as https://login.example.com", strictyaml.Quote(text))
		return false
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return true
	}
	l.problems.Addf(n, "%s is not an https URL: plain http is for addresses of this machine", strictyaml.Quote(text))
	return false
}

// isProxy reports whether s is the address of a proxy.
func isProxy(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return false
	}
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isPrintable reports whether s is printable ASCII without spaces.
func isPrintable(s string) bool {
	return s != "" && len(s) <= 2048 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
