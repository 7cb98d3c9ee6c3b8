package closing

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// frames takes syslog messages out of a stream, in both ways of RFC 6587 section 3.4, told apart by the first byte of each: counted ones
// begin with a digit, and of the others each is a line. A message is valid until the next one is read.
type frames struct {
	r *bufio.Reader
}

// errFraming means that it is not known where the next message begins.
var errFraming = errors.New("no octet count where one has to be")

// maxCount is the length of the longest octet count with the blank behind it.
const maxCount = 7

func newFrames(r io.Reader) frames { return frames{bufio.NewReaderSize(r, MaxLine+maxCount)} }

// next returns the next message. After an error that is errSize the stream goes on; after any other it is of no use.
func (f frames) next() ([]byte, error) {
	for {
		first, err := f.r.Peek(1)
		if err != nil {
			return nil, err
		}
		if first[0] >= '0' && first[0] <= '9' {
			return f.counted()
		}
		m, err := f.line()
		if len(bytes.TrimSpace(m)) > 0 || err != nil {
			return m, err
		}
	}
}

// counted reads a message with its size before it.
func (f frames) counted() ([]byte, error) {
	n := 0
	for i := 0; ; i++ {
		c, err := f.r.ReadByte()
		switch {
		case err != nil:
			return nil, cut(err)
		case c == ' ' && n > 0:
			return f.exactly(n)
		case c < '0' || c > '9' || i == maxCount-1:
			return nil, errFraming
		}
		n = n*10 + int(c-'0')
	}
}

func (f frames) exactly(n int) ([]byte, error) {
	if n > MaxLine {
		if _, err := f.r.Discard(n); err != nil {
			return nil, cut(err)
		}
		return nil, errSize
	}
	m, err := f.r.Peek(n)
	if err != nil {
		return nil, cut(err)
	}
	_, _ = f.r.Discard(n) // it is in the buffer
	return m, nil
}

// line reads a message that ends with a newline.
func (f frames) line() ([]byte, error) {
	m, err := f.r.ReadSlice('\n')
	if err == nil {
		if len(m) > MaxLine {
			return nil, errSize
		}
		return m, nil
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = f.r.ReadSlice('\n')
	}
	if err != nil {
		return nil, cut(err)
	}
	return nil, errSize
}

// cut is the error of a stream that has ended inside a message.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
