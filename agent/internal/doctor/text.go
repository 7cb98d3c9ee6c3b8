package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent/internal/secret"
)

const maxText = 400 // bytes of a text in a Check

// clean makes a text fit for a Check: one line, printable, bounded.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, text[:min(len(text), 4*maxText)])
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), maxText)]
}

// looksSecret is what tokens of Google and JWTs look like.
var looksSecret = regexp.MustCompile(`ya29\.|eyJ[A-Za-z0-9_-]{8}`)

const secretPart = 12 // bytes of a token in a row that are taken for a part of it

// withoutToken returns foreign text, cleaned, or nothing of it if it repeats a part of the token or looks as if it held another.
func withoutToken(text string, token secret.Text) string {
	text = text[:min(len(text), 4*maxText)]
	for i := 0; i+secretPart <= len(text); i++ {
		if strings.Contains(token.Reveal(), text[i:i+secretPart]) {
			return "[not shown: it repeats a token]"
		}
	}
	if looksSecret.MatchString(text) {
		return "[not shown: it looks like a token]"
	}
	return clean(text)
}

// shortScopes returns scopes as a policy may write them.
func shortScopes(scopes []string) string {
	short := slices.Clone(scopes)
	for i := range short {
		short[i] = strings.TrimPrefix(short[i], "https://www.googleapis.com/auth/")
	}
	return strings.Join(short, ", ")
}

// span renders a duration for people: 1h, 59m58s, 12s.
func span(d time.Duration) string {
	text := d.Round(time.Second).String()
	if rest, ok := strings.CutSuffix(text, "m0s"); ok && d >= time.Minute {
		text = rest + "m"
	}
	if rest, ok := strings.CutSuffix(text, "h0m"); ok {
		text = rest + "h"
	}
	return text
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// quoted returns s as one word of a POSIX shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
