package policy

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"vertex-spoa/policy/strictyaml"
)

// compilation is one condition that is to be made ready: equal ones are made ready once.
type compilation struct {
	env      *whenEnv
	text     string
	deny     bool
	when     *when
	problems []whenProblem
}

// compile makes all conditions in CEL ready.
func (b *builder) compile(problems *strictyaml.Problems) {
	var w *whens
	jobs := map[string]*compilation{}
	envs := map[string]*whenEnv{}
	var list []*compilation
	of := map[*Rule]*compilation{}
	for i := range b.m.Rules {
		r := &b.m.Rules[i]
		if r.When == nil {
			continue
		}
		var err error
		if w == nil {
			w, err = newWhens()
		}
		var env *whenEnv
		if err == nil {
			env, err = b.env(w, r, envs)
		}
		if err != nil {
			r.When.problem(problems, 1, 0, "%v", err)
			return
		}
		key := env.key + "\x00" + r.Effect.String() + "\x00" + r.When.Text
		if jobs[key] == nil {
			jobs[key] = &compilation{env: env, text: r.When.Text, deny: r.Effect == Deny}
			list = append(list, jobs[key])
		}
		of[r] = jobs[key]
	}
	compileAll(w, list)
	b.number(list)
	for i := range b.m.Rules {
		if c := of[&b.m.Rules[i]]; c != nil {
			for _, p := range c.problems {
				b.m.Rules[i].When.problem(problems, p.line, p.column, "%s", p.message)
			}
		}
	}
	for _, r := range b.policy.rules {
		if c := of[r.Rule]; c != nil {
			r.when = c.when
		}
	}
}

// env returns the terms in which the condition of a rule is told.
func (b *builder) env(w *whens, r *Rule, envs map[string]*whenEnv) (*whenEnv, error) {
	roles := "*"
	if r.Roles != nil {
		roles = strings.Join(r.Roles, "\x00")
	}
	if envs[roles] != nil {
		return envs[roles], nil
	}
	env, err := w.env(b.issuersOf(r))
	envs[roles] = env
	return env, err
}

// compileAll uses all processors: a condition takes longer to compile than everything else about a rule together.
func compileAll(w *whens, list []*compilation) {
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list)) {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				list[i].when, list[i].problems = w.compile(list[i].env, list[i].text, list[i].deny)
			}
		})
	}
	group.Wait()
}

// number numbers the parts that depend on the caller alone.
func (b *builder) number(list []*compilation) {
	for _, c := range list {
		if c.when == nil {
			continue
		}
		for _, p := range c.when.parts {
			if p.need == 0 {
				p.number = b.policy.parts
				b.policy.parts++
			}
		}
	}
}
