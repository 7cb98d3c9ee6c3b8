package fake

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// AWSOptions describe a virtual machine at Amazon.
type AWSOptions struct {
	Addr    string // HOST:PORT to listen on; a free port of 127.0.0.1 when empty
	Account string // twelve digits; "210987654321" when empty
	Role    string // of the machine; "vertex-spoa" when empty
	Region  string // "eu-west-1" when empty
}

// AWS is as much of Amazon as workload identity federation needs: the machine's metadata service, which hands out a role's temporary
// credentials to holders of a session token alone (IMDSv2), and the knowledge of its STS, of whom a signed GetCallerIdentity request is.
// Where Google sends that request to Amazon, [STS] asks this party directly. It is safe for concurrent use.
type AWS struct {
	server
	options AWSOptions

	awsMu             sync.Mutex
	key, secret, pass string // of the role, in force
	sessions          []string
}

// maxSessions bounds the session tokens of a metadata service; the oldest go.
const maxSessions = 64

// NewAWS starts a metadata service, which speaks plain HTTP as the real one does.
func NewAWS(o AWSOptions) (*AWS, error) {
	o = o.withDefaults()
	a := &AWS{options: o}
	a.Rotate()
	if err := a.listen(o.Addr); err != nil {
		return nil, fmt.Errorf("new AWS: %w", err)
	}
	a.serve(nil, a.answer)
	return a, nil
}

func (o AWSOptions) withDefaults() AWSOptions {
	for _, d := range []struct {
		field *string
		value string
	}{{&o.Account, "210987654321"}, {&o.Role, "vertex-spoa"}, {&o.Region, "eu-west-1"}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	return o
}

// Account returns the account's twelve digits.
func (a *AWS) Account() string { return a.options.Account }

// RoleARN returns the name under which the machine's role calls.
func (a *AWS) RoleARN() string {
	return fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/i-0123456789abcdef0", a.options.Account, a.options.Role)
}

// CredentialSource returns the credential_source of an external_account file that leads here.
func (a *AWS) CredentialSource() map[string]any {
	base := "http://" + a.addr + "/latest/"
	return map[string]any{
		"environment_id":                 "aws1",
		"region_url":                     base + "meta-data/placement/availability-zone",
		"url":                            base + "meta-data/iam/security-credentials",
		"imdsv2_session_token_url":       base + "api/token",
		"regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
	}
}

// Rotate gives the role new credentials. The ones before are worth nothing any more.
func (a *AWS) Rotate() {
	a.awsMu.Lock()
	defer a.awsMu.Unlock()
	a.key, a.secret, a.pass = "ASIA"+strings.ToUpper(randomID()), randomID()+randomID(), randomID()+randomID()
}

func (a *AWS) answer(w http.ResponseWriter, r *http.Request) {
	if a.spoil(w, r, writePlain) {
		return
	}
	if r.URL.Path == "/latest/api/token" {
		a.session(w, r)
		return
	}
	if no := a.admit(r); no != nil {
		a.refuse(w, r, no)
		return
	}
	switch r.URL.Path {
	case "/latest/meta-data/placement/availability-zone":
		writeText(w, a.options.Region+"b")
	case "/latest/meta-data/iam/security-credentials", "/latest/meta-data/iam/security-credentials/":
		writeText(w, a.options.Role)
	case "/latest/meta-data/iam/security-credentials/" + a.options.Role:
		a.credentials(w)
	default:
		a.refuse(w, r, refuse(NotFound, http.StatusNotFound, "there is nothing here"))
	}
}

func (a *AWS) refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	a.note(r, no.reason, no.status)
	writePlain(w, no)
}

// session answers with a session token of IMDSv2.
func (a *AWS) session(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut {
		a.refuse(w, r, refuse(MethodRefused, http.StatusMethodNotAllowed, "session tokens are asked for with PUT"))
		return
	}
	life := r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds")
	if n, err := time.ParseDuration(life + "s"); err != nil || n < time.Second || n > 6*time.Hour {
		a.refuse(w, r, refuse(LifetimeInvalid, http.StatusBadRequest, "no lifetime of a session token"))
		return
	}
	token := randomID() + randomID()
	a.awsMu.Lock()
	if a.sessions = append(a.sessions, token); len(a.sessions) > maxSessions {
		a.sessions = slices.Delete(a.sessions, 0, 1)
	}
	a.awsMu.Unlock()
	writeText(w, token)
}

func (a *AWS) admit(r *http.Request) *refusal {
	a.awsMu.Lock()
	known := slices.Contains(a.sessions, r.Header.Get("X-Aws-Ec2-Metadata-Token"))
	a.awsMu.Unlock()
	switch {
	case !known:
		return refuse(SessionMissing, http.StatusUnauthorized, "no session token")
	case r.Method != http.MethodGet:
		return refuse(MethodRefused, http.StatusMethodNotAllowed, "this service answers GET only")
	}
	return nil
}

func (a *AWS) credentials(w http.ResponseWriter) {
	a.awsMu.Lock()
	defer a.awsMu.Unlock()
	now := time.Now().UTC()
	writeJSON(w, http.StatusOK, map[string]string{
		"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": a.key, "SecretAccessKey": a.secret, "Token": a.pass,
		"LastUpdated": now.Format(time.RFC3339), "Expiration": now.Add(6 * time.Hour).Format(time.RFC3339),
	})
}

// signedRequest is the subject token of a provider of AWS: a request to GetCallerIdentity that was signed and not sent.
type signedRequest struct {
	URL     string `json:"url"`
	Method  string `json:"method"`
	Headers []struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	} `json:"headers"`
}

// subject returns whose signed request the form's subject token is.
func (a *AWS) subject(p Provider, f stsForm) (subject, *refusal) {
	req, header, err := readSigned(f.token)
	if err != nil {
		return subject{}, oauthRefuse(SubjectInvalid, "invalid_request", "the subject token is not a signed request: "+err.Error())
	}
	// Google binds the request to one provider by this header, which must be signed.
	if target := header["x-goog-cloud-target-resource"]; target != f.audience {
		return subject{}, oauthRefuse(SubjectAudience, "invalid_grant", "the signed request is for another provider")
	}
	if err := a.authenticate(req, header); err != nil {
		return subject{}, oauthRefuse(RequestForged, "invalid_grant", "AWS does not know the signed request: "+err.Error())
	}
	if a.options.Account != p.AWSAccount {
		return subject{}, oauthRefuse(SubjectIssuer, "invalid_grant", "the signed request is of another account than the provider's")
	}
	role, _, _ := strings.Cut(a.RoleARN(), "/i-") // Google's default mapping of attribute.aws_role leaves the session out
	return subject{id: a.RoleARN(), role: role, expiry: time.Now().Add(time.Hour)}, nil
}

// awsHosts are the addresses of GetCallerIdentity.
var awsHosts = regexp.MustCompile(`^sts\.[a-z0-9-]+\.amazonaws\.com$`)

// readSigned reads a signed request and its headers by lower-case name, none of them twice.
func readSigned(token string) (*url.URL, map[string]string, error) {
	text, err := url.QueryUnescape(token)
	if err != nil {
		return nil, nil, errors.New("it is not escaped")
	}
	var signed signedRequest
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&signed); err != nil {
		return nil, nil, errors.New("it is not the JSON of one")
	}
	u, err := url.Parse(signed.URL)
	if err != nil || u.Scheme != "https" || !awsHosts.MatchString(u.Host) || u.Query().Get("Action") != "GetCallerIdentity" || signed.Method != http.MethodPost {
		return nil, nil, errors.New("it does not post GetCallerIdentity to AWS")
	}
	header := make(map[string]string)
	for _, h := range signed.Headers {
		name := strings.ToLower(h.Key)
		if _, twice := header[name]; twice {
			return nil, nil, errors.New("a header is given twice")
		}
		header[name] = h.Value
	}
	return u, header, nil
}

// authorization is the header of an AWS Signature Version 4.
var authorization = regexp.MustCompile(
	`^AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)/([0-9]{8}/[a-z0-9-]+/sts/aws4_request), SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$`)

// authenticate verifies the request's signature (AWS Signature Version 4) by the role's credentials in force.
func (a *AWS) authenticate(u *url.URL, header map[string]string) error {
	a.awsMu.Lock()
	key, secret, pass := a.key, a.secret, a.pass
	a.awsMu.Unlock()
	found := authorization.FindStringSubmatch(header["authorization"])
	if found == nil {
		return errors.New("no signature of version 4")
	}
	scope, names, signature := found[2], strings.Split(found[3], ";"), found[4]
	at, err := time.Parse("20060102T150405Z", header["x-amz-date"])
	if err != nil || time.Since(at).Abs() > 15*time.Minute || !strings.HasPrefix(scope, at.Format("20060102/")) {
		return errors.New("the date is missing, or not of today")
	}
	for _, name := range []string{"host", "x-amz-date", "x-amz-security-token", "x-goog-cloud-target-resource"} {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%q is not signed", name)
		}
	}
	if found[1] != key || header["x-amz-security-token"] != pass || header["host"] != u.Host {
		return errors.New("the credentials are unknown")
	}
	if !hmac.Equal([]byte(signature), []byte(sign(u, header, names, scope, secret))) {
		return errors.New("the signature is wrong")
	}
	return nil
}

// sign computes the signature of a POST without a body.
func sign(u *url.URL, header map[string]string, names []string, scope, secret string) string {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	var request strings.Builder
	fmt.Fprintf(&request, "POST\n%s\n%s\n", path, u.Query().Encode())
	for _, name := range names {
		fmt.Fprintf(&request, "%s:%s\n", name, header[name])
	}
	fmt.Fprintf(&request, "\n%s\n%s", strings.Join(names, ";"), digest(""))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", header["x-amz-date"], scope, digest(request.String())}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range append(strings.Split(scope, "/"), text) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
