package agent

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
)

const head = `version: 1
defaults: { project: acme-ai, locations: europe-west1, methods: generate }
`

// loadText returns the policy that a text is.
func loadText(t *testing.T, text string) *policy.Policy {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a policy says of an issuer must not get lost on the way to the verifier.
func TestIssuersLoseNothing(t *testing.T) {
	from, to := reflect.TypeFor[policy.Issuer](), reflect.TypeFor[identity.Issuer]()
	for i := range from.NumField() {
		if name := from.Field(i).Name; !hasField(to, name) {
			t.Errorf("identity.Issuer has no field %s", name)
		}
	}
	p := loadText(t, head+`issuers:
  corp:
    url: https://login.example.com
    profile: keycloak
    audience: [vertex, other]
    algorithms: [RS256]
    jwks: { url: "https://login.example.com/keys" }
    header: authorization
    ca: ca.pem
    proxy: http://proxy.example.com:3128
    tokenFile: token
    singleAudience: true
    leeway: 10s
    maxAge: 1h
    maxLifetime: 2h
    maxStale: 3h
    require: [jti]
    map: { subject: sub, groups: roles, email: email }
    claims: { team: string }
    clients: [console]
    introspect: { url: "https://login.example.com/introspect", clientID: agent, clientSecretFile: secret }
    certificate: { dns: ["*.example.com"] }
roles: { search: { as: vx-search, who: { corp: { roles: search-eng } } } }
rules: { gemini: { allow: search, models: gemini-* } }
`)
	written, mapped := reflect.ValueOf(p.Issuers()[0]), reflect.ValueOf(Issuers(p)[0])
	for i := range from.NumField() {
		name := from.Field(i).Name
		if slices.Contains([]string{"JWKSFile", "JWKS", "Tenants"}, name) { // exclude others of these, or need another profile
			continue
		}
		if written.Field(i).IsZero() {
			t.Errorf("the test's policy does not set %s", name)
		}
		if mapped.FieldByName(name).IsZero() {
			t.Errorf("%s got lost", name)
		}
	}
}

func hasField(of reflect.Type, name string) bool {
	_, ok := of.FieldByName(name)
	return ok
}

func TestPoliciesThatAnAgentRefuses(t *testing.T) {
	const exchanging = "roles: { search: { as: vx-search, who: { corp: { groups: search-eng } }, " +
		"exchange: { audience: //iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q, mode: impersonate } } }\n"
	const plain = "roles: { search: { as: vx-search, who: { corp: { groups: search-eng } } } }\n"
	for name, tt := range map[string]struct {
		issuer, roles string
		want          string // of the error, empty for none
		files         string // of the error with files, empty for the same
	}{
		"nothing wrong":              {`url: "https://login.example.com", audience: vertex`, plain, "", ""},
		"an exchange":                {`url: "https://login.example.com", audience: vertex, algorithms: [RS256, ES256]`, exchanging, "", ""},
		"a contradicted profile":     {`url: "https://login.example.com", audience: vertex, profile: iap`, plain, `issuer "corp": `, ""},
		"an algorithm":               {`url: "https://login.example.com", audience: vertex, algorithms: [RS256, PS256]`, exchanging, `role "search": exchange: issuer "corp" may sign with PS256`, ""},
		"the same without exchange":  {`url: "https://login.example.com", audience: vertex, algorithms: [RS256, PS256]`, plain, "", ""},
		"callers of certificates":    {`certificate: { dns: "*.example.com" }`, strings.Replace(exchanging, "groups: search-eng", `dns: "*.example.com"`, 1), `callers of issuer "corp" have no token to exchange`, ""},
		"opaque tokens":              {`url: "https://login.example.com", audience: vertex, introspect: { url: "https://login.example.com/i", clientID: a, clientSecretFile: s, opaque: true }`, exchanging, `callers of issuer "corp" may have opaque tokens`, ""},
		"a file that is not here":    {`url: "https://login.example.com", audience: vertex, introspect: { url: "https://login.example.com/i", clientID: a, clientSecretFile: s, ca: /does/not/exist }`, plain, "", "/does/not/exist"},
		"certificates' file is away": {`certificate: { dns: "*.example.com", ca: /does/not/exist }`, strings.Replace(plain, "groups: search-eng", `dns: "*.example.com"`, 1), "", "/does/not/exist"},
	} {
		t.Run(name, func(t *testing.T) {
			p := loadText(t, head+"issuers: { corp: { "+tt.issuer+" } }\n"+tt.roles+"rules: { gemini: { allow: search, models: gemini-* } }\n")
			for files, want := range map[bool]string{false: tt.want, true: tt.want + tt.files} {
				err := CheckPolicy(p, files)
				if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("files %t: got %v, want %q", files, err, want)
				}
				if want != "" && strings.Contains(want, "exchange") && !strings.Contains(err.Error(), "policy.yaml:") {
					t.Errorf("%v does not say where", err)
				}
			}
		})
	}
}
