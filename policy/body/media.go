package body

import (
	"bytes"
	"strings"
)

// unknown stands for the type or the place of a part that does not say it.
const unknown = "unknown"

// media adds the type of a part that is not text, without its parameters.
func (d *document) media(f *Facts, t Opt[string], at value) {
	name, _, _ := strings.Cut(t.Value, ";")
	if name = strings.ToLower(strings.TrimSpace(name)); name == "" {
		name = unknown
	}
	d.add(&f.MediaTypes, name, at)
}

// file adds the place of a file: the scheme and the first part behind it. Part is what holds it, for one that is absent.
func (d *document) file(f *Facts, v value, name string, part value) {
	place := unknown + ":"
	if v = d.is(v, text, name); v != absent {
		place = placeOf(d.beginning(v))
	}
	d.add(&f.Files, place, part)
}

// beginning returns at most the first MaxName bytes of a text; they hold until the next call.
func (d *document) beginning(v value) []byte {
	b := d.name(&d.nodes[v])
	return b[:min(len(b), MaxName)]
}

// placeOf returns what a rule may say about a URI: gs://bucket, https://host[:port] in lower case, or the scheme with its colon.
func placeOf(uri []byte) string {
	scheme, rest, found := bytes.Cut(uri, []byte(":"))
	if !found || len(scheme) == 0 || len(scheme) > 32 {
		return unknown + ":"
	}
	s := strings.ToLower(string(scheme)) + ":"
	rest, found = bytes.CutPrefix(rest, []byte("//"))
	if !found {
		return s
	}
	if end := bytes.IndexAny(rest, `/\?#`); end >= 0 {
		rest = rest[:end]
	}
	if s == "gs:" {
		return s + "//" + string(rest) // case counts in none of a bucket's names, which are in lower case; another is another
	}
	return s + "//" + strings.ToLower(string(rest))
}

// url reads a URL that names a file or holds one: data:image/png;base64,…
func (d *document) url(f *Facts, v value, name, guess string, part value) {
	if v = d.is(v, text, name); v == absent {
		d.media(f, Opt[string]{}, part)
		d.file(f, absent, name, part)
		return
	}
	b := d.beginning(v)
	if len(b) < 5 || !strings.EqualFold(string(b[:5]), "data:") {
		d.media(f, Opt[string]{guess, true}, part)
		d.file(f, v, name, part)
		return
	}
	head, _, found := bytes.Cut(b[5:], []byte(","))
	if !found {
		head = nil
	}
	d.media(f, Opt[string]{string(head), true}, part)
}
