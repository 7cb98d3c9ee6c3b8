package status

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mostMarks is how many combining marks one after another are taken for writing. More would cover the lines above and below.
const mostMarks = 3

// Visible returns s so that a reader sees what is there: what does not show, or changes how its neighbours show, is written as \u202e, and
// what is not UTF-8 as \xff. That concerns controls, formats such as those that turn the direction of writing, spaces other than the
// ordinary one, characters without a picture, and piles of combining marks. Letters of all scripts stay.
func Visible(s string) string { return visible(s, false) }

// VisibleLines is Visible for text of several lines, which stay lines. Tabs stay as well.
func VisibleLines(s string) string { return visible(s, true) }

func visible(s string, lines bool) string {
	var b strings.Builder
	marks := 0
	for at := 0; at < len(s); {
		r, size := utf8.DecodeRuneInString(s[at:])
		marks++
		if !unicode.Is(unicode.M, r) {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[at])
		case lines && (r == '\n' || r == '\t'), shows(r) && marks <= mostMarks:
			b.WriteString(s[at : at+size])
		case r <= 0xff:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		at += size
	}
	return b.String()
}

// shows says whether a character has a picture of its own.
func shows(r rune) bool {
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) && r != '\u2800'
}
