package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

const (
	middleMail   = "middle@acme-ai.iam.gserviceaccount.com"
	workloadName = "agent-on-premises"
	workload     = "principal://iam.googleapis.com/" + fake.DefaultPool + "/subject/" + workloadName
)

// machine is where the agent runs: it has a credential file, and no metadata server.
type machine struct {
	t    *testing.T
	dir  string
	file string
	s    *sandbox.Sandbox

	traces *collector // nil where nobody is told of the calls
}

// subjectToken is a token of the machine's own, for Google's pool.
func (m *machine) subjectToken(s *sandbox.Sandbox) (string, error) {
	return s.World.IDP.Token(workloadName, fake.Audience("https:"+fake.DefaultProvider))
}

// key makes a key known and returns its file.
func (m *machine) key(s *sandbox.Sandbox, mail string, kind fake.KeyKind) ([]byte, error) {
	key, err := fake.NewKey(mail, kind)
	if err != nil {
		return nil, err
	}
	s.World.OAuth.AddKey(key)
	return key.File()
}

// write replaces the credential file.
func (m *machine) write(text []byte, err error) error {
	if err != nil {
		return err
	}
	next := m.file + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, m.file)
}

// startOn starts a sandbox whose agent has the credential file that make makes, and whose accounts trust the callers.
func startOn(t *testing.T, haproxy string, make func(m *machine, s *sandbox.Sandbox) ([]byte, error), callers ...string) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir()}
	m.file = filepath.Join(m.dir, "credentials.json")
	m.s = startSandbox(t, sandbox.Options{
		HAProxy: haproxy, Dir: m.dir, AgentFlags: []string{"--google.credentials=" + m.file},
		AgentEnv: []string{"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1"},
		Prepare: func(s *sandbox.Sandbox) error {
			for _, mail := range []string{sandbox.Search, sandbox.Research, sandbox.Support} {
				s.World.IAM.SetAccount(mail, fake.Account{Impersonators: callers, Projects: []string{sandbox.Project}})
			}
			s.World.IAM.SetAccount(middleMail, fake.Account{Impersonators: []string{workload, sandbox.AgentMail}})
			s.World.Metadata.Fail(fake.Fault{Down: true})
			return m.write(make(m, s))
		},
	})
	return m
}

// minter is who minted last.
func (m *machine) minter() string {
	all := m.s.World.IAM.Mints()
	if len(all) == 0 {
		return "nobody"
	}
	return all[len(all)-1].Caller
}

// byFile writes the machine's token into a file.
func byFile(m *machine, s *sandbox.Sandbox, impersonate string) ([]byte, error) {
	token, err := m.subjectToken(s)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(m.dir, "subject.jwt")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return nil, err
	}
	return fake.ExternalAccount(fake.DefaultProvider, map[string]any{"file": path}, impersonate)
}

// byURL has the machine's token at an address, for who shows a header.
func byURL(m *machine, s *sandbox.Sandbox) ([]byte, error) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Workload") != "vertex-spoa" {
			http.Error(w, "who?", http.StatusForbidden)
			return
		}
		token, err := m.subjectToken(s)
		if err != nil {
			http.Error(w, "no token", http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"id_token": token})
	}))
	m.t.Cleanup(server.Close)
	return fake.ExternalAccount(fake.DefaultProvider, map[string]any{
		"url": server.URL, "headers": map[string]string{"X-Workload": "vertex-spoa"},
		"format": map[string]string{"type": "json", "subject_token_field_name": "id_token"},
	}, "")
}

// byProgram has a program print the machine's token.
func byProgram(m *machine, s *sandbox.Sandbox) ([]byte, error) {
	token, err := m.subjectToken(s)
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf("#!/bin/sh\ncat <<'ANSWER'\n"+`{"version":1,"success":true,"token_type":%q,"id_token":%q,"expiration_time":%d}`+"\nANSWER\n",
		fake.TypeJWT, token, time.Now().Add(10*time.Minute).Unix())
	path := filepath.Join(m.dir, "print-token")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		return nil, err
	}
	return fake.ExternalAccount(fake.DefaultProvider, map[string]any{"executable": map[string]any{"command": path, "timeout_millis": 5000}}, "")
}

// Every kind of credential file that there is makes an agent that works, without the metadata server.
func TestCredentialFiles(t *testing.T) {
	arn := "arn:aws:sts::210987654321:assumed-role/vertex-spoa"
	amazon := "principalSet://iam.googleapis.com/" + fake.DefaultPool + "/attribute.aws_role/" + arn
	onEach(t, newest(), func(t *testing.T, haproxy string) {
		for _, tt := range []struct {
			name    string
			make    func(m *machine, s *sandbox.Sandbox) ([]byte, error)
			trusted string // whom the accounts trust
			minter  string // whom IAM saw, if another
		}{
			{"a token in a file", func(m *machine, s *sandbox.Sandbox) ([]byte, error) { return byFile(m, s, "") }, workload, ""},
			{"a token in a file, impersonating", func(m *machine, s *sandbox.Sandbox) ([]byte, error) { return byFile(m, s, middleMail) }, middleMail, ""},
			{"a token at an address", byURL, workload, ""},
			{"a token printed by a program", byProgram, workload, ""},
			{"Amazon's machine", func(_ *machine, s *sandbox.Sandbox) ([]byte, error) {
				return fake.ExternalAccount(fake.DefaultAWSProvider, s.World.AWS.CredentialSource(), "")
			}, amazon, "principal://iam.googleapis.com/" + fake.DefaultPool + "/subject/" + arn + "/i-0123456789abcdef0"},
			{"a service account's key", func(m *machine, s *sandbox.Sandbox) ([]byte, error) {
				return m.key(s, sandbox.AgentMail, fake.ServiceAccountKey)
			}, sandbox.AgentMail, ""},
			{"a user's refresh token", func(m *machine, s *sandbox.Sandbox) ([]byte, error) { return m.key(s, sandbox.AgentMail, fake.UserKey) }, sandbox.AgentMail, ""},
			{"an account by the key of another", func(m *machine, s *sandbox.Sandbox) ([]byte, error) {
				key, err := m.key(s, sandbox.AgentMail, fake.ServiceAccountKey)
				if err != nil {
					return nil, err
				}
				return fake.Impersonated(key, middleMail)
			}, middleMail, ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				m := startOn(t, haproxy, tt.make, tt.trusted)
				if got, err := m.s.Search(t.Context()); err != nil || got != "200 as vx-search" {
					t.Errorf("got %s, %v; want 200 as vx-search%s", got, err, m.s.Logs())
				}
				want := tt.minter
				if want == "" {
					want = tt.trusted
				}
				if got := m.minter(); got != want {
					t.Errorf("IAM saw %s, want %s", got, want)
				}
				if n := m.s.World.Metadata.TokenRequests(); n > 0 {
					t.Errorf("the metadata server was asked %d times", n)
				}
			})
		}
	})
}

// A credential file that is replaced is used without a restart, and calls go on; a broken one is told about, and the one before goes on.
func TestACredentialFileIsReplaced(t *testing.T) {
	onEach(t, newest(), func(t *testing.T, haproxy string) {
		m := startOn(t, haproxy, func(m *machine, s *sandbox.Sandbox) ([]byte, error) {
			return m.key(s, sandbox.AgentMail, fake.ServiceAccountKey)
		}, sandbox.AgentMail, workload, middleMail)
		s := m.s
		works := func(group, account, by string) {
			t.Helper()
			s.World.Ledger.Expire(account)
			until(t, "a token is minted by "+by, func() string {
				short, _, _ := strings.Cut(account, "@")
				got := told(t, s, sandbox.Call{Target: generatePath, Token: callerOf(t, s, group), Body: shortBody(9, 0)})
				if got != "200 as "+short || m.minter() != by { // Google's refusal of the expired token makes the agent mint another one
					return got + ", minted by " + m.minter()
				}
				return ""
			})
		}
		replaced := func(told string, text []byte, err error) {
			t.Helper()
			before := m.logged(told)
			if err := m.write(text, err); err != nil {
				t.Fatal(err)
			}
			until(t, "the log says: "+told, func() string {
				if m.logged(told) == before {
					return "no"
				}
				return ""
			})
		}
		if got, err := s.Search(t.Context()); err != nil || got != "200 as vx-search" {
			t.Fatalf("got %s, %v", got, err)
		}
		text, err := byFile(m, s, "")
		replaced("credentials file taken", text, err)
		until(t, "it is used", func() string {
			if len(s.World.STS.Exchanges()) == 0 {
				return "not at STS"
			}
			return ""
		})
		works("search-eng", sandbox.Search, workload)
		for _, broken := range []string{`{"type":"service_account","client_ema`, `{"type":"magic"}`} {
			replaced("credentials file not taken", []byte(broken), nil)
		}
		works("research", sandbox.Research, workload)
		text, err = byFile(m, s, middleMail)
		replaced("credentials file taken", text, err)
		until(t, "it is used", func() string {
			if !slices.ContainsFunc(s.World.IAM.Mints(), func(mint fake.Mint) bool { return mint.Account == middleMail }) {
				return "not at IAM"
			}
			return ""
		})
		works("support", sandbox.Support, middleMail)
	})
}

// logged counts how often the agent has said something.
func (m *machine) logged(message string) int {
	log, err := m.s.AgentLog()
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.Count(log, `"`+message)
}

// Who could replace the credential file could become the agent: it does not start with a file that others may write.
func TestACredentialFileThatOthersMayWrite(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials.json")
	err := startFailing(t, dir, file, func() error {
		if err := os.WriteFile(file, []byte(`{"type":"external_account"}`), 0o600); err != nil {
			return err
		}
		return os.Chmod(file, 0o666)
	})
	if err == nil || !strings.Contains(err.Error(), "can be written by others") {
		t.Errorf("got %v, want a refusal", err)
	}
}

// startFailing starts a sandbox that is not expected to come up, and returns why it did not.
func startFailing(t *testing.T, dir, file string, prepare func() error) error {
	t.Helper()
	s, err := sandbox.Start(t.Context(), sandbox.Options{
		Binary: binary, Example: example(t), Dir: dir, AgentFlags: []string{"--google.credentials=" + file},
		Prepare: func(*sandbox.Sandbox) error { return prepare() },
	})
	if err == nil {
		s.Close()
	}
	return err
}
