package audit

import (
	"strings"
	"testing"
)

func verified(t *testing.T, text string, o VerifyOptions) Report {
	t.Helper()
	r, err := Verify(strings.NewReader(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
