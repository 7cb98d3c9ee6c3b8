package policy

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReachMeansWhatANaiveReadingMeans(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	reached, missed := 0, 0
	for range 400 {
		data := make([]byte, 600)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		d := &dice{data}
		m := d.model()
		p := indexed(t, m)
		for range 10 {
			role, call := m.Roles[d.n(len(m.Roles))].Name, d.call(t)
			publisher, model := d.one("google", "anthropic"), d.one("gemini-2.5-flash", "claude-sonnet-4-5@20250929", "gemini-3-preview")
			got := p.Reach(role, call, publisher, model)
			want := reachNaively(m, role, got.Call, publisher, model)
			if diff := cmp.Diff(want, idsOf(slices.Concat(got.Denies, got.Allows))); diff != "" {
				t.Fatalf("%s %s, %s/%s (-naive +got):\n%s\n%s", role, call.URI(), publisher, model, diff, dump(m))
			}
			if len(want) > 0 {
				reached++
			} else {
				missed++
			}
		}
	}
	if reached < 500 || missed < 100 {
		t.Errorf("%d calls reached and %d not: the test tries too little", reached, missed)
	}
}

func idsOf(rules []*Rule) []string {
	ids := []string{}
	for _, r := range rules {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids
}

// reachNaively goes through all rules.
func reachNaively(m *Model, role string, call Call, publisher, model string) []string {
	n := &naive{m: m, call: call, held: []string{role}, pub: call.Publisher, model: call.Model}
	if call.ModelInBody {
		n.pub, n.model = publisher, model
	}
	ids := []string{}
	if call.Surface != "" && !slices.ContainsFunc(m.Rules, func(r Rule) bool {
		return r.Effect == Allow && r.Mode == Enforce && slices.Contains(r.Methods, call.Method)
	}) {
		return ids
	}
	for i := range m.Rules {
		r := &m.Rules[i]
		if len(n.concerned(r)) > 0 && n.onCall(r) == "yes" && (r.Duties.Rewrite == "" || !call.ModelInBody) {
			ids = append(ids, r.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func TestReachOfNothing(t *testing.T) {
	p := allowing(t, Rule{ID: "all", Effect: Allow, Models: []string{"*"}})
	call := parsed(t, "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent")
	if got := p.Reach("eng", call, "", ""); len(got.Allows) != 1 {
		t.Fatalf("got %+v, want one rule", got)
	}
	for name, got := range map[string]Reach{
		"the nil policy":                      (*Policy)(nil).Reach("eng", call, "", ""),
		"the zero policy":                     (&Policy{}).Reach("eng", call, "", ""),
		"a role that there is not":            p.Reach("boss", call, "", ""),
		"a call that the parser did not make": p.Reach("eng", Call{Method: "generateContent"}, "", ""),
		"a call that no rule switches on":     p.Reach("eng", parsedAny(t, "POST", "/v1/projects/acme-ai/locations/europe-west1/cachedContents"), "", ""),
	} {
		if len(got.Allows)+len(got.Denies) > 0 {
			t.Errorf("%s reaches %+v", name, got)
		}
	}
}

// Every method beyond inference can be written, and what is written is read as that method.
func TestSurfaceTargetsAreReadAsTheirMethods(t *testing.T) {
	for _, name := range SurfaceMethods() {
		targets := SurfaceTargets(name)
		if len(targets) == 0 {
			t.Errorf("%s cannot be written", name)
		}
		for _, target := range targets {
			path := "/" + target.Version + "/projects/p1/locations/us-central1"
			if !strings.HasPrefix(target.Path, ":") {
				path += "/"
			}
			path += strings.ReplaceAll(target.Path, "*", "1")
			c, err := ParseAny(target.HTTPMethod, path)
			if err != nil || c.Method != name {
				t.Errorf("%s %s: got %s, %v, want %s", target.HTTPMethod, path, c.Method, err, name)
			}
		}
	}
	if got := SurfaceTargets("generateContent"); got != nil {
		t.Errorf("got %v for a call of inference, want none", got)
	}
}
