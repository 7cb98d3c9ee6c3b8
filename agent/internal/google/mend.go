package google

import (
	"fmt"
	"strings"
)

// The commands in this file are what Error.Fix holds. They are made of values that were checked, so that a line can be pasted into a shell.

// grant is the command that lets member act as account.
func grant(account, member, role string) string {
	return fmt.Sprintf("gcloud iam service-accounts add-iam-policy-binding %s%s --member=%s --role=%s",
		account, inProject(account), quoted(memberOf(member)), role)
}

// grants are the commands for every link of a chain, one per line. The first link of a federated identity needs another role.
func grants(first string, links []string, firstRole string) string {
	var lines []string
	for i, account := range links {
		if i == 0 {
			lines = append(lines, grant(account, first, firstRole))
			continue
		}
		lines = append(lines, grant(account, links[i-1], tokenCreator))
	}
	return strings.Join(lines, "\n")
}

const (
	tokenCreator = "roles/iam.serviceAccountTokenCreator"
	identityUser = "roles/iam.workloadIdentityUser"
)

// memberOf writes who as IAM policies do. An unknown or doubtful one becomes a placeholder in capitals, and so does the subject where only
// the pool is known: a grant to a whole pool is more than the agent needs.
func memberOf(who string) string {
	pool, whole := strings.CutPrefix(who, "principalSet://")
	pool, all := strings.CutSuffix(pool, "/*")
	switch {
	case whole && all:
		return "principal://" + pool + "/subject/SUBJECT"
	case whole || strings.HasPrefix(who, "principal://"):
		return who
	case !validEmail(who):
		return "serviceAccount:AGENT_ACCOUNT"
	case strings.HasSuffix(who, ".gserviceaccount.com"):
		return "serviceAccount:" + who
	}
	return "user:" + who
}

// inProject is the flag that names the project of a user-managed service account, empty where the e-mail does not tell it.
func inProject(account string) string {
	_, domain, _ := strings.Cut(account, "@")
	project, ok := strings.CutSuffix(domain, ".iam.gserviceaccount.com")
	if !ok || strings.Contains(project, ".") { // a project of a domain has another form of name
		return ""
	}
	return " --project=" + project
}

func enableAPI(api, consumer string) string {
	project, ok := strings.CutPrefix(consumer, "projects/")
	if !ok || !plain(project) {
		project = "PROJECT"
	}
	return fmt.Sprintf("gcloud services enable %s --project=%s", api, project)
}

func createAccount(account string) string {
	name, _, _ := strings.Cut(account, "@")
	return fmt.Sprintf("gcloud iam service-accounts create %s%s", name, inProject(account))
}

const lifetimeConstraint = "constraints/iam.allowServiceAccountCredentialLifetimeExtension"

func allowLifetime(account string) string {
	return fmt.Sprintf("gcloud resource-manager org-policies allow %s %s --organization=ORGANIZATION", lifetimeConstraint, account)
}

const (
	widenScopes = "gcloud compute instances set-service-account INSTANCE --service-account=AGENT_ACCOUNT --scopes=cloud-platform"
	seeMetadata = "curl -sS -H 'Metadata-Flavor: Google' http://169.254.169.254/computeMetadata/v1/instance/service-accounts/"
)

// reach is the command that shows what is in the way to endpoint.
func reach(endpoint string) string { return "curl -sv -o /dev/null " + quoted(endpoint+"/") }

// quoted returns s as one word of a POSIX shell.
func quoted(s string) string {
	if plain(strings.NewReplacer(":", "", "/", "", "@", "").Replace(s)) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// plain reports whether s is not empty and made of letters, digits, '-', '_' and '.'.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return s != ""
}

// describeProvider is the command that shows the provider of a pool.
func describeProvider(audience string) string {
	parts := strings.Split(strings.TrimPrefix(audience, "//"), "/")
	switch len(parts) {
	case 9:
		return fmt.Sprintf("gcloud iam workload-identity-pools providers describe %s --workload-identity-pool=%s --location=%s --project=%s",
			parts[8], parts[6], parts[4], parts[2])
	case 7:
		return fmt.Sprintf("gcloud iam workforce-pools providers describe %s --workforce-pool=%s --location=%s", parts[6], parts[4], parts[2])
	}
	return ""
}
