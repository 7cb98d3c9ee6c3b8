package identity

import (
	"strings"
	"time"
)

// awsClaims is the member that holds what AWS itself says of the caller.
const awsClaims = "https://sts.amazonaws.com/"

// aws are the tokens of GetWebIdentityToken, https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html.
// Each account has an issuer of its own. What stands in request_tags was chosen by the caller.
func aws() profile {
	const maxAWSAudiences = 10
	p := generic()
	p.algorithms = []string{"RS256", "ES384"}
	p.only = []string{"RS256", "ES384"}
	p.require = []string{"iat", "jti", awsClaims + ".aws_account"}
	p.tenant = awsClaims + ".aws_account"
	p.clients = nil
	p.lifetime = time.Hour
	p.check = func(_ *issuer, t *token) error {
		if len(t.claims.audience) > maxAWSAudiences {
			return refuse(ClaimRefused, "claim \"aud\" has more than %d names", maxAWSAudiences)
		}
		// arn:PARTITION:iam::ACCOUNT:role/NAME
		parts := strings.SplitN(t.claims.subject, ":", 6)
		if len(parts) != 6 || parts[0] != "arn" || parts[4] == "" || parts[4] != t.claims.text(awsClaims+".aws_account") {
			return refuse(ClaimRefused, "claim \"sub\" is not an ARN of the account that \"aws_account\" names")
		}
		return nil
	}
	return p
}
