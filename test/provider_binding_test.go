package test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"vertex-spoa/test/provider"
	"vertex-spoa/test/sandbox"
)

// A token that the provider has bound to a client certificate (RFC 8705) is worth something together with that certificate alone, from
// the caller's handshake with HAProxy, also where the session is resumed.
func TestATokenOfARealProviderIsBoundToItsCertificate(t *testing.T) {
	findNode(t)
	s := startSandbox(t, sandbox.Options{})
	o := startOIDC(t, s)
	if err := s.RestartHAProxyWith(limited(t), []string{"VERTEX_CLIENT_CA=" + s.World.CA.File()}); err != nil {
		t.Fatal(err)
	}
	own, other := clientCertificate(t, s, "bound"), clientCertificate(t, s, "other")
	hc := s.World.Client()
	defer hc.CloseIdleConnections()
	present(t, hc, own)
	token, err := o.Token(limited(t), hc, bound, provider.ES256)
	if err != nil {
		t.Fatal(err)
	}
	sessions := tls.NewLRUClientSessionCache(4)
	for _, test := range []struct {
		name    string
		cert    *tls.Certificate
		resumed bool
		want    int
	}{
		{"its own", &own, false, http.StatusOK},
		{"its own, once more", &own, true, http.StatusOK},
		{"another one", &other, false, http.StatusUnauthorized},
		{"none", nil, false, http.StatusUnauthorized},
		{"its own again, after those", &own, true, http.StatusOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			caller := s.Client(sandbox.HTTP1)
			defer caller.CloseIdleConnections()
			if test.cert != nil {
				present(t, caller, *test.cert)
			}
			if test.cert == &own {
				caller.Transport.(*http.Transport).TLSClientConfig.ClientSessionCache = sessions
			}
			req, err := http.NewRequestWithContext(limited(t), http.MethodPost, s.URL+generatePath, strings.NewReader(promptBody))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("Content-Type", "application/json")
			res, err := caller.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != test.want || res.TLS.DidResume != test.resumed {
				t.Errorf("got %d, resumed: %t; want %d, resumed: %t%s", res.StatusCode, res.TLS.DidResume, test.want, test.resumed, s.Logs())
			}
		})
	}
	if refused := denials(t, s); refused != 2 {
		t.Errorf("%d requests were denied, want 2", refused)
	}
}

func clientCertificate(t *testing.T, s *sandbox.Sandbox, name string) tls.Certificate {
	t.Helper()
	cert, err := s.World.CA.Client(name, "spiffe://example.com/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// present lets a client show a certificate.
func present(t *testing.T, hc *http.Client, cert tls.Certificate) {
	t.Helper()
	transport, ok := hc.Transport.(*http.Transport)
	if !ok {
		t.Fatalf("a transport of type %T", hc.Transport)
	}
	transport.TLSClientConfig.Certificates = []tls.Certificate{cert}
}
