package google

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"

	"vertex-spoa/agent/internal/secret"
)

// endpoints are the addresses of Google's services: the public ones, and what is to be called in their place.
type endpoints struct {
	universe        string // where the file does not say it
	sts, iam, oauth string // empty for the public ones
}

func endpointsOf(c BaseConfig) endpoints {
	return endpoints{universe: c.UniverseDomain, sts: c.STSEndpoint, iam: c.IAMEndpoint, oauth: c.OAuthEndpoint}
}

func universeOf(domain string) (string, error) {
	domain = cmp.Or(domain, publicUniverse)
	if !plain(domain) || !strings.Contains(domain, ".") {
		return "", fmt.Errorf("universe domain %.60q is not a domain", domain)
	}
	return domain, nil
}

// credential is the sound content of a credential file.
type credential struct {
	info  BaseInfo
	text  secret.Text // JSON for the library, with the endpoints put in
	oauth string      // the token URL of an authorized user, empty for the public one
}

// credentialJSON has the parts of a credential file that are looked at here. Secrets are none of them.
type credentialJSON struct {
	Type             string            `json:"type"`
	UniverseDomain   string            `json:"universe_domain"`
	ClientEmail      string            `json:"client_email"`
	TokenURI         string            `json:"token_uri"`
	TokenURL         string            `json:"token_url"`
	Audience         string            `json:"audience"`
	ImpersonationURL string            `json:"service_account_impersonation_url"`
	Source           *credentialSource `json:"credential_source"`
	SourceFile       json.RawMessage   `json:"source_credentials"`
}

type credentialSource struct {
	File          string `json:"file"`
	URL           string `json:"url"`
	EnvironmentID string `json:"environment_id"`
	RegionURL     string `json:"region_url"`
	SessionURL    string `json:"imdsv2_session_token_url"`
	VerifyURL     string `json:"regional_cred_verification_url"`
	Executable    *struct {
		Command string `json:"command"`
	} `json:"executable"`
	Certificate *struct{} `json:"certificate"`
}

// parseCredential checks the content of a credential file and puts the endpoints into it. Its errors hold no secret.
func parseCredential(text []byte, ends endpoints) (*credential, error) {
	fields, err := fieldsOf(text)
	if err != nil {
		return nil, err
	}
	if text, err = json.Marshal(fields); err != nil { // of a name that stands twice the last alone, and not a mixture of both
		return nil, errors.New("the file cannot be written as JSON again")
	}
	var j credentialJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, errors.New("a field is of the wrong JSON type") // err may quote a secret
	}
	c := &credential{info: BaseInfo{Kind: j.Type}}
	if c.info.UniverseDomain, err = universeOf(cmp.Or(j.UniverseDomain, ends.universe)); err != nil {
		return nil, err
	}
	ends.universe = c.info.UniverseDomain
	switch j.Type {
	case "service_account":
		err = c.serviceAccount(j, fields, ends)
	case "authorized_user":
		err = c.authorizedUser(ends)
	case "external_account":
		err = c.externalAccount(j, fields, ends)
	case "impersonated_service_account":
		err = c.impersonated(j, fields, ends)
	default:
		err = fmt.Errorf("type %q is none of external_account, impersonated_service_account, service_account, authorized_user", plainType(j.Type))
	}
	if err != nil {
		return nil, err
	}
	whole, err := json.Marshal(fields)
	if err != nil {
		return nil, errors.New("the file cannot be written as JSON again")
	}
	c.text = secret.New(string(whole))
	return c, nil
}

// plainType returns what may be the name of a type, and not a secret in the wrong place.
func plainType(s string) string {
	if len(s) > 32 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "(not shown)"
	}
	return s
}

// fieldsOf returns the fields of a JSON object. The library takes names in any case, so one that it would read and that is not looked at
// here is refused.
func fieldsOf(text []byte) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		return nil, errors.New("it is not a JSON object")
	}
	for name := range fields {
		if name != strings.ToLower(name) {
			return nil, fmt.Errorf("the name %.60q is not in lower case", name)
		}
	}
	return fields, nil
}

func (c *credential) serviceAccount(j credentialJSON, fields map[string]json.RawMessage, ends endpoints) error {
	if !validEmail(j.ClientEmail) {
		return fmt.Errorf("client_email %.80q is not the e-mail of a service account", j.ClientEmail)
	}
	c.info.Account, c.info.LongLived = j.ClientEmail, true
	return redirect(fields, "token_uri", cmp.Or(j.TokenURI, "https://oauth2."+publicUniverse+"/token"), "oauth2."+publicUniverse, ends.oauth)
}

func (c *credential) authorizedUser(ends endpoints) error {
	c.info.LongLived = true
	if ends.oauth == "" {
		return nil
	}
	base, err := checkEndpoint(ends.oauth, "oauth2", publicUniverse)
	c.oauth = base + "/token"
	return err
}

func (c *credential) impersonated(j credentialJSON, fields map[string]json.RawMessage, ends endpoints) error {
	source, err := parseCredential(j.SourceFile, ends)
	if err != nil {
		return fmt.Errorf("source_credentials: %w", err)
	}
	if source.info.Kind == j.Type {
		return errors.New("source_credentials: impersonated too; use delegates")
	}
	c.info.LongLived, c.info.Source, c.oauth = source.info.LongLived, source.info.Source, source.oauth
	fields["source_credentials"] = json.RawMessage(source.text.Reveal())
	return c.impersonates(j, fields, ends)
}

var impersonationPath = regexp.MustCompile(`^/v1/projects/-/serviceAccounts/([^/:]+):generateAccessToken$`)

// impersonates takes the account from the URL, which alone names it.
func (c *credential) impersonates(j credentialJSON, fields map[string]json.RawMessage, ends endpoints) error {
	const name = "service_account_impersonation_url"
	u, err := url.Parse(j.ImpersonationURL)
	if err != nil {
		return fmt.Errorf("%s is not a URL", name)
	}
	found := impersonationPath.FindStringSubmatch(u.Path)
	if found == nil || !validEmail(found[1]) {
		return fmt.Errorf("%s %.200q is not that of generateAccessToken of a service account", name, u.Redacted())
	}
	c.info.Account = found[1]
	return redirect(fields, name, j.ImpersonationURL, "iamcredentials."+ends.universe, ends.iam)
}

func (c *credential) externalAccount(j credentialJSON, fields map[string]json.RawMessage, ends endpoints) error {
	if _, _, err := parseAudience(j.Audience); err != nil {
		return err
	}
	if j.Source == nil {
		return errors.New("credential_source is missing")
	}
	var err error
	if c.info.Source, err = j.Source.kind(fields["credential_source"]); err != nil {
		return fmt.Errorf("credential_source: %w", err)
	}
	pool, _, _ := strings.Cut(strings.TrimPrefix(j.Audience, "//"), "/providers/")
	c.info.Account = "principalSet://" + pool + "/*"
	sts := cmp.Or(j.TokenURL, "https://sts."+ends.universe+"/v1/token")
	if err := redirect(fields, "token_url", sts, "sts."+ends.universe, ends.sts); err != nil {
		return err
	}
	if j.ImpersonationURL == "" {
		return nil
	}
	return c.impersonates(j, fields, ends)
}

// redirect checks the URL in a field and, if it names the public host, puts the endpoint in its place, if there is one.
func redirect(fields map[string]json.RawMessage, name, text, public, endpoint string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return fmt.Errorf("%s is not a URL", name)
	}
	if !protected(u) {
		return fmt.Errorf("%s %.200q is neither https nor http on a loopback address", name, text)
	}
	if endpoint != "" && u.Host == public {
		base, err := checkEndpoint(endpoint, "", "")
		if err != nil {
			return err
		}
		text = base + u.RequestURI()
	}
	fields[name], err = json.Marshal(text)
	return err
}

// kind returns where the subject token comes from, and checks the addresses that have a say in it.
func (s *credentialSource) kind(raw json.RawMessage) (string, error) {
	if _, err := fieldsOf(raw); err != nil {
		return "", err
	}
	for _, address := range []string{s.URL, s.RegionURL, s.SessionURL, s.VerifyURL} {
		if err := checkSource(address); err != nil {
			return "", err
		}
	}
	switch {
	case strings.HasPrefix(s.EnvironmentID, "aws"):
		return "aws", nil
	case s.File != "":
		return "file", nil
	case s.URL != "":
		return "url", nil
	case s.Executable != nil && s.Executable.Command != "":
		const allow = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"
		if os.Getenv(allow) != "1" {
			return "", fmt.Errorf("it names a command to run, which is allowed only if the environment variable %s is 1", allow)
		}
		return "executable", nil
	case s.Certificate != nil:
		return "certificate", nil
	}
	return "", errors.New("it names no file, url, executable, AWS environment or certificate")
}

// checkSource checks an address that hands out subject tokens: like checkEndpoint, and on the link of the machine, where its platform is.
func checkSource(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(strings.ReplaceAll(address, "{region}", "region"))
	if err != nil || u.Host == "" || u.User != nil {
		return errors.New("an address in it is not a URL")
	}
	if !protected(u) && (u.Scheme != "http" || !onLink(u.Hostname())) {
		return fmt.Errorf("%.200q is neither https nor http on a loopback or link-local address", address)
	}
	return nil
}

// onLink reports whether host is an address that no router forwards to, or the IPv6 address of AWS' metadata server.
func onLink(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && (ip.IsLinkLocalUnicast() || ip.IsLoopback() || ip.Equal(net.ParseIP("fd00:ec2::254")))
}
