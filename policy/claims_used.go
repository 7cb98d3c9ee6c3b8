package policy

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	celcommon "cel.dev/cel-go/common"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/parser"
)

// AllClaims is what ClaimsUsed returns, alone, where an expression reads claims by names that only a request tells.
const AllClaims = "*"

// ClaimsUsed returns the names of the claims, sorted, that decisions about callers of the issuer can depend on: those of `who`, of `when`,
// and of what limits count by. What the issuer's own settings read is not among them. A decision whose record holds these, and those that
// were absent as null, can be made again. The result is only to be read. The first call for an issuer reads every expression.
func (p *Policy) ClaimsUsed(issuer string) []string {
	if p == nil || p.used == nil {
		return nil
	}
	if used := p.used[issuer]; used != nil {
		return used()
	}
	return []string{}
}

// tellClaims has ClaimsUsed answer from the policy's model.
func (p *Policy) tellClaims() {
	p.used = make(map[string]func() []string, len(p.model.Issuers))
	for i := range p.model.Issuers {
		name := p.model.Issuers[i].Name
		p.used[name] = sync.OnceValue(func() []string { return p.claimsUsed(name) })
	}
}

func (p *Policy) claimsUsed(issuer string) []string {
	used := map[string]bool{}
	roles := map[string]bool{}
	for i := range p.model.Roles {
		r := &p.model.Roles[i]
		for _, w := range r.Who {
			if w.Issuer != issuer {
				continue
			}
			roles[r.Name] = true
			for _, c := range w.Claims {
				used[c.Name] = true
			}
		}
	}
	texts := map[string]bool{}
	for i := range p.model.Rules {
		r := &p.model.Rules[i]
		if len(roles) == 0 || r.Roles != nil && !slices.ContainsFunc(r.Roles, func(name string) bool { return roles[name] }) {
			continue
		}
		if r.When != nil {
			texts[r.When.Text] = true
		}
		if r.Duties.Limit != nil {
			for _, per := range r.Duties.Limit.Per {
				if name, ok := strings.CutPrefix(per, "claims."); ok {
					used[name] = true
				}
			}
		}
	}
	for text := range texts {
		if strings.Contains(text, "claims") {
			claimsIn(text, used)
		}
	}
	if used[AllClaims] {
		return []string{AllClaims}
	}
	return sortedKeys(used)
}

// claimsIn adds the claims that an expression reads.
func claimsIn(text string, used map[string]bool) {
	// Macros stay calls: what they are about stands among their arguments all the same.
	reader, err := parser.NewParser(parser.EnableOptionalSyntax(true))
	if err != nil {
		used[AllClaims] = true
		return
	}
	ast, problems := reader.Parse(celcommon.NewTextSource(text))
	if len(problems.GetErrors()) > 0 {
		used[AllClaims] = true
		return
	}
	claimsOf(ast, ast.Expr(), used)
}

func claimsOf(ast *celast.AST, e celast.Expr, used map[string]bool) {
	var c checked
	if name, ok := c.field(e); ok {
		if name.variable == "claims" {
			used[name.field] = true
		}
		return
	}
	if e.Kind() == celast.IdentKind && e.AsIdent() == "claims" {
		used[AllClaims] = true
		return
	}
	for _, child := range celast.NavigateExpr(ast, e).Children() {
		claimsOf(ast, child, used)
	}
}

// AppendClaims appends the claims that ClaimsUsed named, as a JSON object whose numbers read back as what they are: those that the caller
// does not have are null. Where used is AllClaims it is all of them.
func AppendClaims(b []byte, claims map[string]any, used []string) []byte {
	if len(used) == 1 && used[0] == AllClaims {
		return appendObject(b, claims)
	}
	b = append(b, '{')
	for i, name := range used {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONText(b, name), ':')
		b = appendJSON(b, claims[name])
	}
	return append(b, '}')
}

func appendObject(b []byte, members map[string]any) []byte {
	b = append(b, '{')
	for i, name := range sortedKeys(members) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONText(b, name), ':')
		b = appendJSON(b, members[name])
	}
	return append(b, '}')
}

// appendJSON appends a JSON value as verified tokens hold it.
func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendJSONText(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case float64:
		return appendFloat(b, v)
	case []any:
		b = append(b, '[')
		for i := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, v[i])
		}
		return append(b, ']')
	case map[string]any:
		return appendObject(b, v)
	}
	return append(b, "null"...)
}

// appendFloat writes a number so that it is not taken for an integer.
func appendFloat(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, "null"...)
	}
	from := len(b)
	b = strconv.AppendFloat(b, v, 'g', -1, 64)
	for _, c := range b[from:] {
		if c == '.' || c == 'e' {
			return b
		}
	}
	return append(b, ".0"...)
}

// appendJSONText appends a text in quotes. U+2028 and U+2029, at which some readers break lines, are escaped, and so is HTML.
func appendJSONText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			text, _ := json.Marshal(s) // a text has a form
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
