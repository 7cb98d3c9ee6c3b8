package trace

type (
	traceID [16]byte
	spanID  [8]byte
)

// parent is the span that a call is a child of. The zero parent is none.
type parent struct {
	trace   traceID
	span    spanID
	sampled bool
}

func (p *parent) valid() bool { return p.span != spanID{} }

// parseTraceParent reads a traceparent header (W3C Trace Context, section 3.2). What is not well-formed is no parent. Of a version that
// is not known yet only the known beginning counts, as section 4.3 says. Of version 00, flags other than "sampled" and "random" are not
// well-formed, as OpenTelemetry's own reader has it.
func parseTraceParent(s string) parent {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' || len(s) > length && s[length] != '-' {
		return parent{}
	}
	var version, flags [1]byte
	var p parent
	ok := readHex(version[:], s[:2]) && readHex(p.trace[:], s[3:35]) && readHex(p.span[:], s[36:52]) && readHex(flags[:], s[53:55])
	switch {
	case !ok, p.trace == traceID{}, p.span == spanID{}, version[0] == 0xff:
		return parent{}
	case version[0] == 0 && (len(s) > length || flags[0] > 3):
		return parent{}
	}
	p.sampled = flags[0]&1 != 0
	return p
}

// readHex reads len(to) bytes of lower-case hexadecimal. Upper case is not allowed in a traceparent.
func readHex(to []byte, s string) bool {
	for i := range to {
		high, low := digit(s[2*i]), digit(s[2*i+1])
		if (high|low)&0xf0 != 0 {
			return false
		}
		to[i] = high<<4 | low
	}
	return true
}

// digit returns the value of a hexadecimal digit, and 255 for what is none.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
