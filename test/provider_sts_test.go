package test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/provider"
)

// Google's token service, as the sandbox plays it, takes the tokens of a provider that it has never heard of before, by their signatures:
// those of the algorithms that it knows, and those that its keys have signed.
func TestTheTokenServiceTakesTokensOfARealProvider(t *testing.T) {
	n := findNode(t)
	w, err := fake.Start(fake.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	cert, err := w.CA.Server("op.example.com")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := w.CA.Write("op", cert)
	if err != nil {
		t.Fatal(err)
	}
	const pool = "//iam.googleapis.com/" + fake.DefaultPool + "/providers/real"
	o, err := provider.Start(t.Context(), n, provider.Options{
		Issuer: "https://op.example.com", Cert: pem, Audience: "https:" + pool, Lifetime: 10 * time.Minute, Clients: []provider.Client{robot},
		Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	w.Egress.Route("op.example.com:443", o.Addr())
	if err := w.STS.SetProvider(pool, fake.Provider{Issuer: "https://op.example.com", JWKS: "https://op.example.com/jwks"}); err != nil {
		t.Fatal(err)
	}
	hc := w.Client()
	t.Cleanup(hc.CloseIdleConnections)
	get := func(f provider.Format) string {
		token, err := o.Token(limited(t), hc, robot, f)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	exchanged := func(token string) string {
		status := exchange(t, hc, pool, token)
		all := w.STS.Exchanges()
		last := all[len(all)-1]
		if (status == http.StatusOK) != (last.Reason == "") {
			t.Errorf("status %d of %+v", status, last)
		}
		return strings.TrimPrefix(last.Principal, "principal://iam.googleapis.com/"+fake.DefaultPool) + string(last.Reason)
	}
	for format, want := range map[provider.Format]string{
		provider.RS256: "/subject/robot", provider.ES256: "/subject/robot",
		provider.PS256: string(fake.AlgorithmUnsupported), provider.EdDSA: string(fake.AlgorithmUnsupported),
		provider.Opaque: string(fake.SubjectInvalid),
	} {
		if got := exchanged(get(format)); got != want {
			t.Errorf("%s: got %s, want %s", format, got, want)
		}
	}
	old := get(provider.RS256)
	if err := o.Rotate(limited(t), provider.Hard); err != nil {
		t.Fatal(err)
	}
	if got, want := exchanged(old), string(fake.SubjectForged); got != want {
		t.Errorf("a token of withdrawn keys: got %s, want %s", got, want)
	}
	if got, want := exchanged(get(provider.RS256)), "/subject/robot"; got != want {
		t.Errorf("a token of the new keys: got %s, want %s", got, want)
	}
}

// exchange asks for a federated token and returns the status.
func exchange(t *testing.T, hc *http.Client, pool, token string) int {
	t.Helper()
	form := url.Values{
		"grant_type": {fake.GrantTokenExchange}, "audience": {pool}, "scope": {fake.ScopeCloudPlatform},
		"requested_token_type": {fake.TypeAccessToken}, "subject_token": {token}, "subject_token_type": {fake.TypeJWT},
	}
	req, err := http.NewRequestWithContext(limited(t), http.MethodPost, "https://"+fake.STSHost+"/v1/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}
