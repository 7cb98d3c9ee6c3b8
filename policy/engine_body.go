package policy

import (
	"slices"
	"strconv"
	"strings"

	"vertex-spoa/policy/body"
)

// bodyCheck is the condition `body` of a rule, made ready.
type bodyCheck struct {
	*BodyRule
	tools      globs
	mediaTypes globs
}

func newBodyCheck(r *BodyRule) *bodyCheck {
	if r == nil {
		return nil
	}
	return &bodyCheck{r, newGlobs(r.Tools), newGlobs(r.MediaTypes)}
}

// harms are the categories that have to be blocked for a body to be as safe as a rule wants it.
func harms() [4]string {
	return [4]string{"HARM_CATEGORY_HARASSMENT", "HARM_CATEGORY_HATE_SPEECH", "HARM_CATEGORY_SEXUALLY_EXPLICIT", "HARM_CATEGORY_DANGEROUS_CONTENT"}
}

// bodyPart is one condition on a body.
type bodyPart struct {
	name   string
	holds  bool
	absent bool // the body does not say
}

// verdict compares a body with the condition. What the body leaves out may be anything: it does not satisfy an allow rule, and it does not
// save a call from a deny rule. Of a body that is not understood nothing can be said but its size. Cached content has tools, an instruction
// and media of its own, so that a body which names some does not say what all of them are.
func (b *bodyCheck) verdict(f *body.Facts, deny bool) verdict {
	result := yes
	b.each(f, func(p *bodyPart) bool {
		result = min(result, p.verdict(f, deny))
		return result != no
	})
	return result
}

func (p *bodyPart) verdict(f *body.Facts, deny bool) verdict {
	switch {
	case p.absent && f.Opaque():
		return failed
	case p.absent:
		return verdictOf(deny)
	}
	return verdictOf(p.holds)
}

// each calls f for each part of the condition until it returns false.
func (b *bodyCheck) each(facts *body.Facts, f func(*bodyPart) bool) {
	var p bodyPart
	opaque, cached := facts.Opaque(), facts.CachedContent.Set
	next := func(name string, holds, absent bool) bool {
		p = bodyPart{name: name, holds: holds && !opaque, absent: absent || opaque}
		return f(&p)
	}
	if b.MaxBytes > 0 {
		p = bodyPart{name: "maxBytes", holds: facts.Bytes <= b.MaxBytes}
		if !f(&p) {
			return
		}
	}
	_ = b.MaxOutputTokens != nil && !next("maxOutputTokens", b.MaxOutputTokens.has(float64(facts.MaxOutputTokens.Value)), !facts.MaxOutputTokens.Set) ||
		b.CandidateCount != nil && !next("candidateCount", b.CandidateCount.has(float64(facts.Candidates.Value)), !facts.Candidates.Set) ||
		b.Temperature != nil && !next("temperature", b.Temperature.has(facts.Temperature.Value), !facts.Temperature.Set) ||
		b.NoTools && !next("tools", len(facts.Tools) == 0, cached) ||
		b.tools != nil && !next("tools", b.tools.all(facts.Tools), cached) ||
		b.SystemInstruction != Anything && !next("systemInstruction", facts.SystemInstruction == (b.SystemInstruction == Required), cached) ||
		b.SafetyMin != "" && !next("safetySettings", safe(facts.Safety, b.SafetyMin), false) ||
		b.mediaTypes != nil && !next("mediaTypes", b.mediaTypes.all(facts.MediaTypes), cached)
}

// all reports whether each of the names matches one of the patterns.
func (gs globs) all(names []string) bool {
	for _, name := range names {
		if !gs.match(name) {
			return false
		}
	}
	return true
}

func (r *Range) has(v float64) bool {
	return (r.Min == nil || v >= *r.Min) && (r.Max == nil || v <= *r.Max)
}

// safe reports whether every harm is blocked at the threshold or a stricter one, and no setting says otherwise.
func safe(settings []body.Safety, threshold string) bool {
	strict := SafetyThresholds()
	weakest := slices.Index(strict, threshold)
	for _, category := range harms() {
		if !slices.ContainsFunc(settings, func(s body.Safety) bool { return s.Category == category }) {
			return false
		}
	}
	return !slices.ContainsFunc(settings, func(s body.Safety) bool {
		at := slices.Index(strict, s.Threshold)
		return at < 0 || at > weakest
	})
}

// describe puts a part that does not hold into words.
func (b *bodyCheck) describe(p *bodyPart, f *body.Facts) (want, got string) {
	number := func(r *Range, v string) (string, string) { return r.String(), v }
	switch p.name {
	case "maxBytes":
		return "at most " + strconv.Itoa(b.MaxBytes), strconv.Itoa(f.Bytes)
	case "maxOutputTokens":
		want, got = number(b.MaxOutputTokens, strconv.FormatInt(f.MaxOutputTokens.Value, 10))
	case "candidateCount":
		want, got = number(b.CandidateCount, strconv.FormatInt(f.Candidates.Value, 10))
	case "temperature":
		want, got = number(b.Temperature, strconv.FormatFloat(f.Temperature.Value, 'g', -1, 64))
	case "tools":
		want, got = "none", listText(f.Tools)
		if !b.NoTools {
			want = "only " + listText(b.Tools)
		}
	case "systemInstruction":
		want, got = "none", "there is one"
		if b.SystemInstruction == Required {
			want, got = "one", "there is none"
		}
	case "safetySettings":
		want = "every harm blocked at " + b.SafetyMin + " or stricter"
		var list []string
		for _, s := range f.Safety {
			list = append(list, s.Category+": "+s.Threshold)
		}
		got = listText(list)
	case "mediaTypes":
		want, got = "only "+listText(b.MediaTypes), listText(f.MediaTypes)
	}
	if p.absent {
		got = "the body does not say"
	}
	return want, got
}

// String returns the range in words.
func (r *Range) String() string {
	var parts []string
	if r.Min != nil {
		parts = append(parts, "at least "+strconv.FormatFloat(*r.Min, 'g', -1, 64))
	}
	if r.Max != nil {
		parts = append(parts, "at most "+strconv.FormatFloat(*r.Max, 'g', -1, 64))
	}
	return strings.Join(parts, " and ")
}

// listText writes names in brackets; none are [].
func listText(names []string) string { return "[" + strings.Join(names, ", ") + "]" }
