package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// The stub stands for gcloud and kubectl. It writes down how it was called, refuses what is no command of theirs, and otherwise says what
// a script reads: the number of a project, and the credential file of a provider, in the form that Google documents.
const cloudStub = `#!/bin/bash
set -eu
separated() { local IFS=$'\x1f'; printf '%s\n' "${0##*/}"$'\x1f'"$*" >>"$JOURNAL"; }
separated "$@"
case "${0##*/} $* " in
"gcloud projects describe "*) echo 123456 ;;
"gcloud services enable "* | "gcloud iam roles create "* | "gcloud projects add-iam-policy-binding "*) ;;
"gcloud iam service-accounts create "* | "gcloud iam service-accounts add-iam-policy-binding "*) ;;
"gcloud iam workload-identity-pools create "* | "gcloud iam workload-identity-pools providers create-"*) ;;
"gcloud container clusters update "* | "gcloud compute instances "*) ;;
"kubectl create serviceaccount "* | "kubectl annotate serviceaccount "*) ;;
"gcloud iam workload-identity-pools create-cred-config "*)
    provider=$4 account= source= output= type=jwt
    for flag in "${@:5}"; do
        case $flag in
        --service-account=*) account=${flag#*=} ;;
        --credential-source-file=*) source='"file": "'${flag#*=}'", "format": {"type": "text"}' ;;
        --output-file=*) output=${flag#*=} ;;
        --enable-imdsv2) ;;
        --aws) type=aws4_request aws=http://169.254.169.254/latest
            source='"environment_id": "aws1", "region_url": "'$aws'/meta-data/placement/availability-zone"'
            source+=', "url": "'$aws'/meta-data/iam/security-credentials", "imdsv2_session_token_url": "'$aws'/api/token"'
            source+=', "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"' ;;
        *) echo "unrecognized argument: $flag" >&2; exit 2 ;;
        esac
    done
    [ "$type" = jwt ] && kind=urn:ietf:params:oauth:token-type:jwt || kind=urn:ietf:params:aws:token-type:aws4_request
    cat >"$output" <<FILE
{
  "universe_domain": "googleapis.com",
  "type": "external_account",
  "audience": "//iam.googleapis.com/$provider",
  "subject_token_type": "$kind",
  "token_url": "https://sts.googleapis.com/v1/token",
  "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/$account:generateAccessToken",
  "credential_source": {$source}
}
FILE
    ;;
*) echo "${0##*/}: no such command: $*" >&2; exit 2 ;;
esac
`

// cloudFlags are the flags that commands of gcloud and kubectl may be given; those with a * need to be.
var cloudFlags = map[string][]string{
	"gcloud projects describe":                                 {"format*"},
	"gcloud projects add-iam-policy-binding":                   {"member*", "role*", "condition*"},
	"gcloud services enable":                                   {"project*"},
	"gcloud iam roles create":                                  {"project*", "permissions*"},
	"gcloud iam service-accounts create":                       {"project*"},
	"gcloud iam service-accounts add-iam-policy-binding":       {"project*", "member*", "role*"},
	"gcloud iam workload-identity-pools create":                {"location*", "project*"},
	"gcloud iam workload-identity-pools create-cred-config":    {"service-account*", "output-file*", "credential-source-file", "aws", "enable-imdsv2"},
	"gcloud iam workload-identity-pools providers create-oidc": {"location*", "project*", "workload-identity-pool*", "issuer-uri*", "allowed-audiences*", "attribute-mapping*", "attribute-condition"},
	"gcloud iam workload-identity-pools providers create-aws":  {"location*", "project*", "workload-identity-pool*", "account-id*", "attribute-mapping*", "attribute-condition"},
	"gcloud container clusters update":                         {"location*", "project*", "workload-pool*"},
	"gcloud compute instances stop":                            {"zone*", "project*"},
	"gcloud compute instances start":                           {"zone*", "project*"},
	"gcloud compute instances set-service-account":             {"zone*", "project*", "service-account*", "scopes*"},
	"kubectl create serviceaccount":                            {"namespace*"},
	"kubectl annotate serviceaccount":                          {"namespace*"},
}

// cloudCommand is one call of a stub.
type cloudCommand struct {
	name  string            // program and sub-command
	args  []string          // what is no flag
	flags map[string]string // by their names without dashes
}

func (c *cloudCommand) String() string { return fmt.Sprint(c.name, c.args, c.flags) }

// parseCloud reads a line of the journal as the real programs do.
func parseCloud(line string) (*cloudCommand, error) {
	words := strings.Split(strings.TrimSpace(line), "\x1f")
	var plain []string
	c := &cloudCommand{flags: map[string]string{}}
	for i := 0; i < len(words); i++ {
		flag, isFlag := strings.CutPrefix(words[i], "--")
		name, value, hasValue := strings.Cut(flag, "=")
		switch {
		case !isFlag:
			plain = append(plain, words[i])
			continue
		case !hasValue && name == "namespace" && i+1 < len(words): // kubectl takes it as a word of its own
			i++
			value = words[i]
		}
		if _, twice := c.flags[name]; twice {
			return nil, fmt.Errorf("flag --%s is given twice in %q", name, words)
		}
		c.flags[name] = value
	}
	for n := len(plain); n > 1; n-- {
		if _, known := cloudFlags[strings.Join(plain[:n], " ")]; known {
			c.name, c.args = strings.Join(plain[:n], " "), plain[n:]
			return c, c.check()
		}
	}
	return nil, fmt.Errorf("%q is no command", words)
}

func (c *cloudCommand) check() error {
	for name := range c.flags {
		if !slices.Contains(cloudFlags[c.name], name) && !slices.Contains(cloudFlags[c.name], name+"*") {
			return fmt.Errorf("%s has no flag --%s", c.name, name)
		}
	}
	for _, name := range cloudFlags[c.name] {
		if name, required := strings.CutSuffix(name, "*"); required && c.flags[name] == "" {
			return fmt.Errorf("%s needs --%s", c.name, name)
		}
	}
	return nil
}

// cloud is as much of Google's IAM as the recipes of the README configure: after their commands, who may act as whom.
type cloud struct {
	enabled   []string
	roles     map[string]string // permissions of custom roles, by name
	accounts  map[string]fake.Account
	access    map[string][]string // as fake.Options.Access
	pools     []string
	oidc      map[string]fake.Provider // by resource name; the key set is not known yet
	aws       map[string]*cloudCommand // as oidc
	machine   string                   // account of the machine
	clusters  []string                 // workload pools
	annotated map[string]string        // accounts, by [NAMESPACE/NAME] of Kubernetes' service account
	bound     map[string]string        // accounts, by member of Kubernetes
}

func newCloud() *cloud {
	return &cloud{
		roles: map[string]string{}, accounts: map[string]fake.Account{}, access: map[string][]string{}, oidc: map[string]fake.Provider{},
		aws: map[string]*cloudCommand{}, annotated: map[string]string{}, bound: map[string]string{}, machine: "nobody@acme-ai.iam.gserviceaccount.com",
	}
}

func (g *cloud) apply(c *cloudCommand) error {
	arg, project := "", c.flags["project"]
	if len(c.args) > 0 {
		arg = c.args[0]
	}
	pool := "projects/123456/locations/global/workloadIdentityPools/"
	switch c.name {
	case "gcloud services enable":
		g.enabled = append(g.enabled, c.args...)
	case "gcloud iam roles create":
		g.roles["projects/"+project+"/roles/"+arg] = c.flags["permissions"]
	case "gcloud iam service-accounts create":
		g.accounts[arg+"@"+project+".iam.gserviceaccount.com"] = fake.Account{}
	case "gcloud projects add-iam-policy-binding":
		return g.bindProject(arg, c.flags["member"], c.flags["role"])
	case "gcloud iam service-accounts add-iam-policy-binding":
		return g.bindAccount(arg, c.flags["member"], c.flags["role"])
	case "gcloud iam workload-identity-pools create":
		g.pools = append(g.pools, arg)
	case "gcloud iam workload-identity-pools providers create-oidc", "gcloud iam workload-identity-pools providers create-aws":
		if !slices.Contains(g.pools, c.flags["workload-identity-pool"]) {
			return fmt.Errorf("there is no pool %q", c.flags["workload-identity-pool"])
		}
		name := "//iam.googleapis.com/" + pool + c.flags["workload-identity-pool"] + "/providers/" + arg
		if c.flags["account-id"] != "" {
			g.aws[name] = c
			return nil
		}
		p := fake.Provider{Issuer: c.flags["issuer-uri"], Audiences: []string{c.flags["allowed-audiences"]}}
		for mapping := range strings.SplitSeq(c.flags["attribute-mapping"], ",") {
			if claim, ok := strings.CutPrefix(mapping, "google.groups=assertion."); ok {
				p.Groups = claim
			}
		}
		g.oidc[name] = p
	case "gcloud container clusters update":
		g.clusters = append(g.clusters, c.flags["workload-pool"])
	case "gcloud compute instances set-service-account":
		if c.flags["scopes"] == "cloud-platform" {
			g.machine = c.flags["service-account"]
		}
	case "kubectl annotate serviceaccount":
		account, ok := strings.CutPrefix(c.args[1], "iam.gke.io/gcp-service-account=")
		if !ok {
			return fmt.Errorf("annotation %q", c.args[1])
		}
		g.annotated["["+c.flags["namespace"]+"/"+arg+"]"] = account
	}
	return nil
}

func (g *cloud) bindProject(project, member, role string) error {
	if g.roles[role] != "aiplatform.endpoints.predict" {
		return fmt.Errorf("role %q does not let its members prompt, and nothing else", role)
	}
	email, isAccount := strings.CutPrefix(member, "serviceAccount:")
	if !isAccount {
		g.access[member] = append(g.access[member], project)
		return nil
	}
	a, ok := g.accounts[email]
	if !ok {
		return fmt.Errorf("there is no account %q", email)
	}
	a.Projects = append(a.Projects, project)
	g.accounts[email] = a
	return nil
}

func (g *cloud) bindAccount(email, member, role string) error {
	a, ok := g.accounts[email]
	if !ok {
		return fmt.Errorf("there is no account %q", email)
	}
	if role != "roles/iam.serviceAccountTokenCreator" && role != "roles/iam.workloadIdentityUser" {
		return fmt.Errorf("role %q", role)
	}
	name, isAccount := strings.CutPrefix(member, "serviceAccount:")
	if isAccount && strings.Contains(name, ".svc.id.goog[") {
		g.bound[name] = email
		return nil
	}
	a.Impersonators = append(a.Impersonators, name)
	g.accounts[email] = a
	return nil
}

// agent is the account that the metadata server gives the agent: that of the machine, or the one that Kubernetes' service account is
// annotated with, if it may act as that.
func (g *cloud) agent() string {
	for name, account := range g.annotated {
		for _, pool := range g.clusters {
			if g.bound[pool+name] == account {
				return account
			}
		}
	}
	return g.machine
}

// recipe is one of the README's ways to give the agent, or the caller, an identity.
type recipe struct {
	name     string // of the mark
	mode     string // of exchange
	identity string // what the doctor says of the agent's identity
	role     string // and of the role
	bindings int    // that it takes, with those that all recipes share
}

func recipes() []recipe {
	const acting = "vx-search@acme-ai.iam.gserviceaccount.com for "
	return []recipe{
		{"GKE", "", "from the metadata server", acting + "1h", 3},
		{"Compute Engine", "", "from the metadata server", acting + "1h", 2},
		{"on-premises", "", "(external_account, file)", acting + "1h", 3},
		{"AWS", "", "(external_account, aws)", acting + "1h", 3},
		{"per caller", "direct", "", "the caller's own identity", 1},
		{"per caller", "impersonate", "", acting, 2},
	}
}

// The commands of each recipe, on a Google where nothing is there yet, leave the agent with everything it needs, as the doctor and Vertex
// AI see it; and without any one of the bindings it would not work.
func TestTheRecipesOfTheReadme(t *testing.T) {
	var named []string
	for _, b := range blocksFor(t, runsCloud) {
		named = append(named, strings.TrimPrefix(b.mark, "cloud: "))
	}
	want := []string{"base"}
	for _, r := range recipes() {
		if !slices.Contains(want, r.name) {
			want = append(want, r.name)
		}
	}
	if !slices.Equal(named, want) {
		t.Fatalf("the README has the recipes %q, want %q", named, want)
	}
	for _, r := range recipes() {
		t.Run(strings.TrimSpace(r.name+" "+r.mode), func(t *testing.T) {
			t.Parallel()
			journal := r.play(t)
			if code, out := r.consult(t, journal, -1); code != 0 || !strings.Contains(out, r.identity) || !strings.Contains(out, r.role) {
				t.Fatalf("doctor: exit %d; want it to say %q and %q\n%s", code, r.identity, r.role, out)
			}
			needed := 0
			for i, c := range journal {
				if !strings.HasSuffix(c.name, "add-iam-policy-binding") || !r.needs(c) {
					continue
				}
				needed++
				if code, out := r.consult(t, journal, i); code != 1 {
					t.Errorf("doctor: exit %d without %s\n%s", code, c, out)
				}
			}
			if needed != r.bindings {
				t.Errorf("%d bindings were tried, want %d", needed, r.bindings)
			}
		})
	}
}

// needs reports whether the recipe would not work without a binding.
func (r recipe) needs(c *cloudCommand) bool {
	caller := strings.Contains(c.flags["member"], "/workloadIdentityPools/callers/")
	onProject := c.name == "gcloud projects add-iam-policy-binding"
	switch r.mode {
	case "direct":
		return caller && onProject
	case "impersonate":
		return caller != onProject // the caller's on the account, the account's on the project
	}
	return true
}

// placeholders are the words that a reader fills in.
var placeholders = strings.NewReplacer("SUBJECT", "agent", "AWS_ACCOUNT", "210987654321", "CLUSTER", "main", "NAMESPACE", "gateway",
	"INSTANCE", "proxy-1", "=LOCATION", "=europe-west1", "=ZONE", "=europe-west1-b")

// play runs the commands that all recipes share, and then those of the recipe, and returns what they asked of Google.
func (r recipe) play(t *testing.T) []*cloudCommand {
	t.Helper()
	w := newWorkbench(t)
	w.env = append(w.env, "JOURNAL="+filepath.Join(w.dir, "journal"))
	w.write(t, "stubs/gcloud", cloudStub, 0o700)
	w.write(t, "stubs/kubectl", cloudStub, 0o700)
	w.write(t, "etc/vertex-spoa/.keep", "", 0o600)
	script := ""
	for _, b := range blocksFor(t, runsCloud) {
		if name := strings.TrimPrefix(b.mark, "cloud: "); name == "base" || name == r.name {
			script += b.text
		}
	}
	script = strings.ReplaceAll(placeholders.Replace(script), "/etc/vertex-spoa/", w.dir+"/etc/vertex-spoa/")
	if code, out := w.shell(t, script); code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, script, out)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	var journal []*cloudCommand
	for line := range strings.Lines(string(text)) {
		c, err := parseCloud(line)
		if err != nil {
			t.Fatal(err)
		}
		if file := c.flags["output-file"]; file != "" {
			made, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c.flags["output-file"] = string(made)
		}
		journal = append(journal, c)
	}
	return journal
}

// consult has the doctor say what is wrong on a Google that was asked all of this but for the command at skip.
func (r recipe) consult(t *testing.T, journal []*cloudCommand, skip int) (code int, output string) {
	t.Helper()
	g, credentials := newCloud(), ""
	for i, c := range journal {
		if i == skip {
			continue
		}
		if err := g.apply(c); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if file := c.flags["output-file"]; file != "" {
			credentials = file
		}
	}
	for _, api := range []string{"aiplatform.googleapis.com", "iamcredentials.googleapis.com", "sts.googleapis.com"} {
		if !slices.Contains(g.enabled, api) {
			t.Errorf("%s is not enabled", api)
		}
	}
	c := &consultation{dir: t.TempDir(), args: []string{"--vertex", "--role=search"}, env: map[string]string{"LC_ALL": "C.UTF-8"}}
	issuer := sandbox.Issuer
	for _, p := range g.oidc {
		issuer = p.Issuer
	}
	c.world = g.world(t, c.dir, issuer)
	for _, pair := range c.world.AgentEnv() {
		name, value, _ := strings.Cut(pair, "=")
		c.env[name] = value
	}
	c.policy = strings.ReplaceAll(healthyPolicy, sandbox.Issuer, issuer)
	if credentials != "" {
		c.env["GOOGLE_APPLICATION_CREDENTIALS"] = c.file(t, "credentials.json", []byte(r.here(t, c, credentials)))
	}
	if r.mode != "" {
		c.policy = r.exchanging(t)
		c.args = append(c.args, "--token="+c.callerToken(t))
	}
	code, stdout, stderr := c.run(t)
	return code, stdout + stderr
}

// world returns the parties as they are configured.
func (g *cloud) world(t *testing.T, dir, issuer string) *fake.World {
	t.Helper()
	accounts := map[string]fake.Account{}
	for email, a := range g.accounts {
		for i, member := range a.Impersonators {
			// The fake knows a role of AWS by its whole name only; the recipes map it to the last part of that.
			a.Impersonators[i] = strings.Replace(member, "/attribute.aws_role/", "/attribute.aws_role/arn:aws:sts::210987654321:assumed-role/", 1)
		}
		accounts[email] = a
	}
	w, err := fake.Start(fake.Options{
		Dir: filepath.Join(dir, "ca"), Issuer: issuer, Audience: sandbox.Audience, Project: sandbox.Project, Agent: g.agent(),
		Accounts: accounts, Access: g.access,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	for name, p := range g.oidc {
		p.JWKS = w.IDP.JWKSURL()
		if err := w.STS.SetProvider(name, p); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range g.aws {
		if want := `attribute.aws_role=assertion.arn.extract("assumed-role/{role}/")`; !strings.Contains(c.flags["attribute-mapping"], want) {
			t.Errorf("the mapping of roles is %q, want %s", c.flags["attribute-mapping"], want)
		}
		if err := w.STS.SetProvider(name, fake.Provider{AWSAccount: c.flags["account-id"]}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// here is a credential file with the places of this test: the token that the recipe leaves to the reader, and Amazon's metadata service.
func (r recipe) here(t *testing.T, c *consultation, credentials string) string {
	t.Helper()
	token, err := c.world.IDP.Token("agent", fake.Audience("vertex-spoa"))
	if err != nil {
		t.Fatal(err)
	}
	base, _, _ := strings.Cut(c.world.AWS.CredentialSource()["url"].(string), "/latest/")
	return strings.NewReplacer("/run/vertex-spoa/okta.jwt", c.file(t, "agent.jwt", []byte(token)), "http://169.254.169.254", base).Replace(credentials)
}

// exchanging is the policy with the roles that the README shows for this recipe.
func (r recipe) exchanging(t *testing.T) string {
	t.Helper()
	for _, b := range blocksFor(t, loadsPolicy) {
		if !strings.Contains(b.text, "exchange:") {
			continue
		}
		text := regexp.MustCompile(`mode: \w+`).ReplaceAllString(b.text, "mode: "+r.mode)
		if r.mode == "direct" {
			text = regexp.MustCompile(`(?m)^ +as: .*\n`).ReplaceAllString(text, "")
		}
		return regexp.MustCompile(`, github: \{[^}]*\}`).ReplaceAllString(b.completed(), "") + text
	}
	t.Fatal("the README has no role with exchange")
	return ""
}
