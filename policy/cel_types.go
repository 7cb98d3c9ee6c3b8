package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"vertex-spoa/policy/body"
)

// celTypes tells CEL which fields the variables claims and body have. Values stay what they are in Go, a map[string]any and a
// *body.Facts, and each field is read by a function: nothing else of them can be reached by an expression.
type celTypes struct {
	types.Provider
	structs map[string]map[string]*types.FieldType
	open    map[string]bool // structs with fields of any name besides, of which nothing is known
}

const bodyType = "body"

func newCELTypes(base types.Provider) *celTypes {
	return &celTypes{base, map[string]map[string]*types.FieldType{bodyType: bodyFields()}, map[string]bool{}}
}

// FindStructType implements types.Provider.
func (p *celTypes) FindStructType(name string) (*types.Type, bool) {
	if p.structs[name] != nil {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *celTypes) FindStructFieldNames(name string) ([]string, bool) {
	fields, ok := p.structs[name]
	if !ok {
		return p.Provider.FindStructFieldNames(name)
	}
	var names []string
	for field := range fields {
		names = append(names, field)
	}
	slices.Sort(names)
	return names, true
}

// FindStructFieldType implements types.Provider.
func (p *celTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	fields, ok := p.structs[name]
	if !ok {
		return p.Provider.FindStructFieldType(name, field)
	}
	if f, ok := fields[field]; ok {
		return f, true
	}
	if p.open[name] {
		return claimField(field, ""), true
	}
	return nil, false
}

var errAbsent = errors.New("it is absent") // never written

// claimField is how a claim of a declared type is read; a claim of another type is an error and never taken for something else.
func claimField(name, declared string) *types.FieldType {
	return &types.FieldType{
		Type: claimType(declared),
		IsSet: func(v any) bool {
			claims, _ := v.(map[string]any)
			return claims[name] != nil
		},
		GetFrom: func(v any) (any, error) {
			claims, _ := v.(map[string]any)
			v, ok := claims[name]
			if !ok || v == nil {
				return nil, fmt.Errorf("claim %s: %w", quote(name), errAbsent)
			}
			if v, ok = claimValue(v, declared); !ok {
				return nil, fmt.Errorf("claim %s is not of the declared type %s", quote(name), declared)
			}
			return v, nil
		},
	}
}

func claimType(declared string) *cel.Type {
	switch declared {
	case "string":
		return cel.StringType
	case "int":
		return cel.IntType
	case "bool":
		return cel.BoolType
	case "number":
		return cel.DoubleType
	case "list":
		return cel.ListType(cel.DynType)
	case "map":
		return cel.MapType(cel.StringType, cel.DynType)
	}
	return cel.DynType
}

// claimValue returns the value in the Go type of the declared type, and false for a value of another type.
func claimValue(v any, declared string) (any, bool) {
	var ok bool
	switch declared {
	case "string":
		_, ok = v.(string)
	case "bool":
		_, ok = v.(bool)
	case "list":
		_, ok = v.([]any)
	case "map":
		_, ok = v.(map[string]any)
	case "int":
		return wholeNumber(v)
	case "number":
		switch n := v.(type) {
		case float64:
			return n, true
		case int64:
			return float64(n), true
		case int:
			return float64(n), true
		}
	default:
		ok = true
	}
	return v, ok
}

func wholeNumber(v any) (any, bool) {
	switch n := v.(type) {
	case int64:
		return n, true
	case int:
		return int64(n), true
	case float64:
		return int64(n), n == math.Trunc(n) && math.Abs(n) < 1<<53
	}
	return nil, false
}

// bodyFields returns the fields of the variable body. What the body does not say is absent, and reading it is an error, but for lists,
// which are empty, and for stream and systemInstruction, which are false. What cached content may have as well is absent from a body
// that names some.
func bodyFields() map[string]*types.FieldType {
	fields := map[string]*types.FieldType{}
	add := func(name string, t *cel.Type, get func(*body.Facts) (any, bool)) {
		read := func(v any) (any, bool) {
			f, ok := v.(*body.Facts)
			if !ok || f.Opaque() && name != "bytes" || f.CachedContent.Set && alsoCached(name) {
				return nil, false
			}
			return get(f)
		}
		fields[name] = &types.FieldType{
			Type:  t,
			IsSet: func(v any) bool { _, ok := read(v); return ok },
			GetFrom: func(v any) (any, error) {
				value, ok := read(v)
				if !ok {
					return nil, fmt.Errorf("field %s of the body: %w", name, errAbsent)
				}
				return value, nil
			},
		}
	}
	list := func(get func(*body.Facts) []string) func(*body.Facts) (any, bool) {
		return func(f *body.Facts) (any, bool) { return get(f), true }
	}
	add("bytes", cel.IntType, func(f *body.Facts) (any, bool) { return int64(f.Bytes), true })
	add("model", cel.StringType, func(f *body.Facts) (any, bool) { return f.Model.Value, f.Model.Set })
	add("stream", cel.BoolType, func(f *body.Facts) (any, bool) { return f.Stream.Value, true })
	add("maxOutputTokens", cel.IntType, func(f *body.Facts) (any, bool) { return f.MaxOutputTokens.Value, f.MaxOutputTokens.Set })
	add("candidateCount", cel.IntType, func(f *body.Facts) (any, bool) { return f.Candidates.Value, f.Candidates.Set })
	add("temperature", cel.DoubleType, func(f *body.Facts) (any, bool) { return f.Temperature.Value, f.Temperature.Set })
	add("topP", cel.DoubleType, func(f *body.Facts) (any, bool) { return f.TopP.Value, f.TopP.Set })
	add("topK", cel.DoubleType, func(f *body.Facts) (any, bool) { return f.TopK.Value, f.TopK.Set })
	add("instances", cel.IntType, func(f *body.Facts) (any, bool) { return f.Instances.Value, f.Instances.Set })
	add("systemInstruction", cel.BoolType, func(f *body.Facts) (any, bool) { return f.SystemInstruction, true })
	add("cachedContent", cel.StringType, func(f *body.Facts) (any, bool) { return f.CachedContent.Value, f.CachedContent.Set })
	add("modelArmor", cel.BoolType, func(f *body.Facts) (any, bool) { return f.ModelArmor, true })
	add("armorTemplates", cel.ListType(cel.StringType), list(func(f *body.Facts) []string { return f.ArmorTemplates }))
	add("tools", cel.ListType(cel.StringType), list(func(f *body.Facts) []string { return f.Tools }))
	add("mediaTypes", cel.ListType(cel.StringType), list(func(f *body.Facts) []string { return f.MediaTypes }))
	add("files", cel.ListType(cel.StringType), list(func(f *body.Facts) []string { return f.Files }))
	add("labels", cel.ListType(cel.StringType), list(func(f *body.Facts) []string { return f.Labels }))
	add("betas", cel.ListType(cel.StringType), list(func(f *body.Facts) []string { return f.Betas }))
	add("safetySettings", cel.MapType(cel.StringType, cel.StringType), func(f *body.Facts) (any, bool) {
		settings := make(map[string]string, len(f.Safety))
		for _, s := range f.Safety {
			settings[s.Category] = s.Threshold
		}
		return settings, true
	})
	return fields
}

// alsoCached reports whether cached content can add to the field of the body.
func alsoCached(name string) bool {
	switch name {
	case "tools", "systemInstruction", "mediaTypes", "files":
		return true
	}
	return false
}

// alwaysThere are the fields of the body that are never absent from one that was read.
func alwaysThere(f *types.FieldType, name string) bool {
	return f.Type.Kind() == types.ListKind || f.Type.Kind() == types.MapKind || f.Type.Kind() == types.BoolKind || name == "bytes"
}

// claimsType declares the claims of the issuers, and returns the name of the type. A claim that issuers declare differently, and every
// other claim when one of them declares none, may be anything.
func (p *celTypes) claimsType(issuers []*Issuer) string {
	declared, open := map[string]string{"iss": "string", "sub": "string", "jti": "string", "exp": "number", "iat": "number", "nbf": "number"}, false
	declared["aud"] = ""
	seen := map[string]bool{}
	for _, is := range issuers {
		open = open || len(is.Claims) == 0
		for name, t := range is.Claims {
			if seen[name] && declared[name] != t {
				t = ""
			}
			declared[name], seen[name] = t, true
		}
		for _, name := range is.Require {
			if _, ok := declared[name]; !ok {
				declared[name] = ""
			}
		}
	}
	var key strings.Builder
	fmt.Fprintf(&key, "claims/%t", open)
	fields := map[string]*types.FieldType{}
	for _, name := range sortedKeys(declared) {
		fmt.Fprintf(&key, "/%s=%s", name, declared[name])
		fields[name] = claimField(name, declared[name])
	}
	name := key.String()
	if p.structs[name] == nil {
		p.structs[name], p.open[name] = fields, open
	}
	return name
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
