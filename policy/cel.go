package policy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// Bounds on conditions in CEL. The costs are CEL's own unit, about one per operation.
const (
	maxWhenText  = 4096      // bytes of one condition
	maxWhenDepth = 50        // how deep it nests
	plainCost    = 10_000    // a condition that cannot cost more is run without counting
	runCost      = 20_000    // a condition with loops or patterns is stopped here, as one that failed
	loadCost     = 1_000_000 // one that could cost more does not load
)

// Sizes that conditions meet at most, for the estimate of their costs.
const (
	maxNameSize  = 256  // names in calls, issuers and roles
	maxClaimSize = 8192 // a token is not longer
	maxListSize  = 128  // of claims and of the lists of a body, as a rule
)

// whenProblem is one thing that is wrong with a condition.
type whenProblem struct {
	line    int // from 1
	column  int // from 0, in characters
	message string
}

// whens makes the conditions of one policy ready.
type whens struct {
	types *celTypes
	base  *cel.Env
	envs  map[string]*whenEnv // by type of the claims
}

// whenEnv is in which terms the conditions on the callers of some issuers are told.
type whenEnv struct {
	env     *cel.Env
	key     string
	claims  string          // the type of the variable claims
	require map[string]bool // claims that each of the callers has
}

func newWhens() (*whens, error) {
	libraries, err := cel.NewEnv(
		cel.ParserExpressionSizeLimit(maxWhenText), cel.ParserRecursionLimit(maxWhenDepth), cel.EnableMacroCallTracking(),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(),
		cel.Function("glob", cel.Overload("glob_text_pattern", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(celGlob))),
		cel.Function("inNetwork",
			cel.Overload("in_network_one", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(celInNetwork)),
			cel.Overload("in_network_any", []*cel.Type{cel.StringType, cel.ListType(cel.StringType)}, cel.BoolType, cel.BinaryBinding(celInNetworks))),
	)
	if err != nil {
		return nil, err
	}
	t := newCELTypes(libraries.CELTypeProvider())
	options := []cel.EnvOption{
		cel.CustomTypeProvider(t), cel.Variable(bodyType, cel.ObjectType(bodyType)), cel.Variable("now", cel.TimestampType),
	}
	for _, name := range []string{"issuer", "subject", "role", "model", "publisher", "endpoint", "project", "location", "method", "ip"} {
		options = append(options, cel.Variable(name, cel.StringType))
	}
	base, err := libraries.Extend(options...)
	if err != nil {
		return nil, err
	}
	return &whens{types: t, base: base, envs: map[string]*whenEnv{}}, nil
}

// variables returns the names that conditions may use.
func (w *whens) variables() []string {
	return []string{"claims", "issuer", "subject", "role", "model", "publisher", "endpoint", "project", "location", "method", "body", "now", "ip", "glob", "inNetwork"}
}

// celGlob implements glob(text, pattern).
func celGlob(text, pattern ref.Val) ref.Val {
	s, ok := text.(types.String)
	p, ok2 := pattern.(types.String)
	if !ok || !ok2 {
		return types.MaybeNoSuchOverloadErr(text)
	}
	g := newGlob(string(p))
	return types.Bool(g.match(string(s)))
}

// celInNetwork implements inNetwork(ip, network).
func celInNetwork(ip, network ref.Val) ref.Val {
	s, ok := ip.(types.String)
	n, ok2 := network.(types.String)
	if !ok || !ok2 {
		return types.MaybeNoSuchOverloadErr(ip)
	}
	addr, err := netip.ParseAddr(string(s))
	if err != nil {
		return types.NewErr("inNetwork: %s is not an address", quote(string(s)))
	}
	prefix, err := parseNetwork(string(n))
	if err != nil {
		return types.NewErr("inNetwork: %v", err)
	}
	return types.Bool(prefix.Contains(addr.Unmap().WithZone("")))
}

func celInNetworks(ip, networks ref.Val) ref.Val {
	list, err := networks.ConvertToNative(reflectStrings)
	texts, ok := list.([]string)
	if err != nil || !ok {
		return types.MaybeNoSuchOverloadErr(networks)
	}
	var result ref.Val = types.False
	for _, text := range texts {
		switch v := celInNetwork(ip, types.String(text)); {
		case v == types.True:
			return v
		case types.IsError(v):
			result = v
		}
	}
	return result
}

// parseNetwork reads an address with a length of its prefix, or without one for the single address.
func parseNetwork(text string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(text); err == nil && prefix.Masked() == prefix && !prefix.Addr().Is4In6() {
		return prefix, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" && !addr.Is4In6() {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.Prefix{}, fmt.Errorf("%s is not a network such as 10.0.0.0/8", quote(text))
}

// env returns the terms for the callers of some issuers.
func (w *whens) env(issuers []*Issuer) (*whenEnv, error) {
	require := map[string]bool{"iss": true, "exp": true}
	for i, is := range issuers {
		if i == 0 {
			for _, name := range is.Require {
				require[name] = true
			}
			continue
		}
		for name := range require {
			require[name] = require[name] && (name == "iss" || name == "exp" || slices.Contains(is.Require, name))
		}
	}
	claims := w.types.claimsType(issuers)
	key := claims
	for _, name := range sortedKeys(require) {
		key += fmt.Sprintf("/%s!%t", name, require[name])
	}
	if e := w.envs[key]; e != nil {
		return e, nil
	}
	object := cel.ObjectType(claims)
	env, err := w.base.Extend(
		cel.Variable("claims", object),
		cel.Function(operators.Index, cel.Overload("claims_index", []*cel.Type{object, cel.StringType}, cel.DynType)),
		cel.Function(operators.OptIndex, cel.Overload("claims_optional_index", []*cel.Type{object, cel.StringType}, cel.OptionalType(cel.DynType))),
	)
	if err != nil {
		return nil, err
	}
	e := &whenEnv{env, key, claims, require}
	w.envs[key] = e
	return e, nil
}

// compile makes a condition of a rule ready. Its problems are in the order of the text. It is safe for concurrent use while no new terms
// are made.
func (w *whens) compile(e *whenEnv, text string, deny bool) (*when, []whenProblem) {
	c, problems := w.check(e, text)
	if len(problems) > 0 {
		return nil, problems
	}
	if deny {
		problems = c.unguarded()
	}
	if problems = append(problems, c.literals()...); len(problems) > 0 {
		return nil, problems
	}
	result, err := w.plan(e, c)
	if err != nil {
		return nil, []whenProblem{{1, 0, err.Error()}}
	}
	return result, nil
}

// check parses a condition and checks its types and its cost.
func (w *whens) check(e *whenEnv, text string) (*checked, []whenProblem) {
	ast, issues := e.env.Compile(text)
	if err := issues.Err(); err != nil {
		var problems []whenProblem
		for _, p := range issues.Errors() {
			problems = append(problems, whenProblem{max(1, p.Location.Line()), max(0, p.Location.Column()), w.message(e, p.Message)})
		}
		return nil, problems
	}
	if t := ast.OutputType(); t != cel.BoolType && t != cel.DynType {
		return nil, []whenProblem{{1, 0, "the condition is of type " + ast.OutputType().String() + " and not true or false"}}
	}
	estimate, err := e.env.EstimateCost(ast, sizes{})
	switch {
	case err != nil:
		return nil, []whenProblem{{1, 0, err.Error()}}
	case estimate.Max > loadCost && estimate.Max != math.MaxUint64: // which says that it cannot be told, and it is bounded when it runs
		return nil, []whenProblem{{1, 0, fmt.Sprintf("the condition could take %d steps, and at most %d are allowed", estimate.Max, loadCost)}}
	}
	return &checked{w: w, env: e, text: text, ast: ast.NativeRep(), cost: estimate.Max}, nil
}

// plan makes programs of the parts of a condition.
func (w *whens) plan(e *whenEnv, c *checked) (*when, error) {
	result := &when{text: c.text}
	for _, expr := range conjuncts(c.ast.Expr(), nil) {
		var options []cel.ProgramOption
		if c.cost > plainCost || c.loops(expr) {
			options = append(options, cel.CostLimit(runCost))
		}
		tree := celast.NewCheckedAST(celast.NewAST(expr, c.ast.SourceInfo()), c.ast.TypeMap(), c.ast.ReferenceMap())
		program, err := e.env.PlanProgram(tree, options...)
		if err != nil {
			return nil, err
		}
		result.parts = append(result.parts, &part{text: c.source(expr), need: c.need(expr), program: celProgram{program}})
	}
	result.role = c.reads("role")
	// What is cheapest to know comes first; in which order the parts are decided changes nothing.
	slices.SortStableFunc(result.parts, func(a, b *part) int { return int(a.need) - int(b.need) })
	return result, nil
}

// conjuncts appends the parts that a condition joins by &&.
func conjuncts(e celast.Expr, list []celast.Expr) []celast.Expr {
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operators.LogicalAnd {
		return append(list, e)
	}
	for _, arg := range e.AsCall().Args() {
		list = conjuncts(arg, list)
	}
	return list
}

// sizes tells the estimate of costs how large values can be.
type sizes struct{}

// EstimateSize implements cost.Estimator.
func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if n.ComputedSize() != nil {
		return nil
	}
	most := uint64(maxClaimSize)
	switch path := n.Path(); {
	case n.Type().Kind() == types.ListKind || n.Type().Kind() == types.MapKind:
		most = maxListSize
	case len(path) > 0 && path[0] != "claims":
		most = maxNameSize
	}
	s := cost.RangedSizeEstimate(0, most)
	return &s
}

// EstimateCallCost implements cost.Estimator.
func (sizes) EstimateCallCost(function, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	switch function {
	case "glob":
		return &cost.CallEstimate{CostEstimate: cost.Estimate{Min: 1, Max: 40}}
	case "inNetwork":
		return &cost.CallEstimate{CostEstimate: cost.Estimate{Min: 1, Max: 200}}
	}
	return nil
}

// message puts a message of CEL into the words of the language.
func (w *whens) message(e *whenEnv, message string) string {
	if name, ok := between(message, "undeclared reference to '", "'"); ok {
		return "undeclared reference to " + quote(name) + suggest(name, w.variables())
	}
	if name, ok := between(message, "undefined field '", "'"); ok {
		claims, _ := w.types.FindStructFieldNames(e.claims)
		fields, _ := w.types.FindStructFieldNames(bodyType)
		return "undefined field " + quote(name) + suggest(name, slices.Concat(claims, fields))
	}
	message, _, _ = strings.Cut(message, "\n")
	return message
}

func between(s, before, after string) (string, bool) {
	_, rest, ok := strings.Cut(s, before)
	if !ok {
		return "", false
	}
	name, _, ok := strings.Cut(rest, after)
	return name, ok
}
