package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	iamcredentials "cloud.google.com/go/iam/credentials/apiv1"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// agentMode makes this test's binary a small agent instead: see playAgent.
const agentMode = "FAKE_TEST_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(agentMode) == "" {
		os.Exit(m.Run())
	}
	if err := playAgent(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// playAgent does what an agent does, with nothing but its environment to go by: keys from the issuer, a token of its own, a token of
// another account, a prompt. All addresses are those of production, and all clients are those an agent would have.
func playAgent() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := fetch(ctx, DefaultIssuer+"/keys", "", ""); err != nil {
		return err
	}
	c, err := iamcredentials.NewIamCredentialsRESTClient(ctx)
	if err != nil {
		return err
	}
	token, err := c.GenerateAccessToken(ctx, tokenFor(chat))
	if err != nil {
		return err
	}
	if _, err := fetch(ctx, central+flash+":generateContent", token.AccessToken, prompt); err != nil {
		return err
	}
	if _, err := fetch(ctx, "https://example.com/", "", ""); err == nil {
		return errors.New("the sandbox leads to example.com")
	}
	return c.Close()
}

func fetch(ctx context.Context, url, token, body string) (string, error) {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, res.Status, text)
	}
	return string(text), err
}

func TestAgentFindsAllPartiesByItsEnvironmentAlone(t *testing.T) {
	w := startWorld(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(w.AgentEnv(), agentMode+"=1", "HOME="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all := w.Vertex.Take()
	if len(all) != 1 || all[0].Account != chat || all[0].Status != http.StatusOK {
		t.Errorf("got requests %+v, want one as %s", all, chat)
	}
	want := []Connect{
		{Target: "login.example.com:443"}, {Target: IAMHost + ":443"}, {Target: "us-central1-aiplatform.googleapis.com:443"},
		{Target: "example.com:443", Reason: RouteUnknown},
	}
	if diff := cmp.Diff(want, w.Egress.Connects(), cmpopts.IgnoreFields(Connect{}, "Time")); diff != "" {
		t.Error(diff)
	}
	if n := w.Metadata.TokenRequests(); n != 1 {
		t.Errorf("got %d requests for the agent's token, want 1", n)
	}
}
