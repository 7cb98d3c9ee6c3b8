package format

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// source is the text of a file, and which parts of it are scalars.
type source struct {
	text    string
	lines   []int // where each line begins
	scalars []span
}

// span is a part of the text, in bytes.
type span struct{ start, end int }

func newSource(text string) source {
	s := source{text: text, lines: []int{0}}
	for i := range len(text) {
		if text[i] == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// offset returns the place of a line and a column, both from 1, the column in characters.
func (s *source) offset(line, column int) int {
	if line > len(s.lines) {
		return len(s.text)
	}
	at := s.lines[line-1]
	for ; column > 1 && at < len(s.text) && s.text[at] != '\n'; column-- {
		_, size := utf8.DecodeRuneInString(s.text[at:])
		at += size
	}
	return at
}

// at returns a byte of the text, and 0 at its end.
func (s *source) at(i int) byte {
	if i >= len(s.text) {
		return 0
	}
	return s.text[i]
}

// find returns the place of a mark, from a place on at which no scalar is; comments are passed over.
func (s *source) find(from int, mark byte) int {
	for i := from; i < len(s.text); i++ {
		switch {
		case s.text[i] == mark:
			return i
		case s.comment(i):
			i = s.lineEnd(i) - 1
		}
	}
	return len(s.text)
}

// comment reports whether a comment begins at a place.
func (s *source) comment(i int) bool {
	return s.text[i] == '#' && (i == 0 || strings.IndexByte(" \t\n", s.text[i-1]) >= 0)
}

func (s *source) lineEnd(i int) int {
	if end := strings.IndexByte(s.text[i:], '\n'); end >= 0 {
		return i + end
	}
	return len(s.text)
}

// scalar finds out how a scalar is written. It stands in a block that is indented so far, or within braces.
func (s *source) scalar(n *node, valued bool, indent int, flow bool) error {
	rest := s.text[min(n.start, len(s.text)):]
	n.style = s.at(n.start)
	switch {
	case n.style == '"' || n.style == '\'':
		n.end = n.start + quotedLength(rest)
	case !flow && (n.style == '|' || n.style == '>'):
		s.block(n, indent)
		return nil
	case valued:
		n.style, n.end = 0, n.start+plainLength(rest, n.text)
	default:
		n.style, n.null, n.end = 0, true, n.start+nullLength(rest)
	}
	if n.end < n.start || n.end == n.start && !n.null {
		return errors.New("a value is not found where it stands: " + n.text)
	}
	if n.end > n.start {
		s.scalars = append(s.scalars, span{n.start, n.end})
	}
	for i, text := range strings.Split(s.text[min(n.start, len(s.text)):n.end], "\n") {
		if i > 0 {
			text = strings.TrimLeft(text, " \t")
		}
		n.raw = append(n.raw, text)
	}
	return nil
}

// quotedLength returns how long the text in quotes is that s begins with, or -1.
func quotedLength(s string) int {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote == '"':
			i++
		case s[i] == quote && quote == '\'' && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return -1
}

// plainLength returns how much of s is a text without quotes: lines of it are joined by spaces. It is -1 when it is not there.
func plainLength(s, text string) int {
	at := 0
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' }) { // other space is a part of the text
		at += len(s[at:]) - len(strings.TrimLeft(s[at:], " \t\n"))
		if !strings.HasPrefix(s[at:], word) {
			return -1
		}
		at += len(word)
	}
	return at
}

// nullLength returns how long the word is by which no value is written, 0 when it is none.
func nullLength(s string) int {
	for _, word := range []string{"null", "Null", "NULL", "~"} {
		if rest, ok := strings.CutPrefix(s, word); ok && (rest == "" || strings.IndexByte(" \t\n,]}:", rest[0]) >= 0) {
			return len(word)
		}
	}
	return 0
}

// block reads a scalar whose lines stand below its mark. Its lines are kept without the block's indentation.
func (s *source) block(n *node, indent int) {
	end := n.start + 1
	explicit := 0
	for strings.IndexByte("+-123456789", s.at(end)) >= 0 && end < len(s.text) {
		if s.text[end] > '0' {
			explicit = int(s.text[end] - '0')
		}
		end++
	}
	mark := s.text[n.start:end]
	n.end = end
	s.scalars = append(s.scalars, span{n.start, end}) // a comment may follow
	inner := 0
	if explicit > 0 {
		inner = indent + explicit
		mark = strings.Replace(mark, string(rune('0'+explicit)), "2", 1)
	}
	var lines []string
	kept := 0
	for at := s.lineEnd(end) + 1; at < len(s.text); {
		stop := s.lineEnd(at)
		text := s.text[at:stop]
		depth := len(text) - len(strings.TrimLeft(text, " "))
		blank := depth == len(text)
		if !blank && depth <= indent {
			break
		}
		if !blank && inner == 0 {
			inner = depth
		}
		lines = append(lines, text)
		if !blank || strings.Contains(mark, "+") || inner > 0 && depth > inner {
			kept, n.end = len(lines), stop
		}
		at = stop + 1
	}
	if start := s.lineEnd(end) + 1; n.end > start {
		s.scalars = append(s.scalars, span{start, n.end})
	}
	n.raw = append(n.raw, mark)
	for _, text := range lines[:kept] {
		n.raw = append(n.raw, text[min(inner, len(text)):])
	}
}

// trivia is a comment, or a blank line when its text is empty.
type trivia struct {
	text   string
	start  int  // in bytes
	column int  // in characters, from 0
	behind bool // something stands before it on its line
}

// trivia returns all comments and blank lines in their order.
func (s *source) trivia() []trivia {
	var list []trivia
	next, line := 0, 0 // the next scalar, and where the line begins
	used := false      // something stands on the line
	for i := 0; i <= len(s.text); i++ {
		for next < len(s.scalars) && s.scalars[next].start < i {
			next++
		}
		switch {
		case next < len(s.scalars) && s.scalars[next].start == i:
			end := s.scalars[next].end
			if at := strings.LastIndexByte(s.text[i:end], '\n'); at >= 0 {
				line = i + at + 1
			}
			used = true
			i = end - 1
		case i == len(s.text):
		case s.text[i] == '\n':
			if !used {
				list = append(list, trivia{start: line})
			}
			line, used = i+1, false
		case s.comment(i):
			end := s.lineEnd(i)
			list = append(list, trivia{strings.TrimRightFunc(s.text[i:end], unicode.IsSpace), i, utf8.RuneCountInString(s.text[line:i]), used})
			used = true
			i = end - 1
		case s.text[i] != ' ' && s.text[i] != '\t':
			used = true
		}
	}
	return list
}
