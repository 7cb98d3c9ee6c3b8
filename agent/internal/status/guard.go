package status

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Guard returns a handler that keeps web pages of others away from next. A browser on the agent's host reaches the admin listener, and
// runs what any page tells it:
//
//   - what changes something (POST) is refused if it comes from another site, by Sec-Fetch-Site or Origin (net/http's
//     CrossOriginProtection);
//   - what another site asks for otherwise than by a link that the reader follows, such as an image, a frame or a script, is refused, so
//     that nobody can put work on the agent or measure its answers from afar;
//   - over plain TCP the Host has to be an address, localhost or one of names. A page whose own name was made to resolve to this host
//     (DNS rebinding) names itself there. TLS and unix sockets need no such check: the name is not in the certificate, and no page gets to
//     the socket.
//
// Programs that are no browsers send none of these fields and are not concerned.
func Guard(next http.Handler, names ...string) http.Handler {
	guarded := http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case rebound(r, names):
			refuse(w, http.StatusMisdirectedRequest, errors.New("ask by address, or as localhost"))
		case embedded(r):
			refuse(w, http.StatusForbidden, errors.New("asked by the page of another site"))
		default:
			guarded.ServeHTTP(w, r)
		}
	})
}

// rebound says whether the request may come from a page that made its name ours.
func rebound(r *http.Request, names []string) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if _, plain := local.(*net.TCPAddr); !plain || r.TLS != nil || r.Host == "" {
		return false
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return false
	}
	return host != "localhost" && !strings.HasSuffix(host, ".localhost") && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, host) })
}

// embedded says whether a page of another site asks, and not its reader (Fetch Metadata Request Headers, W3C).
func embedded(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "cross-site" && site != "same-site" {
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}
