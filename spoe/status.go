package spoe

import "fmt"

// status is why a peer ends a connection (SPOE.txt section 3.5).
type status uint32

const (
	statusNormal        status = 0
	statusTimeout       status = 2
	statusTooBig        status = 3
	statusInvalid       status = 4
	statusNoVersion     status = 5
	statusNoFrameSize   status = 6
	statusNoCapability  status = 7
	statusBadVersion    status = 8
	statusBadFrameSize  status = 9
	statusFragmentation status = 10
	statusResources     status = 13
)

// String returns SPOE.txt's description of s.
func (s status) String() string {
	switch s {
	case statusNormal:
		return "normal"
	case statusTimeout:
		return "a timeout occurred"
	case statusTooBig:
		return "frame is too big"
	case statusInvalid:
		return "invalid frame received"
	case statusNoVersion:
		return "version value not found"
	case statusNoFrameSize:
		return "max-frame-size value not found"
	case statusNoCapability:
		return "capabilities value not found"
	case statusBadVersion:
		return "unsupported version"
	case statusBadFrameSize:
		return "max-frame-size too big or too small"
	case statusFragmentation:
		return "payload fragmentation is not supported"
	case statusResources:
		return "resource allocation error"
	}
	return fmt.Sprintf("status %d", uint32(s))
}

// violation is a fault of the peer that ends its connection: why, and the
// status that tells it so.
type violation struct {
	reason Reason
	status status
	cause  error // may be nil
}

func (v *violation) Error() string {
	if v.cause == nil {
		return v.status.String()
	}
	return fmt.Sprintf("%v: %v", v.status, v.cause)
}

func (v *violation) Unwrap() error { return v.cause }

// invalid returns the violation for a frame that is not what SPOE.txt says.
func invalid(format string, args ...any) *violation {
	return &violation{ReasonFrameInvalid, statusInvalid, fmt.Errorf(format, args...)}
}
