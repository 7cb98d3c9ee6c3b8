package fake

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	iamcredentials "cloud.google.com/go/iam/credentials/apiv1"
	"cloud.google.com/go/iam/credentials/apiv1/credentialspb"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/option"
	"google.golang.org/protobuf/types/known/durationpb"
)

// bearer adds a token to every request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// iamClient is Google's own client, under the production address, without its retries.
func iamClient(t *testing.T, w *World) *iamcredentials.IamCredentialsClient {
	t.Helper()
	hc := client(t, w)
	hc.Transport = bearer{agentToken(t, w), hc.Transport}
	c, err := iamcredentials.NewIamCredentialsRESTClient(t.Context(), option.WithHTTPClient(hc))
	if err != nil {
		t.Fatal(err)
	}
	c.CallOptions.GenerateAccessToken = nil
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func tokenFor(email string, delegates ...string) *credentialspb.GenerateAccessTokenRequest {
	req := &credentialspb.GenerateAccessTokenRequest{Name: accountPrefix + email, Scope: []string{ScopeCloudPlatform}}
	for _, d := range delegates {
		req.Delegates = append(req.Delegates, accountPrefix+d)
	}
	return req
}

func TestGooglesIAMClientMints(t *testing.T) {
	w := startWorld(t)
	c := iamClient(t, w)
	long := tokenFor(chat)
	long.Lifetime = durationpb.New(12 * time.Hour)
	short := tokenFor(chat)
	short.Lifetime = durationpb.New(300 * time.Second)
	tests := []struct {
		name string
		req  *credentialspb.GenerateAccessTokenRequest
		life time.Duration
		want Grant
	}{
		{"directly", tokenFor(chat), time.Hour, Grant{Source: FromIAM, Account: chat, Projects: []string{"acme-ai"}}},
		{"for 5 minutes", short, 5 * time.Minute, Grant{Source: FromIAM, Account: chat, Projects: []string{"acme-ai"}}},
		{"for 12 hours", long, 12 * time.Hour, Grant{Source: FromIAM, Account: chat, Projects: []string{"acme-ai"}}},
		{"by delegation", tokenFor(batch, middle), time.Hour, Grant{Source: FromIAM, Account: batch, Projects: []string{"acme-ai"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := c.GenerateAccessToken(t.Context(), test.req)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.AccessToken) != 1024 || !strings.HasPrefix(got.AccessToken, "ya29.") {
				t.Errorf("got a token of %d bytes", len(got.AccessToken))
			}
			expiry := got.ExpireTime.AsTime()
			if left := time.Until(expiry); left <= test.life-time.Minute || left > test.life {
				t.Errorf("got %v left, want %v", left, test.life)
			}
			known, ok := w.Ledger.Grant(got.AccessToken)
			test.want.Scopes, test.want.Expiry = test.req.Scope, expiry
			if diff := cmp.Diff(test.want, known); !ok || diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGooglesIAMClientSeesWhyItIsDenied(t *testing.T) {
	w := startWorld(t)
	_, err := iamClient(t, w).GenerateAccessToken(t.Context(), tokenFor(batch))
	var denied *apierror.APIError
	if !errors.As(err, &denied) {
		t.Fatalf("got %v, want an API error", err)
	}
	got := []string{denied.Reason(), denied.Domain(), denied.Metadata()["permission"]}
	want := []string{"IAM_PERMISSION_DENIED", "iam.googleapis.com", "iam.serviceAccounts.getAccessToken"}
	if diff := cmp.Diff(want, got); diff != "" || denied.HTTPCode() != http.StatusForbidden {
		t.Errorf("got HTTP %d, reasons (-want +got):\n%s", denied.HTTPCode(), diff)
	}
}

func TestMintsAreRememberedAndCounted(t *testing.T) {
	w := startWorld(t)
	c := iamClient(t, w)
	short := tokenFor(batch, middle)
	short.Lifetime = durationpb.New(300 * time.Second)
	if _, err := c.GenerateAccessToken(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GenerateAccessToken(t.Context(), tokenFor(batch)); err == nil {
		t.Fatal("no delegate, no denial")
	}
	w.IAM.Fail(Fault{Status: 503, Only: batch, Times: 1})
	if _, err := c.GenerateAccessToken(t.Context(), tokenFor(batch, middle)); err == nil {
		t.Fatal("no error through a fault")
	}
	want := []Mint{
		{Caller: DefaultAgent, Account: batch, Delegates: []string{accountPrefix + middle}, Scopes: []string{ScopeCloudPlatform},
			Lifetime: 5 * time.Minute},
		{Caller: DefaultAgent, Account: batch, Scopes: []string{ScopeCloudPlatform}, Reason: PermissionDenied},
	}
	if diff := cmp.Diff(want, w.IAM.Mints(), cmpopts.IgnoreFields(Mint{}, "Time"), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if got, want := w.IAM.Count(batch), (Count{Asked: 3, Minted: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := w.IAM.Count(chat); got != (Count{}) {
		t.Errorf("got %+v for an account nobody asked for", got)
	}
}

func TestTwistsMakeAnswersWrong(t *testing.T) {
	w := startWorld(t)
	c := client(t, w)
	mint := func() map[string]any {
		t.Helper()
		got := ask{url: mintChat, token: agentToken(t, w), body: `{"scope":["` + ScopeCloudPlatform + `"]}`}.send(t, c)
		if got.Status != http.StatusOK {
			t.Fatalf("got %+v, want 200", got)
		}
		return decode(t, got.Body)
	}
	expiry := func(m map[string]any) time.Duration {
		t.Helper()
		at, err := time.Parse(time.RFC3339, m["expireTime"].(string))
		if err != nil {
			t.Fatal(err)
		}
		return time.Until(at)
	}
	w.IAM.Twist(Twist{EmptyToken: true})
	if got := mint(); got["accessToken"] != "" {
		t.Errorf("got token %v, want an empty one", got["accessToken"])
	}
	w.IAM.Twist(Twist{BadExpiry: true})
	if got := mint(); got["expireTime"] != "soon" {
		t.Errorf("got expiry %v, want none", got["expireTime"])
	}
	w.IAM.Twist(Twist{Lifetime: -time.Minute})
	if got := mint(); expiry(got) > -time.Minute {
		t.Errorf("got expiry %v, want one in the past", got["expireTime"])
	}
	w.IAM.Twist(Twist{Lifetime: 10 * time.Second})
	if left := expiry(mint()); left <= 0 || left > 10*time.Second {
		t.Errorf("got %v left, want at most 10s", left)
	}
	w.IAM.Twist(Twist{})
	if got := mint(); got["accessToken"] == "" || expiry(got) < 59*time.Minute {
		t.Errorf("got %v after the twists", got["expireTime"])
	}
}

func TestAccountsComeAndGo(t *testing.T) {
	w := startWorld(t)
	c := iamClient(t, w)
	w.IAM.RemoveAccount(chat)
	if _, err := c.GenerateAccessToken(t.Context(), tokenFor(chat)); err == nil {
		t.Error("a removed account gets a token")
	}
	w.IAM.SetAccount(chat, Account{})
	if _, err := c.GenerateAccessToken(t.Context(), tokenFor(chat)); err == nil {
		t.Error("the zero account can be impersonated")
	}
	w.IAM.SetAccount(chat, Account{Impersonators: []string{DefaultAgent}})
	if _, err := c.GenerateAccessToken(t.Context(), tokenFor(chat)); err != nil {
		t.Error(err)
	}
}

func TestTokenSizeIsConfigurable(t *testing.T) {
	w := startWorld(t, func(o *Options) { o.TokenBytes = 12 << 10 })
	got, err := iamClient(t, w).GenerateAccessToken(t.Context(), tokenFor(chat))
	if err != nil || len(got.GetAccessToken()) != 12<<10 {
		t.Errorf("got %d bytes, %v, want 12 KiB", len(got.GetAccessToken()), err)
	}
}

func TestMemoryOfMintsAndCountsIsBounded(t *testing.T) {
	x := &IAM{counts: make(map[string]Count)}
	for i := range maxCounted + 10 {
		x.record(Mint{Lifetime: time.Duration(i)}, nil)
		x.count(time.Duration(i).String(), Count{Asked: 1})
	}
	mints := x.Mints()
	if len(mints) != maxMints || mints[len(mints)-1].Lifetime != maxCounted+9 {
		t.Errorf("got %d mints, the last %v", len(mints), mints[len(mints)-1].Lifetime)
	}
	if len(x.counts) != maxCounted {
		t.Errorf("got %d counts, want %d", len(x.counts), maxCounted)
	}
}
