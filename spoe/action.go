package spoe

import (
	"fmt"
	"io"

	"github.com/negasus/haproxy-spoe-go/action"
)

// Scope is where in HAProxy a variable lives (SPOE.txt section 3.4).
type Scope uint8

// The scopes. A variable of ScopeRequest is gone when the response is
// processed, so that no log line written at the end can show it.
const (
	ScopeProcess     = Scope(action.ScopeProcess)
	ScopeSession     = Scope(action.ScopeSession)
	ScopeTransaction = Scope(action.ScopeTransaction)
	ScopeRequest     = Scope(action.ScopeRequest)
	ScopeResponse    = Scope(action.ScopeResponse)
)

// String returns the scope's name in HAProxy's configuration.
func (s Scope) String() string {
	names := [...]string{"proc", "sess", "txn", "req", "res"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("scope(%d)", uint8(s))
}

// Action sets or unsets one variable of HAProxy. The zero Action does neither:
// an answer that has one cannot be encoded.
//
// A name has 1 to 56 characters, letters and digits of ASCII, "_" and "."; an
// answer with another one cannot be encoded. HAProxy puts its own prefix before
// the name. Up to 3.4 it cuts names silently where scope, prefix and name, with
// the dots between, have 64 characters or more, so that a long prefix leaves
// less than 56; it ignores the names that its configuration does not know. It applies actions in order and
// stops, without an error, at the first that it cannot read: put last what
// everything else depends on.
type Action struct {
	op    action.Type
	scope Scope
	name  string
	value Value // null for unset
}

// SetString sets a variable to text. HAProxy cuts binary variables at a NUL in
// a header, so that there is no action to set one.
func SetString(scope Scope, name, s string) Action {
	return Action{op: action.TypeSetVar, scope: scope, name: name, value: Text(s)}
}

// SetInt sets a variable to a signed integer of 64 bits.
func SetInt(scope Scope, name string, i int64) Action {
	return Action{op: action.TypeSetVar, scope: scope, name: name, value: Int(i)}
}

// SetBool sets a variable to true or false.
func SetBool(scope Scope, name string, b bool) Action {
	return Action{op: action.TypeSetVar, scope: scope, name: name, value: Bool(b)}
}

// Unset removes a variable.
func Unset(scope Scope, name string) Action {
	return Action{op: action.TypeUnsetVar, scope: scope, name: name}
}

// Scope returns where the variable lives.
func (a Action) Scope() Scope { return a.scope }

// Name returns the name of the variable, without HAProxy's prefix.
func (a Action) Name() string { return a.name }

// Value returns what the variable is set to, and null for an unset.
func (a Action) Value() Value { return a.value }

// IsUnset reports whether a removes its variable.
func (a Action) IsUnset() bool { return a.op == action.TypeUnsetVar }

// Equal reports whether a and b do the same.
func (a Action) Equal(b Action) bool {
	return a.op == b.op && a.scope == b.scope && a.name == b.name && a.value.Equal(b.value)
}

// String returns what a does, with the kind and length of the value but never
// its content.
func (a Action) String() string {
	switch a.op {
	case action.TypeSetVar:
		return fmt.Sprintf("set %v.%s %v", a.scope, a.name, a.value)
	case action.TypeUnsetVar:
		return fmt.Sprintf("unset %v.%s", a.scope, a.name)
	}
	return "no action"
}

// Format implements [fmt.Formatter]: every verb prints [Action.String].
func (a Action) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, a.String()) }
