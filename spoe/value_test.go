package spoe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

func TestAccessorsAnswerForTheirKindAlone(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.1")
	tests := []struct {
		v    Value
		kind Kind
		want string // what the accessors say
	}{
		{Value{}, KindNull, "null"},
		{Addr(netip.Addr{}), KindNull, "null"},
		{Bool(true), KindBool, "bool=true"},
		{Bool(false), KindBool, "bool=false"},
		{Int(-1), KindInt, "int=-1"},
		{Uint(1 << 62), KindInt, "int=4611686018427387904"},
		{Uint(1 << 63), KindInt, ""},
		{Addr(v4), KindIPv4, "addr=192.0.2.1"},
		{Addr(v6), KindIPv6, "addr=::ffff:192.0.2.1"},
		{Text("x"), KindString, `text="x" bytes="x"`},
		{Text(""), KindString, `text="" bytes=""`},
		{Binary([]byte("x")), KindBinary, `bytes="x"`},
		{Binary(nil), KindBinary, `bytes=""`},
	}
	for _, tt := range tests {
		if got := accessed(tt.v); got != tt.want || tt.v.Kind() != tt.kind {
			t.Errorf("%v: got %s %q, want %s %q", tt.v, tt.v.Kind(), got, tt.kind, tt.want)
		}
		for _, other := range tests {
			if got, want := tt.v.Equal(other.v), accessed(tt.v) == accessed(other.v) && tt.kind == other.kind; got != want {
				t.Errorf("%v equals %v: got %v, want %v", tt.v, other.v, got, want)
			}
		}
	}
}

func accessed(v Value) string {
	var said []string
	if v.IsNull() {
		said = append(said, "null")
	}
	if b, ok := v.Bool(); ok {
		said = append(said, fmt.Sprintf("bool=%v", b))
	}
	if i, ok := v.Int(); ok {
		said = append(said, fmt.Sprintf("int=%d", i))
	}
	if a, ok := v.Addr(); ok {
		said = append(said, fmt.Sprintf("addr=%v", a))
	}
	if s, ok := v.Text(); ok {
		said = append(said, fmt.Sprintf("text=%q", s))
	}
	if b, ok := v.Bytes(); ok {
		said = append(said, fmt.Sprintf("bytes=%q", b))
	}
	return strings.Join(said, " ")
}

// Whatever prints a value, an action or what contains them must not print a
// token.
func TestContentIsNeverPrinted(t *testing.T) {
	const token = "ya29.secret"
	type holder struct {
		hidden Value
		action Action
		Notify *Notify
	}
	h := holder{Text(token), SetString(ScopeRequest, "token", token), NewNotify(1, 1, "", Message{"m", []Arg{{"authorization", Text(token)}, {"body", Binary([]byte(token))}}})}
	everything := []any{h.hidden, &h.hidden, h.action, &h.action, h.Notify, *h.Notify, h.Notify.Messages(), h, &h, []Action{h.action}, map[string]Value{"a": h.hidden}}
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, nil))
	jsonLogger := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range everything {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T", "%c", "%08b"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		logger.Info("m", "v", v)
		jsonLogger.Info("m", "v", v)
		_ = json.NewEncoder(&out).Encode(v)
	}
	for _, leak := range []string{token, "secret", fmt.Sprintf("%x", token), fmt.Sprintf("%X", token), fmt.Sprintf("%d", []byte(token)), "121 97 50 57"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q is printed", leak)
		}
	}
	for v, want := range map[any]string{h.hidden: "string(11)", h.action: "set req.token string(11)", Unset(ScopeSession, "a"): "unset sess.a", Int(5): "int", Binary(nil): "binary(0)", Action{}: "no action"} {
		if got := fmt.Sprintf("%v", v); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestArgReturnsTheFirstOfItsName(t *testing.T) {
	m := Message{Name: "m", Args: []Arg{{"a", Int(1)}, {"b", Value{}}, {"a", Int(2)}}}
	if v, ok := m.Arg("a"); !ok || !v.Equal(Int(1)) {
		t.Errorf("got %v, %v", v, ok)
	}
	if v, ok := m.Arg("b"); !ok || !v.IsNull() {
		t.Errorf("got %v, %v, want a null that is there", v, ok)
	}
	if v, ok := m.Arg("c"); ok || !v.IsNull() {
		t.Errorf("got %v, %v, want nothing", v, ok)
	}
}
