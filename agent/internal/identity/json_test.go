package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var wideLimits = jsonLimits{depth: 16, values: 4096}

func TestParseObjectReadsEveryKindOfValue(t *testing.T) {
	got, err := parseObject([]byte(" \t\r\n"+`{ "s" : "a\"\\\/\b\f\n\r\tZ\u00e9\u00E9\ud83d\uDE42é🙂\u0000\ufffd" , "i":-7, "z":-0, "big":9223372036854775807, "small":-9223372036854775808,
		"f":1.5, "e":1E+2, "tiny":-1e-99, "long":1`+strings.Repeat("0", 22)+`, "h":1e19, "whole":9223372036854775808, "t":true,"n":null,"b":false,"a":[ ],"o":{ },"l":[1,[2],{"x":"y"}], "": "empty name", "S":1} `), wideLimits)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"s": "a\"\\/\b\f\n\r\tZéé🙂é🙂\x00\ufffd", "i": int64(-7), "z": int64(0), "big": int64(math.MaxInt64), "small": int64(math.MinInt64),
		"f": 1.5, "e": 100.0, "tiny": -1e-99, "long": 1e22, "h": 1e19, "whole": 9223372036854775808.0, "t": true, "n": nil, "b": false, "a": []any{}, "o": map[string]any{},
		"l": []any{int64(1), []any{int64(2)}, map[string]any{"x": "y"}}, "": "empty name", "S": int64(1),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parseObject (-want +got):\n%s", diff)
	}
}

func TestParseObjectTellsTheFault(t *testing.T) {
	for document, want := range map[string]error{
		"":                           errJSONObject,
		"\ufeff{}":                   errJSONObject,
		"[]":                         errJSONObject,
		"\"{}\"":                     errJSONObject,
		"{\"a\":\"\xff\"}":           errJSONUTF8,
		"{\"a\":\"\xed\xa0\x80\"}":   errJSONUTF8,
		"{}{}":                       errJSONTrailing,
		"{} x":                       errJSONTrailing,
		"{}\x00":                     errJSONTrailing,
		`{"a":1,"a":1}`:              errJSONDuplicate,
		`{"a":1,"\u0061":1}`:         errJSONDuplicate,
		`{"x":[{"é":1,"\u00e9":1}]}`: errJSONDuplicate,
		`{"🙂":1,"\ud83d\ude42":1}`:   errJSONDuplicate,
		`{"a":"\ud800"}`:             errJSONSurrogate,
		`{"a":"\udfff"}`:             errJSONSurrogate,
		`{"a":"\ud800\ud800"}`:       errJSONSurrogate,
		`{"a":"\ud800\u0041"}`:       errJSONSurrogate,
		`{"a":"\ud800x"}`:            errJSONSurrogate,
		`{"a":1e999}`:                errJSONNumber,
		`{"a":-1e999}`:               errJSONNumber,
		`{"a":18446744073709551617}`: errJSONNumber,
		`{"a":-9223372036854775809}`: errJSONNumber,
		`{"a":3e-324}`:               errJSONNumber,
		`{"a":[0,-1E-308]}`:          errJSONNumber,
		`{"a":1e100}`:                errJSONNumber,
		`{"a":1e000}`:                errJSONNumber,
		`{"a":0.1e-99}`:              errJSONNumber,
		`{"a":-10e99}`:               errJSONNumber,
		`{"a":0.` + strings.Repeat("3", maxNumber-1) + `}`: errJSONNumber,
		`{"a":1` + strings.Repeat("0", maxNumber) + `}`:    errJSONNumber,
		`{"a":` + strings.Repeat("[", 16):                  errJSONDepth,
		`{"a":[` + strings.Repeat("0,", 4094) + `0]}`:      errJSONValues,
		`{`:                 errJSONSyntax,
		`{"a"`:              errJSONSyntax,
		`{"a":`:             errJSONSyntax,
		`{"a":1`:            errJSONSyntax,
		`{"a":1,}`:          errJSONSyntax,
		`{,}`:               errJSONSyntax,
		`{"a" 1}`:           errJSONSyntax,
		`{a:1}`:             errJSONSyntax,
		`{1:1}`:             errJSONSyntax,
		`{"a":[1`:           errJSONSyntax,
		`{"a":[1,]}`:        errJSONSyntax,
		`{"a":[1 2]}`:       errJSONSyntax,
		`{"a":01}`:          errJSONSyntax,
		`{"a":-}`:           errJSONSyntax,
		`{"a":+1}`:          errJSONSyntax,
		`{"a":1.}`:          errJSONSyntax,
		`{"a":.1}`:          errJSONSyntax,
		`{"a":1e}`:          errJSONSyntax,
		`{"a":1e+}`:         errJSONSyntax,
		`{"a":tru}`:         errJSONSyntax,
		`{"a":nul`:          errJSONSyntax,
		`{"a":"`:            errJSONSyntax,
		`{"a":"\`:           errJSONSyntax,
		`{"a":"\"`:          errJSONSyntax,
		`{"a":"\n`:          errJSONSyntax,
		`{"a":"\u`:          errJSONSyntax,
		`{"a":"\u00g0"}`:    errJSONSyntax,
		`{"a":"\ud83d\ude4`: errJSONSyntax,
		`{"a":"\x"}`:        errJSONSyntax,
		"{\"a\":\"\n\"}":    errJSONSyntax,
		"{\"a\":\"\\t\n\"}": errJSONSyntax,
		"{\"a\":\v1}":       errJSONSyntax,
		"{\"a\":1\u00a0}":   errJSONSyntax,
	} {
		got, err := parseObject([]byte(document), wideLimits)
		if !errors.Is(err, want) || got != nil {
			t.Errorf("parseObject(%.40q) = %v, %v, want nil, %v", document, got, err, want)
		}
	}
}

func TestParseObjectStaysWithinItsLimits(t *testing.T) {
	for document, ok := range map[string]bool{
		`{}`: true, `{"a":[]}`: true, `{"a":[[]]}`: false, `{"a":{"b":{}}}`: false, `{"a":1,"b":2}`: true, `{"a":1,"b":2,"c":3}`: false, `{"a":[1]}`: true, `{"a":[1,2]}`: false,
	} {
		if _, err := parseObject([]byte(document), jsonLimits{depth: 2, values: 3}); (err == nil) != ok {
			t.Errorf("parseObject(%s) = %v, want accepted %v", document, err, ok)
		}
	}
}

// FuzzJSON holds the reader against encoding/json: what it accepts means the same there, and survives being written and read again.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":[1,-0,2.5e-3,1E400,"\ud83d\ude42"],"b":{"c":null}}`, `{"a":1,"\u0061":2}`, "\ufeff{}", `{"a":"\ud800"}`, `{"a":9223372036854775808}`,
		goodClaims("https://idp").String(), goodHeader("RS256").String(), jwks(jwk(p256Private(), "a")), `{"a":{"a":{"a":[[[[]]]]}}}`, "{\"a\":\"\xff\"}", `{"a":18446744073709551617}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		got, err := parseObject(document, wideLimits)
		if err != nil {
			if got != nil {
				t.Fatalf("value %v beside error %v", got, err)
			}
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(document))
		decoder.UseNumber()
		var want map[string]any
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", document, err)
		}
		if diff := cmp.Diff(numbers(want), any(got)); diff != "" {
			t.Fatalf("reads %q differently (-encoding/json +parseObject):\n%s", document, diff)
		}
		written, err := json.Marshal(exponents(got))
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseObject(written, wideLimits)
		if err != nil {
			t.Fatalf("own value, written as %q: %v", written, err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatalf("own value changes (-first +second):\n%s", diff)
		}
	})
}

// numbers replaces each json.Number by what parseObject makes of it.
func numbers(v any) any {
	return replace(v, func(v any) any {
		n, ok := v.(json.Number)
		if !ok {
			return v
		}
		if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
			return i
		}
		f, _ := n.Float64()
		return f
	})
}

// exponents writes floats as floats, and without rounding.
func exponents(v any) any {
	return replace(v, func(v any) any {
		if f, ok := v.(float64); ok {
			return json.Number(strconv.FormatFloat(f, 'e', -1, 64))
		}
		return v
	})
}

// floats makes 1.0 and 1 the same, as the reader of golang-jwt does.
func floats(v any) any {
	return replace(v, func(v any) any {
		if i, ok := v.(int64); ok {
			return float64(i)
		}
		return v
	})
}

func replace(v any, leaf func(any) any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, value := range v {
			m[name] = replace(value, leaf)
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i, value := range v {
			a[i] = replace(value, leaf)
		}
		return a
	}
	return leaf(v)
}

func BenchmarkParseObject(b *testing.B) {
	document := []byte(goodClaims("https://idp.example").with("groups", []string{"a", "b", "c"}, "email", "alice@example.com").String())
	b.SetBytes(int64(len(document)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseObject(document, wideLimits); err != nil {
			b.Fatal(err)
		}
	}
}
