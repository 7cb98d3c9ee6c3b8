package format

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"vertex-spoa/policy/strictyaml"
)

// document is a file with everything in it that a reader of policies passes over.
type document struct {
	root   *node
	header []line // what stands at the top and belongs to no entry
	all    []string

	source source
	order  []*entry // all entries, in the order in which they begin
}

// node is a value.
type node struct {
	kind strictyaml.Kind
	text string // of a scalar
	null bool   // a scalar without a value

	flow  bool     // in braces or brackets
	style byte     // of a scalar: " ' | > or 0
	raw   []string // of a scalar: its lines as written; those after the first without their indentation, but for that of blocks

	start, end int // bytes
	column     int // where a block begins
	in         *entry
	entries    []*entry // of a mapping or a list
	foot       []line   // comments after the last entry
}

// entry is a key with its value, or an element of a list.
type entry struct {
	key   *node // nil in a list
	value *node
	in    *node
	start int      // in bytes: of the key or of the dash
	head  []line   // what stands above it
	notes []string // comments that stand behind it
}

// line is a comment on a line of its own, or a blank line when it is empty.
type line string

// parse reads a file with its comments.
func parse(name string, data []byte) (*document, error) {
	d := &document{source: newSource(strings.ReplaceAll(string(data), "\r\n", "\n"))}
	var problems strictyaml.Problems
	if strings.Contains(d.source.text, "\r") { // what was replaced has made one more
		problems.AddFile(name, "a carriage return that does not end a line")
	}
	root := strictyaml.Parse(name, []byte(d.source.text), &problems)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	var err error
	if d.root, err = d.build(root, nil, 0, false); err != nil {
		return nil, fmt.Errorf("%s: cannot be formatted: %w", name, err)
	}
	d.attach()
	return d, nil
}

// build makes a node of n, which stands in a block that is indented so far.
func (d *document) build(n *strictyaml.Node, in *entry, indent int, flow bool) (*node, error) {
	s := &d.source
	to := &node{kind: n.Kind, in: in, start: s.offset(n.Line, n.Column), column: n.Column - 1}
	var ignored strictyaml.Problems
	switch n.Kind {
	case strictyaml.Scalar:
		text, ok := n.Text(&ignored)
		to.text = text
		return to, s.scalar(to, ok, indent, flow)
	case strictyaml.List:
		to.flow = s.at(to.start) == '['
		return to, d.list(n, to)
	case strictyaml.Mapping:
		to.flow = s.at(to.start) == '{'
		return to, d.mapping(n, to)
	}
	return nil, fmt.Errorf("line %d holds %s", n.Line, n.Kind)
}

func (d *document) list(n *strictyaml.Node, to *node) error {
	var ignored strictyaml.Problems
	next := to.start
	for _, item := range n.Items(&ignored) {
		e := &entry{in: to}
		e.start = d.source.offset(item.Line, item.Column)
		if !to.flow {
			e.start = d.source.find(next, '-')
		}
		d.order = append(d.order, e)
		var err error
		if e.value, err = d.build(item, e, to.column, to.flow); err != nil {
			return err
		}
		to.entries = append(to.entries, e)
		next = max(next+1, e.value.end)
	}
	return d.close(to, ']', next)
}

func (d *document) mapping(n *strictyaml.Node, to *node) error {
	var ignored strictyaml.Problems
	next := to.start
	for _, pair := range n.Entries(&ignored) {
		e := &entry{in: to}
		d.order = append(d.order, e)
		var err error
		if e.key, err = d.build(pair.Key, e, to.column, to.flow); err != nil {
			return err
		}
		e.start = e.key.start
		colon := d.source.find(e.key.end, ':')
		if e.value, err = d.build(pair.Value, e, to.column, to.flow); err != nil {
			return err
		}
		if e.value.start <= colon || e.value.start == e.value.end { // an empty value has no place of its own
			e.value.start, e.value.end = colon+1, colon+1
		}
		to.entries = append(to.entries, e)
		next = e.value.end
	}
	return d.close(to, '}', next)
}

// close finds the end of a list or a mapping after its last entry.
func (d *document) close(n *node, bracket byte, last int) error {
	n.end = last
	if !n.flow {
		return nil
	}
	if len(n.entries) == 0 {
		last = n.start + 1
	}
	if at := d.source.find(last, bracket); at < len(d.source.text) {
		n.end = at + 1
		return nil
	}
	return fmt.Errorf("a %q is not found", bracket)
}

// blockWithin returns the deepest block around an entry that begins at the column or before it.
func (d *document) blockWithin(e *entry, column int) *node {
	for e != nil {
		if !e.in.flow && e.in.column <= column {
			return e.in
		}
		e = e.in.in
	}
	return d.root
}

// openFlow returns the innermost braces or brackets around an entry that are not closed at a place, or nil.
func openFlow(e *entry, at int) *node {
	for ; e != nil; e = e.in.in {
		if e.value.flow && e.value.start < at && at < e.value.end {
			return e.value
		}
		if e.in.flow && at < e.in.end {
			return e.in
		}
	}
	return nil
}

// within reports whether an entry stands in a node, at any depth.
func (e *entry) within(n *node) bool {
	for ; e != nil; e = e.in.in {
		if e.in == n {
			return true
		}
	}
	return false
}

// attach gives each comment and each blank line to the entry or the node that it is about.
func (d *document) attach() {
	gaps := make([][]trivia, len(d.order)+1) // by the number of entries before
	for _, t := range d.source.trivia() {
		if t.text != "" {
			d.all = append(d.all, t.text)
		}
		before := sort.Search(len(d.order), func(i int) bool { return d.order[i].start >= t.start })
		if t.behind && before > 0 {
			d.order[before-1].owner(t.start).addNote(t.text)
			continue
		}
		gaps[before] = append(gaps[before], t)
	}
	for i, gap := range gaps {
		var last, next *entry
		if i > 0 {
			last = d.order[i-1]
		}
		if i < len(d.order) {
			next = d.order[i]
		}
		d.fill(gap, last, next)
	}
}

// owner returns the entry that a comment behind e is about: the one that the braces belong to which were closed before it.
func (e *entry) owner(at int) *entry {
	for e.in.flow && e.in.end <= at && e.in.in != nil {
		e = e.in.in
	}
	return e
}

func (e *entry) addNote(text string) { e.notes = append(e.notes, text) }

// fill gives what stands between two entries to them.
func (d *document) fill(gap []trivia, last, next *entry) {
	if last == nil && next != nil {
		gap = d.fillHeader(gap)
	}
	for len(gap) > 0 {
		open := openFlow(last, gap[0].start)
		if open == nil {
			break
		}
		open.fill(gap[0], next)
		gap = gap[1:]
	}
	feet := 0
	for i, t := range gap {
		if t.text == "" {
			continue
		}
		if last == nil {
			break
		}
		if next != nil && t.column <= next.in.column {
			break
		}
		feet = i + 1
	}
	for i := 0; i < feet; {
		at := d.blockWithin(last, gap[max(i, nextComment(gap, i))].column)
		for end := nextComment(gap, i) + 1; i < end; i++ {
			at.foot = append(at.foot, line(gap[i].text))
		}
	}
	for _, t := range gap[feet:] {
		if next != nil {
			next.head = append(next.head, line(t.text))
		}
	}
}

// nextComment returns the place of the first comment from i on.
func nextComment(gap []trivia, i int) int {
	return i + slices.IndexFunc(gap[i:], func(t trivia) bool { return t.text != "" })
}

// fillHeader takes what stands at the top from the rest: up to the last blank line, and a line for editors.
func (d *document) fillHeader(gap []trivia) []trivia {
	end := 0
	for i, t := range gap {
		if t.text == "" || i == end && strings.HasPrefix(t.text, "# yaml-language-server:") {
			end = i + 1
		}
	}
	for _, t := range gap[:end] {
		d.header = append(d.header, line(t.text))
	}
	return gap[end:]
}

// fill gives a comment within braces to what it stands above; blank lines there mean nothing.
func (n *node) fill(t trivia, next *entry) {
	switch {
	case t.text == "":
	case next != nil && next.within(n):
		next.head = append(next.head, line(t.text))
	default:
		n.foot = append(n.foot, line(t.text))
	}
}

// differs says what another document does not have in common with this one: a value, or a comment. It is empty for equal ones.
func (d *document) differs(other *document) string {
	if what := d.root.differs(other.root); what != "" {
		return what
	}
	mine, theirs := slices.Sorted(slices.Values(d.all)), slices.Sorted(slices.Values(other.all))
	if !slices.Equal(mine, theirs) {
		return "a comment would be lost"
	}
	return ""
}

func (n *node) differs(other *node) string {
	switch {
	case n.kind != other.kind, len(n.entries) != len(other.entries):
		return "the shape of a value"
	case n.kind == strictyaml.Scalar && (n.text != other.text || n.null != other.null || n.style != other.style):
		return fmt.Sprintf("%.40q in place of %.40q", other.text, n.text)
	}
	byKey := map[string]*entry{}
	for _, e := range other.entries {
		if e.key != nil {
			byKey[e.key.text] = e
		}
	}
	for i, e := range n.entries {
		f := other.entries[i]
		if n.kind == strictyaml.Mapping {
			if f = byKey[e.key.text]; f == nil {
				return fmt.Sprintf("the key %.40q", e.key.text)
			}
		}
		if what := e.value.differs(f.value); what != "" {
			return what
		}
	}
	return ""
}
