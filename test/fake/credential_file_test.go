package fake

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"cloud.google.com/go/auth/credentials"
	iamcredentials "cloud.google.com/go/iam/credentials/apiv1"
	"google.golang.org/api/option"
)

// Every type of credential file that Google's library takes leads to a token of the account, by way of these parties alone.
func TestGooglesLibraryTakesEveryTypeOfCredentialFile(t *testing.T) {
	const outsider = "outsider@acme-ai.iam.gserviceaccount.com"
	machine := "principalSet://iam.googleapis.com/" + DefaultPool + "/attribute.aws_role/arn:aws:sts::210987654321:assumed-role/vertex-spoa"
	w := startWorld(t, func(o *Options) {
		o.Accounts[outsider] = Account{Impersonators: []string{alice, machine}}
		o.Accounts[chat] = Account{Impersonators: []string{DefaultAgent, outsider, alice, machine}, Projects: []string{"acme-ai"}}
	})
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(callerToken(t, w)), 0o600); err != nil {
		t.Fatal(err)
	}
	asking := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Workload") != "vertex-spoa" {
			http.Error(rw, "who?", http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(rw).Encode(map[string]string{"id_token": callerToken(t, w)})
	}))
	t.Cleanup(asking.Close)
	byFile := map[string]any{"file": token}
	byURL := map[string]any{"url": asking.URL, "headers": map[string]string{"X-Workload": "vertex-spoa"},
		"format": map[string]string{"type": "json", "subject_token_field_name": "id_token"}}
	for _, test := range []struct {
		name   string
		file   func() ([]byte, error)
		caller string // as IAM sees it
	}{
		{"a service account's key", keyFile(t, w, ServiceAccountKey), DefaultAgent},
		{"a user's refresh token", keyFile(t, w, UserKey), DefaultAgent},
		{"a token in a file", external(DefaultProvider, byFile, ""), alice},
		{"a token in a file, impersonating", external(DefaultProvider, byFile, outsider), outsider},
		{"a token at an address", external(DefaultProvider, byURL, ""), alice},
		{"Amazon's machine", external(DefaultAWSProvider, w.AWS.CredentialSource(), ""),
			"principal://iam.googleapis.com/" + DefaultPool + "/subject/" + w.AWS.RoleARN()},
		{"Amazon's machine, impersonating", external(DefaultAWSProvider, w.AWS.CredentialSource(), outsider), outsider},
		{"an account by the key of another", func() ([]byte, error) {
			source, err := keyFile(t, w, ServiceAccountKey)()
			if err != nil {
				return nil, err
			}
			return Impersonated(source, middle)
		}, middle},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, err := test.file()
			if err != nil {
				t.Fatal(err)
			}
			if test.caller == middle {
				w.IAM.SetAccount(chat, Account{Impersonators: []string{middle}})
			}
			mintWith(t, w, file)
			all := w.IAM.Mints()
			if last := all[len(all)-1]; last.Caller != test.caller || last.Account != chat {
				t.Errorf("got %+v, want %s to mint for %s", last, test.caller, chat)
			}
		})
	}
}

func external(provider string, source map[string]any, impersonate string) func() ([]byte, error) {
	return func() ([]byte, error) { return ExternalAccount(provider, source, impersonate) }
}

func keyFile(t *testing.T, w *World, kind KeyKind) func() ([]byte, error) {
	return func() ([]byte, error) {
		key, err := NewKey(DefaultAgent, kind)
		if err != nil {
			t.Fatal(err)
		}
		w.OAuth.AddKey(key)
		return key.File()
	}
}

// mintWith mints a token for chat with what the credential file stands for.
func mintWith(t *testing.T, w *World, file []byte) {
	t.Helper()
	var kind struct{ Type credentials.CredType }
	if err := json.Unmarshal(file, &kind); err != nil {
		t.Fatal(err)
	}
	own, err := credentials.NewCredentialsFromJSON(kind.Type, file, &credentials.DetectOptions{
		Scopes: []string{ScopeCloudPlatform}, Client: client(t, w),
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := own.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hc := client(t, w)
	hc.Transport = bearer{token.Value, hc.Transport}
	c, err := iamcredentials.NewIamCredentialsRESTClient(t.Context(), option.WithHTTPClient(hc))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.CallOptions.GenerateAccessToken = nil
	if _, err := c.GenerateAccessToken(t.Context(), tokenFor(chat)); err != nil {
		t.Error(err)
	}
}
