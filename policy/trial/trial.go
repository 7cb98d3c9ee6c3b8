// Package trial runs the unit tests of a policy: files *_test.yaml beside it that name callers and say, in a line each, what is decided.
//
//	callers:
//	  alice: { corp: { sub: alice, groups: [search-eng] } }
//	  build: { github: { sub: "repo:acme/app:ref:refs/heads/main", repository: acme/app, ref: refs/heads/main } }
//	tests:
//	  - { as: alice, call: "gemini-2.5-flash:generateContent @europe-west1", want: allow search search-gemini }
//	  - { as: alice, call: "gemini-3-preview:generateContent @europe-west1", want: deny DENIED preview-models }
//
// A caller is an issuer's name and the claims of a token; iss and aud are those of the issuer where they are not written. Claims and bodies
// are data as in JSON: true, 3 and null without quotes are no texts, while everything else is.
//
// # Calls
//
// A call is written as it is sent, with its path and query, or in short:
//
//	POST /v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent
//	gemini-2.5-flash:generateContent @europe-west1          a model of google, in the default project
//	anthropic/claude-sonnet-4-5@20250929:rawPredict @global in other-project
//	endpoints/1234:predict @europe-west4
//	chat.completions @europe-west1                          and embeddings: the model is in the body
//	models.list                                             and models.get gemini-2.5-flash
//
// Without a location it is the first one of the policy's defaults. POST is the method where none is written, and GET for models.list and
// models.get.
//
// # What is wanted
//
//	allow [ROLE [RULE]]    allowed as that role, by that rule
//	deny REASON [RULE]     refused for that reason, by that rule
//	need_body [RULE]       the answer depends on the body, which was not given
//
// What is left out may be anything. A test may want more: the `account` whose token is minted, the `uri` that is forwarded, the rules that
// apply in `shadow` mode.
//
// The body is looked at as HAProxy has it looked at: only when the first answer is need_body. It is written as YAML, or as one of the words
// none, truncated and unreadable. A test without a time has none: no rule with `active` holds, unless the file says `at` for all its tests.
package trial

import (
	"time"

	"vertex-spoa/policy"
)

// Suite is the tests of one file.
type Suite struct {
	File  string // as in messages
	Tests []Test
}

// Test is one call and what is to be decided about it.
type Test struct {
	File   string
	Line   int    // from 1
	Column int    // from 1
	Name   string // as written; otherwise who calls what
	As     string // the caller's name in the file
	Call   string // as written

	Caller  policy.Caller
	Method  string // HTTP method
	Target  string // path and query
	Request policy.Request
	Body    []byte           // as JSON; nil when no body is given
	State   policy.BodyState // of the body, once it is asked for

	Want Want
}

// Want is the decision that a test wants. What is empty may be anything, but for Effect and Reason.
type Want struct {
	Effect  policy.Effect
	Reason  policy.Reason // of a denial
	Role    string        // of an allowed call
	Rule    string
	Account string   // e-mail
	URI     string   // that is forwarded
	Shadow  []string // rules, sorted; nil: any
}

// Result is what came of a test.
type Result struct {
	Test     *Test
	Decision policy.Decision // a call that was refused before it was decided has none but its reason
	Wrong    []string        // what is not as wanted, one line each; empty: the test passed
	Nearest  string          // for a denial: the rule that came nearest, and the condition that it lacks
	Took     time.Duration
}
