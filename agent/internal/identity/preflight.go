package identity

import "net/http"

// Check returns what New would refuse about issuers, every problem joined, and starts and asks nothing. Files of authorities that the
// issuers name are read only where files is true: the machine on which a policy is written need not have them.
func Check(issuers []Issuer, files bool) error {
	checked := make([]Issuer, len(issuers))
	for n, i := range issuers {
		checked[n] = i
		if !files {
			checked[n] = i.withoutAuthorities()
		}
	}
	v := &Verifier{
		client: &http.Client{Transport: &http.Transport{}}, byURL: map[string]*issuer{}, byName: map[string]*issuer{},
	}
	return v.configure(checked)
}

// withoutAuthorities returns c without the files of authorities that are read when it is configured.
func (c Issuer) withoutAuthorities() Issuer {
	if c.Certificate != nil {
		rule := *c.Certificate
		rule.CAFile = ""
		c.Certificate = &rule
	}
	if c.Introspection != nil {
		asked := *c.Introspection
		asked.CAFile = ""
		c.Introspection = &asked
	}
	return c
}
