package identity

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLookupFollowsPaths(t *testing.T) {
	claims := map[string]any{
		"groups": "g", "a": map[string]any{"b": map[string]any{"c": "abc"}, "b.c": "a,b.c", "x": nil}, "a.b": map[string]any{"d": "a.b,d"},
		"kubernetes.io": map[string]any{"namespace": "ns"}, "https://example.com/groups": "url", "https://x.example/": map[string]any{"acct": "1"}, "none": nil,
		"list": []any{map[string]any{"x": "y"}}, "": "empty", "deep": map[string]any{"": "inner"},
	}
	for path, want := range map[string]any{
		"groups": "g", "a.b.d": "a.b,d", "a.b.c": nil /* a.b is an object of its own, and is final */, "a.b": map[string]any{"d": "a.b,d"},
		"kubernetes.io.namespace": "ns", "https://example.com/groups": "url", "https://x.example/.acct": "1", "https://x.example/acct": nil,
		"none": nil, "a.x": nil, "missing": nil, "groups.x": nil, "list.0": nil, "list.x": nil, "GROUPS": nil, "deep.": "inner", "..": nil,
	} {
		got, found := lookup(claims, path)
		if diff := cmp.Diff(want, got); diff != "" || found != (want != nil) {
			t.Errorf("lookup(%q) = %v, %v, want %v", path, got, found, want)
		}
	}
}

// mapped identifies with one issuer that change has configured.
func mapped(t *testing.T, change func(*Issuer), pairs ...any) (Identity, error) {
	t.Helper()
	i := Issuer{Name: "corp", URL: "https://idp.example", Audiences: []string{"vertex"}, JWKS: []byte(jwks(jwk(p256Private(), "k")))}
	change(&i)
	v := newVerifier(t, options(t), i)
	token := compact("ES256", p256Private(), `{"alg":"ES256","kid":"k"}`, goodClaims("https://idp.example").with(pairs...).String())
	return v.Verify(t.Context(), bearerOf(token), now)
}

func TestClaimsAreMapped(t *testing.T) {
	asIs := func(*Issuer) {}
	long := strings.Repeat("g", 513)
	for name, c := range map[string]struct {
		change  func(*Issuer)
		claims  []any
		subject string
		groups  []string
		email   string
		want    Reason
	}{
		"the defaults":                    {asIs, []any{"groups", []string{"a", "b"}, "email", "a@example.com"}, "alice", []string{"a", "b"}, "a@example.com", ""},
		"nothing to map":                  {asIs, nil, "alice", nil, "", ""},
		"null is nothing":                 {asIs, []any{"groups", nil, "email", nil}, "alice", nil, "", ""},
		"one group as text":               {asIs, []any{"groups", "a"}, "alice", []string{"a"}, "", ""},
		"an empty list":                   {asIs, []any{"groups", []string{}}, "alice", nil, "", ""},
		"groups with a number":            {asIs, []any{"groups", []any{"a", 1}}, "", nil, "", ClaimRefused},
		"groups with an empty name":       {asIs, []any{"groups", []string{"a", ""}}, "", nil, "", ClaimRefused},
		"groups with a line feed":         {asIs, []any{"groups", []string{"a\nb"}}, "", nil, "", ClaimRefused},
		"groups that are an object":       {asIs, []any{"groups", object{"a": true}}, "", nil, "", ClaimRefused},
		"a group that is too long":        {asIs, []any{"groups", []string{long}}, "", nil, "", ClaimRefused},
		"groups elsewhere":                {func(i *Issuer) { i.Groups = "realm_access.roles" }, []any{"realm_access", object{"roles": []string{"r"}}, "groups", []string{"a"}}, "alice", []string{"r"}, "", ""},
		"groups under a URL":              {func(i *Issuer) { i.Groups = "https://example.com/groups" }, []any{"https://example.com/groups", []string{"u"}}, "alice", []string{"u"}, "", ""},
		"an address that is verified":     {asIs, []any{"email", "a@example.com", "email_verified", true}, "alice", nil, "a@example.com", ""},
		"one that is verified, as text":   {asIs, []any{"email", "a@example.com", "email_verified", "true"}, "alice", nil, "a@example.com", ""},
		"an address that is not":          {asIs, []any{"email", "a@example.com", "email_verified", false}, "alice", nil, "", ""},
		"one that is not, as text":        {asIs, []any{"email", "a@example.com", "email_verified", "false"}, "alice", nil, "", ""},
		"one that is perhaps":             {asIs, []any{"email", "a@example.com", "email_verified", 1}, "alice", nil, "", ""},
		"an address that is a list":       {asIs, []any{"email", []string{"a@example.com"}}, "", nil, "", ClaimRefused},
		"an address with a line feed":     {asIs, []any{"email", "a@example.com\nb"}, "", nil, "", ClaimRefused},
		"another address":                 {func(i *Issuer) { i.Email = "upn" }, []any{"upn", "u@example.com", "email", "e@example.com", "email_verified", false}, "alice", nil, "u@example.com", ""},
		"another subject":                 {func(i *Issuer) { i.Subject = "uid" }, []any{"uid", "u1"}, "u1", nil, "", ""},
		"another subject without sub":     {func(i *Issuer) { i.Subject = "uid" }, []any{"uid", "u1", "sub", absent}, "u1", nil, "", ""},
		"another subject that is missing": {func(i *Issuer) { i.Subject = "uid" }, nil, "", nil, "", ClaimMissing},
		"another subject that is empty":   {func(i *Issuer) { i.Subject = "uid" }, []any{"uid", ""}, "", nil, "", ClaimMissing},
		"another subject that is null":    {func(i *Issuer) { i.Subject = "uid" }, []any{"uid", nil}, "", nil, "", ClaimMissing},
		"a subject that is a number":      {func(i *Issuer) { i.Subject = "uid" }, []any{"uid", 7}, "", nil, "", TokenMalformed},
		"a subject with a line feed":      {func(i *Issuer) { i.Subject = "uid" }, []any{"uid", "a\nb"}, "", nil, "", TokenMalformed},
		"a subject that is too long":      {func(i *Issuer) { i.Subject = "uid" }, []any{"uid", long}, "", nil, "", TokenMalformed},
		"a required claim":                {func(i *Issuer) { i.Require = []string{"amr", "a.b"} }, []any{"amr", []string{}, "a", object{"b": false}}, "alice", nil, "", ""},
		"a required claim that is null":   {func(i *Issuer) { i.Require = []string{"amr"} }, []any{"amr", nil}, "", nil, "", ClaimMissing},
		"a required claim that is absent": {func(i *Issuer) { i.Require = []string{"a.b"} }, []any{"a", object{}}, "", nil, "", ClaimMissing},
		"one audience alone":              {func(i *Issuer) { i.SingleAudience = true }, []any{"aud", []string{"vertex"}}, "alice", nil, "", ""},
		"another audience beside it":      {func(i *Issuer) { i.SingleAudience = true }, []any{"aud", []string{"vertex", "other"}}, "", nil, "", SeveralAudiences},
		"the same audience twice":         {func(i *Issuer) { i.SingleAudience = true }, []any{"aud", []string{"vertex", "vertex"}}, "", nil, "", SeveralAudiences},
		"a client that is listed":         {func(i *Issuer) { i.Clients = []string{"app"} }, []any{"azp", "app"}, "alice", nil, "", ""},
		"a client by its other claim":     {func(i *Issuer) { i.Clients = []string{"app"} }, []any{"client_id", "app"}, "alice", nil, "", ""},
		"a client that is not listed":     {func(i *Issuer) { i.Clients = []string{"app"} }, []any{"azp", "App"}, "", nil, "", ClientRefused},
		"two clients that differ":         {func(i *Issuer) { i.Clients = []string{"app"} }, []any{"azp", "app", "client_id", "evil"}, "", nil, "", ClientRefused},
		"no client":                       {func(i *Issuer) { i.Clients = []string{"app"} }, nil, "", nil, "", ClientRefused},
		"a lifetime that is shorter":      {func(i *Issuer) { i.MaxLifetime = 310e9 }, nil, "alice", nil, "", ""},
		"a lifetime that is longer":       {func(i *Issuer) { i.MaxLifetime = 309e9 }, nil, "", nil, "", LifetimeTooLong},
		"a lifetime from now on":          {func(i *Issuer) { i.MaxLifetime = 299e9 }, []any{"iat", absent}, "", nil, "", LifetimeTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mapped(t, c.change, c.claims...)
			if got, want := reasonOf(t, err), c.want; got != want {
				t.Fatalf("reason = %q (%v), want %q", got, err, want)
			}
			want := []any{c.subject, c.groups, c.email}
			if diff := cmp.Diff(want, []any{got.Subject, got.Groups, got.Email}); diff != "" {
				t.Errorf("subject, groups, email (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeclaredTypesAreKept(t *testing.T) {
	values := map[string]string{
		"string": `"x"`, "int": `7`, "number": `7.5`, "bool": `true`, "list": `["a"]`, "map": `{"a":1}`, "null": `null`, "text of a number": `"7"`, "text of a bool": `"false"`,
		"zero": `0`, "empty text": `""`,
	}
	fits := map[string][]string{
		"string": {"string", "text of a number", "text of a bool", "empty text"}, "int": {"int", "zero"}, "number": {"int", "number", "zero"}, "bool": {"bool"},
		"list": {"list"}, "map": {"map"},
	}
	for declared, accepted := range fits {
		for value, raw := range values {
			want := ClaimRefused
			for _, name := range accepted {
				if name == value {
					want = ""
				}
			}
			for _, path := range []string{"level", "nested.level"} {
				claims := []any{"level", literalJSON(raw)}
				if path != "level" {
					claims = []any{"nested", object{"level": literalJSON(raw)}}
					if value == "null" { // within an object null is nothing
						continue
					}
				}
				_, err := mapped(t, func(i *Issuer) { i.Claims = map[string]string{path: declared} }, claims...)
				if got := reasonOf(t, err); got != want {
					t.Errorf("%s declared as %s, with %s: reason = %q, want %q", path, declared, raw, got, want)
				}
			}
		}
		if _, err := mapped(t, func(i *Issuer) { i.Claims = map[string]string{"level": declared} }); err != nil {
			t.Errorf("declared as %s and missing: %v", declared, err)
		}
	}
}

type literalJSON string

func (l literalJSON) MarshalJSON() ([]byte, error) { return []byte(l), nil }

// What one issuer's claims mean must not be what another's mean.
func TestMappingsDoNotLeakBetweenIssuers(t *testing.T) {
	keys := []byte(jwks(jwk(p256Private(), "k")))
	issuer := func(name string, change func(*Issuer)) Issuer {
		i := Issuer{Name: name, URL: "https://" + name + ".example", Audiences: []string{"vertex"}, JWKS: keys}
		change(&i)
		return i
	}
	v := newVerifier(
		t, options(t),
		issuer("a", func(i *Issuer) { i.Subject, i.Groups, i.Email, i.Require = "uid", "roles", "mail", []string{"uid"} }),
		issuer("b", func(i *Issuer) { i.Groups, i.Claims, i.Tenants = "teams", map[string]string{"level": "int"}, nil }),
		issuer("c", func(i *Issuer) { i.SingleAudience, i.Clients, i.MaxAge = true, []string{"app"}, 60e9 }),
	)
	claims := func(iss string) object {
		return goodClaims(iss).with("uid", "u", "roles", []string{"r"}, "teams", []string{"t"}, "groups", []string{"g"}, "mail", "m@example.com", "email", "e@example.com", "azp", "app", "level", 1)
	}
	for name, want := range map[string]string{"a": "u [r] m@example.com", "b": "alice [t] e@example.com", "c": "alice [g] e@example.com"} {
		token := compact("ES256", p256Private(), `{"alg":"ES256","kid":"k"}`, claims("https://"+name+".example").String())
		got, err := v.Verify(t.Context(), bearerOf(token), now)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(got.Subject, got.Groups, got.Email); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") || got == "" {
			t.Errorf("issuer %s: %s, want %s", name, got, want)
		}
	}
	// What one of them refuses, another does not.
	for name, want := range map[string]Reason{"a": "", "b": ClaimRefused, "c": ClientRefused} {
		token := compact("ES256", p256Private(), `{"alg":"ES256","kid":"k"}`, claims("https://"+name+".example").with("level", "1", "azp", "evil").String())
		_, err := v.Verify(t.Context(), bearerOf(token), now)
		if got := reasonOf(t, err); got != want {
			t.Errorf("issuer %s: reason = %q, want %q", name, got, want)
		}
	}
}
