package policy

// shapeKind says which values a key takes.
type shapeKind uint8

const (
	textShape shapeKind = iota
	integerShape
	numberShape
	boolShape
	listShape       // of element
	mappingShape    // with fixed keys
	dictionaryShape // with free names, values of element
	eitherShape     // one of several shapes
	versionShape    // the number 1
)

// valueShape describes the values of a key, closely enough for an editor to complete and to mark mistakes. The reader of the key is stricter
// where a schema cannot follow it.
type valueShape struct {
	kind     shapeKind
	hint     string   // a few words for the reference; empty: told by the rest
	words    []string // of a text: it is one of them
	pattern  string   // of a text: a regular expression, of those that JSON Schema and RE2 share
	examples []string // of a text
	scalar   bool     // of a text: numbers, true and false are texts as well
	least    int      // of an integer
	most     int
	keys     []key        // of a mapping
	minKeys  int          // of a mapping or a dictionary
	names    string       // of a dictionary: what its names are, a regular expression
	element  *valueShape  // of a list or a dictionary
	either   []valueShape // the alternatives
}

const (
	labelPattern    = `^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$`
	durationPattern = `^([0-9]+(\.[0-9]+)?(h|m|s))+$`
	datePattern     = `^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:]+(Z|[+-][0-9]{2}:[0-9]{2}))?$`
	ratePattern     = `^[1-9][0-9]*[kMG]?/(s|min|hour|day)$`
)

func textOf(hint string, examples ...string) valueShape {
	return valueShape{kind: textShape, hint: hint, examples: examples}
}

func patternOf(pattern, hint string, examples ...string) valueShape {
	return valueShape{kind: textShape, pattern: pattern, hint: hint, examples: examples}
}

func listOf(element valueShape) valueShape { return valueShape{kind: listShape, element: &element} }

// severalOf is one value or a list of them.
func severalOf(element valueShape) valueShape { return either(element, listOf(element)) }

func several(element valueShape) *valueShape {
	s := severalOf(element)
	return &s
}

func either(shapes ...valueShape) valueShape { return valueShape{kind: eitherShape, either: shapes} }

// dictionaryOf is a mapping from free names to values of one shape.
func dictionaryOf(names string, element valueShape) valueShape {
	return valueShape{kind: dictionaryShape, names: names, element: &element}
}
