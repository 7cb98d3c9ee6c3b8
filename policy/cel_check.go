package policy

import (
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"

	"vertex-spoa/policy/strictyaml"
)

var reflectStrings = reflect.TypeFor[[]string]() // never written

// suggest returns strictyaml.Suggest.
func suggest(word string, candidates []string) string { return strictyaml.Suggest(word, candidates) }

// checked is a condition in CEL of which types and cost are right.
type checked struct {
	w    *whens
	env  *whenEnv
	text string
	ast  *celast.AST
	cost uint64 // at most
}

// source returns a part of the condition as text.
func (c *checked) source(e celast.Expr) string {
	text, err := parser.Unparse(e, c.ast.SourceInfo())
	if err != nil {
		return c.text
	}
	return text
}

// visit calls f for e and all expressions in it.
func (c *checked) visit(e celast.Expr, f func(celast.Expr)) {
	celast.PreOrderVisit(e, celast.NewExprVisitor(f))
}

// need returns what has to be known for a part of the condition.
func (c *checked) need(e celast.Expr) need {
	var n need
	c.visit(e, func(e celast.Expr) {
		if e.Kind() != celast.IdentKind {
			return
		}
		switch e.AsIdent() {
		case "role", "endpoint", "project", "location", "method", "now", "ip":
			n |= needRequest
		case "model", "publisher":
			n |= needRequest | needModel
		case bodyType:
			n |= needRequest | needBody
		}
	})
	return n
}

// reads reports whether the condition reads a variable.
func (c *checked) reads(variable string) bool {
	found := false
	c.visit(c.ast.Expr(), func(e celast.Expr) { found = found || e.Kind() == celast.IdentKind && e.AsIdent() == variable })
	return found
}

// loops reports whether what a part costs depends on more than its own length.
func (c *checked) loops(e celast.Expr) bool {
	found := false
	c.visit(e, func(e celast.Expr) {
		found = found || e.Kind() == celast.ComprehensionKind || e.Kind() == celast.CallKind && e.AsCall().FunctionName() == "matches"
	})
	return found
}

func (c *checked) problem(e celast.Expr, message string) whenProblem {
	if _, ok := c.field(e); ok {
		e = operand(e)
	}
	at := c.ast.SourceInfo().GetStartLocation(e.ID())
	return whenProblem{at.Line(), at.Column(), message}
}

// literals returns problems with literal arguments that would fail whenever the condition is decided.
func (c *checked) literals() []whenProblem {
	var problems []whenProblem
	c.visit(c.ast.Expr(), func(e celast.Expr) {
		if e.Kind() != celast.CallKind {
			return
		}
		call := e.AsCall()
		switch call.FunctionName() {
		case "inNetwork":
			for _, n := range listed(call.Args()[1]) {
				if text, ok := literalText(n); ok {
					if _, err := parseNetwork(text); err != nil {
						problems = append(problems, c.problem(n, err.Error()))
					}
				}
			}
		case "matches", "timestamp", "duration":
			if message := wrongLiteral(call); message != "" {
				problems = append(problems, c.problem(e, message))
			}
		case operators.Index, operators.OptIndex:
			name, ok := c.field(e)
			if fields := c.w.types.structs[c.env.claims]; ok && fields[name.field] == nil && !c.w.types.open[c.env.claims] {
				names, _ := c.w.types.FindStructFieldNames(c.env.claims)
				problems = append(problems, c.problem(call.Args()[1], "undefined field "+quote(name.field)+suggest(name.field, names)))
			}
		}
	})
	return problems
}

// wrongLiteral says why a call with a literal argument fails, or "".
func wrongLiteral(call celast.CallExpr) string {
	arg := call.Args()[len(call.Args())-1]
	text, ok := literalText(arg)
	if !ok {
		return ""
	}
	switch call.FunctionName() {
	case "matches":
		if _, err := regexp.Compile(text); err != nil {
			return err.Error()
		}
	case "timestamp":
		if types.IsError(types.String(text).ConvertToType(types.TimestampType)) {
			return quote(text) + " is not a moment such as 2026-12-01T08:00:00Z"
		}
	case "duration":
		if types.IsError(types.String(text).ConvertToType(types.DurationType)) {
			return quote(text) + " is not a length of time such as 90s"
		}
	}
	return ""
}

// listed returns the elements of a list that is written out, or e itself.
func listed(e celast.Expr) []celast.Expr {
	if e.Kind() == celast.ListKind {
		return e.AsList().Elements()
	}
	return []celast.Expr{e}
}

func literalText(e celast.Expr) (string, bool) {
	if e.Kind() != celast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// fieldName is a field of one of the variables claims and body.
type fieldName struct{ variable, field string }

// operand returns what the field is of.
func operand(e celast.Expr) celast.Expr {
	if e.Kind() == celast.SelectKind {
		return e.AsSelect().Operand()
	}
	return e.AsCall().Args()[0]
}

// field returns the field that e reads, as claims.env or claims["env"], or tests with has().
func (c *checked) field(e celast.Expr) (fieldName, bool) {
	var operand celast.Expr
	var name string
	switch e.Kind() {
	case celast.SelectKind:
		operand, name = e.AsSelect().Operand(), e.AsSelect().FieldName()
	case celast.CallKind:
		call := e.AsCall()
		f := call.FunctionName()
		if f != operators.Index && f != operators.OptIndex && f != operators.OptSelect || len(call.Args()) != 2 {
			return fieldName{}, false
		}
		text, ok := literalText(call.Args()[1])
		if !ok {
			return fieldName{}, false
		}
		operand, name = call.Args()[0], text
	default:
		return fieldName{}, false
	}
	if operand.Kind() != celast.IdentKind || operand.AsIdent() != "claims" && operand.AsIdent() != bodyType {
		return fieldName{}, false
	}
	return fieldName{operand.AsIdent(), name}, true
}

// optional reports whether the field may be absent, so that reading it may fail.
func (c *checked) optional(f fieldName) bool {
	if f.variable == "claims" {
		return !c.env.require[f.field]
	}
	t, ok := c.w.types.FindStructFieldType(bodyType, f.field)
	return !ok || !alwaysThere(t, f.field)
}

// unguarded returns a problem for each place where the condition of a deny rule reads a field that may be absent and of which it does
// not know that it is there. Such a rule would deny everybody without the field.
func (c *checked) unguarded() []whenProblem {
	g := guards{c: c}
	g.walk(c.ast.Expr(), nil)
	return g.problems
}

// guards follows which fields are known to be there.
type guards struct {
	c        *checked
	problems []whenProblem
}

func (g *guards) walk(e celast.Expr, there []fieldName) {
	if e.Kind() == celast.SelectKind && e.AsSelect().IsTestOnly() {
		return
	}
	if e.Kind() == celast.CallKind {
		call := e.AsCall()
		switch f := call.FunctionName(); f {
		case operators.LogicalAnd, operators.LogicalOr:
			for i, arg := range call.Args() {
				known := slices.Clone(there)
				for j, other := range call.Args() {
					if i != j {
						known = append(known, proves(g.c, other, f == operators.LogicalAnd)...)
					}
				}
				g.walk(arg, known)
			}
			return
		case operators.Conditional:
			g.walk(call.Args()[0], there)
			g.walk(call.Args()[1], append(slices.Clone(there), proves(g.c, call.Args()[0], true)...))
			g.walk(call.Args()[2], append(slices.Clone(there), proves(g.c, call.Args()[0], false)...))
			return
		case operators.OptIndex, operators.OptSelect:
			if _, ok := g.c.field(e); ok {
				return
			}
		}
	}
	if name, ok := g.c.field(e); ok {
		if g.c.optional(name) && !slices.Contains(there, name) {
			g.problems = append(g.problems, g.c.problem(e, g.c.advice(name)))
		}
		return
	}
	if e.Kind() == celast.IdentKind && (e.AsIdent() == "claims" || e.AsIdent() == bodyType) {
		g.problems = append(g.problems, g.c.problem(e, e.AsIdent()+" stands alone, and fields that are then read of it may be absent: write "+e.AsIdent()+".NAME"))
	}
	for _, child := range celast.NavigateExpr(g.c.ast, e).Children() {
		g.walk(child, there)
	}
}

// advice says how to write a condition that knows what to do without the field.
func (c *checked) advice(f fieldName) string {
	structure := c.env.claims
	if f.variable == bodyType {
		structure = bodyType
	}
	zero := "false"
	if t, ok := c.w.types.FindStructFieldType(structure, f.field); ok {
		switch t.Type.Kind() {
		case types.StringKind:
			zero = `""`
		case types.IntKind:
			zero = "0"
		case types.DoubleKind:
			zero = "0.0"
		case types.ListKind:
			zero = "[]"
		case types.MapKind:
			zero = "{}"
		}
	}
	if !isLabel(f.field) || strings.ContainsAny(f.field, ".-") {
		name := strconv.Quote(f.field)
		return f.variable + "[" + name + "] may be absent, and the rule would then deny everybody: write " + f.variable + "[?" + name + "].orValue(" + zero + ")"
	}
	what := f.variable + "." + f.field
	return what + " may be absent, and the rule would then deny everybody: write " + f.variable + ".?" + f.field + ".orValue(" + zero + "), or has(" + what + ") && …"
}

// proves returns the fields that are there when e is true, or when it is false.
func proves(c *checked, e celast.Expr, truth bool) []fieldName {
	switch e.Kind() {
	case celast.SelectKind:
		if f, ok := c.field(e); ok && e.AsSelect().IsTestOnly() && truth {
			return []fieldName{f}
		}
	case celast.CallKind:
		call := e.AsCall()
		switch f := call.FunctionName(); {
		case f == operators.LogicalNot:
			return proves(c, call.Args()[0], !truth)
		case f == operators.LogicalAnd && truth, f == operators.LogicalOr && !truth:
			var list []fieldName
			for _, arg := range call.Args() {
				list = append(list, proves(c, arg, truth)...)
			}
			return list
		}
	}
	return nil
}
