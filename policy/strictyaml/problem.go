package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// maxProblems bounds what a Problems keeps; more are only counted.
const maxProblems = 100

// Problem is one mistake in a file.
type Problem struct {
	File    string
	Line    int    // from 1; 0 when the problem concerns the whole file
	Column  int    // from 1, in characters
	Path    string // the keys that lead to the place, joined by dots; empty at the top
	Message string // what is wrong and what to do about it
	Excerpt string // the line, made printable
}

// String renders the problem: the message, the place, and the line with a mark below the column.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString("error: " + p.Message + "\n  --> " + p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Path != "" {
		b.WriteString(" (" + p.Path + ")")
	}
	if p.Line > 0 {
		line, column := window(p.Excerpt, p.Column)
		fmt.Fprintf(&b, "\n%5d | %s\n      | %s^", p.Line, line, strings.Repeat(" ", column-1))
	}
	return b.String()
}

// window cuts a long line to what stands around the column.
func window(line string, column int) (string, int) {
	const width = 120
	runes := []rune(line)
	column = min(max(column, 1), len(runes)+1)
	if len(runes) <= width {
		return line, column
	}
	start := max(0, column-1-width/2)
	end := min(len(runes), start+width)
	return string(runes[start:end]), column - start
}

// Problems collects what is wrong in one file or in several that are read together. The zero value is ready for use. It keeps the
// first 100 problems added and counts the others. It is not safe for concurrent use.
type Problems struct {
	list    []Problem
	omitted int
}

// Addf adds a problem at the place of n.
func (p *Problems) Addf(n *Node, format string, args ...any) {
	if p.full() {
		p.omitted++
		return
	}
	p.add(Problem{
		File: n.file.name, Line: n.Line, Column: n.Column, Path: n.path(),
		Message: fmt.Sprintf(format, args...), Excerpt: n.file.line(n.Line),
	})
}

// AddFile adds a problem that concerns a whole file or folder.
func (p *Problems) AddFile(name, format string, args ...any) {
	p.add(Problem{File: name, Message: fmt.Sprintf(format, args...)})
}

func (p *Problems) add(problem Problem) {
	if p.full() {
		p.omitted++
		return
	}
	p.list = append(p.list, problem)
}

// join adds the problems of q.
func (p *Problems) join(q *Problems) {
	for _, problem := range q.list {
		p.add(problem)
	}
	p.omitted += q.omitted
}

// full reports that further problems are only counted.
func (p *Problems) full() bool { return len(p.list) >= maxProblems }

// Len returns the number of problems added.
func (p *Problems) Len() int { return len(p.list) + p.omitted }

// Err returns nil when nothing was added, and an *Error otherwise.
func (p *Problems) Err() error {
	if p.Len() == 0 {
		return nil
	}
	list := slices.Clone(p.list)
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{Problems: list, Omitted: p.omitted}
}

// Error is all that is wrong, sorted by file, line and column.
type Error struct {
	Problems []Problem
	Omitted  int // problems beyond the first 100
}

// Error renders every problem and their number, on several lines.
func (e *Error) Error() string {
	var b strings.Builder
	for _, p := range e.Problems {
		b.WriteString(p.String() + "\n")
	}
	if e.Omitted > 0 {
		fmt.Fprintf(&b, "and %d more that are not shown\n", e.Omitted)
	}
	if n := len(e.Problems) + e.Omitted; n != 1 {
		return b.String() + strconv.Itoa(n) + " errors"
	}
	return b.String() + "1 error"
}

// Quote returns s in quotes, printable and cut to a bounded length, for messages.
func Quote(s string) string {
	const most = 64
	if runes := []rune(s); len(runes) > most {
		return strconv.Quote(string(runes[:most])) + "..."
	}
	return strconv.Quote(s)
}

// printable replaces what a terminal would not show as one character.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
