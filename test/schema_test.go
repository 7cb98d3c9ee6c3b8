package test

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"vertex-spoa/test/sandbox"
)

// furtherRules has a rule in shadow mode apply to every call of the role search, and forwards another call than the one that is asked for.
const furtherRules = `version: 1
roles:
  thrifty: { as: vx-search, who: { corp: { groups: thrifty } } }
rules:
  cheaper:
    allow: thrifty
    models: gemini-2.5-pro
    rewrite: { model: gemini-2.5-flash }
  watched:
    deny: search
    models: "*"
    mode: shadow
    because: nobody is stopped by this
`

// Every line of the audit log is what the schema says that the example comes with, whatever happens, in a chain and masked; and what is
// masked in the log is masked wherever else the agent speaks.
func TestEveryLineIsOfTheSchemaAndMasked(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSandbox(t, sandbox.Options{Closings: sandbox.ByDatagram, AgentFlags: []string{
		"--audit.chain=on", "--audit.chain_key=" + key, "--audit.mask_key=" + key,
		"--audit.mask=subject=hmac,jti=hmac,src=hmac,certificate=hmac,user_agent=drop,traceparent=drop",
		"--closing.wait=1s", "--misuse.signals=on", "--misuse.thresholds=denials=5", "--log.level=debug",
	}})
	for _, scenario := range sandbox.Scenarios() {
		play(t, s, scenario)
	}
	replaceFile(t, filepath.Join(s.PolicyDir(), "30-further.yaml"), []byte(furtherRules))
	until(t, "a rule in shadow mode applies", func() string {
		_ = search(t, s)
		return lacks(t, s, `"shadow":["watched:deny"]`)
	})
	if got, _ := playAndTake(t, s, sandbox.Call{Target: modelPath("europe-west1", "google", "gemini-2.5-pro", "generateContent"), Body: promptBody,
		Token: callerOf(t, s, "thrifty")}); !strings.HasPrefix(got, "200") {
		t.Fatal(got)
	}
	sales := callerOf(t, s, "sales")
	for range 20 {
		_ = outcome(t, s, sales, promptBody, nil)
	}
	line, err := net.Dial("unixgram", s.LogPath())
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	if _, err := line.Write([]byte(`<134>1 - - - - - - {"id":"of-another-agent","decision":"allow","attempt":1,"st":200,"term":"--"}`)); err != nil {
		t.Fatal(err)
	}
	replaceFile(t, s.LogPath(), nil) // no socket any more, and nothing that the agent would replace
	_ = search(t, s)
	for _, want := range []string{`"event":"closing_missing"`, `"unjoined":true`, `"claims":{`, `"body":{`, `"flags":["DENIAL_BURST"]`, `"usage":{`, `"usage":"unknown"`,
		`"break_glass":"`, `"uri_asked":"`, `"after":"`, `"prev":"`, `"subject":"hmac:`} {
		until(t, "there is a line with "+want, func() string { return lacks(t, s, want) })
	}
	text, err := os.ReadFile(s.AuditPath())
	if err != nil {
		t.Fatal(err)
	}
	checkSchema(t, text)
	said, err := s.AgentLog()
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{
		"the audit log": string(text), "the agent's log": said,
		"the status page": string(get(t, s.AdminURL()+"/")), "the last decisions": string(get(t, s.AdminURL()+"/debug/decisions")),
		"the metrics": string(get(t, s.AdminURL()+"/metrics")),
	} {
		if at := strings.Index(text, "@example.com"); at >= 0 {
			t.Errorf("%s shows a caller: %q", where, text[max(0, at-200):at+12])
		}
	}
}

// lacks tells that the audit log has no line with the text.
func lacks(t *testing.T, s *sandbox.Sandbox, text string) string {
	t.Helper()
	log, err := os.ReadFile(s.AuditPath())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(log, []byte(text)) {
		return ""
	}
	return "none of " + fmt.Sprint(bytes.Count(log, []byte("\n"))) + " lines"
}

// checkSchema compares each line with the schema, and tells which events there were.
func checkSchema(t *testing.T, text []byte) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(example(t), "audit.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	seen, torn := map[string]int{}, 0
	for line := range bytes.Lines(text) {
		if len(line) == 1 { // where two agents have met
			continue
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			torn++
			continue
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		members, _ := doc.(map[string]any)
		seen[fmt.Sprint(members["event"])]++
		if members["hash"] == nil {
			t.Errorf("no chain holds %s", line)
		}
	}
	t.Logf("%v, %d torn", seen, torn)
	for _, event := range []string{"decision", "closing", "closing_missing"} {
		if !slices.Contains(slices.Collect(maps.Keys(seen)), event) {
			t.Errorf("no line of the event %s", event)
		}
	}
}
