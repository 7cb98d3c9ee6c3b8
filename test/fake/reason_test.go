package fake

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const mintChat = "https://" + IAMHost + "/v1/" + accountPrefix + chat + ":generateAccessToken"

// refuser is what every party is.
type refuser interface{ Refusals() []Refusal }

// refusalCase is one request that one party must refuse.
type refusalCase struct {
	name   string
	party  func(*World) refuser
	send   func(t *testing.T, w *World, c *http.Client) answer
	want   Reason
	status int
	code   string // google.rpc status or OAuth error in the body; not looked at when empty
}

func idp(w *World) refuser      { return w.IDP }
func metadata(w *World) refuser { return w.Metadata }
func iam(w *World) refuser      { return w.IAM }
func vertex(w *World) refuser   { return w.Vertex }
func egress(w *World) refuser   { return w.Egress }

// plain sends an ask as it is; edit may need the world.
func plain(a ask, edit ...func(t *testing.T, w *World, a *ask)) func(*testing.T, *World, *http.Client) answer {
	return func(t *testing.T, w *World, c *http.Client) answer {
		for _, f := range edit {
			f(t, w, &a)
		}
		return a.send(t, c)
	}
}

func asAgent(t *testing.T, w *World, a *ask) { a.token = agentToken(t, w) }
func asChat(t *testing.T, w *World, a *ask)  { a.token = chatToken(t, w) }

func as(g Grant) func(*testing.T, *World, *ask) {
	return func(t *testing.T, w *World, a *ask) { a.token = grant(t, w, g) }
}

// direct sends to the metadata server, which has no name.
func direct(a ask) func(*testing.T, *World, *http.Client) answer {
	return func(t *testing.T, w *World, _ *http.Client) answer {
		a.url = "http://" + w.Metadata.Addr() + a.url
		var transport http.Transport
		defer transport.CloseIdleConnections()
		return a.send(t, &http.Client{Transport: &transport})
	}
}

var flavor = [2]string{"Metadata-Flavor", "Google"}

func idpCases() []refusalCase {
	form := [2]string{"Content-Type", "application/x-www-form-urlencoded"}
	token := func(body string) func(*testing.T, *World, *http.Client) answer {
		return plain(ask{url: DefaultIssuer + "/token", body: body, header: [][2]string{form}})
	}
	return []refusalCase{
		{"provider: another path", idp, plain(ask{method: "GET", url: DefaultIssuer + "/jwks"}), NotFound, 404, "not_found"},
		{"provider: another host", idp, func(t *testing.T, _ *World, c *http.Client) answer {
			req := ask{method: "GET", url: DefaultIssuer + "/keys"}.request(t)
			req.Host = "login.example.org"
			return do(t, c, req)
		}, HostUnknown, 404, "not_found"},
		{"provider: posting to the key set", idp, plain(ask{url: DefaultIssuer + "/keys"}), MethodRefused, 405, "invalid_request"},
		{"provider: a form that is none", idp, token("grant_type=%zz"), BodyInvalid, 400, "invalid_request"},
		{"provider: no client", idp, token("grant_type=client_credentials"), ClientUnknown, 401, "invalid_client"},
		{"provider: a wrong secret", idp, token("grant_type=client_credentials&client_id=ci&client_secret=x"), ClientUnknown, 401,
			"invalid_client"},
		{"provider: another grant", idp, token("grant_type=password&client_id=ci&client_secret=s3cret"), GrantUnsupported, 400,
			"unsupported_grant_type"},
	}
}

func metadataCases() []refusalCase {
	const v1 = "/computeMetadata/v1/"
	get := func(path string, header ...[2]string) func(*testing.T, *World, *http.Client) answer {
		return direct(ask{method: "GET", url: path, header: header})
	}
	return []refusalCase{
		{"metadata: no flavor", metadata, get(v1 + "project/project-id"), FlavorMissing, 403, ""},
		{"metadata: another flavor", metadata, get(v1+"project/project-id", [2]string{"Metadata-Flavor", "google"}), FlavorMissing, 403, ""},
		{"metadata: forwarded", metadata, get(v1+"project/project-id", flavor, [2]string{"X-Forwarded-For", "10.0.0.1"}),
			ForwardedRefused, 403, ""},
		{"metadata: posted", metadata, direct(ask{url: v1 + "project/project-id", header: [][2]string{flavor}}), MethodRefused, 405, ""},
		{"metadata: unknown key", metadata, get(v1+"instance/attributes/ssh-keys", flavor), NotFound, 404, ""},
		{"metadata: unknown version", metadata, get("/computeMetadata/v2/project/project-id", flavor), NotFound, 404, ""},
		{"metadata: unknown account", metadata, get(v1+"instance/service-accounts/other@x.example/token", flavor), NotFound, 404, ""},
		{"metadata: unknown key of the account", metadata, get(v1+"instance/service-accounts/default/identity", flavor), NotFound, 404, ""},
		{"metadata: unknown scope", metadata, get(v1+"instance/service-accounts/default/token?scopes=cloud-platform", flavor),
			ScopeUnknown, 400, ""},
		{"metadata: full ledger", metadata, func(t *testing.T, w *World, c *http.Client) answer {
			fill(w.Ledger, time.Now().Add(time.Hour))
			defer fill(w.Ledger, time.Now())
			return get(v1+"instance/service-accounts/default/token", flavor)(t, w, c)
		}, LedgerFull, 503, ""},
	}
}

// fill makes a ledger full of tokens that expire at a given time.
func fill(l *Ledger, expiry time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range maxGrants {
		l.grants[fmt.Sprint(i)] = Grant{Expiry: expiry}
	}
}

func iamCases() []refusalCase {
	const good = `{"scope":["` + ScopeCloudPlatform + `"]}`
	mint := func(body string, edit ...func(*testing.T, *World, *ask)) func(*testing.T, *World, *http.Client) answer {
		return plain(ask{url: mintChat, body: body}, append(edit, asAgent)...)
	}
	named := func(name, body string) func(*testing.T, *World, *http.Client) answer {
		return plain(ask{url: "https://" + IAMHost + "/v1/" + name + ":generateAccessToken", body: body}, asAgent)
	}
	life := func(d string) string { return `{"scope":["` + ScopeCloudPlatform + `"],"lifetime":"` + d + `"}` }
	chain := func(emails ...string) string {
		return `{"scope":["` + ScopeCloudPlatform + `"],"delegates":["` + accountPrefix + strings.Join(emails, `","`+accountPrefix) + `"]}`
	}
	return []refusalCase{
		{"IAM: another method", iam, plain(ask{url: "https://" + IAMHost + "/v1/" + accountPrefix + chat + ":signJwt", body: good}, asAgent),
			NotFound, 404, "NOT_FOUND"},
		{"IAM: got, not posted", iam, plain(ask{method: "GET", url: mintChat}, asAgent), NotFound, 404, "NOT_FOUND"},
		{"IAM: no token", iam, plain(ask{url: mintChat, body: good}), CredentialsMissing, 401, "UNAUTHENTICATED"},
		{"IAM: basic authentication", iam, plain(ask{url: mintChat, body: good, header: [][2]string{{"Authorization", "Basic eDp5"}}}),
			CredentialsMissing, 401, "UNAUTHENTICATED"},
		{"IAM: two tokens", iam, mint(good, func(_ *testing.T, _ *World, a *ask) { a.header = [][2]string{{"Authorization", "Bearer x"}} }),
			CredentialsRepeated, 401, "UNAUTHENTICATED"},
		{"IAM: a token that nobody issued", iam, plain(ask{url: mintChat, body: good, token: "ya29.c.x"}), TokenTypeUnsupported, 401,
			"UNAUTHENTICATED"},
		{"IAM: an account for itself", iam, plain(ask{url: mintChat, body: good}, asChat), PermissionDenied, 403, "PERMISSION_DENIED"},
		{"IAM: an expired token", iam, plain(ask{url: mintChat, body: good},
			as(Grant{Source: FromMetadata, Account: DefaultAgent, Expiry: time.Now()})), TokenExpired, 401, "UNAUTHENTICATED"},
		{"IAM: a token with too little scope", iam, plain(ask{url: mintChat, body: good},
			as(Grant{Source: FromMetadata, Account: DefaultAgent, Scopes: []string{"openid"}})), ScopeInsufficient, 403, "PERMISSION_DENIED"},
		{"IAM: a name with a project", iam, named("projects/acme-ai/serviceAccounts/"+chat, good), NameInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: a name without an email", iam, named(accountPrefix+"chat", good), NameInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: no body", iam, mint(""), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: a body that is no JSON", iam, mint("scope=x"), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: two bodies", iam, mint(good + good), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: an unknown member", iam, mint(`{"scopes":["` + ScopeCloudPlatform + `"]}`), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: a body for another name", iam, mint(`{"name":"` + accountPrefix + batch + `","scope":["` + ScopeCloudPlatform + `"]}`),
			BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: a body of another type", iam, mint(good, func(_ *testing.T, _ *World, a *ask) {
			a.header = [][2]string{{"Content-Type", "text/plain"}}
		}), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: a huge body", iam, mint(`{"scope":["` + strings.Repeat("x", 70<<10) + `"]}`), BodyTooLarge, 413, "INVALID_ARGUMENT"},
		{"IAM: no scope", iam, mint(`{}`), ScopeMissing, 400, "INVALID_ARGUMENT"},
		{"IAM: an empty scope list", iam, mint(`{"scope":[]}`), ScopeMissing, 400, "INVALID_ARGUMENT"},
		{"IAM: a short scope name", iam, mint(`{"scope":["cloud-platform"]}`), ScopeUnknown, 400, "INVALID_ARGUMENT"},
		{"IAM: a lifetime without unit", iam, mint(life("3600")), LifetimeInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: a lifetime of nothing", iam, mint(life("0s")), LifetimeInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: a lifetime below zero", iam, mint(life("-5s")), LifetimeInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: a lifetime in Go's notation", iam, mint(life("1h")), LifetimeInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: more than 12 hours for a long-lived account", iam, mint(life("43201s")), LifetimeInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: more than 1 hour for another account", iam, named(accountPrefix+middle, life("3601s")), LifetimeInvalid, 400,
			"INVALID_ARGUMENT"},
		{"IAM: an unknown account", iam, named(accountPrefix+"nobody@acme-ai.iam.gserviceaccount.com", good), AccountUnknown, 404,
			"NOT_FOUND"},
		{"IAM: an account of somebody else's", iam, named(accountPrefix+batch, good), PermissionDenied, 403, "PERMISSION_DENIED"},
		{"IAM: a delegate that does not lead there", iam, named(accountPrefix+batch, chain(chat)), PermissionDenied, 403, "PERMISSION_DENIED"},
		{"IAM: a delegate too many", iam, named(accountPrefix+chat, chain(middle)), PermissionDenied, 403, "PERMISSION_DENIED"},
		{"IAM: delegates in the wrong order", iam, named(accountPrefix+batch, chain(chat, middle)), PermissionDenied, 403,
			"PERMISSION_DENIED"},
		{"IAM: a delegate that does not exist", iam, named(accountPrefix+batch, chain("nobody@acme-ai.iam.gserviceaccount.com")),
			PermissionDenied, 403, "PERMISSION_DENIED"},
		{"IAM: a delegate by bare email", iam, mint(`{"scope":["` + ScopeCloudPlatform + `"],"delegates":["` + middle + `"]}`),
			DelegatesInvalid, 400, "INVALID_ARGUMENT"},
		{"IAM: full ledger", iam, func(t *testing.T, w *World, c *http.Client) answer {
			token := agentToken(t, w)
			fill(w.Ledger, time.Now().Add(time.Hour))
			defer fill(w.Ledger, time.Now())
			return ask{url: mintChat, token: token, body: good}.send(t, c)
		}, LedgerFull, 503, "UNAVAILABLE"},
	}
}

func vertexCases() []refusalCase {
	call := func(target, body string, edit ...func(*testing.T, *World, *ask)) func(*testing.T, *World, *http.Client) answer {
		return plain(ask{url: central + target, body: body}, append([]func(*testing.T, *World, *ask){asChat}, edit...)...)
	}
	header := func(name, value string) func(*testing.T, *World, *ask) {
		return func(_ *testing.T, _ *World, a *ask) { a.header = append(a.header, [2]string{name, value}) }
	}
	method := func(m string) func(*testing.T, *World, *ask) {
		return func(_ *testing.T, _ *World, a *ask) { a.method = m }
	}
	sent := func(sni, head string) func(*testing.T, *World, *http.Client) answer {
		return func(t *testing.T, w *World, _ *http.Client) answer {
			return raw(t, w, sni, fmt.Sprintf("%s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				head, chatToken(t, w), len(prompt), prompt))
		}
	}
	host := strings.TrimPrefix(central, "https://")
	generate := flash + ":generateContent"
	return []refusalCase{
		{"Vertex: no token", vertex, plain(ask{url: central + generate, body: prompt}), CredentialsMissing, 401, "UNAUTHENTICATED"},
		{"Vertex: two tokens", vertex, call(generate, prompt, header("Authorization", "Bearer x")), CredentialsRepeated, 401,
			"UNAUTHENTICATED"},
		{"Vertex: the caller's own JWT", vertex, plain(ask{url: central + generate, body: prompt}, func(t *testing.T, w *World, a *ask) {
			token, err := w.IDP.Token("alice")
			if err != nil {
				t.Fatal(err)
			}
			a.token = token
		}), TokenTypeUnsupported, 401, "UNAUTHENTICATED"},
		{"Vertex: the agent's own token", vertex, plain(ask{url: central + generate, body: prompt}, asAgent), TokenTypeUnsupported, 401,
			"UNAUTHENTICATED"},
		{"Vertex: an expired token", vertex, plain(ask{url: central + generate, body: prompt},
			as(Grant{Source: FromIAM, Account: chat, Expiry: time.Now()})), TokenExpired, 401, "UNAUTHENTICATED"},
		{"Vertex: a token with too little scope", vertex, plain(ask{url: central + generate, body: prompt},
			as(Grant{Source: FromIAM, Account: chat, Scopes: []string{ScopeReadOnly}, Projects: []string{"acme-ai"}})),
			ScopeInsufficient, 403, "PERMISSION_DENIED"},
		{"Vertex: countTokens with the aiplatform scope alone", vertex, plain(ask{url: central + flash + ":countTokens", body: prompt},
			as(Grant{Source: FromIAM, Account: chat, Scopes: []string{ScopeAIPlatform}, Projects: []string{"acme-ai"}})),
			ScopeInsufficient, 403, "PERMISSION_DENIED"},
		{"Vertex: an account without the project", vertex, plain(ask{url: central + generate, body: prompt},
			as(Grant{Source: FromIAM, Account: middle})), PermissionDenied, 403, "PERMISSION_DENIED"},
		{"Vertex: another project", vertex, call(strings.Replace(generate, "acme-ai", "other", 1), prompt), PermissionDenied, 403,
			"PERMISSION_DENIED"},
		{"Vertex: another project to bill", vertex, call(generate, prompt, header("X-Goog-User-Project", "other")), UserProjectDenied, 403,
			"PERMISSION_DENIED"},
		{"Vertex: an unknown host", vertex, sent(host, "POST "+generate+" HTTP/1.1\r\nHost: example.com"), HostUnknown, 404, "NOT_FOUND"},
		{"Vertex: a region that does not exist", vertex, sent(host, "POST "+generate+" HTTP/1.1\r\nHost: us-centrall1-aiplatform.googleapis.com"),
			HostUnknown, 404, "NOT_FOUND"},
		{"Vertex: a handshake for another host", vertex, sent(hostGlobal, "POST "+generate+" HTTP/1.1\r\nHost: "+host), HostMismatch, 404,
			"NOT_FOUND"},
		{"Vertex: a handshake without name", vertex, sent("", "POST "+generate+" HTTP/1.1\r\nHost: "+host), HostMismatch, 404, "NOT_FOUND"},
		{"Vertex: another location", vertex, call(strings.Replace(generate, "us-central1", "europe-west4", 1), prompt), LocationMismatch, 404,
			"NOT_FOUND"},
		{"Vertex: the global location at a region", vertex, call(strings.Replace(generate, "us-central1", "global", 1), prompt),
			LocationMismatch, 404, "NOT_FOUND"},
		{"Vertex: a target with an authority", vertex, sent(host, "POST "+central+generate+" HTTP/1.1\r\nHost: "+host), PathInvalid, 400,
			"INVALID_ARGUMENT"},
		{"Vertex: an escape in the path", vertex, call(strings.Replace(generate, "flash", "fl%61sh", 1), prompt), PathInvalid, 400,
			"INVALID_ARGUMENT"},
		{"Vertex: dots in the path", vertex, sent(host,
			"POST "+strings.Replace(generate, "/publishers", "/../x/publishers", 1)+" HTTP/1.1\r\nHost: "+host), PathInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: an empty segment", vertex, sent(host, "POST /"+generate+" HTTP/1.1\r\nHost: "+host), PathInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: two verbs", vertex, call(flash+":predict:generateContent", prompt), PathInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: two versions of a model", vertex, call(flash+"@1@2:generateContent", prompt), PathInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: a very long path", vertex, call(flash+strings.Repeat("x", 2048)+":generateContent", prompt), PathInvalid, 400,
			"INVALID_ARGUMENT"},
		{"Vertex: a verb in capitals", vertex, call(flash+":GenerateContent", prompt), NotFound, 404, "NOT_FOUND"},
		{"Vertex: no verb", vertex, call(flash, prompt), NotFound, 404, "NOT_FOUND"},
		{"Vertex: got, not posted", vertex, call(generate, "", method("GET")), NotFound, 404, "NOT_FOUND"},
		{"Vertex: another version", vertex, call(strings.Replace(generate, "v1", "v2", 1), prompt), NotFound, 404, "NOT_FOUND"},
		{"Vertex: another collection", vertex, call("/v1/projects/acme-ai/locations/us-central1/cachedContents", prompt), NotFound, 404,
			"NOT_FOUND"},
		{"Vertex: a call without project", vertex, call("/v1/publishers/google/models/gemini-2.5-flash:generateContent", prompt), NotFound, 404,
			"NOT_FOUND"},
		{"Vertex: responses at openapi", vertex, call("/v1/projects/acme-ai/locations/us-central1/endpoints/openapi/responses", prompt), NotFound,
			404, "NOT_FOUND"},
		{"Vertex: an API key", vertex, call(generate+"?key=x", prompt), QueryInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: an empty query", vertex, sent(host, "POST "+generate+"? HTTP/1.1\r\nHost: "+host), QueryInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: events from a call that has none", vertex, call(generate+"?alt=sse", prompt), QueryInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: events twice", vertex, call(flash+":streamGenerateContent?alt=sse&alt=sse", prompt), QueryInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: another alt", vertex, call(flash+":streamGenerateContent?alt=proto", prompt), QueryInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: a body that is no JSON", vertex, call(generate, "{"), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: a body that is no object", vertex, call(generate, "null"), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: two bodies", vertex, call(generate, prompt+prompt), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: a body that is no UTF-8", vertex, call(generate, "{\"contents\":[\"\xff\"]}"), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: no contents", vertex, call(generate, `{"contents":[]}`), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: a body of another type", vertex, call(generate, prompt, header("Content-Type", "text/plain")), BodyInvalid, 400,
			"INVALID_ARGUMENT"},
		{"Vertex: a compressed body", vertex, call(generate, prompt, header("Content-Encoding", "gzip")), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: a listing with a body", vertex, call("/v1beta1/publishers/google/models", "{}", method("GET")), BodyInvalid, 400,
			"INVALID_ARGUMENT"},
		{"Vertex: messages without a limit", vertex, call(claude+":rawPredict", strings.Replace(messages, `"max_tokens":16,`, "", 1)),
			BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: messages of another version", vertex, call(claude+":rawPredict", strings.Replace(messages, "vertex-", "", 1)), BodyInvalid,
			400, "INVALID_ARGUMENT"},
		{"Vertex: messages with a temperature, of the version without", vertex, call(claude+":rawPredict",
			strings.Replace(messages, `"vertex-2023-10-16"`, `"2026-10-21","temperature":1`, 1)), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: a chat without model", vertex, call("/v1/projects/acme-ai/locations/us-central1/endpoints/openapi/chat/completions",
			`{"messages":[{}]}`), BodyInvalid, 400, "INVALID_ARGUMENT"},
		{"Vertex: a huge body", vertex, call(generate, strings.Repeat(" ", maxBody+1)), BodyTooLarge, 413, "INVALID_ARGUMENT"},
		{"Vertex: a fault", vertex, func(t *testing.T, w *World, c *http.Client) answer {
			w.Vertex.Fail(Fault{Status: 429, Times: 1})
			return call(generate, prompt)(t, w, c)
		}, Injected, 429, "RESOURCE_EXHAUSTED"},
	}
}

func egressCases() []refusalCase {
	connect := func(target string) func(*testing.T, *World, *http.Client) answer {
		return func(t *testing.T, w *World, _ *http.Client) answer {
			return toEgress(t, w, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n\r\n")
		}
	}
	return []refusalCase{
		{"proxy: a name outside the sandbox", egress, connect("example.com:443"), RouteUnknown, 403, ""},
		{"proxy: a known name at another port", egress, connect(IAMHost + ":80"), RouteUnknown, 403, ""},
		{"proxy: the party's own address", egress, connect("127.0.0.1:443"), RouteUnknown, 403, ""},
		{"proxy: a plain request", egress, func(t *testing.T, w *World, _ *http.Client) answer {
			return toEgress(t, w, "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n")
		}, MethodRefused, 405, ""},
		{"proxy: a name that is cut off", egress, func(t *testing.T, w *World, c *http.Client) answer {
			w.Egress.Cut(IAMHost + ":443")
			defer w.Egress.Mend(IAMHost + ":443")
			return connect(IAMHost+":443")(t, w, c)
		}, RouteCut, 502, ""},
	}
}

func TestEveryRefusalIsMadeInTheShapeOfItsParty(t *testing.T) {
	w := startWorld(t)
	c := client(t, w)
	var seen []Reason
	for _, test := range slices.Concat(idpCases(), metadataCases(), iamCases(), stsCases(), awsCases(), oauthCases(), vertexCases(), egressCases()) {
		seen = append(seen, test.want)
		t.Run(test.name, func(t *testing.T) {
			before := len(test.party(w).Refusals())
			got := test.send(t, w, c)
			if got.Status != test.status {
				t.Errorf("got status %d, want %d: %s", got.Status, test.status, got.Body)
			}
			refusals := test.party(w).Refusals()[before:]
			if len(refusals) != 1 || refusals[0].Reason != test.want || refusals[0].Status != test.status {
				t.Errorf("got refusals %+v, want one of %s", refusals, test.want)
			}
			checkCode(t, got, test)
			if strings.Contains(got.Body, "ya29.") || strings.Contains(got.Body, "eyJ") {
				t.Error("the refusal repeats a token")
			}
		})
	}
	slices.Sort(seen)
	if diff := cmp.Diff(Reasons(), slices.Compact(seen)); diff != "" {
		t.Errorf("reasons without a test or unknown (-all +tested):\n%s", diff)
	}
}

func checkCode(t *testing.T, got answer, test refusalCase) {
	t.Helper()
	if test.code == "" {
		return
	}
	body := decode(t, got.Body)
	code := body["error"]
	if status, ok := code.(map[string]any); ok {
		code = status["status"]
		if status["code"] != float64(test.status) || status["message"] == "" {
			t.Errorf("got error %v, want code %d and a message", status, test.status)
		}
		if challenge := got.Header.Get("WWW-Authenticate"); (test.status == 401) != strings.HasPrefix(challenge, "Bearer ") {
			t.Errorf("got status %d with challenge %q", test.status, challenge)
		}
	}
	if code != test.code {
		t.Errorf("got code %v, want %q", code, test.code)
	}
	if kind := got.Header.Get("Content-Type"); kind != "application/json; charset=UTF-8" {
		t.Errorf("got content type %q", kind)
	}
}

func TestReasonsHaveNoDoubles(t *testing.T) {
	all := Reasons()
	if got := slices.Compact(slices.Clone(all)); len(got) != len(all) {
		t.Errorf("got %d reasons, of which %d differ", len(all), len(got))
	}
}
