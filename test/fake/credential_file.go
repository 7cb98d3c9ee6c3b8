package fake

import (
	"encoding/json"
	"fmt"
)

// ExternalAccount returns a credential file of the type external_account: a token or a signed request, from the source, is exchanged at
// STS for a federated token of the provider's pool, which then, unless impersonate is empty, mints a token of that service account. All
// addresses are those of production.
func ExternalAccount(provider string, source map[string]any, impersonate string) ([]byte, error) {
	file := map[string]any{
		"type": "external_account", "audience": provider, "subject_token_type": TypeJWT, "token_url": "https://" + STSHost + "/v1/token",
		"credential_source": source, "universe_domain": "googleapis.com",
	}
	if source["environment_id"] != nil {
		file["subject_token_type"] = TypeAWSRequest
	}
	if impersonate != "" {
		file["service_account_impersonation_url"] = mintURL(impersonate)
	}
	text, err := json.Marshal(file)
	if err != nil {
		return nil, fmt.Errorf("credential file for %q: %w", provider, err)
	}
	return text, nil
}

// Impersonated returns a credential file of the type impersonated_service_account: what source, another credential file, stands for mints
// a token of the service account, along the delegates.
func Impersonated(source []byte, email string, delegates ...string) ([]byte, error) {
	text, err := json.Marshal(map[string]any{
		"type": "impersonated_service_account", "service_account_impersonation_url": mintURL(email), "delegates": delegates,
		"source_credentials": json.RawMessage(source),
	})
	if err != nil {
		return nil, fmt.Errorf("credential file for %q: %w", email, err)
	}
	return text, nil
}

func mintURL(email string) string {
	return "https://" + IAMHost + "/v1/" + accountPrefix + email + ":generateAccessToken"
}
