package fake

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/auth/credentials"
	gce "cloud.google.com/go/compute/metadata"
	"github.com/google/go-cmp/cmp"
)

func startMetadata(t *testing.T, o MetadataOptions) *Metadata {
	t.Helper()
	o.Account, o.Project = DefaultAgent, "acme-ai"
	if o.Ledger == nil {
		o.Ledger = NewLedger()
	}
	m, err := NewMetadata(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("GCE_METADATA_HOST", m.Addr())
	return m
}

func TestGooglesMetadataClientReadsWhatItNeeds(t *testing.T) {
	startMetadata(t, MetadataOptions{Scopes: []string{ScopeCloudPlatform, ScopeAIPlatform}})
	c := gce.NewClient(web(t))
	tests := []struct{ path, want string }{
		{"project/project-id", "acme-ai"},
		{"project/numeric-project-id", "123456789012"},
		{"universe/universe-domain", "googleapis.com"},
		{"universe/universe_domain", "googleapis.com"},
		{"instance/service-accounts/", "default/\n" + DefaultAgent + "/\n"},
		{"instance/service-accounts/default/", "aliases\nemail\nscopes\ntoken\n"},
		{"instance/service-accounts/default/email", DefaultAgent},
		{"instance/service-accounts/" + DefaultAgent + "/email", DefaultAgent},
		{"instance/service-accounts/default/aliases", "default\n"},
		{"instance/service-accounts/default/?recursive=true",
			`{"aliases":["default"],"email":"` + DefaultAgent + `","scopes":["` + ScopeCloudPlatform + `","` + ScopeAIPlatform + `"]}`},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			got, err := c.GetWithContext(t.Context(), test.path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	scopes, err := c.ScopesWithContext(t.Context(), "")
	if err != nil || !slices.Equal(scopes, []string{ScopeCloudPlatform, ScopeAIPlatform}) {
		t.Errorf("got scopes %q, %v", scopes, err)
	}
}

func TestRootSaysWhereOneIsWithoutTheHeader(t *testing.T) {
	m := startMetadata(t, MetadataOptions{})
	got := ask{method: "GET", url: "http://" + m.Addr()}.send(t, web(t))
	if got.Status != http.StatusOK || got.Header.Get("Metadata-Flavor") != "Google" || got.Body != "computeMetadata/\n" {
		t.Errorf("got %+v", got)
	}
}

func TestUnknownKeyIsNotDefinedToGooglesClient(t *testing.T) {
	startMetadata(t, MetadataOptions{})
	_, err := gce.NewClient(web(t)).GetWithContext(t.Context(), "instance/attributes/x")
	if diff := cmp.Diff(gce.NotDefinedError("instance/attributes/x"), err); diff != "" {
		t.Error(diff)
	}
}

func TestGooglesCredentialsTakeTheAgentsToken(t *testing.T) {
	ledger := NewLedger()
	m := startMetadata(t, MetadataOptions{Ledger: ledger, Lifetime: 20 * time.Minute})
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir())
	creds, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{ScopeIAM}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	token, err := creds.Token(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(token.Expiry); token.Type != "Bearer" || left <= 19*time.Minute || left > 20*time.Minute {
		t.Errorf("got a %q token for %v, want Bearer for 20m", token.Type, left)
	}
	got, ok := ledger.Grant(token.Value)
	if !ok || got.Source != FromMetadata || got.Account != DefaultAgent || !slices.Equal(got.Scopes, []string{ScopeIAM}) {
		t.Errorf("got grant %+v", got)
	}
	domain, err := creds.UniverseDomain(ctx)
	if err != nil || domain != "googleapis.com" {
		t.Errorf("got universe %q, %v", domain, err)
	}
	if n := m.TokenRequests(); n != 1 {
		t.Errorf("got %d token requests, want 1", n)
	}
}

func TestTokenIsHandedOutAgainUntilItIsNearItsEnd(t *testing.T) {
	ledger := NewLedger()
	m := startMetadata(t, MetadataOptions{Ledger: ledger})
	issue := func(scopes ...string) string {
		t.Helper()
		token, left, err := m.issue(scopes)
		if err != nil || left <= 5*time.Minute || left > time.Hour {
			t.Fatalf("got a token for %v, %v", left, err)
		}
		return token
	}
	first := issue(ScopeCloudPlatform, ScopeIAM)
	if got := issue(ScopeIAM, ScopeCloudPlatform); got != first {
		t.Error("the same scopes get another token")
	}
	if got := issue(ScopeIAM); got == first {
		t.Error("other scopes get the same token")
	}
	age(ledger, first, 6*time.Minute)
	if got := issue(ScopeCloudPlatform, ScopeIAM); got != first {
		t.Error("a token with 6 minutes left is not handed out again")
	}
	age(ledger, first, 4*time.Minute)
	if got := issue(ScopeCloudPlatform, ScopeIAM); got == first {
		t.Error("a token with 4 minutes left is handed out again")
	}
}

// age leaves a token so much of its life.
func age(l *Ledger, token string, left time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.grants[token]
	g.Expiry = time.Now().Add(left)
	l.grants[token] = g
}

func TestScopeSetsAreBounded(t *testing.T) {
	m := startMetadata(t, MetadataOptions{})
	for i := range 3 * maxScopeSets {
		if _, _, err := m.issue([]string{time.Duration(i).String()}); err != nil {
			t.Fatal(err)
		}
		if len(m.cached) > maxScopeSets {
			t.Fatalf("got %d tokens kept, want at most %d", len(m.cached), maxScopeSets)
		}
	}
}
