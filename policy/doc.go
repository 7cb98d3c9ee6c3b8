// Package policy answers one question: may this caller make this Vertex call, and as which service account? It has two halves that
// belong together: ParseCall reads a request's target into a Call, the vocabulary of the rules, and Policy.Decide compares it with them.
//
// # Calls
//
// ParseCall accepts only targets that Call.URI would have written, and what is forwarded is Call.URI and Call.Host, never the caller's
// bytes: so the server cannot understand a request otherwise than the policy did. Everything that is not an inference call or a listing
// of models is refused as SURFACE_OFF: jobs, caches, tuning, batches, uploads, gRPC, WebSockets, and whatever appears next.
//
// # The language
//
//	version: 1
//	defaults:
//	  project: acme-ai                            # or projects: [...]
//	  locations: [europe-west1, europe-west4]
//	  methods: [generate, stream, count, embed]
//	issuers:
//	  corp: { url: https://login.acme.com, audience: vertex }
//	roles:
//	  search:   { as: vx-search, who: { corp: { groups: search-eng } } }
//	  research: { as: vx-research, who: { corp: { groups: research } }, token: 15m }
//	rules:
//	  search-gemini:
//	    allow: search
//	    models: [gemini-2.5-*, text-embedding-*]
//	  preview-models:
//	    deny: "*"
//	    except: research
//	    models: "*-preview*"
//	    because: preview models are for research only
//
// A policy is all files *.yaml of a folder together. Its issuers, roles and rules may stand in any of them, each once; the defaults stand
// in one. Where several values may stand, one may stand alone. Keys of the language that this version does not enforce do not load.
//
//	issuers.X  url audience algorithms jwks {url | file} leeway maxAge
//	roles.X    as who token scopes delegates project
//	rules.X    allow | deny, except, models publishers endpoints projects locations methods, because
//
// # Meaning
//
// A caller has the roles whose `who` matches its verified claims: issuers OR, claims of one issuer AND, values of a claim OR. A value is
// a pattern in which * stands for any text. A claim that is a list matches by any of its elements; numbers and booleans compare by
// their JSON text; a claim that is missing, null or an object matches nothing. Claims of two issuers never mix. A caller without a role
// is refused as NO_ROLE, and so is one that asks for a role it does not have.
//
// Rules are a set; their order means nothing. A rule applies to a call when all its conditions hold. If a deny rule applies to any role
// of the caller, the call is refused as DENIED, with the rule's `because` as Detail. Otherwise the caller's first role, in the order
// roles are declared, for which an allow rule applies decides: the call is allowed as that role's account. A caller that asks for a role
// acts in that role alone; what is denied to its other roles stays denied. If nothing applies the call is refused as NO_RULE. A rule
// with `except` does not concern callers who hold one of the roles named there, whatever other roles they hold.
//
// # Conditions
//
// An allow rule must say what it allows. Projects, locations, methods and publishers it does not name are those of the defaults; if
// those have none either the policy does not load, except that publishers then are any. It needs models or endpoints of its own: models
// are matched by the whole name with its @version, endpoints by their id. Calls to endpoints are never matched by models, and calls to
// models never by endpoints. A rule with both allows both. The list of models counts as a call about no model in particular: a rule
// with any models allows it, if the rule has the method.
//
// A deny rule takes no defaults, and what it does not name it denies: without any condition it denies everything to its roles. Models
// and publishers restrict it to calls to models, endpoints to calls to endpoints; models: "*" is the same as no models. As a deny rule
// should be hard to walk around, it holds for more than an allow rule with the same words: a model without @version stands for all its
// versions, and its projects also stand for every project that the call does not name by its id, since a number may be any of them.
//
// The model of some calls is named in their body alone (Call.ModelInBody). Where an allow rule might apply to such a call it is refused
// as BODY_REQUIRED.
//
// # Failing closed
//
// The zero Decision, the zero Policy and the nil Policy deny, and a policy loads as a whole or not at all.
package policy
