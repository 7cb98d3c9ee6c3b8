package google

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vertex-spoa/agent/internal/secret"
)

// fakeMetadata is the metadata server of one machine with one service account attached.
type fakeMetadata struct {
	t  *testing.T
	mu sync.Mutex

	tokens int
	emails int
	answer func(w http.ResponseWriter, what string) bool
}

func startMetadata(t *testing.T) *fakeMetadata {
	t.Helper()
	f := &fakeMetadata{t: t}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(server.URL, "http://"))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // must not be asked
	return f
}

func (f *fakeMetadata) set(answer func(w http.ResponseWriter, what string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakeMetadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method != http.MethodGet || r.Header.Get("Metadata-Flavor") != "Google" {
		f.t.Errorf("the metadata server was sent %s with flavor %q", r.Method, r.Header.Get("Metadata-Flavor"))
	}
	w.Header().Set("Metadata-Flavor", "Google")
	what, ok := strings.CutPrefix(r.URL.Path, "/computeMetadata/v1/instance/service-accounts/default/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	switch what {
	case "email":
		f.emails++
	case "token":
		f.tokens++
		if got := r.URL.Query().Get("scopes"); got != platformScope {
			f.t.Errorf("the metadata server was asked for scopes %q, want %q", got, platformScope)
		}
	}
	if f.answer != nil && f.answer(w, what) {
		return
	}
	switch what {
	case "email":
		_, _ = w.Write([]byte(agentEmail + "\n"))
	case "token":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": baseMarker, "expires_in": 3599, "token_type": "Bearer"})
	default:
		http.NotFound(w, r)
	}
}

func mustMetadata(t *testing.T) Base {
	t.Helper()
	base, err := Metadata(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return base
}

func TestMetadataTellsTokenAndAccount(t *testing.T) {
	f := startMetadata(t)
	base := mustMetadata(t)
	if f.tokens+f.emails > 0 {
		t.Error("the metadata server was asked before a token was wanted")
	}
	for range 3 {
		token, err := base.mint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if token.Value.Reveal() != baseMarker || token.Account != agentEmail {
			t.Errorf("got a token of %q, want the one of %q", token.Account, agentEmail)
		}
		if left := time.Until(token.Expiry); left < 3590*time.Second || left > 3600*time.Second {
			t.Errorf("the token lives %v, want 3599s", left)
		}
	}
	if f.tokens != 3 || f.emails != 1 {
		t.Errorf("asked for %d tokens and %d e-mails, want 3 and 1: Source caches, the Base does not", f.tokens, f.emails)
	}
}

func TestMetadataIsTheBaseOfASource(t *testing.T) {
	startMetadata(t)
	w := onLoopback(t, func(c *Config) { c.Base = mustMetadata(t) })
	w.mustGet(t, request(alice))
	if got := w.iam.seen()[0].Bearer; got != baseMarker {
		t.Errorf("IAM was called with %q, want the metadata server's token", got)
	}
	email, err := w.Email(t.Context())
	if err != nil || email != agentEmail {
		t.Errorf("Email() = %q, %v, want %q", email, err, agentEmail)
	}
}

func TestMetadataThatFails(t *testing.T) {
	tests := map[string]struct {
		answer func(w http.ResponseWriter, what string) bool
		detail string
	}{
		"no service account attached": {func(w http.ResponseWriter, _ string) bool {
			w.WriteHeader(http.StatusNotFound)
			return true
		}, "no service account is attached"},
		"a refusal that repeats a token": {func(w http.ResponseWriter, _ string) bool {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(baseMarker))
			return true
		}, "status 403"},
		"an answer that is not JSON": {func(w http.ResponseWriter, _ string) bool {
			_, _ = w.Write([]byte(baseMarker))
			return true
		}, "cannot be read"},
		"an empty token": {func(w http.ResponseWriter, _ string) bool {
			_, _ = w.Write([]byte(`{"access_token":"","expires_in":3599}`))
			return true
		}, "cannot be read"},
		"a token with a line break": {func(w http.ResponseWriter, _ string) bool {
			_, _ = w.Write([]byte(`{"access_token":"BASE-MARKER\r\nx: y","expires_in":3599}`))
			return true
		}, "cannot stand in a header"},
		"an answer without end": {func(w http.ResponseWriter, _ string) bool {
			_, _ = w.Write([]byte(`{"access_token":"` + strings.Repeat("A", maxAnswer) + `","expires_in":3599}`))
			return true
		}, "cannot be read"},
		"a proxy's login page": {func(w http.ResponseWriter, _ string) bool {
			w.Header().Del("Metadata-Flavor")
			_, _ = w.Write([]byte(`{"access_token":"BASE-MARKER","expires_in":3599}`))
			return true
		}, "no metadata server"},
		"a life without end": {func(w http.ResponseWriter, _ string) bool {
			_, _ = w.Write([]byte(`{"access_token":"BASE-MARKER","expires_in":9223372036854775807}`))
			return true
		}, "cannot be read"},
		"a token that expired": {func(w http.ResponseWriter, _ string) bool {
			_, _ = w.Write([]byte(`{"access_token":"BASE-MARKER","expires_in":-5}`))
			return true
		}, "expired at"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := startMetadata(t)
			f.set(func(w http.ResponseWriter, what string) bool {
				return (what == "token" || name == "no service account attached") && test.answer(w, what)
			})
			token, err := mustMetadata(t).mint(t.Context())
			e := wantReason(t, err, CredentialsUnavailable)
			if !strings.Contains(e.Detail, test.detail) || token != (Token{}) {
				t.Errorf("got %v and detail %q, want no token and %q", token, e.Detail, test.detail)
			}
			if strings.Contains(err.Error(), "MARKER") {
				t.Errorf("%v holds a token", err)
			}
			if fix := map[string]string{"no service account is attached": widenScopes, "status 403": seeMetadata, "no metadata server": seeMetadata}[test.detail]; fix != "" && e.Fix != fix {
				t.Errorf("fix is %q, want %q", e.Fix, fix)
			}
			f.set(nil)
			if _, err := mustMetadata(t).mint(t.Context()); err != nil {
				t.Errorf("the next try fails: %v", err)
			}
		})
	}
}

func TestMetadataWithoutAnEmailStillHasAToken(t *testing.T) {
	f := startMetadata(t)
	f.set(func(w http.ResponseWriter, what string) bool {
		if what == "email" {
			w.WriteHeader(http.StatusNotFound)
		}
		return what == "email"
	})
	token, err := mustMetadata(t).mint(t.Context())
	if err != nil || token.Account != "" || token.Value.Len() == 0 {
		t.Errorf("got a token of %q and %v, want one of nobody", token.Account, err)
	}
}

func TestOnlyTheMachineIsTakenForTheAgent(t *testing.T) {
	startMetadata(t)
	key := `{"type":"authorized_user","client_id":"x","client_secret":"PASSWORD","refresh_token":"PASSWORD"}`

	t.Run("not what the environment names", func(t *testing.T) {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/etc/key.json")
		if base, err := Metadata(t.Context(), nil); err == nil || base != nil {
			t.Error("Metadata succeeds, want an error")
		}
		if base, _, err := Credentials(t.Context(), BaseConfig{}); err == nil || base != nil {
			t.Error("Credentials succeeds, want an error")
		}
	})
	t.Run("not what gcloud has left", func(t *testing.T) {
		dir := filepath.Join(os.Getenv("HOME"), ".config", "gcloud")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "application_default_credentials.json"), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		token, err := mustMetadata(t).mint(t.Context())
		if err != nil || token.Account != agentEmail {
			t.Errorf("got a token of %q and %v, want one of %q", token.Account, err, agentEmail)
		}
	})
	t.Run("not wanted any more", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Metadata(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

func TestTheMetadataHostOfTheConfiguration(t *testing.T) {
	f := startMetadata(t)
	host := os.Getenv("GCE_METADATA_HOST")
	t.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
	base, info, err := Credentials(t.Context(), BaseConfig{MetadataHost: host})
	if err != nil {
		t.Fatal(err)
	}
	if info.Kind != "metadata" || info.UniverseDomain != "googleapis.com" || info.Changed != nil {
		t.Errorf("got %+v", info)
	}
	if token, err := base.mint(t.Context()); err != nil || token.Account != agentEmail || f.tokens != 1 {
		t.Errorf("got a token of %q and %v", token.Account, err)
	}
	for _, bad := range []string{"http://x", "x/y", "u@x", "x?y"} {
		if _, _, err := Credentials(t.Context(), BaseConfig{MetadataHost: bad}); err == nil {
			t.Errorf("the host %q is taken", bad)
		}
	}
}

func TestABaseIsNotBelieved(t *testing.T) {
	hour := time.Now().Add(time.Hour)
	for name, base := range map[string]Base{
		"the zero token":      func(context.Context) (Token, error) { return Token{}, nil },
		"no expiry":           func(context.Context) (Token, error) { return Token{Value: secret.New("x")}, nil },
		"an expired token":    func(context.Context) (Token, error) { return Token{Value: secret.New("x"), Expiry: time.Now()}, nil },
		"no token":            func(context.Context) (Token, error) { return Token{Expiry: hour}, nil },
		"a token with spaces": func(context.Context) (Token, error) { return Token{Value: secret.New("x y"), Expiry: hour}, nil },
		"a token and an error": func(context.Context) (Token, error) {
			return Token{Value: secret.New("x"), Expiry: hour}, errors.New("but")
		},
	} {
		token, err := base.mint(t.Context())
		if token != (Token{}) {
			t.Errorf("%s: got a token", name)
		}
		wantReason(t, err, CredentialsUnavailable)
	}
}
