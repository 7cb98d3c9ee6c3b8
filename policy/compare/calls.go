package compare

import (
	"slices"
	"strings"
)

// Calls are all calls that can be made of these names. A name with a star is a sample of what the pattern stands for; a lone star in a list
// is every name that was looked at, other names of the list or not. A list is empty where calls have no such name, or where it is that of
// the defaults.
type Calls struct {
	Methods    []string `json:"methods"` // groups, and the methods that rules name by themselves
	Publishers []string `json:"publishers,omitempty"`
	Models     []string `json:"models,omitempty"`
	Endpoints  []string `json:"endpoints,omitempty"` // ids
	Locations  []string `json:"locations,omitempty"`
	Projects   []string `json:"projects,omitempty"`
}

// dimensions returns the lists of which the calls are made, in the order in which calls are merged.
func (c *Calls) dimensions() [6]*[]string {
	return [6]*[]string{&c.Locations, &c.Publishers, &c.Methods, &c.Models, &c.Endpoints, &c.Projects}
}

// merge puts calls together that differ in one list only, as far as that goes. Where a list then has all of the names of every, it becomes
// a lone star.
func merge(list []Calls, every *Calls) []Calls {
	for d := range every.dimensions() {
		list = mergeBy(list, d, *every.dimensions()[d])
	}
	return list
}

func mergeBy(list []Calls, d int, every []string) []Calls {
	at := map[string]int{}
	var merged []Calls
	for i := range list {
		var key strings.Builder
		for other, names := range list[i].dimensions() {
			if other != d {
				key.WriteString(strings.Join(*names, "\x01") + "\x00")
			}
		}
		n, ok := at[key.String()]
		if !ok {
			at[key.String()] = len(merged)
			merged = append(merged, list[i])
			continue
		}
		to := merged[n].dimensions()[d]
		*to = slices.Concat(*to, *list[i].dimensions()[d])
	}
	for i := range merged {
		to := merged[i].dimensions()[d]
		*to = slices.Compact(slices.Sorted(slices.Values(*to)))
		if *to = simplify(*to); len(every) > 0 && slices.Equal(*to, every) {
			*to = []string{"*"}
		}
	}
	return merged
}

// simplify leaves out what another pattern of the list covers.
func simplify(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool {
		return slices.ContainsFunc(list, func(other string) bool { return other != name && pattern(other).covers(pattern(name)) })
	})
}

// String returns the calls in one line: generate, stream on gemini-2.5-* in europe-west1 of acme-ai.
func (c *Calls) String() string {
	var b strings.Builder
	b.WriteString(listed(c.Methods))
	what := c.Models
	if len(c.Publishers) > 0 && c.Publishers[0] != "*" {
		what = nil
		for _, publisher := range c.Publishers {
			for _, model := range c.Models {
				what = append(what, publisher+"/"+model)
			}
			if len(c.Models) == 0 {
				what = append(what, publisher)
			}
		}
	}
	for _, id := range c.Endpoints {
		what = append(what, "endpoints/"+id)
	}
	for _, part := range []struct {
		word  string
		names []string
	}{{" on ", what}, {" in ", c.Locations}, {" of ", c.Projects}} {
		switch {
		case len(part.names) == 0:
		case part.names[0] == "*" && part.word == " in ":
			b.WriteString(" everywhere")
		default:
			b.WriteString(part.word + listed(part.names))
		}
	}
	return b.String()
}
