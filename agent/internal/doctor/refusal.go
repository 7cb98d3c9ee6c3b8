package doctor

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/policy"
)

// grantee is who made a dry call.
type grantee struct {
	request google.Request
	grant   policy.Grant
	quota   string // project, empty for that of the call
}

// member is the grantee as IAM policies write it.
func (g grantee) member() string {
	if g.request.Account != "" {
		return "serviceAccount:" + g.request.Account
	}
	pool, _, _ := strings.Cut(strings.TrimPrefix(g.grant.Exchange.Audience, "//"), "/providers/")
	return "principal://" + pool + "/subject/SUBJECT"
}

// name is the grantee for people.
func (g grantee) name() string {
	if g.request.Account != "" {
		return g.request.Account
	}
	return "the caller"
}

// refused returns c as a call that Vertex AI refused, with what an administrator can do about it.
func (c Check) refused(a answer, who grantee, token secret.Text) Check {
	v := c.Vertex
	said := fmt.Sprintf("Vertex AI answered %d", a.status)
	if a.message != "" {
		said += ": " + withoutToken(a.message, token)
	}
	switch a.reason {
	case "SERVICE_DISABLED":
		return c.fail(APIDisabled, "the API aiplatform.googleapis.com is disabled; "+said, adviceAPI,
			fmt.Sprintf("gcloud services enable aiplatform.googleapis.com --project=%s", projectIn(a.about["consumer"], v.Project)))
	case "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
		c = c.fail(ScopeMissing, said, "The role's scopes leave out cloud-platform, without which tokens cannot be counted. Generating may still work: "+
			"this was not tried, since it costs money.", "")
		c.Status = Warning
		return c
	case "USER_PROJECT_DENIED":
		return c.fail(PermissionMissing, fmt.Sprintf("%s may not use the quota project; %s", who.name(), said), "Grant it the use of the project, or "+
			"leave project out of the role. "+adviceGrant, bind(first(who.quota, v.Project), who.member(), "roles/serviceusage.serviceUsageConsumer"))
	case "CONSUMER_INVALID", "CONSUMER_SUSPENDED", "RESOURCE_PROJECT_INVALID", "BILLING_DISABLED", "SECURITY_POLICY_VIOLATED",
		"LOCATION_POLICY_VIOLATED", "LOCATION_ORG_POLICY_VIOLATED":
		return c.fail(ProjectRefused, said, "The project does not exist under this name, is suspended, has no billing, or an organization policy or "+
			"a VPC Service Controls perimeter keeps this machine out.", "gcloud projects describe "+v.Project)
	}
	switch {
	case a.status == http.StatusUnauthorized:
		return c.fail(TokenNotAccepted, said, "A token that was minted just now is not accepted: look at whether the account is disabled, and at what "+
			"stands between here and Google.", "")
	case a.status == http.StatusForbidden:
		return c.withoutPermission(a, who, said)
	case a.status == http.StatusNotFound:
		return c.fail(ModelMissing, fmt.Sprintf("%s is not to be had in %s of %s; %s", v.Model, v.Location, v.Project, said),
			"The model does not exist, has been retired, or is not served in this location. Name another with --model, or in a rule of the role.", "")
	case a.status == http.StatusTooManyRequests:
		return c.fail(QuotaExceeded, said, "Permission and API are in order, but the quota or the shared capacity is used up. Try again, another "+
			"location, or ask for more.", "")
	case a.status >= 500:
		return c.fail(GoogleUnavailable, said, adviceOutage, "")
	}
	return c.fail(VertexRefused, said, "Vertex AI does not take the call. An organization policy may leave out the model "+
		"(constraints/vertexai.allowedModels), or something stands between here and Google.", "")
}

const predict = "aiplatform.endpoints.predict"

// withoutPermission returns c as a call that lacked a permission.
func (c Check) withoutPermission(a answer, who grantee, said string) Check {
	permission := predict
	if p := a.about["permission"]; permissionName.MatchString(p) {
		permission = p
	}
	project := c.Vertex.Project
	fix := bind(project, who.member(), "roles/aiplatform.user")
	advice := "Grant a role that has it. "
	if permission == predict {
		advice = "A custom role with this one permission is enough for prompts. "
		fix = fmt.Sprintf("gcloud iam roles create vertexPrompt --project=%s --permissions=%s\n", project, predict) +
			bind(project, who.member(), "projects/"+project+"/roles/vertexPrompt")
	}
	return c.fail(PermissionMissing, fmt.Sprintf("%s needs %s on project %s; %s", who.name(), permission, project, said), advice+adviceGrant, fix)
}

// bind is the command that grants a role on a project.
func bind(project, member, role string) string {
	return fmt.Sprintf("gcloud projects add-iam-policy-binding %s --member='%s' --role=%s --condition=None", project, member, role)
}

var (
	permissionName = regexp.MustCompile(`^[a-z]+\.[a-zA-Z]+\.[a-zA-Z]+$`)
	projectName    = regexp.MustCompile(`^projects/([a-z0-9-]{1,64})$`)
)

// projectIn returns the project that a resource name names, or otherwise the other one.
func projectIn(name, other string) string {
	if found := projectName.FindStringSubmatch(name); found != nil {
		return found[1]
	}
	return other
}
