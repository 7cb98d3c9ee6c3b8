package format

import (
	"strings"
	"unicode/utf8"

	"vertex-spoa/policy/strictyaml"
)

const (
	policyWidth = 140 // up to which something stays on one line
	testWidth   = 180 // the same in files of tests, where a line is a test
	noteGap     = 2   // spaces before a comment that stands behind something
	noteMax     = 80  // column up to which such comments of several lines are put below each other
)

// printer turns nodes into lines.
type printer struct{ width int }

// printed is a line of the new text.
type printed struct {
	text  string
	notes []string // comments behind it
	fixed bool     // part of a scalar of several lines
}

// hoist moves what stands above or behind something to where it can be printed.
func (n *node) hoist() {
	for _, e := range n.entries {
		e.value.hoist()
		inner := e.value
		if e.key == nil && !inner.flow && len(inner.entries) > 0 { // - key: value
			first := inner.entries[0]
			for _, note := range e.notes {
				e.head = append(e.head, line(note))
			}
			e.notes = nil
			e.head = append(e.head, first.head...)
			first.head = nil
		}
		for len(e.notes) > 1 {
			e.head = append(e.head, line(e.notes[0]))
			e.notes = e.notes[1:]
		}
	}
}

// print returns the text of the document.
func (d *document) print(p printer) []byte {
	var out []printed
	for _, l := range d.header {
		out = append(out, printed{text: string(l)})
	}
	for i, lines := range p.children(d.root, 0) {
		if i > 0 && (len(lines.body) > 1 || lines.after) && (len(lines.head) == 0 || lines.head[0].text != "") {
			out = append(out, printed{}) // between the sections of a file
		}
		out = append(append(out, lines.head...), lines.body...)
	}
	out = append(out, comments(d.root.foot, 0)...)
	return join(out)
}

// child is the lines of an entry.
type child struct {
	head, body []printed
	after      bool // the entry before has several lines
}

// children returns the lines of the entries of a block that is indented so far.
func (p printer) children(n *node, indent int) []child {
	rows := p.rows(n, indent)
	list := make([]child, 0, len(n.entries))
	for i, e := range n.entries {
		head := e.head
		for i == 0 && len(head) > 0 && head[0] == "" {
			head = head[1:]
		}
		c := child{head: comments(head, indent)}
		switch {
		case rows[i] != "":
			c.body = []printed{{text: rows[i], notes: e.notes}}
		default:
			c.body = p.lines(e, indent)
		}
		c.after = i > 0 && len(list[i-1].body) > 1
		list = append(list, c)
	}
	return list
}

// block returns the lines of a block, with the comments at its end.
func (p printer) block(n *node, indent int) []printed {
	var out []printed
	for _, c := range p.children(n, indent) {
		out = append(append(out, c.head...), c.body...)
	}
	return append(out, comments(n.foot, indent)...)
}

func comments(lines []line, indent int) []printed {
	var out []printed
	for _, l := range lines {
		p := printed{}
		if l != "" {
			p.text = spaces(indent) + string(l)
		}
		out = append(out, p)
	}
	return out
}

func spaces(n int) string { return strings.Repeat(" ", n) }

// lead returns what an entry begins with: its key, or a dash.
func (e *entry) lead(indent int) string {
	if e.key == nil {
		return spaces(indent) + "-"
	}
	return spaces(indent) + e.key.raw[0] + ":"
}

// lines returns the lines of an entry without its head.
func (p printer) lines(e *entry, indent int) []printed {
	lead := e.lead(indent)
	if text, ok := p.oneLine(e, indent); ok {
		return []printed{{text: strings.TrimRight(lead+" "+text, " "), notes: e.notes}}
	}
	v := e.value
	if v.kind == strictyaml.Scalar {
		return e.scalarLines(lead, indent)
	}
	inner := p.block(v, indent+2)
	if e.key != nil {
		return append([]printed{{text: lead, notes: e.notes}}, inner...)
	}
	inner[0].text = lead + " " + strings.TrimLeft(inner[0].text, " ")
	return inner
}

// scalarLines returns the lines of a scalar of several lines.
func (e *entry) scalarLines(lead string, indent int) []printed {
	v := e.value
	out := []printed{{text: lead + " " + v.raw[0], fixed: true}}
	for _, text := range v.raw[1:] {
		if text != "" {
			text = spaces(indent+2) + text
		}
		out = append(out, printed{text: text, fixed: true})
	}
	if v.style == '|' || v.style == '>' {
		out[0].notes = e.notes
	} else {
		out[len(out)-1].notes = e.notes
	}
	return out
}

// oneLine returns the value on one line, unless it has to be written on several.
func (p printer) oneLine(e *entry, indent int) (string, bool) {
	v := e.value
	switch {
	case v.kind == strictyaml.Scalar:
		return strings.Join(v.raw, "\n"), len(v.raw) <= 1 && v.style != '|' && v.style != '>'
	case !v.flow:
		return "", false
	}
	text, ok := v.inline()
	return text, ok && (len(v.entries) == 0 || utf8.RuneCountInString(e.lead(indent)+" "+text) <= p.width)
}

// inline returns a value as it stands within braces. It reports false for one that holds comments or lines that cannot be joined.
func (n *node) inline() (string, bool) {
	if n.kind == strictyaml.Scalar {
		return n.joined()
	}
	cells, ok := n.cells()
	switch {
	case !ok:
		return "", false
	case n.kind == strictyaml.List:
		return "[" + strings.Join(cells, ", ") + "]", true
	case len(cells) == 0:
		return "{}", true
	}
	return "{ " + strings.Join(cells, ", ") + " }", true
}

// cells returns the entries of a value within braces.
func (n *node) cells() ([]string, bool) {
	if !n.flow || len(n.foot) > 0 {
		return nil, false
	}
	var cells []string
	for _, e := range n.entries {
		text, ok := e.value.inline()
		if !ok || len(e.head) > 0 || len(e.notes) > 0 {
			return nil, false
		}
		if e.key != nil {
			text = strings.TrimRight(e.key.raw[0]+": "+text, " ")
		}
		cells = append(cells, text)
	}
	return cells, true
}

// joined returns a scalar on one line, if it can be so written without a change of what it says.
func (n *node) joined() (string, bool) {
	for i, text := range n.raw {
		if n.style == '|' || n.style == '>' || len(n.raw) > 1 && (strings.TrimSpace(text) == "" || i < len(n.raw)-1 && strings.HasSuffix(text, "\\")) {
			return "", false
		}
	}
	if len(n.raw) == 0 {
		return "", true
	}
	lines := make([]string, len(n.raw))
	for i, text := range n.raw {
		lines[i] = text
		if i < len(n.raw)-1 {
			lines[i] = strings.TrimRight(text, " \t")
		}
	}
	return strings.Join(lines, " "), true
}

// join writes lines, with the comments behind them in columns.
func join(lines []printed) []byte {
	var b strings.Builder
	for i := 0; i < len(lines); {
		end := i
		for end < len(lines) && (lines[end].text != "" || lines[end].fixed) {
			end++
		}
		column := noteColumn(lines[i:end])
		for ; i < end; i++ {
			b.WriteString(lines[i].text)
			for _, note := range lines[i].notes {
				length := utf8.RuneCountInString(lines[i].text)
				b.WriteString(spaces(max(noteGap, column-length)) + note)
			}
			b.WriteByte('\n')
		}
		for i < len(lines) && lines[i].text == "" && !lines[i].fixed {
			i++
		}
		if b.Len() > 0 && i < len(lines) {
			b.WriteByte('\n')
		}
	}
	return []byte(b.String())
}

// noteColumn returns the column of the comments behind lines that follow each other.
func noteColumn(lines []printed) int {
	column := 0
	for _, l := range lines {
		if length := utf8.RuneCountInString(l.text); len(l.notes) > 0 && length <= noteMax {
			column = max(column, length+noteGap)
		}
	}
	return column
}
