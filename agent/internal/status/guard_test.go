package status

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestGuard(t *testing.T) {
	tcp := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9902}
	for _, tt := range []struct {
		name   string
		method string
		host   string
		local  net.Addr
		tls    bool
		header map[string]string
		want   int
	}{
		{"a program asks by address", "GET", "127.0.0.1:9902", tcp, false, nil, 200},
		{"a program reloads by address", "POST", "127.0.0.1:9902", tcp, false, nil, 200},
		{"by IPv6 address", "GET", "[::1]:9902", tcp, false, nil, 200},
		{"by IPv6 address without a port", "GET", "[::1]", tcp, false, nil, 200},
		{"by address in the cluster", "GET", "10.2.3.4:9902", tcp, false, nil, 200},
		{"as localhost", "GET", "localhost:9902", tcp, false, nil, 200},
		{"as LOCALHOST with a dot at its end", "GET", "LOCALHOST.:9902", tcp, false, nil, 200},
		{"by a name below localhost", "GET", "agent.localhost", tcp, false, nil, 200},
		{"by a name of its own", "GET", "gateway-1:9902", tcp, false, nil, 200},
		{"by an old client without a host", "GET", "", tcp, false, nil, 200},

		{"a name that was made to resolve to it", "GET", "evil.example:9902", tcp, false, nil, 421},
		{"a reload by such a name", "POST", "evil.example:9902", tcp, false, map[string]string{"Sec-Fetch-Site": "same-origin"}, 421},
		{"a name that begins like localhost", "GET", "localhost.evil.example", tcp, false, nil, 421},
		{"a name that ends like localhost", "GET", "evillocalhost", tcp, false, nil, 421},
		{"a name that begins like an address", "GET", "127.0.0.1.evil.example", tcp, false, nil, 421},
		{"any name over TLS, whose certificate has it", "GET", "gw.example.com", tcp, true, nil, 200},
		{"any name over a unix socket", "GET", "whatever", &net.UnixAddr{Name: "/run/a", Net: "unix"}, false, nil, 200},

		{"the reader opens the page", "GET", "127.0.0.1:9902", tcp, false, map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		{"the reader follows a link of another site", "GET", "127.0.0.1:9902", tcp, false, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		{"the page's own form", "GET", "127.0.0.1:9902", tcp, false, map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		{"an image of another site", "GET", "127.0.0.1:9902", tcp, false, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403},
		{"a frame of another site", "GET", "127.0.0.1:9902", tcp, false, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		{"a script of another port", "GET", "127.0.0.1:9902", tcp, false, map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403},
		{"a form of another site that reloads", "POST", "127.0.0.1:9902", tcp, false, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403},
		{"a form of another port that reloads", "POST", "127.0.0.1:9902", tcp, false, map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403},
		{"a form of another site in an old browser", "POST", "127.0.0.1:9902", tcp, false, map[string]string{"Origin": "http://evil.example"}, 403},
		{"a form of nowhere in an old browser", "POST", "127.0.0.1:9902", tcp, false, map[string]string{"Origin": "null"}, 403},
		{"the same over a unix socket", "POST", "localhost", &net.UnixAddr{}, false, map[string]string{"Origin": "http://evil.example"}, 403},
		{"the page itself", "POST", "127.0.0.1:9902", tcp, false, map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:9902"}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reached := false
			h := Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }), "Gateway-1")
			r := httptest.NewRequest(tt.method, "/", nil)
			r.Host = tt.host
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, tt.local))
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			if rec.Code != tt.want || reached != (tt.want == 200) {
				t.Errorf("status %d, reached %t, want %d", rec.Code, reached, tt.want)
			}
		})
	}
}
