package identity

// gitlab are the ID tokens of GitLab CI jobs, https://docs.gitlab.com/ci/secrets/id_token_authentication/. Their booleans and most of
// their numbers are text, and stay text: a rule compares ref_protected with "true".
func gitlab() profile {
	p := generic()
	p.algorithms = []string{"RS256"}
	p.only = []string{"RS256"}
	p.require = []string{"iat", "jti", "job_id", "namespace_id", "pipeline_id", "project_id", "project_path", "ref", "ref_protected", "ref_type"}
	p.groups = "groups_direct"
	p.email = "" // user_email is the address of whoever pushed last, and need not be verified
	p.tenant = "namespace_id"
	p.clients = nil
	p.complete = func(c *Issuer) { setDefault(&c.URL, "https://gitlab.com") }
	p.validate = func(c *Issuer) error {
		return foreignAudience(c, func(audience string) bool { return audience == c.URL })
	}
	p.check = func(_ *issuer, t *token) error {
		for _, name := range []string{"ref_protected", "environment_protected"} {
			if v, present := t.claims.all[name]; present && v != "true" && v != "false" {
				return refuse(ClaimRefused, "claim %q is not the text true or false", name)
			}
		}
		for _, name := range []string{"job_id", "namespace_id", "pipeline_id", "project_id"} {
			if t.claims.text(name) == "" {
				return refuse(ClaimRefused, "claim %q is not text", name)
			}
		}
		return nil
	}
	return p
}
