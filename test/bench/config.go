package main

import (
	"fmt"
	"strings"
)

// The variants, in the order in which they are printed.
const (
	none    = "none"
	jwt     = "HAProxy's jwt_verify, RS256"
	library = "no-op, haproxy-spoe-go"
	floor   = "no-op, package spoe"
	product = "vertex-spoa"
)

var variants = [...]string{none, jwt, library, floor, product}

// slugs name the variants in files.
var slugs = map[string]string{none: "none", jwt: "jwt", library: "library", floor: "spoe", product: "product"}

// Marks of haproxy-example/vertex.cfg, between which a variant differs from it.
const (
	asking    = "    # 3. Ask. "
	answering = "    # 6. The answer. "
	filter    = "    filter spoe engine vertex "
	second    = "    filter spoe engine vertex-response "
)

// configure returns the example's vertex.cfg for a variant. Those with an agent have it as it is. The others are never asked, and else
// the same: listener, refusals, list of headers, backends and log.
func configure(text, variant, key, token string) (string, error) {
	var instead string
	switch variant {
	case none:
		instead = forward
	case jwt:
		instead = verify + forward
	default:
		return text, nil
	}
	instead = strings.NewReplacer("KEY", key, "TOKEN", token, "ISSUER", sandboxIssuer, "AUDIENCE", sandboxAudience,
		"GROUP", group, "HOST", host, "LOCATION", location).Replace(instead)
	before, rest, ok1 := strings.Cut(text, asking)
	_, after, ok2 := strings.Cut(rest, answering)
	first, rest, ok3 := strings.Cut(before, filter)
	_, rest, ok4 := strings.Cut(rest, second)
	_, last, ok5 := strings.Cut(rest, "\n")
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return "", fmt.Errorf("the example's vertex.cfg has changed: %q, %q, %q and %q are not there in this order", filter, second, asking, answering)
	}
	return first + last + instead + answering + withoutQuestions(after), nil
}

// withoutQuestions leaves out the lines that send something to the agent.
func withoutQuestions(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "send-spoe-group") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// verify is what HAProxy can do by itself: signature, algorithm, issuer, audience, times and a group, and one token for everybody.
const verify = `
    http-request set-var(txn.bench_jwt) var(req.vertex_authorization),bytes(7)
    http-request set-var(txn.bench_alg) var(txn.bench_jwt),jwt_header_query('$.alg')
    http-request set-var(txn.bench_exp) var(txn.bench_jwt),jwt_payload_query('$.exp','int')
    http-request set-var(txn.bench_now) date()
    http-request deny deny_status 401 unless { var(txn.bench_alg) -m str RS256 }
    http-request deny deny_status 401 unless { var(txn.bench_jwt),jwt_payload_query('$.iss') -m str ISSUER }
    http-request deny deny_status 401 unless { var(txn.bench_jwt),jwt_payload_query('$.aud') -m str AUDIENCE }
    http-request deny deny_status 401 if { var(txn.bench_exp),sub(txn.bench_now) -m int lt 0 }
    http-request deny deny_status 401 unless { var(txn.bench_jwt),jwt_verify(txn.bench_alg,"KEY") -m int 1 }
    http-request deny deny_status 403 unless { var(txn.bench_jwt),jwt_payload_query('$.groups[0]') -m str GROUP }
`

// forward is what the backends forward with.
const forward = `    http-request set-var(txn.vertex.uri) pathq
    http-request set-var(txn.vertex.host) str(HOST)
    http-request set-var(txn.vertex.location) str(LOCATION)
    http-request set-var(req.vertex.token) str(TOKEN)
`

// base is what stands in for the user's own haproxy.cfg.
const base = `
global
	nbthread 1
	log stdout format raw local0
defaults
	mode http
	timeout connect 1s
	timeout client 1s
	timeout server 1s
`

// upstream stands in for Vertex AI, so fast that it does not matter: it has its name and certificate, and one answer.
const upstream = `
global
	nbthread 1
defaults
	mode http
	timeout connect 1s
	timeout client 60s
	timeout server 1s
frontend vertex
	bind ADDR ssl crt "CERT" alpn h2,http/1.1
	http-request wait-for-body time 1s
	http-request return status 200 content-type application/json string "{}"
`
