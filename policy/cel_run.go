package policy

import (
	"errors"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

// Parent implements interpreter.Activation.
func (*variables) Parent() interpreter.Activation { return nil }

// ResolveName implements interpreter.Activation. What is not known is not there: a condition that reads it fails.
func (v *variables) ResolveName(name string) (any, bool) {
	switch name {
	case "claims":
		return v.caller.Claims, true
	case "issuer":
		return v.caller.Issuer, true
	case "subject":
		return v.caller.Subject, true
	}
	if v.target == nil {
		return nil, false
	}
	switch name {
	case "role":
		return v.role, true
	case "method":
		return v.target.method, true
	case "location":
		return v.target.location, true
	case "project":
		return v.target.project, true
	case "endpoint":
		return v.target.endpoint, true
	case "model":
		return v.target.model, v.target.subject != someModel
	case "publisher":
		return v.target.publisher, v.target.subject != someModel
	case bodyType:
		return v.body, v.body != nil
	case "now":
		return types.Timestamp{Time: v.now}, !v.now.IsZero()
	case "ip":
		return v.ip.Unmap().WithZone("").String(), v.ip.IsValid()
	}
	return nil, false
}

// celProgram is a part of a condition that CEL has planned.
type celProgram struct{ cel.Program }

var errNotBool = errors.New("it is neither true nor false") // never written

func (p celProgram) run(v *variables) (verdict, error) {
	result, _, err := p.Eval(v)
	if err != nil {
		return failed, err
	}
	switch result {
	case types.True:
		return yes, nil
	case types.False:
		return no, nil
	}
	return failed, errNotBool
}
