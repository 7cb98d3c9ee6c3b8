package trail

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// Column is a column of counts in a table.
type Column string

// The columns.
const (
	Calls   Column = "CALLS"
	Denials Column = "DENIED"
	In      Column = "TOKENS IN"
	Out     Column = "TOKENS OUT"
	Bytes   Column = "BYTES"
	Seconds Column = "SECONDS"
	First   Column = "FIRST"
	Last    Column = "LAST"
)

// Unknown is what a table has in place of an amount that nobody has told.
const Unknown = "unknown"

// WriteText writes the rows as a table: a column for each dimension and those that are named. An amount that is known for a part of the
// calls is written as "≥ 12".
func (a *Answer) WriteText(w io.Writer, columns ...Column) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var head []string
	for _, d := range a.By {
		head = append(head, strings.ToUpper(d.String()))
	}
	for _, c := range columns {
		head = append(head, string(c))
	}
	if _, err := fmt.Fprintln(t, strings.Join(head, "\t")); err != nil {
		return err
	}
	for i := range a.Rows {
		row := &a.Rows[i]
		var cells []string
		for _, name := range row.Names {
			cells = append(cells, cell(name))
		}
		for _, c := range columns {
			cells = append(cells, row.cell(c))
		}
		if _, err := fmt.Fprintln(t, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// Nothing says why there is no row.
func (a *Answer) Nothing() string {
	if a.First.IsZero() {
		return "nothing: there is no line in the files"
	}
	return fmt.Sprintf("nothing is chosen; the files reach from %s to %s", clock(a.First), clock(a.Last))
}

// maxCell is the most runes of a name that a table shows.
const maxCell = 100

// cell returns a name for a table.
func cell(name string) string {
	if name == "" {
		return "-"
	}
	name = Clean(name)
	if utf8.RuneCountInString(name) > maxCell {
		name = string([]rune(name)[:maxCell-1]) + "…"
	}
	return name
}

func (c *Counts) cell(of Column) string {
	switch of {
	case Calls:
		return strconv.Itoa(c.Calls)
	case Denials:
		return strconv.Itoa(c.Denials)
	case In:
		return c.amount(c.TokensIn, 1)
	case Out:
		return c.amount(c.TokensOut, 1)
	case Bytes:
		return c.amount(c.Bytes, 1)
	case Seconds:
		return c.amount(c.Micros, 1e6)
	case First:
		return clock(c.First())
	case Last:
		return clock(c.Last())
	}
	return ""
}

// amount writes a sum in a unit.
func (c *Counts) amount(s Sum, unit int64) string {
	missing := c.Unknown(s)
	if missing > 0 && s.Known == 0 {
		return Unknown
	}
	text := strconv.FormatInt(s.Sum, 10)
	if unit != 1 {
		text = strconv.FormatFloat(float64(s.Sum)/float64(unit), 'f', 1, 64)
	}
	if missing > 0 {
		return "≥ " + text
	}
	return text
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("2006-01-02 15:04:05Z")
}

// WriteJSON writes the answer as one JSON object.
func (a *Answer) WriteJSON(w io.Writer) error {
	type span struct {
		First *time.Time `json:"first"`
		Last  *time.Time `json:"last"`
	}
	return WriteJSON(w, struct {
		Files span      `json:"files"`
		Rows  []rowJSON `json:"rows"`
		Total rowJSON   `json:"total"`
		Notes notesJSON `json:"notes"`
	}{
		span{instant(a.First), instant(a.Last)}, a.rowsJSON(), jsonOf(nil, &Row{Counts: a.Total}), a.Notes.json(),
	})
}

func (a *Answer) rowsJSON() []rowJSON {
	list := make([]rowJSON, 0, len(a.Rows))
	for i := range a.Rows {
		list = append(list, jsonOf(a.By, &a.Rows[i]))
	}
	return list
}

// rowJSON is a row for programs. Amounts that nobody has told are null; what is told for some calls comes with how many have not told.
type rowJSON struct {
	Subject  *string `json:"subject,omitempty"`
	Issuer   *string `json:"issuer,omitempty"`
	Model    *string `json:"model,omitempty"`
	Location *string `json:"location,omitempty"`
	Project  *string `json:"project,omitempty"`
	Role     *string `json:"role,omitempty"`
	Rule     *string `json:"rule,omitempty"`
	Account  *string `json:"account,omitempty"`
	Reason   *string `json:"reason,omitempty"`
	Method   *string `json:"method,omitempty"`

	Calls     int        `json:"calls"`
	Denials   int        `json:"denials"`
	TokensIn  *int64     `json:"tokens_in"`
	TokensOut *int64     `json:"tokens_out"`
	Untold    int        `json:"tokens_unknown"` // calls
	Bytes     *int64     `json:"bytes"`
	Seconds   *float64   `json:"seconds"`
	Missing   int        `json:"closing_missing"`
	First     *time.Time `json:"first"`
	Last      *time.Time `json:"last"`
}

func jsonOf(by []Dimension, r *Row) rowJSON {
	c := &r.Counts
	j := rowJSON{
		Calls: c.Calls, Denials: c.Denials, TokensIn: c.told(c.TokensIn), TokensOut: c.told(c.TokensOut),
		Untold: max(c.Unknown(c.TokensIn), c.Unknown(c.TokensOut)),
		Bytes:  c.told(c.Bytes), Missing: c.Missing, First: instant(c.First()), Last: instant(c.Last()),
	}
	if n := c.told(c.Micros); n != nil {
		seconds := float64(*n) / 1e6
		j.Seconds = &seconds
	}
	for i, d := range by {
		if to := j.name(d); to != nil {
			*to = &r.Names[i]
		}
	}
	return j
}

func (j *rowJSON) name(d Dimension) **string {
	switch d {
	case Subject:
		return &j.Subject
	case Issuer:
		return &j.Issuer
	case Model:
		return &j.Model
	case Location:
		return &j.Location
	case Project:
		return &j.Project
	case Role:
		return &j.Role
	case Rule:
		return &j.Rule
	case Account:
		return &j.Account
	case Reason:
		return &j.Reason
	case Method:
		return &j.Method
	case asked:
	}
	return nil
}

// told returns a sum, nil if no call that there was has told its amount.
func (c *Counts) told(s Sum) *int64 {
	if s.Known == 0 && c.Calls > 0 {
		return nil
	}
	return &s.Sum
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

type notesJSON struct {
	Lines       int      `json:"lines"`
	Broken      int      `json:"broken"`
	Versions    int      `json:"other_version"`
	Others      int      `json:"other_event"`
	Undelivered int      `json:"undelivered"`
	Superseded  int      `json:"superseded"`
	Repeated    int      `json:"repeated"`
	Unmatched   int      `json:"undelivered_unmatched"`
	Unjoined    int      `json:"closings_unjoined"`
	Examples    []string `json:"examples,omitempty"`
	Damaged     []string `json:"damaged,omitempty"`
}

func (n *Notes) json() notesJSON {
	j := notesJSON{
		n.Lines, n.Broken, n.Versions, n.Others, n.Undelivered, n.Superseded, n.Repeated, n.Unmatched, n.Unjoined, n.Examples, nil,
	}
	for _, err := range n.Damaged {
		j.Damaged = append(j.Damaged, err.Error())
	}
	return j
}

// WriteJSON writes v indented. Runes that are not graphic are escaped, also those that JSON does not ask for: a terminal may be reading.
func WriteJSON(w io.Writer, v any) error {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, escapeJSON(b.String()))
	return err
}

// escapeJSON escapes the runes of a JSON text that are not graphic. Those between values are: spaces, and newlines, which stay.
func escapeJSON(text string) string {
	odd := func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }
	if strings.IndexFunc(text, odd) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !odd(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
