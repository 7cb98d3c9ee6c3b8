package policy

import (
	"strconv"
	"strings"

	"vertex-spoa/policy/strictyaml"
)

var bodyTable = newTable(
	rangeField("maxOutputTokens", "How many tokens the answer may have. A number alone is the most.",
		true, func(b *BodyRule) **Range { return &b.MaxOutputTokens }),
	rangeField("temperature", "The temperature.", false, func(b *BodyRule) **Range { return &b.Temperature }),
	rangeField("candidateCount", "How many answers are asked for.", true, func(b *BodyRule) **Range { return &b.CandidateCount }),
	custom("tools", "`none`, or names of the tools that may be given: `googleSearch`, `codeExecution`, `fn:get_*` for functions.",
		severalOf(textOf("none or a tool", "none", "googleSearch", "fn:get_*")),
		readTools),
	presenceField("systemInstruction", "Whether there is a system instruction.",
		func(b *BodyRule) *Presence { return &b.SystemInstruction }),
	mapping("safetySettings", "How strict the safety settings are.", safetyTable, func(b *BodyRule) *BodyRule { return b }),
	texts("mediaTypes", "Types of the media that may be given; * stands for any text.",
		textOf("a media type", "image/*"), func(b *BodyRule) *[]string { return &b.MediaTypes },
		func(l *loader, n *strictyaml.Node, text string) {
			kind, sub, ok := strings.Cut(text, "/")
			if text != "*" && (!ok || !isMediaName(kind) || !isMediaName(sub)) {
				l.problems.Addf(n, "%s is not a media type such as image/png or image/*", strictyaml.Quote(text))
			}
		}),
	custom("maxBytes", "How long the whole body may be.",
		valueShape{kind: integerShape, least: 1, most: 1 << 30}, func(l *loader, n *strictyaml.Node, b *BodyRule) {
			b.MaxBytes, _ = n.Int(&l.problems, 1, 1<<30)
		}),
)

var safetyTable = newTable(
	word("min", "The threshold of each of the four categories of harm, or a stricter one; none of them may be left out.",
		SafetyThresholds(), func(b *BodyRule) *string { return &b.SafetyMin }).must(),
)

func isMediaName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || 'A' <= r && r <= 'Z' })
}

// rangeText is a Range that is being read.
type rangeText struct {
	*Range
	whole bool
}

var rangeTable = newTable(
	custom("min", "The least.",
		valueShape{kind: numberShape}, func(l *loader, n *strictyaml.Node, r *rangeText) { r.Min = l.readNumber(n, r.whole) }),
	custom("max", "The most.",
		valueShape{kind: numberShape}, func(l *loader, n *strictyaml.Node, r *rangeText) { r.Max = l.readNumber(n, r.whole) }),
)

// rangeField is a field that holds bounds: a number, which is the most, or a mapping with min and max.
func rangeField(name, doc string, whole bool, at func(*BodyRule) **Range) field[BodyRule] {
	s := either(valueShape{kind: numberShape}, rangeTable.valueShape())
	return custom(name, doc, s, func(l *loader, n *strictyaml.Node, b *BodyRule) {
		before := l.problems.Len()
		r := rangeText{&Range{}, whole}
		if n.Kind != strictyaml.Mapping {
			r.Max = l.readNumber(n, whole)
		} else {
			rangeTable.read(l, n, &r)
		}
		*at(b) = r.Range
		switch {
		case l.problems.Len() > before:
		case r.Min == nil && r.Max == nil:
			l.problems.Addf(n, "neither min nor max: write one of them")
		case r.Min != nil && r.Max != nil && *r.Min > *r.Max:
			l.problems.Addf(n, "min is more than max: no body could satisfy that")
		}
	})
}

// readNumber reads a decimal number that is not negative.
func (l *loader) readNumber(n *strictyaml.Node, whole bool) *float64 {
	text, ok := n.Text(&l.problems)
	if !ok {
		return nil
	}
	want := "a number such as 0.5"
	if whole {
		want = "a whole number"
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.Trim(text, "0123456789.") != "" || v > 1e9 || whole && strings.Contains(text, ".") {
		l.problems.Addf(n, "%s is not %s", strictyaml.Quote(text), want)
		return nil
	}
	return &v
}

func readTools(l *loader, n *strictyaml.Node, b *BodyRule) {
	b.Tools = l.readTexts(n, func(l *loader, n *strictyaml.Node, text string) {
		if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			l.problems.Addf(n, "%s is not the name of a tool", strictyaml.Quote(text))
		}
	})
	for _, text := range b.Tools {
		if text == "none" {
			b.NoTools = true
		}
	}
	if b.NoTools && len(b.Tools) > 1 {
		l.problems.Addf(n, "none stands alone: it would forbid the tools beside it")
	}
	if b.NoTools {
		b.Tools = nil
	}
}

func presenceField(name, doc string, at func(*BodyRule) *Presence) field[BodyRule] {
	return custom(name, doc, valueShape{kind: textShape, words: []string{"required", "forbidden"}},
		func(l *loader, n *strictyaml.Node, b *BodyRule) {
			switch text, _ := n.Enum(&l.problems, "required", "forbidden"); text {
			case "required":
				*at(b) = Required
			case "forbidden":
				*at(b) = Forbidden
			}
		})
}
