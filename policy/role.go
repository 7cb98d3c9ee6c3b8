package policy

import "time"

// Role is one entry of `roles`: who has it, and the Google token it gives. Like all of a Model it is only read once it is loaded.
type Role struct {
	Name     string
	At       Position
	Who      []Way // a caller has the role when one of them matches
	Priority int   // of two roles that allow a call the one with the higher priority acts; 0 when not written

	Account   string        // e-mail of the service account; empty only with Exchange in mode direct
	Delegates []string      // e-mails, from the first that is impersonated on
	Scopes    []string      // in full
	Lifetime  time.Duration // of the token
	Project   string        // the quota project; empty when none is named
	Exchange  *Exchange     // the caller's own token is exchanged; nil: the agent's credentials are used
}

// Way is one way to have a role: claims of one issuer that hold together.
type Way struct {
	Issuer string
	Claims []ClaimCondition
}

// ClaimCondition is what one claim has to be: its text, or that of one of its elements, matches one of the patterns.
type ClaimCondition struct {
	Name     string
	Patterns []string // with * for any text
}

// Exchange says how the caller's token becomes one of Google (RFC 8693).
type Exchange struct {
	Audience    string // the provider of the workload or workforce identity pool: //iam.googleapis.com/…
	Type        string // the caller's token: jwt or id_token
	Mode        string // direct: the exchanged token is used itself; impersonate: it mints one of Role.Account
	UserProject string // of a workforce pool; empty otherwise
}
