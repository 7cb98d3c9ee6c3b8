package body

import "strconv"

// Cause says what is wrong with a body. The set is closed.
type Cause string

// The causes.
const (
	Syntax     Cause = "SYNTAX"       // not JSON
	NotUTF8    Cause = "NOT_UTF8"     // bytes that are not UTF-8, or half a surrogate pair
	NotObject  Cause = "NOT_OBJECT"   // JSON, or a byte order mark, in place of an object
	Trailing   Cause = "TRAILING"     // something follows the object
	Duplicate  Cause = "DUPLICATE"    // a name twice in one object, or in both spellings
	Misspelled Cause = "MISSPELLED"   // a known name in another case, or with other underscores
	WrongType  Cause = "WRONG_TYPE"   // a known field of another type
	OutOfRange Cause = "OUT_OF_RANGE" // a number that the field cannot have
	TooDeep    Cause = "TOO_DEEP"     // more than MaxDepth
	TooMany    Cause = "TOO_MANY"     // more than MaxValues or MaxNames
	TooLong    Cause = "TOO_LONG"     // a text of more than MaxName bytes where a name is expected
	TooLarge   Cause = "TOO_LARGE"    // more than MaxBytes
	WrongShape Cause = "WRONG_SHAPE"  // there is no such shape
)

// Causes returns all causes, in a fixed order.
func Causes() []Cause {
	return []Cause{
		Syntax, NotUTF8, NotObject, Trailing, Duplicate, Misspelled, WrongType, OutOfRange, TooDeep, TooMany, TooLong, TooLarge, WrongShape,
	}
}

// Error is why a body was not read. It never holds text of the body.
type Error struct {
	Cause  Cause
	Field  string // the known field it is about; empty when it is about none
	Offset int    // in bytes; where it was noticed
}

// Error returns the cause, the field and the offset.
func (e *Error) Error() string {
	s := "body refused: " + string(e.Cause) + " at byte " + strconv.Itoa(e.Offset)
	if e.Field != "" {
		s += ", field " + e.Field
	}
	return s
}
