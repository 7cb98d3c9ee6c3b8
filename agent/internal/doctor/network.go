package doctor

import (
	"cmp"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// symptom is a piece of text by which an error of the network is known, and what it means. The errors have come through packages that
// keep their text alone.
type symptom struct {
	text   string
	reason Reason
	advice string
}

// symptoms are tried in this order: a name that a resolver cannot be asked about is no refused connection, and neither is a proxy.
var symptoms = []symptom{ // a table, never written
	{"proxyconnect", ProxyUnreachable,
		"The proxy that HTTPS_PROXY names cannot be reached. Check its address and port, or name hosts that need no proxy in NO_PROXY."},
	{"no such host", NameUnknown, adviceName},
	{"lookup ", NameUnknown, adviceName},
	{"certificate signed by unknown authority", AuthorityUnknown,
		"Nobody whom this machine trusts has signed the server's certificate. Where a proxy opens TLS, or a private endpoint has an authority " +
			"of its own, name the authority's PEM file in google.ca or SSL_CERT_FILE, for an issuer also in its key ca."},
	{"certificate has expired or is not yet valid", CertificateWrong,
		"The server's certificate is not valid now. Check this machine's clock first, then the server."},
	{"x509: ", CertificateWrong,
		"The certificate is not one of this host: something else answers at its address. Check name resolution, proxy and endpoint settings."},
	{"tls: ", TLSFailed, adviceTLS},
	{"HTTP response to HTTPS client", TLSFailed, adviceTLS},
	{"connection refused", ConnectionRefused,
		"Nothing listens at this address and port, or a firewall refuses. Check the address, and that this machine may connect to port 443 " +
			"of it, or set HTTPS_PROXY."},
	{"no route to host", HostUnreachable, adviceRoute},
	{"network is unreachable", HostUnreachable, adviceRoute},
	{"timeout", NoAnswer, adviceSilence},
	{"deadline exceeded", NoAnswer, adviceSilence},
	{"did not answer within", NoAnswer, adviceSilence},
	{"no answer within", NoAnswer, adviceSilence},
	{"no answer in time", NoAnswer, adviceSilence},
	{"did not come in time", NoAnswer, adviceSilence},
	{"connection reset", ConnectionLost, adviceLost},
	{"broken pipe", ConnectionLost, adviceLost},
	{"stream error", ConnectionLost, adviceLost},
	{"server closed", ConnectionLost, adviceLost},
	{"EOF", ConnectionLost, adviceLost},
}

const (
	adviceName = "The name does not resolve on this machine. Check the name and the machine's DNS. In a network without public DNS set " +
		"HTTPS_PROXY, or google.credentials_endpoint and google.sts_endpoint to private endpoints."
	adviceTLS     = "What answers does not speak TLS as it should. Check that nothing between here and the server opens or replaces the connection."
	adviceRoute   = "No route leads there from this machine. Check its network, or set HTTPS_PROXY."
	adviceSilence = "Nothing came back in time. A firewall that drops packets looks like this: allow this machine to connect to port 443 of " +
		"the host, or set HTTPS_PROXY."
	adviceLost = "The connection broke before the answer was complete. If it happens again look at what stands between: proxy, firewall, NAT."

	adviceProxyRefused = "The proxy that HTTPS_PROXY names does not open a connection to this host. Have it allow CONNECT to port 443 of the " +
		"host, or name the host in NO_PROXY if there is a direct way."
	adviceBehindProxy = "The proxy that HTTPS_PROXY names tried and could not reach this host: the trouble lies behind it, in its name resolution " +
		"or in what it may connect to."
	adviceProxyLogin = "The proxy that HTTPS_PROXY names wants a user and a password. Write them into the variable: http://USER:PASSWORD@HOST:PORT."
)

// ofProxies are the statuses with which proxies refuse CONNECT. net/http tells nothing but their texts.
var ofProxies = map[string]string{ // a table, never written
	http.StatusText(http.StatusBadRequest):         adviceProxyRefused,
	http.StatusText(http.StatusForbidden):          adviceProxyRefused,
	http.StatusText(http.StatusNotFound):           adviceProxyRefused,
	http.StatusText(http.StatusMethodNotAllowed):   adviceProxyRefused,
	http.StatusText(http.StatusProxyAuthRequired):  adviceProxyLogin,
	http.StatusText(http.StatusBadGateway):         adviceBehindProxy,
	http.StatusText(http.StatusServiceUnavailable): adviceBehindProxy,
	http.StatusText(http.StatusGatewayTimeout):     adviceBehindProxy,
}

// wayTo tells from the text of an error what is wrong on the way to a server. It returns false if that does not look like the trouble.
func wayTo(text string) (Reason, string, bool) {
	last := strings.TrimSpace(text[strings.LastIndexByte(text, ':')+1:])
	if advice, ok := ofProxies[last]; ok {
		return ProxyRefused, advice, true
	}
	for _, s := range symptoms {
		if strings.Contains(text, s.text) {
			return s.reason, s.advice, true
		}
	}
	return "", "", false
}

// egressFacts describes the way to IAM Credentials.
func egressFacts(c Config) Egress {
	facts := Egress{Authorities: cmp.Or(c.CAFile, os.Getenv("SSL_CERT_FILE"), os.Getenv("SSL_CERT_DIR"))}
	transport, ok := c.Client.Transport.(*http.Transport)
	if !ok || transport.Proxy == nil {
		return facts
	}
	to, err := url.Parse(cmp.Or(c.Endpoint, "https://iamcredentials.googleapis.com"))
	if err != nil {
		return facts
	}
	if proxy, err := transport.Proxy(&http.Request{Method: http.MethodPost, URL: to}); err == nil && proxy != nil {
		facts.Proxy = proxy.Host
	}
	return facts
}
