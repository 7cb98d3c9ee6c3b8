package compare

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText writes the difference for people. Nothing is written where there is none.
func (d *Difference) WriteText(w io.Writer) error {
	var b strings.Builder
	writeEdits(&b, "issuers", d.Issuers)
	d.writeRoles(&b)
	writeEdits(&b, "deny rules", d.Denies)
	if len(d.Access) > 0 {
		b.WriteString("access:\n")
	}
	for i := range d.Access {
		d.Access[i].write(&b)
	}
	for _, role := range d.Partial {
		fmt.Fprintf(&b, "role %s: its rules have too many patterns, and not all samples of calls were looked at\n", role)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// sign returns the mark of a kind of change.
func sign(kind string) string {
	switch kind {
	case Added, Gains:
		return "+"
	case Removed, Loses:
		return "-"
	}
	return "~"
}

func writeEdits(b *strings.Builder, what string, list []Edit) {
	if len(list) > 0 {
		b.WriteString(what + ":\n")
	}
	for _, e := range list {
		fmt.Fprintf(b, "  %s %s", sign(e.Kind), e.Name)
		if len(e.Fields) > 0 {
			b.WriteString(": other " + listed(e.Fields))
		}
		b.WriteString("\n")
	}
}

func (d *Difference) writeRoles(b *strings.Builder) {
	if len(d.Roles) > 0 {
		b.WriteString("who:\n")
	}
	for _, r := range d.Roles {
		fmt.Fprintf(b, "  %s %s\n", sign(r.Kind), r.Role)
		for _, way := range r.Loses {
			fmt.Fprintf(b, "      - %s\n", way)
		}
		for _, way := range r.Gains {
			fmt.Fprintf(b, "      + %s\n", way)
		}
	}
	if len(d.Accounts) > 0 {
		b.WriteString("accounts:\n")
	}
	for _, a := range d.Accounts {
		fmt.Fprintf(b, "  ~ %s: %s %s => %s\n", a.Role, a.What, orNone(a.Before), orNone(a.After))
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (c *AccessChange) write(b *strings.Builder) {
	fmt.Fprintf(b, "  %s %s: %s\n", sign(c.Kind), c.Role, &c.Calls)
	for _, side := range []struct {
		word   string
		access Access
	}{{"was", c.Before}, {"is", c.After}} {
		for i := range side.access.Ways {
			fmt.Fprintf(b, "      %-3s %s\n", side.word, &side.access.Ways[i])
		}
	}
}

// String returns the permit in one line.
func (p *Permit) String() string {
	text := p.Rule
	if terms := p.terms(); terms != "" {
		text += " " + terms
	}
	return text
}

// terms returns what a permit asks for and brings, in one line.
func (p *Permit) terms() string {
	var parts []string
	if len(p.If) > 0 {
		parts = append(parts, "if "+strings.Join(p.If, " and "))
	}
	if len(p.Unless) > 0 {
		parts = append(parts, "unless "+strings.Join(p.Unless, "; or "))
	}
	if len(p.Imposes) > 0 {
		parts = append(parts, "with "+listed(p.Imposes))
	}
	return strings.Join(parts, ", ")
}

// conditions returns what a permission depends on, in one line.
func (p *Permission) conditions() string {
	text := p.terms()
	if len(p.Refused) > 0 {
		if text != "" {
			text += ", "
		}
		text += "but for what " + listed(p.Refused) + " denies"
	}
	return text
}

// WritePermissions writes permissions as a table.
func WritePermissions(w io.Writer, list []Permission) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(t, "ROLE\tWHO\tACCOUNT\tRULE\tCALLS\tCONDITIONS\n"); err != nil {
		return err
	}
	for i := range list {
		p := &list[i]
		for row := range max(len(p.Who), len(p.Calls)) {
			cells := [6]string{}
			if row == 0 {
				cells = [6]string{p.Role, "", orNone(p.Account), p.Rule, "", orNone(p.conditions())}
			}
			if row < len(p.Who) {
				cells[1] = p.Who[row]
			}
			if row < len(p.Calls) {
				cells[4] = p.Calls[row].String()
			}
			if _, err := io.WriteString(t, strings.Join(cells[:], "\t")+"\n"); err != nil {
				return err
			}
		}
	}
	return t.Flush()
}

// WriteText writes what came of logs for people.
func (r *Replayed) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "replayed %d of %d lines under policy %s: %d come out otherwise\n", r.Decided, r.Lines, r.Policy, r.Changed)
	writeChanges(&b, r.Changes)
	if len(r.Renamed) > 0 {
		b.WriteString("the same answer by another rule:\n")
	}
	writeChanges(&b, r.Renamed)
	if len(r.Unknown) > 0 {
		b.WriteString("could not be decided again:\n")
	}
	writeCounts(&b, r.Unknown)
	if len(r.Elsewhere) > 0 {
		b.WriteString("not for a policy to decide:\n")
	}
	writeCounts(&b, r.Elsewhere)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeChanges(b *strings.Builder, list []Change) {
	for i := range list {
		c := &list[i]
		fmt.Fprintf(b, "%8d %s => %s  (%s)\n", c.Count, c.Before, c.After, listed(c.Samples))
	}
}

func writeCounts(b *strings.Builder, list []Count) {
	for i := range list {
		fmt.Fprintf(b, "%8d %s  (%s)\n", list[i].Count, orNone(list[i].What), listed(list[i].Samples))
	}
}

// String returns the outcome in one line: allow vx-ci ci-evals, deny NO_RULE.
func (o Outcome) String() string {
	if o.Decision == "" {
		return "others"
	}
	account, _, _ := strings.Cut(o.Account, "@")
	text := o.Decision
	for _, part := range []string{o.Reason, account, o.Rule} {
		if part != "" {
			text += " " + part
		}
	}
	if o.Forward != "" {
		text += " to " + o.Forward
	}
	return text
}
