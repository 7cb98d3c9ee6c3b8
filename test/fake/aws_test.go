package fake

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func amazon(w *World) refuser { return w.AWS }

// atAWS sends to Amazon's metadata service, which has no name.
func atAWS(a ask) func(*testing.T, *World, *http.Client) answer {
	return func(t *testing.T, w *World, _ *http.Client) answer {
		a.url = "http://" + w.AWS.Addr() + a.url
		return a.send(t, web(t))
	}
}

func awsCases() []refusalCase {
	const role = "/latest/meta-data/iam/security-credentials"
	life := func(v string) [2]string { return [2]string{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds", v} }
	session := func(method, path string) func(*testing.T, *World, *http.Client) answer {
		return func(t *testing.T, w *World, c *http.Client) answer {
			token := atAWS(ask{method: "PUT", url: "/latest/api/token", header: [][2]string{life("300")}})(t, w, c).Body
			return atAWS(ask{method: method, url: path, header: [][2]string{{"X-Aws-Ec2-Metadata-Token", token}}})(t, w, c)
		}
	}
	const request, grant = "invalid_request", "invalid_grant"
	return []refusalCase{
		{"AWS: a session token that is not put", amazon, atAWS(ask{url: "/latest/api/token", header: [][2]string{life("300")}}), MethodRefused, 405, ""},
		{"AWS: a session token for ever", amazon, atAWS(ask{method: "PUT", url: "/latest/api/token", header: [][2]string{life("21601")}}),
			LifetimeInvalid, 400, ""},
		{"AWS: no session token", amazon, atAWS(ask{method: "GET", url: role}), SessionMissing, 401, ""},
		{"AWS: a wrong session token", amazon, atAWS(ask{method: "GET", url: role, header: [][2]string{{"X-Aws-Ec2-Metadata-Token", "x"}}}),
			SessionMissing, 401, ""},
		{"AWS: another role", amazon, session("GET", role+"/admin"), NotFound, 404, ""},
		{"AWS: posted", amazon, session("POST", role), MethodRefused, 405, ""},
		{"STS: a signed request that is none", sts, signing(func(string) string { return "x" }), SubjectInvalid, 400, request},
		{"STS: a signed request to somebody else", sts, signing(replacing("sts.eu-west-1.amazonaws.com?", "sts.example.com?")), SubjectInvalid, 400, request},
		{"STS: a signed request for another action", sts, signing(replacing("GetCallerIdentity", "GetSessionToken")), SubjectInvalid, 400, request},
		{"STS: a signed request for another provider", sts, signing(replacing("providers/amazon", "providers/corp")), SubjectAudience, 400, grant},
		{"STS: a signed request with a wrong signature", sts, signing(replacing("Signature=", "Signature=0")), RequestForged, 400, grant},
		{"STS: a signed request of another region", sts, signing(replacing("sts.eu-west-1.amazonaws.com", "sts.eu-west-2.amazonaws.com")),
			RequestForged, 400, grant},
		{"STS: a signed request of yesterday", sts, signingAt(time.Now().Add(-24 * time.Hour)), RequestForged, 400, grant},
		{"STS: a signed request with credentials of before", sts, func(t *testing.T, w *World, c *http.Client) answer {
			return signing(func(text string) string { w.AWS.Rotate(); return text })(t, w, c)
		}, RequestForged, 400, grant},
		{"STS: a signed request of another account", sts, func(t *testing.T, w *World, c *http.Client) answer {
			if err := w.STS.SetProvider(DefaultAWSProvider, Provider{AWSAccount: "111111111111"}); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = w.STS.SetProvider(DefaultAWSProvider, Provider{AWSAccount: w.AWS.Account()}) }()
			return signing(nil)(t, w, c)
		}, SubjectIssuer, 400, grant},
	}
}

func replacing(old, text string) func(string) string {
	return func(s string) string { return strings.ReplaceAll(s, old, text) }
}

func signing(edit func(string) string) func(*testing.T, *World, *http.Client) answer {
	return signed(time.Now(), edit)
}

func signingAt(at time.Time) func(*testing.T, *World, *http.Client) answer { return signed(at, nil) }

// signed exchanges a request that is signed by the machine's role, edited after it was signed.
func signed(at time.Time, edit func(string) string) func(*testing.T, *World, *http.Client) answer {
	return func(t *testing.T, w *World, c *http.Client) answer {
		u := &url.URL{Scheme: "https", Host: "sts.eu-west-1.amazonaws.com", RawQuery: "Action=GetCallerIdentity&Version=2011-06-15"}
		stamp := at.UTC().Format("20060102T150405Z")
		header := map[string]string{"host": u.Host, "x-amz-date": stamp, "x-amz-security-token": w.AWS.pass,
			"x-goog-cloud-target-resource": DefaultAWSProvider}
		names := []string{"host", "x-amz-date", "x-amz-security-token", "x-goog-cloud-target-resource"}
		scope := stamp[:8] + "/eu-west-1/sts/aws4_request"
		header["Authorization"] = "AWS4-HMAC-SHA256 Credential=" + w.AWS.key + "/" + scope + ", SignedHeaders=" + strings.Join(names, ";") +
			", Signature=" + sign(u, header, names, scope, w.AWS.secret)
		var list []map[string]string
		for name, value := range header {
			list = append(list, map[string]string{"key": name, "value": value})
		}
		raw, err := json.Marshal(map[string]any{"url": u.String(), "method": "POST", "headers": list})
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		if edit != nil {
			text = edit(text)
		}
		form := exchangeForm(url.QueryEscape(text))
		form.Set("audience", DefaultAWSProvider)
		form.Set("subject_token_type", TypeAWSRequest)
		return ask{url: stsURL, body: form.Encode(), header: [][2]string{formType}}.send(t, c)
	}
}

func TestASignedRequestBecomesTheRole(t *testing.T) {
	w := startWorld(t)
	got := signing(nil)(t, w, client(t, w))
	token, _ := decode(t, got.Body)["access_token"].(string)
	grant, ok := w.Ledger.Grant(token)
	if !ok || grant.Account != "principal://iam.googleapis.com/"+DefaultPool+"/subject/"+w.AWS.RoleARN() {
		t.Errorf("got %d: %s: %+v", got.Status, got.Body, grant)
	}
	want := "principalSet://iam.googleapis.com/" + DefaultPool + "/attribute.aws_role/arn:aws:sts::210987654321:assumed-role/vertex-spoa"
	if len(grant.Sets) != 2 || grant.Sets[1] != want {
		t.Errorf("got sets %v, want %s among them", grant.Sets, want)
	}
}

// What is not taken has no parts.
func FuzzReadSigned(f *testing.F) {
	f.Add(url.QueryEscape(`{"url":"https://sts.eu-west-1.amazonaws.com?Action=GetCallerIdentity","method":"POST","headers":[{"key":"a","value":"b"}]}`))
	f.Fuzz(func(t *testing.T, token string) {
		u, header, err := readSigned(token)
		if err != nil && (u != nil || header != nil) {
			t.Error("a result beside an error")
		}
	})
}
