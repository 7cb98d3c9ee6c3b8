package format

import (
	"strings"
	"unicode/utf8"

	"vertex-spoa/policy/strictyaml"
)

// row is an entry whose value is a mapping in braces on one line, as one of several below each other.
type row struct {
	lead  string
	keys  []string
	cells []string
}

// rows returns the lines of those entries that stand in columns, and "" for the others.
func (p printer) rows(n *node, indent int) []string {
	lines := make([]string, len(n.entries))
	var run []row
	for i, e := range n.entries {
		r, ok := p.row(e, indent)
		if len(run) > 0 && (!ok || len(e.head) > 0) {
			p.align(run, lines[i-len(run):i])
			run = nil
		}
		if ok {
			run = append(run, r)
		}
	}
	p.align(run, lines[len(lines)-len(run):])
	return lines
}

// row returns the entry as a row, if it can be one.
func (p printer) row(e *entry, indent int) (row, bool) {
	v := e.value
	if v.kind != strictyaml.Mapping || !v.flow || len(v.entries) == 0 {
		return row{}, false
	}
	if _, ok := p.oneLine(e, indent); !ok {
		return row{}, false
	}
	r := row{lead: e.lead(indent)}
	r.cells, _ = v.cells()
	for i, inner := range v.entries {
		r.keys = append(r.keys, inner.key.text)
		if i < len(v.entries)-1 {
			r.cells[i] += ","
		}
	}
	return r, true
}

func (r *row) String() string { return r.lead + " { " + strings.Join(r.cells, " ") + " }" }

// align puts the rows into lines, column below column as far as their keys are the same and the lines do not become too long.
func (p printer) align(rows []row, lines []string) {
	p.pad(rows, func(r *row) *string { return &r.lead })
	for i := 0; sameKey(rows, i); i++ {
		p.pad(rows, func(r *row) *string {
			if i >= len(r.cells)-1 {
				return nil
			}
			return &r.cells[i]
		})
	}
	for i := range rows {
		lines[i] = rows[i].String()
	}
}

// pad fills the cells of a column up to the longest of them, unless a line becomes too long by it.
func (p printer) pad(rows []row, cell func(*row) *string) {
	longest := 0
	for i := range rows {
		if c := cell(&rows[i]); c != nil {
			longest = max(longest, utf8.RuneCountInString(*c))
		}
	}
	for i := range rows {
		if c := cell(&rows[i]); c != nil && utf8.RuneCountInString(rows[i].String())+longest-utf8.RuneCountInString(*c) > p.width {
			return
		}
	}
	for i := range rows {
		if c := cell(&rows[i]); c != nil {
			*c += spaces(longest - utf8.RuneCountInString(*c))
		}
	}
}

// sameKey reports whether all rows that have so many cells have the same key there, and there is one that has.
func sameKey(rows []row, i int) bool {
	key, found := "", false
	for _, r := range rows {
		if i >= len(r.keys) {
			continue
		}
		if found && r.keys[i] != key {
			return false
		}
		key, found = r.keys[i], true
	}
	return found
}
