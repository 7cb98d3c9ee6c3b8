package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"vertex-spoa/policy/strictyaml"
)

// readRevocations reads the file's bytes.
func readRevocations(file string) ([]byte, error) { return readSmall(file, strictyaml.MaxSize) }

// parseRevocations reads a deny list. On error it is nil.
func parseRevocations(name string, data []byte) (*Revocations, error) {
	sum := sha256.Sum256(data)
	r := &revocationReader{list: &Revocations{
		digest: hex.EncodeToString(sum[:]),
		tokens: map[[2]string]bool{}, sessions: map[[2]string]bool{}, keys: map[[2]string]bool{},
		subjects: map[[2]string]time.Time{}, before: map[string]time.Time{},
		certificates: map[string]bool{}, serials: map[[2]string]bool{},
	}}
	p := &r.problems
	if root := strictyaml.Parse(name, data, p); root != nil {
		root.Object(p, []strictyaml.Field{
			{Name: "version", Required: true, Read: func(n *strictyaml.Node) { _, _ = n.Enum(p, "1") }},
			{Name: "revoked", Required: true, Read: r.readList},
		})
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	slices.Sort(r.list.issuers)
	r.list.issuers = slices.Compact(r.list.issuers)
	return r.list, nil
}

type revocationReader struct {
	list     *Revocations
	problems strictyaml.Problems
}

func (r *revocationReader) readList(n *strictyaml.Node) {
	if n.Kind != strictyaml.List {
		r.problems.Addf(n, "want a list of entries; write [] to revoke nothing")
		return
	}
	var empty strictyaml.Problems // is fine here
	for _, item := range n.Items(&empty) {
		r.readEntry(item)
	}
}

// revocation is one entry of the file. The names of what it is about are those of its keys.
type revocation struct {
	issuer       string
	tokens       []string // jti
	subjects     []string
	sessions     []string // sid
	keys         []string // kid
	before       time.Time
	certificates []string // x5t#S256
	authority    string   // distinguished name
	serials      []string
	given        map[string]bool
}

func (r *revocationReader) readEntry(n *strictyaml.Node) {
	p, before := &r.problems, r.problems.Len()
	e := revocation{given: map[string]bool{}}
	field := func(name string, read func(*strictyaml.Node)) strictyaml.Field {
		return strictyaml.Field{Name: name, Read: func(n *strictyaml.Node) {
			e.given[name] = true
			read(n)
		}}
	}
	texts := func(to *[]string) func(*strictyaml.Node) {
		return func(n *strictyaml.Node) { *to, _ = n.Texts(p) }
	}
	n.Object(p, []strictyaml.Field{
		field("issuer", func(n *strictyaml.Node) { e.issuer, _ = n.Text(p) }),
		field("jti", texts(&e.tokens)),
		field("subject", texts(&e.subjects)),
		field("sid", texts(&e.sessions)),
		field("kid", texts(&e.keys)),
		field("issuedBefore", func(n *strictyaml.Node) { e.before = r.readTime(n) }),
		field("certificate", func(n *strictyaml.Node) { e.certificates = r.readEach(n, readThumbprint) }),
		field("certificateIssuer", func(n *strictyaml.Node) { e.authority = r.readName(n) }),
		field("serial", func(n *strictyaml.Node) { e.serials = r.readEach(n, readSerial) }),
		field("because", func(n *strictyaml.Node) { _, _ = n.Text(p) }),
	})
	if r.problems.Len() > before || !r.checkEntry(n, e.given) {
		return
	}
	r.list.entries++
	r.list.add(e)
}

// checkEntry demands that an entry is about one kind of thing, and names it in full.
func (r *revocationReader) checkEntry(n *strictyaml.Node, given map[string]bool) bool {
	about := slices.DeleteFunc([]string{"jti", "subject", "sid", "kid", "certificate", "serial"}, func(key string) bool { return !given[key] })
	problems := r.problems.Len()
	switch {
	case len(about) > 1:
		r.problems.Addf(n, "%s and %s in one entry: write an entry for each", about[0], about[1])
	case given["serial"] != given["certificateIssuer"]:
		r.problems.Addf(n, "a certificate is named by certificateIssuer and serial together, or by certificate")
	case given["certificate"] || given["serial"]:
		if given["issuer"] || given["issuedBefore"] {
			r.problems.Addf(n, "an entry for a certificate has no issuer and no issuedBefore")
		}
	case !given["issuer"]:
		r.problems.Addf(n, "missing key \"issuer\": the name of an issuer of the policy")
	case len(about) == 0 && !given["issuedBefore"]:
		r.problems.Addf(n, "the entry does not say what is revoked: write jti, subject, sid, kid or issuedBefore")
	case len(about) == 1 && about[0] != "subject" && given["issuedBefore"]:
		r.problems.Addf(n, "issuedBefore goes with subject or stands alone with issuer")
	}
	return r.problems.Len() == problems
}

func (r *revocationReader) readTime(n *strictyaml.Node) time.Time {
	text, ok := n.Text(&r.problems)
	if !ok {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.Year() < 1970 {
		r.problems.Addf(n, "%s is not a time such as 2026-11-22T10:00:00Z", strictyaml.Quote(text))
	}
	return at
}

func (r *revocationReader) readName(n *strictyaml.Node) string {
	text, ok := n.Text(&r.problems)
	if !ok {
		return ""
	}
	pattern, err := parseName(text)
	if err != nil {
		r.problems.Addf(n, "%s is not a name such as CN=Acme CA,O=Acme: %v", strictyaml.Quote(text), err)
		return ""
	}
	name, err := pattern.exact()
	if err != nil {
		r.problems.Addf(n, "%v", err)
	}
	return name.String()
}

// readEach reads one or several texts, each of which read makes canonical or, with a false, refuses.
func (r *revocationReader) readEach(n *strictyaml.Node, read func(string) (canonical, want string, ok bool)) []string {
	var list []string
	for _, item := range n.Items(&r.problems) {
		text, ok := item.Text(&r.problems)
		if !ok {
			continue
		}
		canonical, want, ok := read(text)
		if !ok {
			r.problems.Addf(item, "%s is not %s", strictyaml.Quote(text), want)
		}
		list = append(list, canonical)
	}
	return list
}

func readThumbprint(text string) (canonical, want string, ok bool) {
	return text, "the SHA-256 of a certificate in base64url, 43 characters", isThumbprint(text)
}

// readSerial takes what tools print: any case, maybe with colons, maybe with leading zeros.
func readSerial(text string) (canonical, want string, ok bool) {
	const form = "a serial number in hex such as 0a:1b:2c"
	digits := strings.ToLower(strings.ReplaceAll(text, ":", ""))
	if digits == "" || len(digits) > 64 || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", form, false
	}
	if digits = strings.TrimLeft(digits, "0"); digits == "" {
		digits = "0"
	}
	return digits, form, true
}

// lowerName makes a distinguished name ready for comparison: case does not count in most of its attributes, and a revocation must not fail
// for it.
func lowerName(name string) string { return strings.ToLower(name) }

// add takes an entry in. Of two times for the same thing the later one counts.
func (l *Revocations) add(e revocation) {
	put := func(to map[[2]string]bool, by string, list []string) {
		for _, text := range list {
			to[[2]string{by, text}] = true
		}
	}
	put(l.tokens, e.issuer, e.tokens)
	put(l.sessions, e.issuer, e.sessions)
	put(l.keys, e.issuer, e.keys)
	put(l.serials, lowerName(e.authority), e.serials)
	for _, c := range e.certificates {
		l.certificates[c] = true
	}
	before := e.before
	if !e.given["issuedBefore"] {
		before = forever
	}
	for _, subject := range e.subjects {
		if by := [2]string{e.issuer, subject}; l.subjects[by].Before(before) {
			l.subjects[by] = before
		}
	}
	if e.given["issuedBefore"] && len(e.subjects) == 0 && l.before[e.issuer].Before(before) {
		l.before[e.issuer] = before
	}
	if e.issuer != "" {
		l.issuers = append(l.issuers, e.issuer)
	}
}
