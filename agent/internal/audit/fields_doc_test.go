package audit

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the documents of the fields anew")

// The documents that the table of fields makes.
const (
	fieldsFile = "../../../haproxy-example/audit-fields.md"
	schemaFile = "../../../haproxy-example/audit.schema.json"
)

// elsewhere is where a field goes in the schemas of others: ECS 9 (whose gen_ai fields are OpenTelemetry's) and OCSF 1.6, class API Activity
// (6003). A name with a colon is a constant. Where there is none, ECS takes it as a label and OCSF as unmapped.
var elsewhere = map[string]struct{ ecs, ocsf string }{
	"v":                 {"", "metadata.log_version"},
	"event":             {"event.action", "metadata.event_code"},
	"time":              {"@timestamp", "time (ms)"},
	"id":                {"event.id, http.request.id", "metadata.correlation_uid, metadata.uid with attempt"},
	"attempt":           {"event.sequence", "metadata.sequence"},
	"unjoined":          {"", ""},
	"decided":           {"event.start", "start_time (ms)"},
	"decision":          {"event.outcome (allow: success, deny: failure), event.type (allowed, denied)", "status_id (allow: 1, deny: 2), action_id (allow: 1, deny: 2)"},
	"status":            {"http.response.status_code", "http_response.code"},
	"reason":            {"event.reason", "status_code"},
	"detail":            {"message", "status_detail"},
	"issuer":            {"user.domain", "actor.user.domain, actor.idp.name"},
	"subject":           {"user.id", "actor.user.uid"},
	"jti":               {"", "actor.session.uid"},
	"src":               {"source.ip", "src_endpoint.ip"},
	"certificate":       {"tls.client.hash.sha256 (hex there)", ""},
	"role_asked":        {"", ""},
	"break_glass":       {"", ""},
	"tier":              {"", ""},
	"shared_tier":       {"", ""},
	"http_method":       {"http.request.method", "http_request.http_method"},
	"uri":               {"url.original", "http_request.url.path"},
	"uri_asked":         {"", ""},
	"project":           {"cloud.project.id", "cloud.project_uid"},
	"location":          {"cloud.region", "cloud.region"},
	"publisher":         {"", "resources[].owner.name"},
	"model":             {"gen_ai.request.model", "resources[].name"},
	"endpoint":          {"", "resources[].uid"},
	"method":            {"gen_ai.operation.name (see OpenTelemetry for its values)", "api.operation"},
	"stream":            {"", ""},
	"role":              {"user.roles", "actor.user.groups[].name"},
	"rule":              {"rule.name", "actor.authorizations[].policy.name"},
	"account":           {"user.effective.id", "actor.invoked_by, cloud.account.uid"},
	"exchange":          {"", "actor.session.issuer"},
	"policy":            {"rule.ruleset", "actor.authorizations[].policy.version"},
	"token_fingerprint": {"", "actor.session.credential_uid"},
	"claims":            {"", ""},
	"body":              {"", ""},
	"shadow":            {"", ""},
	"overridden":        {"", ""},
	"st":                {"http.response.status_code", "http_response.code"},
	"term":              {"", "status_detail"},
	"backend":           {"", ""},
	"server":            {"", "dst_endpoint.name"},
	"bytes_in":          {"http.request.bytes, source.bytes", "http_request.length"},
	"bytes_out":         {"http.response.bytes, destination.bytes", "http_response.length"},
	"t_queue":           {"", ""},
	"t_connect":         {"", ""},
	"t_response":        {"", "http_response.latency"},
	"t_active":          {"event.duration (ns)", "duration (ms)"},
	"usage":             {"gen_ai.usage.input_tokens, gen_ai.usage.output_tokens", ""},
	"flags":             {"tags", ""},
	"token_expiry":      {"", "actor.session.expiration_time (ms)"},
	"user_agent":        {"user_agent.original", "http_request.user_agent"},
	"traceparent":       {"trace.id, span.id", ""},
	"t_verify":          {"", ""},
	"t_policy":          {"", ""},
	"t_mint":            {"", ""},
	"chain":             {"", ""},
	"seq":               {"", ""},
	"after":             {"", ""},
	"prev":              {"", ""},
	"hash":              {"", ""},
}

// fieldsDocument is the table of fields for a reader.
func fieldsDocument() string {
	var b strings.Builder
	b.WriteString("# The fields of the audit log\n\n" +
		"One JSON object a line, its fields in this order. `D` is a decision, `C` a closing, `M` a closing that is missing, `U` an answer that was\n" +
		"not delivered; in bold where each such line has the field, otherwise where it is neither empty nor unknown. With an asterisk: it can be\n" +
		"masked. HAProxy's log line uses the same names. `audit.schema.json` says the same for programs.\n\n" +
		"The last two columns are for those who keep such lines in the schema of others: [ECS](https://www.elastic.co/docs/reference/ecs) and\n" +
		"[OCSF](https://schema.ocsf.io), class API Activity (6003). With ECS `event.kind` is `event`, `event.category` is `api`, `event.module` is\n" +
		"`vertex-spoa` and `cloud.provider` is `gcp`; with OCSF `metadata.product.name` is `vertex-spoa`, `api.service.name` is\n" +
		"`aiplatform.googleapis.com`, `cloud.provider` is `GCP` and `activity_id` is 99. What has no place there is a label, or unmapped.\n\n" +
		"| field | in | type | | ECS | OCSF |\n|---|---|---|---|---|---|\n")
	for _, f := range Fields() {
		var in []string
		for _, e := range []struct{ event, letter string }{{EventDecision, "D"}, {EventClosing, "C"}, {EventMissing, "M"}, {EventUndelivered, "U"}} {
			switch {
			case slices.Contains(f.Always, e.event):
				in = append(in, "**"+e.letter+"**")
			case f.In(e.event):
				in = append(in, e.letter)
			}
		}
		name := "`" + f.Name + "`"
		if f.Mask {
			name += " *"
		}
		doc := f.Doc
		if len(f.Values) > 0 {
			doc += " One of `" + strings.Join(f.Values, "`, `") + "`."
		}
		to := elsewhere[f.Name]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", name, strings.Join(in, " "), f.Type, doc, to.ecs, to.ocsf)
	}
	return b.String()
}

// The documents beside the example are what the table of fields makes.
func TestTheDocumentsSayWhatCanBeWritten(t *testing.T) {
	fields := Fields()
	for _, f := range fields {
		if _, known := elsewhere[f.Name]; !known {
			t.Errorf("nobody has said where %q goes in the schemas of others", f.Name)
		}
	}
	for name := range elsewhere {
		if !slices.ContainsFunc(fields, func(f Field) bool { return f.Name == name }) {
			t.Errorf("%q is no field", name)
		}
	}
	for file, want := range map[string]string{fieldsFile: fieldsDocument(), schemaFile: string(Schema())} {
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is not what the fields make it; run this test with -update (-want +got):\n%s", file, diff)
		}
	}
}
