package identity

import (
	"slices"
	"strings"
)

// maxGroup is the longest name of a group, and of an e-mail address, in bytes.
const maxGroup = 512

// lookup returns the claim of a name, or of a path: members of nested objects joined by dots. A name that has dots itself comes first,
// and the longest one that is an object: kubernetes.io.namespace is the member namespace of kubernetes.io. A claim that is null counts
// as absent.
func lookup(claims map[string]any, path string) (any, bool) {
	if v, present := claims[path]; present {
		return v, v != nil
	}
	for i := len(path) - 1; i > 0; i-- {
		if path[i] != '.' {
			continue
		}
		if inner, ok := claims[path[:i]].(map[string]any); ok {
			return lookup(inner, path[i+1:])
		}
	}
	return nil, false
}

// claimTypes are the types that Issuer.Claims may declare.
var claimTypes = []string{"string", "int", "number", "bool", "list", "map"}

// ofType reports whether a claim is of a declared type. A boolean written as text is text: "false" must not count as true because it
// is not empty.
func ofType(v any, declared string) bool {
	switch v.(type) {
	case string:
		return declared == "string"
	case bool:
		return declared == "bool"
	case int64:
		return declared == "int" || declared == "number"
	case float64:
		return declared == "number"
	case []any:
		return declared == "list"
	case map[string]any:
		return declared == "map"
	}
	return false
}

// checkTypes compares the claims with what the configuration declares about them.
func (i *issuer) checkTypes(c *claims) error {
	for name, declared := range i.Claims {
		if v, present := c.all[name]; present && v == nil {
			return refuse(ClaimRefused, "claim %q is null and not a %s", name, declared)
		}
		if v, present := lookup(c.all, name); present && !ofType(v, declared) {
			return refuse(ClaimRefused, "claim %q is not a %s", name, declared)
		}
	}
	return nil
}

// subject returns who the caller is to the issuer: the first of its claims that says so.
func (i *issuer) subject(c *claims) (string, error) {
	for _, name := range i.subjects {
		v, present := lookup(c.all, name)
		if !present || v == "" {
			continue
		}
		s, ok := v.(string)
		if !ok || len(s) > i.profile.maxSubject || strings.ContainsFunc(s, unprintable) {
			return "", refuse(TokenMalformed, "claim %q is not printable text of at most %d bytes", name, i.profile.maxSubject)
		}
		return s, nil
	}
	return "", refuse(ClaimMissing, "claim %q is required", i.subjects[0])
}

// groups returns the names in the issuer's claim of groups, which may be one name as well.
func (i *issuer) groups(c *claims) ([]string, error) {
	v, present := lookup(c.all, i.Groups)
	if !present {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var names []string
	for _, v := range list {
		name, ok := v.(string)
		if !ok || name == "" || len(name) > maxGroup || strings.ContainsFunc(name, unprintable) {
			return nil, refuse(ClaimRefused, "claim %q is not a list of names", i.Groups)
		}
		names = append(names, name)
	}
	return names, nil
}

// email returns the caller's address, unless the issuer says that it has not verified it: then somebody else may own it.
func (i *issuer) email(c *claims) (string, error) {
	v, present := lookup(c.all, i.Email)
	if !present || v == "" {
		return "", nil
	}
	address, ok := v.(string)
	if !ok || len(address) > maxGroup || strings.ContainsFunc(address, unprintable) {
		return "", refuse(ClaimRefused, "claim %q is not a printable address", i.Email)
	}
	if i.Email != "email" { // which email_verified is about (OpenID Connect Core 1.0 section 5.1)
		return address, nil
	}
	if verified, known := c.all["email_verified"]; known && !confirmed(verified) || !known && i.profile.verified {
		return "", nil
	}
	return address, nil
}

// confirmed reports whether email_verified says yes. Some providers write it as text.
func confirmed(v any) bool { return v == true || v == "true" }

// listed reports whether the claims of these names that a token has are all in allowed, and whether it has one at all.
func listed(c *claims, names, allowed []string) bool {
	found := false
	for _, name := range names {
		v, present := lookup(c.all, name)
		if !present {
			continue
		}
		s, ok := v.(string)
		if !ok || !slices.Contains(allowed, s) {
			return false
		}
		found = true
	}
	return found
}
