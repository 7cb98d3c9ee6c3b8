// Package policy answers one question: may this caller make this Vertex call, and as which service account? It has two halves that
// belong together: ParseCall reads a request's target into a Call, the vocabulary of the rules, and Policy.Decide compares it with them.
//
// # Calls
//
// ParseCall accepts only targets that Call.URI would have written, and what is forwarded is Call.URI and Call.Host, never the caller's
// bytes: so the server cannot understand a request otherwise than the policy did. What is neither an inference call nor a listing of
// models is refused as SURFACE_OFF: jobs, caches, tuning, uploads, gRPC, WebSockets, and whatever appears next. ParseAny also reads the
// calls of SurfaceMethods, which a rule can switch on by their exact names.
//
// # The language
//
//	version: 1
//	defaults:
//	  project: acme-ai                            # or projects: [...]
//	  locations: [europe-west1, europe-west4]
//	  methods: [generate, stream, count, embed]
//	issuers:
//	  corp: { url: https://login.acme.com, audience: vertex, claims: { level: int } }
//	roles:
//	  search:   { as: vx-search, who: { corp: { groups: search-eng } } }
//	  research: { as: vx-research, who: { corp: { groups: research } }, token: 15m }
//	rules:
//	  search-gemini:
//	    allow: search
//	    models: [gemini-2.5-*, text-embedding-*]
//	    when: claims.level >= 3
//	    body: { maxOutputTokens: 1024 }
//	  preview-models:
//	    deny: "*"
//	    except: research
//	    models: "*-preview*"
//	    because: preview models are for research only
//
// A policy is all files *.yaml of a folder together, in byte order of their names. Issuers, roles, rules, projects, endpoints and aliases
// may stand in any of them, each once; the defaults stand in one. Where several values may stand, one may stand alone. A star in a pattern
// stands for any text, also for none, and every other character for itself. Reference lists all keys; Schema is for editors.
//
// Every file is read strictly, and all mistakes are shown at once with their places: unknown keys, wrong types, names that are defined
// nowhere, expressions that do not type-check. A policy loads as a whole or not at all. Keys of the language that this version does not
// enforce are checked like all others and then refused, since reading on without them would leave a caller with more than the policy says.
//
// # Who
//
// A caller has the roles whose `who` matches its verified claims: of a list of ways one has to; issuers OR, claims of one issuer AND,
// values of a claim OR. A value is a pattern. A claim that is a list matches by any of its elements; numbers and booleans compare by
// their JSON text; a claim that is missing, null or an object matches nothing. Claims of two issuers never mix. A caller without a role
// is refused as NO_ROLE, and so is one that asks for a role it does not have.
//
// # Decisions
//
// Rules are a set; their order means nothing. A rule applies to a call when all its conditions hold. If a deny rule applies to any role
// of the caller, the call is refused as DENIED, with the rule's `because` as Detail. Otherwise the caller's first role for which an allow
// rule applies decides: the call is allowed as that role's account. Roles are tried by falling `priority`, and those of one priority in
// the order in which they are declared, files in byte order of their names. A caller that asks for a role acts in that role alone; what
// is denied to its other roles stays denied. If nothing applies the call is refused as NO_RULE, or as NOT_ACTIVE where a rule lacks
// nothing but its time. A rule with `except` does not concern callers who hold one of the roles named there, whatever other roles they
// hold.
//
// The zero Policy and the nil Policy deny, and so do the zero Decision and the zero Effect.
//
// # Conditions on the call
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
// versions; one with a version stands also for calls that leave the version to Google, by naming none, @default or @latest, since that may
// be the one; and its projects also stand for every project that the call does not name by its id, since a number may be any of them.
//
// Methods are named one by one or by group (see Group). Calls beyond inference, those of SurfaceMethods, are allowed by a rule that
// names the method exactly: no group, pattern or default stands for them, and they are refused as SURFACE_OFF as long as no rule names
// them. A rule that names nothing else needs no models; where such a call names a model or an endpoint, the rule's models or endpoints
// have to match.
//
// The `projects` give ids their numbers: a call that names a project by its number is judged and forwarded as one that names its id, and
// rules may say either. The `endpoints` say where dedicated and private endpoints are: a call to one that names its project and location
// is sent to its host. `aliases` are names for models: a call to an alias is judged and forwarded as one to the model it
// stands for, and in rules an alias stands for its model.
//
// # Conditions on everything else
//
// `when` is an expression in CEL over claims, role, issuer, subject, model, publisher, location, project, endpoint, method, body, now and
// ip, with the functions glob(text, pattern) and inNetwork(ip, networks). Claims have the types that their issuer declares. Expressions are type-checked and
// their costs are estimated when the policy is loaded. An expression that fails when it is evaluated, say because a claim is absent,
// never makes an allow rule apply; a deny rule whose expression fails denies, as POLICY_ERROR. A deny rule may therefore not read a claim
// that may be absent: it does not load until it says what absence means, as in claims.?contractor.orValue(false), or the issuer requires
// the claim.
//
// `body` says what the body must be, and absent is not small: a body that does not say maxOutputTokens gets the model's own, which may be
// anything, so it satisfies no bound in an allow rule; nor does it save a call from a deny rule with such a bound. A number alone is a
// maximum. The names of tools are those of Google's tools, and fn:NAME for functions.
//
// `active` is one window of time or several, of which one has to be open: on certain days, at certain hours of these, and in a period.
// Days and hours are those of its time zone, UTC if it names none, and follow its summer time. Hours that end before they begin end on
// the next day and belong to the day on which they begin. A day given as `until` is the last one; the end of hours is not included.
//
// `mode: shadow` has a rule judged and reported in Decision.Shadow, without any effect. `percent` enforces a rule for so many of a hundred
// callers, always the same ones for the same rule, and has it in shadow for the others; of callers without a subject it is that part of
// their requests.
//
// # Bodies
//
// Where the answer may depend on the body, because of `body`, of an expression, or because the model is named in the body alone
// (Call.ModelInBody), the first answer is NeedBody, and Decide is asked again with what Request.Body and Request.BodyState then say. The
// model of the body is judged like one of a path. Where the body still decides, one that is absent is refused as BODY_REQUIRED, one that
// was not seen whole as BODY_TRUNCATED, and one that cannot be read, or that contradicts the path, as BAD_BODY.
//
// The bodies of countTokens, computeTokens and fetchPredictOperation may name a model beside that of the path: where a rule is about
// single models or endpoints, whether it allows, denies or rewrites, they are asked for. A body can also name another model in
// generationConfig.routingConfig. Google documents that as configuration of requests to its model router, and does not say that it
// changes who answers a call to another model, nor that it does not. Every body that is read is refused if it has such routing; but bodies
// are not read for this alone unless the defaults say `routing: refused`, because then every generateContent and streamGenerateContent
// under rules about single models waits for its body, and one larger than HAProxy's buffer is refused. A single rule gets the same by
// any condition on the body, such as body: { maxBytes: 1000000 }.
//
// Cached content may hold tools, a system instruction, media and files that its name does not tell. Of a body with cachedContent no
// condition on these holds in an allow rule, and each holds in a deny rule; expressions that read them fail.
//
// # What allow rules impose
//
// Every allow rule of the acting role that applies imposes its duties, also if another rule allowed the call already: duties are not
// conditions, which a second rule could walk around. `rewrite` has another model of the same publisher called, and deny rules are asked about
// that call as well. `headers` chooses between provisioned throughput and the kinds of shared capacity: what a rule sets is sent, what it
// says a caller `may` ask for is sent when the caller asks for it, and a rule does not apply to a call that asks for anything else.
// `breakglass` is for emergencies: without a reason in the request the call is refused as REASON_REQUIRED, with one it is allowed and
// marked; the deny rules it `overrides` do not hold against it.
//
// # Delegation
//
// `include` names files of the folder that others write, by pattern, and what these may do. Such a file holds roles and rules only. Its
// roles have names, accounts and issuers that the include grants, and no priority, scopes or exchange. Its rules concern its roles, set no
// headers, name models and endpoints that the include grants, and publishers, projects, locations and methods that it grants or that the defaults have; a deny rule
// names models or endpoints; what it overrides stands in the same grant. A file that reaches further does not load. Once a file of a
// folder is included, every file beside it has to be, lest whoever may write there writes one that may do everything. Methods are
// granted by the words that rules use, and calls beyond inference by their exact names alone.
package policy
