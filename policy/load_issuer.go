package policy

import (
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vertex-spoa/policy/strictyaml"
)

// readIssuer reads one entry of `issuers`. before are the issuers read already.
func (l *loader) readIssuer(e strictyaml.Entry, before []Issuer) Issuer {
	p := &l.problems
	is := Issuer{Name: e.Name()}
	var place *strictyaml.Node
	e.Value.Object(p, append([]strictyaml.Field{
		{Name: "url", Required: true, Read: func(n *strictyaml.Node) { place = n; is.URL, _ = n.Text(p) }},
		{Name: "audience", Required: true, Read: func(n *strictyaml.Node) { is.Audiences = l.readAudiences(n) }},
		{Name: "algorithms", Read: func(n *strictyaml.Node) { is.Algorithms = l.readAlgorithms(n) }},
		{Name: "jwks", Read: func(n *strictyaml.Node) { l.readJWKS(n, &is) }},
		{Name: "leeway", Read: func(n *strictyaml.Node) { is.Leeway, _ = n.Duration(p, time.Second, 2*time.Minute) }},
		{Name: "maxAge", Read: func(n *strictyaml.Node) { is.MaxAge, _ = n.Duration(p, time.Second, 365*24*time.Hour) }},
	}, later("profile", "header", "maxStale", "require", "map", "claims", "tenants", "clients", "introspect", "ca", "proxy", "certificate")...))
	if place == nil || is.URL == "" {
		return is
	}
	if i := slices.IndexFunc(before, func(b Issuer) bool { return b.URL == is.URL }); i >= 0 {
		p.Addf(place, "issuer %s has this url already: tokens would belong to both", strictyaml.Quote(before[i].Name))
	}
	if is.JWKSURL == "" && is.JWKSFile == "" {
		l.checkURL(place, is.URL)
	} else if !isPrintable(is.URL) {
		p.Addf(place, "%s is not the text of a claim iss", strictyaml.Quote(is.URL))
	}
	return is
}

func (l *loader) readAudiences(n *strictyaml.Node) []string {
	var list []string
	for _, item := range n.Items(&l.problems) {
		text, ok := item.Text(&l.problems)
		switch {
		case ok && (!isPrintable(text) || text == "*"):
			l.problems.Addf(item, "%s is not an audience: tokens must carry one of these texts exactly", strictyaml.Quote(text))
		case ok:
			list = append(list, text)
		}
	}
	return list
}

func (l *loader) readAlgorithms(n *strictyaml.Node) []string {
	var list []string
	for _, item := range n.Items(&l.problems) {
		text, ok := item.Enum(&l.problems, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
		if ok {
			list = append(list, text)
		}
	}
	return list
}

func (l *loader) readJWKS(n *strictyaml.Node, is *Issuer) {
	p, before := &l.problems, l.problems.Len()
	n.Object(p, append([]strictyaml.Field{
		{Name: "url", Read: func(n *strictyaml.Node) {
			if text, ok := n.Text(p); ok && l.checkURL(n, text) {
				is.JWKSURL = text
			}
		}},
		{Name: "file", Read: func(n *strictyaml.Node) {
			text, ok := n.Text(p)
			if ok && !filepath.IsAbs(text) {
				text = filepath.Join(l.dir, text)
			}
			is.JWKSFile = text
		}},
	}, later("inline")...))
	switch {
	case is.JWKSURL != "" && is.JWKSFile != "":
		p.Addf(n, "both url and file: write one of them")
	case is.JWKSURL == "" && is.JWKSFile == "" && p.Len() == before:
		p.Addf(n, "neither url nor file: write one of them, or leave jwks out to have it discovered")
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

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isPrintable reports whether s is printable ASCII without spaces.
func isPrintable(s string) bool {
	return s != "" && len(s) <= 2048 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
