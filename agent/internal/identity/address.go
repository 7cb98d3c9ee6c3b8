package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// checkURL refuses addresses that keys must not be fetched from: without transport security unless the host is this machine, or with
// parts that are never meant.
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
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

// secure reports whether an address that checkURL has passed is one with transport security.
func secure(address string) bool { return strings.HasPrefix(strings.ToLower(address), "https:") }

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// checkProxy refuses what cannot be the address of an HTTP proxy. A password would stand in a file that is not for passwords.
func checkProxy(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("proxy is not an http or https URL")
	case u.User != nil:
		return fmt.Errorf("proxy %q has user information", u.Host)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("proxy %q has a path, query or fragment", u.Host)
	}
	return nil
}

// tenantTemplate stands in the iss of a provider that has one per tenant (Microsoft identity platform, "issuer" of its metadata).
const tenantTemplate = "{tenantid}"

// discoveryURL returns where an issuer publishes its configuration (OpenID Connect Discovery 1.0 section 4.1). For an issuer with a
// template that is the document of all its tenants.
func discoveryURL(issuer string) (string, error) {
	address := strings.Replace(issuer, tenantTemplate, "common", 1)
	if err := checkURL(address); err != nil {
		return "", err
	}
	if strings.ContainsAny(address, "?#") {
		return "", errors.New("discovery needs an issuer URL without query")
	}
	return strings.TrimSuffix(address, "/") + "/.well-known/openid-configuration", nil
}
