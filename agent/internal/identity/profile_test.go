package identity

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/secret"
)

// example is what a provider publishes about its own tokens, and what must become of it.
type example struct {
	source    string // where it is published
	issuer    Issuer // without name and keys
	algorithm string
	header    object // without alg and kid
	key       object // members of the published key beside its numbers
	claims    string
	subject   string
	groups    []string
	email     string
	refused   map[string]refusal
}

// refusal changes one thing of the example.
type refusal struct {
	want   Reason
	claims []any         // pairs
	header []any         // pairs
	key    []any         // pairs
	issuer func(*Issuer) // instead of those
}

const (
	tenantID = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	otherID  = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

// examples holds the published claims of each provider, with their own times. Where a provider publishes a table and no token, the
// claims are those of the table. An audience that a profile refuses, because every token has it, is replaced.
func examples() map[string]example {
	all := map[string]example{}
	for _, part := range []map[string]example{accessExamples(), googleExamples(), entraExamples(), pipelineExamples(), workloadExamples(), cloudflareExamples()} {
		for name, e := range part {
			all[name] = e
		}
	}
	return all
}

func accessExamples() map[string]example {
	return map[string]example{
		"okta": {
			source: "https://developer.okta.com/docs/api/openapi/okta-oauth/guides/overview/#access-token",
			issuer: Issuer{Profile: "okta", URL: "https://example.okta.com/oauth2/default", Audiences: []string{"https://api.example.com"}, Clients: []string{"nmdP1fcyvdVO11AL7ECm"}},
			claims: `{"ver":1,"jti":"AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE","iss":"https://example.okta.com/oauth2/default",
				"aud":"https://api.example.com","sub":"00ujmkLgagxeRrAg20g3","iat":1467145094,"exp":1467148694,"cid":"nmdP1fcyvdVO11AL7ECm",
				"uid":"00ujmkLgagxeRrAg20g3","scp":["openid","email"],"groups":["Admins","Everyone"]}`,
			subject: "00ujmkLgagxeRrAg20g3", groups: []string{"Admins", "Everyone"},
			refused: map[string]refusal{
				"a token of another client":            {want: ClientRefused, claims: []any{"cid", "0oa1gjh63g214q0Hq0g4"}},
				"a token without a client":             {want: ClaimMissing, claims: []any{"cid", absent}},
				"a client that is a list":              {want: ClientRefused, claims: []any{"cid", []string{"nmdP1fcyvdVO11AL7ECm"}}},
				"scopes as one text":                   {want: ClaimRefused, claims: []any{"scp", "openid email"}},
				"an ID token":                          {want: TokenType, claims: []any{"nonce", "n-0S6_WzA2Mj", "at_hash", "MTIzNDU2Nzg5MDEyMzQ1Ng"}},
				"a token of the org server":            {want: UnknownIssuer, claims: []any{"iss", "https://example.okta.com"}},
				"a token of another server of the org": {want: UnknownIssuer, claims: []any{"iss", "https://example.okta.com/oauth2/other"}},
			},
		},
		"auth0": {
			source: "https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles#auth0-profile-sample-token",
			issuer: Issuer{Profile: "auth0", URL: "https://my-domain.auth0.com/", Audiences: []string{"https://example.com/health-api"}, Clients: []string{"my_client_id"}},
			claims: `{"iss":"https://my-domain.auth0.com/","sub":"auth0|123456","aud":["https://example.com/health-api","https://my-domain.auth0.com/userinfo"],
				"azp":"my_client_id","exp":1311281970,"iat":1311280970,"scope":"openid profile read:patients read:admin","my_custom_claim":"my_custom_value"}`,
			subject: "auth0|123456",
			refused: map[string]refusal{
				"a token of another client":        {want: ClientRefused, claims: []any{"azp", "their_client_id"}},
				"two clients that differ":          {want: ClientRefused, claims: []any{"client_id", "their_client_id"}},
				"a token without a client":         {want: ClientRefused, claims: []any{"azp", absent}},
				"a token for userinfo alone":       {want: WrongAudience, claims: []any{"aud", "https://my-domain.auth0.com/userinfo"}},
				"an issuer without its last slash": {want: UnknownIssuer, claims: []any{"iss", "https://my-domain.auth0.com"}},
				"an ID token":                      {want: TokenType, claims: []any{"nonce", "n"}},
				"another organisation":             {want: TenantRefused, claims: []any{"org_id", "org_b"}, issuer: func(i *Issuer) { i.Tenants = []string{"org_a"} }},
				"no organisation":                  {want: TenantRefused, issuer: func(i *Issuer) { i.Tenants = []string{"org_a"} }},
			},
		},
		"auth0 in the form of RFC 9068": {
			source: "https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles#rfc-9068-profile-sample-token",
			issuer: Issuer{Profile: "rfc9068", URL: "https://my-domain.auth0.com/", Audiences: []string{"https://example.com/health-api"}, Clients: []string{"my_client_id"}},
			header: object{"typ": "at+jwt"},
			claims: `{"iss":"https://my-domain.auth0.com/","sub":"auth0|123456","aud":["https://example.com/health-api","https://my-domain.auth0.com/userinfo"],
				"client_id":"my_client_id","exp":1311281970,"iat":1311280970,"jti":"73WakrfVbNJBaAmhQtEeDv","scope":"openid profile read:patients read:admin","my_custom_claim":"my_custom_value"}`,
			subject: "auth0|123456",
			refused: map[string]refusal{
				"an ID token by its typ":    {want: TokenType, header: []any{"typ", "JWT"}},
				"a token without typ":       {want: TokenType, header: []any{"typ", absent}},
				"a token without id":        {want: ClaimMissing, claims: []any{"jti", absent}},
				"a token without iat":       {want: ClaimMissing, claims: []any{"iat", absent}},
				"a token without a client":  {want: ClaimMissing, claims: []any{"client_id", absent}},
				"a token of another client": {want: ClientRefused, claims: []any{"client_id", "their_client_id"}},
				"azp in place of client_id": {want: ClaimMissing, claims: []any{"client_id", absent, "azp", "my_client_id"}},
				"a nonce":                   {want: TokenType, claims: []any{"nonce", "n"}},
			},
		},
		"keycloak": {
			source: "https://www.keycloak.org/securing-apps/oidc-layers (claims of org.keycloak.representations.AccessToken)",
			issuer: Issuer{Profile: "keycloak", URL: "https://sso.example.com/realms/acme", Audiences: []string{"vertex"}, Clients: []string{"chat"}, Groups: "realm_access.roles"},
			claims: `{"exp":1673171296,"iat":1673170996,"jti":"d58f5dc8-fd8f-462b-8a19-716f8f83985b","iss":"https://sso.example.com/realms/acme","aud":["vertex","account"],
				"sub":"36fa0f91-f94d-4a0c-afed-6b7d952e47da","typ":"Bearer","azp":"chat","sid":"2a88c258-f73a-4103-b862-e1fbd8f4e04e","acr":"1",
				"realm_access":{"roles":["offline_access","uma_authorization"]},"resource_access":{"account":{"roles":["manage-account","view-profile"]}},
				"scope":"email profile","email_verified":true,"preferred_username":"anna","email":"anna@example.com"}`,
			subject: "36fa0f91-f94d-4a0c-afed-6b7d952e47da", groups: []string{"offline_access", "uma_authorization"}, email: "anna@example.com",
			refused: map[string]refusal{
				"an ID token":                   {want: TokenType, claims: []any{"typ", "ID"}},
				"a refresh token":               {want: TokenType, claims: []any{"typ", "Refresh"}},
				"an offline token":              {want: TokenType, claims: []any{"typ", "Offline"}},
				"a logout token":                {want: TokenType, claims: []any{"typ", "Logout"}},
				"a DPoP-bound token":            {want: BindingUnsupported, claims: []any{"typ", "DPoP", "cnf", object{"jkt": "x"}}},
				"a token without typ":           {want: ClaimMissing, claims: []any{"typ", absent}},
				"a token of another client":     {want: ClientRefused, claims: []any{"azp", "admin-cli"}},
				"a token of another realm":      {want: UnknownIssuer, claims: []any{"iss", "https://sso.example.com/realms/master"}},
				"a token for the account alone": {want: WrongAudience, claims: []any{"aud", "account"}},
				"roles that are not a list":     {want: ClaimRefused, claims: []any{"realm_access", object{"roles": object{}}}},
			},
		},
	}
}

func googleExamples() map[string]example {
	const iapAudience = "/projects/1234567890123/global/backendServices/4567890123456789"
	return map[string]example{
		"google": {
			source: "https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload",
			issuer: Issuer{Profile: "google", Audiences: []string{"1234987819200.apps.googleusercontent.com"}, Tenants: []string{"example.com"}},
			claims: `{"iss":"https://accounts.google.com","azp":"1234987819200.apps.googleusercontent.com","aud":"1234987819200.apps.googleusercontent.com",
				"sub":"10769150350006150715113082367","at_hash":"HK6E_P6Dh8Y93mRNtsDB1Q","hd":"example.com","email":"jsmith@example.com","email_verified":"true",
				"iat":1353601026,"exp":1353604926,"nonce":"0394852-3190485-2490358"}`,
			subject: "10769150350006150715113082367", email: "jsmith@example.com",
			refused: map[string]refusal{
				"another domain":                      {want: TenantRefused, claims: []any{"hd", "example.org"}},
				"no domain":                           {want: TenantRefused, claims: []any{"hd", absent}},
				"an address that is not verified":     {want: EmailNotVerified, claims: []any{"email_verified", false}},
				"an address that may not be verified": {want: EmailNotVerified, claims: []any{"email_verified", absent}},
				"another client":                      {want: ClientRefused, claims: []any{"azp", "999.apps.googleusercontent.com"}, issuer: func(i *Issuer) { i.Clients = []string{"1234987819200.apps.googleusercontent.com"} }},
				"the short iss with a slash":          {want: UnknownIssuer, claims: []any{"iss", "accounts.google.com/"}},
				"the short iss over http":             {want: UnknownIssuer, claims: []any{"iss", "http://accounts.google.com"}},
			},
		},
		"google service account": {
			source: "https://cloud.google.com/docs/authentication/token-types#id-contents",
			issuer: Issuer{Profile: "google", Audiences: []string{"example-audience"}, Clients: []string{"112010400000000710080"}},
			claims: `{"aud":"example-audience","azp":"112010400000000710080","email":"service-account@example.iam.gserviceaccount.com","email_verified":true,
				"exp":1745365618,"iat":1745362018,"iss":"https://accounts.google.com","sub":"112010400000000710080"}`,
			subject: "112010400000000710080", email: "service-account@example.iam.gserviceaccount.com",
			refused: map[string]refusal{
				"another service account": {want: ClientRefused, claims: []any{"azp", "112010400000000710081", "sub", "112010400000000710081"}},
				"a token without azp":     {want: ClientRefused, claims: []any{"azp", absent}},
				"azp as a number":         {want: TokenMalformed, claims: []any{"azp", 1120104}},
				"a domain is asked for":   {want: TenantRefused, issuer: func(i *Issuer) { i.Tenants = []string{"example.com"} }},
			},
		},
		"iap": {
			source:    "https://cloud.google.com/iap/docs/signed-headers-howto#verifying_the_jwt_payload",
			issuer:    Issuer{Profile: "iap", Audiences: []string{iapAudience}, Tenants: []string{"example.com"}},
			algorithm: "ES256",
			claims: `{"aud":"` + iapAudience + `","email":"alice@example.com","exp":1700000600,"iat":1700000000,"hd":"example.com","google":{"access_levels":["accessPolicies/1/accessLevels/x"]},
				"iss":"https://cloud.google.com/iap","sub":"accounts.google.com:118133858486581853996"}`,
			subject: "accounts.google.com:118133858486581853996", email: "alice@example.com",
			refused: map[string]refusal{
				"another domain":               {want: TenantRefused, claims: []any{"hd", "example.org"}},
				"another backend":              {want: WrongAudience, claims: []any{"aud", "/projects/1234567890123/global/backendServices/1"}},
				"a token without kid":          {want: UnknownKey, header: []any{"kid", absent}},
				"RS256":                        {want: AlgorithmRefused, header: []any{"alg", "RS256"}},
				"an ID token of Google":        {want: UnknownIssuer, claims: []any{"iss", "https://accounts.google.com"}},
				"the token as a bearer token":  {want: WrongHeader, issuer: func(i *Issuer) { i.Header = HeaderAuthorization }},
				"typ of an OAuth access token": {want: TokenType, header: []any{"typ", "at+jwt"}},
			},
		},
	}
}

func entraExamples() map[string]example {
	const page = "https://learn.microsoft.com/entra/identity-platform/access-tokens#token-formats"
	version2 := `{"aud":"6e74172b-be56-4843-9ff4-e66a39bb12e3","iss":"https://login.microsoftonline.com/` + tenantID + `/v2.0","iat":1537231048,"nbf":1537231048,"exp":1537234948,
		"aio":"AXQAi/8IAAAA","azp":"6e74172b-be56-4843-9ff4-e66a39bb12e3","azpacr":"0","name":"Abe Lincoln","oid":"690222be-ff1a-4d56-abd1-7e4f7d38e474",
		"preferred_username":"abeli@microsoft.com","rh":"I","scp":"access_as_user","sub":"HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ","tid":"` + tenantID + `",
		"uti":"fqiBqXLPj0eQa82S-IYFAA","ver":"2.0"}`
	template := func(i *Issuer) { i.URL = "https://login.microsoftonline.com/{tenantid}/v2.0" }
	return map[string]example{
		"entra": {
			source: page,
			issuer: Issuer{Profile: "entra", URL: "https://login.microsoftonline.com/" + tenantID + "/v2.0", Audiences: []string{"6e74172b-be56-4843-9ff4-e66a39bb12e3"},
				Clients: []string{"6e74172b-be56-4843-9ff4-e66a39bb12e3"}},
			key:     object{"use": "sig", "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0", "cloud_instance_name": "microsoftonline.com"},
			claims:  version2,
			subject: "690222be-ff1a-4d56-abd1-7e4f7d38e474",
			refused: map[string]refusal{
				"another tenant":                       {want: UnknownIssuer, claims: []any{"tid", otherID, "iss", "https://login.microsoftonline.com/" + otherID + "/v2.0"}},
				"a tid that is not that of iss":        {want: TenantRefused, claims: []any{"tid", otherID}},
				"no tid":                               {want: UnknownIssuer, claims: []any{"tid", absent}},
				"a tid in capitals":                    {want: UnknownIssuer, claims: []any{"tid", strings.ToUpper(tenantID), "iss", "https://login.microsoftonline.com/" + strings.ToUpper(tenantID) + "/v2.0"}},
				"version 1":                            {want: UnknownIssuer, claims: []any{"iss", "https://sts.windows.net/" + tenantID + "/"}},
				"another client":                       {want: ClientRefused, claims: []any{"azp", "04b07795-8ddb-461a-bbee-02f9e1bf7b46"}},
				"a client of version 1 beside it":      {want: ClientRefused, claims: []any{"appid", "04b07795-8ddb-461a-bbee-02f9e1bf7b46"}},
				"an ID token":                          {want: TokenType, claims: []any{"nonce", "n"}},
				"a token for Microsoft Graph":          {want: TokenType, header: []any{"nonce", "n"}},
				"a caller without object id":           {want: ClaimMissing, claims: []any{"oid", absent}},
				"groups that are elsewhere":            {want: ClaimRefused, claims: []any{"_claim_names", object{"groups": "src1"}, "_claim_sources", object{"src1": object{"endpoint": "https://graph.windows.net/x"}}}},
				"groups that are left out":             {want: ClaimRefused, claims: []any{"hasgroups", true}},
				"a key of another tenant":              {want: IssuerUnavailable, key: []any{"issuer", "https://login.microsoftonline.com/" + otherID + "/v2.0"}},
				"several tenants, and one not listed":  {want: TenantRefused, issuer: func(i *Issuer) { template(i); i.Tenants = []string{otherID} }},
				"several tenants, and a key of others": {want: KeyRefused, key: []any{"issuer", "https://login.microsoftonline.com/" + otherID + "/v2.0"}, issuer: func(i *Issuer) { template(i); i.Tenants = []string{tenantID, otherID} }},
				"several tenants, and the template itself": {want: UnknownIssuer, claims: []any{"iss", "https://login.microsoftonline.com/{tenantid}/v2.0"},
					issuer: func(i *Issuer) { template(i); i.Tenants = []string{tenantID} }},
				"several tenants, and a tid with a path": {want: UnknownIssuer, claims: []any{"tid", tenantID + "/v2.0?", "iss", "https://login.microsoftonline.com/" + tenantID + "/v2.0?/v2.0"},
					issuer: func(i *Issuer) { template(i); i.Tenants = []string{tenantID} }},
			},
		},
		"entra for several tenants": {
			source: page,
			issuer: Issuer{Profile: "entra", URL: "https://login.microsoftonline.com/{tenantid}/v2.0", Audiences: []string{"6e74172b-be56-4843-9ff4-e66a39bb12e3"},
				Tenants: []string{otherID, tenantID}, Subject: "sub"},
			key:    object{"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"},
			claims: version2, subject: "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
		},
		"entra with a key of the tenant's own": {
			source: page,
			issuer: Issuer{Profile: "entra", URL: "https://login.microsoftonline.com/{tenantid}/v2.0", Audiences: []string{"6e74172b-be56-4843-9ff4-e66a39bb12e3"}, Tenants: []string{tenantID}},
			key:    object{"issuer": "https://login.microsoftonline.com/" + tenantID + "/v2.0"},
			claims: version2, subject: "690222be-ff1a-4d56-abd1-7e4f7d38e474",
		},
		"entra version 1": {
			source: page + ", where tid and the id in iss differ by a misprint",
			issuer: Issuer{Profile: "entra", URL: "https://sts.windows.net/fa15d692-e9c7-4460-a743-29f2956fd429/", Audiences: []string{"ef1da9d4-ff77-4c3e-a005-840c3f830745"},
				Clients: []string{"75dbe77f-10a3-4e59-85fd-8c127544f17c"}},
			claims: `{"aud":"ef1da9d4-ff77-4c3e-a005-840c3f830745","iss":"https://sts.windows.net/fa15d692-e9c7-4460-a743-29f2956fd429/","iat":1537233106,"nbf":1537233106,"exp":1537237006,
				"acr":"1","amr":["wia"],"appid":"75dbe77f-10a3-4e59-85fd-8c127544f17c","appidacr":"0","email":"AbeLi@microsoft.com","family_name":"Lincoln","given_name":"Abe (MSFT)",
				"ipaddr":"222.222.222.22","name":"abeli","oid":"02223b6b-aa1d-42d4-9ec0-1b2bb9194438","rh":"I","scp":"user_impersonation","sub":"l3_roISQU222bULS9yi2k0XpqpOiMz5H3ZACo1GeXA",
				"tid":"fa15d692-e9c7-4460-a743-29f2956fd429","unique_name":"abeli@microsoft.com","uti":"FVsGxYXI30-TuikuuUoFAA","ver":"1.0"}`,
			subject: "02223b6b-aa1d-42d4-9ec0-1b2bb9194438", // and no address: that of email is whatever a tenant's administrator likes
			refused: map[string]refusal{
				"version 2":      {want: UnknownIssuer, claims: []any{"iss", "https://login.microsoftonline.com/fa15d692-e9c7-4460-a743-29f2956fd429/v2.0"}},
				"another client": {want: ClientRefused, claims: []any{"appid", "00000003-0000-0000-c000-000000000000"}},
				"another tenant": {want: UnknownIssuer, claims: []any{"iss", "https://sts.windows.net/" + otherID + "/", "tid", otherID}},
			},
		},
	}
}

func pipelineExamples() map[string]example {
	return map[string]example{
		"github": {
			source: "https://docs.github.com/en/actions/concepts/security/openid-connect#understanding-the-oidc-token",
			issuer: Issuer{Profile: "github", Audiences: []string{"vertex"}, Tenants: []string{"65"}},
			header: object{"typ": "JWT", "x5t": "example-thumbprint"},
			claims: `{"jti":"example-id","sub":"repo:octo-org/octo-repo:environment:prod","environment":"prod","aud":"vertex","ref":"refs/heads/main","sha":"example-sha",
				"repository":"octo-org/octo-repo","repository_owner":"octo-org","actor_id":"12","repository_visibility":"private","repository_id":"74","repository_owner_id":"65",
				"run_id":"example-run-id","run_number":"10","run_attempt":"2","runner_environment":"github-hosted","actor":"octocat","workflow":"example-workflow","head_ref":"","base_ref":"",
				"event_name":"workflow_dispatch","ref_type":"branch","job_workflow_ref":"octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
				"iss":"https://token.actions.githubusercontent.com","nbf":1632492967,"exp":1632493867,"iat":1632493567}`,
			subject: "repo:octo-org/octo-repo:environment:prod",
			refused: map[string]refusal{
				"another owner":                    {want: TenantRefused, claims: []any{"repository_owner_id", "66"}},
				"an owner's id as a number":        {want: TenantRefused, claims: []any{"repository_owner_id", 65}},
				"a repository of another owner":    {want: ClaimRefused, claims: []any{"repository", "evil-org/octo-repo"}},
				"a repository without an owner":    {want: ClaimRefused, claims: []any{"repository", "/octo-repo", "repository_owner", ""}},
				"no repository id":                 {want: ClaimMissing, claims: []any{"repository_id", absent}},
				"the audience that everybody gets": {want: WrongAudience, claims: []any{"aud", "https://github.com/octo-org"}},
				"the issuer of an enterprise":      {want: UnknownIssuer, claims: []any{"iss", "https://token.actions.githubusercontent.com/octo-enterprise"}},
				"a lifetime of an hour":            {want: LifetimeTooLong, claims: []any{"exp", 1632493567 + 3600}},
			},
		},
		"gitlab": {
			source: "https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload",
			issuer: Issuer{Profile: "gitlab", URL: "https://gitlab.example.com", Audiences: []string{"vertex"}, Tenants: []string{"72"}},
			claims: `{"namespace_id":"72","namespace_path":"my-group","project_id":"20","project_path":"my-group/my-project","user_id":"1","user_login":"sample-user","user_email":"sample-user@example.com",
				"user_access_level":"developer","pipeline_id":"574","pipeline_source":"push","job_id":"302","ref":"feature-branch-1","ref_type":"branch","ref_path":"refs/heads/feature-branch-1","ref_protected":"false",
				"groups_direct":["mygroup/mysubgroup"],"environment":"test-environment2","environment_protected":"false","deployment_tier":"testing","runner_id":1,"runner_environment":"self-hosted",
				"sha":"714a629c0b401fdce83e847fc9589983fc6f46bc","project_visibility":"public","jti":"235b3a54-b797-45c7-ae9a-f72d7bc6ef5b","iss":"https://gitlab.example.com","iat":1681395193,"nbf":1681395188,
				"exp":1681398793,"sub":"project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1","aud":"vertex"}`,
			subject: "project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1", groups: []string{"mygroup/mysubgroup"},
			refused: map[string]refusal{
				"a boolean for text":           {want: ClaimRefused, claims: []any{"ref_protected", true}},
				"text that is no boolean":      {want: ClaimRefused, claims: []any{"ref_protected", "TRUE"}},
				"an environment's boolean":     {want: ClaimRefused, claims: []any{"environment_protected", false}},
				"no word about protection":     {want: ClaimMissing, claims: []any{"ref_protected", absent}},
				"a project's id as a number":   {want: ClaimRefused, claims: []any{"project_id", 20}},
				"another namespace":            {want: TenantRefused, claims: []any{"namespace_id", "73"}},
				"the audience of old":          {want: WrongAudience, claims: []any{"aud", "https://gitlab.example.com"}},
				"another instance":             {want: UnknownIssuer, claims: []any{"iss", "https://gitlab.com"}},
				"a host in place of an issuer": {want: UnknownIssuer, claims: []any{"iss", "gitlab.example.com"}},
			},
		},
	}
}

func workloadExamples() map[string]example {
	const aws = `{"aws_account":"123456789012","source_region":"us-east-1","org_id":"o-abc1234567","ou_path":"o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/ou-ab12-22222222/",
		"principal_tags":{"environment":"production","team":"data-engineering"},"lambda_source_function_arn":"arn:aws:lambda:us-east-1:123456789012:function:process-data",
		"request_tags":{"job-id":"job-2024-001"}}`
	return map[string]example{
		"kubernetes": {
			source: "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#schema-for-service-account-private-claims",
			issuer: Issuer{Profile: "kubernetes", URL: "https://my-cluster.example.com", Audiences: []string{"https://my-audience.example.com"}, Tenants: []string{"my-namespace"}},
			header: object{"typ": absent},
			claims: `{"aud":["https://my-audience.example.com"],"exp":1729605240,"iat":1729601640,"iss":"https://my-cluster.example.com","jti":"aed34954-b33a-4142-b1ec-389d6bbb4936",
				"kubernetes.io":{"namespace":"my-namespace","node":{"name":"my-node","uid":"646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},"pod":{"name":"my-pod","uid":"5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
				"serviceaccount":{"name":"my-serviceaccount","uid":"14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"}},"nbf":1729601640,"sub":"system:serviceaccount:my-namespace:my-serviceaccount"}`,
			subject: "system:serviceaccount:my-namespace:my-serviceaccount",
			refused: map[string]refusal{
				"a token of old, from a Secret": {want: UnknownIssuer, claims: []any{"iss", "kubernetes/serviceaccount", "aud", absent, "exp", absent, "kubernetes.io", absent,
					"kubernetes.io/serviceaccount/namespace", "my-namespace"}},
				"a token without audience":         {want: ClaimMissing, claims: []any{"aud", absent}},
				"a token without end":              {want: ClaimMissing, claims: []any{"exp", absent}},
				"another namespace":                {want: TenantRefused, claims: []any{"kubernetes.io", object{"namespace": "kube-system", "serviceaccount": object{"name": "my-serviceaccount", "uid": "u"}}}},
				"a subject of another account":     {want: ClaimRefused, claims: []any{"sub", "system:serviceaccount:my-namespace:admin"}},
				"a subject that is no account":     {want: ClaimRefused, claims: []any{"sub", "system:node:my-node"}},
				"an account without uid":           {want: ClaimMissing, claims: []any{"kubernetes.io", object{"namespace": "my-namespace", "serviceaccount": object{"name": "my-serviceaccount"}}}},
				"a lifetime extended to a year":    {want: LifetimeTooLong, claims: []any{"exp", 1729601640 + 365*86400}},
				"a token for the cluster's server": {want: WrongAudience, claims: []any{"aud", []string{"https://kubernetes.default.svc.cluster.local"}}},
			},
		},
		"aws": {
			source:    "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html",
			issuer:    Issuer{Profile: "aws", URL: "https://abc123-def456-ghi789-jkl012.tokens.sts.global.api.aws", Audiences: []string{"https://api.example.com"}, Tenants: []string{"123456789012"}, Groups: awsClaims + ".principal_tags.team"},
			algorithm: "ES384",
			claims: `{"iss":"https://abc123-def456-ghi789-jkl012.tokens.sts.global.api.aws","aud":"https://api.example.com","sub":"arn:aws:iam::123456789012:role/DataProcessingRole",
				"iat":1700000000,"exp":1700000900,"jti":"xyz123-def456-ghi789-jkl012","https://sts.amazonaws.com/":` + aws + `}`,
			subject: "arn:aws:iam::123456789012:role/DataProcessingRole", groups: []string{"data-engineering"},
			refused: map[string]refusal{
				"another account":                  {want: TenantRefused, claims: []any{"sub", "arn:aws:iam::210987654321:role/R", awsClaims, object{"aws_account": "210987654321"}}},
				"a role of another account":        {want: ClaimRefused, claims: []any{"sub", "arn:aws:iam::210987654321:role/DataProcessingRole"}},
				"a subject that is no ARN":         {want: ClaimRefused, claims: []any{"sub", "DataProcessingRole"}},
				"an account as a number":           {want: TenantRefused, claims: []any{awsClaims, object{"aws_account": 123456789012}}},
				"nothing of AWS":                   {want: ClaimMissing, claims: []any{awsClaims, absent}},
				"the issuer of another account":    {want: UnknownIssuer, claims: []any{"iss", "https://zzz.tokens.sts.global.api.aws"}},
				"a lifetime beyond an hour":        {want: LifetimeTooLong, claims: []any{"exp", 1700003601}},
				"more than 10 audiences":           {want: ClaimRefused, claims: []any{"aud", append(slices.Repeat([]string{"x"}, 10), "https://api.example.com")}},
				"tags that only look like account": {want: ClaimMissing, claims: []any{awsClaims, object{"request_tags": object{"aws_account": "123456789012"}}, awsClaims + "aws_account", "123456789012"}},
			},
		},
		"spiffe": {
			source:    "https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md#3-jwt-claims",
			issuer:    Issuer{Profile: "spiffe", URL: "spiffe://example.org", Audiences: []string{"spiffe://example.org/vertex"}},
			algorithm: "ES256",
			header:    object{"typ": "JOSE"},
			key:       object{"use": "jwt-svid"},
			claims:    `{"sub":"spiffe://example.org/ns/rag/sa/indexer","aud":["spiffe://example.org/vertex"],"exp":1700000300,"iat":1700000000}`,
			subject:   "spiffe://example.org/ns/rag/sa/indexer",
			refused: map[string]refusal{
				"another trust domain":            {want: ClaimMissing, claims: []any{"sub", "spiffe://example.com/ns/rag/sa/indexer"}},
				"a trust domain in capitals":      {want: ClaimMissing, claims: []any{"sub", "spiffe://EXAMPLE.org/ns/rag/sa/indexer"}},
				"a scheme in capitals":            {want: ClaimMissing, claims: []any{"sub", "SPIFFE://example.org/ns/rag/sa/indexer"}},
				"the trust domain itself":         {want: ClaimRefused, claims: []any{"sub", "spiffe://example.org"}},
				"a path that ends in a slash":     {want: ClaimRefused, claims: []any{"sub", "spiffe://example.org/ns/"}},
				"a path that goes up":             {want: ClaimRefused, claims: []any{"sub", "spiffe://example.org/ns/../admin"}},
				"an escaped path":                 {want: ClaimRefused, claims: []any{"sub", "spiffe://example.org/ns%2Fadmin"}},
				"a query":                         {want: ClaimRefused, claims: []any{"sub", "spiffe://example.org/ns?x"}},
				"a trust domain that starts so":   {want: ClaimMissing, claims: []any{"sub", "spiffe://example.org.evil/ns"}},
				"a token without kid":             {want: UnknownKey, header: []any{"kid", absent}},
				"a token without audience":        {want: ClaimMissing, claims: []any{"aud", absent}},
				"a token without end":             {want: ClaimMissing, claims: []any{"exp", absent}},
				"an access token's typ":           {want: TokenType, header: []any{"typ", "at+jwt"}},
				"a key for certificates":          {want: IssuerUnavailable, key: []any{"use", "x509-svid"}},
				"an iss of somebody else":         {want: UnknownIssuer, claims: []any{"iss", "https://oidc.example.org"}},
				"an empty iss":                    {want: UnknownIssuer, claims: []any{"iss", ""}},
				"an empty iss and another domain": {want: UnknownIssuer, claims: []any{"iss", "", "sub", "spiffe://example.com/x"}},
			},
		},
		"spiffe with an issuer of its own": {
			source:    "https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md#3-jwt-claims",
			issuer:    Issuer{Profile: "spiffe", URL: "https://oidc.example.org", Audiences: []string{"vertex"}, Tenants: []string{"example.org", "staging.example.org"}},
			algorithm: "ES256",
			claims:    `{"iss":"https://oidc.example.org","sub":"spiffe://staging.example.org/indexer","aud":"vertex","exp":1700000300,"iat":1700000000}`,
			subject:   "spiffe://staging.example.org/indexer",
			refused: map[string]refusal{
				"another trust domain": {want: TenantRefused, claims: []any{"sub", "spiffe://example.com/indexer"}},
				"no SPIFFE ID":         {want: TenantRefused, claims: []any{"sub", "indexer"}},
				"no iss":               {want: ClaimMissing, claims: []any{"iss", absent}},
			},
		},
	}
}

func cloudflareExamples() map[string]example {
	const audience = "32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228"
	const page = "https://developers.cloudflare.com/cloudflare-one/access-controls/applications/http-apps/authorization-cookie/application-token/"
	team := Issuer{Profile: "cloudflare", URL: "https://yourteam.cloudflareaccess.com", Audiences: []string{audience}}
	services := team
	services.Clients = []string{"e367826f93b8d71185e03fe518aff3b4.access"}
	return map[string]example{
		"cloudflare": {
			source: page + "#identity-based-authentication", issuer: team, key: object{"use": "sig", "alg": "RS256"},
			claims: `{"aud":["` + audience + `"],"email":"user@example.com","exp":1659474457,"iat":1659474397,"nbf":1659474397,"iss":"https://yourteam.cloudflareaccess.com",
				"type":"app","identity_nonce":"6ei69kawdKzMIAPF","sub":"7335d417-61da-459d-899c-0a01c76a2f94","country":"US"}`,
			subject: "7335d417-61da-459d-899c-0a01c76a2f94", email: "user@example.com",
			refused: map[string]refusal{
				"the session of the organisation": {want: TokenType, claims: []any{"type", "org"}},
				"a token without type":            {want: ClaimMissing, claims: []any{"type", absent}},
				"an empty sub and no service":     {want: ClaimMissing, claims: []any{"sub", ""}},
				"a user that is a service":        {want: ClaimRefused, claims: []any{"common_name", "e367826f93b8d71185e03fe518aff3b4.access"}},
				"another application":             {want: WrongAudience, claims: []any{"aud", []string{"00" + audience[2:]}}},
				"another team":                    {want: UnknownIssuer, claims: []any{"iss", "https://theirteam.cloudflareaccess.com"}},
				"a token without kid":             {want: UnknownKey, header: []any{"kid", absent}},
				"the token as a bearer token":     {want: WrongHeader, issuer: func(i *Issuer) { i.Header = HeaderAuthorization }},
				"a user where services are asked": {want: ClientRefused, issuer: func(i *Issuer) { i.Clients = services.Clients }},
			},
		},
		"cloudflare service token": {
			source: page + "#service-token-authentication", issuer: services,
			claims: `{"type":"app","aud":["` + audience + `"],"exp":1659474457,"iss":"https://yourteam.cloudflareaccess.com","common_name":"e367826f93b8d71185e03fe518aff3b4.access",
				"iat":1659474397,"sub":""}`,
			subject: "e367826f93b8d71185e03fe518aff3b4.access",
			refused: map[string]refusal{
				"another service":           {want: ClientRefused, claims: []any{"common_name", "ffffffff.access"}},
				"an empty name":             {want: ClientRefused, claims: []any{"common_name", ""}},
				"a name that is not text":   {want: ClientRefused, claims: []any{"common_name", 1}},
				"a name with a line feed":   {want: TokenMalformed, claims: []any{"common_name", "a\nb"}, issuer: func(i *Issuer) { i.Clients = nil }},
				"a session of organisation": {want: TokenType, claims: []any{"type", "org"}},
			},
		},
	}
}

// run identifies the caller of e with one thing changed.
func (e example) run(t *testing.T, r refusal) (Identity, error) {
	t.Helper()
	algorithm := e.algorithm
	if algorithm == "" {
		algorithm = "RS256"
	}
	i := e.issuer
	i.Name = "corp"
	field := i.Header
	if r.issuer != nil {
		r.issuer(&i)
	}
	p, _ := profileOf(i.Profile)
	setDefault(&field, p.header)
	i.JWKS = []byte(jwks(jwk(privateKey(algorithm), "k1").with(flatten(e.key)...).with(r.key...)))
	claims := object{}
	decoder := json.NewDecoder(strings.NewReader(e.claims))
	decoder.UseNumber()
	if err := decoder.Decode(&claims); err != nil {
		t.Fatal(err)
	}
	issued, err := claims["iat"].(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	header := object{"alg": algorithm, "kid": "k1", "typ": "JWT"}.with(flatten(e.header)...).with(r.header...)
	token := compact(algorithm, privateKey(algorithm), header.String(), claims.with(r.claims...).String())
	c := Credentials{Assertion: secret.New(token), AssertionHeader: field}
	if field == HeaderAuthorization {
		c = Credentials{Authorization: bearerOf(token)}
	}
	// The key set is a parameter here: a document without a usable key is an error when the verifier is made.
	v, err := New([]Issuer{i}, options(t))
	if err != nil {
		return Identity{}, &Error{Reason: IssuerUnavailable, Detail: err.Error()}
	}
	defer v.Close()
	v.Ready(t.Context())
	return v.Identify(t.Context(), c, time.Unix(issued+20, 0))
}

func flatten(o object) []any {
	var pairs []any
	for name, v := range o {
		pairs = append(pairs, name, v)
	}
	return pairs
}

func TestProfilesReadTheirProvidersExamples(t *testing.T) {
	covered := map[string]bool{"generic": true} // all other tests
	for name, e := range examples() {
		t.Run(name, func(t *testing.T) {
			got, err := e.run(t, refusal{})
			if err != nil {
				t.Fatalf("%v (%s)", err, e.source)
			}
			type mapped struct {
				Subject, Email string
				Groups         []string
			}
			if diff := cmp.Diff(mapped{e.subject, e.email, e.groups}, mapped{got.Subject, got.Email, got.Groups}); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
		covered[e.issuer.Profile] = true
		if len(e.refused) < 3 && !strings.HasPrefix(name, "entra ") {
			t.Errorf("%s: %d refusals of its own, want at least 3", name, len(e.refused))
		}
	}
	for _, name := range Profiles() {
		if !covered[name] {
			t.Errorf("profile %s has no example", name)
		}
	}
}

func TestProfilesRefuse(t *testing.T) {
	for provider, e := range examples() {
		for name, r := range e.refused {
			t.Run(provider+"/"+name, func(t *testing.T) {
				got, err := e.run(t, r)
				if got, want := reasonOf(t, err), r.want; got != want {
					t.Errorf("reason = %q (%v), want %q", got, err, want)
				}
				if diff := cmp.Diff(Identity{}, got); diff != "" {
					t.Errorf("refused identity is not zero:\n%s", diff)
				}
			})
		}
	}
}

// Google writes its iss in two ways, and nobody else's is taken for one of them.
func TestGoogleHasTwoIssuers(t *testing.T) {
	e := examples()["google service account"]
	for _, iss := range []string{googleURL, googleShort} {
		got, err := e.run(t, refusal{claims: []any{"iss", iss}})
		if err != nil || got.IssuerURL != iss {
			t.Errorf("Identify = issuer %q, %v, want %q", got.IssuerURL, err, iss)
		}
	}
	e.issuer.URL = "https://securetoken.google.com/my-project"
	_, err := e.run(t, refusal{claims: []any{"iss", googleShort}})
	if got, want := reasonOf(t, err), UnknownIssuer; got != want {
		t.Errorf("another issuer with Google's profile: reason = %q, want %q", got, want)
	}
}

// Where keys come from when only the profile and what belongs to the operator are given.
func TestProfilesKnowWhereKeysAre(t *testing.T) {
	for name, c := range map[string]struct {
		issuer Issuer
		want   string
	}{
		"google":                 {Issuer{Profile: "google"}, "discovery https://accounts.google.com/.well-known/openid-configuration"},
		"iap":                    {Issuer{Profile: "iap", Audiences: []string{"/projects/1/apps/p"}}, "https://www.gstatic.com/iap/verify/public_key-jwk"},
		"entra":                  {Issuer{Profile: "entra", URL: "https://login.microsoftonline.com/" + tenantID + "/v2.0"}, "discovery https://login.microsoftonline.com/" + tenantID + "/v2.0/.well-known/openid-configuration"},
		"entra, several tenants": {Issuer{Profile: "entra", URL: "https://login.microsoftonline.com/{tenantid}/v2.0", Tenants: []string{tenantID}}, "discovery https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"},
		"entra, version 1":       {Issuer{Profile: "entra", URL: "https://sts.windows.net/" + tenantID + "/"}, "https://login.microsoftonline.com/" + tenantID + "/discovery/keys"},
		"github":                 {Issuer{Profile: "github"}, "discovery https://token.actions.githubusercontent.com/.well-known/openid-configuration"},
		"gitlab":                 {Issuer{Profile: "gitlab"}, "discovery https://gitlab.com/.well-known/openid-configuration"},
		"cloudflare":             {Issuer{Profile: "cloudflare", URL: "https://a.cloudflareaccess.com"}, "https://a.cloudflareaccess.com/cdn-cgi/access/certs"},
		"keys of one's own":      {Issuer{Profile: "cloudflare", URL: "https://a.cloudflareaccess.com", JWKSURL: "https://b.example/keys"}, "https://b.example/keys"},
	} {
		t.Run(name, func(t *testing.T) {
			c.issuer.Name = "x"
			if c.issuer.Audiences == nil {
				c.issuer.Audiences = []string{"vertex"}
			}
			i, err := newIssuer(c.issuer, options(t).Client)
			if err != nil {
				t.Fatal(err)
			}
			from := i.source(i.profile)
			got := from.url
			if got == "" {
				at, err := discoveryURL(from.issuer)
				got = fmt.Sprint("discovery ", at)
				if err != nil {
					t.Fatal(err)
				}
			}
			if got != c.want {
				t.Errorf("keys from %s, want %s", got, c.want)
			}
		})
	}
}

// The configuration that all tenants share names its issuer by the template, and the keys in it are those of all tenants.
func TestEntraKeysOfAllTenantsAreDiscovered(t *testing.T) {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	mux.HandleFunc("GET /common/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, object{"issuer": server.URL + "/{tenantid}/v2.0", "jwks_uri": server.URL + "/common/discovery/v2.0/keys"})
	})
	mux.HandleFunc("GET /common/discovery/v2.0/keys", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, jwks(
			jwk(rsaPrivate(), "all").with("issuer", server.URL+"/{tenantid}/v2.0", "x5c", []string{x5cOf(t, rsaPrivate())}),
			jwk(otherRSA(), "one").with("issuer", server.URL+"/"+otherID+"/v2.0"),
		))
	})
	v := newVerifier(t, options(t), Issuer{
		Name: "entra", Profile: "entra", URL: server.URL + "/{tenantid}/v2.0", Audiences: []string{"vertex"}, Tenants: []string{tenantID, otherID},
	})
	for _, c := range []struct {
		tenant, kid string
		want        Reason
	}{{tenantID, "all", ""}, {otherID, "all", ""}, {otherID, "one", ""}, {tenantID, "one", KeyRefused}, {"00000000-0000-0000-0000-000000000000", "all", TenantRefused}} {
		private := map[string]any{"all": rsaPrivate(), "one": otherRSA()}[c.kid]
		claims := goodClaims(server.URL+"/"+c.tenant+"/v2.0").with("tid", c.tenant, "oid", "o")
		got, err := v.Verify(t.Context(), bearerOf(compact("RS256", private, object{"alg": "RS256", "kid": c.kid}.String(), claims.String())), now)
		if reasonOf(t, err) != c.want || err == nil && got.Subject != "o" {
			t.Errorf("tenant %s, key %s: %q, %v, want %q", c.tenant, c.kid, got.Subject, err, c.want)
		}
	}
}

// An issuer that answers to many iss takes none from one that is configured for it, whichever comes first.
func TestTheIssuerOfExactlyThisURLComesFirst(t *testing.T) {
	keys := func(kid string) []byte { return []byte(jwks(jwk(rsaPrivate(), kid))) }
	const entraURL = "https://login.microsoftonline.com/"
	all := Issuer{Name: "all", Profile: "entra", URL: entraURL + "{tenantid}/v2.0", Audiences: []string{"vertex"}, Tenants: []string{otherID}, JWKS: keys("all")}
	one := Issuer{Name: "one", Profile: "entra", URL: entraURL + tenantID + "/v2.0", Audiences: []string{"vertex"}, JWKS: keys("one")}
	long := Issuer{Name: "long", Profile: "google", Audiences: []string{"vertex"}, JWKS: keys("long")}
	short := Issuer{Name: "short", Profile: "google", URL: googleShort, Audiences: []string{"vertex"}, JWKS: keys("short")}
	for _, order := range [][]Issuer{{all, one, long, short}, {short, long, one, all}} {
		v := newVerifier(t, options(t), order...)
		for _, c := range []struct {
			want   string
			claims object
		}{
			{"one", goodClaims(entraURL+tenantID+"/v2.0").with("tid", tenantID, "oid", "o")},
			{"all", goodClaims(entraURL+otherID+"/v2.0").with("tid", otherID, "oid", "o")},
			{"long", goodClaims(googleURL)},
			{"short", goodClaims(googleShort)},
		} {
			token := compact("RS256", rsaPrivate(), object{"alg": "RS256", "kid": c.want}.String(), c.claims.String())
			if got, err := v.Verify(t.Context(), bearerOf(token), now); err != nil || got.Issuer != c.want {
				t.Errorf("%s first: issuer %q, %v, want %q", order[0].Name, got.Issuer, err, c.want)
			}
		}
	}
}

func TestProfilesRefuseABadConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		issuer Issuer
		want   string
	}{
		"an unknown profile":            {Issuer{Profile: "Okta"}, `profile "Okta" is not one of`},
		"okta, org server":              {Issuer{Profile: "okta", URL: "https://a.okta.com"}, "not that of a custom authorization server"},
		"okta, a path too long":         {Issuer{Profile: "okta", URL: "https://a.okta.com/oauth2/default/v1"}, "not that of a custom authorization server"},
		"okta, ES256":                   {Issuer{Profile: "okta", URL: "https://a.okta.com/oauth2/default", Algorithms: []string{"ES256"}}, `algorithm "ES256" is not one of profile okta`},
		"auth0, no slash":               {Issuer{Profile: "auth0", URL: "https://a.auth0.com"}, "does not end in a slash"},
		"iap, RS256":                    {Issuer{Profile: "iap", Audiences: []string{"/projects/1/apps/p"}, Algorithms: []string{"RS256"}}, "which has ES256"},
		"iap, another audience":         {Issuer{Profile: "iap"}, "audience is not of the form /projects/"},
		"entra, common":                 {Issuer{Profile: "entra", URL: "https://login.microsoftonline.com/common/v2.0"}, "does not have a tenant's id"},
		"entra, template alone":         {Issuer{Profile: "entra", URL: "https://login.microsoftonline.com/{tenantid}/v2.0"}, "tenants are required"},
		"entra, capitals":               {Issuer{Profile: "entra", URL: "https://login.microsoftonline.com/" + strings.ToUpper(tenantID) + "/v2.0"}, "lower case"},
		"entra, tenants of others":      {Issuer{Profile: "entra", URL: "https://login.microsoftonline.com/" + tenantID + "/v2.0", Tenants: []string{otherID}}, "tenants are others than that of the url"},
		"entra, a tenant that is none":  {Issuer{Profile: "entra", URL: "https://login.microsoftonline.com/{tenantid}/v2.0", Tenants: []string{"acme.onmicrosoft.com"}}, `tenant "acme.onmicrosoft.com" is not an id`},
		"github, everybody's audience":  {Issuer{Profile: "github", Audiences: []string{"https://github.com/octo-org"}}, "default audience"},
		"gitlab, everybody's audience":  {Issuer{Profile: "gitlab", Audiences: []string{"https://gitlab.com"}}, "default audience"},
		"kubernetes, its own audience":  {Issuer{Profile: "kubernetes", URL: "https://k.example", Audiences: []string{"https://kubernetes.default.svc.cluster.local"}}, "default audience"},
		"kubernetes, that of its URL":   {Issuer{Profile: "kubernetes", URL: "https://k.example", Audiences: []string{"https://k.example"}}, "default audience"},
		"spiffe without keys":           {Issuer{Profile: "spiffe", URL: "spiffe://example.org"}, "cannot be discovered"},
		"spiffe with a path":            {Issuer{Profile: "spiffe", URL: "spiffe://example.org/x", JWKSFile: "f"}, "trust domain"},
		"spiffe, other tenants":         {Issuer{Profile: "spiffe", URL: "spiffe://example.org", Tenants: []string{"b.example"}, JWKSFile: "f"}, "others than the trust domain of the url"},
		"spiffe without trust domain":   {Issuer{Profile: "spiffe", URL: "https://oidc.example.org"}, "tenants are required"},
		"spiffe, EdDSA":                 {Issuer{Profile: "spiffe", URL: "spiffe://example.org", JWKSFile: "f", Algorithms: []string{"EdDSA"}}, `algorithm "EdDSA" is not one of profile spiffe`},
		"tenants where there are none":  {Issuer{URL: "https://a.example", Tenants: []string{"t"}}, "no claim of a tenant"},
		"clients where there are none":  {Issuer{Profile: "github", Clients: []string{"t"}}, "no claim of a client"},
		"clients with an empty one":     {Issuer{URL: "https://a.example", Clients: []string{""}}, "a client is empty"},
		"an unknown header":             {Issuer{URL: "https://a.example", Header: "X-Token"}, `header "X-Token" is not`},
		"a header in capitals":          {Issuer{URL: "https://a.example", Header: "Authorization"}, `header "Authorization" is not`},
		"an unknown type":               {Issuer{URL: "https://a.example", Claims: map[string]string{"level": "integer"}}, `claim "level": type "integer" is not one of`},
		"a lifetime of nothing":         {Issuer{URL: "https://a.example", MaxLifetime: -1}, "maximum lifetime -1ns"},
		"keys that serve for ever":      {Issuer{URL: "https://a.example", MaxStale: 169 * time.Hour}, "keys may serve 169h0m0s"},
		"keys from two places":          {Issuer{URL: "https://a.example", JWKSFile: "f", JWKS: []byte("{}")}, "exclude each other"},
		"keys in place that are none":   {Issuer{URL: "https://a.example", JWKS: []byte(`{"keys":[]}`)}, "none of the 0 keys"},
		"a proxy for a file":            {Issuer{URL: "https://a.example", JWKSFile: "f", ProxyURL: "http://p:1"}, "for keys that are fetched"},
		"a proxy with a password":       {Issuer{URL: "https://a.example", ProxyURL: "http://u:hunter2@p:1"}, "has user information"},
		"a proxy of another kind":       {Issuer{URL: "https://a.example", ProxyURL: "socks5://p:1"}, "not an http or https URL"},
		"a certificate and an audience": {Issuer{Audiences: []string{"a"}, Certificate: &CertificateRule{DNS: []string{"a.example"}}}, "url is required"},
	} {
		t.Run(name, func(t *testing.T) {
			c.issuer.Name = "corp"
			if c.issuer.Audiences == nil {
				c.issuer.Audiences = []string{"vertex"}
			}
			v, err := New([]Issuer{c.issuer}, options(t))
			if err == nil {
				v.Close()
				t.Fatal("New succeeds")
			}
			if got, want := err.Error(), c.want; !strings.Contains(got, want) || !strings.HasPrefix(got, `issuer "corp": `) || strings.Contains(got, "hunter2") {
				t.Errorf("error = %q, want %q in it and no password", got, want)
			}
		})
	}
}
