package fake_test

import (
	"fmt"
	"os"

	"vertex-spoa/test/fake"
)

func Example() {
	report := func(v ...any) { _, _ = fmt.Fprintln(os.Stdout, v...) }
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		report(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	w, err := fake.Start(fake.Options{Dir: dir, Accounts: map[string]fake.Account{
		"chat@acme-ai.iam.gserviceaccount.com": {Impersonators: []string{fake.DefaultAgent}, Projects: []string{"acme-ai"}},
	}})
	if err != nil {
		report(err)
		return
	}
	// The agent under test runs with w.AgentEnv(), HAProxy sends to w.Vertex.Addr() and trusts w.CA.File(), callers carry these:
	token, err := w.IDP.Token("alice@example.com", fake.Groups("ml"))
	if err != nil {
		report(err)
		return
	}
	report(w.IDP.Issuer(), len(token) > 0)
	report(w.Close())
	// Output:
	// https://login.example.com true
	// <nil>
}
