package trail

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// day is when the made logs begin.
var day = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// at returns a time so many seconds later.
func at(seconds int) time.Time { return day.Add(time.Duration(seconds) * time.Second) }

// text writes lines with the log itself, which waits as long as a machine that is busy may need.
func text(t testing.TB, lines ...audit.Line) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made")
	log, err := audit.OpenWith(audit.Options{Path: path, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	for _, l := range lines {
		log.Append(l, func(err error) { told <- err })
		log.Flush()
		if err := <-told; err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(kept)
}

// write writes a file into a folder of the test.
func write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if strings.HasSuffix(name, ".gz") {
		content = packed(t, content)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func packed(t testing.TB, content string) string {
	t.Helper()
	var b strings.Builder
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// allow is a call that was let through; change makes it another one.
func allow(id string, seconds int, change ...func(*audit.Record)) *audit.Record {
	r := &audit.Record{
		Time: at(seconds), ID: id, Attempt: 1, Decision: "allow", Status: 200, Issuer: "corp", Subject: "alice", Source: "192.0.2.7",
		HTTPMethod: "POST", URI: "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-pro:generateContent",
		Project: "acme-ai", Location: "europe-west1", Publisher: "google", Model: "gemini-2.5-pro", Method: "generateContent",
		Role: "search", Rule: "search-gemini", Account: "vx-search@acme-ai.iam.gserviceaccount.com",
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func subject(s string) func(*audit.Record) { return func(r *audit.Record) { r.Subject = s } }
func attempt(n int64) func(*audit.Record)  { return func(r *audit.Record) { r.Attempt = n } }

func denied(reason string) func(*audit.Record) {
	return func(r *audit.Record) { r.Decision, r.Status, r.Reason, r.Rule, r.Account = "deny", 403, reason, "", "" }
}

// end is the closing of a call.
func end(r *audit.Record, usage *audit.Usage) *audit.Closing {
	return &audit.Closing{
		Time: r.Time.Add(2 * time.Second), ID: r.ID, Attempt: r.Attempt, DecisionTime: r.Time, Issuer: r.Issuer, Subject: r.Subject, Role: r.Role,
		Rule: r.Rule, Account: r.Account, Project: r.Project, Location: r.Location, Publisher: r.Publisher, Model: r.Model, Endpoint: r.Endpoint,
		Method: r.Method, Status: 200, Termination: "--", BytesIn: 100, BytesOut: 900, ActiveMS: 1500, Usage: usage,
	}
}

func used(in, out int64) *audit.Usage {
	return &audit.Usage{Input: in, Output: out, Thoughts: unknown, Cached: unknown, Total: in + out}
}

// busyLines writes a log of n lines as a busy agent does: calls by 500 subjects with their closings, some denials, and now and then an
// answer that was not delivered.
func busyLines(w io.Writer, n int) error {
	r := rand.New(rand.NewPCG(7, 7))
	b := bufio.NewWriterSize(w, 1<<20)
	when := day
	for i := 0; i < n; i++ {
		when = when.Add(time.Duration(r.IntN(2000)) * time.Microsecond)
		const form = "2006-01-02T15:04:05.000000Z"
		who, what, id := r.IntN(500), r.IntN(12), fmt.Sprintf("%08x-7f3a-4e1b-9c2d-%012x", r.Uint32(), i)
		of := fmt.Sprintf(`"issuer":"corp","subject":"user-%03d@example.com"`, who)
		call := fmt.Sprintf(`"project":"acme-ai","location":"europe-west%d","publisher":"google","model":"gemini-2.5-flash-%02d","method":"streamGenerateContent"`, 1+what%4, what)
		by := fmt.Sprintf(`"role":"team-%02d","rule":"team-%02d-gemini","account":"vx-team-%02d@acme-ai.iam.gserviceaccount.com","policy":"5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"`, who%20, who%20, who%20)
		if r.IntN(20) == 0 {
			_, _ = fmt.Fprintf(b, `{"v":1,"event":"decision","time":"%s","id":"%s","attempt":1,"decision":"deny","status":403,"reason":"NO_RULE","detail":"no rule allows this call",%s,"src":"192.0.2.%d",%s,"role":"team-%02d","t_verify":41,"t_policy":3,"t_mint":0}`+"\n", when.Format(form), id, of, who%250, call, who%20)
			continue
		}
		_, _ = fmt.Fprintf(b, `{"v":1,"event":"decision","time":"%s","id":"%s","attempt":1,"decision":"allow","status":200,%s,"jti":"8f14e45f-ceea-467f-a9d0-%012x","src":"192.0.2.%d","http_method":"POST","uri":"/v1/projects/acme-ai/locations/europe-west%d/publishers/google/models/gemini-2.5-flash-%02d:streamGenerateContent?alt=sse",%s,"stream":true,%s,"token_fingerprint":"b94d27b9934d3e08","claims":{"groups":["search-eng","all-hands"],"level":3},"token_expiry":"%s","user_agent":"google-genai-sdk/1.20.0 gl-python/3.12.1","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","t_verify":38,"t_policy":2,"t_mint":0}`+"\n",
			when.Format(form), id, of, i, who%250, 1+what%4, what, call, by, when.Add(time.Hour).Format(form))
		switch r.IntN(200) {
		case 0:
			_, _ = fmt.Fprintf(b, `{"v":1,"event":"undelivered","time":"%s","id":"%s","attempt":1}`+"\n", when.Format(form), id)
			i++
		default:
			_, _ = fmt.Fprintf(b, `{"v":1,"event":"closing","time":"%s","id":"%s","attempt":1,"decided":"%s",%s,%s,%s,"token_fingerprint":"b94d27b9934d3e08","stream":true,"st":200,"term":"--","backend":"vertex","server":"vertex1","bytes_in":1834,"bytes_out":20211,"t_queue":0,"t_connect":12,"t_response":411,"t_active":%d,"usage":{"input":%d,"output":%d,"total":%d}}`+"\n",
				when.Format(form), id, when.Format(form), of, call, by, 400+r.IntN(4000), 100+what, 300+who, 400+what+who)
			i++
		}
	}
	return b.Flush()
}
