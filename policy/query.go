package policy

import (
	"strconv"
	"strings"
)

// parseQuery returns the canonical form of a query, which may be empty only when there is no question mark at all.
func parseQuery(c Call, query string) (string, *Refusal) {
	switch {
	case c.Stream && query == "alt=sse":
		return query, nil
	case c.Stream:
		return "", &Refusal{BadQuery, "the only query that " + c.Method + " takes is alt=sse"}
	case c.Method == modelsList:
		return parseParameters(c, query, "pageSize", "pageToken")
	case strings.HasSuffix(c.Method, ".list"):
		return parseParameters(c, query, "filter", "pageSize", "pageToken")
	case c.HTTPMethod == "PATCH":
		return parseParameters(c, query, "updateMask")
	}
	return "", &Refusal{BadQuery, c.Method + " takes no query"}
}

// parseParameters reads parameters of the names, each at most once, and returns them in the order of the names.
func parseParameters(c Call, query string, names ...string) (string, *Refusal) {
	var found [3]string
	for param := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(param, "=")
		known := false
		for i := range names {
			if names[i] == name && found[i] == "" && isParameter(name, value) {
				found[i], known = param, true
			}
		}
		if !known {
			return "", &Refusal{BadQuery, "the only query that " + c.Method + " takes is " + strings.Join(names, ", ") + ", each once"}
		}
	}
	canonical := ""
	for _, param := range found {
		if param != "" && canonical != "" {
			canonical += "&"
		}
		canonical += param
	}
	return canonical, nil
}

func isParameter(name, value string) bool {
	switch name {
	case "pageSize":
		n, err := strconv.ParseUint(value, 10, 16)
		return err == nil && n > 0 && strconv.FormatUint(n, 10) == value
	case "pageToken":
		return isPageToken(value)
	case "filter":
		return isPlain(value, "._-:*")
	case "updateMask":
		return isPlain(value, "._,")
	}
	return false
}

// isPageToken reports whether s is a page token as client libraries write it: letters, digits and marks that need no encoding, and of Base64
// the three that do, in capitals. A token has one such form, and what it decodes to cannot begin another parameter or another escape.
func isPageToken(s string) bool {
	for _, code := range []string{"%2B", "%2F", "%3D"} { // + / =
		s = strings.ReplaceAll(s, code, "-")
	}
	return isPlain(s, "._-")
}

// isPlain reports whether s is made of letters, digits and bytes of more, and has one.
func isPlain(s, more string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte(more, s[i]) < 0 {
			return false
		}
	}
	return s != ""
}
