// Package agent is the pipeline between HAProxy and Google: it identifies who is calling, parses the Vertex AI call, lets the policy decide,
// mints a token for the role's service account, writes the audit line and answers. Each step is a function from value to value under one
// immutable snapshot of policy and issuers; judge in agent.go is all of them on one screen.
//
// # The contract with HAProxy
//
// HAProxy asks with the SPOE group "authorize" of the engine "vertex", sent by `http-request send-spoe-group`, never by an event, so that
// its own rules come first. The message is named "authorize", or "authorize-body" when HAProxy asks again with the body. Its arguments are
// named and may come in any order; unknown ones are ignored; a mandatory one (*) that is missing, or any that has another type, denies.
//
//	v                     *int      version of this contract: 1
//	id                    *string   unique-id; joins the audit line with HAProxy's log
//	attempt               *int      1; more when HAProxy asks again about the same request; (id, attempt) is the key of a decision
//	ts                     int      date(0,ms)
//	src                   *address  client address
//	method                *string   HTTP method
//	uri                   *string   pathq: path and query as received
//	host                  *string   Host header, or :authority
//	authorization          string   req.fhdr(authorization): the whole value
//	authorization_count   *int      req.fhdr_cnt(authorization)
//	assertion              string   the value of another field that carries a token
//	assertion_header       string   the lower-case name of that field
//	content_type           string
//	content_length         string
//	content_length_count   int      number of Content-Length fields; a POST needs exactly one
//	user_agent             string
//	traceparent            string
//	role                   string   x-vertex-role: which of the caller's roles to use
//	reason                 string   x-vertex-reason
//	tier, shared_tier      string   the two X-Vertex-AI-LLM-* headers
//	tls_used               bool     ssl_c_used
//	tls_verify             int      ssl_c_verify
//	client_cert            binary   ssl_c_der
//
// In authorize-body also:
//
//	body                   binary   req.body: what HAProxy has of it
//	body_len, body_size   *int      of what it has, and of the whole as far as it knows
//
// The answer is a list of variables with the prefix "vertex", in scope txn unless noted. All are strings or integers. Every ACK has at least one, and
// "decision" is always the last: HAProxy applies a torn list up to the tear, so a torn list has no decision.
//
//	decision           allow | deny | need_body
//	status             200 | 400 | 401 | 403 | 413 | 429 | 503: what to answer the client
//	reason             closed set, see Reason; not set on allow
//	public_reason      what the client may know of it
//	message            text for the client; not set on allow
//	www_authenticate   with status 401 (RFC 6750 section 3)
//	retry_after        seconds, with status 429 and 503
//	issuer, subject    the verified caller
//	role, rule         the role the decision was made for, the rule that made it
//	account            the service account of the role
//	policy             digest of the policy in force
//	uri                canonical path and query: what is to be forwarded instead of the client's bytes
//	host               upstream host, from the table of locations
//	location           names the backend
//	endpoint           names the backend instead, if the call is to a dedicated or private endpoint of the policy
//	user_project       value for X-Goog-User-Project, if the role has one
//	request_reason     value for X-Goog-Request-Reason, if wanted
//	tier, shared_tier  values for the two X-Vertex-AI-LLM-* headers, if the policy lets them be sent
//	token_fingerprint  of the token: 16 hex digits, also in the audit line
//	token              scope req: the Google access token; gone before the transaction is logged
//	t_verify, t_policy, t_mint   duration of the stages in µs
//
// When Google answers 401 HAProxy sends the message "response" with v, id, ts, status and token, the fingerprint; the agent drops that token
// and mints another one. It may be sent for every answer; then the record of a call whose end HAProxy does not tell has at least the status.
//
// HAProxy forwards only on positive proof:
//
//	http-request allow if { var(txn.vertex.decision) -m str allow } { var(req.vertex.token) -m len gt 0 } …
//	http-request deny
//
// because send-spoe-group continues on success, on error and on timeout alike. An agent that is dead, stuck, overloaded or confused
// sets no decision, and that is a denial. need_body is no decision: it sets nothing else, is not recorded, and makes HAProxy wait for the
// body and ask again.
//
// # What fails closed here
//
// The zero answer denies; an allow takes an explicit Allow of the policy, a token that is not empty, and an audit line that was written.
// A panic while deciding is a denial with reason INTERNAL. When keys or a token must be waited for, the wait ends with the NOTIFY's
// deadline, after which nothing is answered.
package agent
