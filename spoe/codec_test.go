package spoe

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/negasus/haproxy-spoe-go/action"
)

func TestNotifyIsDecoded(t *testing.T) {
	raw := wireNotify(7, 1<<40,
		wireMessage("authorize",
			wireItem("absent", []byte{0}),
			wireItem("yes", []byte{0x11}),
			wireItem("no", []byte{0x01}),
			wireItem("i32", wireInt(2, math.MaxUint64-4)), // -5, widened
			wireItem("narrow", wireInt(2, math.MaxUint32-4)),
			wireItem("u32", wireInt(3, math.MaxUint32)),
			wireItem("i64", wireInt(4, 1<<63)),
			wireItem("u64", wireInt(5, math.MaxInt64)),
			wireItem("huge", wireInt(5, math.MaxInt64+1)),
			wireItem("v4", []byte{6, 192, 0, 2, 1}),
			wireItem("v6", append([]byte{7}, netip.MustParseAddr("2001:db8::1").AsSlice()...)),
			wireItem("text", wireText("ä")),
			wireItem("empty", wireText("")),
			wireItem("", wireBinary("a\x00b")),
		),
		wireMessage("second"),
	)
	want := NewNotify(7, 1<<40, "E", Message{Name: "authorize", Args: []Arg{
		{"absent", Value{}}, {"yes", Bool(true)}, {"no", Bool(false)}, {"i32", Int(-5)}, {"narrow", Int(-5)},
		{"u32", Int(math.MaxUint32)}, {"i64", Int(math.MinInt64)}, {"u64", Int(math.MaxInt64)}, {"huge", Uint(1 << 63)},
		{"v4", Addr(netip.MustParseAddr("192.0.2.1"))}, {"v6", Addr(netip.MustParseAddr("2001:db8::1"))},
		{"text", Text("ä")}, {"empty", Text("")}, {"", Binary([]byte("a\x00b"))},
	}}, Message{Name: "second"})
	got, err := decodeNotify(raw, "E")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Notify{}, mark{})); diff != "" {
		t.Error(diff)
	}
}

// Each of these made the codec panic, allocate by the peer's word, or invent a
// value. The second column is what we say instead.
func TestHostilePayloadsAreErrors(t *testing.T) {
	const truncated = "\xf0\x80\x80"
	tests := map[string]struct {
		payload string
		want    string
	}{
		"the length of a message name is cut":     {truncated, "name of message 0: ends too early"},
		"a message name is longer than its frame": {"\x05ab", "name of message 0: ends too early"},
		"a message name has a length of 2^64-1":   {string(wireVarint(math.MaxUint64)), "name of message 0: ends too early"},
		"a length that is negative as an int":     {string(wireVarint(1 << 63)), "name of message 0: ends too early"},
		"a length beyond 64 bits":                 {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "name of message 0: integer beyond 64 bits"},
		"a length that never ends":                {strings.Repeat("\xff", 64), "name of message 0: integer beyond 64 bits"},
		"the number of arguments is missing":      {"\x01m", "message 0: ends too early"},
		"an argument is missing":                  {"\x01m\x01", "argument 0 of message 0: name: ends too early"},
		"the length of an argument name is cut":   {"\x01m\x01" + truncated, "argument 0 of message 0: name: ends too early"},
		"an argument name is too long":            {"\x01m\x01\x03ab", "argument 0 of message 0: name: ends too early"},
		"a value is missing":                      {"\x01m\x01\x01a", "argument 0 of message 0: value: ends too early"},
		"an integer is cut":                       {"\x01m\x01\x01a\x04" + truncated, "argument 0 of message 0: value: ends too early"},
		"an integer is missing":                   {"\x01m\x01\x01a\x04", "argument 0 of message 0: value: ends too early"},
		"a UINT32 has 33 bits":                    {"\x01m\x01\x01a" + string(wireInt(3, 1<<32)), "argument 0 of message 0: value: integer beyond 32 bits"},
		"an INT32 has 33 bits":                    {"\x01m\x01\x01a" + string(wireInt(2, 1<<32)), "argument 0 of message 0: value: integer beyond 32 bits"},
		"a negative INT32 has 33 bits":            {"\x01m\x01\x01a" + string(wireInt(2, 1<<63)), "argument 0 of message 0: value: integer beyond 32 bits"},
		"an INT64 has 65 bits":                    {"\x01m\x01\x01a\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x1f", "argument 0 of message 0: value: integer beyond 64 bits"},
		"an IPv4 address has three bytes":         {"\x01m\x01\x01a\x06\x01\x02\x03", "argument 0 of message 0: value: ends too early"},
		"an IPv6 address has fifteen bytes":       {"\x01m\x01\x01a\x07" + strings.Repeat("x", 15), "argument 0 of message 0: value: ends too early"},
		"a string is shorter than it says":        {"\x01m\x01\x01a\x08\x04abc", "argument 0 of message 0: value: ends too early"},
		"a string has a negative length":          {"\x01m\x01\x01a\x08" + string(wireVarint(1<<63)), "argument 0 of message 0: value: ends too early"},
		"binary has a negative length":            {"\x01m\x01\x01a\x09" + string(wireVarint(1<<63)), "argument 0 of message 0: value: ends too early"},
		"a type is unknown":                       {"\x01m\x01\x01a\x0a", "argument 0 of message 0: value: unknown type 10"},
		"there are 65 messages":                   {strings.Repeat("\x00\x00", 65), "more than 64 messages"},
		"there are 256 arguments":                 {"\x00\xff" + strings.Repeat("\x00\x00", 255) + "\x00\x01\x00\x00", "more than 255 arguments"},
		"there are said to be 256 arguments":      {"\x00\x01\x00\x00\x00\xff", "more than 255 arguments"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n, err := decodeNotify(wireNotify(1, 1, []byte(tt.payload)), "")
			if err == nil || err.Error() != tt.want || n != nil {
				t.Errorf("got %v and error %v, want %q", n, err, tt.want)
			}
		})
	}
}

func TestHeadersAreChecked(t *testing.T) {
	for name, raw := range map[string][]byte{
		"stream id is cut":   {0, 0, 0, 7, 3, 0, 0, 0, 1, 0xf0, 0x80},
		"frame id is cut":    {0, 0, 0, 8, 3, 0, 0, 0, 1, 1, 0xf0, 0x80},
		"frame is too short": {0, 0, 0, 6, 3, 0, 0, 0, 1, 1},
		"nothing is there":   {},
	} {
		if h, payload, err := splitFrame(raw); err == nil || payload != nil {
			t.Errorf("%s: got %v, %x, error %v, want an error", name, h, payload, err)
		}
	}
}

// The codec alone: if one of these no longer panics, the check before it has
// lost its reason.
func TestRecoveryAroundTheCodec(t *testing.T) {
	for name, raw := range map[string][]byte{
		"name longer than its frame":    wireNotify(1, 1, []byte("\x05ab")),
		"cut integer":                   wireNotify(1, 1, []byte("\xf0\x80")),
		"short address":                 wireNotify(1, 1, []byte("\x01m\x01\x01a\x06\x01")),
		"healthcheck that is no bool":   wireHello(wireItem("healthcheck", wireText("true"))),
		"frame size that is no UINT32":  wireHello(wireItem("max-frame-size", wireInt(4, 16380))),
		"engine id that is no string":   wireHello(wireItem("engine-id", wireInt(3, 1))),
		"frame too short for its flags": {0, 0, 0, 3, 3, 0, 0},
	} {
		f, err := readFrame(raw)
		if err == nil || err.Error() != "the codec cannot read it" || f != nil {
			t.Errorf("%s: got %v and error %v, want a panic turned into an error", name, f, err)
		}
	}
}

func TestVarintsHaveOneEncoding(t *testing.T) {
	for _, u := range []uint64{0, 239, 240, 2287, 2288, 264431, 264432, 1<<32 - 1, 1 << 53, math.MaxInt64, 1 << 63, math.MaxUint64} {
		b := wireVarint(u)
		if got := appendVarint(nil, u); string(got) != string(b) {
			t.Errorf("%d: encoded as %x, want %x", u, got, b)
		}
		got, rest, err := cutVarint(append(b, 0xaa))
		if err != nil || got != u || len(rest) != 1 {
			t.Errorf("%d: got %d, %x, error %v", u, got, rest, err)
		}
		for i := range b {
			if got, rest, err := cutVarint(b[:i]); err == nil || got != 0 || rest != nil {
				t.Errorf("%x: got %d, %x, error %v, want zeros and an error", b[:i], got, rest, err)
			}
		}
	}
}

// maxCodecInt is more than the codec can encode: it has room for 8 bytes of a
// varint, and panics on negative and greater numbers.
const maxCodecInt = 1 << 53

func TestActionsAreEncoded(t *testing.T) {
	ints := []int64{0, 1, 239, 240, maxCodecInt - 1, maxCodecInt, maxCodecInt + 1, math.MaxInt64, -1, -240, math.MinInt64}
	actions := []Action{
		Unset(ScopeRequest, "first"),
		SetString(ScopeTransaction, "text", strings.Repeat("x", 3000)),
		SetString(ScopeTransaction, "empty", ""),
		SetBool(ScopeSession, "yes", true),
		SetBool(ScopeProcess, "no", false),
		Unset(ScopeResponse, "gone"),
	}
	for i, n := range ints {
		actions = append(actions, SetInt(ScopeTransaction, fmt.Sprintf("i%d", i), n))
	}
	actions = append(actions, SetString(ScopeTransaction, "decision", "allow"))
	b, err := appendAck([]byte("before"), 1<<63, 240, actions, 15_995)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseAgent(strings.NewReader(strings.TrimPrefix(string(b), "before")))
	if err != nil {
		t.Fatal(err)
	}
	if f.streamID != 1<<63 || f.frameID != 240 {
		t.Errorf("got stream %d frame %d, want %d and 240", f.streamID, f.frameID, uint64(1<<63))
	}
	if diff := cmp.Diff(actions, f.actions); diff != "" {
		t.Error(diff)
	}
}

// The defects that appendAction goes around.
func TestCodecStillCannotEncode(t *testing.T) {
	unset := action.NewUnsetVar(action.ScopeRequest, "a")
	if b, err := unset.Marshal(nil); err != nil || string(b) != "\x02\x02\x03\x01a\x00" {
		t.Errorf("got unset %x, error %v: the stray byte is gone", b, err)
	}
	for _, i := range []int64{-1, math.MaxInt64} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d is encoded now", i)
				}
			}()
			set := action.NewSetVar(action.ScopeRequest, "a", i)
			_, _ = set.Marshal(nil)
		}()
	}
	set := action.NewSetVar(action.ScopeRequest, "a", int64(maxCodecInt))
	if _, err := set.Marshal(nil); err != nil {
		t.Errorf("%d: %v", maxCodecInt, err)
	}
}

func TestAnswersThatCannotBeEncoded(t *testing.T) {
	tests := map[string]struct {
		actions []Action
		reason  Reason
	}{
		"no actions":            {nil, ReasonAnswerEmpty},
		"a zero action":         {[]Action{allow[0], {}}, ReasonAnswerInvalid},
		"a scope that is none":  {[]Action{SetBool(5, "a", true)}, ReasonAnswerInvalid},
		"no name":               {[]Action{Unset(ScopeRequest, "")}, ReasonAnswerInvalid},
		"a set without a value": {[]Action{{op: action.TypeSetVar, name: "a"}}, ReasonAnswerInvalid},
		"a long value":          {[]Action{SetString(ScopeRequest, "a", strings.Repeat("x", 990))}, ReasonAnswerTooBig},
		"a very long value":     {[]Action{SetString(ScopeRequest, "a", strings.Repeat("x", 1<<20))}, ReasonAnswerTooBig},
		"a long name":           {[]Action{Unset(ScopeRequest, strings.Repeat("x", 1<<20))}, ReasonAnswerTooBig},
		"many actions":          {[]Action{SetString(ScopeRequest, "a", strings.Repeat("x", 500)), SetString(ScopeRequest, "b", strings.Repeat("x", 500))}, ReasonAnswerTooBig},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := appendAck([]byte("before"), 1, 1, tt.actions, 1000)
			var bad *unencodable
			ok := errors.As(err, &bad)
			if !ok || bad.reason != tt.reason || string(b) != "before" {
				t.Errorf("got %.20q and error %v, want %v", b, err, tt.reason)
			}
			if ok && len(bad.cause) > 200 {
				t.Errorf("got a cause of %d bytes", len(bad.cause))
			}
		})
	}
	exact := []Action{SetString(ScopeRequest, "a", strings.Repeat("x", 980))}
	b, err := appendAck(nil, 1, 1, exact, 995)
	if err != nil || len(b) != 999 {
		t.Errorf("got %d bytes and error %v, want 999", len(b), err)
	}
	if _, err := appendAck(nil, 1, 1, exact, 994); err == nil {
		t.Error("an ACK one byte longer than its limit is encoded")
	}
}

// A frame of the longest permitted size must not cost much more than its size.
func TestHostileFramesAreCheap(t *testing.T) {
	for name, payload := range map[string]string{
		"empty messages":             strings.Repeat("\x00\x00", 32000),
		"empty arguments":            strings.Repeat("\x00\xff"+strings.Repeat("\x00\x00", 255), 120),
		"64 messages of nulls":       strings.Repeat("\x00\xff"+strings.Repeat("\x00\x00", 255), 64),
		"a string that is not there": "\x01m\x01\x01a\x08" + string(wireVarint(1<<40)),
	} {
		raw := wireNotify(1, 1, []byte(payload))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			_, _ = decodeNotify(raw, "")
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / 10; got > 2*keptBeside {
			t.Errorf("%s: got %d bytes allocated for a frame of %d, want at most %d", name, got, len(raw), 2*keptBeside)
		}
	}
}
