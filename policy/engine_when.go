package policy

import (
	"net/netip"
	"time"

	"vertex-spoa/policy/body"
)

// need is what has to be known before a condition can be decided.
type need uint8

const (
	needRequest need = 1 << iota // what differs between the requests of one caller
	needModel                    // the model, which some calls name in their body
	needBody
)

// when is a condition in CEL, made ready: its parts have to hold together.
type when struct {
	text  string
	parts []*part
	role  bool // it is about the role
}

// program decides a part: yes, no, or failed with an error that says why.
type program interface {
	run(v *variables) (verdict, error)
}

// part is what stands between two && of a condition.
type part struct {
	text    string
	need    need
	program program
	number  int // of a part that depends on the caller alone, from 0; others have -1
}

// variables is what a condition is about.
type variables struct {
	caller *Caller
	role   string
	target *target // nil for conditions that depend on the caller alone
	now    time.Time
	ip     netip.Addr
	body   *body.Facts // nil: not seen
}

// eval decides the part: yes, no or failed.
func (p *part) eval(v *variables) verdict {
	verdict, _ := p.program.run(v)
	return verdict
}
