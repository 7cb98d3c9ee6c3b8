package google

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestCheckMintsNowAndKeepsNothing(t *testing.T) {
	f := federationOnLoopback(t)
	f.mustGet(t, request(alice))
	r := Request{Account: alice, Delegates: []string{bob}, Scopes: []string{scope}, Lifetime: 10 * time.Minute}
	for _, r := range []Request{r, request(alice)} {
		got, token := f.Check(t.Context(), r)
		want := CheckResult{OK: true, Agent: agentEmail, Account: alice, Delegates: r.Delegates, Scopes: r.Scopes, Asked: r.lifetime(), Granted: r.lifetime()}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(CheckResult{}, "Latency", "Fingerprint", "Granted")); diff != "" {
			t.Errorf("Check differs (-want +got):\n%s", diff)
		}
		// The life is told from the beginning of the check, and that of the token begins within it.
		if off := want.Granted - got.Granted; off < -got.Latency.Round(time.Second) || off > time.Second || got.Latency <= 0 || len(got.Fingerprint) != 16 {
			t.Errorf("granted %v in %v, fingerprint %q", got.Granted, got.Latency, got.Fingerprint)
		}
		if token.Account != alice || token.Value.Fingerprint() != got.Fingerprint || token.Fingerprint != got.Fingerprint {
			t.Errorf("the token is %+v, want that of %+v", token, got)
		}
	}
	if got := len(f.iam.seen()); got != 3 {
		t.Errorf("IAM was asked %d times, want 3", got)
	}
	if got := len(f.Status()); got != 1 {
		t.Errorf("%d tokens are held, want 1", got)
	}
	subject := f.sts.sign()
	if got, _ := f.Check(t.Context(), direct(subject)); !got.OK || got.Granted < 59*time.Minute || got.Account != "" || got.Scopes[0] != platformScope {
		t.Errorf("a direct exchange: %+v", got)
	}
	if got, _ := f.Check(t.Context(), impersonating(subject, alice)); !got.OK || got.Account != alice {
		t.Errorf("an impersonating exchange: %+v", got)
	}
	if got := f.Exchanges(); got.Held != 0 {
		t.Errorf("%+v is held", got)
	}
}

func TestCheckSaysWhatIsMissingAndHowToMendIt(t *testing.T) {
	const add = "gcloud iam service-accounts add-iam-policy-binding "
	info := func(reason string, metadata map[string]string) map[string]any {
		return map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "metadata": metadata}
	}
	plain := request(alice)
	long := plain
	long.Lifetime = 2 * time.Hour
	chained := plain
	chained.Delegates = []string{bob, carol}
	tests := map[string]struct {
		r           Request
		broken      func(*federation)
		want        Reason
		detail, fix string
	}{
		"the role is missing": {plain, func(f *federation) { f.iam.fail(403, "denied") }, AccountForbidden,
			agentEmail + " needs roles/iam.serviceAccountTokenCreator on " + alice,
			add + alice + " --project=team --member=serviceAccount:" + agentEmail + " --role=roles/iam.serviceAccountTokenCreator"},
		"a link of the chain is missing": {chained, func(f *federation) { f.iam.fail(403, "denied") }, AccountForbidden, "in the chain",
			add + bob + " --project=team --member=serviceAccount:" + agentEmail + " --role=roles/iam.serviceAccountTokenCreator\n" +
				add + carol + " --project=team --member=serviceAccount:" + bob + " --role=roles/iam.serviceAccountTokenCreator\n" +
				add + alice + " --project=team --member=serviceAccount:" + carol + " --role=roles/iam.serviceAccountTokenCreator"},
		"the API is off": {plain, func(f *federation) {
			f.iam.set(func(w http.ResponseWriter, _ *http.Request, _ call) bool {
				sendStatus(w, 403, "off", info("SERVICE_DISABLED", map[string]string{"consumer": "projects/123"}))
				return true
			})
		}, AccountForbidden, "is disabled in", "gcloud services enable iamcredentials.googleapis.com --project=123"},
		"the machine's scopes are narrow": {plain, func(f *federation) {
			f.iam.set(func(w http.ResponseWriter, _ *http.Request, _ call) bool {
				sendStatus(w, 403, "narrow", info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", nil))
				return true
			})
		}, AccountForbidden, "access scopes of the machine", widenScopes},
		"there is no account": {plain, func(f *federation) { f.iam.fail(404, "Not found") }, AccountForbidden, "there is no account " + alice,
			"gcloud iam service-accounts create alice --project=team"},
		"the lifetime is not allowed": {long, func(f *federation) { f.iam.fail(400, "The access token lifetime cannot exceed 3600s") }, MintInvalid,
			"organization policy constraint constraints/iam.allowServiceAccountCredentialLifetimeExtension",
			"gcloud resource-manager org-policies allow constraints/iam.allowServiceAccountCredentialLifetimeExtension " + alice + " --organization=ORGANIZATION"},
		"another 400": {plain, func(f *federation) { f.iam.fail(400, "bad") }, MintInvalid, "bad", ""},
		"no way to IAM": {plain, func(f *federation) {
			f.iam.set(func(http.ResponseWriter, *http.Request, call) bool { panic(http.ErrAbortHandler) })
		}, MintUnavailable, "call http://127.0.0.1", "curl -sv -o /dev/null http://127.0.0.1"},
		"quota":                  {plain, func(f *federation) { f.iam.fail(429, "quota") }, MintUnavailable, "quota", ""},
		"a request that is none": {Request{}, func(*federation) {}, MintInvalid, "account", ""},
		"no caller's token":      {Request{Exchange: &Exchange{Audience: workload, Mode: Direct}}, func(*federation) {}, ExchangeUnsupported, "without a token", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := federationOnLoopback(t)
			test.broken(f)
			got, token := f.Check(t.Context(), test.r)
			if got.OK || got.Reason != test.want || !strings.Contains(got.Detail, test.detail) || got.Granted != 0 || got.Fingerprint != "" {
				t.Errorf("got %+v, want reason %s and detail %q", got, test.want, test.detail)
			}
			if token != (Token{}) {
				t.Errorf("a check that failed returns %+v", token)
			}
			if test.fix == "" && got.Fix != "" || !strings.HasPrefix(got.Fix, test.fix) {
				t.Errorf("fix is\n%s\nwant\n%s", got.Fix, test.fix)
			}
			if text, err := json.Marshal(got); err != nil || !strings.Contains(string(text), `"reason":"`+string(test.want)) {
				t.Errorf("as JSON: %s, %v", text, err)
			}
		})
	}
	t.Run("the agent has no token", func(t *testing.T) {
		f := federationOnLoopback(t, func(c *Config) {
			b := newFakeBase()
			b.set(errors.New("no metadata server"))
			c.Base = b.token
		})
		if got, _ := f.Check(t.Context(), plain); got.OK || got.Reason != CredentialsUnavailable || !strings.Contains(got.Detail, "no metadata server") {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("the provider is missing", func(t *testing.T) {
		f := federationOnLoopback(t)
		f.sts.fail(400, "invalid_target", "disabled or deleted")
		want := "gcloud iam workload-identity-pools providers describe okta --workload-identity-pool=corp --location=global --project=123"
		if got, _ := f.Check(t.Context(), direct(f.sts.sign())); got.Reason != MintInvalid || got.Fix != want {
			t.Errorf("got %+v, want the fix %q", got, want)
		}
	})
}

func TestMembers(t *testing.T) {
	for who, want := range map[string]string{
		agentEmail: "serviceAccount:" + agentEmail,
		"1-compute@developer.gserviceaccount.com":     "serviceAccount:1-compute@developer.gserviceaccount.com",
		"ann@example.com":                             "user:ann@example.com",
		"principalSet://iam.googleapis.com/x/*":       "principal://iam.googleapis.com/x/subject/SUBJECT",
		"principalSet://iam.googleapis.com/x/group/g": "principalSet://iam.googleapis.com/x/group/g",
		"":              "serviceAccount:AGENT_ACCOUNT",
		"$(reboot)@x.y": "serviceAccount:AGENT_ACCOUNT",
	} {
		if got := memberOf(who); got != want {
			t.Errorf("memberOf(%q) = %q, want %q", who, got, want)
		}
	}
	for s, want := range map[string]string{"a-b": "a-b", "a b": "'a b'", "it's": `'it'\''s'`, "x/*": "'x/*'", "": "''", "$(x)": "'$(x)'"} {
		if got := quoted(s); got != want {
			t.Errorf("quoted(%q) = %s, want %s", s, got, want)
		}
	}
	for account, want := range map[string]string{alice: " --project=team", "x@p.example.com.iam.gserviceaccount.com": "", "x@developer.gserviceaccount.com": ""} {
		if got := inProject(account); got != want {
			t.Errorf("inProject(%q) = %q, want %q", account, got, want)
		}
	}
}
