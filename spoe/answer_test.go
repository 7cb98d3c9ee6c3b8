package spoe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/negasus/haproxy-spoe-go/action"
)

// sendable returns why HAProxy cannot be sent these actions in a frame of at most limit bytes, or nothing. It is on purpose another piece
// of code than encodes them.
func sendable(actions []Action, limit int) Reason {
	if len(actions) == 0 {
		return ReasonAnswerEmpty
	}
	size := len(wireFrame(103, 1, 1, 1)) - lenPrefix
	for _, a := range actions {
		var value []byte
		switch a.value.Kind() {
		case KindBool:
			value = []byte{1}
		case KindInt:
			value = wireInt(4, uint64(a.value.num))
		case KindString:
			value = wireText(string(a.value.bytes()))
		}
		set := a.op == action.TypeSetVar
		switch {
		case !set && a.op != action.TypeUnsetVar, a.scope > ScopeResponse:
			return ReasonAnswerInvalid
		case len(a.name)+a.value.size() > maxWrite:
			return ReasonAnswerTooBig
		case a.name == "", len(a.name) > 56, strings.Trim(a.name, nameCharacters) != "", set && value == nil:
			return ReasonAnswerInvalid
		}
		if size += 3 + len(wireString(a.name)); set {
			size += len(value)
		}
		if size > limit {
			return ReasonAnswerTooBig
		}
	}
	return ""
}

const nameCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_."

// FuzzAnswer lets a handler answer whatever it likes through a server: HAProxy gets exactly that, or the answer of Overload, and then one
// log line says why.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0x20, 0x36, 0x29}, "decision", 1, uint32(16380))
	f.Add([]byte{0x23, 0x23, 0x26}, "a", 16_000, uint32(65532))
	f.Add([]byte{0x13, 0x03}, "minus", -1, uint32(256))
	f.Add([]byte{0x20}, "a\x00b c\n", 1, uint32(256))
	f.Add([]byte{0x20}, "x", 15_970, uint32(16380))
	f.Add([]byte{0x0d, 0x0e, 0x0f}, "x", 1, uint32(300))
	f.Add([]byte{}, "", 0, uint32(0))
	f.Fuzz(func(t *testing.T, script []byte, name string, n int, maxFrameSize uint32) {
		if len(script) > 50 || len(name) > 1000 {
			return
		}
		maxFrameSize = minFrameSize + maxFrameSize%(DefaultMaxFrameSize-minFrameSize+1)
		actions := answerOf(script, name, n)
		synctest.Test(t, func(t *testing.T) { checkAnswer(t, actions, maxFrameSize) })
	})
}

// answerOf makes actions of fuzz input: each byte of the script is a scope and an op, also those that are none. Values have n bytes, or
// are n.
func answerOf(script []byte, name string, n int) (all []Action) {
	text := strings.Repeat("\x00v\n\xff", 1+min(max(n, 0), 70_000)/4)[:min(max(n, 0), 70_000)]
	for i, op := range script {
		name, scope := fmt.Sprintf("%s%d", name, i), Scope(op>>4)
		switch op & 15 {
		case 0, 1, 2, 3:
			all = append(all, SetString(scope, name, text))
		case 4, 5, 6:
			all = append(all, SetInt(scope, name, int64(n)<<(op>>4)))
		case 7, 8:
			all = append(all, SetBool(scope, name, n&1 == 0))
		case 9, 10:
			all = append(all, Unset(scope, name))
		case 11:
			all = append(all, SetString(scope, "", text))
		case 12:
			all = append(all, Action{op: action.Type(op>>4) | 4, scope: ScopeRequest, name: name})
		case 13:
			all = append(all, Action{op: action.TypeSetVar, name: name, value: Binary([]byte(text))})
		case 14:
			all = append(all, Action{op: action.TypeSetVar, name: name})
		default:
			all = append(all, SetString(ScopeRequest, "value", name))
		}
	}
	return all
}

// checkAnswer answers one NOTIFY with actions. It runs in a synctest bubble.
func checkAnswer(t *testing.T, actions []Action, maxFrameSize uint32) {
	replied := make(chan error, 1)
	r := newRig(t, Config{Handler: HandlerFunc(func(_ context.Context, _ *Notify, reply Reply) { replied <- reply(actions) })})
	p := r.pipe()
	p.send(haproxyHello(maxFrameSize, ""))
	p.recv()
	p.send(wireNotify(1, 1))
	raw := p.raw()
	p.send(wireDisconnect(statusNormal))
	p.disconnected(statusNormal)
	_ = p.nc.Close()
	_ = r.srv.Close()

	limit := min(int(maxFrameSize)-1, maxWrite-lenPrefix)
	want, faults := actions, map[Reason]int{}
	reason := sendable(actions, limit)
	if reason != "" {
		want, faults[reason] = overloaded(nil), 1
	}
	h, payload, err := splitFrame(raw)
	if err != nil || h != (header{103, flagFin, 1, 1}) || len(raw)-lenPrefix > limit {
		t.Errorf("got header %v of %d bytes, error %v, want an ACK of at most %d", h, len(raw), err, limit)
	}
	got, err := codecActions(payload)
	if err != nil {
		t.Fatalf("the codec cannot read the ACK: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(faults, r.counted()); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if err := <-replied; errors.Is(err, ErrUndelivered) != (reason != "") {
		t.Errorf("got error %v of the reply, want ErrUndelivered: %t", err, reason != "")
	}
	log := strings.ReplaceAll(r.log.String(), "level=DEBUG msg=\"haproxy disconnects\"", "")
	lines := strings.Count(log, "level=ERROR msg=\"answer cannot be encoded\" ")
	named := strings.Count(log, "reason="+string(reason)+" cause=")
	if strings.Count(log, "Z level=") != len(faults) || lines != len(faults) || reason != "" && named != 1 {
		t.Errorf("got log %.500s, want one error for each of %v", log, faults)
	}
}

// raw receives a frame as it is.
func (p *peer) raw() []byte {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	var b bytes.Buffer
	if _, err := parseAgent(io.TeeReader(p.nc, &b)); err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return b.Bytes()
}

// What HAProxy would cut, or take for another name, is refused before it is sent.
func TestNamesThatHAProxyCannotTakeAreRefused(t *testing.T) {
	longest := strings.Repeat("x", 56)
	for name, want := range map[string]Reason{
		"decision": "", "a.b_c.0": "", "A": "", longest: "",
		"": ReasonAnswerInvalid, longest + "x": ReasonAnswerInvalid, "a b": ReasonAnswerInvalid, "a\x00": ReasonAnswerInvalid, "a\n": ReasonAnswerInvalid,
		"a-b": ReasonAnswerInvalid, "ä": ReasonAnswerInvalid, "a/": ReasonAnswerInvalid, "a:": ReasonAnswerInvalid, "a@": ReasonAnswerInvalid,
		"a[": ReasonAnswerInvalid, "a`": ReasonAnswerInvalid, "a{": ReasonAnswerInvalid, "\xff": ReasonAnswerInvalid, "\x7f": ReasonAnswerInvalid,
	} {
		for _, a := range []Action{SetString(ScopeTransaction, name, "x"), SetInt(ScopeProcess, name, 1), Unset(ScopeRequest, name)} {
			_, err := appendAck(nil, 1, 1, []Action{a}, 1000)
			var got Reason
			if bad := new(unencodable); errors.As(err, &bad) {
				got = bad.reason
			}
			if got != want {
				t.Errorf("%q: got %q, want %q", name, got, want)
			}
		}
	}
}
