package google

import (
	"fmt"
	"slices"
	"strings"
)

// Mode says what becomes of a caller's token that STS has exchanged. The set is closed.
type Mode string

// The modes. There is no fallback from one to the other, nor to the agent's own identity.
const (
	// Direct: the federated token itself is the answer; IAM and Cloud Audit Logs see principal://…/subject/S.
	Direct Mode = "direct"
	// Impersonate: the federated token mints a token of Request.Account, whose life no longer depends on the caller's token but is never
	// made longer than that.
	Impersonate Mode = "impersonate"
)

// SubjectTokenType says what the caller's token is, for STS. The set is closed.
type SubjectTokenType string

// The types, as RFC 8693 section 3 registers them.
const (
	JWT     SubjectTokenType = "urn:ietf:params:oauth:token-type:jwt"
	IDToken SubjectTokenType = "urn:ietf:params:oauth:token-type:id_token"
)

// Exchange says how the caller's own token is exchanged at Google's Security Token Service (RFC 8693).
type Exchange struct {
	// Audience is the provider that knows the caller's issuer:
	// //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER or
	// //iam.googleapis.com/locations/global/workforcePools/POOL/providers/PROVIDER.
	Audience string
	// SubjectTokenType is what the caller's token is. Default JWT.
	SubjectTokenType SubjectTokenType
	// Mode is Direct or Impersonate. Required.
	Mode Mode
	// UserProject is the project that pays for the calls of a workforce pool, required there and forbidden elsewhere.
	UserProject string
	// Scopes of the federated token, none for cloud-platform. They bound what it can do; Request.Scopes are those of the account's token
	// in mode Impersonate.
	Scopes []string
}

// ExchangeableAlgorithm reports whether Google's Security Token Service takes JWTs with the JWS algorithm alg (RFC 7518 section 3.1).
func ExchangeableAlgorithm(alg string) bool { return alg == "RS256" || alg == "ES256" }

// Check returns why e cannot be used, or nil, for those who read configurations.
func (e Exchange) Check() error {
	pool, workforce, err := parseAudience(e.Audience)
	if err != nil {
		return err
	}
	switch {
	case e.Mode != Direct && e.Mode != Impersonate:
		return fmt.Errorf("exchange mode %.20q is neither %s nor %s", e.Mode, Direct, Impersonate)
	case e.SubjectTokenType != "" && e.SubjectTokenType != JWT && e.SubjectTokenType != IDToken:
		return fmt.Errorf("subject token type %.60q is neither %s nor %s", e.SubjectTokenType, JWT, IDToken)
	case workforce && !plain(e.UserProject):
		return fmt.Errorf("user project %.60q is not a project, which the workforce pool %q needs", e.UserProject, pool)
	case !workforce && e.UserProject != "":
		return fmt.Errorf("user project %.60q: only workforce pools have one", e.UserProject)
	}
	if problem := scopesProblem(e.Scopes, 0); problem != "" {
		return fmt.Errorf("exchange: %s", problem)
	}
	return nil
}

// parseAudience takes the name of a provider apart and returns the name of its pool.
func parseAudience(audience string) (pool string, workforce bool, err error) {
	bad := func() (string, bool, error) {
		return "", false, fmt.Errorf("audience %.160q is not of the form "+
			"//iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER or "+
			"//iam.googleapis.com/locations/global/workforcePools/POOL/providers/PROVIDER", audience)
	}
	rest, ok := strings.CutPrefix(audience, "//iam.")
	domain, name, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || !plain(domain) || !strings.Contains(domain, ".") || len(audience) > maxScope {
		return bad()
	}
	parts := strings.Split(name, "/")
	for i, want := range []string{"projects", "*", "locations", "*", "workloadIdentityPools", "*", "providers", "*"} {
		if workforce = len(parts) == 6; workforce {
			break
		}
		if len(parts) != 8 || want != "*" && parts[i] != want || !plain(parts[i]) {
			return bad()
		}
	}
	if workforce && (parts[0] != "locations" || parts[2] != "workforcePools" || parts[4] != "providers" || slices.ContainsFunc(parts,
		func(s string) bool { return !plain(s) })) {
		return bad()
	}
	return strings.Join(parts[:len(parts)-2], "/"), workforce, nil
}

// principalIn is the identity with the given subject in the pool that audience names, as IAM policies write it.
func principalIn(audience, subject string) string {
	rest := strings.TrimPrefix(audience, "//")
	pool, _, ok := strings.Cut(rest, "/providers/")
	if !ok {
		return ""
	}
	return "principal://" + pool + "/subject/" + subject
}

// roleOf is what an identity of the pool needs on an account in order to act as it.
func roleOf(audience string) string {
	if strings.Contains(audience, "/workforcePools/") {
		return tokenCreator
	}
	return identityUser
}

// scopes returns the scopes of the federated token. That of a token that impersonates must allow it to.
func (e Exchange) scopes() []string {
	if len(e.Scopes) == 0 {
		return []string{platformScope}
	}
	return e.Scopes
}

func (e Exchange) subjectTokenType() SubjectTokenType {
	if e.SubjectTokenType == "" {
		return JWT
	}
	return e.SubjectTokenType
}
