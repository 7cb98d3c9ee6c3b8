package trial

import (
	"slices"
	"strings"

	"vertex-spoa/policy"
	"vertex-spoa/policy/strictyaml"
)

// readWant reads the decision that is wanted: allow [ROLE [RULE]], deny REASON [RULE], or need_body [RULE].
func (r *reader) readWant(n *strictyaml.Node, w *Want) {
	text, ok := n.Text(r.problems)
	if !ok {
		return
	}
	words := strings.Fields(text)
	if len(words) == 0 {
		words = []string{""}
	}
	most := map[string]int{"allow": 3, "deny": 3, "need_body": 2}[words[0]]
	switch {
	case most == 0:
		r.problems.Addf(n, "%s is none of allow, deny, need_body%s", strictyaml.Quote(words[0]),
			strictyaml.Suggest(words[0], []string{"allow", "deny", "need_body"}))
		return
	case len(words) > most:
		r.problems.Addf(r.word(n, text, most), "%s is more than is wanted of such a decision", strictyaml.Quote(words[most]))
		return
	}
	word := func(i int) (string, *strictyaml.Node) {
		if i >= len(words) {
			return "", n
		}
		return words[i], r.word(n, text, i)
	}
	switch words[0] {
	case "allow":
		w.Effect = policy.Allow
		w.Role = r.known("role", r.roles())(word(1))
		w.Rule = r.known("rule", r.rules())(word(2))
	case "deny":
		w.Effect = policy.Deny
		w.Rule = r.known("rule", r.rules())(word(2))
		if len(words) < 2 {
			r.problems.Addf(n, "deny needs a reason, such as NO_RULE: any other refusal would pass as well")
			return
		}
		w.Reason = policy.Reason(r.known("reason", reasons())(word(1)))
	case "need_body":
		w.Effect = policy.NeedBody
		w.Rule = r.known("rule", r.rules())(word(1))
	}
}

// word returns the place of a word of a text.
func (r *reader) word(n *strictyaml.Node, text string, i int) *strictyaml.Node {
	_, column := wordAt(text, i)
	return n.Within(1, column)
}

// wordAt returns a word of a text and where it begins, in characters. Beyond the last word it is empty, at the end.
func wordAt(text string, i int) (word string, column int) {
	rest := text
	for {
		trimmed := strings.TrimLeft(rest, " \t\n")
		column += len([]rune(rest)) - len([]rune(trimmed))
		end := strings.IndexAny(trimmed, " \t\n")
		if end < 0 {
			end = len(trimmed)
		}
		if i == 0 || trimmed == "" {
			return trimmed[:end], column
		}
		column += len([]rune(trimmed[:end]))
		rest, i = trimmed[end:], i-1
	}
}

// known returns a function that passes a name on and adds a problem when it is none of the names there are.
func (r *reader) known(what string, names []string) func(string, *strictyaml.Node) string {
	return func(name string, n *strictyaml.Node) string {
		if name != "" && !slices.Contains(names, name) {
			r.problems.Addf(n, "unknown %s %s%s", what, strictyaml.Quote(name), strictyaml.Suggest(name, names))
		}
		return name
	}
}

func (r *reader) roles() []string {
	var names []string
	for i := range r.model.Roles {
		names = append(names, r.model.Roles[i].Name)
	}
	return names
}

func (r *reader) rules() []string {
	var names []string
	for i := range r.model.Rules {
		names = append(names, r.model.Rules[i].ID)
	}
	return names
}

func reasons() []string {
	var names []string
	for _, reason := range policy.Reasons() {
		names = append(names, string(reason))
	}
	return names
}

// account reads a service account, in full or by its short name.
func (r *reader) account(n *strictyaml.Node) string {
	text, _ := n.Text(r.problems)
	if text != "" && !strings.Contains(text, "@") {
		text += "@" + r.model.Project + ".iam.gserviceaccount.com"
	}
	return text
}

func (r *reader) readShadow(n *strictyaml.Node, w *Want) {
	w.Shadow = []string{}
	if text, ok := n.Text(&strictyaml.Problems{}); ok && text == "none" {
		return
	}
	known := r.known("rule", r.rules())
	for _, item := range n.Items(r.problems) {
		if text, ok := item.Text(r.problems); ok {
			w.Shadow = append(w.Shadow, known(text, item))
		}
	}
	slices.Sort(w.Shadow)
}
