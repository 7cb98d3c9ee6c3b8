package trial

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vertex-spoa/policy"
	"vertex-spoa/policy/strictyaml"
)

// suffix is how names of files of tests end.
const suffix = "_test.yaml"

// Bounds of what is read.
const (
	maxFiles = 1000
	maxTests = 100_000
)

// Load reads the files *_test.yaml below a folder, in byte order of their names, for the tests of a policy. Names that begin with a dot
// are passed over, as in policies. What is wrong with them is a *strictyaml.Error with everything that is; there may be no files at all.
func Load(dir string, p *policy.Policy) ([]Suite, error) {
	names, err := find(dir)
	if err != nil {
		return nil, fmt.Errorf("read tests: %w", err)
	}
	var problems strictyaml.Problems
	var suites []Suite
	count := 0
	for _, name := range names {
		data, err := readFile(name)
		if err != nil {
			return nil, fmt.Errorf("read tests: %w", err)
		}
		s := Read(name, data, p, &problems)
		if count += len(s.Tests); count > maxTests {
			return nil, fmt.Errorf("read tests: more than %d tests", maxTests)
		}
		suites = append(suites, s)
	}
	return suites, problems.Err()
}

func find(dir string) ([]string, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != root && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return filepath.SkipDir
			}
		case !entry.IsDir() && strings.HasSuffix(path, suffix):
			names = append(names, filepath.Join(dir, strings.TrimPrefix(path, root)))
		}
		if len(names) > maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	return io.ReadAll(io.LimitReader(f, strictyaml.MaxSize+1))
}

// Read reads one file of tests for a policy. What is wrong is added to problems, and the suite is then not whole.
func Read(name string, data []byte, p *policy.Policy, problems *strictyaml.Problems) Suite {
	r := reader{policy: p, model: p.Model(), problems: problems, suite: Suite{File: name}, callers: map[string]policy.Caller{}}
	if r.model == nil {
		problems.AddFile(name, "there is no policy to test")
		return r.suite
	}
	r.values = values{problems: problems, lines: strings.Split(string(data), "\n")}
	root := strictyaml.Parse(name, data, problems)
	if root == nil {
		return r.suite
	}
	var tests *strictyaml.Node
	root.Object(problems, []strictyaml.Field{
		{Name: "at", Read: func(n *strictyaml.Node) { r.at = r.time(n) }},
		{Name: "callers", Required: true, Read: r.readCallers},
		{Name: "tests", Required: true, Read: func(n *strictyaml.Node) { tests = n }},
	})
	if tests == nil {
		return r.suite
	}
	if tests.Kind != strictyaml.List {
		problems.Addf(tests, "want a list of tests, not %s", tests.Kind)
		return r.suite
	}
	for _, item := range tests.Items(problems) {
		r.readTest(item)
	}
	return r.suite
}

// reader reads one file.
type reader struct {
	policy   *policy.Policy
	model    *policy.Model
	problems *strictyaml.Problems
	values   values

	at      time.Time
	callers map[string]policy.Caller
	suite   Suite
}

// readCallers reads the callers by their names: an issuer each, with claims.
func (r *reader) readCallers(n *strictyaml.Node) {
	for _, e := range n.Entries(r.problems) {
		issuers := e.Value.Entries(r.problems)
		if len(issuers) != 1 {
			if e.Value.Kind == strictyaml.Mapping {
				r.problems.Addf(e.Key, "a caller comes from one issuer: write its name and the claims of the token")
			}
			r.callers[e.Name()] = policy.Caller{}
			continue
		}
		r.callers[e.Name()] = r.readCaller(issuers[0])
	}
}

func (r *reader) readCaller(e strictyaml.Entry) policy.Caller {
	c := policy.Caller{Issuer: e.Name(), Claims: map[string]any{}}
	at := slices.IndexFunc(r.model.Issuers, func(i policy.Issuer) bool { return i.Name == e.Name() })
	if at < 0 {
		var names []string
		for _, i := range r.model.Issuers {
			names = append(names, i.Name)
		}
		r.problems.Addf(e.Key, "unknown issuer %s%s", strictyaml.Quote(e.Name()), strictyaml.Suggest(e.Name(), names))
		return c
	}
	issuer := &r.model.Issuers[at]
	if issuer.URL != "" {
		c.Claims["iss"] = issuer.URL
	}
	if len(issuer.Audiences) > 0 {
		c.Claims["aud"] = issuer.Audiences[0]
	}
	for _, claim := range e.Value.Entries(r.problems) {
		v := r.values.of(claim.Value)
		if declared := issuer.Claims[claim.Name()]; declared != "" && !ofType(v, declared) {
			r.problems.Addf(claim.Value, "the issuer declares claim %s as %s: a token with another is refused", strictyaml.Quote(claim.Name()), declared)
		}
		c.Claims[claim.Name()] = v
	}
	subject := issuer.Subject
	if subject == "" {
		subject = "sub"
	}
	c.Subject, _ = c.Claims[subject].(string)
	return c
}

// readTest reads one test.
func (r *reader) readTest(n *strictyaml.Node) {
	before := r.problems.Len()
	t := Test{File: r.suite.File, Line: n.Line, Column: n.Column, Request: policy.Request{Now: r.at}}
	if !n.Object(r.problems, append(r.requestFields(&t), r.wantFields(&t.Want)...)) {
		return
	}
	if t.Name == "" {
		t.Name = t.As + ": " + t.Call
	}
	if r.problems.Len() == before {
		r.suite.Tests = append(r.suite.Tests, t)
	}
}

func (r *reader) text(to *string) func(*strictyaml.Node) {
	return func(n *strictyaml.Node) { *to, _ = n.Text(r.problems) }
}

// requestFields are the keys of what is asked.
func (r *reader) requestFields(t *Test) []strictyaml.Field {
	return []strictyaml.Field{
		{Name: "name", Read: r.text(&t.Name)},
		{Name: "as", Required: true, Read: func(n *strictyaml.Node) { t.As, t.Caller = r.caller(n) }},
		{Name: "call", Required: true, Read: func(n *strictyaml.Node) { r.readCall(n, t) }},
		{Name: "at", Read: func(n *strictyaml.Node) { t.Request.Now = r.time(n) }},
		{Name: "body", Read: func(n *strictyaml.Node) { r.readBody(n, t) }},
		{Name: "role", Read: r.text(&t.Request.Role)},
		{Name: "reason", Read: r.text(&t.Request.Reason)},
		{Name: "ip", Read: func(n *strictyaml.Node) { t.Request.IP = r.address(n) }},
		{Name: "id", Read: r.text(&t.Request.ID)},
		{Name: "headers", Read: func(n *strictyaml.Node) {
			n.Object(r.problems, []strictyaml.Field{
				{Name: "X-Vertex-AI-LLM-Request-Type", Read: r.text(&t.Request.Tier.RequestType)},
				{Name: "X-Vertex-AI-LLM-Shared-Request-Type", Read: r.text(&t.Request.Tier.SharedRequestType)},
			})
		}},
	}
}

// wantFields are the keys of what is wanted.
func (r *reader) wantFields(w *Want) []strictyaml.Field {
	return []strictyaml.Field{
		{Name: "want", Required: true, Read: func(n *strictyaml.Node) { r.readWant(n, w) }},
		{Name: "account", Read: func(n *strictyaml.Node) { w.Account = r.account(n) }},
		{Name: "uri", Read: r.text(&w.URI)},
		{Name: "shadow", Read: func(n *strictyaml.Node) { r.readShadow(n, w) }},
	}
}

// caller returns the caller of a name.
func (r *reader) caller(n *strictyaml.Node) (string, policy.Caller) {
	name, ok := n.Text(r.problems)
	c, known := r.callers[name]
	if ok && !known {
		var names []string
		for name := range r.callers {
			names = append(names, name)
		}
		slices.Sort(names)
		r.problems.Addf(n, "unknown caller %s%s", strictyaml.Quote(name), strictyaml.Suggest(name, names))
	}
	return name, c
}

func (r *reader) readCall(n *strictyaml.Node, t *Test) {
	text, ok := n.Text(r.problems)
	if !ok {
		return
	}
	var err error
	t.Call = text
	t.Method, t.Target, err = Target(text, r.model)
	var wrong *CallError
	if errors.As(err, &wrong) {
		r.problems.Addf(n.Within(1, wrong.Column), "%s", wrong.Message)
	}
}

// time reads a point in time.
func (r *reader) time(n *strictyaml.Node) time.Time {
	text, ok := n.Text(r.problems)
	if !ok {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		r.problems.Addf(n, "%s is not a time such as 2026-11-22T03:00:00Z", strictyaml.Quote(text))
	}
	return at
}

func (r *reader) address(n *strictyaml.Node) netip.Addr {
	text, ok := n.Text(r.problems)
	if !ok {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		r.problems.Addf(n, "%s is not an IP address", strictyaml.Quote(text))
	}
	return ip
}

// readBody reads a body, or what became of it.
func (r *reader) readBody(n *strictyaml.Node, t *Test) {
	if n.Kind == strictyaml.Mapping {
		t.State, t.Body = policy.BodyWhole, r.values.json(n)
		return
	}
	word, _ := n.Enum(r.problems, "none", "truncated", "unreadable")
	t.State = map[string]policy.BodyState{"none": policy.BodyAbsent, "truncated": policy.BodyTruncated, "unreadable": policy.BodyInvalid}[word]
}
