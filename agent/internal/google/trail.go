package google

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"vertex-spoa/agent/internal/secret"
)

// trail carries the calls that one token needs and remembers how the last one failed. The library's own errors repeat answers in full,
// with whatever secret stands in them.
type trail struct {
	carrier http.RoundTripper

	mu   sync.Mutex
	url  string // scheme and host of the last call
	host string
	lost bool   // nobody answered it
	said string // empty as long as no call has failed
}

func (t *trail) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := bounded{t.carrier}.RoundTrip(r)
	switch {
	case err != nil:
		t.note(r.URL, true, "no answer: "+clean(err.Error(), secretsOf(r)...))
	case answer.StatusCode >= 300:
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			body = nil
		}
		t.note(r.URL, false, fmt.Sprintf("answered %d%s", answer.StatusCode, readComplaint(body, secretsOf(r)...).text()))
		answer.Body = io.NopCloser(bytes.NewReader(body))
	default:
		t.note(r.URL, false, "")
	}
	return answer, err
}

func (t *trail) note(u *url.URL, lost bool, said string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.url, t.host, t.lost, t.said = u.Scheme+"://"+u.Host, u.Host, lost, said
}

// explain is the error of a fetch that failed with err: what the last call brought, or else what the library says.
func (t *trail) explain(path string, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost {
		return mendable{fmt.Errorf("%s: %s %s", path, t.host, t.said), reach(t.url)}
	}
	if t.said != "" {
		return fmt.Errorf("%s: %s %s", path, t.host, t.said)
	}
	return fmt.Errorf("%s: %s", path, harmless(err))
}

// secretsOf returns what a server must not be heard to repeat: the values of all header fields and of the form.
func secretsOf(r *http.Request) []secret.Text {
	var found []secret.Text
	add := func(s string) {
		if len(s) >= secretPart {
			found = append(found, secret.New(s))
		}
	}
	for _, values := range r.Header {
		for _, v := range values {
			add(v)
			_, credentials, _ := strings.Cut(v, " ")
			add(credentials)
		}
	}
	if r.GetBody == nil {
		return found
	}
	body, err := r.GetBody()
	if err != nil {
		return found
	}
	text, _ := io.ReadAll(io.LimitReader(body, maxAnswer))
	form, _ := url.ParseQuery(string(text))
	for name, values := range form {
		if strings.HasSuffix(name, "_token") || strings.HasSuffix(name, "_secret") || name == "assertion" {
			for _, v := range values {
				add(v)
			}
		}
	}
	return found
}

// linkAware sends what stays on the link of the machine past the proxy, which the metadata servers of platforms must not be asked through.
type linkAware struct{ direct, other http.RoundTripper }

func withoutProxyOnLink(carrier http.RoundTripper) http.RoundTripper {
	t, ok := carrier.(*http.Transport)
	if !ok {
		return carrier
	}
	direct := t.Clone()
	direct.Proxy = nil
	return linkAware{direct, carrier}
}

func (l linkAware) RoundTrip(r *http.Request) (*http.Response, error) {
	if onLink(r.URL.Hostname()) {
		return l.direct.RoundTrip(r)
	}
	return l.other.RoundTrip(r)
}
